//! Which slot of the table a new flow takes: a set and a way there.

use super::find::lowest;
use super::set::change;
use super::{Control, Entry, Head, Set, WAYS, Want};
use crate::env::{Tables, state};
use crate::event::Event;
use crate::tick::Tick;
use lvsx_platform::{bits, hide};

/// A slot: set number << 8 + rank by which it was chosen << 4 + way. `NO_SLOT` for none.
pub(super) const NO_SLOT: u64 = u64::MAX >> 1;

/// Of a slot: it is taken only if the overflow area has none.
pub(super) const OVERFLOW_FIRST: u64 = 1 << 63;

#[inline(always)]
fn slot(index: u32, way: u64, rank: u64) -> u64 {
    u64::from(index) << 8 | rank << 4 | way & 7
}

/// Ranks of ways; the least is given up first.
const FREE: u64 = 0;
const EXPIRED: u64 = 1;
const EMBRYONIC: u64 = 2;
const KEPT: u64 = 3;

/// Sets of the overflow area that an opener visits at most.
const MAX_REACH: u32 = 255;

/// A home takes a new flow before its twin while fewer of its ways than this are in use.
const ROOMY: u64 = 6;

/// The slot at home that a flow takes which nobody can know: no way there has its tag, no flow of that home lives
/// elsewhere, and there is room. The rule for a first packet, decided by one look; [`NO_SLOT`] says nothing.
#[inline(always)]
pub(super) fn obvious<E: Entry>(home: &Set<E>, want: &Want<E>) -> u64 {
    let mut free = Free { ways: 0, count: 0 };
    let mut tagged = 0;
    let mut way = 0;
    while way < WAYS {
        let control = Control(home.control[way].load());
        let bit = control.free_bit();
        free.ways |= bit << way;
        free.count += bit;
        tagged |= bits::is_zero((control.0 ^ want.look()) & Control::LOOK);
        way += 1;
    }
    let is_home_alone = Head(home.head.load()).keeps_all();
    if tagged == 0 && is_home_alone && free.is_roomy() {
        slot(want.home, free.pick(want), FREE)
    } else {
        NO_SLOT
    }
}

/// The slot a new flow should take, or [`NO_SLOT`]: every candidate holds an answered connection. With [`OVERFLOW_FIRST`]
/// either if a free way of the overflow area is to be preferred.
#[inline(never)]
pub(super) fn choose<E: Entry, T: Tables>(tables: &T, want: &Want<E>, now: Tick) -> u64 {
    let Some(home) = E::set(tables, want.home) else {
        return NO_SLOT;
    };
    let at_home = Free::of(home);
    if at_home.is_roomy() {
        return slot(want.home, at_home.pick(want), FREE);
    }
    let second_index = want.second(E::geometry(tables));
    let Some(second) = E::set(tables, second_index) else {
        return NO_SLOT;
    };
    let in_second = Free::of(second);
    if at_home.count != 0 && at_home.count >= in_second.count {
        return slot(want.home, at_home.pick(want), FREE);
    }
    if in_second.count != 0 {
        return slot(second_index, in_second.pick(want), FREE);
    }
    let (of_home, of_second) = (spare(home, now.0), spare(second, now.0));
    let (index, spare) = if of_home <= of_second {
        (want.home, of_home)
    } else {
        (second_index, of_second)
    };
    let rank = spare >> 8;
    let spare = slot(index, spare, rank);
    match rank {
        FREE | EXPIRED => spare,
        EMBRYONIC if overflow_is_crowded::<E, T>(tables) => spare,
        EMBRYONIC => spare | OVERFLOW_FIRST,
        _ => NO_SLOT | OVERFLOW_FIRST,
    }
}

/// Counts a flow in its home's head if its slot is in its second set; before the entry is there, so that no look-up stops
/// short of it. `false`: too many of that home are there.
#[inline(always)]
pub(super) fn enter_second<E: Entry, T: Tables>(tables: &T, slot: u64, want: &Want<E>) -> bool {
    let index = (slot >> 8) as u32;
    if index == want.home || index >= E::geometry(tables).sets {
        return true;
    }
    match E::set(tables, want.home) {
        Some(home) => change(&home.head, Head::with_elsewhere),
        None => false,
    }
}

