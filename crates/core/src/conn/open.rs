//! Opening a flow's entry.

use super::find::{Hit, find_in_overflow, find_in_sets, lowest};
use super::sweep::{leave_overflow, unbind};
use super::{Control, NewEntry4, Set4, WAYS, Want4};
use crate::env::{Stripe, Tables, state};
use crate::event::Event;
use crate::generation::live;
use crate::tick::Tick;
use lvsx_platform::{Word, bits, fence, hide};

/// Looks at a lock that is taken before the packet is let go.
const LOCK_TRIES: u32 = 64;

/// A lock older than this many ticks is broken: no packet takes two seconds.
const STALE_LOCK: u32 = 32;

/// Slots tried when others take them first.
const SLOT_TRIES: u64 = 2;

/// Sets of the overflow area that an opener visits at most.
pub(super) const MAX_REACH: u32 = 256;

/// A set takes a new flow before its twin while fewer of its ways than this are in use.
const ROOMY: u64 = 5;

/// What became of an attempt to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opened {
    /// A new entry, counted at its destination.
    New,
    /// The flow had one already, perhaps opened a moment ago by another CPU.
    Exists,
    /// Another CPU is opening the same flow and did not finish within our tries.
    Contended,
    /// Every candidate slot holds an answered connection.
    Full,
}

/// Whether the flow has a live entry; ends one whose time is over.
#[inline(always)]
fn is_known<T: Tables>(tables: &T, want: &Want4, now: Tick) -> bool {
    is_known_in_sets(tables, want, now) || is_known_in_overflow(tables, want, now)
}

#[inline(never)]
fn is_known_in_sets<T: Tables>(tables: &T, want: &Want4, now: Tick) -> bool {
    find_in_sets(tables, want).is_some_and(|hit| lives_on(tables, &hit, now))
}

#[inline(never)]
fn is_known_in_overflow<T: Tables>(tables: &T, want: &Want4, now: Tick) -> bool {
    find_in_overflow(tables, want).is_some_and(|hit| lives_on(tables, &hit, now))
}

#[inline(always)]
fn lives_on<T: Tables>(tables: &T, hit: &Hit<'_>, now: Tick) -> bool {
    if !hit.control.is_expired(now) {
        return true;
    }
    if hit.end(tables) {
        tables.count(Event::Expired);
        return false;
    }
    // Someone was quicker: a packet that judged it alive and prolonged it, or whoever ended it.
    hit.is_alive(now)
}

/// Opens an entry for the flow of `want` (a packet from the client).
///
/// A free way of the first set while that is roomy, else of the emptier set; else one whose time is over; else a free way
/// of the overflow area; else that of an unanswered flow (counted as evicted). Cost: the control lines of both sets.
///
/// Its steps are not inlined, because BPF gives a function 512 bytes of stack, calls included; so they answer by plain
/// numbers, for which one register suffices.
#[inline(always)]
pub fn open<T: Tables>(tables: &T, want: &Want4, new: &NewEntry4, now: Tick) -> Opened {
    let Some(Stripe { lock, .. }) = tables.stripe(want.stripe()) else {
        return Opened::Contended;
    };
    let Some(held) = take(tables, lock, now) else {
        return Opened::Contended;
    };
    let opened = open_locked(tables, want, new, now);
    // Whoever broke a stale lock owns it now.
    let _ = lock.compare_exchange(held, 0);
    opened
}

/// Takes the lock; the value to give it back by.
#[inline(always)]
fn take<T: Tables>(tables: &T, lock: &Word, now: Tick) -> Option<u64> {
    let mine = u64::from(now.0) | 1 << 32;
    let mut taken = false;
    tables.scan(LOCK_TRIES, |_| {
        let found = lock.load();
        let broken = found != 0 && now.0.wrapping_sub(found as u32) > STALE_LOCK;
        taken = (found == 0 || broken) && lock.compare_exchange(found, mine).is_ok();
        !taken
    });
    if taken { Some(mine) } else { None }
}

