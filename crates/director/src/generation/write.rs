//! Writing the lines of the next generation beside those of the present one.

use super::arena::{Extent, Place};
use super::buckets::{buckets_for, lay_out};
use super::lines::{
    ServerEnd, destination_line, identity_line, mark_line, prefix_words, server_key, service_line,
    table_key,
};
use super::slots::slot_lines;
use super::{Generation, Generations, NOTHING};
use crate::concerns::Concerns;
use crate::config::{Config, Removed, ServiceConfig};
use crate::tables::Tables;
use lvsx_core::generation::{
    Concern, Details, FILTER_PROBES, FILTER6_SLOTS, Kinds, PREFIX_LINES, ROOT_LINES, RootLine, Run,
    SERVICE_PROBES, SERVICE_SLOTS, Table, filter_bucket, filter_word, filter6_bucket, filter6_line,
    prefix_lines, service_bucket,
};
use lvsx_ipvs::{Family, ForwardingMethod, Prefix};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Words of a line, and so addresses in a bucket of the filter.
const WORDS: usize = 8;
/// Destination ids in a line of availability bits.
const IDS_IN_A_LINE: u32 = 512;
/// Doublings of a table before its hashes are spread anew.
const DOUBLINGS: u32 = 2;
/// Seeds tried before a table is called impossible.
const SEEDS: u64 = 64;

/// Lines being written; taken back as a whole if anything does not fit.
struct Draft<'a> {
    tables: &'a Tables,
    arena: &'a mut super::Arena,
    taken: Vec<Extent>,
}

impl Draft<'_> {
    /// Writes what is replaced by most changes.
    fn put(&mut self, lines: &[[u64; WORDS]]) -> Option<Extent> {
        self.put_at(lines, Place::Back)
    }

    fn put_at(&mut self, lines: &[[u64; WORDS]], place: Place) -> Option<Extent> {
        let extent = self.arena.take(lines.len() as u32, place)?;
        self.taken.push(extent);
        for (line, words) in self.tables.config[extent.first as usize..]
            .iter()
            .zip(lines)
        {
            line.iter()
                .zip(words)
                .for_each(|(word, value)| word.poke(*value));
        }
        Some(extent)
    }

    fn put_table(&mut self, lines: &[[u64; WORDS]]) -> Option<Table> {
        let extent = self.put(lines)?;
        Some(Table {
            base: extent.first,
            mask: extent.lines - 1,
        })
    }
}

impl Generations {
    /// Writes the generation after the present one. `None`: it does not fit, and no line is taken.
    pub(super) fn write(
        &mut self,
        tables: &Tables,
        config: &Config,
        concerns: &Concerns,
    ) -> Option<Generation> {
        let mut draft = Draft {
            tables,
            arena: &mut self.arena,
            taken: Vec::new(),
        };
        let next = next(&mut draft, self.present.as_ref(), config, concerns);
        if next.is_none() {
            let taken = std::mem::take(&mut draft.taken);
            taken
                .into_iter()
                .for_each(|extent| self.arena.give_back(extent));
        }
        next
    }
}

