//! A service's pool: which of its servers are to get clients, and with what weight.
//!
//! Rules, in this order: what the operator ordered (drained, in maintenance); the sorry server serves while fewer than `quorum`
//! others do, and then alone; a server that is down has weight 0, unless the pool panics: when more than a share of those in
//! service fail within a window of time, it is more likely that the checks are wrong than the servers, and those that failed stay.
//! They leave once that share has come up again and they have not. A server that came up starts slowly.

use crate::moment::Moment;
use lvsx_ipvs::DestinationKey;
use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Weights of a pool that must have fine steps are multiplied until the smallest is at least this. Not more: wrr serves the
/// heaviest servers alone until it has come down to the others' weights, and begins anew after each change.
const FINE: u32 = 16;
/// The share of its weight that a server starts with.
const FIRST_SHARE: f64 = 0.1;
/// A weight moves only by so much of itself, and at least by 1; to and from 0 always.
const STEP: f64 = 0.05;
/// Largest weight of a director.
const HEAVIEST: f64 = i32::MAX as f64;

/// The rules of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Servers in service below which the sorry server serves.
    pub quorum: u32,
    /// The sorry server, one of the service's own destinations.
    pub sorry: Option<DestinationKey>,
    /// How long a server that came up takes to its full weight.
    pub slow_start: Duration,
    /// Percent of the servers in service of which more must fail at once for a panic; 100 is never.
    pub panic: u32,
    /// What counts as at once.
    pub panic_window: Duration,
    /// Whether weights need fine steps for other reasons than the slow start.
    pub fine: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            quorum: 1,
            sorry: None,
            slow_start: Duration::ZERO,
            panic: 100,
            panic_window: Duration::from_secs(10),
            fine: false,
        }
    }
}

/// What the operator ordered for a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// To serve as its checks say.
    #[default]
    Ready,
    /// To get no new clients.
    Drain,
    /// The same, and its checks do not matter.
    Maintenance,
}

/// A server, as its pool sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Member {
    configured: u32,
    order: Order,
    is_up: bool,
    /// When it went down last.
    fell: Option<Moment>,
    /// When it came up last.
    rose: Option<Moment>,
    /// It is down, but stays in service because the pool panics.
    is_held: bool,
    /// What its load, or its agent, makes of its weight.
    factor: f64,
    /// The weight that was last decided.
    weight: Option<u32>,
}

impl Member {
    const fn new(configured: u32, is_up: bool) -> Self {
        Self {
            configured,
            order: Order::Ready,
            is_up,
            fell: None,
            rose: None,
            is_held: false,
            factor: 1.0,
            weight: None,
        }
    }

    /// Whether clients could be sent to it at all.
    fn counts(&self) -> bool {
        self.configured > 0 && self.order == Order::Ready
    }

    fn serves(&self) -> bool {
        self.counts() && (self.is_up || self.is_held) && self.factor > 0.0
    }
}

/// What is worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A server came up.
    Up(DestinationKey),
    /// A server went down and left.
    Down(DestinationKey),
    /// So many of so many failed at once; they stay in service.
    Panic {
        /// Those that failed.
        failed: usize,
        /// Those that were in service.
        of: usize,
    },
    /// The panic is over.
    Calm,
    /// Fewer servers than the quorum are in service.
    QuorumLost {
        /// Servers in service.
        left: u32,
    },
    /// There are enough again.
    QuorumBack,
}

