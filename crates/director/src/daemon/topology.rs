//! What follows for the director from the network, and for the network from the director's services: local addresses,
//! ports, attachments, resolved next hops, the route epoch.

use crate::control::Control;
use crate::links::facts::{Facts, Hop, Way};
use crate::links::neighbours::{Begin, Neighbours};
use crate::links::{Change, Links, ports, served};
use crate::loader::{AttachError, Attachments, Hook, Plane, Wanted};
use crate::options::{Mode, Options};
use crate::status::Serving;
use crate::tables::Tables;
use anyhow::{Result, bail};
use lvsx_core::conn;
use lvsx_core::env::state;
use lvsx_ipvs::ServiceKey;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A next hop that packets ask for is not asked for again within this time.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// The network is not looked at for each of many services that come within this time, if their addresses are known.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Next hops remembered as asked for; more than that and all are forgotten.
const ASKED: usize = 4096;

/// The network, as far as the director has to do with it.
pub(super) struct Topology {
    links: Links,
    facts: Facts,
    neighbours: Neighbours,
    /// Ways to destinations, as far as they were looked up.
    ways: BTreeMap<IpAddr, Option<Way>>,
    /// Whether these may be others though no fact changed.
    pub(super) is_in_doubt: bool,
    /// Interfaces that lead to destinations, all of them seen to.
    leading: BTreeSet<u32>,
    /// Services when they were last settled.
    services: BTreeSet<ServiceKey>,
    /// When the network was last looked at for a service that came.
    looked: Option<Instant>,
    /// Next hops that packets asked for, and when.
    asked: BTreeMap<Hop, Instant>,
    attachments: Attachments,
    options: Options,
    problems: Vec<String>,
}

impl Topology {
    /// Looks at the network for the first time.
    ///
    /// # Errors
    /// The kernel refuses to tell; an interface named by the operator is not there, or not one that can be served.
    pub(super) async fn begin(
        links: Links,
        options: Options,
        plane: &mut Plane,
        control: &mut Control,
    ) -> Result<Self> {
        let mut neighbours = Neighbours::default();
        for neighbour in links.neighbours().await? {
            neighbours.heard(&neighbour, false, Instant::now());
        }
        let mut topology = Self {
            links,
            facts: Facts::default(),
            neighbours,
            ways: BTreeMap::new(),
            is_in_doubt: false,
            leading: BTreeSet::new(),
            services: BTreeSet::new(),
            looked: None,
            asked: BTreeMap::new(),
            attachments: Attachments::default(),
            options,
            problems: Vec::new(),
        };
        topology.facts = topology.links.facts().await?;
        topology.check_named(plane)?;
        topology.network_changed(plane, control).await;
        topology.drop_stray_filters();
        Ok(topology)
    }

    fn check_named(&self, plane: &Plane) -> Result<()> {
        for name in &self.options.interfaces {
            let interfaces = &self.facts.interfaces;
            let Some((index, interface)) = interfaces.iter().find(|(_, it)| it.name == *name)
            else {
                let names: Vec<&str> = interfaces.values().map(|it| it.name.as_str()).collect();
                bail!(
                    "--iface {name}: there is no such interface; there are {}",
                    names.join(", ")
                );
            };
            if interface.is_up && !served::can_be_served(interface) {
                bail!(
                    "--iface {name}: packets for others do not come in there (it carries no Ethernet frames)"
                );
            }
            if self.options.mode == Mode::Xdp
                && interface.has_xdp
                && !plane.has_link(Hook::Xdp, *index)
            {
                bail!(AttachError::Occupied {
                    interface: name.clone()
                });
            }
        }
        Ok(())
    }

    /// Filters that a director before left on interfaces which are not served any more: unlike links they are not pinned
    /// anywhere, so each interface is looked at.
    fn drop_stray_filters(&self) {
        if Hook::tc() != Hook::Clsact {
            return;
        }
        let interfaces = self.facts.interfaces.iter();
        self.attachments
            .drop_stray_filters(interfaces.map(|(index, it)| (*index, it.name.as_str())));
    }

    /// Looks at the whole network again.
    pub(super) async fn look_again(&mut self, plane: &mut Plane, control: &mut Control) {
        match self.links.facts().await {
            Ok(facts) if facts == self.facts && !self.is_in_doubt => {}
            Ok(facts) => {
                self.facts = facts;
                self.network_changed(plane, control).await;
            }
            Err(error) => tracing::error!("{error:#}"),
        }
    }

