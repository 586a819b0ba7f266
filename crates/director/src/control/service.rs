//! Adding, changing and removing services.

use super::draft::Draft;
use super::refusal;
use crate::config::ServiceConfig;
use lvsx_core::generation::SchedulerKind;
use lvsx_core::sched::mh;
use lvsx_ipvs::{Errno, Netmask, Refused, ServiceFlags, ServiceKey, ServiceSettings};

/// Longest IPv6 prefix.
const PREFIX_BITS: u32 = 128;

impl Draft<'_> {
    pub(super) fn add_service(
        &mut self,
        key: &ServiceKey,
        settings: &ServiceSettings,
    ) -> Result<(), Refused> {
        if self.find(key).is_ok() {
            return Err(Errno::EEXIST.into());
        }
        let service = configured(*key, settings, ServiceFlags::default(), Vec::new())?;
        let id = self.service_id(key)?;
        self.insert_service(id, service);
        Ok(())
    }

    pub(super) fn change_service(
        &mut self,
        key: &ServiceKey,
        settings: &ServiceSettings,
    ) -> Result<(), Refused> {
        let (id, old) = self.find(key)?;
        let service = configured(*key, settings, old.flags, old.destinations.clone())?;
        let is_new_scheduler = service.scheduler != old.scheduler;
        if is_new_scheduler
            && service.scheduler == SchedulerKind::Maglev
            && service.destinations.len() > mh::SLOTS
        {
            return Err(Errno::EINVAL.into());
        }
        if is_new_scheduler && self.present(id).is_none() {
            self.follow.cursors.insert(id, first_cursor(&service));
        }
        self.insert_service(id, service);
        Ok(())
    }

    pub(super) fn remove_service(&mut self, key: &ServiceKey) -> Result<(), Errno> {
        let (id, _) = self.find(key)?;
        self.take_service(id);
        self.follow.cursors.remove(&id);
        Ok(())
    }

    pub(super) fn remove_all_services(&mut self) {
        self.take_all_services();
        self.follow.cursors.clear();
    }
}

/// Where a scheduler begins in a service that has destinations already.
pub(super) fn first_cursor(service: &ServiceConfig) -> u64 {
    match service.scheduler {
        SchedulerKind::WeightedRoundRobin => service.weight_steps().0.into(),
        _ => 0,
    }
}

/// The service as asked for, its flags a change of `old`.
fn configured(
    key: ServiceKey,
    settings: &ServiceSettings,
    old: ServiceFlags,
    destinations: Vec<crate::config::DestinationConfig>,
) -> Result<ServiceConfig, Refused> {
    let scheduler = match &settings.scheduler {
        None => SchedulerKind::None,
        Some(name) => SchedulerKind::named(name).ok_or(Errno::ENOENT)?,
    };
    if settings.engine.is_some() {
        return Err(Errno::ENOENT.into());
    }
    if let Netmask::V6(prefix) = settings.netmask
        && !(1..=PREFIX_BITS).contains(&prefix)
    {
        return Err(Errno::EINVAL.into());
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
