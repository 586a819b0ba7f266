//! Finding a flow's entry.

use super::{Control, Entry4, Set4, WAYS, Want4};
use crate::env::{Tables, state};
use lvsx_platform::Word;

/// A live entry, as it was when it was read.
pub struct Hit<'a> {
    /// Its set.
    pub set: &'a Set4,
    /// Number of the set.
    pub index: u32,
    /// Its place in the set.
    pub way: usize,
    /// Its control word when it was found.
    pub control: Control,
}

impl<'a> Hit<'a> {
    /// The entry's words.
    #[inline(always)]
    #[must_use]
    pub fn entry(&self) -> &'a Entry4 {
        &self.set.entry[self.way & (WAYS - 1)]
    }

    /// The entry's control word.
    #[inline(always)]
    #[must_use]
    pub fn word(&self) -> &'a Word {
        &self.set.control[self.way & (WAYS - 1)]
    }

    /// Whether what was read of the entry since it was found belongs to one life. To be asked after the last use of
    /// the entry's words and before acting on them.
    #[inline(always)]
    #[must_use]
    pub fn holds(&self) -> bool {
        Control(self.word().load()).is_same_life(self.control)
    }
}

/// The flow's entry in one set.
#[inline(always)]
fn find_in_set<'a>(set: &'a Set4, index: u32, want: &Want4) -> Option<Hit<'a>> {
    let mut way = 0;
    while way < WAYS {
        let control = set.control[way].load();
        if (control ^ want.look) & Control::LOOK == 0
            && let Some(nought) = set.entry[way].matches(want)
        {
            // The verifier takes one way for another from here, so it walks what follows once and not eight times.
            let way = (way as u64).wrapping_add(nought) as usize & (WAYS - 1);
            let control = Control(set.control[way].load());
            return Some(Hit { set, index, way, control });
        }
        way += 1;
    }
    None
}

/// The flow's entry in its two candidate sets. Its time may be over.
#[inline(always)]
pub fn find_in_sets<'a, T: Tables>(tables: &'a T, want: &Want4) -> Option<Hit<'a>> {
    if let Some(set) = tables.set4(want.first)
        && let Some(hit) = find_in_set(set, want.first, want)
    {
        return Some(hit);
    }
    find_in_set(tables.set4(want.second)?, want.second, want)
}

/// Sets of the overflow area that a look-up visits; 0 while nothing lives there.
#[inline(always)]
fn overflow_reach<T: Tables>(tables: &T) -> u32 {
    match tables.state(state::CONNECTIONS) {
        Some(line) => line[state::OVERFLOW].load() as u32,
        None => 0,
    }
}

/// The flow's entry in the overflow area: one set after another, as far as the area's reach. Cost: a cache line a set,
/// and nothing while the area is empty.
#[inline(always)]
pub fn find_in_overflow<'a, T: Tables>(tables: &'a T, want: &Want4) -> Option<Hit<'a>> {
    let reach = overflow_reach(tables);
    if reach == 0 {
        return None;
    }
    let geometry = tables.geometry4();
    let mut found = u32::MAX;
    tables.scan(reach, |step| {
        let index = want.overflow(geometry, step);
        if let Some(set) = tables.set4(index)
            && find_in_set(set, index, want).is_some()
        {
            found = index;
            return false;
        }
        true
    });
    if found == u32::MAX {
        return None;
    }
    find_in_set(tables.set4(found)?, found, want)
}

/// The flow's entry, wherever it may be.
#[inline(always)]
pub fn find<'a, T: Tables>(tables: &'a T, want: &Want4) -> Option<Hit<'a>> {
    find_in_sets(tables, want).or_else(|| find_in_overflow(tables, want))
}
