//! Schedulers: one file each, run on a connection's first packet, over the service's destinations newest first.
//!
//! A destination takes new connections if its weight is positive and it is not overloaded. Orders and ties are the
//! kernel's: the first destination in list order, that is the one added last, wins a tie.
//!
//! | scheduler | looks at | keeps |
//! |---|---|---|
//! | [`rr`], [`wrr`] | turns | a cursor in the service's live line |
//! | [`lc`], [`wlc`], [`sed`], [`nq`], [`fo`], [`ovf`], [`twos`] | counts and weights | nothing |
//! | [`dh`], [`sh`], [`mh`] | addresses | slots, laid out with the generation |
//! | [`lblc`], [`lblcr`] | the destination address, counts and weights | servers by address, in the [`cache`] |

pub mod cache;
pub mod dh;
pub mod fo;
pub mod groups;
pub mod lblc;
pub mod lblcr;
pub mod lc;
mod least;
pub mod mh;
pub mod nq;
pub mod ovf;
mod request;
pub mod rr;
pub mod sed;
pub mod sh;
pub mod twos;
pub mod wlc;
pub mod wrr;

pub use request::{Request, fold4, fold6};

use crate::env::{Env, Tables};
use crate::generation::{DestinationLine, SchedulerKind, ServiceLine, live, slot, timeout};
use lvsx_platform::bits;

/// Flag of sh and mh: another slot is tried when the one hashed to is of no use (`sh-fallback`, `mh-fallback`).
pub const FALLBACK: u32 = 0x08;
/// Flag of sh and mh: the client's port is hashed, too (`sh-port`, `mh-port`).
pub const HEEDS_PORT: u32 = 0x10;

/// A service as schedulers need it.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Stable id: index of its live line.
    pub id: u32,
    /// Who picks.
    pub scheduler: SchedulerKind,
    /// Flags as IPVS numbers them.
    pub flags: u32,
    /// Line of the first destination.
    pub first: u32,
    /// Number of destinations.
    pub count: u32,
    /// wrr: the highest level.
    pub max_weight: u32,
    /// wrr: the step between levels.
    pub weight_step: u32,
    /// sh and mh: lines of the hash table behind the destinations.
    pub slot_lines: u32,
    /// Line of the generation's timeouts.
    pub timeouts: u32,
}

impl Service {
    /// The service whose block begins at line `block`, of the generation whose timeouts lie in line `timeouts`.
    #[inline(always)]
    pub fn read<T: Tables>(tables: &T, timeouts: u32, block: u32) -> Option<Self> {
        let head = ServiceLine::decode(tables.config(block)?);
        Some(Self {
            id: head.id,
            scheduler: head.scheduler,
            flags: head.flags,
            first: block.wrapping_add(1),
            count: head.destinations,
            max_weight: head.max_weight,
            weight_step: head.weight_step,
            slot_lines: head.slot_lines,
            timeouts,
        })
    }

    /// The destination at `place` of the list.
    #[inline(always)]
    pub fn destination<T: Tables>(&self, tables: &T, place: u32) -> Option<DestinationLine> {
        tables
            .config(self.first.wrapping_add(place))
            .map(DestinationLine::decode)
    }

    /// Id, weight and counts of the destination at `place`.
    #[inline(always)]
    pub(crate) fn candidate<T: Tables>(&self, tables: &T, place: u32) -> Option<Candidate> {
        let word = tables.config(self.first.wrapping_add(place))?[0].peek();
        let id = word as u32;
        let line = tables.destination(id)?;
        let weight = (word >> 32) as u32;
        Some(Candidate {
            id,
            weight,
            counts: line[live::destination::COUNTS].peek(),
            flags: line[live::destination::FLAGS].peek(),
        })
    }

    /// `place` if the destination there takes new connections.
    #[inline(always)]
    fn usable<T: Tables>(&self, tables: &T, place: u32) -> Option<u32> {
        if place < self.count && self.candidate(tables, place)?.takes_new() {
            Some(place)
        } else {
            None
        }
    }

    /// The place that slot `number` of the hash table names. `None`: the slot is empty.
    #[inline(always)]
    fn slot<T: Tables>(&self, tables: &T, number: u32) -> Option<u32> {
        if self.slot_lines == 0 {
            return None;
        }
        slot(tables, self.first.wrapping_add(self.count), number)
    }

    /// Timeout number `index` of the generation, in ticks.
    #[inline(always)]
    fn timeout<T: Tables>(&self, tables: &T, index: usize) -> u32 {
        timeout(tables, self.timeouts, index as u32)
    }

    /// As [`Self::place_of`], in a frame of its own.
    #[inline(never)]
    fn find<T: Tables>(&self, tables: &T, id: u32) -> u32 {
        self.place_of(tables, id)
    }

