//! The operations as clients call them.

use super::Control;
use crate::config::{DestinationConfig, ServiceConfig};
use crate::stats::Rate;
use crate::{connections, proc, status};
use lvsx_core::generation::TIMEOUT_UDP;
use lvsx_core::generation::live::destination::{COUNTS, TEMPLATES};
use lvsx_core::state::State;
use lvsx_ipvs::{
    Destination, DestinationKey, DestinationSettings, Director, Errno, Info, Lead, MarkEdit,
    MarkRule, Refused, Service, ServiceKey, ServiceSettings, SyncDaemon, SyncRole, Timeouts,
};

impl Director for Control {
    fn new_service(&mut self, key: &ServiceKey, settings: &ServiceSettings) -> Result<(), Errno> {
        self.add_service(key, settings)
    }

    fn set_service(&mut self, key: &ServiceKey, settings: &ServiceSettings) -> Result<(), Errno> {
        self.change_service(key, settings)
    }

    fn delete_service(&mut self, key: &ServiceKey) -> Result<(), Errno> {
        self.remove_service(key)
    }

    fn services(&self) -> Vec<Service> {
        self.config()
            .services
            .iter()
            .map(|(id, service)| self.listed_service(*id, service))
            .collect()
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
        self.add_destination(service, key, settings)
    }

    fn set_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        settings: &DestinationSettings,
    ) -> Result<(), Errno> {
        self.change_destination(service, key, settings)
    }

    fn end_connections(&mut self, service: &ServiceKey, key: &DestinationKey) -> Result<(), Errno> {
        let (_, found) = self.find(service)?;
        let (_, destination) = found.destination(key).ok_or(Errno::ENOENT)?;
        connections::end(&self.tables, destination.id);
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
        self.remove_destination(service, key)
    }

    fn destinations(&self, service: &ServiceKey) -> Result<Vec<Destination>, Errno> {
        let (_, service) = self.find(service)?;
        Ok(service
            .destinations
            .iter()
            .map(|destination| self.listed_destination(destination))
            .collect())
    }

    fn zero(&mut self, key: Option<&ServiceKey>) -> Result<(), Errno> {
        let chosen = match key {
            Some(key) => vec![self.find(key)?],
            None => self
                .config()
                .services
                .iter()
                .map(|(id, service)| (*id, service.clone()))
                .collect(),
        };
        for (id, service) in chosen {
            self.ledger.zero_service(&self.tables, id, &service);
            self.rates.services.remove(&id);
            for destination in &service.destinations {
                self.rates.destinations.remove(&destination.id);
            }
        }
        if key.is_none() {
            self.ledger.zero_total(&self.tables);
            self.rates.total = Rate::default();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Errno> {
        self.remove_all_services()
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
        let most = i32::MAX as u32 / self.clock.rate.hz;
        let wanted = [
            (ESTABLISHED, timeouts.tcp),
            (FIN_WAIT, timeouts.tcp_fin),
            (TIMEOUT_UDP, timeouts.udp),
        ];
        if wanted.iter().any(|(_, seconds)| *seconds > most) {
            return Err(Errno::EINVAL);
        }
        let mut config = self.config().clone();
        for (number, seconds) in wanted.into_iter().filter(|(_, seconds)| *seconds != 0) {
            config.timeouts[number] = self.clock.rate.ticks(seconds);
        }
        self.put_in_force(config)
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
        self.change_setting(name, value)
    }

    fn marks(&self) -> Vec<MarkRule> {
        let rules = self.config().marks.iter();
        rules.map(|marked| marked.rule.clone()).collect()
    }

    fn edit_marks(&mut self, edits: &[MarkEdit]) -> Result<(), Refused> {
        self.change_marks(edits)
    }

    fn proc_text(&self, name: &str) -> Option<Vec<u8>> {
        proc::text(self, name)
    }

    fn status(&self) -> String {
        status::text(self, &self.serving)
    }
}

const ESTABLISHED: usize = State::ESTABLISHED.0 as usize;
const FIN_WAIT: usize = State::FIN_WAIT.0 as usize;

impl Control {
    fn listed_service(&self, id: u32, service: &ServiceConfig) -> Service {
        let rate = self.rates.services.get(&id).copied().unwrap_or_default();
        Service {
            key: service.key,
            scheduler: match service.scheduler {
                lvsx_core::generation::SchedulerKind::None => None,
                kind => Some(kind.name().to_owned()),
            },
            engine: None,
            flags: service.flags,
            timeout: service.timeout,
            netmask: service.netmask,
            stats: self.ledger.service(&self.tables, id, service).with(&rate),
        }
    }

    fn listed_destination(&self, destination: &DestinationConfig) -> Destination {
        let line = self.live(destination.id);
        let counts = line[COUNTS].load();
        let (counters, rate) = self.destination_counters(destination.id);
        Destination {
            key: destination.key,
            settings: destination.settings,
            active: (counts >> 32) as u32,
            inactive: counts as u32,
            persistent: line[TEMPLATES].load() as u32,
            stats: counters.with(&rate),
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
