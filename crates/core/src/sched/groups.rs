//! The destination with the least overhead for its weight in a long list, without a look at each.
//!
//! The list is seen in groups of [`GROUP`] destinations in a row. The first of a group keeps, in its live line, which of them is
//! the least; whatever changes a destination's counts or its overload flag says so there ([`live::moved`]). So a search
//! looks at one destination of each group where nothing moved since, and at all of the others.
//!
//! What is kept is exact: it names the moves that it saw and the list that it is of, and is taken only while both are the present
//! ones. A search stores what it found by compare-and-swap of the word that it read before it looked, so a move meanwhile leaves
//! the group to the next search. Nobody waits. Groups are kept only where the director has told the destinations which is their
//! first ([`live::place_word`]).

use super::Service;
use super::least::Best;
use crate::env::Tables;
use crate::generation::live;
use lvsx_platform::{Word, bits, hide};

/// Destinations in a group.
pub const GROUP: u32 = 32;

/// Place of the destination with the least overhead per unit of weight, among those that take new connections; the first in
/// list order wins a tie. `None`: none does.
#[inline(always)]
pub(super) fn least<T: Tables>(tables: &T, service: &Service) -> Option<u32> {
    let mut best = Best::none(service.count);
    tables.scan(service.count.div_ceil(GROUP), |group| {
        let start = group.wrapping_mul(GROUP);
        let mut nth = kept(tables, service, start);
        if nth == UNKNOWN {
            nth = least_of(tables, service, start);
        }
        let place = start.wrapping_add(nth).wrapping_sub(1);
        if nth != NOBODY
            && let Some(candidate) = service.candidate(tables, place)
            && candidate.takes_new()
        {
            best.consider(place, candidate.overhead(), candidate.weight);
        }
        true
    });
    best.place()
}

/// Number of the least of the group that begins at `start`, as it is kept.
#[inline(always)]
fn kept<T: Tables>(tables: &T, service: &Service, start: u32) -> u32 {
    match word(tables, service, start) {
        Some(word) => Kept(word.load()).least(service.first),
        None => UNKNOWN,
    }
}

/// Number of the least of the group that begins at `start`, [`NOBODY`] if none takes new connections; looks at each, and keeps what it finds unless something moved meanwhile.
#[inline(always)]
fn least_of<T: Tables>(tables: &T, service: &Service, start: u32) -> u32 {
    let before = Kept(word(tables, service, start).map_or(0, Word::load));
    // Nobody yet: heavier than anybody.
    let (mut least, mut load, mut weight) = (u64::from(NOBODY), 1, 0);
    let mut nth = 0;
    while hide(nth) < u64::from(GROUP) {
        let place = start.wrapping_add(nth as u32);
        if place >= service.count {
            break;
        }
        let Some(candidate) = service.candidate(tables, place) else {
            break;
        };
        nth += 1;
        // Free of branches: the verifier would walk every combination of them.
        let (its_load, its_weight) = (candidate.overhead().into(), candidate.weight.into());
        let is_lighter = bits::less(its_load * weight, load * its_weight);
        let takes = candidate.takes_new_bit() & is_lighter;
        least = bits::pick(takes, nth, least);
        load = bits::pick(takes, its_load, load);
        weight = bits::pick(takes, its_weight, weight);
    }
    let least = least as u32;
    if let Some(word) = word(tables, service, start) {
        // Losing the race leaves it to the next search.
        let _ = word.compare_exchange(before.0, before.with(least, service.first).0);
    }
    least
}

/// The word in which the group that begins at `start` is kept, if it is.
#[inline(always)]
fn word<'a, T: Tables>(tables: &'a T, service: &Service, start: u32) -> Option<&'a Word> {
    let id = service.id_at(tables, start)?;
    let line = tables.destination(id)?;
    let first = live::first_of(line);
    (first == id.wrapping_add(1)).then_some(&line[live::destination::LEAST])
}

/// The word of a group's first destination.
///
/// ```text
/// 63..44 moves | 43..24 moves when its least was sought | 23..6 line of the list | 5..0 the least: its number from 1, 0 unknown, 63 nobody
/// ```
///
/// Numbers are kept modulo a power of two.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kept(u64);

const UNKNOWN: u32 = 0;
const NOBODY: u32 = 63;

const MOVES: u64 = 0xf_ffff;
const LIST: u64 = 0x3_ffff;

impl Kept {
    /// Number of the least of the list whose first line is `first`, [`NOBODY`] or [`UNKNOWN`].
    #[inline(always)]
    fn least(self, first: u32) -> u32 {
        let nth = self.0 as u32 & 63;
        let differs =
            (self.0 >> 44 ^ self.0 >> 24) & MOVES | (self.0 >> 6 ^ u64::from(first)) & LIST;
        if differs != 0 || nth > GROUP && nth != NOBODY {
            UNKNOWN
        } else {
            nth
        }
    }

    /// The word once the `nth` is known to be the least.
    #[inline(always)]
    fn with(self, nth: u32, first: u32) -> Self {
        let moves = self.0 >> 44;
        Self(moves << 44 | moves << 24 | (u64::from(first) & LIST) << 6 | u64::from(nth))
    }
}

#[cfg(test)]
mod tests;
