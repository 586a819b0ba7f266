//! Finding a flow's entry.

use super::set::BLANK;
use super::{Control, Entry, Entry4, Head, Set, WAYS, Want};
use crate::env::Tables;
use crate::tick::Tick;
use lvsx_platform::{Word, bits, hide};

/// A connection, or a template, as it was when it was read.
pub struct Hit<'a, E> {
    /// Number of its set.
    pub index: u32,
    /// Its way there.
    pub way: u64,
    /// The entry.
    pub entry: &'a E,
    /// Its control word.
    pub word: &'a Word,
    /// The control word when it was found.
    pub control: Control,
}

impl<E: Entry> Hit<'_, E> {
    /// Ends this life of the entry. `true` for the one caller who ended it.
    #[inline(always)]
    pub fn end<T: Tables>(&self, tables: &T) -> bool {
        super::remove(tables, self)
    }

    /// Lets the entry's time be over at `now`, so that whoever meets it next ends it. `false`: its life has changed meanwhile.
    #[inline(always)]
    pub fn run_out(&self, now: Tick) -> bool {
        let over = self.control.until(Tick(now.0.wrapping_sub(1)));
        self.word.compare_exchange(self.control.0, over.0).is_ok()
    }

    /// Whether this life goes on, by what the control word says now.
    #[inline(always)]
    #[must_use]
    pub fn is_alive(&self, now: Tick) -> bool {
        let control = Control(self.word.load());
        control.is_same_life(self.control) && !control.is_expired(now)
    }

    /// Whether what was read of the entry since it was found belongs to one life. To be asked after the last use of
    /// the entry's words and before acting on them.
    #[inline(always)]
    #[must_use]
    pub fn holds(&self) -> bool {
        Control(self.word.load()).is_same_life(self.control)
    }
}

/// The ways of a set whose control words have the flow's tag, one bit a way. Free of branches: a branch a way would cost a
/// misprediction a packet, and the verifier a path for every combination.
#[inline(always)]
fn tagged<E>(set: &Set<E>, look: u64) -> u64 {
    let mut ways = 0;
    let mut way = 0;
    while way < WAYS {
        let differs = (set.control[way].load() ^ look) & Control::LOOK;
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
    (0x5637_4210u64 >> (place * 4)) as usize & 7
}

/// The flow's entry in its home, if it has the way that it wanted: with a look at that way alone.
#[inline(always)]
pub fn find_at_home<'a, E: Entry, T: Tables>(tables: &'a T, want: &Want<E>) -> Option<Hit<'a, E>> {
    let set = E::set(tables, want.home)?;
    // Hidden, as below, where the same stands once more: as one function it takes openers beyond BPF's stack.
    let way = hide(want.way() as u64) as usize;
    if way >= WAYS {
        return None;
    }
    let (word, entry) = (&set.control[way], &set.entry[way]);
    let control = Control(word.load());
    if (control.0 ^ want.look()) & Control::LOOK | entry.differs(want) != 0 {
        return None;
    }
    Some(Hit {
        index: want.home,
        way: way as u64,
        entry,
        word,
        control,
    })
}

/// The flow's entry in one set.
#[inline(always)]
fn find_in_set<'a, E: Entry>(set: &'a Set<E>, index: u32, want: &Want<E>) -> Option<Hit<'a, E>> {
    let look = want.look();
    // Hidden here and below, so that what is compared is what is used: Linux 6.1 keeps no bound for a copy.
    let way = hide(want.way() as u64) as usize;
    if way < WAYS
        && let (word, entry) = (&set.control[way], &set.entry[way])
        && let control = Control(word.load())
        && (control.0 ^ look) & Control::LOOK | entry.differs(want) == 0
    {
        return Some(Hit {
            index,
            way: way as u64,
            entry,
            word,
            control,
        });
    }
    let mut ways = tagged(set, look);
    let mut tries = 0;
    while ways != 0 && hide(tries) < WAYS as u64 {
        let way = hide(lowest(ways) as u64) as usize;
        if way >= WAYS {
            break;
        }
        let (word, entry) = (&set.control[way], &set.entry[way]);
        let control = Control(word.load());
        if (control.0 ^ look) & Control::LOOK | entry.differs(want) == 0 {
            return Some(Hit {
                index,
                way: way as u64,
                entry,
                word,
                control,
            });
        }
        ways &= ways.wrapping_sub(1);
        tries += 1;
    }
    None
}

