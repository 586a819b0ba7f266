//! Prefixes that are virtual as a whole: too many addresses to be listed in the filter.
//!
//! A few lines, the same number for IPv4 and for IPv6, and two prefixes a line: address and mask, two words each. They
//! are looked at only where there are any, and only for packets of which the filter knows neither end.

use super::RootLine;
use crate::env::Tables;
use lvsx_platform::{bits, hide};

/// Prefixes of an address family at most.
pub const MOST_PREFIXES: usize = 8;

/// Lines that the prefixes of both families take: IPv4, then IPv6.
pub const PREFIX_LINES: u32 = 2 * FAMILY_LINES;

const IN_A_LINE: usize = 2;
const FAMILY_LINES: u32 = (MOST_PREFIXES / IN_A_LINE) as u32;

/// A prefix as packets carry addresses: two raw words, an IPv4 address in the first four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixWords {
    /// The first address.
    pub address: [u64; 2],
    /// The bits that count.
    pub mask: [u64; 2],
}

impl PrefixWords {
    /// None: no address is it.
    const NONE: Self = Self {
        address: [u64::MAX; 2],
        mask: [0; 2],
    };
}

/// The lines of these prefixes, [`MOST_PREFIXES`] a family at most, as written to the arena.
#[must_use]
pub fn prefix_lines(v4: &[PrefixWords], v6: &[PrefixWords]) -> [[u64; 8]; PREFIX_LINES as usize] {
    let mut lines = [[0; 8]; PREFIX_LINES as usize];
    let (lower, upper) = lines.split_at_mut(FAMILY_LINES as usize);
    for (lines, prefixes) in [(lower, v4), (upper, v6)] {
        let places = lines
            .iter_mut()
            .flat_map(|line| line.as_chunks_mut::<4>().0);
        let prefixes = prefixes.iter().copied();
        for (place, prefix) in places.zip(prefixes.chain(core::iter::repeat(PrefixWords::NONE))) {
            let ([a, b], [c, d]) = (prefix.address, prefix.mask);
            *place = [a, b, c, d];
        }
    }
    lines
}

impl RootLine {
    /// Whether the address, as two raw words, lies in a prefix that is virtual as a whole.
    ///
    /// Cost: nothing to speak of where there are none; else the details' line and four more.
    #[inline(always)]
    pub fn is_in_prefix<T: Tables>(&self, tables: &T, is_wide: bool, address: [u64; 2]) -> bool {
        let first = self.prefixes(tables);
        if first == 0 {
            return false;
        }
        let first = first.wrapping_add(if is_wide { FAMILY_LINES } else { 0 });
        let mut found = 0;
        let mut number = 0;
        while hide(number) < u64::from(FAMILY_LINES) {
            let Some(line) = tables.config(first.wrapping_add(number as u32)) else {
                break;
            };
            let mut place = 0;
            while place < IN_A_LINE {
                let word = |at: usize| line[place * 4 + at].peek();
                let other = address[0] & word(2) ^ word(0) | address[1] & word(3) ^ word(1);
                found |= bits::is_zero(other >> 1 | other & 1);
                place += 1;
            }
            number += 1;
        }
        found != 0
    }

    /// The prefixes that one of the lines holds; for the director.
    pub fn in_prefix_line(line: &lvsx_platform::Line) -> impl Iterator<Item = PrefixWords> {
        let place = |at: usize| PrefixWords {
            address: [line[at].peek(), line[at + 1].peek()],
            mask: [line[at + 2].peek(), line[at + 3].peek()],
        };
        [place(0), place(4)]
            .into_iter()
            .filter(|prefix| *prefix != PrefixWords::NONE)
    }
}
