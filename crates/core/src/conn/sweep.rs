//! Ending entries.

use super::set::{ONE_LESS_ELSEWHERE, change};
use super::want::home;
use super::{Control, Entry, Hit, Phase, WAYS};
use crate::env::{Tables, state};
use crate::event::Event;
use crate::generation::live;
use crate::tick::Tick;

/// A claim older than this many ticks is broken: no packet takes two seconds.
const STALE_CLAIM: i32 = 32;

/// Ends the life of an entry that was found. `true` for the one caller who ended it; he also took it out of its
/// destination's counts.
#[inline(always)]
pub fn remove<E: Entry, T: Tables>(tables: &T, hit: &Hit<'_, E>) -> bool {
    let id = hit.entry.id();
    let home = home_of(tables, hit.entry);
    if !hit.control.is_live()
        || hit
            .word
            .compare_exchange(hit.control.0, hit.control.freed().0)
            .is_err()
    {
        return false;
    }
    unbind(tables, id, hit.control);
    leave::<E, T>(tables, hit.index, home);
    true
}

/// The home of the flow whose entry this is.
#[inline(always)]
pub(super) fn home_of<E: Entry, T: Tables>(tables: &T, entry: &E) -> u32 {
    let geometry = E::geometry(tables);
    home(E::hash(&entry.own_key(), geometry.seed), geometry)
}

/// Takes an ended life out of its destination's counts.
#[inline(always)]
pub(super) fn unbind<T: Tables>(tables: &T, id: u32, control: Control) {
    if let Some(line) = tables.destination(id) {
        line[live::destination::COUNTS].add(live::weight_of(control.is_active()).wrapping_neg());
        live::settle_overload(line, false);
    }
}

/// Takes an entry of set `index` out of its home's counts of those that live elsewhere, if it did. When others change the
/// head each time, look-ups of that home stay longer than they need to be, no more.
#[inline(always)]
pub(super) fn leave<E: Entry, T: Tables>(tables: &T, index: u32, home: u32) {
    if index == home {
        return;
    }
    let Some(set) = E::set(tables, home) else {
        return;
    };
    if index < E::geometry(tables).sets {
        set.head.add(ONE_LESS_ELSEWHERE);
        return;
    }
    if let Some(line) = tables.state(state::CONNECTIONS) {
        line[E::OVERFLOW].add(1u64.wrapping_neg());
    }
    change(&set.head, |head| Some(head.without_overflowed()));
}

/// Removes what has expired from one set. The number of entries still in use.
#[inline(always)]
pub fn sweep_set<E: Entry, T: Tables>(tables: &T, index: u32, now: Tick) -> u32 {
    let Some(set) = E::set(tables, index) else {
        return 0;
    };
    let mut used = 0;
    let mut way = 0;
    while way < WAYS {
        let (word, entry) = (&set.control[way], &set.entry[way]);
        let control = Control(word.load());
        match control.phase() {
            Phase::Live if control.is_expired(now) => {
                let hit = Hit {
                    index,
                    entry,
                    word,
                    control,
                };
                if remove(tables, &hit) {
                    tables.count(Event::Expired);
                }
            }
            Phase::Claimed if control.deadline().left(now) < -STALE_CLAIM => {
                let _ = word.compare_exchange(control.0, control.freed().0);
            }
            Phase::Live | Phase::Claimed => used += 1,
            Phase::Free => {}
        }
        way += 1;
    }
    used
}
