//! The operations a director offers to its clients.

use crate::errno::{Errno, Refused};
use crate::mark::{MarkEdit, MarkRule};
use crate::model::{
    Destination, DestinationKey, DestinationSettings, Info, Lead, Service, ServiceKey,
    ServiceSettings, SyncDaemon, SyncRole, Timeouts,
};
use crate::request::Request;
use crate::stage::Stage;

/// What is wrong with one of several changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which, counted from 0; one beyond the last is a fault of the whole.
    pub change: usize,
    /// Why it is refused.
    pub refused: Refused,
}

impl Fault {
    /// As a line: place, number, reason.
    pub(crate) fn line(&self) -> String {
        let why = self.refused.why.replace('\n', " ");
        format!("{} {} {why}\n", self.change, self.refused.errno.number())
    }

    /// Reads such a line.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let (change, rest) = line.split_once(' ')?;
        let (number, why) = rest.split_once(' ')?;
        Some(Self {
            change: change.parse().ok()?,
            refused: Refused::new(Errno::new(number.parse().ok()?), why.to_owned()),
        })
    }
}

/// How several changes are applied: all or none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applying {
    /// Nothing is changed, only looked whether that could be.
    Trial,
    /// As a table; the one before is kept, so that it can be taken back.
    Table,
    /// As lines that might have come one by one.
    Lines,
}

/// A director as [`answer`](crate::serve::answer) drives it: a method a command.
///
/// What a message can violate by itself is checked before a method is called: required attributes,
/// lengths, families, the range of weight and thresholds, the port of a GUE tunnel, that only a
/// tunnel leads to the other family. What depends on the director's state is its own to check, with
/// the errors named at each method (Linux 6.1). A method that answers an error has changed nothing.
pub trait Director {
    /// Adds a virtual service; flags are `settings.flags` applied to the empty set.
    ///
    /// # Errors
    /// In this order: `EEXIST` the service is there; `ENOENT` scheduler or persistence engine
    /// unknown; `EINVAL` IPv6 prefix outside 1 to 128; what the scheduler answers.
    fn new_service(&mut self, key: &ServiceKey, settings: &ServiceSettings) -> Result<(), Errno>;

    /// Changes a virtual service; flags are `settings.flags` applied to those it has.
    ///
    /// # Errors
    /// `ESRCH` no such service; otherwise as for a new one.
    fn set_service(&mut self, key: &ServiceKey, settings: &ServiceSettings) -> Result<(), Errno>;

    /// Removes a virtual service with its destinations; connections live on without them.
    ///
    /// # Errors
    /// `ESRCH` no such service.
    fn delete_service(&mut self, key: &ServiceKey) -> Result<(), Errno>;

    /// All virtual services, in any order.
    fn services(&self) -> Vec<Service>;

    /// Shows every service with its destinations, as they are at one moment. Without `statistics` counters and rates need
    /// not be told.
    fn each_service(&self, statistics: bool, show: &mut dyn FnMut(&Service, &[Destination])) {
        let _ = statistics;
        for service in self.services() {
            show(
                &service,
                &self.destinations(&service.key).unwrap_or_default(),
            );
        }
    }

    /// One virtual service.
    ///
    /// # Errors
    /// `ESRCH` no such service.
    fn service(&self, key: &ServiceKey) -> Result<Service, Errno>;

