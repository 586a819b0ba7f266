//! The director's decisions about its configuration: what clients ask for, checked, put in force, counted.
//!
//! A request that is refused has changed nothing; one that is granted is in force for every packet that begins after the
//! answer. Files: `localities` the timers of lblc and lblcr; `draft` a change while it is made, `service`, `destination`, `marks` and `settings` its rules, `refusal` what this
//! version cannot do; `force` what a change means for the tables; `whole` many changes in one; `director` the operations as clients call them.

mod defence;
mod destination;
mod director;
mod draft;
mod force;
mod icmp;
mod lead;
mod localities;
mod marks;
mod paths;
mod refusal;
mod service;
mod settings;
#[cfg(test)]
pub(crate) mod tests;
mod whole;

use crate::addresses::LocalTable;
use crate::clock::Clock;
use crate::concerns::{self, Concerned, Concerns, Ours};
use crate::config::{Config, DestinationConfig, ServiceConfig};
use crate::generation::{Generations, raw_words};
use crate::links::facts::Hop;
use crate::stats::{Counters, Ledger, Rate};
use crate::status::Serving;
use crate::tables::Tables;
use localities::Localities;
use lvsx_core::conn;
use lvsx_core::generation::live::destination::{
    COUNTS, FLAGS, HOP, PLACE, TEMPLATES, THRESHOLDS, WEIGHT,
};
use lvsx_core::generation::live::tunnel;
use lvsx_core::generation::{SchedulerKind, TIMEOUT_SCALE, TIMEOUT_UDP, live};
use lvsx_core::sched::groups::GROUP;
use lvsx_core::sched::wrr;
use lvsx_core::state::tcp;
use lvsx_core::tick::Tick;
use lvsx_ipvs::{Errno, Prefix, ServiceKey, Stage};
use lvsx_platform::{Line, Word};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a removed destination without connections stays in the trash.
const TRASH_IDLE: Duration = Duration::from_secs(120);

/// The director.
pub struct Control {
    tables: Arc<Tables>,
    generations: Generations,
    ledger: Ledger,
    rates: Rates,
    clock: Clock,
    /// The tick in which what was over was counted out for a listing.
    counted_out: Cell<Option<Tick>>,
    /// Every virtual address is ours, local or not.
    any_vip: bool,
    locals: LocalTable,
    /// Addresses of destinations that were masqueraded once and are not any more.
    once_masqueraded: BTreeSet<IpAddr>,
    /// Network interfaces: index by name.
    interfaces: BTreeMap<String, u32>,
    /// Since when destinations in the trash have had no connection, by id.
    idle: BTreeMap<u32, Instant>,
    localities: Localities,
    /// Connections that were led, oldest first.
    led: Vec<lead::Led>,
    next_service: u32,
    changed: Changed,
    serving: Serving,
    /// Changes that clients are sending in parts.
    stage: Stage,
    /// Where the table before the last change of many is kept.
    keeps_before: Option<PathBuf>,
    /// Whether the memory was below the defences' threshold at the last look.
    is_memory_low: bool,
}

/// What is other of services, as far as the network has to do with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Ids of services whose destinations are others, or more.
    pub services: BTreeSet<u32>,
    /// Services or destinations came or went, so that anything may be other.
    pub is_wide: bool,
}

/// The estimators.
#[derive(Default)]
struct Rates {
    /// By id; behind the last none has a rate.
    destinations: Vec<Rate>,
    services: BTreeMap<u32, Rate>,
    total: Rate,
}

impl Rates {
    fn destination(&self, id: u32) -> Rate {
        let rate = self.destinations.get(id as usize);
        rate.copied().unwrap_or_default()
    }

    fn destination_mut(&mut self, id: u32) -> &mut Rate {
        let place = id as usize;
        if place >= self.destinations.len() {
            self.destinations.resize(place + 1, Rate::default());
        }
        &mut self.destinations[place]
    }
}

