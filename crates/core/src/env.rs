//! The world, as decisions see it: shared tables, a clock, routes.

use crate::conn::Set4;
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
    fn set4(&self, index: u32) -> Option<&Set4>;
    /// How the IPv4 connection table is laid out.
    fn geometry4(&self) -> Geometry;
    /// The live line of destination `id`.
    fn destination(&self, id: u32) -> Option<&Line>;
    /// The live line of service `id`.
    fn service(&self, id: u32) -> Option<&Line>;
    /// This CPU's tally of destination `id`.
    fn tally(&self, id: u32) -> Option<&Line>;
    /// Line `index` of the locality cache, of [`sched::cache::LINES`](crate::sched::cache::LINES).
    fn cache(&self, index: u32) -> Option<&Line>;
    /// Counts `event` on this CPU.
    fn count(&self, event: Event);
    /// One of [`STRIPES`] lines-in-part that the flows of one hash share.
    fn stripe(&self, number: u32) -> Option<Stripe<'_>>;
    /// Calls `look` with 0, 1, ... below `count` until it returns `false`.
    fn scan(&self, count: u32, look: impl FnMut(u32) -> bool);
}

/// Tables, and what only a packet's way needs.
pub trait Env: Tables {
    /// The present moment.
    fn now(&self) -> Tick;
    /// Random bits, not to be foreseen by a client.
    fn random(&self) -> u32;
    /// The live line of port `number` (a network interface as the director numbers it).
    fn port(&self, number: u32) -> Option<&Line>;
    /// Keeps a word for the packet in hand, until its next stage.
    fn remember(&self, word: u64);
    /// The word kept last on this CPU.
    fn recall(&self) -> u64;
    /// The next hop towards raw IPv4 address `to`, for a packet that came in by interface `ingress`.
    fn route4(&self, ingress: u32, to: u32) -> Route;
}

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
        /// Raw IPv4 address of the next hop.
        gateway: u32,
    },
    /// Forwarding is switched off on the interface the packet came in by.
    ForwardingOff,
    /// There is no route.
    None,
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

/// Stripes of the connection table: what flows of one hash share. A power of two.
pub const STRIPES: u32 = 16384;

/// Lines that the stripes take: four a line, two words each.
pub const STRIPE_LINES: u32 = STRIPES / 4;

/// What the flows of one hash share.
#[derive(Clone, Copy)]
pub struct Stripe<'a> {
    /// Held by whoever opens one of them.
    pub lock: &'a Word,
    /// Those that live in the overflow area << 32 + sets of it that a look-up for one of them visits. One word, so that the
    /// reach falls back to 0 with the last of them and no look-up ever stops short of one.
    pub overflow: &'a Word,
}

impl<'a> Stripe<'a> {
    /// Stripe `number` of those in its line (number modulo 4).
    #[inline(always)]
    #[must_use]
    pub fn in_line(line: &'a Line, number: u32) -> Self {
        let first = (number as usize & 3) * 2;
        Self {
            lock: &line[first],
            overflow: &line[first | 1],
        }
    }
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
    /// Line of the connection table.
    pub const CONNECTIONS: u32 = 1;
    /// Word of [`CONNECTIONS`]: entries that live in the overflow area.
    pub const OVERFLOW: usize = 0;
    /// Line of the hand that removes expired entries.
    pub const HAND: u32 = 2;
    /// Word of [`HAND`]: the next set it looks at.
    pub const HAND_AT: usize = 0;
    /// Word of [`HAND`]: the tick of its last move.
    pub const HAND_TICK: usize = 1;
    /// Number of lines.
    pub const LINES: u32 = 4;
}
