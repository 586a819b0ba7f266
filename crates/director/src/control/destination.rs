//! Adding, changing and removing destinations.

use super::draft::Draft;
use super::refusal;
use crate::addresses::AddressKind;
use crate::config::DestinationConfig;
use lvsx_ipvs::{DestinationKey, DestinationSettings, Errno, Refused, ServiceKey};
use std::net::IpAddr;

impl Draft<'_> {
    pub(super) fn add_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        settings: &DestinationSettings,
    ) -> Result<(), Refused> {
        let (id, found) = self.find(service)?;
        if found.destination(key).is_some() {
            return Err(Errno::EEXIST.into());
        }
        self.check_address(key.addr)?;
        let stands = self.present(id).and_then(|it| it.destination(key));
        let known = stands
            .map(|(_, destination)| destination.id)
            .or_else(|| Some(self.returned(service, key)?.destination.id));
        let mut destination = DestinationConfig {
            id: known.unwrap_or_default(),
            key: *key,
            settings: *settings,
            last_weight: settings.weight,
        };
        refusal::of_destination(&destination)?;
        match known {
            Some(id) => self.revive(id),
            None => destination.id = self.destination_id()?,
        }
        if let Some(found) = self.service(id) {
            found.destinations.insert(0, destination);
        }
        self.list_changed(id);
        Ok(())
    }

    pub(super) fn change_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        settings: &DestinationSettings,
    ) -> Result<(), Refused> {
        let (id, found) = self.find(service)?;
        let (place, old) = found.destination(key).ok_or(Errno::ENOENT)?;
        let destination = DestinationConfig {
            settings: *settings,
            last_weight: if settings.weight == 0 {
                old.last_weight
            } else {
                settings.weight
            },
            ..*old
        };
        refusal::of_destination(&destination)?;
        if let Some(found) = self.service(id) {
            found.destinations[place] = destination;
        }
        self.follow.settled.insert(destination.id);
        self.follow.edited.insert(id);
        self.list_changed(id);
        Ok(())
    }

    pub(super) fn remove_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
    ) -> Result<(), Errno> {
        let (id, found) = self.find(service)?;
        let (place, _) = found.destination(key).ok_or(Errno::ENOENT)?;
        if let Some(found) = self.service(id) {
            found.destinations.remove(place);
        }
        self.list_changed(id);
        Ok(())
    }

    /// `EINVAL` for an address that is no single host's.
    fn check_address(&self, address: IpAddr) -> Result<(), Errno> {
        let is_host = matches!(
            self.control.locals.kind(address),
            AddressKind::Local | AddressKind::Unicast
        );
        if is_host { Ok(()) } else { Err(Errno::EINVAL) }
    }
}
