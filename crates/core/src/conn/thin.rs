//! `drop_entry`: connections that end at random, before their time, while it is in force.
//!
//! As Linux 6.1: each second a 32nd of the table is looked at, chosen at random (there buckets, here entries). Of what is met there end
//!
//! - TCP connections that no server has answered or no client confirmed (SYN_RECV, SYNACK);
//! - established ones, and all of UDP, that rested for a minute after one to eight packets of their client: of those with n
//!   packets one in n;
//! - templates that control nothing and that no server ever answered; also the one that an ended connection leaves so.
//!
//! Differs: a client's packets are counted only while the mode of `drop_entry` is not 0, and connections that were opened when it
//! was 0 stay, however few packets they had; where some service is one-packet, all templates stay that may be its own.

use super::template::is_forsaken;
use super::{Control, Controller, Entry, Hit, WAYS, remove};
use crate::env::{Tables, state};
use crate::event::Event;
use crate::generation::{RootLine, TIMEOUT_UDP};
use crate::state::{State, TCP};
use crate::tick::Tick;
use lvsx_platform::{Line, hide};

/// Seconds for which a connection rests before it may end for having had few packets.
const REST: u32 = 60;

/// Packets beyond which a connection is never ended for having had few.
const FEW: u64 = 8;

/// Packets of a connection that were not counted from the first one on: as good as many.
pub const UNCOUNTED: u32 = FEW as u32 + 1;

/// Of 2^32: how likely the hand looks at an entry so. It sees each once in 0.512 s, and each second a 32nd is due.
const CHANCE: u32 = ((1u64 << 32) * 512 / 32_000) as u32;

/// Whether the hand looks at an entry so; `random`: 32 random bits. `is_slow`: it sees each once in 2.048 s.
#[inline(always)]
#[must_use]
pub fn is_thinned(random: u32, is_slow: bool) -> bool {
    random < CHANCE << (u32::from(is_slow) * 2)
}

/// Counts a packet of the client's, as far as it matters how many there were.
#[inline(always)]
pub fn count_packet<E: Entry>(entry: &E) {
    let packets = entry.packets();
    if packets.peek() <= FEW {
        packets.add(1);
    }
}

/// Ends the connection or template in a way of set `index`, if `drop_entry` is for it.
#[inline(always)]
pub fn thin_way<E: Entry, T: Tables>(tables: &T, index: u32, way: u32, now: Tick) {
    let way = hide(way.into()) as usize;
    if way < WAYS
        && let Some(set) = E::set(tables, index)
    {
        let (word, entry) = (&set.control[way], &set.entry[way]);
        let control = Control(word.load());
        let hit = Hit {
            index,
            way: way as u64,
            entry,
            word,
            control,
        };
        thin(tables, &hit, now);
    }
}

/// Ends an entry that `drop_entry` is for.
#[inline(always)]
fn thin<E: Entry, T: Tables>(tables: &T, hit: &Hit<'_, E>, now: Tick) {
    let controller = Controller(hit.entry.controller().peek());
    if !gives_up(tables, hit, now) || !remove(tables, hit) {
        return;
    }
    tables.count(Event::Thinned);
    // A template's own word is no controller.
    remove_forsaken::<E, T>(tables, controller);
}

/// Whether an entry ends.
#[inline(always)]
fn gives_up<E: Entry, T: Tables>(tables: &T, hit: &Hit<'_, E>, now: Tick) -> bool {
    let Some(turns) = tables.state(state::DEFENCES) else {
        return false;
    };
    let Some(line) = RootLine::in_force(tables) else {
        return false;
    };
    let Some(line) = tables.config(line) else {
        return false;
    };
    let root = RootLine::decode(line);
    let (control, entry) = (hit.control, hit.entry);
    if control.is_expired(now) {
        return false;
    }
    let protocol = entry.protocol();
    if control.is_template() {
        let is_one_packet = root.kinds.one_packet && protocol != TCP;
        return is_forsaken(hit) && !is_one_packet;
    }
    if !control.is_live() {
        return false;
    }
    let (state, timeout) = if protocol == TCP {
        (control.state(), u32::from(control.state().0))
    } else {
        (State::ESTABLISHED, TIMEOUT_UDP as u32)
    };
    match state {
        State::SYN_RECV | State::SYNACK => true,
        State::ESTABLISHED => {
            let left = control.deadline().left(now);
            let rested = (root.timeout(tables, timeout) as i32).wrapping_sub(left);
            rested >= root.ticks(tables, REST) as i32 && is_turn(turns, entry.packets().peek())
        }
        _ => false,
    }
}

/// Whether it is the turn of a connection that had `packets` packets of its client: the first one, then each `packets`-th.
#[inline(always)]
fn is_turn(turns: &Line, packets: u64) -> bool {
    if !(2..=FEW).contains(&packets) {
        return packets == 1;
    }
    let turn = &turns[(state::TURNS + packets as usize - 2) & 7];
    let left = (turn.peek() as i64).wrapping_sub(1);
    let is_it = left <= 0;
    turn.poke(if is_it { packets } else { left as u64 });
    is_it
}

/// Ends the template that controlled an ended connection, if it controls nothing more and was never answered.
#[inline(never)]
fn remove_forsaken<E: Entry, T: Tables>(tables: &T, template: Controller) {
    if let Some(hit) = template.find::<E, T>(tables)
        && is_forsaken(&hit)
        && remove(tables, &hit)
    {
        tables.count(Event::Thinned);
    }
}