/// The pool of a service.
#[derive(Clone, Debug)]
pub struct Pool {
    rules: Rules,
    members: BTreeMap<DestinationKey, Member>,
    has_quorum: bool,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            members: BTreeMap::new(),
            has_quorum: true,
        }
    }

    /// Takes note of a server and its configured weight. `is_up`: how a new one stands.
    pub fn configure(&mut self, key: DestinationKey, configured: u32, is_up: bool) {
        let member = Member::new(configured, is_up);
        self.members.entry(key).or_insert(member).configured = configured;
    }

    /// Forgets all servers but these.
    pub fn keep(&mut self, is_there: impl Fn(&DestinationKey) -> bool) {
        self.members.retain(|key, _| is_there(key));
    }

    /// Takes note of an order.
    pub fn order(&mut self, key: &DestinationKey, order: Order) {
        if let Some(member) = self.members.get_mut(key) {
            member.order = order;
        }
    }

    /// Takes note of what a server's load makes of its weight: 1 for nothing, 0 if its agent wants no clients.
    pub fn set_factor(&mut self, key: &DestinationKey, factor: f64) {
        if let Some(member) = self.members.get_mut(key) {
            member.factor = factor;
        }
    }

    /// Takes note of how a server stands.
    pub fn stand(&mut self, key: &DestinationKey, is_up: bool, now: Moment) -> Vec<Event> {
        let Some(member) = self.members.get_mut(key) else {
            return Vec::new();
        };
        if member.is_up == is_up {
            return Vec::new();
        }
        member.is_up = is_up;
        let mut events = Vec::new();
        if is_up {
            let was_out = !std::mem::take(&mut member.is_held);
            member.rose = was_out.then_some(now);
            events.push(Event::Up(*key));
            events.extend(self.calm());
        } else {
            member.fell = Some(now);
            events.push(Event::Down(*key));
            events.extend(self.panic(now));
        }
        events
    }

    /// Keeps those that failed at once, if they are too many.
    fn panic(&mut self, now: Moment) -> Option<Event> {
        let window = self.rules.panic_window;
        let is_fresh = |member: &Member| {
            let fell = member.fell.filter(|_| !member.is_up);
            fell.is_some_and(|fell| now.since(fell) <= window)
        };
        let mut counted: Vec<&mut Member> = self
            .members
            .iter_mut()
            .filter(|(key, member)| member.counts() && Some(**key) != self.rules.sorry)
            .map(|(_, member)| member)
            .collect();
        let failed = counted
            .iter()
            .filter(|member| member.is_held || is_fresh(member))
            .count();
        let of = failed + counted.iter().filter(|member| member.is_up).count();
        if !is_too_many(failed, of, self.rules.panic) {
            return None;
        }
        for member in &mut counted {
            member.is_held |= is_fresh(member);
        }
        Some(Event::Panic { failed, of })
    }

    /// Lets those go that were kept, once they are few.
    fn calm(&mut self) -> Option<Event> {
        let held = self.members.values().filter(|member| member.is_held);
        let held = held.count();
        let serving = self.members.values().filter(|member| member.serves());
        if held == 0 || is_too_many(held, serving.count(), self.rules.panic) {
            return None;
        }
        for member in self.members.values_mut() {
            member.is_held = false;
        }
        Some(Event::Calm)
    }

    /// The weights that are to be set, all of them; and what changed with the quorum.
    pub fn decide(&mut self, now: Moment) -> (Vec<(DestinationKey, u32)>, Option<Event>) {
        let sorry = self.rules.sorry;
        let others = self.members.iter().filter(|(key, _)| Some(**key) != sorry);
        let left = others.filter(|(_, member)| member.serves()).count() as u32;
        let has_quorum = left >= self.rules.quorum;
        let event = match (self.has_quorum, has_quorum) {
            (true, false) => Some(Event::QuorumLost { left }),
            (false, true) => Some(Event::QuorumBack),
            _ => None,
        };
        self.has_quorum = has_quorum;
        let relieved = sorry.filter(|key| {
            let sorry = self.members.get(key);
            !has_quorum && sorry.is_some_and(Member::serves)
        });
        let (scale, rules) = (self.scale(), self.rules);
        let weights = self.members.iter_mut().map(|(key, member)| {
            let is_on = match (relieved, sorry == Some(*key)) {
                (None, is_sorry) => !is_sorry,
                (Some(_), is_sorry) => is_sorry,
            };
            let weight = if is_on {
                weight(member, &rules, scale, now)
            } else {
                0
            };
            member.weight = Some(weight);
            (*key, weight)
        });
        (weights.collect(), event)
    }

    /// What weights are multiplied by.
    fn scale(&self) -> u32 {
        if !self.rules.fine && self.rules.slow_start.is_zero() {
            return 1;
        }
        let configured = self.members.values().map(|member| member.configured);
        let smallest = configured.filter(|weight| *weight > 0).min();
        smallest.map_or(1, |smallest| FINE.div_ceil(smallest))
    }

    /// Whether a server came up not long ago: its load says little yet.
    #[must_use]
    pub fn is_new(&self, key: &DestinationKey, now: Moment) -> bool {
        let rose = self.members.get(key).and_then(|member| member.rose);
        rose.is_some_and(|rose| now.since(rose) <= self.rules.slow_start)
    }

    /// Whether the weights change by themselves as time goes on.
    #[must_use]
    pub fn is_starting(&self, now: Moment) -> bool {
        let slow = self.rules.slow_start;
        let rose = self.members.values().filter_map(|member| member.rose);
        rose.clone().any(|rose| now.since(rose) <= slow + slow / 10)
    }
}

/// Whether more than `percent` of `of` failed.
fn is_too_many(failed: usize, of: usize, percent: u32) -> bool {
    failed as u64 * 100 > of as u64 * u64::from(percent)
}

/// The weight of a server that may have one.
fn weight(member: &Member, rules: &Rules, scale: u32, now: Moment) -> u32 {
    if !member.serves() {
        return 0;
    }
    let full = (f64::from(member.configured) * f64::from(scale)).min(HEAVIEST);
    let ramp = member
        .rose
        .map_or(1.0, |rose| ramp(now.since(rose), rules.slow_start));
    let wanted = (full * member.factor * ramp).clamp(1.0, HEAVIEST);
    let is_plain = ramp >= 1.0 && member.factor == 1.0;
    match member.weight {
        Some(old) if old > 0 && !is_plain && !is_a_step(f64::from(old), wanted) => old,
        _ => wanted.round() as u32,
    }
}

/// Whether a weight is to move. Looked at before it is rounded, so that noise does not have it jump between two numbers.
fn is_a_step(old: f64, new: f64) -> bool {
    (new - old).abs() >= (STEP * old).max(1.0)
}

/// The share of its weight that a server has so long after it came up.
fn ramp(since: Duration, slow_start: Duration) -> f64 {
    if since >= slow_start {
        return 1.0;
    }
    let way = since.as_secs_f64() / slow_start.as_secs_f64();
    FIRST_SHARE + (1.0 - FIRST_SHARE) * way
}
