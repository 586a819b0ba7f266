//! Virtual services: the hash table of keys, and the head line of a service's block.

use super::filter6::fold;
use super::{RootLine, Table, spread};
use crate::env::Tables;
use crate::sched::groups::GROUP;
use lvsx_platform::{Line, hide};

/// Slots in a bucket of the service table: a key word and a block word each.
pub const SERVICE_SLOTS: usize = 4;

/// Buckets a look-up visits at most.
pub const SERVICE_PROBES: u32 = 4;

/// `AF_INET6` as lines hold it.
const AF_INET6: u8 = 10;

/// First byte of the key of a server's end.
const SERVER: u64 = 5;

/// A service's key in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceKey(u64);

impl ServiceKey {
    /// The key of an IPv4 service: raw address and port, protocol number.
    #[inline(always)]
    #[must_use]
    pub fn ipv4(protocol: u8, address: u32, port: u16) -> Self {
        Self(u64::from(address) | u64::from(port) << 32 | u64::from(protocol) << 48 | 4 << 56)
    }

    /// The key of an IPv6 service, spread by the generation's seed: no address fits into it, so what is found by it is to be
    /// compared. No two services of a generation have the same.
    #[inline(always)]
    #[must_use]
    pub fn ipv6(seed: u64, protocol: u8, address: [u64; 2], port: u16) -> Self {
        let ends = u64::from(port) | u64::from(protocol) << 16 | seed << 24;
        let mut x = (fold(address) ^ ends).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^= x >> 32;
        x = x.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        x ^= x >> 32;
        Self(x >> 8 | 6 << 56)
    }

    /// The key of a service by mark: address family as in `AF_INET` (2) or `AF_INET6` (10).
    #[inline(always)]
    #[must_use]
    pub fn marked(family: u8, mark: u32) -> Self {
        Self(u64::from(mark) | u64::from(family) << 32 | 1 << 56)
    }

    /// The key of a masqueraded real server's end, see `servers.rs`: address as 16 bytes in two raw words, raw port. What
    /// is found by it is to be compared.
    #[inline(always)]
    #[must_use]
    pub fn server(seed: u64, family: u8, protocol: u8, address: [u64; 2], port: u16) -> Self {
        let Self(spread) = Self::ipv6(seed ^ u64::from(family), protocol, address, port);
        Self(spread & !(0xff << 56) | SERVER << 56)
    }

    /// Whether a word of the table is the key of a server's end: its line is no service's.
    #[must_use]
    pub fn is_server(word: u64) -> bool {
        word >> 56 == SERVER
    }

    /// The key as a word, never 0.
    #[must_use]
    pub fn word(self) -> u64 {
        self.0
    }
}

/// The first bucket of `key` in a table of `mask + 1` buckets.
#[inline(always)]
#[must_use]
pub fn service_bucket(key: ServiceKey, seed: u64, mask: u32) -> u32 {
    spread(key.0, seed) & mask
}

/// The schedulers, by their number in a service's head line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum SchedulerKind {
    /// No scheduler (`none`): nothing is scheduled.
    None = 0,
    /// Round robin.
    RoundRobin = 1,
    /// Weighted round robin.
    WeightedRoundRobin = 2,
    /// Least connection.
    LeastConnection = 3,
    /// Weighted least connection.
    WeightedLeastConnection = 4,
    /// Shortest expected delay.
    ShortestExpectedDelay = 5,
    /// Never queue.
    NeverQueue = 6,
    /// Weighted failover.
    Failover = 7,
    /// Weighted overflow.
    Overflow = 8,
    /// The better of two chosen by chance.
    PowerOfTwo = 9,
    /// Destination hashing.
    DestinationHash = 10,
    /// Source hashing.
    SourceHash = 11,
    /// Maglev hashing.
    Maglev = 12,
    /// Locality-based least connection.
    Locality = 13,
    /// Locality-based least connection with replication.
    LocalityReplication = 14,
}

impl SchedulerKind {
    /// All that can be named, by number.
    pub const ALL: [Self; 15] = [
        Self::None,
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::LeastConnection,
        Self::WeightedLeastConnection,
        Self::ShortestExpectedDelay,
        Self::NeverQueue,
        Self::Failover,
        Self::Overflow,
        Self::PowerOfTwo,
        Self::DestinationHash,
        Self::SourceHash,
        Self::Maglev,
        Self::Locality,
        Self::LocalityReplication,
    ];

