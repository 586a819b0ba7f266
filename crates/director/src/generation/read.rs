//! Finding the generation in force again: what a director that starts beside living programs reads back.

use super::arena::{Arena, Extent};
use super::lines::{destination_config, marked, prefix, removed, service_config};
use super::slots::slot_line_count;
use super::{Generation, Generations, NOTHING, Readers, extent};
use crate::concerns::Concerns;
use crate::config::{Config, DestinationConfig, Marked, Removed, ServiceConfig};
use crate::tables::Tables;
use lvsx_core::env::state;
use lvsx_core::generation::{
    Concern, DestinationLine, Details, MARK_RULE_LINES, MOST_MARK_RULES, MarkRule, NO_GENERATION,
    PREFIX_LINES, ROOT_LINES, RootLine, Run, SERVICE_SLOTS, ServiceKey, ServiceLine, TIMEOUTS,
    filter_word,
};
use lvsx_ipvs::{Family, Prefix};
use lvsx_platform::Line;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The generation in force contradicts itself: not written by this director, or overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the generation in force is damaged: {0}")]
pub struct Damaged(&'static str);

impl Generations {
    /// The generation in force, read back, with the book of the lines it takes.
    ///
    /// # Errors
    /// The lines contradict each other.
    pub fn in_force(tables: &Tables, readers: Readers) -> Result<Self, Damaged> {
        let word = tables.state[state::READ as usize][state::ROOT].load();
        let mut generations = Self::none(tables, readers);
        if word == NO_GENERATION {
            return Ok(generations);
        }
        let present = Reader {
            tables,
            arena: &mut generations.arena,
        }
        .generation(word)?;
        generations.present = Some(present);
        generations.name_services();
        Ok(generations)
    }
}

struct Reader<'a> {
    tables: &'a Tables,
    arena: &'a mut Arena,
}

