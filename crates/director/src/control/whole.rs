//! Many changes in one step, and the table before them.

use super::Control;
use super::draft::Draft;
use lvsx_ipvs::{Applying, Destination, Errno, Fault, Refused, Request, ServiceKey, Stats, mark};
use lvsx_ipvsadm::Table;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

impl Draft<'_> {
    /// Takes a change.
    fn take(&mut self, change: &Request) -> Result<(), Refused> {
        match change {
            Request::NewService(key, settings) => self.add_service(key, settings)?,
            Request::SetService(key, settings) => self.change_service(key, settings)?,
            Request::DeleteService(key) => self.remove_service(key)?,
            Request::NewDestination(service, key, settings) => {
                self.add_destination(service, key, settings)?;
            }
            Request::SetDestination(service, key, settings) => {
                self.change_destination(service, key, settings)?;
            }
            Request::DeleteDestination(service, key) => self.remove_destination(service, key)?,
            Request::Flush => self.remove_all_services(),
            Request::SetTimeouts(timeouts) => self.set_timeouts(timeouts)?,
            Request::SetSetting(name, value) => self.change_setting(name, value)?,
            Request::EditMarks(lines) => {
                let edits = mark::edits(lines).map_err(|why| Refused::new(Errno::EINVAL, why))?;
                self.change_marks(&edits)?;
            }
            Request::Zero(key) => {
                if let Some(key) = key {
                    self.find(key)?;
                }
                self.follow.zeroed.push(*key);
            }
            Request::NewDaemon(_) => {
                let why = "sync daemons are not offered by this version".to_owned();
                return Err(Refused::new(Errno::EOPNOTSUPP, why));
            }
            Request::DeleteDaemon(_) => return Err(Errno::ESRCH.into()),
            _ => return Err(Errno::EINVAL.into()),
        }
        Ok(())
    }
}

impl Control {
    /// Applies changes in one step, or says all that is wrong with them.
    pub(super) fn change_all(&mut self, changes: &[Request], how: Applying) -> Vec<Fault> {
        let mut draft = Draft::of(self);
        let mut faults = Vec::new();
        let mut not_added: HashSet<ServiceKey> = HashSet::new();
        for (change, request) in changes.iter().enumerate() {
            let Err(refused) = draft.take(request) else {
                continue;
            };
            if let Request::NewService(key, _) = request {
                not_added.insert(*key);
            }
            // That its service is not there was said when it could not be added.
            let is_consequence = refused.errno == Errno::ESRCH
                && service_of(request).is_some_and(|key| not_added.contains(key));
            let is_full = refused.errno == Errno::ENOMEM;
            if !is_consequence {
                faults.push(Fault { change, refused });
            }
            if is_full {
                // Nor would any other fit.
                break;
            }
        }
        if how == Applying::Trial || !faults.is_empty() {
            return faults;
        }
        let change = draft.finish();
        let is_kept = how == Applying::Table && self.keeps_before.is_some();
        let before = is_kept.then(|| self.table().lines().0);
        let number = self.generation();
        if let Err(errno) = self.carry_out(change) {
            return vec![Fault {
                change: changes.len(),
                refused: super::director::explained(errno.into()),
            }];
        }
        if self.generation() != number
            && let (Some(path), Some(text)) = (&self.keeps_before, before)
            && let Err(error) = keep(path, &text)
        {
            tracing::warn!(
                "{}: {error}; `lvsx rollback` knows nothing of this change",
                path.display()
            );
        }
        Vec::new()
    }

    /// From here on the table before the last change of many is kept in this file, as lines for `lvsx apply`.
    pub fn keep_before(&mut self, path: PathBuf) {
        self.keeps_before = Some(path);
    }

    /// Everything that is configured.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::default()
            .with_timeouts(lvsx_ipvs::Director::timeouts(self))
            .with_marks(lvsx_ipvs::Director::marks(self))
            .with_settings(self.listed_settings());
        for service in self.config().services.values() {
            let destinations = service.destinations.iter().map(|destination| Destination {
                key: destination.key,
                settings: destination.settings,
                active: 0,
                inactive: 0,
                persistent: 0,
                stats: Stats::default(),
            });
            let listed = super::director::uncounted_service(service);
            table = table.with_service(listed, destinations.collect());
        }
        table
    }
}

/// The service that a change needs.
fn service_of(request: &Request) -> Option<&ServiceKey> {
    match request {
        Request::SetService(key, _)
        | Request::DeleteService(key)
        | Request::NewDestination(key, ..)
        | Request::SetDestination(key, ..)
        | Request::DeleteDestination(key, _)
        | Request::Zero(Some(key)) => Some(key),
        _ => None,
    }
}

/// Writes a file in one piece.
fn keep(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}
