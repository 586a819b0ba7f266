//! Adding addresses to the filter in force, in place.
//!
//! Of all lines only the filter's change while packets read them, and only so that it takes more: it says which packets are looked
//! at, not what becomes of them. A packet of the generation before that is looked at for an address which is new finds no service
//! and no connection there, and goes on as it would have.

use super::Generation;
use crate::concerns::Concerned;
use crate::generation::raw_address;
use crate::tables::Tables;
use lvsx_core::generation::{FILTER_PROBES, filter_bucket, filter_word};
use std::net::IpAddr;

/// Addresses that are added in place; with more the filter is written anew.
const MOST: usize = 64;
/// Words of a line.
const WORDS: usize = 8;

/// A word of the filter as it is to be.
pub(super) struct Addition {
    line: u32,
    slot: usize,
    word: u64,
}

impl Addition {
    /// Writes it.
    pub(super) fn put(&self, tables: &Tables) {
        tables.config[self.line as usize][self.slot].store(self.word);
    }
}

impl Generation {
    /// What makes this generation's IPv4 filter that of `concerned`. `None`: it takes a new one.
    pub(super) fn grown_filter(
        &self,
        tables: &Tables,
        concerned: &Concerned,
    ) -> Option<Vec<Addition>> {
        let more = match concerned {
            Concerned::Whole(now) => return (self.concerns.v4 == now.v4).then(Vec::new),
            Concerned::More(more) => more,
        };
        if more.len() > MOST {
            return None;
        }
        let mut additions: Vec<Addition> = Vec::new();
        for (address, concern) in more {
            let IpAddr::V4(address) = address else {
                continue;
            };
            let address = raw_address(*address);
            let (line, slot) = self.place(tables, &additions, address)?;
            let word = filter_word(address, *concern);
            additions.push(Addition { line, slot, word });
        }
        Some(additions)
    }

    /// Where a look-up for this raw address ends: at its word, or at the first that is free. `None`: it finds neither.
    fn place(&self, tables: &Tables, additions: &[Addition], address: u32) -> Option<(u32, usize)> {
        let filter = self.root.filter;
        let first = filter_bucket(address, self.root.seed, filter.mask);
        let word = |line: u32, slot: usize| {
            let added = additions
                .iter()
                .rfind(|it| (it.line, it.slot) == (line, slot));
            added.map_or_else(|| tables.config[line as usize][slot].peek(), |it| it.word)
        };
        (0..FILTER_PROBES)
            .map(|probe| filter.base + (first.wrapping_add(probe) & filter.mask))
            .flat_map(|line| (0..WORDS).map(move |slot| (line, slot)))
            .find(|(line, slot)| {
                let word = word(*line, *slot);
                word == 0 || word as u32 == address
            })
    }
}