fn next(
    draft: &mut Draft<'_>,
    present: Option<&Generation>,
    config: &Config,
    concerns: &Concerns,
) -> Option<Generation> {
    let mut blocks = BTreeMap::new();
    for (id, service) in &config.services {
        let block = match present.and_then(|present| present.block_of(*id, service)) {
            Some(block) => block,
            None => draft.put_at(&block(*id, service), Place::Front)?,
        };
        blocks.insert(*id, block);
    }

    let seed = present.map_or(0, |present| present.root.seed);
    let keep_services = present.filter(|present| {
        present.blocks == blocks && lists_servers(&present.config) == lists_servers(config)
    });
    let keep_filter = present.filter(|present| present.concerns.v4 == concerns.v4);
    let keep_filter6 = present.filter(|present| {
        let then = &present.concerns;
        then.v6 == concerns.v6 && then.has_v6() == concerns.has_v6()
    });
    let (seed, filter, filter6, services) = match (keep_filter, keep_filter6, keep_services) {
        (Some(present), Some(_), Some(_)) => {
            let root = present.root;
            (seed, root.filter, root.filter6, root.services)
        }
        _ => {
            let tables = hash_tables(config, concerns, &blocks, seed)?;
            let kept = |kept: Option<&Generation>| {
                kept.filter(|_| tables.seed == seed)
                    .map(|present| present.root)
            };
            let filter = match kept(keep_filter) {
                Some(root) => root.filter,
                None => draft.put_table(&tables.filter)?,
            };
            let filter6 = match kept(keep_filter6) {
                Some(root) => root.filter6,
                // Not none where there are prefixes: it is what says that IPv6 is served.
                None if !concerns.has_v6() => Table::default(),
                None => draft.put_table(&tables.filter6)?,
            };
            let services = match kept(keep_services) {
                Some(root) => root.services,
                None => draft.put_table(&tables.services)?,
            };
            (tables.seed, filter, filter6, services)
        }
    };

    let keep_available =
        present.filter(|present| present.config.available().eq(config.available()));
    let available = match keep_available {
        Some(present) => present.available(),
        None => draft.put(&availability(config))?,
    };
    let trash = match present {
        Some(present) if Arc::ptr_eq(&present.config.trash, &config.trash) => present.trash,
        _ if config.trash.is_empty() => NOTHING,
        _ => draft.put(&trash_block(&config.trash))?,
    };
    let marks = match present {
        Some(present) if Arc::ptr_eq(&present.config.marks, &config.marks) => present.marks,
        _ if config.marks.is_empty() => NOTHING,
        _ => {
            let rules = config
                .marks
                .iter()
                .flat_map(|rule| mark_line(rule).encode());
            draft.put(&rules.collect::<Vec<_>>())?
        }
    };

    let prefixes = match present {
        Some(present) if present.concerns.prefixes == concerns.prefixes => present.prefixes,
        _ if concerns.prefixes.is_empty() => NOTHING,
        _ => draft.put(&prefix_block(&concerns.prefixes))?,
    };

    let line = draft.put(&[[0; WORDS]; ROOT_LINES as usize])?;
    let root = RootLine {
        filter,
        filter6,
        services,
        available: available.first,
        available_lines: available.lines,
        settings: config.values.settings(),
        seed,
        timeouts: line.first + 1,
        trash: trash.first,
        services_count: config.services.len() as u32,
        kinds: Kinds {
            prefixes: !concerns.prefixes.is_empty(),
            ..config.kinds()
        },
    };
    let details = Details {
        marks: Run {
            first: marks.first,
            count: config.marks.len() as u32,
        },
        icmp: config.icmp,
        prefixes: prefixes.first,
        values: config.values,
    };
    let first = root.encode(line.first, &config.timeouts);
    for (line, words) in draft.tables.config[line.first as usize..]
        .iter()
        .zip(first.into_iter().chain(details.encode()))
    {
        line.iter()
            .zip(words)
            .for_each(|(word, value)| word.poke(value));
    }
    let number = present.map_or(0, |present| present.number).wrapping_add(1);
    Some(Generation {
        number,
        root,
        line,
        config: config.clone(),
        concerns: concerns.clone(),
        blocks,
        trash,
        marks,
        prefixes,
    })
}

/// The lines of prefixes that are virtual as a whole.
fn prefix_block(prefixes: &BTreeSet<Prefix>) -> [[u64; WORDS]; PREFIX_LINES as usize] {
    let of = |family| {
        let are = prefixes.iter().filter(move |it| it.family() == family);
        are.map(|it| prefix_words(*it)).collect::<Vec<_>>()
    };
    prefix_lines(&of(Family::V4), &of(Family::V6))
}

/// A service's block: head, then destinations, newest first, then its hash table.
fn block(id: u32, service: &ServiceConfig) -> Vec<[u64; WORDS]> {
    let head = service_line(id, service).encode();
    let destinations = service
        .destinations
        .iter()
        .map(|destination| destination_line(id, destination).encode());
    std::iter::once(head)
        .chain(destinations)
        .chain(slot_lines(service))
        .collect()
}

