//! Schedulers: one file each, run on a connection's first packet, over the service's destinations newest first.
//!
//! A destination takes new connections if its weight is positive and it is not overloaded. Orders and ties are the
//! kernel's: the first destination in list order, that is the one added last, wins a tie.

pub mod lc;
pub mod rr;
pub mod wlc;
pub mod wrr;

use crate::env::Tables;
use crate::generation::{DestinationLine, SchedulerKind, ServiceLine, live};

/// A service as schedulers need it.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Stable id: index of its live line.
    pub id: u32,
    /// Who picks.
    pub scheduler: SchedulerKind,
    /// Line of the first destination.
    pub first: u32,
    /// Number of destinations.
    pub count: u32,
    /// wrr: the highest level.
    pub max_weight: u32,
    /// wrr: the step between levels.
    pub weight_step: u32,
}

impl Service {
    /// The service whose block begins at line `block`.
    #[inline(always)]
    pub fn read<T: Tables>(tables: &T, block: u32) -> Option<Self> {
        let head = ServiceLine::decode(tables.config(block)?);
        Some(Self {
            id: head.id,
            scheduler: head.scheduler,
            first: block.wrapping_add(1),
            count: head.destinations,
            max_weight: head.max_weight,
            weight_step: head.weight_step,
        })
    }

    /// The destination at `place` of the list.
    #[inline(always)]
    pub fn destination<T: Tables>(&self, tables: &T, place: u32) -> Option<DestinationLine> {
        tables
            .config(self.first.wrapping_add(place))
            .map(DestinationLine::decode)
    }

    /// Id and weight of the destination at `place`.
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
            takes_new: weight != 0 && line[live::destination::FLAGS].peek() & live::OVERLOADED == 0,
        })
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
    pub(crate) takes_new: bool,
}

impl Candidate {
    /// 256 active connections weigh as one: 256 x active + inactive, modulo 2^32 as the kernel's int.
    #[inline(always)]
    pub(crate) fn overhead(&self) -> u32 {
        ((self.counts >> 32) as u32)
            .wrapping_mul(256)
            .wrapping_add(self.counts as u32)
    }
}

/// No place: what [`pick`] answers when nobody takes a new connection.
pub const NO_PLACE: u32 = u32::MAX;

/// Place in the list of the destination that receives a new connection, or [`NO_PLACE`].
///
/// Cost: rr and wrr look at one destination as a rule; lc and wlc at each, two cache lines a destination. Not inlined, for
/// BPF's stack; a plain number because a BPF function returns one register.
#[inline(never)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> u32 {
    let place = match service.scheduler {
        SchedulerKind::None => None,
        SchedulerKind::RoundRobin => rr::pick(tables, service),
        SchedulerKind::WeightedRoundRobin => wrr::pick(tables, service),
        SchedulerKind::LeastConnection => lc::pick(tables, service),
        SchedulerKind::WeightedLeastConnection => wlc::pick(tables, service),
    };
    match place {
        Some(place) => place,
        None => NO_PLACE,
    }
}
