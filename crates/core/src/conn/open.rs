//! Opening a flow's entry.

use super::find::{Hit, find};
use super::sweep::{forget, leave_overflow};
use super::{Control, NewEntry4, Set4, WAYS, Want4};
use crate::env::{LOCKS, Tables, state};
use crate::event::Event;
use crate::generation::live;
use crate::state::State;
use crate::tick::Tick;
use lvsx_platform::{Word, fence, hide};

/// Looks at a lock that is taken before the packet is let go.
const LOCK_TRIES: u64 = 64;

/// A lock older than this many ticks is broken: no packet takes two seconds.
const STALE_LOCK: u32 = 32;

/// Slots tried when others take them first.
const SLOT_TRIES: u64 = 4;

/// Sets of the overflow area that an opener visits at most.
pub(super) const MAX_REACH: u32 = 256;

/// A set takes a new flow before its twin while fewer of its ways than this are in use.
const ROOMY: u64 = 5;

/// What became of an attempt to open.
pub enum Opened<'a> {
    /// A new entry, counted at its destination.
    New(Hit<'a>),
    /// The flow had one already, perhaps opened a moment ago by another CPU.
    Exists(Hit<'a>),
    /// Another CPU is opening the same flow and did not finish within our tries.
    Contended,
    /// Every candidate slot holds an answered connection.
    Full,
}

/// Opens an entry for the flow of `want` (a packet from the client), in `state` until `deadline`.
///
/// A free way of the first set while that is roomy, else of the emptier set; else one whose time is over; else a free way
/// of the overflow area; else that of an unanswered flow (counted as evicted). Cost: the control lines of both sets.
#[inline(always)]
pub fn open<'a, T: Tables>(
    tables: &'a T,
    want: &Want4,
    new: &NewEntry4,
    input_only: bool,
    state: State,
    deadline: Tick,
    now: Tick,
) -> Opened<'a> {
    let Some(lock) = tables.lock(want.spread & (LOCKS - 1)) else { return Opened::Contended };
    let Some(held) = take(lock, now) else { return Opened::Contended };
    let opened = open_locked(tables, want, new, input_only, state, deadline, now);
    // Whoever broke a stale lock owns it now.
    let _ = lock.compare_exchange(held, 0);
    opened
}

/// Takes the lock; the value to give it back by.
#[inline(always)]
fn take(lock: &Word, now: Tick) -> Option<u64> {
    let mine = u64::from(now.0) | 1 << 32;
    let mut tries = 0;
    while hide(tries) < LOCK_TRIES {
        let found = lock.load();
        let broken = found != 0 && now.0.wrapping_sub(found as u32) > STALE_LOCK;
        if (found == 0 || broken) && lock.compare_exchange(found, mine).is_ok() {
            return Some(mine);
        }
        tries += 1;
    }
    None
}

#[inline(always)]
fn open_locked<'a, T: Tables>(
    tables: &'a T,
    want: &Want4,
    new: &NewEntry4,
    input_only: bool,
    state: State,
    deadline: Tick,
    now: Tick,
) -> Opened<'a> {
    if let Some(hit) = find(tables, want) {
        if !hit.control.is_expired(now) {
            return Opened::Exists(hit);
        }
        if super::remove(tables, hit.set, hit.index, hit.way, hit.control) {
            tables.count(Event::Expired);
        }
    }
    let mut tries = 0;
    while hide(tries) < SLOT_TRIES {
        tries += 1;
        let Some(slot) = choose(tables, want, now) else { return Opened::Full };
        let Some(set) = tables.set4(slot.index) else { return Opened::Full };
        let way = slot.way as usize & (WAYS - 1);
        let old = Control(slot.word);
        let id = set.entry[way].id();
        let claim = old.claimed(now);
        if set.control[way].compare_exchange(old.0, claim.0).is_err() {
            leave_overflow(tables, slot.index);
            continue;
        }
        if old.is_live() {
            tables.count(if old.is_expired(now) { Event::Expired } else { Event::EvictedEmbryonic });
            forget(tables, slot.index, id, old);
        }
        return publish(tables, set, &slot, claim, want, new, input_only, state, deadline);
    }
    Opened::Contended
}

/// Writes the claimed entry, counts it and lets the world see it.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "one call site; a struct would only be taken apart again")]
fn publish<'a, T: Tables>(
    tables: &'a T,
    set: &'a Set4,
    slot: &Slot,
    claim: Control,
    want: &Want4,
    new: &NewEntry4,
    input_only: bool,
    state: State,
    deadline: Tick,
) -> Opened<'a> {
    let way = slot.way as usize & (WAYS - 1);
    fence();
    set.entry[way].write(want.key, new);
    let control = claim.published(want.tag(), input_only, state, deadline);
    if let Some(line) = tables.destination(new.id) {
        line[live::destination::COUNTS].add(live::weight_of(control.is_active()));
        live::settle_overload(line, true);
    }
    if slot.index >= tables.geometry4().sets {
        tables.count(Event::Overflowed);
    }
    if set.control[way].compare_exchange(claim.0, control.0).is_err() {
        // Only a sweep that took this claim for a broken one can have come between.
        forget(tables, slot.index, new.id, control);
        return Opened::Contended;
    }
    tables.count(Event::Opened);
    Opened::New(Hit { set, index: slot.index, way, control })
}

