//! Opening a flow's entry.

use super::find::{Hit, NO_SET, find_at, find_in_sets, lowest, overflow_set};
use super::set::{change, unlock};
use super::sweep::{bind, home_of, leave, unbind};
use super::{Control, Entry, Head, NewEntry, Set, WAYS, Want};
use crate::env::{Tables, state};
use crate::event::Event;
use crate::tick::Tick;
use lvsx_platform::{Word, bits, fence, hide};

/// Looks at a lock that is taken before the packet is let go.
const LOCK_TRIES: u32 = 64;

/// Slots tried when others take them first.
const SLOT_TRIES: u64 = 2;

/// Sets of the overflow area that an opener visits at most.
pub(super) const MAX_REACH: u32 = 255;

/// A home takes a new flow before its twin while fewer of its ways than this are in use.
const ROOMY: u64 = 6;

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

/// The slot at home that a flow takes which nobody can know: no way there has its tag, no flow of that home lives
/// elsewhere, and there is room. The rule for a first packet, decided by one look; [`NO_SLOT`] says nothing.
#[inline(always)]
fn obvious<E: Entry>(home: &Set<E>, want: &Want<E>) -> u64 {
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

/// The same where it is [`obvious`] and the lock is free: without a call. [`Opened::Contended`] says nothing: [`open`] decides.
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

/// Ranks of ways; the least is given up first.
const FREE: u64 = 0;
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
fn rank(control: Control, now: Tick) -> u64 {
    let live = control.live_bit();
    let rank = bits::pick(live & control.embryonic_bit(), EMBRYONIC, KEPT);
    let rank = bits::pick(live & control.expired_bit(now), EXPIRED, rank);
    bits::pick(control.free_bit(), FREE, rank)
}

/// A slot: set number << 8 + rank by which it was chosen << 4 + way. `NO_SLOT` for none.
const NO_SLOT: u64 = u64::MAX >> 1;

/// Of a slot: it is taken only if the overflow area has none.
const OVERFLOW_FIRST: u64 = 1 << 63;

#[inline(always)]
fn slot(index: u32, way: u64, rank: u64) -> u64 {
    u64::from(index) << 8 | rank << 4 | way & 7
}

/// The slot a new flow should take, or [`NO_SLOT`]: every candidate holds an answered connection. With [`OVERFLOW_FIRST`]
/// either if a free way of the overflow area is to be preferred.
#[inline(never)]
fn choose<E: Entry, T: Tables>(tables: &T, want: &Want<E>, now: Tick) -> u64 {
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
fn enter_second<E: Entry, T: Tables>(tables: &T, slot: u64, want: &Want<E>) -> bool {
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
fn choose_in_overflow<E: Entry, T: Tables>(tables: &T, want: &Want<E>) -> u64 {
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