#[inline(always)]
fn open_locked<T: Tables>(tables: &T, want: &Want4, new: &NewEntry4, now: Tick) -> Opened {
    if is_known(tables, want, now) {
        return Opened::Exists;
    }
    let mut tries = 0;
    while hide(tries) < SLOT_TRIES {
        tries += 1;
        let slot = choose(tables, want, now);
        if slot == NO_SLOT {
            return Opened::Full;
        }
        let opened = settle(tables, slot, want, new, now);
        if opened != Opened::Contended {
            return opened;
        }
    }
    Opened::Contended
}

/// Claims the slot, writes the entry, counts it and lets the world see it. [`Opened::Contended`]: others took the slot.
#[inline(never)]
fn settle<T: Tables>(tables: &T, slot: u64, want: &Want4, new: &NewEntry4, now: Tick) -> Opened {
    let (index, way) = ((slot >> 8) as u32, slot as usize & (WAYS - 1));
    let Some(set) = tables.set4(index) else {
        return Opened::Full;
    };
    // Others may have changed it since it was chosen: it is judged again by the word that is claimed.
    let old = Control(set.control[way].load());
    let claim = old.claimed(now);
    let (id, stripe) = (
        set.entry[way].id(),
        set.entry[way].stripe(tables.geometry4()),
    );
    if !old.is_free() && rank(old, now) == KEPT
        || set.control[way].compare_exchange(old.0, claim.0).is_err()
    {
        leave_overflow(tables, index, want.stripe());
        return Opened::Contended;
    }
    if old.is_live() {
        tables.count(if old.is_expired(now) {
            Event::Expired
        } else {
            Event::EvictedEmbryonic
        });
        unbind(tables, id, old);
        leave_overflow(tables, index, stripe);
    }
    fence();
    set.entry[way].write(want.key, new);
    let control = claim.published(want.tag(), new.input_only, new.state, new.deadline);
    if let Some(line) = tables.destination(new.id) {
        line[live::destination::COUNTS].add(live::weight_of(control.is_active()));
        live::settle_overload(line, true);
    }
    if set.control[way]
        .compare_exchange(claim.0, control.0)
        .is_err()
    {
        // Only a sweep that took this claim for a broken one can have come between.
        unbind(tables, new.id, control);
        leave_overflow(tables, index, want.stripe());
        return Opened::Contended;
    }
    tables.count(Event::Opened);
    Opened::New
}

/// Ranks of ways in use; the least is given up first.
const EXPIRED: u64 = 1;
const EMBRYONIC: u64 = 2;
const KEPT: u64 = 3;

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
    fn of(set: &Set4) -> Self {
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

    /// The wanted way if it is free, else another; at least one is.
    #[inline(always)]
    fn pick(self, want: &Want4) -> u64 {
        let wanted = want.way() as u64;
        if self.ways >> wanted & 1 != 0 {
            return wanted;
        }
        lowest(self.ways) as u64
    }
}

/// The way of a full set that is given up first: rank << 8 + way.
#[inline(never)]
fn spare(set: &Set4, now: u32) -> u64 {
    let now = Tick(now);
    let mut spare = KEPT << 8;
    let mut way = 0;
    while hide(way) < WAYS as u64 {
        let control = Control(set.control[way as usize & (WAYS - 1)].load());
        let candidate = rank(control, now) << 8 | way;
        spare = bits::pick(bits::less(candidate, spare), candidate, spare);
        way += 1;
    }
    spare
}

/// How much a way in use is worth keeping.
#[inline(always)]
fn rank(control: Control, now: Tick) -> u64 {
    let live = control.live_bit();
    let rank = bits::pick(live & control.embryonic_bit(), EMBRYONIC, KEPT);
    bits::pick(live & control.expired_bit(now), EXPIRED, rank)
}

/// A slot: set number << 8 + way. `NO_SLOT` for none.
const NO_SLOT: u64 = u64::MAX;

