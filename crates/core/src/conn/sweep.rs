//! Ending entries.

use super::set::{ONE_LESS_ELSEWHERE, change};
use super::template::{expire_patiently, outlived, release};
use super::want::home;
use super::{Control, Controller, Entry, Hit, Phase, WAYS};
use crate::env::{Tables, state};
use crate::event::Event;
use crate::generation::live;
use crate::tick::Tick;
use lvsx_platform::{Line, bits};

/// A claim older than this many ticks is broken: no packet takes two seconds.
const STALE_CLAIM: i32 = 32;

/// Ends the life of an entry that was found. `true` for the one caller who ended it; he also took it out of its
/// destination's counts, and out of its template's.
#[inline(always)]
pub fn remove<E: Entry, T: Tables>(tables: &T, hit: &Hit<'_, E>) -> bool {
    let (id, controller) = (hit.entry.id(), hit.entry.controller().peek());
    let home = home_of(tables, hit.entry);
    if !hit.control.is_live() && !hit.control.is_template()
        || hit
            .word
            .compare_exchange(hit.control.0, hit.control.freed().0)
            .is_err()
    {
        return false;
    }
    unbind::<E, T>(tables, id, hit.control, controller);
    leave::<E, T>(tables, hit.index, home);
    true
}

/// Ends a connection that was let run out ([`Hit::run_out`]) and whose place no other took. `now`: a tick. Its destination and
/// its method << 32, or [`NOTHING_OVER`].
#[inline(never)]
pub fn end_over<E: Entry, T: Tables>(tables: &T, place: Controller, now: u32) -> u64 {
    let Some(hit) = place.life::<E, T>(tables, |it| it.is_live() && it.is_expired(Tick(now)))
    else {
        return NOTHING_OVER;
    };
    let was = u64::from(hit.entry.id()) | u64::from(hit.entry.method()) << 32;
    if !remove(tables, &hit) {
        return NOTHING_OVER;
    }
    tables.count(Event::Expired);
    was
}

/// Of [`end_over`]: it ended nothing.
pub const NOTHING_OVER: u64 = u64::MAX;

/// The home of the flow whose entry this is.
#[inline(always)]
pub(super) fn home_of<E: Entry, T: Tables>(tables: &T, entry: &E) -> u32 {
    let geometry = E::geometry(tables);
    home(E::hash(&entry.own_key(), geometry.seed), geometry)
}

/// Counts a new life at its destination.
#[inline(always)]
pub(super) fn bind<T: Tables>(tables: &T, id: u32, control: Control) {
    if let Some(line) = tables.destination(id) {
        count(line, control, 1);
        live::settle_overload(line, true);
        live::moved(tables, line);
    }
}

/// Takes an ended life, a connection's or a template's, out of its destination's counts, and a connection out of those of
/// the template that controlled it. `controller`: that word of the entry.
#[inline(always)]
pub(super) fn unbind<E: Entry, T: Tables>(tables: &T, id: u32, control: Control, controller: u64) {
    if let Some(line) = tables.destination(id) {
        count(line, control, 1u64.wrapping_neg());
        live::settle_overload(line, false);
        live::moved(tables, line);
    }
    release::<E, T>(tables, Controller(controller));
}

/// Counts a life `times` in the part of its destination's counts where it stands ([`live::weight_of`]; a template is never
/// active). Free of branches, as openers need it.
#[inline(always)]
fn count(line: &Line, control: Control, times: u64) {
    let template = control.template_bit();
    let weight = 1u64 << (control.active_bit() << 5);
    let word = bits::pick(
        template,
        live::destination::TEMPLATES as u64,
        live::destination::COUNTS as u64,
    );
    line[word as usize & 7].add(weight.wrapping_mul(times));
}

/// A connection of one packet: counted at its destination and taken out again, which may move the overload flag.
#[inline(always)]
pub fn pass_by<T: Tables>(tables: &T, id: u32) {
    if let Some(line) = tables.destination(id) {
        let weight = live::weight_of(false);
        line[live::destination::COUNTS].add(weight);
        live::settle_overload(line, true);
        line[live::destination::COUNTS].add(weight.wrapping_neg());
        live::settle_overload(line, false);
        live::moved(tables, line);
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

/// Removes what has expired from one set. Each entry that ends is counted as [`Event::Expired`].
#[inline(always)]
pub fn sweep_set<E: Entry, T: Tables>(tables: &T, index: u32, now: Tick) {
    let Some(set) = E::set(tables, index) else {
        return;
    };
    let mut way = 0;
    while way < WAYS {
        let (word, entry) = (&set.control[way], &set.entry[way]);
        let control = Control(word.load());
        match control.phase() {
            Phase::Live | Phase::Template if control.is_expired(now) => {
                let hit = Hit {
                    index,
                    way: way as u64,
                    entry,
                    word,
                    control,
                };
                let is_over = if control.is_template() {
                    expire_patiently(tables, &hit, now)
                } else {
                    let controller = Controller(entry.controller().peek());
                    if controller.is_some() {
                        outlived::<E, T>(tables, controller, control.deadline().0);
                    }
                    remove(tables, &hit)
                };
                if is_over {
                    tables.count(Event::Expired);
                }
            }
            Phase::Claimed if control.deadline().left(now) < -STALE_CLAIM => {
                let _ = word.compare_exchange(control.0, control.freed().0);
            }
            Phase::Live | Phase::Template | Phase::Claimed | Phase::Free => {}
        }
        way += 1;
    }
}