    /// The name that `ipvsadm -s` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::RoundRobin => "rr",
            Self::WeightedRoundRobin => "wrr",
            Self::LeastConnection => "lc",
            Self::WeightedLeastConnection => "wlc",
            Self::ShortestExpectedDelay => "sed",
            Self::NeverQueue => "nq",
            Self::Failover => "fo",
            Self::Overflow => "ovf",
            Self::PowerOfTwo => "twos",
            Self::DestinationHash => "dh",
            Self::SourceHash => "sh",
            Self::Maglev => "mh",
            Self::Locality => "lblc",
            Self::LocalityReplication => "lblcr",
        }
    }

    /// The scheduler called `name`, if it is one of [`Self::ALL`].
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it keeps servers by destination address in the locality cache.
    #[must_use]
    pub fn has_cache(self) -> bool {
        matches!(self, Self::Locality | Self::LocalityReplication)
    }

    /// Whether it keeps the least of each group of so many destinations ([`crate::sched::groups`]).
    #[must_use]
    pub fn keeps_groups(self, destinations: usize) -> bool {
        self == Self::WeightedLeastConnection && destinations > GROUP as usize
    }

    #[inline(always)]
    fn from_number(number: u8) -> Self {
        match number {
            1 => Self::RoundRobin,
            2 => Self::WeightedRoundRobin,
            3 => Self::LeastConnection,
            4 => Self::WeightedLeastConnection,
            5 => Self::ShortestExpectedDelay,
            6 => Self::NeverQueue,
            7 => Self::Failover,
            8 => Self::Overflow,
            9 => Self::PowerOfTwo,
            10 => Self::DestinationHash,
            11 => Self::SourceHash,
            12 => Self::Maglev,
            13 => Self::Locality,
            14 => Self::LocalityReplication,
            _ => Self::None,
        }
    }
}

/// The head line of a service's block; the destinations' lines follow it, newest first, then those of its hash table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLine {
    /// Address family as in `AF_INET` (2) or `AF_INET6` (10).
    pub family: u8,
    /// Protocol number; 0 with a mark.
    pub protocol: u8,
    /// Raw port.
    pub port: u16,
    /// Stable id: index of the service's live line.
    pub id: u32,
    /// Firewall mark, 0 for none.
    pub mark: u32,
    /// Flags as IPVS numbers them: 1 persistent, 2 hashed, 4 one-packet, 8/16/32 of the scheduler.
    pub flags: u32,
    /// Address as 16 bytes in two raw words; an IPv4 address in the first four.
    pub address: [u64; 2],
    /// Who picks.
    pub scheduler: SchedulerKind,
    /// Number of destinations.
    pub destinations: u32,
    /// Persistence timeout in seconds.
    pub timeout: u32,
    /// Persistence mask: raw for IPv4, prefix length for IPv6.
    pub netmask: u32,
    /// wrr: the highest weight less the greatest common divisor less one.
    pub max_weight: u32,
    /// wrr: the greatest common divisor of the weights, 1 if there is none.
    pub weight_step: u32,
    /// sh and mh: lines of their hash table, see [`SLOTS`]. Else 0.
    pub slot_lines: u32,
}

/// Slots in a line of a hash table: 16 bits each, the place of a destination in the list plus one, or 0.
pub const SLOTS: u32 = 32;

/// A line of a hash table, from the places of up to [`SLOTS`] slots.
#[must_use]
pub fn encode_slots(places: &[Option<u16>]) -> [u64; 8] {
    let mut line = [0; 8];
    for (word, places) in line.iter_mut().zip(places.chunks(4)) {
        for (slot, place) in places.iter().enumerate() {
            *word |= u64::from(place.map_or(0, |place| place.wrapping_add(1))) << (16 * slot);
        }
    }
    line
}

