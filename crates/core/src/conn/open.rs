//! Opening a flow's entry.

use super::find::{Hit, NO_SET, find_at, find_in_sets, overflow_set};
use super::set::unlock;
use super::slot::{
    NO_SLOT, OVERFLOW_FIRST, choose, choose_in_overflow, enter_second, obvious, rank,
};
use super::sweep::{bind, home_of, leave, unbind};
use super::{Control, Entry, Head, NewEntry, WAYS, Want};
use crate::env::Tables;
use crate::event::Event;
use crate::tick::Tick;
use lvsx_platform::{Word, fence, hide};

/// Looks at a lock that is taken before the packet is let go.
const LOCK_TRIES: u32 = 64;

/// Slots tried when others take them first.
const SLOT_TRIES: u64 = 2;

/// What became of an attempt to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opened {
    /// A new entry, counted at its destination.
    New,
    /// The flow had one already, perhaps opened a moment ago by another CPU.
    Exists,
    /// Another CPU is opening a flow of the same home and did not finish within our tries.
    Contended,
    /// Every candidate slot holds an answered connection.
    Full,
}

/// Whether the flow has an entry; ends one whose time is over. A template is left to whoever looks for it.
#[inline(always)]
fn is_known<E: Entry, T: Tables>(tables: &T, want: &Want<E>, now: Tick) -> bool {
    if is_known_in_sets(tables, want, now) {
        return true;
    }
    let index = known_overflow_set(tables, want);
    index != NO_SET && is_known_at(tables, want, index, now)
}

#[inline(never)]
fn is_known_in_sets<E: Entry, T: Tables>(tables: &T, want: &Want<E>, now: Tick) -> bool {
    find_in_sets(tables, want).is_some_and(|hit| lives_on(tables, &hit, now))
}

/// The set of the overflow area that holds the flow's entry, or [`NO_SET`].
#[inline(never)]
fn known_overflow_set<E: Entry, T: Tables>(tables: &T, want: &Want<E>) -> u32 {
    overflow_set(tables, want).unwrap_or(NO_SET)
}

#[inline(never)]
fn is_known_at<E: Entry, T: Tables>(tables: &T, want: &Want<E>, index: u32, now: Tick) -> bool {
    find_at(tables, want, index).is_some_and(|hit| lives_on(tables, &hit, now))
}

