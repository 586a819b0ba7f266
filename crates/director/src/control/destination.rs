//! Adding, changing and removing destinations.

use super::{Control, refusal};
use crate::addresses::AddressKind;
use crate::config::{DestinationConfig, Removed, ServiceConfig};
use crate::stats::Rate;
use lvsx_core::generation::SchedulerKind;
use lvsx_core::generation::live::destination::{FLAGS, TEMPLATES};
use lvsx_ipvs::{DestinationKey, DestinationSettings, Errno, ServiceKey};
use std::net::IpAddr;
use std::sync::Arc;

impl Control {
    pub(super) fn add_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        settings: &DestinationSettings,
    ) -> Result<(), Errno> {
        let (id, mut next) = self.find(service)?;
        if next.destination(key).is_some() {
            return Err(Errno::EEXIST);
        }
        self.check_address(key.addr)?;
        let returned = self
            .config()
            .trash
            .iter()
            .find(|old| old.service == *service && old.destination.key == *key);
        let returned = returned.copied();
        let destination = DestinationConfig {
            id: returned.map_or_else(|| self.free_destination(), |old| Ok(old.destination.id))?,
            key: *key,
            settings: *settings,
            last_weight: settings.weight,
        };
        refusal::of_destination(&destination)?;

        let mut config = self.config().clone();
        if returned.is_some() {
            Arc::make_mut(&mut config.trash).retain(|old| old.destination.id != destination.id);
        } else {
            self.live(destination.id)[TEMPLATES].store(0);
            self.live(destination.id)[FLAGS].store(0);
        }
        Arc::make_mut(&mut next).destinations.insert(0, destination);
        config.services.insert(id, next.clone());
        let is_counted_anew = returned.is_none_or(|old| old.service_id != id);
        self.ledger
            .join(&self.tables, destination.id, is_counted_anew);
        let rate = Rate::from(self.ledger.destination(&self.tables, destination.id));
        self.rates.destinations.insert(destination.id, rate);
        if let Err(full) = self.put_in_force(config) {
            self.ledger.leave(&self.tables, id, destination.id);
            return Err(full);
        }
        self.write_limits(destination.id, settings);
        self.list_changed(id, &next);
        self.idle.remove(&destination.id);
        Ok(())
    }

    pub(super) fn change_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        settings: &DestinationSettings,
    ) -> Result<(), Errno> {
        let (id, mut next) = self.find(service)?;
        let (place, old) = next.destination(key).ok_or(Errno::ENOENT)?;
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

        let mut config = self.config().clone();
        Arc::make_mut(&mut next).destinations[place] = destination;
        config.services.insert(id, next.clone());
        self.put_in_force(config)?;
        self.write_limits(destination.id, settings);
        self.reset_wrr(id, &next);
        Ok(())
    }

    pub(super) fn remove_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
    ) -> Result<(), Errno> {
        let (id, mut next) = self.find(service)?;
        let (place, _) = next.destination(key).ok_or(Errno::ENOENT)?;
        let before = next.clone();
        let destination = Arc::make_mut(&mut next).destinations.remove(place);
        let removed = Removed {
            destination,
            service: *service,
            service_id: id,
        };

        let mut config = self.config().clone();
        config.services.insert(id, next.clone());
        Arc::make_mut(&mut config.trash).push(removed);
        // Before, so that the first packet that sees the new list goes on behind the predecessor; and after, because
        // one that sees the old list may have picked the destination meanwhile.
        self.step_back_rr(id, &before, place);
        self.put_in_force(config)?;
        self.step_back_rr(id, &before, place);
        self.settle_removed(&[removed]);
        self.list_changed(id, &next);
        Ok(())
    }

    /// rr: a cursor on the destination at `place` moves to the one before it.
    fn step_back_rr(&self, id: u32, service: &ServiceConfig, place: usize) {
        if service.scheduler != SchedulerKind::RoundRobin {
            return;
        }
        let on = |destination: &DestinationConfig| u64::from(destination.id) + 1;
        let gone = on(&service.destinations[place]);
        let before = place
            .checked_sub(1)
            .map_or(0, |place| on(&service.destinations[place]));
        self.move_cursor(id, |cursor| if cursor == gone { before } else { cursor });
    }

    fn list_changed(&self, id: u32, service: &ServiceConfig) {
        self.write_places(service);
        self.reset_wrr(id, service);
    }

    /// `EINVAL` for an address that is no single host's.
    fn check_address(&self, address: IpAddr) -> Result<(), Errno> {
        let is_host = matches!(
            self.locals.kind(address),
            AddressKind::Local | AddressKind::Unicast
        );
        if is_host { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// An id that no destination bears and no connection names.
    fn free_destination(&self) -> Result<u32, Errno> {
        let used = self.config().used_destinations();
        let all = self.tables.capacity.destinations;
        (0..all).find(|id| !used.contains(id) && self.is_unused(*id)).ok_or_else(|| {
            tracing::error!("all {all} destination ids are in use, those of removed destinations with connections included");
            Errno::ENOMEM
        })
    }
}
