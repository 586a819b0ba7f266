//! Leading a connection of this host's own to a destination, past the scheduler.
//!
//! The director's daemon opens its entry before the first packet. Health checks ask servers so that answer past the director:
//! at the virtual address, by the destination's own method, in the way that clients reach it.

use super::{Controller, Entry, Hop, NewEntry, Opened, UNCOUNTED, Want, open};
use crate::env::Tables;
use crate::state::State;
use crate::tick::Tick;

/// Opens an entry for the flow of `want`, whose packets go to destination `id` at `dest` by `method` (its IPVS number, not
/// masquerade). It is in no state until its first packet, and ends at `deadline` if none comes.
pub fn lead<E: Entry, T: Tables>(
    tables: &T,
    want: &Want<E>,
    dest: (E::Address, u16),
    (id, method): (u32, u8),
    deadline: Tick,
    now: Tick,
) -> Opened {
    let new = NewEntry {
        dest,
        id,
        method,
        input_only: true,
        hop: Hop(0),
        epoch: 0,
        state: State::NONE,
        deadline,
        controller: Controller::LED,
        timeout: UNCOUNTED,
    };
    open(tables, want, &new, now)
}
