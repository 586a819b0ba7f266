//! Listing the connection tables, at memory speed and without holding anybody up.

use crate::generation::address;
use crate::tables::Tables;
use lvsx_core::conn::{Control, Controls, Entry, Entry4, Entry6, Hit, Set, WAYS, sweep_set};
use lvsx_core::generation::live::tunnel;
use lvsx_core::state::State;
use lvsx_core::tick::Tick;
use lvsx_platform::Line;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Looks at an entry that packets keep changing.
const TRIES: u32 = 16;

/// A connection as it was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Protocol number.
    pub protocol: u8,
    /// The client's end.
    pub client: SocketAddr,
    /// The virtual end.
    pub virt: SocketAddr,
    /// The server's end, of the other family than the client's where a tunnel leads there.
    pub dest: SocketAddr,
    /// Id of the destination.
    pub destination: u32,
    /// Protocol state.
    pub state: State,
    /// Ticks until it ends without packets, at least: time that is left is rounded down, as the kernel's.
    pub left: u32,
    /// Whether it is a persistence template. One that is retired has ports 65535, as the kernel's.
    pub is_template: bool,
}

/// All connections and templates that live at `now`, those of IPv4 first, in the order of the tables. One that comes or goes
/// meanwhile may be missed. `linger`: [`LINGER`](lvsx_core::conn::LINGER) in ticks.
pub fn live(tables: &Tables, now: Tick, linger: u32) -> impl Iterator<Item = Connection> {
    let ipv4 = of_family(&tables.sets, &tables.tunnels, now, linger, |raw| {
        address(raw).into()
    });
    ipv4.chain(of_family(
        &tables.sets6,
        &tables.tunnels,
        now,
        linger,
        wide_address,
    ))
}

/// How many connections live at `now`.
#[must_use]
pub fn count(tables: &Tables, now: Tick) -> usize {
    let ipv4 = tables.sets.iter().flat_map(|set| &set.control);
    let words = ipv4.chain(tables.sets6.iter().flat_map(|set| &set.control));
    words
        .map(|word| Control(word.load()))
        .filter(|control| control.is_live() && !control.is_expired(now))
        .count()
}

/// Counts out what is over at `now`, before the hand comes to it: from then on nothing counts at its destination whose
/// time is over. Cost: a cache line a set.
pub fn count_out(tables: &Tables, now: Tick) {
    for index in 0..tables.capacity.sets() {
        sweep_set::<Entry4, _>(tables, index, now);
        sweep_set::<Entry6, _>(tables, index, now);
    }
}

/// Ends all connections and templates of these destinations, in one look at the tables. Those that a packet changes in this very
/// moment are looked at again; one that is opened meanwhile may be missed.
pub fn end(tables: &Tables, destinations: &HashSet<u32>) {
    end_in::<Entry4>(tables, destinations);
    end_in::<Entry6>(tables, destinations);
}

/// Connections first: so no template goes before those that it controls.
fn end_in<E: Entry>(tables: &Tables, destinations: &HashSet<u32>) {
    for of_phase in [Control::is_live, Control::is_template] {
        for index in 0..tables.capacity.sets() {
            let Some(set) = E::set(tables, index) else {
                continue;
            };
            for way in 0..WAYS {
                end_at(tables, set, index, way, |control, entry| {
                    of_phase(control) && destinations.contains(&entry.id())
                });
            }
        }
    }
}

/// Ends what lives in a way, if it is `wanted`.
fn end_at<E: Entry>(
    tables: &Tables,
    set: &Set<E>,
    index: u32,
    way: usize,
    wanted: impl Fn(Control, &E) -> bool,
) {
    let (word, entry) = (&set.control[way], &set.entry[way]);
    // A packet may move the control word on between two looks, but hardly ever twice.
    for _ in 0..TRIES {
        let hit = Hit {
            index,
            way: way as u64,
            entry,
            word,
            control: Control(word.load()),
        };
        if !wanted(hit.control, entry) || !hit.holds() || hit.end(tables) {
            return;
        }
    }
}

/// Those of one table. `tunnels`: lines of destinations by id.
fn of_family<E: Entry>(
    sets: &[Set<E>],
    tunnels: &[Line],
    now: Tick,
    linger: u32,
    address: impl Fn(E::Address) -> IpAddr,
) -> impl Iterator<Item = Connection> {
    let entries = sets
        .iter()
        .flat_map(|set| (0..WAYS).map(move |way| (set, way)));
    entries.filter_map(move |(set, way)| {
        let control = Control(set.control[way].load());
        let is_template = control.is_template();
        if !control.is_live() && !is_template {
            return None;
        }
        let entry = &set.entry[way];
        let mut deadline = control.deadline();
        if is_template && deadline.is_before(now) && controls(entry) {
            // The hand will prolong it.
            deadline = deadline.after(linger);
        }
        if deadline.is_before(now) {
            return None;
        }
        let is_retired = is_template && control.is_retired();
        let end =
            |(raw, port): (E::Address, u16)| SocketAddr::new(address(raw), u16::from_be(port));
        let (client, mut dest) = (end(entry.client()), end(entry.dest()));
        // An entry has no room for an address of the other family; the destination's tunnel knows it.
        if let Some(server) = tunnels.get(entry.id() as usize).and_then(server)
            && server.is_ipv4() != client.is_ipv4()
        {
            dest.set_ip(server);
        }
        let connection = Connection {
            protocol: entry.protocol(),
            client,
            virt: unless_retired(end(entry.virt()), is_retired),
            dest: unless_retired(dest, is_retired),
            destination: entry.id(),
            state: control.state(),
            // Both ends of the span were rounded to ticks, so it may be a tick shorter than their difference.
            left: deadline.left(now).saturating_sub(1).max(0) as u32,
            is_template,
        };
        lvsx_platform::fence();
        Control(set.control[way].load())
            .is_same_life(control)
            .then_some(connection)
    })
}

/// Whether a template controls connections.
fn controls<E: Entry>(entry: &E) -> bool {
    Controls(entry.controller().load()).count() != 0
}

fn unless_retired(mut end: SocketAddr, is_retired: bool) -> SocketAddr {
    if is_retired {
        end.set_port(u16::MAX);
    }
    end
}

/// The server of a destination's tunnel line. `None`: the line was never written.
fn server(line: &Line) -> Option<IpAddr> {
    let words = [tunnel::SERVER, tunnel::SERVER + 1].map(|word| line[word].peek());
    match (line[tunnel::SHAPE].peek() >> 32) as i32 & 0xff {
        libc::AF_INET => Some(address(words[0] as u32).into()),
        libc::AF_INET6 => Some(wide_address(words)),
        _ => None,
    }
}

/// The address that two raw words are.
fn wide_address(words: [u64; 2]) -> IpAddr {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&words[0].to_ne_bytes());
    octets[8..].copy_from_slice(&words[1].to_ne_bytes());
    Ipv6Addr::from(octets).into()
}
