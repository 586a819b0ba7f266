//! Statistics: counters and rates of destinations, services and the whole director.
//!
//! The programs count in one place only, a tally a CPU and a destination, which never goes back. All else is a
//! difference: [`ledger`] keeps what a tally was when counting began, and what removed destinations brought in.
//! Counters are shown as they are now; the kernel shows those of its last estimator run, up to two seconds old.

pub mod ledger;
mod rate;

pub use ledger::Ledger;
pub use rate::Rate;

use crate::tables::Tables;
use lvsx_core::generation::live::tally;
use lvsx_ipvs::Stats;
use lvsx_platform::Line;
use std::ops::{Add, Sub};

/// What is counted: connections, packets and bytes, from clients and to clients. Sums wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// Bytes to clients.
    pub out_bytes: u64,
}

impl Counters {
    /// The counters that a line holds, laid out as a tally.
    #[must_use]
    pub fn read(line: &Line) -> Self {
        Self {
            connections: line[tally::CONNECTIONS].peek(),
            in_packets: line[tally::PACKETS_IN].peek(),
            in_bytes: line[tally::BYTES_IN].peek(),
            out_packets: line[tally::PACKETS_OUT].peek(),
            out_bytes: line[tally::BYTES_OUT].peek(),
        }
    }

    /// Puts the counters into a line.
    pub fn write(&self, line: &Line) {
        line[tally::CONNECTIONS].poke(self.connections);
        line[tally::PACKETS_IN].poke(self.in_packets);
        line[tally::BYTES_IN].poke(self.in_bytes);
        line[tally::PACKETS_OUT].poke(self.out_packets);
        line[tally::BYTES_OUT].poke(self.out_bytes);
    }

    /// The tally of destination `id`, all CPUs together, since the tables were made.
    #[must_use]
    pub fn tally(tables: &Tables, id: u32) -> Self {
        (0..=tables.capacity.cpus)
            .map(|cpu| Self::tally_of_cpu(tables, cpu, id))
            .fold(Self::default(), Add::add)
    }

    /// The tally of destination `id` on one CPU. The director's own is of the number behind the last.
    #[must_use]
    pub fn tally_of_cpu(tables: &Tables, cpu: u32, id: u32) -> Self {
        let index = cpu as usize * tables.capacity.destinations as usize + id as usize;
        tables
            .tallies
            .get(index)
            .map(Self::read)
            .unwrap_or_default()
    }

    /// With these rates, as messages carry them.
    #[must_use]
    pub fn with(self, rate: &Rate) -> Stats {
        Stats {
            connections: self.connections,
            in_packets: self.in_packets,
            out_packets: self.out_packets,
            in_bytes: self.in_bytes,
            out_bytes: self.out_bytes,
            ..rate.shown()
        }
    }

    fn combine(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            connections: with(self.connections, other.connections),
            in_packets: with(self.in_packets, other.in_packets),
            in_bytes: with(self.in_bytes, other.in_bytes),
            out_packets: with(self.out_packets, other.out_packets),
            out_bytes: with(self.out_bytes, other.out_bytes),
        }
    }
}

impl Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.combine(other, u64::wrapping_add)
    }
}

impl Sub for Counters {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.combine(other, u64::wrapping_sub)
    }
}
