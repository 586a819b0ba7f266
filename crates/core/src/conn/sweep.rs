//! Ending entries.

use super::{Control, Phase, Set4, WAYS};
use crate::env::{Tables, state};
use crate::event::Event;
use crate::generation::live;
use crate::tick::Tick;
use lvsx_platform::{bits, hide};

/// A claim older than this many ticks is broken: no packet takes two seconds.
const STALE_CLAIM: i32 = 32;

/// Ends the life that `control` was read from, in `way` of set number `index`. `true` for the one caller who ended it;
/// he also took it out of its destination's counts.
#[inline(always)]
pub fn remove<T: Tables>(tables: &T, set: &Set4, index: u32, way: usize, control: Control) -> bool {
    let way = way & (WAYS - 1);
    let id = set.entry[way].id();
    let stripe = set.entry[way].stripe(tables.geometry4());
    if !control.is_live()
        || set.control[way]
            .compare_exchange(control.0, control.freed().0)
            .is_err()
    {
        return false;
    }
    unbind(tables, id, control);
    leave_overflow(tables, index, stripe);
    true
}

/// Takes an ended life out of its destination's counts.
#[inline(always)]
pub(super) fn unbind<T: Tables>(tables: &T, id: u32, control: Control) {
    if let Some(line) = tables.destination(id) {
        line[live::destination::COUNTS].add(live::weight_of(control.is_active()).wrapping_neg());
        live::settle_overload(line, false);
    }
}

/// Tries to count an entry out of the overflow area when others count too; failing leaves look-ups of its hash longer, no
/// more.
const LEAVE_TRIES: u64 = 4;

/// Counts an entry of set `index` out of the overflow area, if that is where it was; with the last of its stripe nobody of
/// that hash looks there.
#[inline(always)]
pub(super) fn leave_overflow<T: Tables>(tables: &T, index: u32, stripe: u32) {
    if index < tables.geometry4().sets {
        return;
    }
    if let Some(line) = tables.state(state::CONNECTIONS) {
        line[state::OVERFLOW].add(1u64.wrapping_neg());
    }
    let Some(stripe) = tables.stripe(stripe) else {
        return;
    };
    let mut tries = 0;
    while hide(tries) < LEAVE_TRIES {
        let word = stripe.overflow.load();
        let left = word.wrapping_sub(1 << 32);
        let left = bits::pick(bits::is_zero(left >> 32), 0, left);
        if stripe.overflow.compare_exchange(word, left).is_ok() {
            return;
        }
        tries += 1;
    }
}

/// Removes what has expired from one set. The number of entries still in use.
#[inline(always)]
pub fn sweep_set<T: Tables>(tables: &T, index: u32, now: Tick) -> u32 {
    let Some(set) = tables.set4(index) else {
        return 0;
    };
    let mut used = 0;
    let mut way = 0;
    while way < WAYS {
        let control = Control(set.control[way].load());
        match control.phase() {
            Phase::Live if control.is_expired(now) => {
                if remove(tables, set, index, way, control) {
                    tables.count(Event::Expired);
                }
            }
            Phase::Claimed if control.deadline().left(now) < -STALE_CLAIM => {
                let _ = set.control[way].compare_exchange(control.0, control.freed().0);
            }
            Phase::Live | Phase::Claimed => used += 1,
            Phase::Free => {}
        }
        way += 1;
    }
    used
}
