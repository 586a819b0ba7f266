//! Writing the lines of the next generation beside those of the present one.

use super::arena::{Extent, Place};
use super::hashes::{Hashes, Kept, lists_servers};
use super::lines::{destination_line, identity_line, mark_line, prefix_words, service_line};
use super::slots::slot_lines;
use super::{Generation, Generations, NOTHING};
use crate::concerns::{Concerned, Concerns};
use crate::config::{Config, Removed, ServiceConfig};
use crate::tables::Tables;
use lvsx_core::generation::{
    Details, Kinds, PREFIX_LINES, ROOT_LINES, RootLine, Run, Table, prefix_lines,
};
use lvsx_ipvs::{Family, Prefix};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Words of a line.
const WORDS: usize = 8;
/// Destination ids in a line of availability bits.
const IDS_IN_A_LINE: u32 = 512;
/// Seeds tried before a table is called impossible.
const SEEDS: u64 = 64;

/// What becomes of the parts of the present generation that the next one could share, beside the services' blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// They stay where they are.
    Kept,
    /// They are written once more.
    Anew,
}

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
    /// Writes the generation after the present one; what concerns the director is to be put in. `None`: it does not fit, and no line
    /// is taken.
    pub(super) fn write(
        &mut self,
        tables: &Tables,
        config: &Config,
        concerned: &Concerned,
        parts: Parts,
    ) -> Option<Generation> {
        let mut draft = Draft {
            tables,
            arena: &mut self.arena,
            taken: Vec::new(),
        };
        let next = next(&mut draft, self.present.as_ref(), config, concerned, parts);
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
    concerned: &Concerned,
    parts: Parts,
) -> Option<Generation> {
    let shared = present.filter(|_| parts == Parts::Kept);
    let touched = touched(present.map(|present| &present.config), config);
    let mut blocks = present.map_or_else(BTreeMap::new, |present| present.blocks.clone());
    for id in &touched {
        match config.services.get(id) {
            Some(service) => {
                let block = draft.put_at(&block(*id, service), Place::Front)?;
                blocks.insert(*id, block);
            }
            None => {
                blocks.remove(id);
            }
        }
    }

    let additions = shared.and_then(|present| present.grown_filter(draft.tables, concerned));
    let root_if = |is_kept| shared.filter(|_| is_kept).map(|present| present.root);
    let kept = Kept {
        filter: root_if(additions.is_some()),
        filter6: root_if(present.is_some_and(|it| concerned.keeps_v6(&it.concerns))),
        services: root_if(present.is_some_and(|present| {
            touched.is_empty() && lists_servers(&present.config) == lists_servers(config)
        })),
    };
    let seed = present.map_or(0, |present| present.root.seed);
    let before = present.map(|present| &present.concerns);
    // Put together only where a filter is written anew.
    let whole = OnceCell::new();
    let concerns = || -> &Concerns { whole.get_or_init(|| concerned.after(before)) };
    let hashes = Hashes {
        config,
        concerns: &concerns,
        blocks: &blocks,
    };
    let (seed, tables, kept) = match hashes.tables(&kept, seed) {
        Some(tables) => (seed, tables, kept),
        // What one seed does not spread well enough another does, and then nothing is where it was.
        None => (1..SEEDS).find_map(|attempt| {
            let seed = seed.wrapping_add(attempt);
            let tables = hashes.tables(&Kept::default(), seed)?;
            Some((seed, tables, Kept::default()))
        })?,
    };
    let filter = match kept.filter {
        Some(root) => root.filter,
        None => draft.put_table(&tables.filter)?,
    };
    let filter6 = match kept.filter6 {
        Some(root) => root.filter6,
        // Not none where there are prefixes: it is what says that IPv6 is served.
        None if !concerns().has_v6() => Table::default(),
        None => draft.put_table(&tables.filter6)?,
    };
    let services = match kept.services {
        Some(root) => root.services,
        None => draft.put_table(&tables.services)?,
    };

    let available = match shared {
        Some(present) if touched.is_empty() => present.available(),
        _ => {
            let then = present.map_or_else(Vec::new, |present| bits_of(draft.tables, present));
            let now = availability(then.clone(), present, config, &touched);
            match shared {
                Some(present) if now == then => present.available(),
                _ => draft.put(&now)?,
            }
        }
    };
    let trash = match shared {
        Some(present) if Arc::ptr_eq(&present.config.trash, &config.trash) => present.trash,
        _ if config.trash.is_empty() => NOTHING,
        _ => draft.put(&trash_block(&config.trash))?,
    };
    let marks = match shared {
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

    let whole_prefixes = match (concerned, before) {
        (Concerned::More(_), Some(before)) => &before.prefixes,
        _ => &concerns().prefixes,
    };
    let prefixes = match shared {
        Some(present) if present.concerns.prefixes == *whole_prefixes => present.prefixes,
        _ if whole_prefixes.is_empty() => NOTHING,
        _ => draft.put(&prefix_block(whole_prefixes))?,
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
            prefixes: !whole_prefixes.is_empty(),
            ..config.kinds()
        },
    };
    let details = Details {
        marks: Run {
            first: marks.first,
            count: config.marks.len() as u32,
        },
        icmp: config.icmp,
        paths: config.paths,
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
    // Nothing can fail any more.
    if kept.filter.is_some() {
        let additions = additions.iter().flatten();
        additions.for_each(|addition| addition.put(draft.tables));
    }
    let number = present.map_or(0, |present| present.number).wrapping_add(1);
    Some(Generation {
        number,
        root,
        line,
        config: config.clone(),
        concerns: Concerns::default(),
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

/// The availability bits of a generation.
fn bits_of(tables: &Tables, present: &Generation) -> Vec<[u64; WORDS]> {
    let extent = present.available();
    let lines = tables.config[extent.first as usize..].iter();
    lines
        .take(extent.lines as usize)
        .map(|line| std::array::from_fn(|word| line[word].peek()))
        .collect()
}

/// One bit a destination id that belongs to a service: `lines` as they were, with what touched services had and have.
fn availability(
    mut lines: Vec<[u64; WORDS]>,
    present: Option<&Generation>,
    config: &Config,
    touched: &[u32],
) -> Vec<[u64; WORDS]> {
    let had = |id| present.and_then(|present| present.config.services.get(id));
    let place = |id: u32| ((id / IDS_IN_A_LINE) as usize, (id / 64) as usize % WORDS);
    for destination in touched
        .iter()
        .filter_map(had)
        .flat_map(|it| &it.destinations)
    {
        let (line, word) = place(destination.id);
        if let Some(line) = lines.get_mut(line) {
            line[word] &= !(1 << (destination.id % 64));
        }
    }
    let has = |id| config.services.get(id);
    for destination in touched
        .iter()
        .filter_map(has)
        .flat_map(|it| &it.destinations)
    {
        let (line, word) = place(destination.id);
        if line >= lines.len() {
            lines.resize(line + 1, [0; WORDS]);
        }
        lines[line][word] |= 1 << (destination.id % 64);
    }
    lines
}

/// Lines that `next` has to be given at the least: its root, and those of its blocks and of its trash that `present` does not have.
pub(super) fn least_lines(present: &Config, next: &Config) -> u32 {
    let touched = touched(Some(present), next);
    let blocks = touched.iter().filter_map(|id| next.services.get(id));
    let lines: usize = blocks.map(|service| 1 + service.destinations.len()).sum();
    let trash = if Arc::ptr_eq(&present.trash, &next.trash) {
        0
    } else {
        2 * next.trash.len()
    };
    u32::try_from(lines + trash).map_or(u32::MAX, |lines| lines.saturating_add(ROOT_LINES))
}

/// Services that are new, gone, or not as they were.
fn touched(present: Option<&Config>, next: &Config) -> Vec<u32> {
    let mut then = present.into_iter().flat_map(|it| &it.services).peekable();
    let mut touched = Vec::new();
    for (id, service) in &next.services {
        while let Some((gone, _)) = then.next_if(|(other, _)| *other < id) {
            touched.push(*gone);
        }
        match then.next_if(|(other, _)| *other == id) {
            Some((_, old)) if Arc::ptr_eq(old, service) => {}
            _ => touched.push(*id),
        }
    }
    touched.extend(then.map(|(id, _)| *id));
    touched
}
