//! Generations: writing a configuration into the arena, putting it in force, finding it again after a restart.
//!
//! What a change does not touch keeps its lines: a service's block moves only when the service changed, the address
//! filter only when addresses went (those that come are added in place, see `grow`). New lines are written beside those in force; then one word moves every packet that
//! begins from now on to the new root. What only the old root reached is put aside and used again after a grace period.

pub mod arena;
mod buckets;
mod grow;
mod hashes;
mod lines;
mod read;
mod slots;
mod write;

pub use lines::{address, raw_address, raw_address6, raw_words, table_key};
pub use read::Damaged;

use crate::concerns::{Concerned, Concerns};
use crate::config::{Config, ServiceConfig};
use crate::tables::Tables;
use arena::{Arena, Extent};
use lvsx_core::env::state;
use lvsx_core::generation::{RootLine, Table};
use lvsx_ipvs::ServiceKey;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use write::{Parts, least_lines};

/// The arena cannot hold the generation; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration does not fit into the arena of {lines} lines of 64 bytes")]
pub struct ArenaFull {
    /// Lines of the whole arena.
    pub lines: u32,
}

/// Who may still be reading a generation of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Programs of the kernel, on any CPU.
    Programs,
    /// Nobody but the caller: tables in plain memory.
    Nobody,
}

/// The generation in force, and the book of the arena's lines.
pub struct Generations {
    arena: Arena,
    readers: Readers,
    present: Option<Generation>,
    /// What is configured before the first generation: nothing.
    nothing: Config,
    /// Ids of the services in force.
    ids: HashMap<ServiceKey, u32>,
}

/// A generation: what it was written from, and where it lies.
#[derive(Clone)]
struct Generation {
    number: u32,
    root: RootLine,
    line: Extent,
    config: Config,
    concerns: Concerns,
    /// The service blocks, by service id.
    blocks: BTreeMap<u32, Extent>,
    trash: Extent,
    marks: Extent,
    prefixes: Extent,
}

impl Generation {
    fn filter(&self) -> Extent {
        extent(self.root.filter)
    }

    /// Nothing where no IPv6 address concerns the director.
    fn filter6(&self) -> Extent {
        if self.root.filter6.base == 0 {
            NOTHING
        } else {
            extent(self.root.filter6)
        }
    }

    fn services(&self) -> Extent {
        extent(self.root.services)
    }

    fn available(&self) -> Extent {
        Extent {
            first: self.root.available,
            lines: self.root.available_lines,
        }
    }

    /// What lies at the root, beside the services' blocks.
    fn parts(&self) -> [Extent; 8] {
        [
            self.line,
            self.filter(),
            self.filter6(),
            self.services(),
            self.available(),
            self.trash,
            self.marks,
            self.prefixes,
        ]
    }

    /// The lines of this generation that the next one does not reach.
    fn left_by(&self, next: &Self) -> Vec<Extent> {
        let parts = next.parts();
        let mut left: Vec<Extent> = self.parts().into_iter().collect();
        left.retain(|extent| !parts.contains(extent));
        let mut blocks = next.blocks.iter().peekable();
        for (id, extent) in &self.blocks {
            while blocks.next_if(|(other, _)| *other < id).is_some() {}
            if blocks.next_if(|it| *it == (id, extent)).is_none() {
                left.push(*extent);
            }
        }
        left
    }
}

/// No line at all.
const NOTHING: Extent = Extent { first: 0, lines: 0 };

fn extent(table: Table) -> Extent {
    Extent {
        first: table.base,
        lines: table.mask.saturating_add(1),
    }
}

impl Generations {
    /// The book of an arena in which nothing is in force.
    #[must_use]
    pub fn none(tables: &Tables, readers: Readers) -> Self {
        Self {
            arena: Arena::new(tables.capacity.config),
            readers,
            present: None,
            nothing: Config::default(),
            ids: HashMap::new(),
        }
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.present
            .as_ref()
            .map_or(&self.nothing, |present| &present.config)
    }

