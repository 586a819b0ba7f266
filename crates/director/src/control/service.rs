//! Adding, changing and removing services.

use super::{Control, refusal};
use crate::config::{Config, Removed, ServiceConfig};
use lvsx_core::generation::SchedulerKind;
use lvsx_core::sched::mh;
use lvsx_ipvs::{Errno, Netmask, ServiceFlags, ServiceKey, ServiceSettings};
use std::sync::Arc;

/// Longest IPv6 prefix.
const PREFIX_BITS: u32 = 128;

impl Control {
    pub(super) fn add_service(
        &mut self,
        key: &ServiceKey,
        settings: &ServiceSettings,
    ) -> Result<(), Errno> {
        if self.config().service(key).is_some() {
            return Err(Errno::EEXIST);
        }
        let service = configured(*key, settings, ServiceFlags::default(), Vec::new())?;
        let id = self.free_service()?;
        self.ledger.begin_service(id);
        self.rates.services.remove(&id);
        self.cursor(id).store(0);
        self.forget_localities(id);
        let mut config = self.config().clone();
        config.services.insert(id, Arc::new(service));
        self.put_in_force(config)?;
        self.next_service = id + 1;
        Ok(())
    }

    pub(super) fn change_service(
        &mut self,
        key: &ServiceKey,
        settings: &ServiceSettings,
    ) -> Result<(), Errno> {
        let (id, old) = self.find(key)?;
        let service = configured(*key, settings, old.flags, old.destinations.clone())?;
        let level = match service.scheduler {
            SchedulerKind::WeightedRoundRobin => service.weight_steps().0,
            _ => 0,
        };
        let is_new_scheduler = service.scheduler != old.scheduler;
        if is_new_scheduler {
            if service.scheduler == SchedulerKind::Maglev && service.destinations.len() > mh::SLOTS
            {
                return Err(Errno::EINVAL);
            }
            self.forget_localities(id);
        }
        let mut config = self.config().clone();
        config.services.insert(id, Arc::new(service));
        self.put_in_force(config)?;
        if is_new_scheduler {
            self.cursor(id).store(level.into());
        }
        Ok(())
    }

    pub(super) fn remove_service(&mut self, key: &ServiceKey) -> Result<(), Errno> {
        let (id, _) = self.find(key)?;
        let mut config = self.config().clone();
        let removed = take_service(&mut config, id);
        self.put_in_force(config)?;
        self.settle_removed(&removed);
        Ok(())
    }

    pub(super) fn remove_all_services(&mut self) -> Result<(), Errno> {
        let mut config = self.config().clone();
        let ids: Vec<u32> = config.services.keys().copied().collect();
        let removed: Vec<Removed> = ids
            .into_iter()
            .flat_map(|id| take_service(&mut config, id))
            .collect();
        self.put_in_force(config)?;
        self.settle_removed(&removed);
        Ok(())
    }

    /// Closes the accounts of removed destinations.
    pub(super) fn settle_removed(&mut self, removed: &[Removed]) {
        for entry in removed {
            self.ledger
                .leave(&self.tables, entry.service_id, entry.destination.id);
            self.rates.destinations.remove(&entry.destination.id);
        }
        let Self {
            rates, generations, ..
        } = self;
        rates
            .services
            .retain(|id, _| generations.config().services.contains_key(id));
    }

    /// An id that no service and nothing in the trash bears. Ids go round, so that one which packets on their way may
    /// still write to is not given out again at once.
    fn free_service(&self) -> Result<u32, Errno> {
        let config = self.config();
        let all = self.tables.capacity.services;
        let start = if self.next_service < all {
            self.next_service
        } else {
            0
        };
        (start..all)
            .chain(0..start)
            .find(|id| {
                !config.services.contains_key(id)
                    && !config.trash.iter().any(|removed| removed.service_id == *id)
            })
            .ok_or_else(|| {
                tracing::error!("all {all} service ids are in use");
                Errno::ENOMEM
            })
    }
}

/// The service as asked for, its flags a change of `old`.
fn configured(
    key: ServiceKey,
    settings: &ServiceSettings,
    old: ServiceFlags,
    destinations: Vec<crate::config::DestinationConfig>,
) -> Result<ServiceConfig, Errno> {
    let scheduler = match &settings.scheduler {
        None => SchedulerKind::None,
        Some(name) => SchedulerKind::named(name).ok_or(Errno::ENOENT)?,
    };
    if settings.engine.is_some() {
        return Err(Errno::ENOENT);
    }
    if let Netmask::V6(prefix) = settings.netmask
        && !(1..=PREFIX_BITS).contains(&prefix)
    {
        return Err(Errno::EINVAL);
    }
    let service = ServiceConfig {
        key,
        scheduler,
        flags: ServiceFlags(settings.flags.applied_to(old).0 & !ServiceFlags::HASHED.0),
        timeout: settings.timeout,
        netmask: settings.netmask,
        destinations,
    };
    refusal::of_service(&service)?;
    Ok(service)
}

/// Takes a service out of `config`, its destinations to the trash; what went there.
fn take_service(config: &mut Config, id: u32) -> Vec<Removed> {
    let Some(service) = config.services.remove(&id) else {
        return Vec::new();
    };
    let removed: Vec<Removed> = service
        .destinations
        .iter()
        .map(|destination| Removed {
            destination: *destination,
            service: service.key,
            service_id: id,
        })
        .collect();
    if !removed.is_empty() {
        Arc::make_mut(&mut config.trash).extend(&removed);
    }
    removed
}