impl Control {
    /// The director over these tables: with what is in force there, or with nothing and the usual timeouts.
    ///
    /// # Errors
    /// `ENOMEM`: the arena does not hold an empty generation.
    pub fn new(
        tables: Arc<Tables>,
        generations: Generations,
        ledger: Ledger,
        clock: Clock,
        any_vip: bool,
    ) -> Result<Self, Errno> {
        let mut control = Self {
            tables,
            generations,
            ledger,
            rates: Rates::default(),
            clock,
            counted_out: Cell::new(None),
            any_vip,
            locals: LocalTable::default(),
            once_masqueraded: BTreeSet::new(),
            interfaces: BTreeMap::new(),
            idle: BTreeMap::new(),
            localities: Localities::default(),
            led: Vec::new(),
            next_service: 0,
            changed: Changed::default(),
            serving: Serving::default(),
            stage: Stage::default(),
            keeps_before: None,
            is_memory_low: false,
        };
        if control.generations.number() == 0 {
            let mut config = Config::default();
            for (ticks, seconds) in config.timeouts.iter_mut().zip(tcp::TIMEOUTS) {
                *ticks = clock.rate.ticks(seconds);
            }
            config.timeouts[TIMEOUT_UDP] = clock.rate.ticks(tcp::UDP_TIMEOUT);
            config.timeouts[TIMEOUT_SCALE] = clock.rate.ticks(1 << 16);
            for (number, setting) in settings::EXPIRATIONS {
                let seconds = config.values.of(setting).max(0) as u32;
                config.timeouts[number] = clock.rate.ticks(seconds);
            }
            control.put_in_force(config)?;
        }
        control.once_masqueraded = control.once_masqueraded_before();
        control.finish_what_was_begun();
        control.watch_host();
        Ok(control)
    }

