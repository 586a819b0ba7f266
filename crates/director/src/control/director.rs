//! The operations as clients call them.

use super::Control;
use super::settings::{ESTABLISHED, FIN_WAIT};
use crate::config::{DestinationConfig, ServiceConfig};
use crate::stats::Rate;
use crate::{connections, proc, status};
use lvsx_core::generation::live::destination::{COUNTS, TEMPLATES};
use lvsx_core::generation::{SchedulerKind, TIMEOUT_UDP};
use lvsx_ipvs::{
    Applying, Destination, DestinationKey, DestinationSettings, Director, Errno, Fault, Info, Lead,
    MarkEdit, MarkRule, Refused, Request, Service, ServiceKey, ServiceSettings, Stage, Stats,
    SyncDaemon, SyncRole, Timeouts,
};
use std::collections::HashSet;

impl Director for Control {
    fn new_service(&mut self, key: &ServiceKey, settings: &ServiceSettings) -> Result<(), Errno> {
        Ok(self.change(|draft| draft.add_service(key, settings))?)
    }

    fn set_service(&mut self, key: &ServiceKey, settings: &ServiceSettings) -> Result<(), Errno> {
        Ok(self.change(|draft| draft.change_service(key, settings))?)
    }

    fn delete_service(&mut self, key: &ServiceKey) -> Result<(), Errno> {
        self.change(|draft| draft.remove_service(key))
    }

    fn services(&self) -> Vec<Service> {
        self.config()
            .services
            .iter()
            .map(|(id, service)| self.listed_service(*id, service))
            .collect()
    }

    fn each_service(&self, statistics: bool, show: &mut dyn FnMut(&Service, &[Destination])) {
        self.count_out();
        let mut destinations = Vec::new();
        for (id, service) in &self.config().services {
            destinations.clear();
            let each = service.destinations.iter();
            match statistics {
                true => destinations.extend(each.map(|it| self.listed_destination(it))),
                false => destinations.extend(each.map(|it| self.uncounted_destination(it))),
            }
            let listed = match statistics {
                true => self.listed_service(*id, service),
                false => uncounted_service(service),
            };
            show(&listed, &destinations);
        }
    }

    fn service(&self, key: &ServiceKey) -> Result<Service, Errno> {
        let (id, service) = self.find(key)?;
        Ok(self.listed_service(id, &service))
    }

    fn new_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        settings: &DestinationSettings,
    ) -> Result<(), Errno> {
        Ok(self.change(|draft| draft.add_destination(service, key, settings))?)
    }

    fn set_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        settings: &DestinationSettings,
    ) -> Result<(), Errno> {
        Ok(self.change(|draft| draft.change_destination(service, key, settings))?)
    }

    fn end_connections(&mut self, service: &ServiceKey, key: &DestinationKey) -> Result<(), Errno> {
        let (_, found) = self.find(service)?;
        let (_, destination) = found.destination(key).ok_or(Errno::ENOENT)?;
        connections::end(&self.tables, &HashSet::from([destination.id]));
        Ok(())
    }

    fn lead(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        lead: &Lead,
    ) -> Result<(), Errno> {
        self.lead_connection(service, key, lead)
    }

    fn delete_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
    ) -> Result<(), Errno> {
        self.change(|draft| draft.remove_destination(service, key))
    }

    fn destinations(&self, service: &ServiceKey) -> Result<Vec<Destination>, Errno> {
        let (_, service) = self.find(service)?;
        self.count_out();
        Ok(service
            .destinations
            .iter()
            .map(|destination| self.listed_destination(destination))
            .collect())
    }

    fn zero(&mut self, key: Option<&ServiceKey>) -> Result<(), Errno> {
        if let Some(key) = key {
            self.find(key)?;
        }
        self.zero_now(key);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Errno> {
        self.change(|draft| {
            draft.remove_all_services();
            Ok(())
        })
    }

    fn timeouts(&self) -> Timeouts {
        let seconds = |number: usize| self.clock.rate.seconds(self.config().timeouts[number]);
        Timeouts {
            tcp: seconds(ESTABLISHED),
            tcp_fin: seconds(FIN_WAIT),
            udp: seconds(TIMEOUT_UDP),
        }
    }

    fn set_timeouts(&mut self, timeouts: &Timeouts) -> Result<(), Errno> {
        self.change(|draft| draft.set_timeouts(timeouts))
    }

    fn info(&self) -> Info {
        Info {
            version: Info::VERSION,
            connection_table_size: self.tables.capacity.connections,
        }
    }

    fn daemons(&self) -> Vec<SyncDaemon> {
        Vec::new()
    }

    fn new_daemon(&mut self, _: &SyncDaemon) -> Result<(), Errno> {
        tracing::warn!("refused: sync daemons are not offered by this version");
        Err(Errno::EOPNOTSUPP)
    }

    fn delete_daemon(&mut self, _: SyncRole) -> Result<(), Errno> {
        Err(Errno::ESRCH)
    }

    fn settings(&self) -> String {
        self.listed_settings()
            .into_iter()
            .map(|(name, value)| format!("{name} = {value}\n"))
            .collect()
    }

    fn set_setting(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        self.change(|draft| draft.change_setting(name, value))
            .map_err(explained)
    }

    fn marks(&self) -> Vec<MarkRule> {
        let rules = self.config().marks.iter();
        rules.map(|marked| marked.rule.clone()).collect()
    }

    fn edit_marks(&mut self, edits: &[MarkEdit]) -> Result<(), Refused> {
        self.change(|draft| draft.change_marks(edits))
            .map_err(explained)
    }

    fn stage(&mut self) -> &mut Stage {
        &mut self.stage
    }

    fn apply(&mut self, changes: &[Request], how: Applying) -> Vec<Fault> {
        self.change_all(changes, how)
    }

    fn proc_text(&self, name: &str) -> Option<Vec<u8>> {
        proc::text(self, name)
    }

    fn status(&self) -> String {
        status::text(self, &self.serving)
    }
}