    /// Adds a destination to a service.
    ///
    /// # Errors
    /// In this order: `ESRCH` no such service; `EINVAL` family other than the service's while a
    /// sync daemon runs; `EEXIST` the destination is there; `EINVAL` the address is neither
    /// unicast nor local.
    fn new_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        settings: &DestinationSettings,
    ) -> Result<(), Errno>;

    /// Changes a destination.
    ///
    /// # Errors
    /// `ESRCH` no such service; `EINVAL` as for a new one; `ENOENT` no such destination.
    fn set_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        settings: &DestinationSettings,
    ) -> Result<(), Errno>;

    /// Removes a destination.
    ///
    /// # Errors
    /// `ESRCH` no such service; `ENOENT` no such destination.
    fn delete_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
    ) -> Result<(), Errno>;

    /// Ends the connections and persistence templates of a destination, as if their time were over.
    ///
    /// # Errors
    /// `ESRCH` no such service; `ENOENT` no such destination.
    fn end_connections(&mut self, service: &ServiceKey, key: &DestinationKey) -> Result<(), Errno>;

    /// Leads a connection that this host is about to open to a destination of a service, past the scheduler and whatever the
    /// weight; not to a masqueraded one. It counts as a connection of the destination, and is ended some time after it should
    /// have been over.
    ///
    /// # Errors
    /// `ESRCH` no such service; `ENOENT` no such destination; `EINVAL` a service by mark, a masqueraded destination or one of
    /// another family, a protocol other than TCP and UDP, a client's end that is not this host's own; `EEXIST` there is such a
    /// connection; `ENOMEM` no room in the table, or another opens one of the same home.
    fn lead(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        lead: &Lead,
    ) -> Result<(), Errno>;

    /// The destinations of a service, newest first.
    ///
    /// # Errors
    /// `ESRCH` no such service.
    fn destinations(&self, service: &ServiceKey) -> Result<Vec<Destination>, Errno>;

    /// Sets the counters of a service and its destinations to zero; without a key all counters,
    /// the totals too.
    ///
    /// # Errors
    /// `ESRCH` no such service.
    fn zero(&mut self, key: Option<&ServiceKey>) -> Result<(), Errno>;

    /// Removes all virtual services.
    ///
    /// # Errors
    /// Those of the data plane.
    fn flush(&mut self) -> Result<(), Errno>;

    /// The timeouts in effect.
    fn timeouts(&self) -> Timeouts;

    /// Sets timeouts; 0 keeps a value.
    ///
    /// # Errors
    /// `EINVAL` a value above 2^31-1 ticks; nothing is changed then.
    fn set_timeouts(&mut self, timeouts: &Timeouts) -> Result<(), Errno>;

    /// Version and table size.
    fn info(&self) -> Info;

    /// The sync daemons that run, master first.
    fn daemons(&self) -> Vec<SyncDaemon>;

    /// Starts a sync daemon.
    ///
    /// # Errors
    /// `EINVAL` group not multicast, or destinations of mixed families; `ENODEV` no such
    /// interface; `EEXIST` one of this role runs; `EOPNOTSUPP` not offered.
    fn new_daemon(&mut self, daemon: &SyncDaemon) -> Result<(), Errno>;

    /// Stops the sync daemon of a role.
    ///
    /// # Errors
    /// `ESRCH` none is running.
    fn delete_daemon(&mut self, role: SyncRole) -> Result<(), Errno>;

    /// The settings `net.ipv4.vs.*`, sorted: lines of `name = value`, without the prefix.
    fn settings(&self) -> String;

    /// Sets one, named without the prefix.
    ///
    /// # Errors
    /// `ENOENT` no such setting; `EINVAL` not a number, or out of range; `EOPNOTSUPP` the director could not honour the
    /// value.
    fn set_setting(&mut self, name: &str, value: &str) -> Result<(), Refused>;

    /// The mark rules, in their order.
    fn marks(&self) -> Vec<MarkRule>;

    /// Changes them, all or none.
    ///
    /// # Errors
    /// `ENOENT` a rule to be deleted is not there; `ENOMEM` there would be too many.
    fn edit_marks(&mut self, edits: &[MarkEdit]) -> Result<(), Refused>;

    /// Changes that clients are sending in parts.
    fn stage(&mut self) -> &mut Stage;

    /// Applies changes in one step: packets see all of them or none, and what is there before and after keeps its connections
    /// and counters. With a fault, or on trial, nothing is changed. The changes are those of [`Request::is_change`], in their
    /// order; each is refused as it would be alone, and then the next is looked at.
    fn apply(&mut self, changes: &[Request], how: Applying) -> Vec<Fault>;

    /// The text of a file under `/proc/net`, such as `ip_vs_conn`, byte for byte as the kernel
    /// would write it; `None` for a name that IPVS does not have.
    fn proc_text(&self, name: &str) -> Option<Vec<u8>>;

    /// The director's state for the operator, as a JSON text.
    fn status(&self) -> String;
}
