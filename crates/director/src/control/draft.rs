//! A change before it is in force: the next configuration, made from the present one by one operation or by many.
//!
//! Operations (`service`, `destination`, `marks`, `settings`) look at the draft and change nothing but it; one that is
//! refused has not changed that either. A service or destination that goes and comes again within a draft never went: it
//! keeps its id, and with it connections and counters. What a draft means for the tables is worked out once, from the
//! difference between two configurations (`force`), so a change of a whole table costs what a change of one line does.

use super::Control;
use crate::config::{Config, DestinationConfig, Removed, ServiceConfig};
use lvsx_core::generation::SchedulerKind;
use lvsx_core::sched::wrr;
use lvsx_ipvs::{DestinationKey, Errno, Refused, ServiceKey};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// The next configuration while it is made.
pub(super) struct Draft<'a> {
    pub(super) control: &'a Control,
    pub(super) config: Config,
    /// Ids of its services.
    services: HashMap<ServiceKey, u32>,
    /// What lies in the trash, by service and destination; looked for when the first destination is added.
    trash: OnceCell<HashMap<(ServiceKey, DestinationKey), Removed>>,
    /// Service ids that cannot be given out; looked for when the first is.
    used_services: Option<HashSet<u32>>,
    /// Ids of destinations in the trash; looked for when the first id is given out.
    removed_destinations: Option<HashSet<u32>>,
    /// The first destination id that was not tried.
    untried: u32,
    /// Ids in the trash that nothing needs, the oldest last; looked for when no other is free.
    spare: Option<Vec<u32>>,
    /// Those of them that were given out again.
    evicted: BTreeSet<u32>,
    /// Ids that came back from the trash.
    revived: BTreeSet<u32>,
    pub(super) follow: Follow,
}

/// What follows from a draft besides the difference between the configurations.
#[derive(Default)]
pub(super) struct Follow {
    /// Where wrr begins in services that are new.
    pub(super) cursors: BTreeMap<u32, u64>,
    /// Services whose destinations were edited: wrr begins a new search.
    pub(super) edited: BTreeSet<u32>,
    /// Destinations that were edited: whether they are overloaded is settled anew.
    pub(super) settled: BTreeSet<u32>,
    /// What is zeroed: services, or everything.
    pub(super) zeroed: Vec<Option<ServiceKey>>,
    /// The mode of a defence was set.
    pub(super) defences: bool,
    /// The last service id given out.
    pub(super) last_service: Option<u32>,
}

/// A draft that is finished.
pub(super) struct Change {
    pub(super) config: Config,
    pub(super) follow: Follow,
    /// Destinations that join a service, with what lay in the trash of them.
    pub(super) joined: Vec<Joined>,
    /// Destinations that leave one.
    pub(super) left: Vec<Removed>,
    /// Services that are new, gone, or not as they were.
    pub(super) touched: Vec<u32>,
}

/// A destination that joins a service.
pub(super) struct Joined {
    pub(super) service: u32,
    pub(super) destination: DestinationConfig,
    pub(super) returned: Option<Removed>,
}

impl<'a> Draft<'a> {
    /// The present configuration, to be changed.
    pub(super) fn of(control: &'a Control) -> Self {
        let config = control.config().clone();
        let services = config.services.iter().map(|(id, it)| (it.key, *id));
        Self {
            control,
            services: services.collect(),
            trash: OnceCell::new(),
            config,
            used_services: None,
            removed_destinations: None,
            untried: 0,
            spare: None,
            evicted: BTreeSet::new(),
            revived: BTreeSet::new(),
            follow: Follow::default(),
        }
    }

    /// Id and configuration of a service.
    ///
    /// # Errors
    /// `ESRCH` there is none.
    pub(super) fn find(&self, key: &ServiceKey) -> Result<(u32, &Arc<ServiceConfig>), Errno> {
        let id = *self.services.get(key).ok_or(Errno::ESRCH)?;
        let service = self.config.services.get(&id).ok_or(Errno::ESRCH)?;
        Ok((id, service))
    }

    /// The service with this id, to be changed.
    pub(super) fn service(&mut self, id: u32) -> Option<&mut ServiceConfig> {
        self.config.services.get_mut(&id).map(Arc::make_mut)
    }

    pub(super) fn insert_service(&mut self, id: u32, service: ServiceConfig) {
        self.services.insert(service.key, id);
        self.config.services.insert(id, Arc::new(service));
    }

    pub(super) fn take_service(&mut self, id: u32) {
        if let Some(service) = self.config.services.remove(&id) {
            self.services.remove(&service.key);
        }
    }

    pub(super) fn take_all_services(&mut self) {
        self.services.clear();
        self.config.services.clear();
    }