/// What a refusal for want of place means.
pub(super) fn explained(refused: Refused) -> Refused {
    match refused.errno {
        Errno::ENOMEM if refused.why == Errno::ENOMEM.to_string() => {
            Refused::new(Errno::ENOMEM, "the arena of generations is full".to_owned())
        }
        _ => refused,
    }
}

/// A scheduler as services name it.
pub(super) fn scheduler_name(kind: SchedulerKind) -> Option<String> {
    (kind != SchedulerKind::None).then(|| kind.name().to_owned())
}

/// A service without statistics.
pub(super) fn uncounted_service(service: &ServiceConfig) -> Service {
    Service {
        key: service.key,
        scheduler: scheduler_name(service.scheduler),
        engine: None,
        flags: service.flags,
        timeout: service.timeout,
        netmask: service.netmask,
        stats: Stats::default(),
    }
}

/// Sets that a listing waits for: a few milliseconds.
const SETS_AT_ONCE: u32 = 1 << 16;

impl Control {
    /// Counts out what is over, before counts are told; once a tick, however many ask. In a large table, which takes longer to look
    /// through than they should wait, what is over is counted until the hand comes by.
    fn count_out(&self) {
        let now = self.clock.now();
        if self.tables.capacity.sets() > SETS_AT_ONCE {
            return;
        }
        if self.counted_out.replace(Some(now)) != Some(now) {
            connections::count_out(&self.tables, now);
        }
    }

    fn listed_service(&self, id: u32, service: &ServiceConfig) -> Service {
        let rate = self.rates.services.get(&id).copied().unwrap_or_default();
        Service {
            stats: self.ledger.service(&self.tables, id, service).with(&rate),
            ..uncounted_service(service)
        }
    }

    fn listed_destination(&self, destination: &DestinationConfig) -> Destination {
        let (counters, rate) = self.destination_counters(destination.id);
        Destination {
            stats: counters.with(&rate),
            ..self.uncounted_destination(destination)
        }
    }

    /// A destination without statistics, which are sums over all CPUs.
    fn uncounted_destination(&self, destination: &DestinationConfig) -> Destination {
        let line = self.live(destination.id);
        let counts = line[COUNTS].load();
        Destination {
            key: destination.key,
            settings: destination.settings,
            active: (counts >> 32) as u32,
            inactive: counts as u32,
            persistent: line[TEMPLATES].load() as u32,
            stats: Stats::default(),
        }
    }

    /// Counters and rates of everything.
    #[must_use]
    pub fn total(&self) -> lvsx_ipvs::Stats {
        self.ledger.total(&self.tables).with(&self.rates.total)
    }

    /// What one CPU counted since the tables were made.
    #[must_use]
    pub fn total_of_cpu(&self, cpu: u32) -> lvsx_ipvs::Stats {
        self.ledger
            .total_of_cpu(&self.tables, cpu)
            .with(&Rate::default())
    }
}
