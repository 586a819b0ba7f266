//! The tables that the director shares with its programs, as the director sees them.

use crate::mapping::Shared;
use lvsx_core::conn::{Entry4, Entry6, Set};
use lvsx_core::env::{self, Geometry, state};
use lvsx_core::event::{EVENT_LINES, Event};
use lvsx_core::generation::live;
use lvsx_core::sched::cache;
use lvsx_platform::{Line, Word};

/// How large the tables are; fixed when they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Lines of the arena that holds the generations.
    pub config: u32,
    /// Destinations, those in the trash included.
    pub destinations: u32,
    /// Services.
    pub services: u32,
    /// Connections for which the table is rated: up to here no insert fails and no live entry gives way.
    pub connections: u32,
    /// The connection table.
    pub geometry: Geometry,
    /// CPUs that may ever be there.
    pub cpus: u32,
}

/// Slots of a set that count for the rated capacity: 85 %, so that no insert fails and nothing is evicted below it.
const RATED_OF_SLOTS: (u32, u32) = (85, 100);
/// Connections in a set.
const WAYS: u32 = lvsx_core::conn::WAYS as u32;
/// Sets of the overflow area at least.
const OVERFLOW_AT_LEAST: u32 = 64;
/// Main sets for each set of the overflow area.
const SETS_FOR_AN_OVERFLOW: u32 = 16;

impl Capacity {
    /// Lines of the arena: 16 MiB, room for a generation of 65,536 destinations, the one before it, and what it put into the trash.
    pub const CONFIG: u32 = 262_144;
    /// Destinations where their lines fit into 256 MiB, which they do up to 61 CPUs.
    pub const DESTINATIONS: u32 = 65_536;
    /// Destinations however many CPUs there are.
    const DESTINATIONS_AT_LEAST: u32 = 16_384;
    /// Services.
    pub const SERVICES: u32 = 16_384;

    /// The usual capacity, with a table rated for `connections`.
    #[must_use]
    pub fn rated(connections: u32, seed: u64, cpus: u32) -> Self {
        Self {
            config: Self::CONFIG,
            destinations: destinations(cpus),
            services: Self::SERVICES,
            connections,
            geometry: geometry(connections, seed),
            cpus,
        }
    }

    /// Sets of the table, those of the overflow area included.
    #[must_use]
    pub fn sets(&self) -> u32 {
        self.geometry.sets + self.geometry.overflow
    }

    /// Lines of the tallies: one a CPU and a destination, then one a destination of the director's own.
    #[must_use]
    pub fn tallies(&self) -> u32 {
        (self.cpus + 1) * self.destinations
    }

    /// Lines of the event counters: those of the CPUs, then the director's own.
    #[must_use]
    pub fn events(&self) -> u32 {
        (self.cpus + 1) * EVENT_LINES
    }
}

/// Bytes that lines by destination may take: each has a tally a CPU.
const DESTINATION_BYTES: u32 = 256 << 20;

/// Destinations of a director with so many CPUs.
fn destinations(cpus: u32) -> u32 {
    // A tally a CPU and the director's own, a live line, a tunnel.
    let lines = cpus + 3;
    let fitting = DESTINATION_BYTES / size_of::<Line>() as u32 / lines;
    fitting.clamp(Capacity::DESTINATIONS_AT_LEAST, Capacity::DESTINATIONS)
}

/// The layout of a table rated for `connections`.
fn geometry(connections: u32, seed: u64) -> Geometry {
    let slots = (u64::from(connections) * u64::from(RATED_OF_SLOTS.1))
        .div_ceil(u64::from(RATED_OF_SLOTS.0));
    let sets = slots.div_ceil(u64::from(WAYS)).max(1) as u32;
    Geometry {
        sets,
        overflow: (sets / SETS_FOR_AN_OVERFLOW).max(OVERFLOW_AT_LEAST),
        seed,
    }
}

/// The tables.
pub struct Tables {
    /// How large they are.
    pub capacity: Capacity,
    /// The arena of generations.
    pub config: Shared<Line>,
    /// The shared state.
    pub state: Shared<Line>,
    /// Sets of the connection table.
    pub sets: Shared<Set<Entry4>>,
    /// The same of IPv6.
    pub sets6: Shared<Set<Entry6>>,
    /// Tunnels of destinations, by id.
    pub tunnels: Shared<Line>,
    /// Live lines of destinations, by id.
    pub destinations: Shared<Line>,
    /// Live lines of services, by id.
    pub services: Shared<Line>,
    /// Counters, by CPU and destination id.
    pub tallies: Shared<Line>,
    /// Events, by CPU.
    pub events: Shared<Line>,
    /// Network interfaces.
    pub ports: Shared<Line>,
    /// The locality cache.
    pub cache: Shared<Line>,
}

impl Tables {
    /// Tables of zeros in plain memory.
    #[must_use]
    pub fn plain(capacity: Capacity) -> Self {
        Self {
            capacity,
            config: Shared::plain(capacity.config),
            state: Shared::plain(state::LINES),
            sets: Shared::plain(capacity.sets()),
            sets6: Shared::plain(capacity.sets()),
            tunnels: Shared::plain(capacity.destinations),
            destinations: Shared::plain(capacity.destinations),
            services: Shared::plain(capacity.services),
            tallies: Shared::plain(capacity.tallies()),
            events: Shared::plain(capacity.events()),
            ports: Shared::plain(env::PORTS),
            cache: Shared::plain(cache::LINES),
        }
    }