    /// The tables.
    #[must_use]
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// What is configured.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.generations.config()
    }

    /// Number of the generation in force; a change moves it.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generations.number()
    }

    /// The data plane's clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Takes a new reading of the clock.
    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// Where packets are served, for the status.
    pub fn set_serving(&mut self, serving: Serving) {
        self.serving = serving;
    }

    /// Takes note of what the kernel routes as local; virtual addresses that come or go are put in force.
    ///
    /// # Errors
    /// `ENOMEM`: the arena does not hold the new filter.
    pub fn set_locals(&mut self, locals: LocalTable) -> Result<(), Errno> {
        if self.locals == locals {
            return Ok(());
        }
        self.locals = locals;
        if let Some(prefix) = concerns::beyond(&self.config().marks, self.ours()) {
            tracing::warn!(
                "{prefix} is routed as local, but not served by mark: there is place for {} large prefixes",
                lvsx_core::generation::MOST_PREFIXES
            );
        }
        let config = self.config().clone();
        let concerns = self.concerns(&config);
        if self
            .generations
            .concerns()
            .is_some_and(|now| *now == concerns)
        {
            return Ok(());
        }
        self.publish(config, concerns.into())
    }

    /// The addresses that clients reach services by: those of services, and those that mark rules lead to services; of large
    /// prefixes the first.
    #[must_use]
    pub fn virtual_addresses(&self) -> BTreeSet<IpAddr> {
        let config = self.config();
        let reach = concerns::reach(config, self.ours());
        config
            .virtual_addresses()
            .chain(reach.listed)
            .chain(reach.whole.iter().map(Prefix::addr))
            .collect()
    }

    /// What changed of services since this was last asked.
    pub fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    /// The destinations of these services; of all for none.
    fn destinations_of<'a>(
        &'a self,
        these: Option<&'a BTreeSet<u32>>,
    ) -> impl Iterator<Item = &'a DestinationConfig> {
        let services = &self.config().services;
        let all = these.is_none().then(|| services.values());
        let some = these.into_iter().flatten();
        let some = some.filter_map(|id| services.get(id));
        let chosen = all.into_iter().flatten().chain(some);
        chosen.flat_map(|service| &service.destinations)
    }

    /// The addresses of these services' destinations.
    pub fn servers_of<'a>(&'a self, services: &'a BTreeSet<u32>) -> impl Iterator<Item = IpAddr> {
        self.destinations_of(Some(services)).map(|it| it.key.addr)
    }

    /// Tells the data plane the tunnel to each destination of these services (none: all): its kind, its far end, and the address
    /// that this host sends to it from.
    pub fn set_sources(
        &self,
        these: Option<&BTreeSet<u32>>,
        source: impl Fn(IpAddr) -> Option<IpAddr>,
    ) {
        for destination in self.destinations_of(these) {
            let line = &self.tables.tunnels[destination.id as usize];
            let server = destination.key.addr;
            let [near, far] =
                [source(server), Some(server)].map(|end| end.map_or([0; 2], raw_words));
            line[tunnel::SOURCE].store(near[0]);
            line[tunnel::SOURCE + 1].store(near[1]);
            line[tunnel::SERVER].store(far[0]);
            line[tunnel::SERVER + 1].store(far[1]);
            line[tunnel::SHAPE].store(shape(server, &destination.settings.tunnel));
        }
    }

    /// Tells the data plane the way to each destination of these services (none: all): its next hop, whether or not that one's
    /// link-layer address is known.
    pub fn set_ways(&self, these: Option<&BTreeSet<u32>>, way: impl Fn(IpAddr) -> Option<Hop>) {
        for destination in self.destinations_of(these) {
            let line = &self.tables.tunnels[destination.id as usize];
            let (word, gateway) = way(destination.key.addr).map_or((0, [0; 2]), |hop| {
                let family = family_of(hop.address);
                let word = u64::from(hop.interface) | family << 32;
                (word, raw_words(hop.address))
            });
            let now = [tunnel::GATEWAY, tunnel::GATEWAY + 1].map(|at| line[at].peek());
            if line[tunnel::WAY].peek() == word && now == gateway {
                continue;
            }
            // A packet that reads meanwhile sees that it is not to use it.
            line[tunnel::WAY].store(0);
            line[tunnel::GATEWAY].store(gateway[0]);
            line[tunnel::GATEWAY + 1].store(gateway[1]);
            line[tunnel::WAY].store(word);
        }
    }

    /// Tells the live line of each destination of these services (none: all) the next hop to it (0 for unknown), for hosts that do
    /// not forward.
    pub fn set_hops(
        &self,
        these: Option<&BTreeSet<u32>>,
        hop: impl Fn(IpAddr) -> Option<conn::Hop>,
    ) {
        for destination in self.destinations_of(these) {
            let hop = hop(destination.key.addr).map_or(0, |hop| hop.0);
            self.live(destination.id)[HOP].store(hop);
        }
    }

    /// One run of the estimators, due every two seconds.
    pub fn estimate(&mut self) {
        let (tables, ledger) = (&self.tables, &self.ledger);
        for (id, service) in &self.generations.config().services {
            self.rates
                .services
                .entry(*id)
                .or_default()
                .run(ledger.service(tables, *id, service));
            for destination in &service.destinations {
                let now = ledger.destination(tables, destination.id);
                self.rates.destination_mut(destination.id).run(now);
            }
        }
        self.rates.total.run(ledger.total(tables));
    }

    /// Frees removed destinations that have had no connection for two minutes, and that no locality cache holds.
    pub fn empty_trash(&mut self, now: Instant) {
        let mut idle = BTreeMap::new();
        let cached = match self.config().trash.is_empty() {
            true => BTreeSet::new(),
            false => localities::servers(&self.tables, self.config()),
        };
        for removed in self.config().trash.iter() {
            let id = removed.destination.id;
            if self.is_unused(id) && !cached.contains(&id) {
                idle.insert(id, self.idle.get(&id).copied().unwrap_or(now));
            }
        }
        let is_over = |id: &u32| {
            idle.get(id)
                .is_some_and(|since| now.duration_since(*since) >= TRASH_IDLE)
        };
        let over: Vec<u32> = idle.keys().copied().filter(is_over).collect();
        if !over.is_empty() {
            let mut config = self.config().clone();
            Arc::make_mut(&mut config.trash)
                .retain(|removed| !over.contains(&removed.destination.id));
            if self.put_in_force(config).is_ok() {
                idle.retain(|id, _| !over.contains(id));
            }
        }
        self.idle = idle;
    }

    /// Removed destinations that no connection and no locality cache names, also after all packets on their way are through;
    /// the oldest last.
    fn spare_destinations(&self) -> Vec<u32> {
        self.generations.wait_for_past();
        let cached = localities::servers(&self.tables, self.config());
        let removed = self.config().trash.iter().rev();
        let ids = removed.map(|removed| removed.destination.id);
        ids.filter(|id| self.is_unused(*id) && !cached.contains(id))
            .collect()
    }

    /// Writes the next generation and moves packets to it.
    fn put_in_force(&mut self, config: Config) -> Result<(), Errno> {
        let concerns = self.concerns(&config);
        self.publish(config, concerns.into())
    }

    fn publish(&mut self, config: Config, concerned: Concerned) -> Result<(), Errno> {
        self.generations
            .publish(&self.tables, config, concerned)
            .map_err(|full| {
                tracing::error!("{full}; the request is refused");
                Errno::ENOMEM
            })?;
        debug_assert_eq!(
            self.generations.concerns(),
            Some(&self.concerns(self.config()))
        );
        Ok(())
    }

    fn concerns(&self, config: &Config) -> Concerns {
        concerns::of(config, self.ours())
    }

    fn ours(&self) -> Ours<'_> {
        Ours {
            locals: &self.locals,
            any: self.any_vip,
            once_masqueraded: &self.once_masqueraded,
        }
    }

    /// What a director killed in the middle of a change may have left undone: hints and thresholds of live lines, the
    /// accounts of removed destinations.
    fn finish_what_was_begun(&mut self) {
        for service in self.config().services.values() {
            self.write_places(service);
            for destination in &service.destinations {
                self.write_limits(destination.id, &destination.settings);
            }
        }
        for removed in self.config().trash.iter() {
            self.ledger
                .leave(&self.tables, removed.service_id, removed.destination.id);
        }
        self.next_service = self
            .config()
            .services
            .keys()
            .next_back()
            .map_or(0, |id| id + 1);
        self.begin_rates();
    }

    /// Rates begin at 0, from the counters as they are.
    fn begin_rates(&mut self) {
        let (tables, ledger) = (&self.tables, &self.ledger);
        for (id, service) in &self.generations.config().services {
            self.rates
                .services
                .insert(*id, Rate::from(ledger.service(tables, *id, service)));
            for destination in &service.destinations {
                *self.rates.destination_mut(destination.id) =
                    Rate::from(ledger.destination(tables, destination.id));
            }
        }
        self.rates.total = Rate::from(ledger.total(tables));
    }

    fn find(&self, key: &ServiceKey) -> Result<(u32, Arc<ServiceConfig>), Errno> {
        let found = self.generations.service(key);
        found
            .map(|(id, service)| (id, service.clone()))
            .ok_or(Errno::ESRCH)
    }

    fn live(&self, id: u32) -> &Line {
        &self.tables.destinations[id as usize]
    }

    fn cursor(&self, service: u32) -> &Word {
        &self.tables.services[service as usize][live::service::CURSOR]
    }

    /// Begins a new age of a service's locality cache: packets find nothing of what it holds any more.
    fn forget_localities(&self, service: u32) {
        let age = &self.tables.services[service as usize][live::service::CACHE_AGE];
        age.store(u64::from((age.load() as u32).wrapping_add(1)));
    }

    /// The run of the locality caches' timer, due every minute.
    pub fn sweep_localities(&mut self) {
        self.localities.run(
            &self.tables,
            self.generations.config(),
            self.clock.rate,
            self.clock.now(),
        );
    }

    /// Whether no connection and no template belongs to destination `id`.
    fn is_unused(&self, id: u32) -> bool {
        self.live(id)[COUNTS].load() == 0 && self.live(id)[TEMPLATES].load() == 0
    }

    /// Tells each destination's live line its place in the list and the first of its group, and forgets what groups were found
    /// to be before.
    fn write_places(&self, service: &ServiceConfig) {
        let keeps_groups = service.scheduler.keeps_groups(service.destinations.len());
        for (number, group) in service.destinations.chunks(GROUP as usize).enumerate() {
            let first = group.first().filter(|_| keeps_groups).map(|first| first.id);
            for (place, destination) in (number as u32 * GROUP..).zip(group) {
                self.live(destination.id)[PLACE].store(live::place_word(place, first));
            }
        }
        for destination in &service.destinations {
            live::forget_least(self.live(destination.id));
        }
    }

    /// Tells a destination's live line its weight and its thresholds, and settles whether it is overloaded by them (Linux 6.1.187: no
    /// upper threshold clears the flag, connections at it or above set it, else the rule of an ending connection holds).
    fn write_limits(&self, id: u32, settings: &lvsx_ipvs::DestinationSettings) {
        let line = self.live(id);
        line[WEIGHT].store(settings.weight.into());
        let upper = u64::from(settings.upper_threshold);
        line[THRESHOLDS].store(upper | u64::from(settings.lower_threshold) << 32);
        let counts = line[COUNTS].load();
        let connections = (counts >> 32) + (counts & 0xffff_ffff);
        if upper == 0 {
            line[FLAGS].store(line[FLAGS].peek() & !live::OVERLOADED);
        } else if connections >= upper {
            line[FLAGS].store(line[FLAGS].peek() | live::OVERLOADED);
        } else {
            live::settle_overload(line, false);
        }
        live::moved(&*self.tables, line);
    }

    /// After the list or a weight of a service changed: wrr begins a new search at a level that fits.
    fn reset_wrr(&self, id: u32, service: &ServiceConfig) {
        if service.scheduler == SchedulerKind::WeightedRoundRobin {
            let (max, step) = service.weight_steps();
            self.move_cursor(id, |cursor| wrr::reset(cursor, max, step));
        }
    }

    fn move_cursor(&self, id: u32, to: impl Fn(u64) -> u64) {
        let word = self.cursor(id);
        let mut cursor = word.load();
        while let Err(found) = word.compare_exchange(cursor, to(cursor)) {
            cursor = found;
        }
    }

    fn destination_counters(&self, id: u32) -> (Counters, Rate) {
        let rate = self.rates.destination(id);
        (self.ledger.destination(&self.tables, id), rate)
    }
}

/// A tunnel to `server` as the data plane reads it.
fn shape(server: IpAddr, tunnel: &lvsx_ipvs::Tunnel) -> u64 {
    u64::from(tunnel.kind.number())
        | (u64::from(tunnel.flags) & 0xff) << 8
        | u64::from(tunnel.port.to_be()) << 16
        | family_of(server) << 32
}

/// The address family as the data plane says it.
fn family_of(address: IpAddr) -> u64 {
    if address.is_ipv4() { 2 } else { 10 }
}