    /// The service as it is in force, if it is.
    pub(super) fn present(&self, id: u32) -> Option<&'a Arc<ServiceConfig>> {
        self.control.config().services.get(&id)
    }

    /// What the trash holds of a destination.
    pub(super) fn returned(&self, service: &ServiceKey, key: &DestinationKey) -> Option<Removed> {
        let trash = self.trash.get_or_init(|| {
            let removed = self.control.config().trash.iter();
            let named = removed.map(|it| ((it.service, it.destination.key), *it));
            named.collect()
        });
        let found = trash.get(&(*service, *key)).copied();
        found.filter(|removed| !self.evicted.contains(&removed.destination.id))
    }

    /// A destination comes back from the trash.
    pub(super) fn revive(&mut self, id: u32) {
        self.revived.insert(id);
    }

    /// The list or a weight of a service changed: in one that is new wrr begins a search at a level that fits, as often as it
    /// would have one change after the other. One in force is looked at once, when all is done.
    pub(super) fn list_changed(&mut self, id: u32) {
        if self.present(id).is_some() {
            return;
        }
        if let Some(service) = self.config.services.get(&id)
            && service.scheduler == SchedulerKind::WeightedRoundRobin
        {
            let (max, step) = service.weight_steps();
            let cursor = self.follow.cursors.entry(id).or_default();
            *cursor = wrr::reset(*cursor, max, step);
        }
    }

    /// The id of a service that comes: the one it bears in force, or one that no service and nothing in the trash bears. Ids
    /// go round, so that one which packets on their way may still write to is not given out again at once.
    pub(super) fn service_id(&mut self, key: &ServiceKey) -> Result<u32, Errno> {
        let present = self.control.config();
        if let Some((id, _)) = self.control.generations.service(key) {
            return Ok(id);
        }
        let used = self.used_services.get_or_insert_with(|| {
            let trash = present.trash.iter().map(|removed| removed.service_id);
            present.services.keys().copied().chain(trash).collect()
        });
        let all = self.control.tables.capacity.services;
        let next = match self.follow.last_service {
            Some(last) => last + 1,
            None => self.control.next_service,
        };
        let start = if next < all { next } else { 0 };
        let free = (start..all).chain(0..start).find(|id| !used.contains(id));
        let id = free.ok_or_else(|| {
            tracing::error!("all {all} service ids are in use");
            Errno::ENOMEM
        })?;
        used.insert(id);
        self.follow.last_service = Some(id);
        Ok(id)
    }

    /// An id that no destination bears and no connection names. Where none is left, removed destinations without connections
    /// give way, the oldest first.
    pub(super) fn destination_id(&mut self) -> Result<u32, Refused> {
        let control = self.control;
        let removed = self.removed_destinations.get_or_insert_with(|| {
            let removed = control.config().trash.iter();
            removed.map(|removed| removed.destination.id).collect()
        });
        let all = control.tables.capacity.destinations;
        let untaken = control.generations.untaken(&control.tables, self.untried);
        let free = untaken
            .take_while(|id| *id < all)
            .find(|id| !removed.contains(id) && control.is_unused(*id));
        self.untried = free.map_or(all, |id| id + 1);
        if let Some(id) = free {
            return Ok(id);
        }
        let spare = self
            .spare
            .get_or_insert_with(|| control.spare_destinations());
        while let Some(id) = spare.pop() {
            if !self.revived.contains(&id) {
                self.evicted.insert(id);
                return Ok(id);
            }
        }
        let why = format!(
            "a director takes {all} destinations, removed ones that have connections among them; no more fit"
        );
        tracing::error!("{why}");
        Err(Refused::new(Errno::ENOMEM, why))
    }

    /// The difference to what is in force.
    pub(super) fn finish(mut self) -> Change {
        let present = self.control.config();
        for (id, service) in &mut self.config.services {
            // What is as it was is the same: it is not written again.
            if let Some(old) = present.services.get(id).filter(|old| *old == service) {
                *service = old.clone();
            }
        }
        let next = &self.config.services;
        let ids: BTreeSet<u32> = present
            .services
            .keys()
            .chain(next.keys())
            .copied()
            .collect();
        let is_touched = |id: &u32| match (present.services.get(id), next.get(id)) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            _ => true,
        };
        let touched: Vec<u32> = ids.into_iter().filter(is_touched).collect();
        let of = |services: &BTreeMap<u32, Arc<ServiceConfig>>| -> HashSet<u32> {
            let touched = touched.iter().filter_map(|id| services.get(id));
            let all = touched.flat_map(|service| &service.destinations);
            all.map(|destination| destination.id).collect()
        };
        let (before, after) = (of(&present.services), of(next));
        let mut left = Vec::new();
        let mut joined = Vec::new();
        for id in &touched {
            for (service, destination) in listed(present.services.get(id)) {
                if !after.contains(&destination.id) {
                    left.push(Removed {
                        destination: *destination,
                        service: service.key,
                        service_id: *id,
                    });
                }
            }
            for (service, destination) in listed(next.get(id)) {
                if !before.contains(&destination.id) {
                    joined.push(Joined {
                        service: *id,
                        destination: *destination,
                        returned: self.returned(&service.key, &destination.key),
                    });
                }
            }
        }
        let returned: HashSet<u32> = joined
            .iter()
            .filter_map(|it| Some(it.returned?.destination.id))
            .collect();
        let evicted = self.evicted;
        if !returned.is_empty() || !evicted.is_empty() || !left.is_empty() {
            let trash = Arc::make_mut(&mut self.config.trash);
            let stays = |id: &u32| !returned.contains(id) && !evicted.contains(id);
            trash.retain(|removed| stays(&removed.destination.id));
            trash.extend(&left);
        }
        Change {
            config: self.config,
            follow: self.follow,
            joined,
            left,
            touched,
        }
    }
}

/// The destinations of a service, with it.
fn listed(
    service: Option<&Arc<ServiceConfig>>,
) -> impl Iterator<Item = (&Arc<ServiceConfig>, &DestinationConfig)> {
    let service = service.into_iter();
    service.flat_map(|service| service.destinations.iter().map(move |it| (service, it)))
}