    /// Id and configuration of the service in force that is called `key`. Costs the same however many there are.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<(u32, &Arc<ServiceConfig>)> {
        let id = *self.ids.get(key)?;
        Some((id, self.config().services.get(&id)?))
    }

    /// Destination ids from `first` on that belong to no service in force, ascending, without an end. Costs a word of the
    /// availability bits for 64 that do.
    pub fn untaken(&self, tables: &Tables, first: u32) -> impl Iterator<Item = u32> {
        let bits = self.present.as_ref().map_or(NOTHING, Generation::available);
        let lines = &tables.config[bits.first as usize..][..bits.lines as usize];
        let word = move |number: u32| match lines.get(number as usize / 8) {
            Some(line) => line[number as usize % 8].peek(),
            None => 0,
        };
        (first / 64..).flat_map(move |number| {
            let below = if number == first / 64 { first % 64 } else { 0 };
            let taken = word(number) | ((1u64 << below) - 1);
            let free =
                std::iter::successors(Some(!taken), |free| Some(free & free.wrapping_sub(1)));
            let free = free.take_while(|free| *free != 0);
            free.map(move |free| number * 64 + free.trailing_zeros())
        })
    }

    fn name_services(&mut self) {
        let services = self.present.iter().flat_map(|it| &it.config.services);
        self.ids = services.map(|(id, service)| (service.key, *id)).collect();
    }

    /// The addresses that concern the director.
    #[must_use]
    pub fn concerns(&self) -> Option<&Concerns> {
        self.present.as_ref().map(|present| &present.concerns)
    }

    /// Number of the generation in force; 0 before the first.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.present.as_ref().map_or(0, |present| present.number)
    }

    /// Puts `config` in force: from here on packets see it whole, those on their way the one before.
    ///
    /// # Errors
    /// The arena cannot hold it; the generation before stays in force.
    pub fn publish(
        &mut self,
        tables: &Tables,
        mut config: Config,
        concerned: impl Into<Concerned>,
    ) -> Result<(), ArenaFull> {
        let concerned = concerned.into();
        let next = match self.write_if_room(tables, &config, &concerned) {
            Some(next) => next,
            None => {
                self.close_ranks(tables, &mut config);
                self.write_if_room(tables, &config, &concerned)
                    .ok_or(ArenaFull {
                        lines: tables.capacity.config,
                    })?
            }
        };
        self.put_in_force(tables, next, concerned);
        Ok(())
    }

    /// [`write`](Self::write), after what generations of the past have is free if it has to be.
    fn write_if_room(
        &mut self,
        tables: &Tables,
        config: &Config,
        concerned: &Concerned,
    ) -> Option<Generation> {
        self.write(tables, config, concerned, Parts::Kept)
            .or_else(|| {
                self.wait_for_readers();
                self.write(tables, config, concerned, Parts::Kept)
            })
    }

    /// Puts blocks that lie far back into what is free in front, and all else to the back, where changes one by one have strewn them
    /// over the arena: all lines that are free may not be a run long enough for a large table. `next` is to share with the present
    /// what it shared. Not where `next` is too large by far.
    fn close_ranks(&mut self, tables: &Tables, next: &mut Config) {
        let Some(present) = &self.present else { return };
        if self.arena.free_lines() < least_lines(&present.config, next) {
            return;
        }
        let lines: u32 = present.blocks.values().map(|block| block.lines).sum();
        let is_far = |id| {
            let block = present.blocks.get(id);
            block.is_some_and(|block| block.first > lines)
        };
        let mut closed = present.config.clone();
        for (id, service) in closed.services.iter_mut().filter(|(id, _)| is_far(id)) {
            // A service that is another is written anew.
            let moved = Arc::new(ServiceConfig::clone(service));
            if let Some(same) = next.services.get_mut(id)
                && Arc::ptr_eq(same, service)
            {
                *same = Arc::clone(&moved);
            }
            *service = moved;
        }
        let concerned = Concerned::More(BTreeMap::new());
        if let Some(closed) = self.write(tables, &closed, &concerned, Parts::Anew) {
            self.put_in_force(tables, closed, concerned);
            self.wait_for_readers();
        }
    }

    fn put_in_force(&mut self, tables: &Tables, mut next: Generation, concerned: Concerned) {
        let word = u64::from(next.number) << 32 | u64::from(next.line.first);
        tables.state[state::READ as usize][state::ROOT].store(word);
        let mut past = self.present.take();
        next.concerns = match concerned {
            Concerned::Whole(concerns) => concerns,
            Concerned::More(more) => {
                let before = past.as_mut().map(|past| std::mem::take(&mut past.concerns));
                let mut concerns = before.unwrap_or_default();
                concerns.extend(&more);
                concerns
            }
        };
        self.present = Some(next);
        let has_names = past.as_ref().is_some_and(|past| {
            let [then, now] = [&past.config, self.config()].map(|config| {
                let services = config.services.iter();
                services.map(|(id, service)| (*id, service.key))
            });
            then.eq(now)
        });
        if !has_names {
            self.name_services();
        }
        if let (Some(past), Some(next)) = (past, &self.present) {
            let left = past.left_by(next);
            left.into_iter().for_each(|it| self.arena.retire(it));
        }
    }

    /// Waits until no packet can see a generation of the past, and frees its lines. Waiting takes some 20 ms, so it is done
    /// only when lines run out, for many generations at once.
    fn wait_for_readers(&mut self) {
        self.wait_for_past();
        self.arena.reclaim();
    }

    /// Waits until no packet can see a generation of the past.
    pub fn wait_for_past(&self) {
        if self.readers == Readers::Programs {
            crate::grace::wait();
        }
    }
}

#[cfg(test)]
mod tests;
