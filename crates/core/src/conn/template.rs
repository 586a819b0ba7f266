//! Persistence templates: entries of the same tables that no packet finds, which say where a client's new connections go.
//!
//! A template has a phase of its own ([`Phase::Template`](super::Phase)), so a packet's look-up never meets it and no opener
//! takes its place, and it stands in its destination's count of templates. A connection opened by it keeps its place and generation ([`Controller`]); the template counts these
//! connections in a word that carries its generation ([`Controls`]) and is changed by compare-and-swap, so whoever comes too
//! late, when another life has the place, changes nothing.
//!
//! **Expiry.** A template whose time is over while it controls connections lives on for 60 s, and its timeout is 60 s from
//! then on (Linux 6.1). A new connection is counted first and the template's deadline moved afterwards; whoever ends an
//! expired template looks at the count first and swaps its control word afterwards: one of the two fails.

use super::find::{NO_SET, find_at, find_in_sets, overflow_set};
use super::{Control, Entry, Hit, WAYS, Want, remove};
use crate::env::Tables;
use crate::event::Event;
use crate::generation::RootLine;
use crate::tick::Tick;
use lvsx_platform::hide;

/// How long a template lives on that controls connections when its time is over, in seconds.
pub const LINGER: u32 = 60;

/// Ticks for which the hand leaves an overdue template alone that controls connections: it sees the table once in two
/// seconds, so these may be over as well and only not be counted out yet.
const PATIENCE: i32 = 40;

/// Tries to change a word that others change too.
const TRIES: u32 = 32;

/// The same where no scan is made.
const STEPS: u64 = 16;

/// The life of a template, as the connections that it controls keep it. 0 for none.
///
/// ```text
/// 61 present | 47..40 generation | 34..32 way | 31..0 set
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Controller(pub u64);

/// A bit that no [`Controls`] has: whoever ends an entry need not know which of the two its word is.
const PRESENT: u64 = 1 << 61;
/// A bit that no other controller has.
const LED: u64 = 1 << 60;

impl Controller {
    /// No controller.
    pub const NONE: Self = Self(0);

    /// No template, but the director's daemon: a connection of this host's own that was led to its destination past the
    /// scheduler, so that health checks ask servers in the way that clients do.
    pub const LED: Self = Self(LED);

    /// Whether it is [`LED`](Self::LED).
    #[inline(always)]
    #[must_use]
    pub fn is_led(self) -> bool {
        self.0 == LED
    }

    /// The life of this template, or of another entry that was met.
    #[inline(always)]
    #[must_use]
    pub fn of<E>(hit: &Hit<'_, E>) -> Self {
        Self::at(hit.index, hit.way, hit.control)
    }

    /// The life of the template in this place that `control` is a word of.
    #[inline(always)]
    #[must_use]
    pub fn at(index: u32, way: u64, control: Control) -> Self {
        let generation = u64::from(control.generation());
        Self(PRESENT | generation << 40 | (way & 7) << 32 | u64::from(index))
    }

    /// Whether there is one.
    #[inline(always)]
    #[must_use]
    pub fn is_some(self) -> bool {
        self.0 & PRESENT != 0
    }

    #[inline(always)]
    fn generation(self) -> u8 {
        (self.0 >> 40) as u8
    }

    /// The template, if this life of it goes on.
    #[inline(always)]
    pub fn find<E: Entry, T: Tables>(self, tables: &T) -> Option<Hit<'_, E>> {
        self.life(tables, Control::is_template)
    }

    /// What `is_it` in this place, if this life of it goes on.
    #[inline(always)]
    pub(super) fn life<E: Entry, T: Tables>(
        self,
        tables: &T,
        is_it: impl Fn(Control) -> bool,
    ) -> Option<Hit<'_, E>> {
        let (index, way) = (self.0 as u32, hide(self.0 >> 32 & 7) as usize);
        if !self.is_some() || way >= WAYS {
            return None;
        }
        let set = E::set(tables, index)?;
        let (word, entry) = (&set.control[way], &set.entry[way]);
        let control = Control(word.load());
        let is_it = is_it(control) && control.generation() == self.generation();
        is_it.then_some(Hit {
            index,
            way: way as u64,
            entry,
            word,
            control,
        })
    }
}

/// The word in which a template counts the connections it controls.
///
/// ```text
/// 63 a template's | 62 overdue once | 47..40 generation | 31..0 connections
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls(pub u64);

const TEMPLATE: u64 = 1 << 63;
const OVERDUE: u64 = 1 << 62;

impl Controls {
    /// A new template's.
    #[inline(always)]
    pub(super) fn none(generation: u8) -> Self {
        Self(TEMPLATE | u64::from(generation) << 40)
    }

