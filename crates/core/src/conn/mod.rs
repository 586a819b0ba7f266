//! The connection table: one entry a flow, in sets of seven, lossless at its rated capacity.
//!
//! An entry is keyed as the kernel keys it, by protocol, client address and client port, so a packet from the client
//! hashes its source and a reply its destination, and both find the same entry. A key has two candidate sets; it goes
//! to the first, its home, while that has room (six of seven), then to the emptier. What fits in neither goes to an
//! overflow area that is searched set after set, as far as the home's `reach` says: slow, counted, lossless.
//!
//! ```text
//! set: head and 7 control words (one cache line), then 7 entries (one cache line each, IPv4)
//! ```
//!
//! So a look-up touches the line of control words and, by the 16 bits of tag in each, one entry; a sweep touches only
//! control words. The head counts the flows that are at home in a set and live elsewhere: a look-up goes on to the second
//! set only if there are any, and a first packet as a rule touches one set.
//!
//! **Protocol.** Everything is decided by compare-and-swap of a control word, see [`Control`]. Openers of flows of one home
//! are serialised by a lock in its head (bounded tries; a packet that cannot get it is dropped and counted); no one else
//! ever waits. Whoever ends an entry's life by compare-and-swap, and only he, takes it out of its destination's counts. An
//! entry's words are written only while it is claimed; a reader reads the control word, the entry, and the control word
//! again ([`Hit::holds`], or the compare-and-swap that advances it), so it never acts on a mixture of two lives. One word
//! of an entry changes while it lives: the count of the connections that a template controls ([`Controls`]).

mod control;
mod entry;
mod entry6;
mod find;
mod hop;
mod lead;
mod open;
mod set;
mod slot;
mod sweep;
mod template;
mod thin;
mod want;

pub use control::{Control, Phase};
#[cfg(not(target_arch = "bpf"))]
pub use entry::no_entry4;
pub use entry::{Entry, Entry4, NewEntry};
pub use entry6::Entry6;
#[cfg(not(target_arch = "bpf"))]
pub use entry6::no_entry6;
pub use find::{
    Hit, find, find_at, find_at_home, find_in_overflow, find_in_sets, is_absent, overflow_reach,
    overflow_set, touch,
};
pub use hop::{Hop, Hops};
pub use lead::lead;
pub use open::{Opened, open, open_at_home};
pub use set::{Head, Set, WAYS};
pub use sweep::{NOTHING_OVER, end_over, pass_by, remove, sweep_set};
pub use template::{
    Controller, Controls, LINGER, assure, control, find_template, release, renew, retire,
};
pub use thin::{UNCOUNTED, count_packet, is_thinned, thin_way};
pub(crate) use want::mix;
pub use want::{Peer, Want};