/// The trash: a block whose head counts the destinations, their lines, and behind them for each the identity of the
/// service it belonged to, which is for the director alone.
fn trash_block(trash: &[Removed]) -> Vec<[u64; WORDS]> {
    let none = lvsx_ipvs::ServiceKey::Mark {
        family: lvsx_ipvs::Family::V4,
        mark: 0,
    };
    let mut head = identity_line(0, &none);
    head.destinations = trash.len() as u32;
    let destinations = trash
        .iter()
        .map(|removed| destination_line(removed.service_id, &removed.destination).encode());
    let services = trash
        .iter()
        .map(|removed| identity_line(removed.service_id, &removed.service).encode());
    std::iter::once(head.encode())
        .chain(destinations)
        .chain(services)
        .collect()
}

/// One bit a destination id that belongs to a service.
fn availability(config: &Config) -> Vec<[u64; WORDS]> {
    let mut lines = Vec::new();
    for id in config.available() {
        let line = (id / IDS_IN_A_LINE) as usize;
        if line >= lines.len() {
            lines.resize(line + 1, [0u64; WORDS]);
        }
        lines[line][(id / 64) as usize % WORDS] |= 1 << (id % 64);
    }
    lines
}

/// The tables that a seed spreads, as lines.
struct HashTables {
    seed: u64,
    filter: Vec<[u64; WORDS]>,
    filter6: Vec<[u64; WORDS]>,
    services: Vec<[u64; WORDS]>,
}

/// The filters and the service table for one seed: `seed` if it does, else the next one that does.
fn hash_tables(
    config: &Config,
    concerns: &Concerns,
    blocks: &BTreeMap<u32, Extent>,
    seed: u64,
) -> Option<HashTables> {
    (0..SEEDS).find_map(|attempt| {
        let seed = seed.wrapping_add(attempt);
        Some(HashTables {
            seed,
            filter: filter_table(&concerns.v4, seed)?,
            filter6: filter6_table(&concerns.v6, seed)?,
            services: service_table(config, blocks, seed)?,
        })
    })
}

fn filter_table(concerns: &BTreeMap<u32, Concern>, seed: u64) -> Option<Vec<[u64; WORDS]>> {
    let words: Vec<(u32, u64)> = concerns
        .iter()
        .map(|(address, concern)| (*address, filter_word(*address, *concern)))
        .collect();
    let first = |(address, _): (u32, u64), mask| filter_bucket(address, seed, mask);
    let table = doubled(&words, WORDS, FILTER_PROBES, first)?;
    let line = |bucket: &Vec<(u32, u64)>| line_of(bucket.iter().map(|(_, word)| *word));
    Some(table.iter().map(line).collect())
}

fn filter6_table(concerns: &BTreeMap<[u64; 2], Concern>, seed: u64) -> Option<Vec<[u64; WORDS]>> {
    let addresses: Vec<([u64; 2], Concern)> = concerns
        .iter()
        .map(|(address, concern)| (*address, *concern))
        .collect();
    let first = |(address, _): ([u64; 2], Concern), mask| filter6_bucket(address, seed, mask);
    let table = doubled(&addresses, FILTER6_SLOTS, FILTER_PROBES, first)?;
    Some(table.iter().map(|bucket| filter6_line(bucket)).collect())
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
    let distinct: BTreeSet<u64> = slots.iter().map(|(key, _)| key.word()).collect();
    if distinct.len() != slots.len() {
        return None;
    }
    let first = |(key, _), mask| service_bucket(key, seed, mask);
    let table = doubled(&slots, SERVICE_SLOTS, SERVICE_PROBES, first)?;
    let line = |bucket: &Vec<(lvsx_core::generation::ServiceKey, u32)>| {
        line_of(
            bucket
                .iter()
                .flat_map(|(key, block)| [key.word(), u64::from(*block)]),
        )
    };
    Some(table.iter().map(line).collect())
}

/// Whether packets look for the ends of real servers.
fn lists_servers(config: &Config) -> bool {
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
) -> Option<Vec<Vec<K>>> {
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
