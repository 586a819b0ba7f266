//! The director's tables as the environment of decisions that lvsd takes itself.

use crate::clock::{Clock, monotonic};
use crate::tables::Tables;
use lvsx_core::conn::{Entry4, Entry6, Set};
use lvsx_core::env::{self, Env, Geometry, Route, Scratch};
use lvsx_core::tick::Tick;
use lvsx_platform::{Line, Word};
use std::hash::{BuildHasher, RandomState};

/// Who knows the ways: by address family, interface that the packet came in by, raw address.
pub trait Ways {
    /// The way to an address, as the programs see it.
    fn way(&self, family: u8, ingress: u32, to: [u64; 2]) -> Route;
}

/// The tables, the clock, the ways: for one packet. Counts in a row of its own beside those of the CPUs.
pub struct World<'a, W> {
    tables: &'a Tables,
    clock: Clock,
    ways: &'a W,
    scratch: Scratch,
}

impl<'a, W: Ways> World<'a, W> {
    /// For a packet that is decided on now.
    pub fn new(tables: &'a Tables, clock: Clock, ways: &'a W) -> Self {
        Self {
            tables,
            clock,
            ways,
            scratch: std::array::from_fn(|_| Word::new(0)),
        }
    }
}

impl<W: Ways> env::Tables for World<'_, W> {
    fn config(&self, index: u32) -> Option<&Line> {
        env::Tables::config(self.tables, index)
    }

    fn state(&self, index: u32) -> Option<&Line> {
        env::Tables::state(self.tables, index)
    }

    fn set4(&self, index: u32) -> Option<&Set<Entry4>> {
        self.tables.set4(index)
    }

    fn geometry(&self) -> Geometry {
        self.tables.geometry()
    }

    fn set6(&self, index: u32) -> Option<&Set<Entry6>> {
        self.tables.set6(index)
    }

    fn destination(&self, id: u32) -> Option<&Line> {
        self.tables.destination(id)
    }

    fn tunnel(&self, id: u32) -> Option<&Line> {
        self.tables.tunnel(id)
    }

    fn service(&self, id: u32) -> Option<&Line> {
        self.tables.service(id)
    }

    fn tally(&self, id: u32) -> Option<&Line> {
        self.tables.own_tally(id)
    }

    fn packets_in(&self, id: u32) -> u64 {
        self.tables.packets_in(id)
    }

    fn count_number(&self, number: u32) {
        self.tables.count_number(number);
    }

    fn cache(&self, index: u32) -> Option<&Line> {
        env::Tables::cache(self.tables, index)
    }

    fn scan(&self, count: u32, look: impl FnMut(u32) -> bool) {
        self.tables.scan(count, look);
    }
}

impl<W: Ways> Env for World<'_, W> {
    fn now(&self) -> Tick {
        self.clock.now()
    }

    fn milliseconds(&self) -> u32 {
        (monotonic() / 1_000_000) as u32
    }

    fn random(&self) -> u32 {
        // A keyed hash under a new key of the process each time.
        RandomState::new().hash_one(0) as u32
    }

    fn port(&self, number: u32) -> Option<&Line> {
        self.tables.ports.get(number as usize)
    }

    fn scratch(&self) -> Option<&Scratch> {
        Some(&self.scratch)
    }

    fn route4(&self, ingress: u32, to: u32) -> Route {
        self.ways.way(libc::AF_INET as u8, ingress, [to.into(), 0])
    }

    fn route6(&self, ingress: u32, to: [u64; 2]) -> Route {
        self.ways.way(libc::AF_INET6 as u8, ingress, to)
    }
}
