//! The configuration as packets read it: an immutable tree of 64-byte lines in one arena.
//!
//! ```text
//! root word (number << 32 | line) -> root: filters, services, availability, settings, timeouts, details
//!                                     |       |         `-> one bit a destination id
//!                                     |       `-> buckets of (key, block) -> block: head line, one line a destination, a hash table's
//!                                     `-> buckets of addresses that concern the director; details: prefixes that do, mark rules
//! ```
//!
//! A packet reads the root word once and everything else through it. A change writes new lines beside the old ones and
//! then the root word; lines that only the old root reaches are reused when every packet that could have seen it is
//! done (a grace period; the director's business). To the address filter alone words may be added while packets read it: it says
//! which packets are looked at, not what becomes of them. What lives on across generations (counters, cursors, overload flags)
//! is kept outside, under service and destination ids, see [`live`].
//!
//! Each kind of line has a plain struct here with `encode` and a reading function, so that the layout is written once.

pub mod defence;
mod destination;
mod details;
mod filter;
mod filter6;
pub mod live;
mod marks;
mod prefixes;
mod root;
mod servers;
mod service;
mod settings;

pub use destination::{DestinationLine, Method};
pub use details::{DETAIL_LINES, Details, IcmpLimits, PathLimits, Run};
pub use filter::{Concern, FILTER_PROBES, filter_bucket, filter_word};
pub use filter6::{FILTER6_SLOTS, filter6_bucket, filter6_line};
pub use marks::{Ends, MARK_RULE_LINES, MOST_MARK_RULES, MarkRule};
pub use prefixes::{MOST_PREFIXES, PREFIX_LINES, PrefixWords, prefix_lines};
pub(crate) use root::timeout;
pub use root::{
    Kinds, ROOT_LINES, RootLine, RootWords, TIMEOUT_LBLC, TIMEOUT_LBLCR, TIMEOUT_SCALE,
    TIMEOUT_UDP, TIMEOUTS, Table,
};
pub use servers::ANY_PROTOCOL;
pub use service::{
    SERVICE_PROBES, SERVICE_SLOTS, SLOTS, SchedulerKind, ServiceKey, ServiceLine, encode_slots,
    service_bucket, slot,
};
pub use settings::{Setting, Settings, VALUES, Values};

/// The root word of an empty arena: no generation yet, nothing is ours.
pub const NO_GENERATION: u64 = 0;

/// Mixes a key into 32 well spread bits (the finaliser of MurmurHash3, public domain, with a multiplicative fold).
#[inline(always)]
pub(crate) fn spread(key: u64, seed: u64) -> u32 {
    let mut x = (key ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x ^= x >> 32;
    x = x.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (x >> 32) as u32
}