    async fn network_changed(&mut self, plane: &mut Plane, control: &mut Control) {
        self.ways.clear();
        self.is_in_doubt = false;
        ports::update(&plane.tables, &self.facts);
        let interfaces = &self.facts.interfaces;
        let by_name = interfaces
            .iter()
            .map(|(index, it)| (it.name.clone(), *index));
        if control.set_interfaces(by_name.collect()).is_err() {
            tracing::error!("the interfaces of the mark rules are older than the network");
        }
        if control.set_locals(self.facts.locals.clone()).is_err() {
            tracing::error!("the address filter is older than the network");
        }
        self.settle(plane, control).await;
        move_epoch(&plane.tables);
    }

    /// After a change of services or destinations: interfaces, next hops. One that adds destinations behind interfaces which lead to
    /// others already, or changes them, costs what its services have.
    pub(super) async fn services_changed(&mut self, plane: &mut Plane, control: &mut Control) {
        let changed = control.take_changed();
        if !changed.is_wide && self.settle_these(control, plane, &changed.services).await {
            return;
        }
        let services: BTreeSet<ServiceKey> = control
            .config()
            .services
            .values()
            .map(|service| service.key)
            .collect();
        if services != self.services {
            let is_known = |key: &ServiceKey| match key {
                ServiceKey::Address { addr, .. } => self.facts.locals.is_local(*addr),
                ServiceKey::Mark { .. } => false,
            };
            let are_known = services.difference(&self.services).all(is_known);
            let is_recent = |last: Instant| last.elapsed() < LOOK_AGAIN;
            self.services = services;
            if !are_known || !self.looked.is_some_and(is_recent) {
                // What was configured a moment ago may not have been heard of yet, such as the service's address.
                self.look_again(plane, control).await;
                self.looked = Some(Instant::now());
            }
        }
        self.settle(plane, control).await;
    }

    /// Ways and next hops to the destinations of these services. `false`: more than that has to be settled.
    async fn settle_these(
        &mut self,
        control: &Control,
        plane: &Plane,
        services: &BTreeSet<u32>,
    ) -> bool {
        let servers = control.servers_of(services);
        let is_new = |server: &IpAddr| !self.ways.contains_key(server);
        let new: BTreeSet<IpAddr> = servers.filter(is_new).collect();
        if new.iter().any(|server| self.facts.locals.is_local(*server)) {
            return false;
        }
        let new: Vec<IpAddr> = new.into_iter().collect();
        let ways = self.links.ways(&new);
        let hops: BTreeSet<Hop> = ways.iter().flatten().map(|way| way.hop).collect();
        if !hops.iter().all(|hop| self.leading.contains(&hop.interface)) {
            return false;
        }
        self.ways.extend(new.into_iter().zip(ways));
        self.tell(Some(services), control, &plane.tables);
        let hops = hops
            .into_iter()
            .filter(|hop| self.has_neighbours(*hop))
            .collect();
        let begin = self.begin_when();
        for hop in self.neighbours.manage_more(&hops, begin, Instant::now()) {
            self.links.keep_resolved(hop).await;
        }
        true
    }

    /// Tells the data plane the ways to destinations of these services, or of all.
    fn tell(&self, these: Option<&BTreeSet<u32>>, control: &Control, tables: &Tables) {
        let way = |server| self.ways.get(&server)?.as_ref();
        control.set_sources(these, |server| way(server)?.source);
        control.set_ways(these, |server| Some(way(server)?.hop));
        self.publish_hops(these, control, tables);
    }

    /// When the kernel is to begin to keep next hops resolved.
    fn begin_when(&self) -> Begin {
        match self.options.mode {
            Mode::Xdp => Begin::Ahead,
            Mode::Auto | Mode::Tc => Begin::OnceUsed,
        }
    }

