//! The hash tables of a generation, as lines: the filters, and the table of services and of servers' ends.

use super::arena::Extent;
use super::buckets::{Buckets, buckets_for, lay_out};
use super::lines::{ServerEnd, server_key, table_key};
use crate::concerns::Concerns;
use crate::config::Config;
use lvsx_core::generation::{
    Concern, FILTER_PROBES, FILTER6_SLOTS, RootLine, SERVICE_PROBES, SERVICE_SLOTS, filter_bucket,
    filter_word, filter6_bucket, filter6_line, service_bucket,
};
use lvsx_ipvs::ForwardingMethod;
use std::collections::BTreeMap;

/// Words of a line, and so addresses in a bucket of the filter.
const WORDS: usize = 8;
/// Doublings of a table before its hashes are spread anew.
const DOUBLINGS: u32 = 2;

/// What of the tables of the generation in force stays: the root that has it.
#[derive(Clone, Copy, Default)]
pub(super) struct Kept {
    pub(super) filter: Option<RootLine>,
    pub(super) filter6: Option<RootLine>,
    pub(super) services: Option<RootLine>,
}

/// What the hash tables are made of.
pub(super) struct Hashes<'a> {
    pub(super) config: &'a Config,
    pub(super) concerns: &'a dyn Fn() -> &'a Concerns,
    pub(super) blocks: &'a BTreeMap<u32, Extent>,
}

/// Hash tables as lines; nothing of those that stay.
pub(super) struct HashTables {
    pub(super) filter: Vec<[u64; WORDS]>,
    pub(super) filter6: Vec<[u64; WORDS]>,
    pub(super) services: Vec<[u64; WORDS]>,
}

impl Hashes<'_> {
    /// The tables that do not stay, spread by `seed`. `None`: it does not spread one of them well enough.
    pub(super) fn tables(&self, kept: &Kept, seed: u64) -> Option<HashTables> {
        let new = |is_kept: bool, table: &dyn Fn() -> Option<Vec<[u64; WORDS]>>| match is_kept {
            true => Some(Vec::new()),
            false => table(),
        };
        Some(HashTables {
            filter: new(kept.filter.is_some(), &|| {
                filter_table(&(self.concerns)().v4, seed)
            })?,
            filter6: new(kept.filter6.is_some(), &|| {
                filter6_table(&(self.concerns)().v6, seed)
            })?,
            services: new(kept.services.is_some(), &|| {
                service_table(self.config, self.blocks, seed)
            })?,
        })
    }
}

fn filter_table(concerns: &BTreeMap<u32, Concern>, seed: u64) -> Option<Vec<[u64; WORDS]>> {
    let words: Vec<(u32, u64)> = concerns
        .iter()
        .map(|(address, concern)| (*address, filter_word(*address, *concern)))
        .collect();
    let first = |(address, _): (u32, u64), mask| filter_bucket(address, seed, mask);
    let table = doubled(&words, WORDS, FILTER_PROBES, first)?;
    let lines = table
        .iter()
        .map(|bucket| line_of(bucket.map(|(_, word)| word)));
    Some(lines.collect())
}

fn filter6_table(concerns: &BTreeMap<[u64; 2], Concern>, seed: u64) -> Option<Vec<[u64; WORDS]>> {
    let addresses: Vec<([u64; 2], Concern)> = concerns
        .iter()
        .map(|(address, concern)| (*address, *concern))
        .collect();
    let first = |(address, _): ([u64; 2], Concern), mask| filter6_bucket(address, seed, mask);
    let table = doubled(&addresses, FILTER6_SLOTS, FILTER_PROBES, first)?;
    let lines = table
        .iter()
        .map(|bucket| filter6_line(&bucket.collect::<Vec<_>>()));
    Some(lines.collect())
}

/// The table of services, and of servers' ends. `None` also where two have the same key, which another seed tells apart.
fn service_table(
    config: &Config,
    blocks: &BTreeMap<u32, Extent>,
    seed: u64,
) -> Option<Vec<[u64; WORDS]>> {
    let services = config
        .services
        .iter()
        .filter_map(|(id, service)| Some((table_key(&service.key, seed)?, blocks.get(id)?.first)));
    let servers = listed_servers(config, blocks)
        .into_iter()
        .map(|(end, line)| (server_key(&end, seed), line));
    let slots: Vec<_> = services.chain(servers).collect();
    let mut words: Vec<u64> = slots.iter().map(|(key, _)| key.word()).collect();
    words.sort_unstable();
    if words.windows(2).any(|pair| pair[0] == pair[1]) {
        return None;
    }
    let first = |(key, _), mask| service_bucket(key, seed, mask);
    let table = doubled(&slots, SERVICE_SLOTS, SERVICE_PROBES, first)?;
    let words = |(key, block): (lvsx_core::generation::ServiceKey, u32)| [key.word(), block.into()];
    let lines = table.iter().map(|bucket| line_of(bucket.flat_map(words)));
    Some(lines.collect())
}

/// Whether packets look for the ends of real servers.
pub(super) fn lists_servers(config: &Config) -> bool {
    config.values.settings().nat_icmp_send
}

/// The ends of masqueraded destinations and the line of one that has it, while packets look for them.
fn listed_servers(config: &Config, blocks: &BTreeMap<u32, Extent>) -> BTreeMap<ServerEnd, u32> {
    let mut listed = BTreeMap::new();
    if !lists_servers(config) {
        return listed;
    }
    for (id, service) in &config.services {
        let Some(block) = blocks.get(id) else {
            continue;
        };
        for (line, destination) in (block.first + 1..).zip(&service.destinations) {
            if destination.settings.method == ForwardingMethod::Masquerade {
                let end = ServerEnd::of(&service.key, &destination.key);
                listed.entry(end).or_insert(line);
            }
        }
    }
    listed
}

/// `keys` laid out in as few buckets as will do; `first` says a key's first bucket in a table of so many less one.
fn doubled<K: Copy>(
    keys: &[K],
    slots: usize,
    probes: u32,
    first: impl Fn(K, u32) -> u32,
) -> Option<Buckets<K>> {
    let least = buckets_for(keys.len(), slots);
    (0..=DOUBLINGS).find_map(|doubling| {
        let buckets = least << doubling;
        lay_out(keys, buckets, slots, probes, |key| first(key, buckets - 1))
    })
}

fn line_of(words: impl Iterator<Item = u64>) -> [u64; WORDS] {
    let mut line = [0; WORDS];
    line.iter_mut()
        .zip(words)
        .for_each(|(slot, word)| *slot = word);
    line
}