impl<'a> Reader<'a> {
    /// The lines of `extent`, which become the generation's.
    fn claim(&mut self, extent: Extent, what: &'static str) -> Result<&'a [Line], Damaged> {
        if !self.arena.claim(extent) {
            return Err(Damaged(what));
        }
        let first = extent.first as usize;
        self.tables
            .config
            .get(first..first + extent.lines as usize)
            .ok_or(Damaged(what))
    }

    fn generation(mut self, word: u64) -> Result<Generation, Damaged> {
        let line = Extent {
            first: word as u32,
            lines: ROOT_LINES,
        };
        let lines = self.claim(line, "its root lies outside the arena")?;
        let root = RootLine::decode(&lines[0]);
        if root.timeouts != line.first + 1 {
            return Err(Damaged("its timeouts are not with its root"));
        }
        let filter = self.claim(
            extent(root.filter),
            "its filter lies outside the arena, or on other lines",
        )?;
        let filter6: &[Line] = match root.filter6.base {
            0 => &[],
            _ => self.claim(
                extent(root.filter6),
                "its IPv6 filter lies outside the arena, or on other lines",
            )?,
        };
        let available = Extent {
            first: root.available,
            lines: root.available_lines,
        };
        if available.lines > 0 {
            self.claim(
                available,
                "its availability bits lie outside the arena, or on other lines",
            )?;
        }
        let (services, blocks) = self.services(&root)?;
        let (removed, trash) = self.trash(root.trash)?;
        let details = Details::decode(&lines[2..]).ok_or(Damaged("it has no details"))?;
        let (rules, marks) = self.marks(details.marks)?;
        let (whole, prefixes) = self.prefixes(details.prefixes)?;
        let config = Config {
            services,
            trash: Arc::new(removed),
            values: details.values,
            marks: Arc::new(rules),
            icmp: details.icmp,
            paths: details.paths,
            timeouts: timeouts(&lines[1]),
        };
        let ids: BTreeSet<u32> = config.used_destinations();
        let count = config.available().count() + config.trash.len();
        if ids.len() != count
            || ids
                .last()
                .is_some_and(|id| *id >= self.tables.capacity.destinations)
        {
            return Err(Damaged(
                "two destinations share an id, or one is out of range",
            ));
        }
        let number = (word >> 32) as u32;
        Ok(Generation {
            number,
            root,
            line,
            config,
            concerns: Concerns {
                v4: concerns(filter),
                v6: filter6.iter().flat_map(RootLine::in_filter6).collect(),
                prefixes: whole,
            },
            blocks,
            trash,
            marks,
            prefixes,
        })
    }

    #[allow(
        clippy::type_complexity,
        reason = "services and where they lie, both by id"
    )]
    fn services(
        &mut self,
        root: &RootLine,
    ) -> Result<(BTreeMap<u32, Arc<ServiceConfig>>, BTreeMap<u32, Extent>), Damaged> {
        let table = self.claim(
            extent(root.services),
            "its service table lies outside the arena, or on other lines",
        )?;
        let (mut services, mut blocks) = (BTreeMap::new(), BTreeMap::new());
        let slots = table.iter().flat_map(|line| {
            (0..SERVICE_SLOTS).map(move |slot| (&line[slot * 2], &line[slot * 2 + 1]))
        });
        let is_service = |key: u64| key != 0 && !ServiceKey::is_server(key);
        for (_, block) in slots.filter(|(key, _)| is_service(key.peek())) {
            let (head, extent) = self.block(block.peek() as u32)?;
            if head.slot_lines != slot_line_count(head.scheduler) {
                return Err(Damaged("a hash table is not its scheduler's"));
            }
            let mut service =
                service_config(&head).ok_or(Damaged("a service of no known address family"))?;
            service.destinations = self.destinations(extent.first + 1, head.destinations)?;
            if head.id >= self.tables.capacity.services
                || services.insert(head.id, Arc::new(service)).is_some()
            {
                return Err(Damaged("two services share an id, or one is out of range"));
            }
            blocks.insert(head.id, extent);
        }
        Ok((services, blocks))
    }

    /// The head line at `first`, and the block it begins.
    fn block(&mut self, first: u32) -> Result<(ServiceLine, Extent), Damaged> {
        let line = self
            .tables
            .config
            .get(first as usize)
            .ok_or(Damaged("a block lies outside the arena"))?;
        let head = ServiceLine::decode(line);
        let lines = head
            .destinations
            .checked_add(1)
            .and_then(|lines| lines.checked_add(head.slot_lines))
            .ok_or(Damaged("a block has no end"))?;
        let extent = Extent { first, lines };
        self.claim(extent, "a block lies outside the arena, or on other lines")?;
        Ok((head, extent))
    }

    fn destinations(&self, first: u32, count: u32) -> Result<Vec<DestinationConfig>, Damaged> {
        (first..first + count)
            .map(|line| {
                let line = DestinationLine::decode(&self.tables.config[line as usize]);
                destination_config(&line).ok_or(Damaged("a destination of no known address family"))
            })
            .collect()
    }

    fn trash(&mut self, first: u32) -> Result<(Vec<Removed>, Extent), Damaged> {
        if first == 0 {
            return Ok((Vec::new(), NOTHING));
        }
        let (head, block) = self.block(first)?;
        if head.slot_lines != 0 {
            return Err(Damaged("the trash has a hash table"));
        }
        let services = Extent {
            first: first + block.lines,
            lines: head.destinations,
        };
        let services = self.claim(
            services,
            "the trash lies outside the arena, or on other lines",
        )?;
        let destinations = &self.tables.config[first as usize + 1..];
        let entries = destinations
            .iter()
            .zip(services)
            .map(|(destination, service)| {
                let (destination, service) = (
                    DestinationLine::decode(destination),
                    ServiceLine::decode(service),
                );
                removed(&destination, &service)
                    .ok_or(Damaged("something in the trash of no known address family"))
            });
        let entries = entries.collect::<Result<_, _>>()?;
        Ok((
            entries,
            Extent {
                first,
                lines: block.lines + head.destinations,
            },
        ))
    }

    fn prefixes(&mut self, first: u32) -> Result<(BTreeSet<Prefix>, Extent), Damaged> {
        if first == 0 {
            return Ok((BTreeSet::new(), NOTHING));
        }
        let extent = Extent {
            first,
            lines: PREFIX_LINES,
        };
        let lines = self.claim(
            extent,
            "its prefixes lie outside the arena, or on other lines",
        )?;
        let (v4, v6) = lines.split_at(lines.len() / 2);
        let of = |family, lines: &'a [Line]| {
            let words = lines.iter().flat_map(RootLine::in_prefix_line);
            words.map(move |words| prefix(family, words).ok_or(Damaged("a prefix that is none")))
        };
        let prefixes = of(Family::V4, v4).chain(of(Family::V6, v6));
        Ok((prefixes.collect::<Result<_, _>>()?, extent))
    }

    fn marks(&mut self, run: Run) -> Result<(Vec<Marked>, Extent), Damaged> {
        if run.count == 0 {
            return Ok((Vec::new(), NOTHING));
        }
        if run.count > MOST_MARK_RULES {
            return Err(Damaged("more mark rules than there can be"));
        }
        let extent = Extent {
            first: run.first,
            lines: run.count * MARK_RULE_LINES,
        };
        let lines = self.claim(
            extent,
            "its mark rules lie outside the arena, or on other lines",
        )?;
        let rules = lines.chunks_exact(MARK_RULE_LINES as usize).map(|pair| {
            marked(&MarkRule::decode(&pair[0], &pair[1]))
                .ok_or(Damaged("a mark rule that contradicts itself"))
        });
        Ok((rules.collect::<Result<_, _>>()?, extent))
    }
}

fn timeouts(line: &Line) -> [u32; TIMEOUTS] {
    let mut timeouts = [0; TIMEOUTS];
    for (pair, word) in timeouts.chunks_exact_mut(2).zip(line) {
        pair.copy_from_slice(&[word.peek() as u32, (word.peek() >> 32) as u32]);
    }
    timeouts
}

/// What the filter's words say.
fn concerns(filter: &[Line]) -> BTreeMap<u32, Concern> {
    let kinds = [0, 1, 2, 3, 4, 5, 6, 7].map(|bits| Concern {
        is_virtual: bits & 1 != 0,
        is_server: bits & 2 != 0,
        is_local: bits & 4 != 0,
    });
    let words = filter
        .iter()
        .flatten()
        .map(lvsx_platform::Word::peek)
        .filter(|word| *word != 0);
    words
        .filter_map(|word| {
            let address = word as u32;
            let concern = kinds
                .into_iter()
                .find(|concern| filter_word(address, *concern) == word)?;
            Some((address, concern))
        })
        .collect()
}