/// The flow's entry in its home, or in its second set if flows of that home live in theirs. Its time may be over.
#[inline(always)]
pub fn find_in_sets<'a, E: Entry, T: Tables>(tables: &'a T, want: &Want<E>) -> Option<Hit<'a, E>> {
    let mut index = want.home;
    let mut looks = 0;
    while hide(looks) < 2 {
        let set = E::set(tables, index)?;
        if let Some(hit) = find_in_set(set, index, want) {
            return Some(hit);
        }
        if looks == 0 && !Head(set.head.load()).has_elsewhere() {
            return None;
        }
        index = want.second(E::geometry(tables));
        looks += 1;
    }
    None
}

/// Begins to fetch what an opener of this IPv4 flow works on, and waits for none of it: its home's control line and the entry
/// of the way that it wants.
#[inline(always)]
pub fn touch<T: Tables>(tables: &T, want: &Want<Entry4>) {
    let way = hide(want.way() as u64) as usize;
    if way < WAYS
        && let Some(set) = Entry4::set(tables, want.home)
    {
        set.head.touch::<BLANK>();
        set.entry[way].touch();
    }
}

/// Whether the flow has no entry, by its home's control line alone: no way there has its tag, and all flows of that home live
/// in it. `false` says nothing.
#[inline(always)]
pub fn is_absent<E: Entry, T: Tables>(tables: &T, want: &Want<E>) -> bool {
    E::set(tables, want.home)
        .is_some_and(|home| tagged(home, want.look()) == 0 && Head(home.head.load()).keeps_all())
}

/// Sets of the overflow area that a look-up of this flow visits; 0 while no flow of its home lives there.
#[inline(always)]
pub fn overflow_reach<E: Entry, T: Tables>(tables: &T, want: &Want<E>) -> u32 {
    match E::set(tables, want.home) {
        Some(set) => Head(set.head.load()).reach(),
        None => 0,
    }
}

/// The set of the overflow area that holds the flow's entry: one set after another, as far as its home's reach. Cost: a cache
/// line a set, and nothing while no flow of its home lives there.
#[inline(always)]
pub fn overflow_set<E: Entry, T: Tables>(tables: &T, want: &Want<E>) -> Option<u32> {
    let reach = overflow_reach(tables, want);
    if reach == 0 {
        return None;
    }
    let geometry = E::geometry(tables);
    let mut found = NO_SET;
    tables.scan(reach, |step| {
        let index = want.overflow(geometry, step);
        let Some(set) = E::set(tables, index) else {
            return false;
        };
        if find_in_set(set, index, want).is_some() {
            found = index;
        }
        found == NO_SET
    });
    (found != NO_SET).then_some(found)
}

/// The flow's entry in set `index`.
#[inline(always)]
pub fn find_at<'a, E: Entry, T: Tables>(
    tables: &'a T,
    want: &Want<E>,
    index: u32,
) -> Option<Hit<'a, E>> {
    find_in_set(E::set(tables, index)?, index, want)
}

/// The flow's entry in the overflow area.
#[inline(always)]
pub fn find_in_overflow<'a, E: Entry, T: Tables>(
    tables: &'a T,
    want: &Want<E>,
) -> Option<Hit<'a, E>> {
    find_at(tables, want, overflow_set(tables, want)?)
}

/// No set's number.
pub(super) const NO_SET: u32 = u32::MAX;

/// The flow's entry, wherever it may be.
#[inline(always)]
pub fn find<'a, E: Entry, T: Tables>(tables: &'a T, want: &Want<E>) -> Option<Hit<'a, E>> {
    find_in_sets(tables, want).or_else(|| find_in_overflow(tables, want))
}
