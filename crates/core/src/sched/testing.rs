//! A service in plain memory, for the tests of schedulers: destinations A, B, C, ... added in this order, with ids 0, 1, 2, ...

use super::{NO_PLACE, Request, Service, mh, pick, sh, wrr};
use crate::env::Tables;
use crate::generation::{
    DestinationLine, RootLine, SLOTS, SchedulerKind, ServiceLine, TIMEOUT_LBLC, TIMEOUT_LBLCR,
    TIMEOUTS, encode_slots, live,
};
use crate::host::{Memory, World, raw4};
use crate::tick::Tick;
use lvsx_platform::Word;
use std::string::String;
use std::vec::Vec;

/// Line of the root, and of the service's block.
const ROOT: u32 = 1;
const BLOCK: u32 = 8;
/// Id of the service.
const ID: u32 = 3;

/// How long caches keep what nobody asks for, in ticks.
pub(super) const LIFETIME: u32 = 10_000;

/// The world, and what the service's block is written from.
pub(super) struct Scene {
    pub(super) world: World,
    scheduler: SchedulerKind,
    flags: u32,
    weights: Vec<u32>,
    root: RootLine,
}

/// A destination's name by its place in a list of `count`.
pub(super) fn letter(place: Option<u32>, count: u32) -> char {
    place.map_or('-', |place| char::from(b'A' + (count - 1 - place) as u8))
}

pub(super) fn request(client: [u8; 4], port: u16, destination: [u8; 4]) -> Request {
    Request::ipv4(raw4(client), port.to_be(), raw4(destination))
}

impl Scene {
    /// A service whose destinations have these weights, A's first.
    pub(super) fn new(scheduler: SchedulerKind, weights: &[u32]) -> Self {
        let root = RootLine {
            timeouts: ROOT + 1,
            ..RootLine::default()
        };
        let mut scene = Self {
            world: World {
                memory: Memory::new(1024, 8, 8, 512),
                now: Tick(1_000_000),
                routes: Vec::new(),
                routes6: Vec::new(),
                scratch: core::array::from_fn(|_| Word::new(0)),
            },
            scheduler,
            flags: 0,
            weights: weights.to_vec(),
            root,
        };
        if scheduler.has_cache() {
            scene.world.memory.add_cache();
        }
        let mut timeouts = [0; TIMEOUTS];
        timeouts[TIMEOUT_LBLC] = LIFETIME;
        timeouts[TIMEOUT_LBLCR] = LIFETIME;
        for (line, words) in root.encode(ROOT, &timeouts).into_iter().enumerate() {
            scene.write(ROOT + line as u32, words);
        }
        scene.weights(weights);
        scene
    }

    fn write(&self, line: u32, words: [u64; 8]) {
        for (word, value) in self.world.memory.config[line as usize].iter().zip(words) {
            word.store(value);
        }
    }

    /// Writes the block anew, with these weights.
    pub(super) fn weights(&mut self, weights: &[u32]) {
        self.weights = weights.to_vec();
        self.write_block();
    }

    /// Sets the scheduler's flags.
    pub(super) fn flags(&mut self, flags: u32) {
        self.flags = flags;
        self.write_block();
    }

    fn write_block(&self) {
        let count = self.weights.len() as u32;
        let (max_weight, weight_step) = wrr::steps(self.weights.iter().copied());
        let slots = self.slots();
        let lines = slots.chunks(SLOTS as usize);
        let head = ServiceLine {
            family: 2,
            protocol: 6,
            port: 80u16.to_be(),
            id: ID,
            mark: 0,
            flags: self.flags,
            address: [0; 2],
            scheduler: self.scheduler,
            destinations: count,
            timeout: 0,
            netmask: u32::MAX,
            max_weight,
            weight_step,
            slot_lines: lines.len() as u32,
        };
        self.write(BLOCK, head.encode());
        for (line, slots) in lines.enumerate() {
            self.write(BLOCK + 1 + count + line as u32, encode_slots(slots));
        }
        for (place, id) in (0..count).rev().enumerate() {
            let weight = self.weights[id as usize];
            let line = DestinationLine {
                id,
                weight,
                family: 2,
                method: 0,
                port: 80u16.to_be(),
                tunnel_type: 0,
                tunnel_flags: 0,
                tunnel_port: 0,
                address: [u64::from(raw4([10, 2, 0, 1 + id as u8])), 0],
                last_weight: weight,
                upper: 0,
                lower: 0,
                service: ID,
            };
            self.write(BLOCK + 1 + place as u32, line.encode());
            self.live(id)[live::destination::PLACE].store(place as u64);
        }
    }

    fn slots(&self) -> Vec<Option<u16>> {
        let ids = (0..self.weights.len()).rev();
        match self.scheduler {
            SchedulerKind::SourceHash => {
                sh::deal(&ids.map(|id| self.weights[id]).collect::<Vec<_>>()).to_vec()
            }
            SchedulerKind::Maglev => {
                let claimant =
                    |id: usize| mh::Claimant::new(0x0a02_0001 + id as u32, 80, self.weights[id]);
                let mut slots = [None; mh::SLOTS];
                mh::fill(&mut ids.map(claimant).collect::<Vec<_>>(), &mut slots);
                slots.to_vec()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn live(&self, id: u32) -> &lvsx_platform::Line {
        &self.world.memory.destinations[id as usize]
    }

    fn id(name: char) -> u32 {
        name as u32 - 'A' as u32
    }

    /// Marks a destination as over its upper threshold.
    pub(super) fn overload(&self, name: char) {
        self.live(Self::id(name))[live::destination::FLAGS].store(live::OVERLOADED);
    }

    /// Sets active and inactive connections of a destination.
    pub(super) fn counts(&self, name: char, active: u32, inactive: u32) {
        self.live(Self::id(name))[live::destination::COUNTS]
            .store(u64::from(active) << 32 | u64::from(inactive));
    }

    pub(super) fn service(&self) -> Service {
        Service::read(&self.world, self.root.timeouts, BLOCK).expect("the block is there")
    }

    /// Who is picked; `-` for nobody.
    pub(super) fn pick(&self, request: &Request) -> char {
        let place = pick(&self.world, &self.service(), request);
        let place = (place != NO_PLACE).then_some(place);
        letter(place, self.weights.len() as u32)
    }

    /// Who is picked for `count` connections to an address, each of which stays and counts as active.
    pub(super) fn open(&self, count: u32, destination: [u8; 4]) -> String {
        (0..count)
            .map(|_| {
                let name = self.pick(&request([10, 1, 0, 1], 1, destination));
                if name != '-' {
                    self.live(Self::id(name))[live::destination::COUNTS].add(1 << 32);
                }
                name
            })
            .collect()
    }

    /// Begins a new age of the service's cache.
    pub(super) fn renew_cache(&self) {
        let line = self.world.service(ID).expect("the service's line");
        line[live::service::CACHE_AGE].add(1);
    }
}
