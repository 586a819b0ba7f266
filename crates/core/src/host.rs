//! The data plane over plain memory: the packet window and the environment that tests, property tests and replays use.

use crate::conn::{Entry4, Entry6, Set, no_entry4, no_entry6};
use crate::env::{Env, Geometry, PORTS, Route, Scratch, Tables, state};
use crate::event::Event;
use crate::generation::live;
use crate::packet::{Packet, Room};
use crate::sched::cache;
use crate::tick::Tick;
use crate::wire::ETHERNET;
use crate::wire::checksum::{add, correct, fold};
use lvsx_platform::{Line, Word, load16, load32};
use std::vec::Vec;

/// A frame in memory, as it came in by an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The bytes, link-layer header first.
    pub bytes: Vec<u8>,
    /// Index of the interface.
    pub interface: u32,
}

impl Packet for Frame {
    const RESOLVES: bool = true;

    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.bytes.get(offset..)?.first_chunk()
    }

    fn bytes_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.bytes.get_mut(offset..)?.first_chunk_mut()
    }

    fn reveal(&mut self, _length: u32) {}

    fn len(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn is_aggregate(&self) -> bool {
        false
    }

    fn interface(&self) -> u32 {
        self.interface
    }

    fn push(&mut self, length: u32, _room: Room) -> bool {
        if self.bytes.len() < ETHERNET {
            return false;
        }
        let room = core::iter::repeat_n(0, length as usize);
        self.bytes.splice(ETHERNET..ETHERNET, room);
        true
    }

    fn pop(&mut self, length: u32) -> bool {
        if self.bytes.len() < ETHERNET + 20 + length as usize {
            return false;
        }
        self.bytes.drain(ETHERNET..ETHERNET + length as usize);
        true
    }

    fn cut(&mut self, length: u32) -> bool {
        if length > self.len() {
            return false;
        }
        self.bytes.truncate(length as usize);
        true
    }

    fn adjust_checksum(&mut self, offset: usize, address: u32, port: u32, udp: bool) -> Option<()> {
        correct(self.bytes_mut::<2>(offset)?, add(address, port), udp);
        Some(())
    }

    fn is_partial(&mut self, _offset: usize) -> bool {
        false
    }

    fn shift_sum(&mut self, _change: u32) {}

    fn sum(&self, offset: usize, length: u32) -> Option<u32> {
        let data = self
            .bytes
            .get(offset..offset.checked_add(length as usize)?)?;
        let mut sum = 0u64;
        for pair in data.chunks(2) {
            sum += u64::from(load16(&[pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
        Some(u32::from(fold(sum)))
    }
}

fn line() -> Line {
    core::array::from_fn(|_| Word::new(0))
}

fn lines(count: u32) -> Vec<Line> {
    (0..count).map(|_| line()).collect()
}

/// All tables of a director with one CPU, in vectors.
pub struct Memory {
    /// The arena of generations.
    pub config: Vec<Line>,
    /// Shared state.
    pub state: Vec<Line>,
    /// The IPv4 connection table.
    pub sets: Vec<Set<Entry4>>,
    /// The IPv6 connection table, laid out likewise.
    pub sets6: Vec<Set<Entry6>>,
    /// Its layout.
    pub geometry: Geometry,
    /// Live lines of destinations.
    pub destinations: Vec<Line>,
    /// Tunnels of destinations.
    pub tunnels: Vec<Line>,
    /// Live lines of services.
    pub services: Vec<Line>,
    /// Tallies.
    pub tallies: Vec<Line>,
    /// Counters of events.
    pub events: Vec<Word>,
    /// Ports.
    pub ports: Vec<Line>,
    /// The locality cache; empty, so that nothing is kept, until [`Memory::add_cache`].
    pub cache: Vec<Line>,
    /// Where the sequence of random numbers stands; set it to have another one.
    pub random: Word,
}

impl Memory {
    /// Empty tables: `config` lines of arena, `sets` main and `overflow` sets, `ids` destinations and services.
    #[must_use]
    pub fn new(config: u32, sets: u32, overflow: u32, ids: u32) -> Self {
        Self {
            config: lines(config),
            state: lines(state::LINES),
            sets: (0..sets + overflow).map(|_| no_entry4()).collect(),
            sets6: (0..sets + overflow).map(|_| no_entry6()).collect(),
            geometry: Geometry {
                sets,
                overflow,
                seed: 0x5eed,
            },
            destinations: lines(ids),
            tunnels: lines(ids),
            services: lines(ids),
            tallies: lines(ids),
            events: Event::ALL.iter().map(|_| Word::new(0)).collect(),
            ports: lines(PORTS),
            cache: Vec::new(),
            random: Word::new(0),
        }
    }

    /// Makes the locality cache, 8 MiB.
    pub fn add_cache(&mut self) {
        self.cache = lines(cache::LINES);
    }

    /// How often `event` was counted.
    #[must_use]
    pub fn counted(&self, event: Event) -> u64 {
        self.events[event as usize].load()
    }

    /// Active and inactive connections of destination `id`.
    #[must_use]
    pub fn counts(&self, id: u32) -> (u32, u32) {
        let counts = self.destinations[id as usize][live::destination::COUNTS].load();
        ((counts >> 32) as u32, counts as u32)
    }
}

impl Memory {
    /// The next of a sequence of random numbers that is the same in each run (splitmix64; Steele, Lea, Flood: "Fast
    /// splittable pseudorandom number generators", 2014).
    fn next_random(&self) -> u32 {
        let state = self.random.peek().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.poke(state);
        let mut x = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x >> 32) as u32
    }
}

impl Tables for Memory {
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
        self.geometry
    }

    fn set6(&self, index: u32) -> Option<&Set<Entry6>> {
        self.sets6.get(index as usize)
    }

    fn destination(&self, id: u32) -> Option<&Line> {
        self.destinations.get(id as usize)
    }

    fn tunnel(&self, id: u32) -> Option<&Line> {
        self.tunnels.get(id as usize)
    }

    fn service(&self, id: u32) -> Option<&Line> {
        self.services.get(id as usize)
    }

    fn tally(&self, id: u32) -> Option<&Line> {
        self.tallies.get(id as usize)
    }

    fn packets_in(&self, id: u32) -> u64 {
        self.tally(id)
            .map_or(0, |line| line[live::tally::PACKETS_IN].load())
    }

    fn cache(&self, index: u32) -> Option<&Line> {
        self.cache.get(index as usize)
    }

    fn count_number(&self, number: u32) {
        if let Some(word) = self.events.get(number as usize) {
            word.add(1);
        }
    }

    fn scan(&self, count: u32, mut look: impl FnMut(u32) -> bool) {
        for step in 0..count {
            if !look(step) {
                return;
            }
        }
    }
}

/// Tables, a clock that the test sets, and routes that the test names.
pub struct World {
    /// The tables.
    pub memory: Memory,
    /// The present moment.
    pub now: Tick,
    /// Next hops by raw destination address.
    pub routes: Vec<(u32, Route)>,
    /// The same of IPv6.
    pub routes6: Vec<([u64; 2], Route)>,
    /// What one stage keeps for the next.
    pub scratch: Scratch,
}

impl Tables for World {
    fn config(&self, index: u32) -> Option<&Line> {
        self.memory.config(index)
    }

    fn state(&self, index: u32) -> Option<&Line> {
        self.memory.state(index)
    }

    fn set4(&self, index: u32) -> Option<&Set<Entry4>> {
        self.memory.set4(index)
    }

    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn set6(&self, index: u32) -> Option<&Set<Entry6>> {
        self.memory.set6(index)
    }

    fn destination(&self, id: u32) -> Option<&Line> {
        self.memory.destination(id)
    }

    fn tunnel(&self, id: u32) -> Option<&Line> {
        self.memory.tunnel(id)
    }

    fn service(&self, id: u32) -> Option<&Line> {
        self.memory.service(id)
    }

    fn tally(&self, id: u32) -> Option<&Line> {
        self.memory.tally(id)
    }

    fn packets_in(&self, id: u32) -> u64 {
        self.memory.packets_in(id)
    }

    fn cache(&self, index: u32) -> Option<&Line> {
        self.memory.cache(index)
    }

    fn count_number(&self, number: u32) {
        self.memory.count_number(number);
    }

    fn scan(&self, count: u32, look: impl FnMut(u32) -> bool) {
        self.memory.scan(count, look);
    }
}

impl Env for World {
    fn now(&self) -> Tick {
        self.now
    }

    fn milliseconds(&self) -> u32 {
        // Ticks as on a kernel of 250 Hz.
        self.now.0.wrapping_mul(64)
    }

    fn random(&self) -> u32 {
        self.memory.next_random()
    }

    fn port(&self, number: u32) -> Option<&Line> {
        self.memory.ports.get(number as usize)
    }

    fn scratch(&self) -> Option<&Scratch> {
        Some(&self.scratch)
    }

    fn route4(&self, _ingress: u32, to: u32) -> Route {
        self.routes
            .iter()
            .find(|(address, _)| *address == to)
            .map_or(Route::None, |(_, route)| *route)
    }

    fn route6(&self, _ingress: u32, to: [u64; 2]) -> Route {
        self.routes6
            .iter()
            .find(|(address, _)| *address == to)
            .map_or(Route::None, |(_, route)| *route)
    }
}

/// A dotted quad as it lies on the wire.
#[must_use]
pub fn raw4(octets: [u8; 4]) -> u32 {
    load32(&octets)
}
