//! Putting a change in force: one generation, and what follows from it for the live lines and the accounts.

use super::Control;
use super::draft::{Change, Draft, Joined};
use super::service::first_cursor;
use crate::concerns::Concerned;
use crate::config::{Config, DestinationConfig, Removed, ServiceConfig};
use crate::connections;
use crate::stats::Rate;
use lvsx_core::generation::live::destination::{FLAGS, TEMPLATES};
use lvsx_core::generation::{Concern, SchedulerKind, Setting};
use lvsx_ipvs::{DestinationSettings, Errno, ForwardingMethod, ServiceKey};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

type Services = BTreeMap<u32, Arc<ServiceConfig>>;

impl Control {
    /// Drafts a change and puts it in force; one that is refused has changed nothing.
    pub(super) fn change<E: From<Errno>>(
        &mut self,
        operation: impl FnOnce(&mut Draft<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut draft = Draft::of(self);
        operation(&mut draft)?;
        let change = draft.finish();
        Ok(self.carry_out(change)?)
    }

    /// Puts a change in force.
    ///
    /// # Errors
    /// `ENOMEM` the arena does not hold it; everything is as it was.
    pub(super) fn carry_out(&mut self, change: Change) -> Result<(), Errno> {
        let Change {
            config,
            follow,
            joined,
            left,
            touched,
        } = change;
        let before = self.config().services.clone();
        let after = config.services.clone();
        let is_news = config != *self.config();
        let has_marks = Arc::ptr_eq(&config.marks, &self.config().marks);

        // What no packet looks at yet.
        for id in touched.iter().filter(|id| !before.contains_key(id)) {
            self.ledger.begin_service(*id);
            self.rates.services.remove(id);
            let cursor = follow.cursors.get(id).copied().unwrap_or_default();
            self.cursor(*id).store(cursor);
            self.forget_localities(*id);
        }
        joined.iter().for_each(|joined| self.join(joined));
        let steps = backward_steps(&before, &after, &touched);
        let rescheduled = rescheduled(&before, &after, &touched);
        for id in &rescheduled {
            self.forget_localities(*id);
        }

        if is_news {
            // Before, so that the first packet that sees the new list goes on behind the predecessor; and after, because
            // one that sees the old list may have picked the destination meanwhile.
            self.step_back(&steps);
            self.note_once_masqueraded(&config, &touched, &joined);
            let concerned = self.concerned(&config, &touched, &joined, &left);
            if let Err(full) = self.publish(config, concerned) {
                for Joined {
                    service,
                    destination,
                    ..
                } in &joined
                {
                    self.ledger.leave(&self.tables, *service, destination.id);
                    *self.rates.destination_mut(destination.id) = Rate::default();
                }
                return Err(full);
            }
            self.step_back(&steps);
        }

        self.settle_limits(&before, &after, &touched, &follow.settled);
        self.settle_removed(&left);
        for joined in &joined {
            self.idle.remove(&joined.destination.id);
        }
        for id in &touched {
            if let (Some(old), Some(new)) = (before.get(id), after.get(id)) {
                if rescheduled.contains(id) {
                    self.cursor(*id).store(first_cursor(new));
                } else if old.destinations != new.destinations || follow.edited.contains(id) {
                    self.reset_wrr(*id, new);
                }
            }
            if let Some(new) = after.get(id) {
                self.write_places(new);
            }
        }
        for id in follow.edited.iter().filter(|id| !touched.contains(id)) {
            if let Some(service) = after.get(id) {
                self.reset_wrr(*id, service);
            }
        }
        let stays = |id: &u32| before.contains_key(id) && after.contains_key(id);
        self.changed.is_wide |= !has_marks || !left.is_empty() || !touched.iter().all(stays);
        self.changed.services.extend(&touched);
        if let Some(last) = follow.last_service {
            self.next_service = last + 1;
        }
        for key in &follow.zeroed {
            self.zero_now(key.as_ref());
        }
        if follow.defences {
            self.defend();
        }
        Ok(())
    }

    /// Takes note of destinations that are not masqueraded any more: their connections go on as they were.
    fn note_once_masqueraded(&mut self, after: &Config, touched: &[u32], joined: &[Joined]) {
        let before = self.generations.config();
        let is_masqueraded =
            |it: &DestinationConfig| it.settings.method == ForwardingMethod::Masquerade;
        for (old, new) in touched
            .iter()
            .filter_map(|id| Some((before.services.get(id)?, after.services.get(id)?)))
        {
            let others = new.destinations.iter().filter(|it| !is_masqueraded(it));
            let others: HashSet<u32> = others.map(|it| it.id).collect();
            let was = old.destinations.iter().filter(|it| is_masqueraded(it));
            let ceased = was.filter(|it| others.contains(&it.id));
            self.once_masqueraded.extend(ceased.map(|it| it.key.addr));
        }
        for Joined {
            destination,
            returned,
            ..
        } in joined
        {
            if returned.is_some_and(|it| is_masqueraded(&it.destination))
                && !is_masqueraded(destination)
            {
                self.once_masqueraded.insert(destination.key.addr);
            }
        }
        if !self.once_masqueraded.is_empty() && after.trash.len() < before.trash.len() {
            let servers: HashSet<IpAddr> = after.servers().collect();
            self.once_masqueraded.retain(|it| servers.contains(it));
        }
    }

    /// The same of a director that was there before this one: what its address filter has of them.
    pub(super) fn once_masqueraded_before(&self) -> BTreeSet<IpAddr> {
        let Some(concerns) = self.generations.concerns() else {
            return BTreeSet::new();
        };
        let masqueraded: HashSet<IpAddr> = self.config().masqueraded().collect();
        let is_one = |addr: &IpAddr| {
            !masqueraded.contains(addr) && concerns.of(*addr).is_some_and(|it| it.is_server)
        };
        self.config().servers().filter(is_one).collect()
    }

    /// What concerns the director after a change. Where nothing ceases to, that costs what the change touches.
    fn concerned(
        &self,
        config: &Config,
        touched: &[u32],
        joined: &[Joined],
        left: &[Removed],
    ) -> Concerned {
        let before = self.config();
        let present = self.generations.concerns();
        let (Some(present), true) = (present, only_adds(before, config, touched, joined, left))
        else {
            return self.concerns(config).into();
        };
        let mut more = BTreeMap::new();
        let mut add = |addr: IpAddr, what: Concern| {
            let then = present.of(addr);
            let now = more.get(&addr).copied().or(then).unwrap_or_default();
            if then.is_none() || now.with(what) != now {
                more.insert(addr, now.with(what));
            }
        };
        for service in touched.iter().filter_map(|id| config.services.get(id)) {
            if let ServiceKey::Address { addr, .. } = service.key
                && self.ours().has(addr)
            {
                add(addr, Concern::VIRTUAL);
            }
            for destination in &service.destinations {
                let addr = destination.key.addr;
                if destination.settings.method == ForwardingMethod::Masquerade {
                    add(addr, Concern::SERVER);
                }
                if self.locals.is_local(addr) {
                    add(addr, Concern::LOCAL);
                }
            }
        }
        Concerned::More(more)
    }

    /// From here on a destination counts for its service.
    fn join(&mut self, joined: &Joined) {
        let Joined {
            service,
            destination,
            returned,
        } = joined;
        let id = destination.id;
        if returned.is_none() {
            self.live(id)[TEMPLATES].store(0);
            self.live(id)[FLAGS].store(0);
            self.write_limits(id, &destination.settings);
        }
        let is_counted_anew = returned.is_none_or(|old| old.service_id != *service);
        self.ledger.join(&self.tables, id, is_counted_anew);
        let rate = Rate::from(self.ledger.destination(&self.tables, id));
        *self.rates.destination_mut(id) = rate;
    }

    /// Tells live lines limits that are new, and those that were set again.
    fn settle_limits(
        &self,
        before: &Services,
        after: &Services,
        touched: &[u32],
        settled: &BTreeSet<u32>,
    ) {
        for id in touched {
            let old: BTreeMap<u32, &DestinationSettings> = match before.get(id) {
                Some(old) => old
                    .destinations
                    .iter()
                    .map(|it| (it.id, &it.settings))
                    .collect(),
                None => BTreeMap::new(),
            };
            for destination in after.get(id).iter().flat_map(|new| &new.destinations) {
                let is_same = old.get(&destination.id) == Some(&&destination.settings);
                if !is_same || settled.contains(&destination.id) {
                    self.write_limits(destination.id, &destination.settings);
                }
            }
        }
        if settled.is_empty() {
            return;
        }
        // An edit that changes nothing leaves its service untouched.
        for (_, service) in after.iter().filter(|(id, _)| !touched.contains(id)) {
            for destination in &service.destinations {
                if settled.contains(&destination.id) {
                    self.write_limits(destination.id, &destination.settings);
                }
            }
        }
    }

    /// Closes the accounts of removed destinations. With `expire_nodest_conn` their connections end at once, whether packets come
    /// for them or not (Linux 5.9 and later).
    fn settle_removed(&mut self, removed: &[Removed]) {
        if !removed.is_empty() && self.config().values.of(Setting::ExpireNodestConn) != 0 {
            let ids = removed.iter().map(|entry| entry.destination.id).collect();
            connections::end(&self.tables, &ids);
        }
        for entry in removed {
            self.ledger
                .leave(&self.tables, entry.service_id, entry.destination.id);
            *self.rates.destination_mut(entry.destination.id) = Rate::default();
        }
        let Self {
            rates, generations, ..
        } = self;
        rates
            .services
            .retain(|id, _| generations.config().services.contains_key(id));
    }

    /// rr: a cursor on a destination that goes moves to the one before it that stays.
    fn step_back(&self, steps: &[BackwardStep]) {
        for step in steps {
            let to = |cursor| match step.moves.get(&cursor) {
                Some(to) => *to,
                None => cursor,
            };
            self.move_cursor(step.service, to);
        }
    }

    /// Zeroes the counters of a service, or all.
    pub(super) fn zero_now(&mut self, key: Option<&ServiceKey>) {
        let chosen: Vec<(u32, Arc<ServiceConfig>)> = match key {
            Some(key) => self.find(key).into_iter().collect(),
            None => {
                let all = self.config().services.iter();
                all.map(|(id, service)| (*id, service.clone())).collect()
            }
        };
        for (id, service) in chosen {
            self.ledger.zero_service(&self.tables, id, &service);
            self.rates.services.remove(&id);
            for destination in &service.destinations {
                *self.rates.destination_mut(destination.id) = Rate::default();
            }
        }
        if key.is_none() {
            self.ledger.zero_total(&self.tables);
            self.rates.total = Rate::default();
        }
    }
}

/// Whether every address that concerns the director still does after a change, as what it did: no service goes, no destination
/// leaves but into the trash, and none that was masqueraded is any more by another method. A service's family was there before.
fn only_adds(
    before: &Config,
    after: &Config,
    touched: &[u32],
    joined: &[Joined],
    left: &[Removed],
) -> bool {
    let returned = joined.iter().filter_map(|it| Some((it, it.returned?)));
    let is_trash_kept =
        after.trash.len() + returned.clone().count() == before.trash.len() + left.len();
    let is_alike = |(joined, removed): (&Joined, Removed)| {
        joined.destination.settings.method == removed.destination.settings.method
    };
    let has_family = |family| {
        let mut services = before.services.values();
        services.any(|service| service.key.family() == family)
    };
    let grows = |id: &u32| match (before.services.get(id), after.services.get(id)) {
        (_, None) => false,
        (None, Some(new)) => {
            matches!(new.key, ServiceKey::Address { .. }) && has_family(new.key.family())
        }
        (Some(old), Some(new)) => {
            let other =
                |it: &&DestinationConfig| it.settings.method != ForwardingMethod::Masquerade;
            let others: HashSet<u32> = new
                .destinations
                .iter()
                .filter(other)
                .map(|it| it.id)
                .collect();
            let mut masqueraded = old.destinations.iter().filter(|it| !other(it));
            others.is_empty() || !masqueraded.any(|it| others.contains(&it.id))
        }
    };
    Arc::ptr_eq(&before.marks, &after.marks)
        && is_trash_kept
        && returned.clone().all(is_alike)
        && touched.iter().all(grows)
}

/// Where the cursor of a service by rr goes from each destination that leaves.
struct BackwardStep {
    service: u32,
    moves: BTreeMap<u64, u64>,
}

fn backward_steps(before: &Services, after: &Services, touched: &[u32]) -> Vec<BackwardStep> {
    let mut steps = Vec::new();
    for id in touched {
        let (Some(old), Some(new)) = (before.get(id), after.get(id)) else {
            continue;
        };
        if old.scheduler != SchedulerKind::RoundRobin {
            continue;
        }
        let staying: HashSet<u32> = ids(new).collect();
        let mut moves = BTreeMap::new();
        let mut last_staying = 0;
        for destination in ids(old) {
            let on = u64::from(destination) + 1;
            if staying.contains(&destination) {
                last_staying = on;
            } else {
                moves.insert(on, last_staying);
            }
        }
        if !moves.is_empty() {
            steps.push(BackwardStep {
                service: *id,
                moves,
            });
        }
    }
    steps
}

/// Services that stay, with another scheduler.
fn rescheduled(before: &Services, after: &Services, touched: &[u32]) -> HashSet<u32> {
    let has_other = |id: &&u32| match (before.get(id), after.get(id)) {
        (Some(old), Some(new)) => old.scheduler != new.scheduler,
        _ => false,
    };
    touched.iter().filter(has_other).copied().collect()
}

fn ids(service: &ServiceConfig) -> impl Iterator<Item = u32> + use<'_> {
    service
        .destinations
        .iter()
        .map(|destination| destination.id)
}
