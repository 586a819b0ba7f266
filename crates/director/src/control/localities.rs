//! The timers of lblc and lblcr, which the kernel runs for each service every minute: what nobody asked for goes.
//!
//! While the director is dead nothing is swept; packets then take an entry for none half an hour after it expired, and a new
//! entry takes the place of the one used longest ago.

use crate::config::Config;
use crate::tables::Tables;
use lvsx_core::generation::{SchedulerKind, TIMEOUT_LBLC, TIMEOUT_LBLCR, live};
use lvsx_core::sched::cache::{ENTRIES, Seen};
use lvsx_core::sched::{fold4, fold6};
use lvsx_core::tick::{Tick, TickRate};
use lvsx_ipvs::Family;
use std::collections::{BTreeMap, BTreeSet};

/// Entries of a service beyond which it is full.
const MOST: usize = 16_384;
/// Runs of a service's timer from one full check to the next.
const FULL_CHECK_EVERY: u32 = 30;
/// Seconds of disuse after which a partial check drops an entry.
const IDLE: u32 = 360;
/// Buckets of the kernel's table, by number of bits.
const BUCKET_BITS: u32 = 10;

/// The timers.
#[derive(Debug, Default)]
pub(super) struct Localities {
    timers: BTreeMap<u32, Timer>,
}

/// A service's timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timer {
    /// Age of the cache it belongs to.
    age: u32,
    /// Runs since the last full check, plus one.
    runs: u32,
    /// The bucket that the last partial check ended with.
    rover: u32,
}

impl Localities {
    /// One run, due every minute.
    pub(super) fn run(&mut self, tables: &Tables, config: &Config, rate: TickRate, now: Tick) {
        let ages = ages(tables, config);
        self.timers
            .retain(|id, timer| ages.get(id) == Some(&timer.age));
        if ages.is_empty() {
            return;
        }
        let mut entries: BTreeMap<u32, Vec<Seen>> = BTreeMap::new();
        for seen in (0..ENTRIES).filter_map(|index| Seen::at(tables, index)) {
            if ages.get(&seen.service) == Some(&seen.age) {
                entries.entry(seen.service).or_default().push(seen);
            } else {
                // Of a service, or a scheduler, that is gone.
                seen.free(tables);
            }
        }
        for (id, age) in ages {
            let service = &config.services[&id];
            let number = match service.scheduler {
                SchedulerKind::Locality => TIMEOUT_LBLC,
                _ => TIMEOUT_LBLCR,
            };
            let timer = self.timers.entry(id).or_insert(Timer {
                age,
                runs: 1,
                rover: 0,
            });
            let table = Table {
                entries: entries.remove(&id).unwrap_or_default(),
                family: service.key.family(),
                expiration: config.timeouts[number],
                idle: rate.ticks(IDLE),
            };
            for seen in timer.due(&table, now) {
                seen.free(tables);
            }
        }
    }
}

/// Servers that some cache holds.
pub(super) fn servers(tables: &Tables, config: &Config) -> BTreeSet<u32> {
    let ages = ages(tables, config);
    if ages.is_empty() {
        return BTreeSet::new();
    }
    (0..ENTRIES)
        .filter_map(|index| Seen::at(tables, index))
        .filter(|seen| ages.get(&seen.service) == Some(&seen.age))
        .flat_map(|seen| seen.servers(tables))
        .collect()
}

/// Services with a cache, and its age.
fn ages(tables: &Tables, config: &Config) -> BTreeMap<u32, u32> {
    let cached = config
        .services
        .iter()
        .filter(|(_, service)| service.scheduler.has_cache());
    cached
        .map(|(id, _)| {
            let age = tables.services[*id as usize][live::service::CACHE_AGE].load();
            (*id, age as u32)
        })
        .collect()
}

/// A service's entries at one moment.
struct Table {
    entries: Vec<Seen>,
    family: Family,
    /// Ticks.
    expiration: u32,
    /// Ticks.
    idle: u32,
}

impl Table {
    /// The kernel's bucket of an entry.
    fn bucket(&self, seen: &Seen) -> u32 {
        let folded = match self.family {
            Family::V4 => fold4(seen.address[0] as u32),
            Family::V6 => fold6(seen.address),
        };
        folded.wrapping_mul(0x61C8_8647) >> (32 - BUCKET_BITS)
    }
}

impl Timer {
    /// What goes now (Linux 6.1): at every thirtieth run while the service is not full all that has expired; when it is full,
    /// what has been idle, bucket after bucket, until there is room for a while.
    fn due<'a>(&mut self, table: &'a Table, now: Tick) -> Vec<&'a Seen> {
        let idle = |seen: &Seen| now.left(seen.used()).max(0) as u32;
        if self.runs.is_multiple_of(FULL_CHECK_EVERY) {
            self.runs = 1;
            return table
                .entries
                .iter()
                .filter(|seen| idle(seen) >= table.expiration)
                .collect();
        }
        let count = table.entries.len();
        if count <= MOST {
            self.runs += 1;
            return Vec::new();
        }
        let goal = ((count - MOST) * 4 / 3).min(MOST / 2);
        let mut buckets: BTreeMap<u32, Vec<&Seen>> = BTreeMap::new();
        for seen in table.entries.iter().filter(|seen| idle(seen) >= table.idle) {
            buckets.entry(table.bucket(seen)).or_default().push(seen);
        }
        let mut due = Vec::new();
        for _ in 0..1 << BUCKET_BITS {
            self.rover = (self.rover + 1) % (1 << BUCKET_BITS);
            due.extend(buckets.remove(&self.rover).unwrap_or_default());
            if due.len() >= goal {
                break;
            }
        }
        due
    }
}

#[cfg(test)]
mod tests;