    /// Writes zeros everywhere, as if the tables were new: for a director that begins anew while no packet comes.
    pub fn clear(&self) {
        let lines = [
            &self.config,
            &self.state,
            &self.tunnels,
            &self.destinations,
            &self.services,
            &self.tallies,
            &self.events,
            &self.ports,
            &self.cache,
        ];
        lines.into_iter().for_each(Shared::clear);
        self.sets.clear();
        self.sets6.clear();
    }

    /// How often `event` happened, on all CPUs and by the director's own hand.
    #[must_use]
    pub fn counted(&self, event: Event) -> u64 {
        (0..=self.capacity.cpus)
            .filter_map(|cpu| self.event(cpu, event as u32))
            .map(Word::peek)
            .fold(0, u64::wrapping_add)
    }

    /// All bytes that the tables take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let lines = [
            &self.config,
            &self.state,
            &self.destinations,
            &self.tunnels,
            &self.services,
            &self.tallies,
            &self.events,
            &self.ports,
            &self.cache,
        ];
        lines
            .iter()
            .map(|lines| size_of_val(&***lines) as u64)
            .sum::<u64>()
            + self.connection_bytes()
    }

    /// The bytes of both connection tables.
    #[must_use]
    pub fn connection_bytes(&self) -> u64 {
        (size_of_val(&*self.sets) + size_of_val(&*self.sets6)) as u64
    }

    /// Where the director counts its own packets to destination `id`.
    #[must_use]
    pub fn own_tally(&self, id: u32) -> Option<&Line> {
        let first = self.capacity.cpus * self.capacity.destinations;
        self.tallies.get((first + id) as usize)
    }

    fn event(&self, cpu: u32, number: u32) -> Option<&Word> {
        self.events
            .get((cpu * EVENT_LINES + number / 8) as usize)?
            .get(number as usize % 8)
    }
}

/// What core's functions need to work on the tables from here. Events are counted apart from those of the CPUs, whose
/// programs count without locking; tallies belong to the programs alone.
impl env::Tables for Tables {
    fn config(&self, index: u32) -> Option<&Line> {
        self.config.get(index as usize)
    }

    fn state(&self, index: u32) -> Option<&Line> {
        self.state.get(index as usize)
    }

    fn set4(&self, index: u32) -> Option<&Set<Entry4>> {
        self.sets.get(index as usize)
    }

    fn geometry(&self) -> Geometry {
        self.capacity.geometry
    }

    fn set6(&self, index: u32) -> Option<&Set<Entry6>> {
        self.sets6.get(index as usize)
    }

    fn tunnel(&self, id: u32) -> Option<&Line> {
        self.tunnels.get(id as usize)
    }

    fn destination(&self, id: u32) -> Option<&Line> {
        self.destinations.get(id as usize)
    }

    fn service(&self, id: u32) -> Option<&Line> {
        self.services.get(id as usize)
    }

    fn tally(&self, id: u32) -> Option<&Line> {
        self.tallies.get(id as usize)
    }

    fn packets_in(&self, id: u32) -> u64 {
        let row = self.capacity.destinations;
        (0..=self.capacity.cpus)
            .filter_map(|cpu| self.tallies.get((cpu * row + id) as usize))
            .map(|line| line[live::tally::PACKETS_IN].peek())
            .fold(0, u64::wrapping_add)
    }

    fn count_number(&self, number: u32) {
        if let Some(word) = self.event(self.capacity.cpus, number) {
            word.add(1);
        }
    }

    fn cache(&self, index: u32) -> Option<&Line> {
        self.cache.get(index as usize)
    }

    fn scan(&self, count: u32, mut look: impl FnMut(u32) -> bool) {
        let _ = (0..count).find(|index| !look(*index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rating_is_at_least_what_was_asked_for() {
        for connections in [1, 8, 1000, 262_144, 1_000_000, 4_000_000] {
            let capacity = Capacity::rated(connections, 0, 2);
            let slots = u64::from(capacity.geometry.sets) * u64::from(WAYS);
            assert!(
                u64::from(connections) * 100 <= slots * 85,
                "{connections} in {slots} slots"
            );
            assert!(capacity.geometry.overflow >= OVERFLOW_AT_LEAST);
        }
    }

    #[test]
    fn destinations_give_way_to_many_cpus() {
        let destinations = |cpus| Capacity::rated(8, 0, cpus).destinations;
        assert_eq!([1, 2, 61].map(destinations), [65_536; 3]);
        assert_eq!(destinations(125), 32_768);
        assert_eq!([253, 1024].map(destinations), [16_384; 2]);
    }

    #[test]
    fn events_of_cpus_and_director_add_up() {
        let tables = Tables::plain(Capacity {
            config: 2,
            ..Capacity::rated(8, 0, 2)
        });
        let number = Event::Expired as usize;
        tables.events[number / 8][number % 8].add(3);
        env::Tables::count(&tables, Event::Expired);
        assert_eq!(tables.counted(Event::Expired), 4);
    }
}
