//! Opening a flow's entry.

use super::find::{Hit, find_in_overflow, find_in_sets};
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

/// Ends the flow's entry if its time is over, or if `reopens` (the packet begins a connection anew) and it is closed.
/// `true`: the flow has a live entry still.
#[inline(always)]
pub fn is_known<T: Tables>(tables: &T, want: &Want4, reopens: bool, now: Tick) -> bool {
    is_known_in_sets(tables, want, reopens, now) || is_known_in_overflow(tables, want, reopens, now)
}

#[inline(never)]
fn is_known_in_sets<T: Tables>(tables: &T, want: &Want4, reopens: bool, now: Tick) -> bool {
    find_in_sets(tables, want).is_some_and(|hit| stays(tables, &hit, reopens, now))
}

#[inline(never)]
fn is_known_in_overflow<T: Tables>(tables: &T, want: &Want4, reopens: bool, now: Tick) -> bool {
    find_in_overflow(tables, want).is_some_and(|hit| stays(tables, &hit, reopens, now))
}

/// Whether the entry found stays; ends it if not.
#[inline(always)]
fn stays<T: Tables>(tables: &T, hit: &Hit<'_>, reopens: bool, now: Tick) -> bool {
    let expired = hit.control.is_expired(now);
    let gives_way = expired || reopens && hit.control.state().is_closed();
    if gives_way && super::remove(tables, hit.set, hit.index, hit.way, hit.control) {
        tables.count(if expired {
            Event::Expired
        } else {
            Event::Reused
        });
    }
    !gives_way
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
    if is_known(tables, want, false, now) {
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

/// No way's number.
const NO_WAY: u64 = 0xff;

/// Ranks of ways in use; the least is given up first.
const EXPIRED: u64 = 1;
const EMBRYONIC: u64 = 2;
const KEPT: u64 = 3;

/// What a look over a set's control words found, in one word: a free way or [`NO_WAY`], ways in use << 8, the way given up
/// first << 16, its rank << 24.
#[derive(Clone, Copy)]
struct Look(u64);

impl Look {
    /// A free way, or [`NO_WAY`].
    #[inline(always)]
    fn free(self) -> u64 {
        self.0 & 0xff
    }

    /// Ways in use.
    #[inline(always)]
    fn used(self) -> u64 {
        self.0 >> 8 & 0xff
    }

    /// The way given up first: rank << 8 + way.
    #[inline(always)]
    fn spare(self) -> u64 {
        self.0 >> 16
    }

    /// The rank of the way given up first.
    #[inline(always)]
    fn rank(self) -> u64 {
        self.0 >> 24
    }
}

#[inline(always)]
fn look(set: &Set4, want: &Want4, now: Tick) -> Look {
    Look(look_over(set, want.way() as u32, now.0))
}

/// Looks over a set; the free way is `wanted`, if that is free. Free of branches: a branch a way would make the verifier walk
/// every combination of ways.
#[inline(never)]
fn look_over(set: &Set4, wanted: u32, now: u32) -> u64 {
    let now = Tick(now);
    let (mut free_way, mut used, mut spare) = (NO_WAY, 0, KEPT << 8);
    let mut way = 0;
    while hide(way) < WAYS as u64 {
        let control = Control(set.control[way as usize & (WAYS - 1)].load());
        let free = control.free_bit();
        free_way = bits::pick(free, way, free_way);
        used += 1 ^ free;
        let candidate = rank(control, now) << 8 | way;
        spare = bits::pick(bits::less(candidate, spare), candidate, spare);
        way += 1;
    }
    let wanted = wanted as usize & (WAYS - 1);
    let free = Control(set.control[wanted].load()).free_bit();
    free_way = bits::pick(free, wanted as u64, free_way);
    free_way | used << 8 | spare << 16
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
    let Some(set) = tables.set4(want.first) else {
        return NO_SLOT;
    };
    let first = look(set, want, now);
    let Some(set) = tables.set4(want.second) else {
        return NO_SLOT;
    };
    let second = look(set, want, now);
    if first.free() != NO_WAY && (first.used() < ROOMY || first.used() <= second.used()) {
        return slot(want.first, first.free());
    }
    if second.free() != NO_WAY {
        return slot(want.second, second.free());
    }
    let (index, best) = if first.spare() <= second.spare() {
        (want.first, first)
    } else {
        (want.second, second)
    };
    let spared = if best.rank() == KEPT {
        NO_SLOT
    } else {
        slot(index, best.spare())
    };
    if best.rank() == EXPIRED || best.rank() == EMBRYONIC && overflow_is_crowded(tables) {
        return spared;
    }
    match choose_in_overflow(tables, want, now) {
        NO_SLOT => spared,
        slot => slot,
    }
}

/// A free or expired way of the overflow area, the nearest to the flow's start there; extends the area's reach to it.
#[inline(always)]
fn choose_in_overflow<T: Tables>(tables: &T, want: &Want4, now: Tick) -> u64 {
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
        let found = look(set, want, now);
        steps = step + 1;
        if found.free() != NO_WAY {
            chosen = slot(index, found.free());
        } else if found.rank() == EXPIRED {
            chosen = slot(index, found.spare());
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
