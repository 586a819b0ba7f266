//! Everything that is configured, as a value: what changes make of it, how two differ, and its lines.

use lvsx_ipvs::{
    Client, ClientError, Destination, DestinationKey, DestinationSettings, Errno, FlagChange,
    ForwardingMethod, MarkEdit, MarkRule, Refused, Request, Service, ServiceFlags, ServiceKey,
    ServiceSettings, SyncDaemon, Timeouts, mark,
};
use std::collections::BTreeMap;
use std::fs;

use crate::words;

/// Where the kernel keeps its settings.
const KERNEL_SETTINGS: &str = "/proc/sys/net/ipv4/vs";
/// Settings that follow from the machine and cannot be chosen.
const NOT_CHOSEN: &[&str] = &["sync_qlen_max"];

/// What is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    services: BTreeMap<ServiceKey, Stored>,
    timeouts: Timeouts,
    daemons: Vec<SyncDaemon>,
    marks: Vec<MarkRule>,
    settings: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    settings: ServiceSettings,
    /// In the order in which they were added.
    destinations: Vec<(DestinationKey, DestinationSettings)>,
}

impl Table {
    /// What a director has configured.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn read(client: &mut Client) -> Result<Self, ClientError> {
        let mut table = Self {
            timeouts: client.timeouts()?,
            daemons: client.daemons()?,
            ..Self::default()
        };
        if client.is_kernel() {
            table.settings = kernel_settings();
        } else {
            table = table
                .with_marks(client.marks()?)
                .with_settings(client.settings()?);
        }
        match client.table(false)? {
            Some(snapshot) => {
                for (service, destinations) in snapshot.rows() {
                    table = table.with_service(service, destinations);
                }
            }
            None => {
                for service in client.services()? {
                    let destinations = client.destinations(&service.key)?;
                    table = table.with_service(service, destinations);
                }
            }
        }
        Ok(table)
    }

    /// The table with these timeouts.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The table with these mark rules.
    #[must_use]
    pub fn with_marks(mut self, marks: Vec<MarkRule>) -> Self {
        self.marks = marks;
        self
    }

    /// The table with these settings, but for those that nobody chooses.
    #[must_use]
    pub fn with_settings<Name: Into<String>>(
        mut self,
        settings: impl IntoIterator<Item = (Name, String)>,
    ) -> Self {
        let named = settings
            .into_iter()
            .map(|(name, value)| (name.into(), value));
        let chosen = named.filter(|(name, _)| !NOT_CHOSEN.contains(&&**name));
        self.settings = chosen.map(|(name, value)| (name, blanks(&value))).collect();
        self
    }

    /// The table with one more service, and its destinations as a director lists them: newest first.
    #[must_use]
    pub fn with_service(mut self, service: Service, destinations: Vec<Destination>) -> Self {
        let settings = ServiceSettings {
            scheduler: service.scheduler,
            engine: service.engine,
            flags: FlagChange::exactly(shown(service.flags)),
            timeout: service.timeout,
            netmask: service.netmask,
        };
        let oldest_first = destinations.into_iter().rev();
        let destinations = oldest_first.map(|it| (it.key, it.settings)).collect();
        self.services.insert(
            service.key,
            Stored {
                settings,
                destinations,
            },
        );
        self
    }

    /// Takes a change as a director would, as far as a director's own state does not matter.
    ///
    /// # Errors
    /// `EEXIST`, `ESRCH` and `ENOENT` as a director says them.
    pub fn take(&mut self, change: &Request) -> Result<(), Refused> {
        match change {
            Request::NewService(key, settings) => {
                if self.services.contains_key(key) {
                    return Err(Errno::EEXIST.into());
                }
                let stored = Stored {
                    settings: applied(settings, ServiceFlags::default()),
                    destinations: Vec::new(),
                };
                self.services.insert(*key, stored);
            }
            Request::SetService(key, settings) => {
                let stored = self.stored(key)?;
                stored.settings = applied(settings, stored.settings.flags.flags);
            }
            Request::DeleteService(key) => {
                self.services.remove(key).ok_or(Errno::ESRCH)?;
            }
            Request::NewDestination(service, key, settings) => {
                let destinations = &mut self.stored(service)?.destinations;
                if destinations.iter().any(|(other, _)| other == key) {
                    return Err(Errno::EEXIST.into());
                }
                destinations.push((*key, *settings));
            }
            Request::SetDestination(service, key, settings) => {
                let destinations = &mut self.stored(service)?.destinations;
                let found = destinations.iter_mut().find(|(other, _)| other == key);
                found.ok_or(Errno::ENOENT)?.1 = *settings;
            }
            Request::DeleteDestination(service, key) => {
                let destinations = &mut self.stored(service)?.destinations;
                let place = destinations.iter().position(|(other, _)| other == key);
                destinations.remove(place.ok_or(Errno::ENOENT)?);
            }
            Request::Flush => self.services.clear(),
            Request::Zero(Some(key)) => {
                self.stored(key)?;
            }
            Request::SetTimeouts(wanted) => {
                let or = |new, old| if new == 0 { old } else { new };
                self.timeouts = Timeouts {
                    tcp: or(wanted.tcp, self.timeouts.tcp),
                    tcp_fin: or(wanted.tcp_fin, self.timeouts.tcp_fin),
                    udp: or(wanted.udp, self.timeouts.udp),
                };
            }
            Request::NewDaemon(wanted) => {
                if self.daemons.iter().any(|other| other.role == wanted.role) {
                    return Err(Errno::EEXIST.into());
                }
                self.daemons.push(wanted.clone());
            }
            Request::DeleteDaemon(role) => {
                let place = self.daemons.iter().position(|other| other.role == *role);
                self.daemons.remove(place.ok_or(Errno::ESRCH)?);
            }
            Request::SetSetting(name, value) => {
                self.settings.insert(name.clone(), blanks(value));
            }
            Request::EditMarks(lines) => {
                let edits = mark::edits(lines).map_err(|why| Refused::new(Errno::EINVAL, why))?;
                edits.iter().try_for_each(|edit| self.edit_mark(edit))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn stored(&mut self, key: &ServiceKey) -> Result<&mut Stored, Errno> {
        self.services.get_mut(key).ok_or(Errno::ESRCH)
    }

    fn edit_mark(&mut self, edit: &MarkEdit) -> Result<(), Errno> {
        match edit {
            MarkEdit::Add(rule) => self.marks.push(rule.clone()),
            MarkEdit::Flush => self.marks.clear(),
            MarkEdit::Delete(rule) => {
                let place = self.marks.iter().rposition(|other| other == rule);
                self.marks.remove(place.ok_or(Errno::ENOENT)?);
            }
        }
        Ok(())
    }

    /// The sync daemons.
    pub(crate) fn daemons(&self) -> &[SyncDaemon] {
        &self.daemons
    }

    /// The changes that make `wanted` of this: what is new comes before what goes, so that made one by one they leave no
    /// service without a server between. The order of destinations is no difference.
    #[must_use]
    pub fn difference(&self, wanted: &Self) -> Vec<Request> {
        let mut changes = Vec::new();
        for (name, value) in &wanted.settings {
            if self.settings.get(name) != Some(value) {
                changes.push(Request::SetSetting(name.clone(), value.clone()));
            }
        }
        if self.timeouts != wanted.timeouts {
            changes.push(Request::SetTimeouts(wanted.timeouts));
        }
        if self.marks != wanted.marks {
            changes.push(marks(&wanted.marks));
        }
        for daemon in &self.daemons {
            if !wanted.daemons.iter().any(|it| is_as_wanted(daemon, it)) {
                changes.push(Request::DeleteDaemon(daemon.role));
            }
        }
        for (key, stored) in &wanted.services {
            match self.services.get(key) {
                None => {
                    changes.push(Request::NewService(*key, stored.settings.clone()));
                    let new = stored.destinations.iter();
                    changes.extend(new.map(|(it, how)| Request::NewDestination(*key, *it, *how)));
                }
                Some(old) => old.difference(key, stored, &mut changes),
            }
        }
        let gone = self
            .services
            .keys()
            .filter(|key| !wanted.services.contains_key(key));
        changes.extend(gone.map(|key| Request::DeleteService(*key)));
        for daemon in &wanted.daemons {
            if !self.daemons.iter().any(|it| is_as_wanted(it, daemon)) {
                changes.push(Request::NewDaemon(daemon.clone()));
            }
        }
        changes
    }

    /// The table as lines for `lvsx apply`. ipvsadm 1.31 reads them too, but for those that begin with `#`, which its
    /// `ipvsadm-restore` skips. And what no line can say.
    #[must_use]
    pub fn lines(&self) -> (String, Vec<String>) {
        let mut changes = vec![Request::SetTimeouts(self.timeouts)];
        for (key, stored) in &self.services {
            changes.push(Request::NewService(*key, stored.settings.clone()));
            let destinations = stored.destinations.iter();
            changes.extend(destinations.map(|(it, how)| Request::NewDestination(*key, *it, *how)));
        }
        changes.extend(self.daemons.iter().cloned().map(Request::NewDaemon));
        // What ipvsadm does not know comes last: `ipvsadm -R` 1.31 ends there, with all else in place.
        changes.push(marks(&self.marks));
        let settings = self.settings.iter();
        changes
            .extend(settings.map(|(name, value)| Request::SetSetting(name.clone(), value.clone())));
        let (mut text, mut left_out) = (String::new(), Vec::new());
        for change in &changes {
            match words::line(change) {
                Some(line) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                None => left_out.push(format!("left out, as no option says it: {change:?}")),
            }
        }
        (text, left_out)
    }
}

impl Stored {
    fn difference(&self, key: &ServiceKey, wanted: &Self, changes: &mut Vec<Request>) {
        if self.settings != wanted.settings {
            changes.push(Request::SetService(*key, wanted.settings.clone()));
        }
        let old: BTreeMap<&DestinationKey, &DestinationSettings> = self
            .destinations
            .iter()
            .map(|(it, how)| (it, how))
            .collect();
        let new: BTreeMap<&DestinationKey, &DestinationSettings> = wanted
            .destinations
            .iter()
            .map(|(it, how)| (it, how))
            .collect();
        for (it, how) in &wanted.destinations {
            match old.get(it) {
                None => changes.push(Request::NewDestination(*key, *it, *how)),
                Some(found) if !is_same(found, how) => {
                    changes.push(Request::SetDestination(*key, *it, *how));
                }
                Some(_) => {}
            }
        }
        let gone = self
            .destinations
            .iter()
            .filter(|(it, _)| !new.contains_key(it));
        changes.extend(gone.map(|(it, _)| Request::DeleteDestination(*key, *it)));
    }
}

/// A server on the director itself is listed as that, whatever was said.
fn is_same(listed: &DestinationSettings, wanted: &DestinationSettings) -> bool {
    let is_local = listed.method == ForwardingMethod::Local;
    let method = if is_local {
        listed.method
    } else {
        wanted.method
    };
    *listed == DestinationSettings { method, ..*wanted }
}

/// What is left at 0 when a daemon is started is chosen by the director.
pub(crate) fn is_as_wanted(running: &SyncDaemon, wanted: &SyncDaemon) -> bool {
    let or = |wanted: u16, running| if wanted == 0 { running } else { wanted };
    let wanted = SyncDaemon {
        max_length: or(wanted.max_length, running.max_length),
        group: wanted.group.or(running.group),
        port: or(wanted.port, running.port),
        ttl: if wanted.ttl == 0 {
            running.ttl
        } else {
            wanted.ttl
        },
        ..wanted.clone()
    };
    *running == wanted
}

/// All rules in place of those that there are.
fn marks(rules: &[MarkRule]) -> Request {
    let added = rules.iter().cloned().map(MarkEdit::Add);
    let edits = std::iter::once(MarkEdit::Flush).chain(added);
    Request::EditMarks(edits.map(|edit| format!("{edit}\n")).collect())
}

fn applied(settings: &ServiceSettings, old: ServiceFlags) -> ServiceSettings {
    ServiceSettings {
        flags: FlagChange::exactly(shown(settings.flags.applied_to(old))),
        ..settings.clone()
    }
}

/// The flags without the one that every answer has.
fn shown(flags: ServiceFlags) -> ServiceFlags {
    ServiceFlags(flags.0 & !ServiceFlags::HASHED.0)
}

/// Numbers with one blank between them.
fn blanks(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn kernel_settings() -> BTreeMap<String, String> {
    let files = fs::read_dir(KERNEL_SETTINGS)
        .into_iter()
        .flatten()
        .flatten();
    let read = files.filter_map(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        Some((name, fs::read_to_string(file.path()).ok()?))
    });
    Table::default().with_settings(read).settings
}

/// Sets a setting of the kernel's.
///
/// # Errors
/// What the kernel says.
pub(crate) fn set_kernel_setting(name: &str, value: &str) -> Result<(), Refused> {
    fs::write(format!("{KERNEL_SETTINGS}/{name}"), value).map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::new);
        Refused::new(errno, format!("{KERNEL_SETTINGS}/{name}: {error}"))
    })
}

#[cfg(test)]
mod tests;