/// A slot to take, and the control word it was judged by.
#[derive(Clone, Copy)]
struct Slot {
    index: u32,
    way: u64,
    word: u64,
}

const NO_WAY: u64 = 0xff;

/// What a look over a set's control words found.
struct Look {
    free: u64,
    free_word: u64,
    used: u64,
    spare: u64,
    spare_word: u64,
    rank: u64,
}

/// Ranks of ways in use, the least is given up first.
const EXPIRED: u64 = 1;
const EMBRYONIC: u64 = 2;
const KEPT: u64 = 3;

/// Looks over a set. Free of branches: a branch a way would make the verifier walk every combination of ways.
#[inline(always)]
fn look(set: &Set4, now: Tick) -> Look {
    let mut found =
        Look { free: NO_WAY, free_word: 0, used: 0, spare: NO_WAY, spare_word: 0, rank: KEPT };
    let mut way = 0;
    while hide(way) < WAYS as u64 {
        let word = set.control[way as usize & (WAYS - 1)].load();
        let control = Control(word);
        let free = bit(control.is_free());
        found.free = pick(free, way, found.free);
        found.free_word = pick(free, word, found.free_word);
        found.used += 1 ^ free;
        let live = bit(control.is_live());
        let embryonic = bit(control.is_embryonic());
        let expired = ((control.deadline().left(now) as i64) as u64) >> 63;
        let rank = pick(live & hide(expired), EXPIRED, pick(live & embryonic, EMBRYONIC, KEPT));
        let better = hide(rank.wrapping_sub(found.rank)) >> 63;
        found.spare = pick(better, way, found.spare);
        found.spare_word = pick(better, word, found.spare_word);
        found.rank = pick(better, rank, found.rank);
        way += 1;
    }
    found
}

#[inline(always)]
fn bit(condition: bool) -> u64 {
    hide(u64::from(condition))
}

/// `a` if the bit is 1, `b` if it is 0.
#[inline(always)]
fn pick(bit: u64, a: u64, b: u64) -> u64 {
    a.wrapping_sub(b).wrapping_mul(hide(bit)).wrapping_add(b)
}

/// The slot a new flow should take. `None`: every candidate holds an answered connection.
#[inline(always)]
fn choose<T: Tables>(tables: &T, want: &Want4, now: Tick) -> Option<Slot> {
    let first = look(tables.set4(want.first)?, now);
    let second = look(tables.set4(want.second)?, now);
    let in_first = first.used < ROOMY || first.used <= second.used;
    if in_first && first.free != NO_WAY {
        return Some(Slot { index: want.first, way: first.free, word: first.free_word });
    }
    if second.free != NO_WAY {
        return Some(Slot { index: want.second, way: second.free, word: second.free_word });
    }
    if first.rank == EXPIRED {
        return Some(Slot { index: want.first, way: first.spare, word: first.spare_word });
    }
    if second.rank == EXPIRED {
        return Some(Slot { index: want.second, way: second.spare, word: second.spare_word });
    }
    if let Some(slot) = choose_in_overflow(tables, want, now) {
        return Some(slot);
    }
    if first.rank == EMBRYONIC {
        return Some(Slot { index: want.first, way: first.spare, word: first.spare_word });
    }
    if second.rank == EMBRYONIC {
        return Some(Slot { index: want.second, way: second.spare, word: second.spare_word });
    }
    None
}

/// A free or expired way of the overflow area, the nearest to the flow's start there; extends the area's reach to it.
#[inline(always)]
fn choose_in_overflow<T: Tables>(tables: &T, want: &Want4, now: Tick) -> Option<Slot> {
    let geometry = tables.geometry4();
    let most = if geometry.overflow < MAX_REACH { geometry.overflow } else { MAX_REACH };
    let mut slot = Slot { index: u32::MAX, way: NO_WAY, word: 0 };
    let mut steps = 0;
    tables.scan(most, |step| {
        let index = want.overflow(geometry, step);
        let Some(set) = tables.set4(index) else { return false };
        let found = look(set, now);
        steps = step + 1;
        if found.free != NO_WAY {
            slot = Slot { index, way: found.free, word: found.free_word };
            return false;
        }
        if found.rank == EXPIRED {
            slot = Slot { index, way: found.spare, word: found.spare_word };
            return false;
        }
        true
    });
    if slot.index == u32::MAX {
        return None;
    }
    if enter_overflow(tables, steps) { Some(slot) } else { None }
}

/// Counts one more entry in the overflow area, `steps` sets from its start at most. Before the entry is there, so that no
/// look-up stops short of it.
#[inline(always)]
fn enter_overflow<T: Tables>(tables: &T, steps: u32) -> bool {
    let Some(line) = tables.state(state::CONNECTIONS) else { return false };
    let mut tries = 0;
    while hide(tries) < SLOT_TRIES {
        let word = line[state::OVERFLOW].load();
        let reach = if (word as u32) < steps { steps } else { word as u32 };
        let entered = (word >> 32).wrapping_add(1) << 32 | u64::from(reach);
        if line[state::OVERFLOW].compare_exchange(word, entered).is_ok() {
            return true;
        }
        tries += 1;
    }
    false
}
