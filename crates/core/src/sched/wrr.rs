//! `wrr`, weighted round robin: rounds over the list at a falling level; a destination takes part in those rounds whose
//! level its weight reaches.
//!
//! The service's cursor word holds the last pick (id + 1, upper 32 bits, 0 before the first) and the level (lower 32
//! bits). The level runs max, max - step, ..., at least 1, where step is the greatest common divisor of the weights and
//! max the highest weight less step less one. Source: Linux 6.1, observed, down to the order of the first round.

use super::Service;
use crate::env::Tables;

/// The highest level and the step for these weights: (mw, di).
#[must_use]
pub fn steps(weights: impl Iterator<Item = u32> + Clone) -> (u32, u32) {
    let step = weights
        .clone()
        .filter(|weight| *weight > 0)
        .fold(0, gcd)
        .max(1);
    let highest = weights.max().unwrap_or(0);
    (highest.saturating_sub(step - 1), step)
}

pub(super) fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The cursor after the list or a weight changed: the next search begins at the list's start, at a level that fits.
#[must_use]
pub fn reset(cursor: u64, max: u32, step: u32) -> u64 {
    let level = cursor as u32;
    let level = if level > max || level == 0 {
        max
    } else if step > 1 {
        level / step * step + 1
    } else {
        level
    };
    u64::from(level)
}

/// Place of the next destination. `None`: none takes new connections.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> Option<u32> {
    let cursor = &tables.service(service.id)?[0];
    let old = cursor.load();
    let walk = Walk::run(tables, service, old)?;
    // Another CPU that moved the cursor meanwhile made a pick as good as ours; one of the two is kept.
    let _ = cursor.compare_exchange(old, u64::from(walk.id) << 32 | u64::from(walk.level));
    if walk.found { Some(walk.place) } else { None }
}

/// A search: where it stands, and how it ends.
struct Walk {
    /// The destination looked at last; `NOWHERE` before the first of a pass.
    place: u32,
    /// Its id + 1; 0 before the first.
    id: u32,
    level: u32,
    /// Where the search began: place of the last pick, or `NOWHERE`.
    last: u32,
    /// The destination that ends the search if it is not eligible, or `NOWHERE`.
    stop: u32,
    /// Passes that ended.
    passes: u32,
    /// Whether the levels began anew at the highest.
    wrapped: bool,
    /// Whether an eligible destination was found.
    found: bool,
}

const NOWHERE: u32 = u32::MAX;

/// Steps of one search at most. Each level is one pass; a pass over a level that nobody reaches costs as much as one that
/// somebody does, as in the kernel.
const MOST_STEPS: u32 = 1 << 20;

impl Walk {
    #[inline(always)]
    fn run<T: Tables>(tables: &T, service: &Service, cursor: u64) -> Option<Self> {
        if service.max_weight == 0 {
            return None;
        }
        let id = (cursor >> 32) as u32;
        let mut last = NOWHERE;
        if id != 0 {
            let place = service.place_of(tables, id.wrapping_sub(1));
            if place != service.count {
                last = place;
            }
        }
        let mut walk = Self {
            place: last,
            id,
            level: cursor as u32,
            last,
            stop: NOWHERE,
            passes: 0,
            wrapped: false,
            found: false,
        };
        let levels = service
            .max_weight
            .checked_div(service.weight_step)
            .unwrap_or(0)
            .saturating_add(3);
        let bound = service.count.saturating_add(1).saturating_mul(levels);
        let bound = if bound > MOST_STEPS {
            MOST_STEPS
        } else {
            bound
        };
        // As a rule the first one takes it; then no loop is set up.
        if walk.advance(tables, service) {
            tables.scan(bound, |_| walk.advance(tables, service));
        }
        Some(walk)
    }

    /// One destination, or the end of a pass. `false`: the search is over.
    #[inline(always)]
    fn advance<T: Tables>(&mut self, tables: &T, service: &Service) -> bool {
        let next = self.place.wrapping_add(1);
        if next >= service.count {
            return self.turn(service);
        }
        self.place = next;
        let Some(candidate) = service.candidate(tables, next) else {
            return false;
        };
        self.id = candidate.id.wrapping_add(1);
        if candidate.takes_new() && candidate.weight >= self.level {
            self.found = true;
            return false;
        }
        next != self.stop
    }

    /// The end of the list: the next level, or the end of the search.
    ///
    /// Below the lowest level the highest follows, if the search began in the lowest and not at the list's start; else all
    /// levels have been seen. Such a search ends at the latest with the destination it began behind, in the lowest level.
    #[inline(always)]
    fn turn(&mut self, service: &Service) -> bool {
        let (max, step) = (service.max_weight, service.weight_step);
        self.place = NOWHERE;
        self.id = 0;
        if self.level > step {
            self.level -= step;
        } else {
            self.level = max;
            if self.last == NOWHERE || self.passes != 0 {
                return false;
            }
            self.wrapped = true;
        }
        self.passes = self.passes.wrapping_add(1);
        if self.level <= step && self.wrapped {
            self.stop = self.last;
        }
        true
    }
}
