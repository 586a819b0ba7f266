//! The address filter: the first thing a packet meets, so that what is not ours leaves after one or two cache lines.
//!
//! Buckets of eight words, each an IPv4 address with what it is; a full bucket spills into the next, at most
//! [`FILTER_PROBES`] in all (the builder doubles the table or changes the seed when that does not hold).

use super::{RootLine, Table, spread};
use crate::env::Tables;
use lvsx_platform::hide;

/// Buckets a look-up visits at most.
pub const FILTER_PROBES: u32 = 2;

/// What an address is to the director; more than one may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Concern {
    /// A service's address, routed to this host: packets to it are looked at.
    pub is_virtual: bool,
    /// A masqueraded server's address: packets from it may be replies.
    pub is_server: bool,
    /// An address of this host: packets to it are for its own stack.
    pub is_local: bool,
}

impl Concern {
    /// Nothing to the director.
    const NONE: Self = Self {
        is_virtual: false,
        is_server: false,
        is_local: false,
    };
    /// A service's address.
    pub const VIRTUAL: Self = Self {
        is_virtual: true,
        ..Self::NONE
    };
    /// A masqueraded server's.
    pub const SERVER: Self = Self {
        is_server: true,
        ..Self::NONE
    };
    /// This host's.
    pub const LOCAL: Self = Self {
        is_local: true,
        ..Self::NONE
    };

    /// What both are.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            is_virtual: self.is_virtual || other.is_virtual,
            is_server: self.is_server || other.is_server,
            is_local: self.is_local || other.is_local,
        }
    }

    /// Whether what comes from here for `to`, which is not virtual, may be a server's reply: of a masqueraded one, or of one that
    /// answers past the director, to a request of this host's own.
    #[inline(always)]
    #[must_use]
    pub fn may_answer(self, to: Self) -> bool {
        self.is_server || self.is_virtual && to.is_local
    }

    /// The same of what is for a virtual address.
    #[inline(always)]
    #[must_use]
    pub fn may_answer_own(self) -> bool {
        self.is_server || self.is_virtual
    }
}

const PRESENT: u64 = 1 << 63;
const VIRTUAL: u64 = 1 << 62;
const SERVER: u64 = 1 << 61;
const LOCAL: u64 = 1 << 60;

/// The filter word of a raw IPv4 address.
#[must_use]
pub fn filter_word(address: u32, concern: Concern) -> u64 {
    let mut word = PRESENT | u64::from(address);
    if concern.is_virtual {
        word |= VIRTUAL;
    }
    if concern.is_server {
        word |= SERVER;
    }
    if concern.is_local {
        word |= LOCAL;
    }
    word
}

/// The first bucket of a raw IPv4 address in a table of `mask + 1` buckets.
#[inline(always)]
#[must_use]
pub fn filter_bucket(address: u32, seed: u64, mask: u32) -> u32 {
    spread(u64::from(address), seed) & mask
}

impl RootLine {
    /// What the raw IPv4 address `address` is to the director.
    #[inline(always)]
    pub fn concern<T: Tables>(&self, tables: &T, address: u32) -> Concern {
        concern(tables, self.filter, self.seed, address)
    }
}

/// The same by the filter that lies in `table`.
#[inline(always)]
pub(super) fn concern<T: Tables>(tables: &T, table: Table, seed: u64, address: u32) -> Concern {
    let first = filter_bucket(address, seed, table.mask);
    let wanted = PRESENT | u64::from(address);
    let mut probe = 0;
    while hide(probe) < u64::from(FILTER_PROBES) {
        let bucket = first.wrapping_add(probe as u32) & table.mask;
        let Some(line) = tables.config(table.base.wrapping_add(bucket)) else {
            break;
        };
        let mut slot = 0;
        while slot < 8 {
            let word = line[slot].peek();
            if word & !(VIRTUAL | SERVER | LOCAL) == wanted {
                return Concern {
                    is_virtual: word & VIRTUAL != 0,
                    is_server: word & SERVER != 0,
                    is_local: word & LOCAL != 0,
                };
            }
            if word == 0 {
                return Concern::default();
            }
            slot += 1;
        }
        probe += 1;
    }
    Concern::default()
}
