//! `drop_entry`: connections that end at random, before their time, while it is in force.
//!
//! As Linux 6.1: each second a 32nd of the table is looked at, chosen at random. Of what is met there end
//!
//! - TCP connections that no server has answered or no client confirmed (SYN_RECV, SYNACK);
//! - established ones, and all of UDP, that rested for a minute after one to eight packets of their client: of those with n
//!   packets one in n;
//! - templates that control nothing and that no server ever answered; also the one that an ended connection leaves so.
//!
//! Differs: a client's packets after the first are counted only while the mode of `drop_entry` is not 0; where some service is
//! one-packet, all templates stay that may be its own.

use super::template::is_forsaken;
use super::{Control, Controller, Entry, Hit, WAYS, remove};
use crate::env::{Tables, state};
use crate::event::Event;
use crate::generation::{RootLine, TIMEOUT_UDP};
use crate::state::{State, TCP};
use crate::tick::Tick;
use lvsx_platform::Word;

/// Seconds for which a connection rests before it may end for having had few packets.
const REST: u32 = 60;

/// Packets beyond which a connection is never ended for having had few.
const FEW: u64 = 8;

/// Of 2^32: how likely a look at a set ends connections there. The hand sees each set once in 2.048 s; each second a 32nd is
/// due.
const CHANCE: u32 = ((1u64 << 32) * 2048 / 32_000) as u32;

/// Whether this look at a set is one that ends connections; `random`: 32 random bits.
#[inline(always)]
#[must_use]
pub fn is_thinned(random: u32) -> bool {
    random < CHANCE
}

/// Counts a packet of the client's, as far as it matters how many there were.
#[inline(always)]
pub fn count_packet<E: Entry>(entry: &E) {
    let packets = entry.packets();
    if packets.peek() <= FEW {
        packets.add(1);
    }
}

/// Ends those connections and templates of set `index` that `drop_entry` is for.
#[inline(always)]
pub fn thin_set<E: Entry, T: Tables>(tables: &T, root: &RootLine, index: u32, now: Tick) {
    let (Some(set), Some(turns)) = (E::set(tables, index), tables.state(state::TURNS)) else {
        return;
    };
    let mut way = 0;
    while way < WAYS {
        let (word, entry) = (&set.control[way], &set.entry[way]);
        let hit = Hit {
            index,
            way: way as u64,
            entry,
            word,
            control: Control(word.load()),
        };
        if gives_up(tables, root, turns, &hit, now) {
            let controller = Controller(entry.controller().peek());
            let is_connection = hit.control.is_live();
            if remove(tables, &hit) {
                tables.count(Event::Thinned);
                if is_connection {
                    remove_forsaken::<E, T>(tables, controller);
                }
            }
        }
        way += 1;
    }
}

/// Whether an entry ends.
#[inline(always)]
fn gives_up<E: Entry, T: Tables>(
    tables: &T,
    root: &RootLine,
    turns: &[Word; 8],
    hit: &Hit<'_, E>,
    now: Tick,
) -> bool {
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
fn is_turn(turns: &[Word; 8], packets: u64) -> bool {
    if packets == 0 || packets > FEW {
        return false;
    }
    let turn = &turns[packets as usize - 1 & 7];
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
