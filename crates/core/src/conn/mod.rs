//! The connection table: one entry a flow, in sets of eight, lossless at its rated capacity.
//!
//! An entry is keyed as the kernel keys it, by protocol, client address and client port, so a packet from the client
//! hashes its source and a reply its destination, and both find the same entry. A key has two candidate sets; it goes
//! to the first while that has room (five of eight), then to the emptier. What fits in neither goes to an overflow area
//! that is searched set after set, as far as its `reach` says: slow, counted, lossless.
//!
//! ```text
//! set: 8 control words (one cache line), then 8 entries (one cache line each, IPv4)
//! ```
//!
//! So a look-up touches the line of control words and, by the 16 bits of tag in each, one entry; a sweep touches only
//! control words.
//!
//! **Protocol.** Everything is decided by compare-and-swap of a control word, see [`Control`]. Openers of one flow are
//! serialised by a lock word (bounded tries; a packet that cannot get it is dropped and counted); no one else ever waits.
//! Whoever ends an entry's life by compare-and-swap, and only he, takes it out of its destination's counts. An entry's words are written
//! only while it is claimed; a reader reads the control word, the entry, and the control word again
//! ([`Hit::holds`], or the compare-and-swap that advances it), so it never acts on a mixture of two lives.

mod control;
mod entry;
mod find;
mod open;
mod sweep;

pub use control::{Control, Phase};
#[cfg(not(target_arch = "bpf"))]
pub use entry::no_entry;
pub use entry::{Entry4, Hop, NewEntry4, Peer, Set4, WAYS, Want4};
pub use find::{Hit, find, find_in_overflow, find_in_sets, overflow_reach};
pub use open::{Opened, open};
pub use sweep::{remove, sweep_set};
