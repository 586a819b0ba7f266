//! The configuration as the director keeps it: what a generation is written from, and read back into.
//!
//! A change makes the next configuration from the present one; services that it does not touch are shared, so that
//! what has to be written anew shows by comparing pointers.

use lvsx_core::generation::{IcmpLimits, Kinds, PathLimits, SchedulerKind, TIMEOUTS, Values};
use lvsx_ipvs::{
    DestinationKey, DestinationSettings, ForwardingMethod, MarkRule, Netmask, ServiceFlags,
    ServiceKey,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Port of FTP's control connections.
const FTP: u16 = 21;
/// Protocol number of TCP, as services name it.
const TCP: u16 = 6;

/// A configuration: services, what was removed from them, settings.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Config {
    /// Services by id.
    pub services: BTreeMap<u32, Arc<ServiceConfig>>,
    /// Removed destinations whose connections may live on, in the order of their removal.
    pub trash: Arc<Vec<Removed>>,
    /// The settings `net.ipv4.vs.*`.
    pub values: Values,
    /// Mark rules, in their order.
    pub marks: Arc<Vec<Marked>>,
    /// How many ICMP errors this host sends.
    pub icmp: IcmpLimits,
    /// What is learned of paths.
    pub paths: PathLimits,
    /// Timeouts in ticks, by number.
    pub timeouts: [u32; TIMEOUTS],
}

/// A mark rule, with what it means on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The rule.
    pub rule: MarkRule,
    /// Index of the interface that it names; `None` where there is none of this name.
    pub interface: Option<u32>,
}

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Identity.
    pub key: ServiceKey,
    /// Who picks.
    pub scheduler: SchedulerKind,
    /// Flags.
    pub flags: ServiceFlags,
    /// Persistence timeout in seconds.
    pub timeout: u32,
    /// Granularity of persistence.
    pub netmask: Netmask,
    /// Destinations, newest first.
    pub destinations: Vec<DestinationConfig>,
}

/// A destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationConfig {
    /// Stable id: its live line, its tallies.
    pub id: u32,
    /// Identity within its service.
    pub key: DestinationKey,
    /// What was set.
    pub settings: DestinationSettings,
    /// Latest weight that was not 0; on adding, the weight whatever it was.
    pub last_weight: u32,
}

/// A destination in the trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The destination as it was.
    pub destination: DestinationConfig,
    /// The service it belonged to: added to a service of this key again, it comes back with its connections.
    pub service: ServiceKey,
    /// Id of that service; another id is another service, to which the statistics do not belong.
    pub service_id: u32,
}

impl Config {
    /// What kinds of services and rules there are, so that packets are spared look-ups that can find nothing.
    #[must_use]
    pub fn kinds(&self) -> Kinds {
        let mut kinds = Kinds {
            mark_rules: !self.marks.is_empty(),
            ..Kinds::default()
        };
        for service in self.services.values() {
            let has = |flag| service.flags.contains(flag);
            kinds.persistent |= has(ServiceFlags::PERSISTENT);
            kinds.one_packet |= has(ServiceFlags::ONE_PACKET);
            match service.key {
                ServiceKey::Mark { .. } => {
                    kinds.marked = true;
                    kinds.any_port = true;
                }
                ServiceKey::Address { protocol, port, .. } => {
                    kinds.any_port |= port == 0;
                    kinds.ftp |= port == FTP && protocol == TCP;
                }
            }
        }
        kinds
    }

    /// Id and configuration of the service called `key`.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<(u32, &Arc<ServiceConfig>)> {
        self.services
            .iter()
            .find(|(_, service)| service.key == *key)
            .map(|(id, service)| (*id, service))
    }

    /// Ids of destinations that belong to a service.
    pub fn available(&self) -> impl Iterator<Item = u32> {
        self.services.values().flat_map(|service| {
            service
                .destinations
                .iter()
                .map(|destination| destination.id)
        })
    }

    /// Ids of destinations that are in use: those of services and those in the trash.
    #[must_use]
    pub fn used_destinations(&self) -> BTreeSet<u32> {
        self.available()
            .chain(self.trash.iter().map(|removed| removed.destination.id))
            .collect()
    }

    /// Destinations, those in the trash too.
    fn destinations(&self) -> impl Iterator<Item = &DestinationConfig> {
        let present = self
            .services
            .values()
            .flat_map(|service| &service.destinations);
        present.chain(self.trash.iter().map(|removed| &removed.destination))
    }

    /// The address of each destination, those in the trash too.
    pub fn servers(&self) -> impl Iterator<Item = IpAddr> {
        self.destinations().map(|destination| destination.key.addr)
    }

    /// The address of each masqueraded destination, those in the trash too: packets from it may be replies.
    pub fn masqueraded(&self) -> impl Iterator<Item = IpAddr> {
        self.destinations()
            .filter(|destination| destination.settings.method == ForwardingMethod::Masquerade)
            .map(|destination| destination.key.addr)
    }

    /// The address of each service, and of those whose destinations are in the trash.
    pub fn virtual_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let present = self.services.values().map(|service| &service.key);
        let removed = self.trash.iter().map(|removed| &removed.service);
        present.chain(removed).filter_map(|key| match key {
            ServiceKey::Address { addr, .. } => Some(*addr),
            ServiceKey::Mark { .. } => None,
        })
    }
}

impl ServiceConfig {
    /// Place and configuration of the destination called `key`.
    #[must_use]
    pub fn destination(&self, key: &DestinationKey) -> Option<(usize, &DestinationConfig)> {
        self.destinations
            .iter()
            .enumerate()
            .find(|(_, destination)| destination.key == *key)
    }

    /// For wrr: the highest level and the step of the weights.
    #[must_use]
    pub fn weight_steps(&self) -> (u32, u32) {
        lvsx_core::sched::wrr::steps(
            self.destinations
                .iter()
                .map(|destination| destination.settings.weight),
        )
    }
}