/// A free way of the overflow area, the nearest to the flow's start there; extends its home's reach to it. Expired ones
/// become free within the time that the hand takes.
#[inline(never)]
pub(super) fn choose_in_overflow<E: Entry, T: Tables>(tables: &T, want: &Want<E>) -> u64 {
    let geometry = E::geometry(tables);
    let most = if geometry.overflow < MAX_REACH {
        geometry.overflow
    } else {
        MAX_REACH
    };
    let mut chosen = NO_SLOT;
    let mut steps = 0;
    tables.scan(most, |step| {
        let index = want.overflow(geometry, step);
        let Some(set) = E::set(tables, index) else {
            return false;
        };
        steps = step + 1;
        let free = Free::of(set);
        if free.count != 0 {
            chosen = slot(index, free.pick(want), FREE);
        }
        chosen == NO_SLOT
    });
    if chosen == NO_SLOT || !enter_overflow(tables, want, steps) {
        return NO_SLOT;
    }
    tables.count(Event::Overflowed);
    chosen
}

/// Counts one more flow of this home in the overflow area, `steps` sets from its start at most.
#[inline(always)]
fn enter_overflow<E: Entry, T: Tables>(tables: &T, want: &Want<E>, steps: u32) -> bool {
    let (Some(home), Some(line)) = (E::set(tables, want.home), tables.state(state::CONNECTIONS))
    else {
        return false;
    };
    let entered = change(&home.head, |head| head.with_overflowed(steps));
    if entered {
        line[E::OVERFLOW].add(1);
    }
    entered
}

/// Whether so much of the overflow area is in use that unanswered flows are given up before more of it is taken: then the
/// table is beyond its rating, and a flood must not make look-ups long.
#[inline(always)]
fn overflow_is_crowded<E: Entry, T: Tables>(tables: &T) -> bool {
    match tables.state(state::CONNECTIONS) {
        Some(line) => line[E::OVERFLOW].load() > u64::from(E::geometry(tables).overflow) * CROWDED,
        None => true,
    }
}

/// Ways in use of a set of the overflow area, on average, from which it counts as crowded.
const CROWDED: u64 = 6;

/// The free ways of a set.
#[derive(Clone, Copy)]
struct Free {
    /// One bit a way.
    ways: u64,
    /// How many.
    count: u64,
}

impl Free {
    /// Looks over a set. Free of branches: a branch a way would make the verifier walk every combination of ways.
    #[inline(always)]
    fn of<E>(set: &Set<E>) -> Self {
        let mut free = Self { ways: 0, count: 0 };
        let mut way = 0;
        while way < WAYS {
            let bit = Control(set.control[way].load()).free_bit();
            free.ways |= bit << way;
            free.count += bit;
            way += 1;
        }
        free
    }

    /// Whether a home with these takes a new flow without a look at its twin.
    #[inline(always)]
    fn is_roomy(self) -> bool {
        self.count > WAYS as u64 - ROOMY
    }

    /// The wanted way if it is free, else another; at least one is.
    #[inline(always)]
    fn pick<E: Entry>(self, want: &Want<E>) -> u64 {
        let wanted = want.way() as u64;
        if self.ways >> wanted & 1 != 0 {
            return wanted;
        }
        lowest(self.ways) as u64
    }
}

/// The way of a full set that is given up first: rank << 8 + way.
#[inline(never)]
fn spare<E>(set: &Set<E>, now: u32) -> u64 {
    let now = Tick(now);
    let mut spare = KEPT << 8;
    let mut way = 0;
    while hide(way) < WAYS as u64 {
        let Some(word) = set.control.get(way as usize) else {
            break;
        };
        let control = Control(word.load());
        let candidate = rank(control, now) << 8 | way;
        spare = bits::pick(bits::less(candidate, spare), candidate, spare);
        way += 1;
    }
    spare
}

/// How much a way is worth keeping.
#[inline(always)]
pub(super) fn rank(control: Control, now: Tick) -> u64 {
    let live = control.live_bit();
    let rank = bits::pick(live & control.embryonic_bit(), EMBRYONIC, KEPT);
    let rank = bits::pick(live & control.expired_bit(now), EXPIRED, rank);
    bits::pick(control.free_bit(), FREE, rank)
}
