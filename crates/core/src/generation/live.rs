//! What lives on across generations, by stable id: lines of eight words outside the arena.
//!
//! | line | words |
//! |---|---|
//! | destination | 0 active << 32 + inactive; 1 persistence templates; 2 upper threshold + lower << 32; 3 flags (bit 0 overloaded); 4 place in its service's list, the first of its group + 1 << 32; 5 weight; 6 the next hop to it, as the director knows it; 7 of a group's first destination, the least of the group |
//! | tunnel of a destination | 0 shape: type, flags << 8, raw port << 16, family outside << 32; 1, 2 server; 3, 4 the director's own address |
//! | service | 0 scheduler's cursor; 1 age of its locality cache |
//! | tally (a CPU and a destination) | 0 connections, 1 packets in, 2 bytes in, 3 packets out, 4 bytes out |
//! | port (a network interface) | 0 interface index + MTU << 32; 1 link-layer address (48 bits, raw); 2 flags; 3 the least that a path by it was learned to take, as its complement |

use crate::env::Tables;
use lvsx_platform::{Line, bits, hide};

/// Bit of a destination's flag word: over its upper threshold.
pub const OVERLOADED: u64 = 1;

/// Words of a destination's live line.
pub mod destination {
    /// Active connections << 32 + inactive ones.
    pub const COUNTS: usize = 0;
    /// Persistence templates.
    pub const TEMPLATES: usize = 1;
    /// Upper threshold + lower << 32.
    pub const THRESHOLDS: usize = 2;
    /// Flags.
    pub const FLAGS: usize = 3;
    /// Place in its service's list; a hint, checked by the reader. Above it which destination is the first of its group, see
    /// [`super::place_word`].
    pub const PLACE: usize = 4;
    /// Its weight, for whoever knows its id alone; low 32 bits.
    pub const WEIGHT: usize = 5;
    /// The next hop to it as the director knows it (`conn::Hop`), 0 while unknown: for first packets, and for hosts that do
    /// not forward, where programs get no answer about routes. Written before the route epoch moves.
    pub const HOP: usize = 6;
    /// Of the first destination of a group: which of the group is the least, see [`crate::sched::groups`].
    pub const LEAST: usize = 7;
}

/// Words of a destination's tunnel.
pub mod tunnel {
    /// Type, flags << 8, raw port << 16, address family of the outside << 32.
    pub const SHAPE: usize = 0;
    /// The shape of IPv4 outside without anything between the headers.
    pub const PLAIN: u64 = 2 << 32;
    /// The server's address: two words.
    pub const SERVER: usize = 1;
    /// The director's own address towards it: two words, 0 while unknown.
    pub const SOURCE: usize = 3;
    /// The next hop's address: two words.
    pub const GATEWAY: usize = 5;
    /// Index of the interface that leads to the next hop, 0 for no route, + address family of the next hop << 32. Written as
    /// 0 before the next hop changes.
    pub const WAY: usize = 7;
}

/// Words of a service's live line.
pub mod service {
    /// The scheduler's cursor.
    pub const CURSOR: usize = 0;
    /// Age of its locality cache: moved when the service or its scheduler is another, so that what was cached before is not
    /// found any more. Low 32 bits.
    pub const CACHE_AGE: usize = 1;
}

/// Words of a port.
pub mod port {
    use lvsx_platform::{Line, hide};

    /// Interface index + MTU << 32; 0 for a port not in use.
    pub const INTERFACE: usize = 0;
    /// Link-layer address: 48 bits, raw.
    pub const ADDRESS: usize = 1;
    /// Flags.
    pub const FLAGS: usize = 2;
    /// The least that a path by it was learned to take, as the complement of 32 bits: 0 while nothing was learned.
    pub const LEARNED: usize = 3;
    /// Flag: it is `lo`.
    pub const LOOPBACK: u64 = 1;
    /// Flag: frames sent back by `XDP_TX` are held back until others follow; a redirect sends them at once.
    pub const HOLDS_BACK: u64 = 2;

    /// The longest packet that a port takes.
    #[inline(always)]
    pub(crate) fn mtu(port: &Line) -> u32 {
        (port[INTERFACE].peek() >> 32) as u32
    }

    /// The longest packet that each path by a port takes, as far as was learned.
    #[inline(always)]
    pub(crate) fn sure(port: &Line) -> u32 {
        mtu(port).min(!(port[LEARNED].peek() as u32))
    }