    /// As [`Self::place_of`], by three looks at most: for where BPF's stack has no room for a search. The hint of its live line
    /// is one place off while packets meet a list to which the director has just added, or from which it has just removed, one
    /// destination; were it further off, the destination would not be found for that moment.
    #[inline(always)]
    fn place_near<T: Tables>(&self, tables: &T, id: u32) -> u32 {
        let Some(line) = tables.destination(id) else {
            return self.count;
        };
        let hint = line[live::destination::PLACE].peek() as u32;
        for place in [hint, hint.wrapping_add(1), hint.wrapping_sub(1)] {
            if place < self.count && self.id_at(tables, place) == Some(id) {
                return place;
            }
        }
        self.count
    }

    /// Place of the destination with this id; the count of destinations if there is none. Usually one look, by the
    /// hint that its live line keeps.
    #[inline(always)]
    pub(crate) fn place_of<T: Tables>(&self, tables: &T, id: u32) -> u32 {
        if let Some(line) = tables.destination(id) {
            let hint = line[live::destination::PLACE].peek() as u32;
            if hint < self.count && self.id_at(tables, hint) == Some(id) {
                return hint;
            }
        }
        let mut found = self.count;
        tables.scan(self.count, |place| {
            if self.id_at(tables, place) == Some(id) {
                found = place;
                return false;
            }
            true
        });
        found
    }

    #[inline(always)]
    fn id_at<T: Tables>(&self, tables: &T, place: u32) -> Option<u32> {
        Some(tables.config(self.first.wrapping_add(place))?[0].peek() as u32)
    }
}

/// What schedulers compare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) id: u32,
    pub(crate) weight: u32,
    counts: u64,
    flags: u64,
}

impl Candidate {
    /// Whether it takes new connections.
    #[inline(always)]
    pub(crate) fn takes_new(&self) -> bool {
        self.weight != 0 && self.flags & live::OVERLOADED == 0
    }

    /// 1 if it does, without branches.
    #[inline(always)]
    fn takes_new_bit(&self) -> u64 {
        (1 ^ bits::is_zero(self.weight.into())) & (1 ^ self.flags & live::OVERLOADED)
    }

    /// 256 active connections weigh as one: 256 x active + inactive, modulo 2^32 as the kernel's int.
    #[inline(always)]
    pub(crate) fn overhead(&self) -> u32 {
        self.active()
            .wrapping_mul(256)
            .wrapping_add(self.counts as u32)
    }

    /// Active connections.
    #[inline(always)]
    pub(crate) fn active(&self) -> u32 {
        (self.counts >> 32) as u32
    }
}

/// No place: what [`pick`] answers when nobody takes a new connection.
pub const NO_PLACE: u32 = u32::MAX;

/// Place in the list of the destination that receives a new connection, or [`NO_PLACE`].
///
/// Cost: rr, wrr, dh, sh and mh look at one destination as a rule, lblc at one more line; lblcr at the address's servers; the
/// others at each, two cache lines a destination. A plain number, because a BPF function returns one register.
#[inline(always)]
pub fn pick<E: Env>(env: &E, service: &Service, request: &Request) -> u32 {
    match service.scheduler {
        SchedulerKind::None => NO_PLACE,
        SchedulerKind::RoundRobin => apart(|| rr::pick(env, service)),
        SchedulerKind::WeightedRoundRobin => apart(|| wrr::pick(env, service)),
        SchedulerKind::LeastConnection => apart(|| lc::pick(env, service)),
        SchedulerKind::WeightedLeastConnection => wlc::pick(env, service),
        SchedulerKind::ShortestExpectedDelay => apart(|| sed::pick(env, service)),
        SchedulerKind::NeverQueue => apart(|| nq::pick(env, service)),
        SchedulerKind::Failover => apart(|| fo::pick(env, service)),
        SchedulerKind::Overflow => apart(|| ovf::pick(env, service)),
        SchedulerKind::PowerOfTwo => apart(|| twos::pick(env, service)),
        SchedulerKind::DestinationHash => apart(|| dh::pick(env, service, request)),
        SchedulerKind::SourceHash => apart(|| sh::pick(env, service, request)),
        SchedulerKind::Maglev => apart(|| mh::pick(env, service, request)),
        SchedulerKind::Locality => apart(|| lblc::pick(env, service, request)),
        SchedulerKind::LocalityReplication => apart(|| lblcr::pick(env, service, request)),
    }
}

/// Runs a scheduler in a stack frame of its own.
#[inline(never)]
fn apart(pick: impl FnOnce() -> Option<u32>) -> u32 {
    place_or_none(pick())
}

#[inline(always)]
fn place_or_none(place: Option<u32>) -> u32 {
    match place {
        Some(place) => place,
        None => NO_PLACE,
    }
}

#[cfg(test)]
mod testing;
