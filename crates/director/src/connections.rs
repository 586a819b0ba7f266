//! Listing the connection table, at memory speed and without holding anybody up.

use crate::generation::address;
use crate::tables::Tables;
use lvsx_core::conn::{Control, Entry, WAYS};
use lvsx_core::state::State;
use lvsx_core::tick::Tick;
use std::net::SocketAddrV4;

/// A connection as it was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Protocol number.
    pub protocol: u8,
    /// The client's end.
    pub client: SocketAddrV4,
    /// The virtual end.
    pub virt: SocketAddrV4,
    /// The server's end.
    pub dest: SocketAddrV4,
    /// Id of the destination.
    pub destination: u32,
    /// Protocol state.
    pub state: State,
    /// Ticks until it ends without packets, at least: time that is left is rounded down, as the kernel's.
    pub left: u32,
}

/// All connections that live at `now`, in the order of the table. One that comes or goes meanwhile may be missed.
pub fn live(tables: &Tables, now: Tick) -> impl Iterator<Item = Connection> {
    let entries = tables
        .sets
        .iter()
        .flat_map(|set| (0..WAYS).map(move |way| (set, way)));
    entries.filter_map(move |(set, way)| {
        let control = Control(set.control[way].load());
        if !control.is_live() || control.is_expired(now) {
            return None;
        }
        let entry = &set.entry[way];
        let end = |(raw, port): (u32, u16)| SocketAddrV4::new(address(raw), u16::from_be(port));
        let connection = Connection {
            protocol: entry.protocol(),
            client: end(entry.client()),
            virt: end(entry.virt()),
            dest: end(entry.dest()),
            destination: entry.id(),
            state: control.state(),
            // Both ends of the span were rounded to ticks, so it may be a tick shorter than their difference.
            left: control.deadline().left(now).saturating_sub(1).max(0) as u32,
        };
        lvsx_platform::fence();
        Control(set.control[way].load())
            .is_same_life(control)
            .then_some(connection)
    })
}

/// How many connections live at `now`.
#[must_use]
pub fn count(tables: &Tables, now: Tick) -> usize {
    let words = tables.sets.iter().flat_map(|set| &set.control);
    words
        .map(|word| Control(word.load()))
        .filter(|control| control.is_live() && !control.is_expired(now))
        .count()
}