    /// How many.
    #[inline(always)]
    #[must_use]
    pub fn count(self) -> u32 {
        self.0 as u32
    }

    /// Whether the template's time was once over while it controlled connections: its timeout is [`LINGER`] from then on.
    #[inline(always)]
    #[must_use]
    pub fn is_overdue(self) -> bool {
        self.0 & OVERDUE != 0
    }

    /// Whether it is the word of the template's life of this generation.
    #[inline(always)]
    fn is_of(self, generation: u8) -> bool {
        self.0 & TEMPLATE != 0 && (self.0 >> 40) as u8 == generation
    }
}

/// Puts what `change` makes of a template's count in its place. `false`: the template's life is over, `change` refuses, or
/// others changed it each time.
#[inline(always)]
fn change_controls<E: Entry, T: Tables>(
    tables: &T,
    template: Controller,
    change: impl Fn(Controls) -> Option<u64>,
) -> bool {
    let mut is_changed = false;
    tables.scan(TRIES, |_| {
        let Some(hit) = template.find::<E, T>(tables) else {
            return false;
        };
        let word = hit.entry.controller();
        let found = Controls(word.load());
        if !found.is_of(template.generation()) {
            return false;
        }
        let Some(new) = change(found) else {
            return false;
        };
        is_changed = word.compare_exchange(found.0, new).is_ok();
        !is_changed
    });
    is_changed
}

