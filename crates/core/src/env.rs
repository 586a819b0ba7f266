//! The world, as decisions see it: shared tables, a clock, routes.

use crate::conn::{Entry4, Entry6, Set};
use crate::event::Event;
use crate::tick::Tick;
use lvsx_platform::{Line, Word};

/// Shared memory. BPF maps for programs, the same maps by `mmap` for the director, vectors in tests.
///
/// Every method returns `None` for an index out of range, so no index that a packet or a table holds can do harm.
pub trait Tables {
    /// Line `index` of the arena that holds the generations.
    fn config(&self, index: u32) -> Option<&Line>;
    /// Line `index` of the state that the whole director shares; see [`state`].
    fn state(&self, index: u32) -> Option<&Line>;
    /// Set `index` of the IPv4 connection table: the main sets, then the overflow area.
    fn set4(&self, index: u32) -> Option<&Set<Entry4>>;
    /// How either connection table is laid out.
    fn geometry(&self) -> Geometry;
    /// Set `index` of the IPv6 connection table.
    fn set6(&self, index: u32) -> Option<&Set<Entry6>>;
    /// The live line of destination `id`.
    fn destination(&self, id: u32) -> Option<&Line>;
    /// How the tunnel to destination `id` is made.
    fn tunnel(&self, id: u32) -> Option<&Line>;
    /// The live line of service `id`.
    fn service(&self, id: u32) -> Option<&Line>;
    /// This CPU's tally of destination `id`.
    fn tally(&self, id: u32) -> Option<&Line>;
    /// Packets from clients in all tallies of destination `id`.
    fn packets_in(&self, id: u32) -> u64;
    /// Counts the event of this number on this CPU.
    fn count_number(&self, number: u32);
    /// Line `index` of the locality cache, of [`sched::cache::LINES`](crate::sched::cache::LINES).
    fn cache(&self, index: u32) -> Option<&Line>;
    /// Counts `event` on this CPU.
    #[inline(always)]
    fn count(&self, event: Event) {
        self.count_number(event as u32);
    }
    /// Calls `look` with 0, 1, ... below `count` until it returns `false`.
    fn scan(&self, count: u32, look: impl FnMut(u32) -> bool);
}

/// Tables, and what only a packet's way needs.
pub trait Env: Tables {
    /// The present moment.
    fn now(&self) -> Tick;
    /// Milliseconds of a steady clock.
    fn milliseconds(&self) -> u32;
    /// Random bits, not to be foreseen by a client.
    fn random(&self) -> u32;
    /// The live line of port `number` (a network interface as the director numbers it).
    fn port(&self, number: u32) -> Option<&Line>;
    /// Words of this CPU's own for the packet in hand: what one stage keeps for the next.
    fn scratch(&self) -> Option<&Scratch>;
    /// The next hop towards raw IPv4 address `to`, for a packet that came in by interface `ingress`.
    fn route4(&self, ingress: u32, to: u32) -> Route;
    /// The same towards a raw IPv6 address.
    fn route6(&self, ingress: u32, to: [u64; 2]) -> Route;
}

/// What one stage keeps for the next.
pub type Scratch = [Word; 32];

/// How the kernel would send to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// By this interface to this link-layer address (48 bits, raw).
    To {
        /// Interface index.
        interface: u32,
        /// Link-layer address.
        address: u64,
    },
    /// By this interface to this next hop, whose link-layer address is not known.
    Unresolved {
        /// Interface index.
        interface: u32,
        /// The next hop.
        gateway: Gateway,
    },
    /// Forwarding is switched off on the interface the packet came in by.
    ForwardingOff,
    /// There is no route.
    None,
}

/// A next hop that the kernel has to resolve. An IPv4 route may lead by an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Address family as in `AF_INET` (2) or `AF_INET6` (10).
    pub family: u8,
    /// Raw address in two words; an IPv4 address in the first four bytes.
    pub address: [u64; 2],
}

/// Layout of a connection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Main sets.
    pub sets: u32,
    /// Sets of the overflow area, after the main ones.
    pub overflow: u32,
    /// Secret that spreads the hashes.
    pub seed: u64,
}

/// Ports: an interface's number is its index modulo this, or one of the next [`PORT_PROBES`] - 1.
pub const PORTS: u32 = 256;

/// Places an interface's port may lie at.
pub const PORT_PROBES: u32 = 8;

/// Lines and words of the shared state.
pub mod state {
    /// Line that packets read: nothing in it changes but by the director.
    pub const READ: u32 = 0;
    /// Word of [`READ`]: root word of the generation in force.
    pub const ROOT: usize = 0;
    /// Word of [`READ`]: route epoch; a connection's next hops of another epoch are looked up again. Low 16 bits.
    pub const EPOCH: usize = 1;
    /// Word of [`READ`]: ticks added to the clock, for tests that jump in time.
    pub const CLOCK_OFFSET: usize = 2;
    /// Word of [`READ`]: which defences are in force, see [`crate::generation::defence`].
    pub const DEFENCE: usize = 3;
    /// Line of the connection table.
    pub const CONNECTIONS: u32 = 1;
    /// Word of [`CONNECTIONS`]: entries that live in the overflow area of IPv4's table.
    pub const OVERFLOW4: usize = 0;
    /// Word of [`CONNECTIONS`]: likewise of IPv6's.
    pub const OVERFLOW6: usize = 1;
    /// Line of the hand that removes expired entries.
    pub const HAND: u32 = 2;
    /// Word of [`HAND`]: the next set it looks at.
    pub const HAND_AT: usize = 0;
    /// Word of [`HAND`]: the tick of its last move.
    pub const HAND_TICK: usize = 1;
    /// Line that tells the director's successor what the tables are.
    pub const META: u32 = 3;
    /// Line of the defences: what packets count.
    pub const DEFENCES: u32 = 4;
    /// Word of [`DEFENCES`]: first packets until the next one is dropped, as a signed number.
    pub const DROP_COUNTER: usize = 0;
    /// Word of [`DEFENCES`], and the next six: connections that had two packets (three, ... eight) until it is the turn of one to
    /// end by `drop_entry`.
    pub const TURNS: usize = 1;
    /// Line of the limits of ICMP errors.
    pub const ICMP: u32 = 5;
    /// Word of [`ICMP`]: errors that may still be sent now << 32 + the millisecond of the last change.
    pub const ICMP_CREDIT: usize = 0;
    /// First line of what each host was sent: a word a host, tag << 32 + the millisecond in which nothing it was sent counts
    /// any more.
    pub const ICMP_HOSTS: u32 = 6;
    /// Lines of that, a power of two.
    pub const ICMP_HOST_LINES: u32 = 128;
    /// First line of the datagrams whose fragments are not the director's: see [`crate::director::Datagram`].
    pub const STRANGERS: u32 = ICMP_HOSTS + ICMP_HOST_LINES;
    /// Lines of that, a power of two.
    pub const STRANGER_LINES: u32 = 128;
    /// First line of the path MTUs that were learned: see [`crate::director::path_mtu`].
    pub const PATHS: u32 = STRANGERS + STRANGER_LINES;
    /// Lines of that, a power of two; two paths each.
    pub const PATH_LINES: u32 = 1024;
    /// Number of lines.
    pub const LINES: u32 = PATHS + PATH_LINES;
}