    /// Says that a path by a port takes `mtu`. After some tries against other CPUs it is left to the director, which looks at all
    /// that was learned each second.
    #[inline(always)]
    pub(crate) fn lower(port: &Line, mtu: u32) {
        const TRIES: u64 = 4;
        let word = u64::from(!mtu);
        let mut tries = 0;
        while hide(tries) < TRIES {
            let old = port[LEARNED].load();
            if old >= word || port[LEARNED].compare_exchange(old, word).is_ok() {
                return;
            }
            tries += 1;
        }
    }

    /// Whether a port has that flag.
    #[inline(always)]
    pub(crate) fn holds_back(port: &Line) -> bool {
        port[FLAGS].peek() & HOLDS_BACK != 0
    }
}

/// Words of a tally.
pub mod tally {
    /// Connections scheduled.
    pub const CONNECTIONS: usize = 0;
    /// Packets from clients.
    pub const PACKETS_IN: usize = 1;
    /// Bytes from clients: IP total lengths.
    pub const BYTES_IN: usize = 2;
    /// Packets to clients.
    pub const PACKETS_OUT: usize = 3;
    /// Bytes to clients: IP total lengths.
    pub const BYTES_OUT: usize = 4;
}

/// What a connection of this activity adds to the counts word.
#[inline(always)]
#[must_use]
pub fn weight_of(active: bool) -> u64 {
    if active { 1 << 32 } else { 1 }
}

/// The word of a destination's place in the list, and of the id of its group's first destination where its scheduler keeps
/// groups ([`crate::sched::groups`]).
#[must_use]
pub fn place_word(place: u32, first: Option<u32>) -> u64 {
    u64::from(place) | u64::from(first.map_or(0, |id| id.wrapping_add(1))) << 32
}

/// Id + 1 of the first destination of a destination's group; 0 if its group is not kept.
#[inline(always)]
pub(crate) fn first_of(line: &Line) -> u32 {
    (line[destination::PLACE].peek() >> 32) as u32
}

/// Says that the destination of this live line counts otherwise than before, to whoever searches its group. In a function of
/// its own, for the stack of those that open connections.
#[inline(never)]
pub fn moved<T: Tables>(tables: &T, line: &Line) {
    let first = first_of(line);
    if first != 0
        && let Some(line) = tables.destination(first.wrapping_sub(1))
    {
        forget_least(line);
    }
}

/// Forgets what the first destination of a group keeps.
#[inline(always)]
pub fn forget_least(line: &Line) {
    line[destination::LEAST].add(ONE_MOVE);
}

/// One move in the word of a group's first destination.
const ONE_MOVE: u64 = 1 << 44;

/// Whether destination `id` is quiesced: its weight is 0. `false` if there is none.
#[inline(always)]
pub fn is_quiesced<T: Tables>(tables: &T, id: u32) -> bool {
    match tables.destination(id) {
        Some(line) => line[destination::WEIGHT].peek() as u32 == 0,
        None => false,
    }
}

/// Recomputes the overload flag from the counts, as the kernel does after a connection is bound (`bound`) or unbound.
///
/// Bound: set when active + inactive has reached the upper threshold. Unbound: with a lower threshold cleared below it;
/// else cleared below three quarters of the upper one; else cleared (spec, section 8 of the data path; Linux 6.1).
/// Counts that move meanwhile are looked at again, so the last writer leaves the right flag.
#[inline(always)]
pub fn settle_overload(line: &Line, bound: bool) {
    let thresholds = line[destination::THRESHOLDS].peek();
    let (upper, lower) = (thresholds as u32, (thresholds >> 32) as u32);
    if upper == 0 && line[destination::FLAGS].peek() & OVERLOADED == 0 {
        return;
    }
    let (upper, lower) = (u64::from(upper), u64::from(lower));
    let mut look = 0;
    while hide(look) < LOOKS {
        let counts = line[destination::COUNTS].load();
        let total = (counts >> 32) + (counts & 0xffff_ffff);
        let flags = line[destination::FLAGS].peek();
        let reached = (1 ^ bits::is_zero(upper)) & (1 ^ bits::less(total, upper));
        // The mark below which the flag falls: the lower threshold, else three quarters of the upper; times four.
        let mark = bits::pick(bits::is_zero(lower), 3 * upper, 4 * lower);
        let kept =
            flags & OVERLOADED & (1 ^ bits::less(4 * total, mark)) & (1 ^ bits::is_zero(mark));
        let over = bits::pick(u64::from(bound), flags & OVERLOADED | reached, kept);
        line[destination::FLAGS].store(flags & !OVERLOADED | over);
        if line[destination::COUNTS].load() == counts {
            return;
        }
        look += 1;
    }
}

/// Looks at counts that keep moving.
const LOOKS: u64 = 2;