/// Puts what `change` makes of a template's control word in its place. `false`: the template's life is over.
#[inline(always)]
fn change_control<E: Entry, T: Tables>(
    tables: &T,
    template: Controller,
    change: impl Fn(&Hit<'_, E>) -> Control,
) -> bool {
    let mut is_over = false;
    tables.scan(TRIES, |_| {
        let Some(hit) = template.find::<E, T>(tables) else {
            is_over = true;
            return false;
        };
        let new = change(&hit);
        new != hit.control && hit.word.compare_exchange(hit.control.0, new.0).is_err()
    });
    // Otherwise it is done, or others did the like each time.
    !is_over
}

/// The template that `want` looks for ([`Want::template`]), if its time is not over. One whose time is over is ended, or
/// prolonged if it controls connections.
#[inline(always)]
pub fn find_template<E: Entry, T: Tables>(tables: &T, want: &Want<E>, now: Tick) -> Controller {
    let mut found = seek_in_sets(tables, want);
    if found == 0 {
        let index = seek_overflow_set(tables, want);
        if index != NO_SET {
            found = seek_at(tables, want, index);
        }
    }
    if found != 0 && !is_kept(tables, Controller(found), want, now) {
        found = 0;
    }
    Controller(found)
}

#[inline(never)]
fn seek_in_sets<E: Entry, T: Tables>(tables: &T, want: &Want<E>) -> u64 {
    find_in_sets(tables, want).map_or(0, |hit| Controller::of(&hit).0)
}

#[inline(never)]
fn seek_overflow_set<E: Entry, T: Tables>(tables: &T, want: &Want<E>) -> u32 {
    overflow_set(tables, want).unwrap_or(NO_SET)
}

#[inline(never)]
fn seek_at<E: Entry, T: Tables>(tables: &T, want: &Want<E>, index: u32) -> u64 {
    find_at(tables, want, index).map_or(0, |hit| Controller::of(&hit).0)
}

#[inline(never)]
fn is_kept<E: Entry, T: Tables>(tables: &T, found: Controller, want: &Want<E>, now: Tick) -> bool {
    let Some(hit) = found.find::<E, T>(tables) else {
        return false;
    };
    if hit.entry.differs(want) != 0 {
        return false;
    }
    if !hit.control.is_expired(now) {
        return true;
    }
    if expire(tables, &hit, now) {
        tables.count(Event::Expired);
        return false;
    }
    // Someone was quicker: a packet that judged it alive and prolonged it, or whoever ended it.
    hit.is_alive(now)
}

/// Counts one more connection that the template controls, and begins its time anew. `false`: its life is over.
#[inline(always)]
pub fn control<E: Entry, T: Tables>(tables: &T, template: Controller, now: Tick) -> bool {
    count_in::<E, T>(tables, template) && renew::<E, T>(tables, template, now.0)
}

#[inline(never)]
fn count_in<E: Entry, T: Tables>(tables: &T, template: Controller) -> bool {
    change_controls::<E, T>(tables, template, |found| {
        (found.count() != u32::MAX).then_some(found.0.wrapping_add(1))
    })
}

/// Begins the template's time anew at tick `now`. `false`: its life is over.
#[inline(never)]
pub fn renew<E: Entry, T: Tables>(tables: &T, template: Controller, now: u32) -> bool {
    let linger = linger(tables);
    change_control::<E, T>(tables, template, |hit| {
        let is_overdue = Controls(hit.entry.controller().load()).is_overdue();
        let timeout = if is_overdue {
            linger
        } else {
            hit.entry.timeout()
        };
        hit.control.until(Tick(now).after(timeout))
    })
}

/// Counts one connection less that the template controls; nothing if that life is over. This and [`assure`] without a scan,
/// whose stack packets on their way have not.
#[inline(never)]
pub fn release<E: Entry, T: Tables>(tables: &T, template: Controller) {
    let mut tries = 0;
    while hide(tries) < STEPS {
        let Some(hit) = template.find::<E, T>(tables) else {
            return;
        };
        let word = hit.entry.controller();
        let found = Controls(word.load());
        if !found.is_of(template.generation())
            || found.count() == 0
            || word
                .compare_exchange(found.0, found.0.wrapping_sub(1))
                .is_ok()
        {
            return;
        }
        tries += 1;
    }
}

/// Takes note that a server answered a connection that the template controls.
#[inline(never)]
pub fn assure<E: Entry, T: Tables>(tables: &T, template: Controller) {
    let mut tries = 0;
    while hide(tries) < STEPS {
        let Some(hit) = template.find::<E, T>(tables) else {
            return;
        };
        let assured = hit.control.assured();
        if assured == hit.control || hit.word.compare_exchange(hit.control.0, assured.0).is_ok() {
            return;
        }
        tries += 1;
    }
}

/// Makes sure that the template is never found again: it stays, until its time is over, for listings alone.
#[inline(never)]
pub fn retire<E: Entry, T: Tables>(tables: &T, template: Controller) {
    change_control::<E, T>(tables, template, |hit| hit.control.retired());
}

/// Ends a template whose time is over; one that controls connections lives on instead. `true` for the one caller who ended
/// it.
#[inline(always)]
fn expire<E: Entry, T: Tables>(tables: &T, hit: &Hit<'_, E>, now: Tick) -> bool {
    !prolong::<E, T>(tables, Controller::of(hit), now.0) && remove(tables, hit)
}

/// [`expire`] for the hand, which waits until connections that are over have been counted out.
#[inline(always)]
pub(super) fn expire_patiently<E: Entry, T: Tables>(
    tables: &T,
    hit: &Hit<'_, E>,
    now: Tick,
) -> bool {
    let controls = Controls(hit.entry.controller().load());
    let is_due = hit.control.deadline().left(now) < -PATIENCE;
    if controls.count() != 0 && !is_due {
        return false;
    }
    expire(tables, hit, now)
}

/// Ticks by which a connection has to outlast its template: the kernel's timers of some seconds are so coarse that of two which
/// end within a fraction of a second the one set last runs first, and that is the connection's.
const SLACK: u32 = 8;

/// Takes note, before it is counted out, that a connection which the template controls was over at tick `end`: a template whose
/// time had been over well before lives on, as it would if it had been looked at in that moment.
#[inline(never)]
pub(super) fn outlived<E: Entry, T: Tables>(tables: &T, template: Controller, end: u32) {
    if let Some(hit) = template.find::<E, T>(tables)
        && hit.control.deadline().after(SLACK).is_before(Tick(end))
    {
        prolong::<E, T>(tables, template, end);
    }
}

/// Lets a template whose time is over at tick `now` live on if it controls connections.
#[inline(never)]
fn prolong<E: Entry, T: Tables>(tables: &T, template: Controller, now: u32) -> bool {
    let is_overdue = change_controls::<E, T>(tables, template, |found| {
        (found.count() != 0).then_some(found.0 | OVERDUE)
    });
    if !is_overdue {
        return false;
    }
    let (now, linger) = (Tick(now), linger(tables));
    change_control::<E, T>(tables, template, |hit| {
        let deadline = hit.control.deadline();
        if !deadline.is_before(now) {
            // A new connection was quicker.
            return hit.control;
        }
        let later = deadline.after(linger);
        hit.control.until(if later.is_before(now) {
            now.after(linger)
        } else {
            later
        })
    })
}

/// Whether a template controls nothing, and no server ever answered a connection that it controlled.
#[inline(always)]
pub(super) fn is_forsaken<E: Entry>(hit: &Hit<'_, E>) -> bool {
    !hit.control.is_assured() && Controls(hit.entry.controller().load()).count() == 0
}

/// [`LINGER`] in ticks.
#[inline(always)]
fn linger<T: Tables>(tables: &T) -> u32 {
    match RootLine::current(tables) {
        Some(root) => root.ticks(tables, LINGER),
        None => 0,
    }
}