#[inline(always)]
fn slot(index: u32, way: u64) -> u64 {
    u64::from(index) << 8 | way & (WAYS as u64 - 1)
}

/// The slot a new flow should take, or [`NO_SLOT`]: every candidate holds an answered connection.
#[inline(never)]
fn choose<T: Tables>(tables: &T, want: &Want4, now: Tick) -> u64 {
    let (Some(first), Some(second)) = (tables.set4(want.first), tables.set4(want.second)) else {
        return NO_SLOT;
    };
    let in_first = Free::of(first);
    if in_first.count > WAYS as u64 - ROOMY {
        return slot(want.first, in_first.pick(want));
    }
    let in_second = Free::of(second);
    if in_first.count != 0 && in_first.count >= in_second.count {
        return slot(want.first, in_first.pick(want));
    }
    if in_second.count != 0 {
        return slot(want.second, in_second.pick(want));
    }
    let (of_first, of_second) = (spare(first, now.0), spare(second, now.0));
    let (index, spare) = if of_first <= of_second {
        (want.first, of_first)
    } else {
        (want.second, of_second)
    };
    let rank = spare >> 8;
    let spared = if rank == KEPT {
        NO_SLOT
    } else {
        slot(index, spare)
    };
    if rank == EXPIRED || rank == EMBRYONIC && overflow_is_crowded(tables) {
        return spared;
    }
    match choose_in_overflow(tables, want) {
        NO_SLOT => spared,
        slot => slot,
    }
}

/// A free way of the overflow area, the nearest to the flow's start there; extends its hash's reach to it. Expired ones
/// become free within the two seconds that the hand takes.
#[inline(always)]
fn choose_in_overflow<T: Tables>(tables: &T, want: &Want4) -> u64 {
    let geometry = tables.geometry4();
    let most = if geometry.overflow < MAX_REACH {
        geometry.overflow
    } else {
        MAX_REACH
    };
    let mut chosen = NO_SLOT;
    let mut steps = 0;
    tables.scan(most, |step| {
        let index = want.overflow(geometry, step);
        let Some(set) = tables.set4(index) else {
            return false;
        };
        steps = step + 1;
        let free = Free::of(set);
        if free.count != 0 {
            chosen = slot(index, free.pick(want));
        }
        chosen == NO_SLOT
    });
    if chosen == NO_SLOT || !enter_overflow(tables, want, steps) {
        return NO_SLOT;
    }
    tables.count(Event::Overflowed);
    chosen
}

/// Counts one more entry of the flow's hash in the overflow area, `steps` sets from its start at most. Before the entry is
/// there, so that no look-up stops short of it.
#[inline(always)]
fn enter_overflow<T: Tables>(tables: &T, want: &Want4, steps: u32) -> bool {
    let (Some(stripe), Some(line)) = (
        tables.stripe(want.stripe()),
        tables.state(state::CONNECTIONS),
    ) else {
        return false;
    };
    let mut tries = 0;
    while hide(tries) < SLOT_TRIES {
        let word = stripe.overflow.load();
        let reach = if (word as u32) < steps {
            steps
        } else {
            word as u32
        };
        let entered = (word >> 32).wrapping_add(1) << 32 | u64::from(reach);
        if stripe.overflow.compare_exchange(word, entered).is_ok() {
            line[state::OVERFLOW].add(1);
            return true;
        }
        tries += 1;
    }
    false
}

/// Whether so much of the overflow area is in use that unanswered flows are given up before more of it is taken: then the
/// table is beyond its rating, and a flood must not make look-ups long.
#[inline(always)]
fn overflow_is_crowded<T: Tables>(tables: &T) -> bool {
    match tables.state(state::CONNECTIONS) {
        Some(line) => {
            line[state::OVERFLOW].load() > u64::from(tables.geometry4().overflow) * CROWDED
        }
        None => true,
    }
}

/// Ways in use of a set of the overflow area, on average, from which it counts as crowded.
const CROWDED: u64 = 7;