/// Slot `number` of the hash table that begins at line `first`: the place of a destination, or `None`.
#[inline(always)]
pub fn slot<T: Tables>(tables: &T, first: u32, number: u32) -> Option<u32> {
    let line = tables.config(first.wrapping_add(number / SLOTS))?;
    let word = line[(number / 4 % 8) as usize].peek();
    (word >> (number % 4 * 16) & 0xffff)
        .checked_sub(1)
        .map(|place| place as u32)
}

impl ServiceLine {
    /// The line as written to the arena.
    #[must_use]
    pub fn encode(&self) -> [u64; 8] {
        [
            u64::from(self.family)
                | u64::from(self.protocol) << 8
                | u64::from(self.port) << 16
                | u64::from(self.id) << 32,
            u64::from(self.mark) | u64::from(self.flags) << 32,
            self.address[0],
            self.address[1],
            u64::from(self.scheduler as u8) | u64::from(self.destinations) << 32,
            u64::from(self.timeout) | u64::from(self.netmask) << 32,
            u64::from(self.max_weight) | u64::from(self.weight_step) << 32,
            u64::from(self.slot_lines),
        ]
    }

    /// The service that a line holds.
    #[inline(always)]
    #[must_use]
    pub fn decode(line: &Line) -> Self {
        let (key, mark, shape) = (line[0].peek(), line[1].peek(), line[4].peek());
        let (persistence, weights) = (line[5].peek(), line[6].peek());
        Self {
            family: key as u8,
            protocol: (key >> 8) as u8,
            port: (key >> 16) as u16,
            id: (key >> 32) as u32,
            mark: mark as u32,
            flags: (mark >> 32) as u32,
            address: [line[2].peek(), line[3].peek()],
            scheduler: SchedulerKind::from_number(shape as u8),
            destinations: (shape >> 32) as u32,
            timeout: persistence as u32,
            netmask: (persistence >> 32) as u32,
            max_weight: weights as u32,
            weight_step: (weights >> 32) as u32,
            slot_lines: line[7].peek() as u32,
        }
    }
}

/// The block (line number of the head line) of the service called `key`, in `table` whose hashes `seed` spreads.
#[inline(always)]
pub(super) fn find<T: Tables>(tables: &T, table: Table, seed: u64, key: ServiceKey) -> Option<u32> {
    let first = service_bucket(key, seed, table.mask);
    let mut probe = 0;
    while hide(probe) < u64::from(SERVICE_PROBES) {
        let bucket = first.wrapping_add(probe as u32) & table.mask;
        let line = tables.config(table.base.wrapping_add(bucket))?;
        let mut slot = 0;
        while hide(slot) < SERVICE_SLOTS as u64 {
            let place = slot as usize & (SERVICE_SLOTS - 1);
            let word = line[place * 2].peek();
            if word == key.0 {
                return Some(line[place * 2 + 1].peek() as u32);
            }
            if word == 0 {
                return None;
            }
            slot += 1;
        }
        probe += 1;
    }
    None
}

impl RootLine {
    /// The block (line number of the head line) of the service called `key`.
    #[inline(always)]
    pub fn service<T: Tables>(&self, tables: &T, key: ServiceKey) -> Option<u32> {
        find(tables, self.services, self.seed, key)
    }

    /// The block of the IPv6 service of raw address and port.
    #[inline(always)]
    pub fn service6<T: Tables>(
        &self,
        tables: &T,
        protocol: u8,
        address: [u64; 2],
        port: u16,
    ) -> Option<u32> {
        let block = self.service(tables, ServiceKey::ipv6(self.seed, protocol, address, port))?;
        let head = tables.config(block)?;
        let (key, mark) = (head[0].peek(), head[1].peek() as u32);
        let wanted = u64::from(AF_INET6) | u64::from(protocol) << 8 | u64::from(port) << 16;
        let is_it = key & 0xffff_ffff == wanted
            && mark == 0
            && head[2].peek() == address[0]
            && head[3].peek() == address[1];
        is_it.then_some(block)
    }

    /// The block of the service by `mark` for packets of a family (2 or 10). Without a look where no service has a mark.
    #[inline(always)]
    pub fn marked<T: Tables>(&self, tables: &T, family: u8, mark: u32) -> Option<u32> {
        if mark == 0 || !self.kinds.marked {
            return None;
        }
        self.service(tables, ServiceKey::marked(family, mark))
    }
}