    async fn settle(&mut self, plane: &mut Plane, control: &mut Control) {
        let config = control.config();
        let is_serving = !config.services.is_empty();
        let virtuals = control.virtual_addresses();
        // Removed ones too: their replies go on to clients as long as there are connections.
        let servers: BTreeSet<IpAddr> = config.servers().collect();

        self.ways.retain(|server, _| servers.contains(server));
        let is_new = |server: &IpAddr| !self.ways.contains_key(server);
        let new: Vec<IpAddr> = servers.into_iter().filter(is_new).collect();
        self.ways
            .extend(new.iter().copied().zip(self.links.ways(&new)));
        self.tell(None, control, &plane.tables);
        let to_servers: BTreeSet<Hop> = self.ways.values().flatten().map(|way| way.hop).collect();
        self.leading = match is_serving {
            true => to_servers.iter().map(|hop| hop.interface).collect(),
            false => BTreeSet::new(),
        };
        let managed = if is_serving {
            &to_servers | &self.facts.gateways
        } else {
            BTreeSet::new()
        };
        let managed = managed
            .into_iter()
            .filter(|hop| self.has_neighbours(*hop))
            .collect();
        let begin = self.begin_when();
        for hop in self.neighbours.manage(&managed, begin, Instant::now()) {
            self.links.keep_resolved(hop).await;
        }

        let wanted = if is_serving {
            served::interfaces(
                &self.facts,
                virtuals.into_iter(),
                to_servers.into_iter(),
                &self.options.interfaces,
            )
        } else {
            BTreeMap::new()
        };
        let locals = &self.facts.locals;
        let has_local_servers = control.config().servers().any(|it| locals.is_local(it));
        let is_xdp = self.options.mode == Mode::Xdp;
        let wanted = served::seats(&self.facts, wanted, has_local_servers, is_xdp);
        self.attach(plane, &wanted);
        control.set_serving(Serving {
            mode: self.options.mode.name(),
            interfaces: self.attachments.listed(),
            problems: self.problems.clone(),
        });
    }

    /// Tells the data plane the next hops to servers, as far as their link-layer addresses are known.
    fn publish_hops(&self, these: Option<&BTreeSet<u32>>, control: &Control, tables: &Tables) {
        control.set_hops(these, |server| {
            if self.facts.locals.is_local(server) {
                return Some(conn::Hop::LOCAL);
            }
            let hop = self.ways.get(&server).copied().flatten()?.hop;
            let address = self.neighbours.address(hop)?;
            Some(conn::Hop::new(
                address,
                ports::number(tables, hop.interface)?,
            ))
        });
    }

    fn has_neighbours(&self, hop: Hop) -> bool {
        self.facts
            .interfaces
            .get(&hop.interface)
            .is_some_and(served::can_be_served)
    }

    fn attach(&mut self, plane: &mut Plane, wanted: &Wanted) {
        let hook = match self.options.mode {
            Mode::Xdp => Hook::Xdp,
            Mode::Auto | Mode::Tc => Hook::tc(),
        };
        let errors = self.attachments.become_these(plane, hook, wanted);
        let problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for problem in problems
            .iter()
            .filter(|problem| !self.problems.contains(problem))
        {
            tracing::error!("{problem}");
        }
        self.problems = problems;
    }

    /// News of a neighbour.
    pub(super) async fn neighbour_changed(
        &mut self,
        change: &Change,
        tables: &Tables,
        control: &Control,
    ) {
        let (message, is_gone) = match change {
            Change::Neighbour(message) => (message, false),
            Change::NeighbourGone(message) => (message, true),
            Change::Network | Change::Rules => return,
        };
        let consequence = self.neighbours.heard(message, is_gone, Instant::now());
        // Before the epoch moves: whoever sees the new epoch sees the new hops.
        self.publish_hops(None, control, tables);
        if consequence.is_elsewhere {
            move_epoch(tables);
        }
        if let Some(hop) = consequence.resolve {
            self.links.keep_resolved(hop).await;
        }
    }

    /// Managed next hops that nobody answered for are asked for again.
    pub(super) async fn resolve_again(&mut self) {
        for hop in self.neighbours.unresolved(Instant::now()) {
            self.links.keep_resolved(hop).await;
        }
    }

    /// The raw link-layer address of `hop`, if it is known.
    pub(super) fn link_address(&self, hop: Hop) -> Option<u64> {
        self.neighbours.address(hop)
    }

    /// A packet met `hop` unresolved.
    pub(super) async fn packet_asks(&mut self, hop: Hop) {
        let now = Instant::now();
        if self.asked.len() >= ASKED {
            self.asked.clear();
        }
        let is_new = self
            .asked
            .get(&hop)
            .is_none_or(|last| now - *last >= ASK_AGAIN);
        if is_new && self.neighbours.may_resolve(hop) {
            self.asked.insert(hop, now);
            self.links.resolve(hop).await;
        }
    }
}

/// Moves the route epoch: the next packet of each connection looks for its next hop again. Never 0.
fn move_epoch(tables: &Tables) {
    let word = &tables.state[state::READ as usize][state::EPOCH];
    let next = (word.load() as u16).wrapping_add(1).max(1);
    word.store(next.into());
}