#[inline(always)]
fn lives_on<E: Entry, T: Tables>(tables: &T, hit: &Hit<'_, E>, now: Tick) -> bool {
    if !hit.control.is_expired(now) || hit.control.is_template() {
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
/// A free way of its home while that is roomy, else of the emptier set; else one whose time is over; else a free way
/// of the overflow area; else that of an unanswered flow (counted as evicted). Cost: the control line of its home and the
/// entry's, as a rule.
///
/// Its steps are not inlined, because BPF gives a function 512 bytes of stack, calls included; so they answer by plain
/// numbers, for which one register suffices.
#[inline(always)]
pub fn open<E: Entry, T: Tables>(
    tables: &T,
    want: &Want<E>,
    new: &NewEntry<E>,
    now: Tick,
) -> Opened {
    let Some(home) = E::set(tables, want.home) else {
        return Opened::Contended;
    };
    let Some(held) = take(tables, &home.head, now) else {
        return Opened::Contended;
    };
    let slot = obvious(home, want);
    let mut opened = Opened::Contended;
    if slot != NO_SLOT {
        opened = settle(tables, slot, want, new, now);
    }
    if opened == Opened::Contended {
        opened = open_locked(tables, want, new, now);
    }
    // Looked up again: kept all the while, it would be one word more than BPF's stack has.
    if let Some(home) = E::set(tables, want.home) {
        unlock(&home.head, held);
    }
    opened
}

/// The same, without a call, of a flow that nobody can know, whose home has room and whose lock is free. [`Opened::Contended`]
/// says nothing: [`open`] decides.
#[inline(always)]
pub fn open_at_home<E: Entry, T: Tables>(
    tables: &T,
    want: &Want<E>,
    new: &NewEntry<E>,
    now: Tick,
) -> Opened {
    let Some(home) = E::set(tables, want.home) else {
        return Opened::Contended;
    };
    let held = try_take(&home.head, now);
    if held.0 == 0 {
        return Opened::Contended;
    }
    let slot = obvious(home, want);
    let way = hide(slot & 7) as usize;
    let mut opened = Opened::Contended;
    if slot != NO_SLOT && way < WAYS {
        let (word, entry) = (&home.control[way], &home.entry[way]);
        let old = Control(word.load());
        let claim = old.claimed(now);
        if old.is_free() && word.compare_exchange(old.0, claim.0).is_ok() {
            opened = enter(tables, want, new, (word, entry), claim);
        }
    }
    unlock(&home.head, held);
    opened
}

/// Takes the lock; the head that shows it.
#[inline(always)]
fn take<T: Tables>(tables: &T, head: &Word, now: Tick) -> Option<Head> {
    let mut held = try_take(head, now);
    if held.0 == 0 {
        tables.scan(LOCK_TRIES, |_| {
            held = try_take(head, now);
            held.0 == 0
        });
    }
    (held.0 != 0).then_some(held)
}

/// One attempt at the lock; 0 if it failed.
#[inline(always)]
fn try_take(head: &Word, now: Tick) -> Head {
    let found = Head(head.load());
    let locked = found.locked(now.0);
    if found.may_lock(now.0) && head.compare_exchange(found.0, locked.0).is_ok() {
        locked
    } else {
        Head(0)
    }
}

#[inline(always)]
fn open_locked<E: Entry, T: Tables>(
    tables: &T,
    want: &Want<E>,
    new: &NewEntry<E>,
    now: Tick,
) -> Opened {
    if is_known(tables, want, now) {
        return Opened::Exists;
    }
    let mut tries = 0;
    while hide(tries) < SLOT_TRIES {
        tries += 1;
        let mut slot = choose(tables, want, now);
        if slot & OVERFLOW_FIRST != 0 {
            let overflow = choose_in_overflow(tables, want);
            slot = if overflow == NO_SLOT {
                slot & !OVERFLOW_FIRST
            } else {
                overflow
            };
        }
        if slot == NO_SLOT || !enter_second(tables, slot, want) {
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
fn settle<E: Entry, T: Tables>(
    tables: &T,
    slot: u64,
    want: &Want<E>,
    new: &NewEntry<E>,
    now: Tick,
) -> Opened {
    let (index, way) = ((slot >> 8) as u32, hide(slot & 7) as usize);
    let Some(set) = E::set(tables, index) else {
        return Opened::Full;
    };
    if way >= WAYS {
        return Opened::Full;
    }
    let (word, entry) = (&set.control[way], &set.entry[way]);
    // Others may have changed it since it was chosen: it is judged again by the word that is claimed. What is worth more now
    // stays; there may be a way elsewhere that is worth less.
    let old = Control(word.load());
    let claim = old.claimed(now);
    let is_dearer = rank(old, now) > slot >> 4 & 3;
    if is_dearer || word.compare_exchange(old.0, claim.0).is_err() {
        leave::<E, T>(tables, index, want.home);
        return Opened::Contended;
    }
    if old.is_live() {
        // What the claim ended: nobody writes there until the new entry is published.
        tables.count(if old.is_expired(now) {
            Event::Expired
        } else {
            Event::EvictedEmbryonic
        });
        unbind::<E, T>(tables, entry.id(), old, entry.controller().peek());
        leave::<E, T>(tables, index, home_of(tables, entry));
    }
    let opened = enter(tables, want, new, (word, entry), claim);
    if opened == Opened::Contended {
        leave::<E, T>(tables, index, want.home);
    }
    opened
}

/// Writes the entry of a way that was claimed, counts it and lets the world see it. [`Opened::Contended`]: the claim was lost.
#[inline(always)]
fn enter<E: Entry, T: Tables>(
    tables: &T,
    want: &Want<E>,
    new: &NewEntry<E>,
    (word, entry): (&Word, &E),
    claim: Control,
) -> Opened {
    fence();
    entry.write(want, new, claim.generation());
    let control = claim.published(want.look(), new.input_only, new.state, new.deadline);
    bind(tables, new.id, control);
    if word.compare_exchange(claim.0, control.0).is_err() {
        // Only a sweep that took this claim for a broken one can have come between.
        unbind::<E, T>(tables, new.id, control, 0);
        return Opened::Contended;
    }
    tables.count(Event::Opened);
    Opened::New
}
