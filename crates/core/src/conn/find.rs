//! Finding a flow's entry.

use super::{Control, Entry4, Set4, WAYS, Want4};
use crate::env::Tables;
use crate::tick::Tick;
use lvsx_platform::{Word, bits, hide};

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

    /// Ends this life of the entry. `true` for the one caller who ended it.
    #[inline(always)]
    pub fn end<T: Tables>(&self, tables: &T) -> bool {
        super::remove(tables, self.set, self.index, self.way, self.control)
    }

    /// Whether this life goes on, by what the control word says now.
    #[inline(always)]
    #[must_use]
    pub fn is_alive(&self, now: Tick) -> bool {
        let control = Control(self.word().load());
        control.is_same_life(self.control) && !control.is_expired(now)
    }

    /// Whether what was read of the entry since it was found belongs to one life. To be asked after the last use of
    /// the entry's words and before acting on them.
    #[inline(always)]
    #[must_use]
    pub fn holds(&self) -> bool {
        Control(self.word().load()).is_same_life(self.control)
    }
}

/// The ways of a set whose control words have the flow's tag, one bit a way. Free of branches: a branch a way would cost a
/// misprediction a packet, and the verifier a path for every combination.
#[inline(always)]
fn tagged(set: &Set4, want: &Want4) -> u64 {
    let mut ways = 0;
    let mut way = 0;
    while way < WAYS {
        let differs = (set.control[way].load() ^ want.look) & Control::LOOK;
        ways |= bits::is_zero(differs) << way;
        way += 1;
    }
    ways
}

/// The number of the lowest bit set among eight, by a de Bruijn multiplication; BPF has no instruction for it.
#[inline(always)]
pub(super) fn lowest(ways: u64) -> usize {
    let bit = ways & ways.wrapping_neg();
    let place = (bit.wrapping_mul(0x17) & 0xff) >> 5;
    (0x5637_4210u64 >> (place * 4)) as usize & (WAYS - 1)
}

/// The flow's entry in one set.
#[inline(always)]
fn find_in_set<'a>(set: &'a Set4, index: u32, want: &Want4) -> Option<Hit<'a>> {
    let way = want.way();
    let control = Control(set.control[way].load());
    if (control.0 ^ want.look) & Control::LOOK | set.entry[way].differs(want) == 0 {
        return Some(Hit {
            set,
            index,
            way,
            control,
        });
    }
    let mut ways = tagged(set, want);
    let mut tries = 0;
    while ways != 0 && hide(tries) < WAYS as u64 {
        let way = lowest(ways);
        let control = Control(set.control[way].load());
        if (control.0 ^ want.look) & Control::LOOK | set.entry[way].differs(want) == 0 {
            return Some(Hit {
                set,
                index,
                way,
                control,
            });
        }
        ways &= ways.wrapping_sub(1);
        tries += 1;
    }
    None
}

/// The flow's entry in its two candidate sets. Its time may be over.
#[inline(always)]
pub fn find_in_sets<'a, T: Tables>(tables: &'a T, want: &Want4) -> Option<Hit<'a>> {
    let mut index = want.first;
    let mut tries = 0;
    while hide(tries) < 2 {
        if let Some(hit) = find_in_set(tables.set4(index)?, index, want) {
            return Some(hit);
        }
        index = want.second;
        tries += 1;
    }
    None
}

/// Sets of the overflow area that a look-up of this flow visits; 0 while no flow of its hash lives there.
#[inline(always)]
pub fn overflow_reach<T: Tables>(tables: &T, want: &Want4) -> u32 {
    match tables.stripe(want.stripe()) {
        Some(stripe) => stripe.overflow.load() as u32,
        None => 0,
    }
}

/// The flow's entry in the overflow area: one set after another, as far as its hash's reach. Cost: a cache line a set, and
/// nothing while no flow of its hash lives there.
#[inline(always)]
pub fn find_in_overflow<'a, T: Tables>(tables: &'a T, want: &Want4) -> Option<Hit<'a>> {
    let reach = overflow_reach(tables, want);
    if reach == 0 {
        return None;
    }
    let geometry = tables.geometry4();
    let mut found = NO_SET;
    tables.scan(reach, |step| {
        let index = want.overflow(geometry, step);
        let Some(set) = tables.set4(index) else {
            return false;
        };
        if find_in_set(set, index, want).is_some() {
            found = index;
        }
        found == NO_SET
    });
    let set = tables.set4(found)?;
    find_in_set(set, found, want)
}

/// No set's number.
const NO_SET: u32 = u32::MAX;

/// The flow's entry, wherever it may be.
#[inline(always)]
pub fn find<'a, T: Tables>(tables: &'a T, want: &Want4) -> Option<Hit<'a>> {
    find_in_sets(tables, want).or_else(|| find_in_overflow(tables, want))
}
