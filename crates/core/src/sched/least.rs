//! The search that several schedulers share: the destination with the least load for its weight.

use super::{Candidate, Service};
use crate::env::Tables;

/// Place of the destination with the least `load` per unit of weight, among those that take new connections; the first in
/// list order wins a tie. `None`: none does.
///
/// Ratios are compared by cross multiplication, below 2^32 x 2^31.
#[inline(always)]
pub(super) fn least<T: Tables>(
    tables: &T,
    service: &Service,
    load: impl Fn(&Candidate) -> u32,
) -> Option<u32> {
    let mut best = Best::none(service.count);
    tables.scan(service.count, |place| {
        let Some(candidate) = service.candidate(tables, place) else {
            return false;
        };
        if candidate.takes_new() {
            best.consider(place, load(&candidate), candidate.weight);
        }
        true
    });
    best.place()
}

/// The best so far.
pub(super) struct Best {
    /// No place when equal to `none`.
    place: u32,
    none: u32,
    load: u32,
    weight: u32,
}

impl Best {
    /// Nobody yet, of `count` destinations.
    #[inline(always)]
    pub(super) fn none(count: u32) -> Self {
        Self {
            place: count,
            none: count,
            load: 0,
            weight: 0,
        }
    }

    /// Takes the destination at `place` if its load per weight is less.
    #[inline(always)]
    pub(super) fn consider(&mut self, place: u32, load: u32, weight: u32) {
        let lighter =
            u64::from(self.load) * u64::from(weight) > u64::from(load) * u64::from(self.weight);
        if self.place == self.none || lighter {
            self.take(place, load, weight);
        }
    }

    /// Takes the destination at `place` if its load per weight is not more.
    #[inline(always)]
    pub(super) fn consider_later(&mut self, place: u32, load: u32, weight: u32) {
        let heavier =
            u64::from(self.load) * u64::from(weight) < u64::from(load) * u64::from(self.weight);
        if self.place == self.none || !heavier {
            self.take(place, load, weight);
        }
    }

    /// Takes the destination at `place`.
    #[inline(always)]
    pub(super) fn take(&mut self, place: u32, load: u32, weight: u32) {
        *self = Self {
            place,
            none: self.none,
            load,
            weight,
        };
    }

    /// Whose place it is.
    #[inline(always)]
    pub(super) fn place(&self) -> Option<u32> {
        if self.place == self.none {
            None
        } else {
            Some(self.place)
        }
    }
}
