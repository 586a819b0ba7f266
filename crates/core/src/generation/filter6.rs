//! The address filter of IPv6: as that of IPv4, with whole addresses.
//!
//! A bucket is a line of three addresses, two words each, and a word of what they are: eight bits an address, 0 for a free
//! place. A full bucket spills into the next, at most [`FILTER_PROBES`] in all.

use super::{Concern, FILTER_PROBES, RootLine, spread};
use crate::env::Tables;
use lvsx_platform::{bits, hide};

/// Addresses in a bucket.
pub const FILTER6_SLOTS: usize = 3;

/// Word of a bucket that says what its addresses are.
const KINDS: usize = 6;
const PRESENT: u64 = 1;
const VIRTUAL: u64 = 2;
const SERVER: u64 = 4;
const LOCAL: u64 = 8;

/// The bucket that holds these raw addresses, three at most, as written to the arena.
#[must_use]
pub fn filter6_line(addresses: &[([u64; 2], Concern)]) -> [u64; 8] {
    let mut line = [0; 8];
    for (slot, (address, concern)) in addresses.iter().take(FILTER6_SLOTS).enumerate() {
        line[slot * 2] = address[0];
        line[slot * 2 + 1] = address[1];
        let mut kind = PRESENT;
        if concern.is_virtual {
            kind |= VIRTUAL;
        }
        if concern.is_server {
            kind |= SERVER;
        }
        if concern.is_local {
            kind |= LOCAL;
        }
        line[KINDS] |= kind << (slot * 8);
    }
    line
}

/// The first bucket of a raw IPv6 address in a table of `mask + 1` buckets.
#[inline(always)]
#[must_use]
pub fn filter6_bucket(address: [u64; 2], seed: u64, mask: u32) -> u32 {
    spread(fold(address), seed) & mask
}

/// An address as one word: the multiplication keeps neighbouring prefixes and hosts apart.
#[inline(always)]
pub(super) fn fold(address: [u64; 2]) -> u64 {
    address[0]
        .wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
        .rotate_left(31)
        ^ address[1]
}

impl RootLine {
    /// What the raw IPv6 address `address` is to the director.
    #[inline(always)]
    pub fn concern6<T: Tables>(&self, tables: &T, address: [u64; 2]) -> Concern {
        if self.filter6.base == 0 {
            return Concern::default();
        }
        let first = filter6_bucket(address, self.seed, self.filter6.mask);
        let mut found = 0;
        let mut probe = 0;
        while hide(probe) < u64::from(FILTER_PROBES) {
            let bucket = first.wrapping_add(probe as u32) & self.filter6.mask;
            let Some(line) = tables.config(self.filter6.base.wrapping_add(bucket)) else {
                break;
            };
            let kinds = line[KINDS].peek();
            let mut slot = 0;
            while slot < FILTER6_SLOTS {
                let other =
                    line[slot * 2].peek() ^ address[0] | line[slot * 2 + 1].peek() ^ address[1];
                let same = bits::is_zero(other >> 1 | other & 1);
                found |= kinds >> (slot * 8) & 0xff & same.wrapping_neg();
                slot += 1;
            }
            probe += 1;
        }
        Concern {
            is_virtual: found & VIRTUAL != 0,
            is_server: found & SERVER != 0,
            is_local: found & LOCAL != 0,
        }
    }

    /// The addresses that a bucket of the filter holds, with what they are; for the director.
    pub fn in_filter6(line: &lvsx_platform::Line) -> impl Iterator<Item = ([u64; 2], Concern)> {
        let kinds = line[KINDS].peek();
        (0..FILTER6_SLOTS).filter_map(move |slot| {
            let kind = kinds >> (slot * 8);
            let concern = Concern {
                is_virtual: kind & VIRTUAL != 0,
                is_server: kind & SERVER != 0,
                is_local: kind & LOCAL != 0,
            };
            let address = [line[slot * 2].peek(), line[slot * 2 + 1].peek()];
            (kind & PRESENT != 0).then_some((address, concern))
        })
    }
}
