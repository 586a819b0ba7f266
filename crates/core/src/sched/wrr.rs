//! `wrr`, weighted round robin: rounds over the list at a falling level; a destination takes part in those rounds whose
//! level its weight reaches.
//!
//! The service's cursor word holds the last pick (id + 1, upper 32 bits, 0 before the first) and the level (lower 32
//! bits). The level runs max, max - step, ..., at least 1, where step is the greatest common divisor of the weights and
//! max the highest weight less step less one. Source: Linux 6.1, observed, down to the order of the first round.

use super::Service;
use crate::env::Tables;
use lvsx_platform::hide;

/// Tries to move the cursor when other CPUs move it too; the last one's pick stands all the same.
const TRIES: u64 = 4;

/// The highest level and the step for these weights: (mw, di).
#[must_use]
pub fn steps(weights: impl Iterator<Item = u32> + Clone) -> (u32, u32) {
    let step = weights.clone().filter(|weight| *weight > 0).fold(0, gcd).max(1);
    let highest = weights.max().unwrap_or(0);
    (highest.saturating_sub(step - 1), step)
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
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
    let cursor = &tables.service(service.head.id)?[0];
    let mut tries = 0;
    let mut picked = None;
    while hide(tries) < TRIES {
        tries += 1;
        let old = cursor.load();
        let walk = Walk::run(tables, service, old)?;
        picked = walk.picked();
        if cursor.compare_exchange(old, walk.cursor()).is_ok() {
            break;
        }
    }
    picked
}

/// A search: where it stands and how it ends.
struct Walk {
    place: u32,
    id: u32,
    level: u32,
    found: bool,
    /// Where the search began: place of the last pick, or `NOWHERE`.
    last: u32,
    stop: u32,
    last_pass: bool,
    restarted: bool,
}

const NOWHERE: u32 = u32::MAX;

impl Walk {
    #[inline(always)]
    fn run<T: Tables>(tables: &T, service: &Service, cursor: u64) -> Option<Self> {
        let count = service.head.destinations;
        let (max, step) = (service.head.max_weight, service.head.weight_step);
        if max == 0 {
            return None;
        }
        let id = (cursor >> 32) as u32;
        let last = match id {
            0 => NOWHERE,
            _ => match service.place_of(tables, id.wrapping_sub(1)) {
                place if place == count => NOWHERE,
                place => place,
            },
        };
        let mut walk = Self {
            place: last,
            id,
            level: cursor as u32,
            found: false,
            last,
            stop: NOWHERE,
            last_pass: false,
            restarted: false,
        };
        // Each level is one pass; the lowest is reached after max / step of them. A pass over a level that nobody reaches
        // costs as much as one that somebody does, as in the kernel.
        let bound = count.saturating_add(1).saturating_mul(max / step + 3);
        let bound = if bound > MOST_STEPS { MOST_STEPS } else { bound };
        tables.scan(bound, |_| walk.advance(tables, service, max, step, count));
        Some(walk)
    }

    /// One destination, or the end of a pass. `false`: the search is over.
    #[inline(always)]
    fn advance<T: Tables>(&mut self, tables: &T, service: &Service, max: u32, step: u32, count: u32) -> bool {
        let next = self.place.wrapping_add(1);
        if next >= count {
            return self.turn(max, step);
        }
        self.place = next;
        let Some(candidate) = service.candidate(tables, next) else { return false };
        self.id = candidate.id.wrapping_add(1);
        if candidate.takes_new && candidate.weight >= self.level {
            self.found = true;
            return false;
        }
        next != self.stop
    }

    /// The end of the list: the next level, or the end of the search.
    #[inline(always)]
    fn turn(&mut self, max: u32, step: u32) -> bool {
        self.level = if self.level > step { self.level - step } else { 0 };
        if self.level == 0 {
            self.level = max;
            if self.last_pass || self.last == NOWHERE {
                self.place = NOWHERE;
                self.id = 0;
                return false;
            }
            self.restarted = true;
        }
        self.last_pass = self.level <= step;
        if self.last_pass && self.restarted && self.last != NOWHERE {
            self.stop = self.last;
        }
        self.place = NOWHERE;
        self.id = 0;
        true
    }

    #[inline(always)]
    fn picked(&self) -> Option<u32> {
        if self.found { Some(self.place) } else { None }
    }

    #[inline(always)]
    fn cursor(&self) -> u64 {
        u64::from(self.id) << 32 | u64::from(self.level)
    }
}

/// Steps of one search at most: `bpf_loop`'s own bound.
const MOST_STEPS: u32 = 1 << 20;
