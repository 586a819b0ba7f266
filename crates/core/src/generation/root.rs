//! The root of a generation: where its tables lie, its settings, its timeouts.

use super::details::DETAIL_LINES;
use super::filter::{Concern, concern};
use super::service::{self, ServiceKey};
use super::settings::Settings;
use crate::env::Tables;
use lvsx_platform::Line;

/// Lines a root takes: the tables, then the timeouts, then the [`super::Details`].
pub const ROOT_LINES: u32 = 2 + DETAIL_LINES as u32;

/// Number of timeouts a generation holds: the 11 TCP states by number, then UDP, then those of schedulers, then spare ones.
pub const TIMEOUTS: usize = 16;

/// Index of the UDP timeout.
pub const TIMEOUT_UDP: usize = 11;

/// Index of `lblc_expiration`: how long lblc keeps a server for an address that nobody asks for.
pub const TIMEOUT_LBLC: usize = 12;

/// Index of `lblcr_expiration`: the same for lblcr's sets, and how long they stay unchanged before one server leaves.
pub const TIMEOUT_LBLCR: usize = 13;

/// Index of the clock's scale: the ticks in 65,536 seconds, by which packets turn seconds into ticks.
pub const TIMEOUT_SCALE: usize = 14;

// The words of its first line.
const FILTER: usize = 0;
const SERVICES: usize = 1;
/// First line of the availability bits, and their number << 32.
const AVAILABLE: usize = 2;
const SETTINGS: usize = 3;
const SEED: usize = 4;
/// Line of the timeouts, and that of the trash << 32.
const PLACES: usize = 5;
/// Number of services, and the kinds << 32.
const COUNT: usize = 6;
const FILTER6: usize = 7;

/// A hash table of lines: the first line and the number of lines less one (a power of two less one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Table {
    /// Line number of the first bucket.
    pub base: u32,
    /// Number of buckets, less one.
    pub mask: u32,
}

impl Table {
    #[inline(always)]
    fn decode(word: u64) -> Self {
        Self {
            base: word as u32,
            mask: (word >> 32) as u32,
        }
    }

    fn encode(self) -> u64 {
        u64::from(self.base) | u64::from(self.mask) << 32
    }
}

/// What kinds of services and rules there are, so that a look-up that can find nothing is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Kinds {
    /// Some service has port 0, or a mark (whose port is 0 for this purpose, as in Linux 6.1).
    pub any_port: bool,
    /// Some TCP service has port 21.
    pub ftp: bool,
    /// Some service has a mark.
    pub marked: bool,
    /// Some service is persistent.
    pub persistent: bool,
    /// Some service is one-packet.
    pub one_packet: bool,
    /// There are mark rules.
    pub mark_rules: bool,
    /// There are prefixes that are virtual as a whole.
    pub prefixes: bool,
}

impl Kinds {
    fn encode(self) -> u32 {
        let bits = [
            self.any_port,
            self.ftp,
            self.marked,
            self.persistent,
            self.one_packet,
            self.mark_rules,
            self.prefixes,
        ];
        (0..)
            .zip(bits)
            .fold(0, |word, (bit, is_on)| word | u32::from(is_on) << bit)
    }

    #[inline(always)]
    fn decode(bits: u32) -> Self {
        Self {
            any_port: bits & 1 != 0,
            ftp: bits >> 1 & 1 != 0,
            marked: bits >> 2 & 1 != 0,
            persistent: bits >> 3 & 1 != 0,
            one_packet: bits >> 4 & 1 != 0,
            mark_rules: bits >> 5 & 1 != 0,
            prefixes: bits >> 6 & 1 != 0,
        }
    }
}

/// The root of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RootLine {
    /// IPv4 addresses that concern the director.
    pub filter: Table,
    /// IPv6 addresses that concern the director; base 0 for none.
    pub filter6: Table,
    /// Services by key.
    pub services: Table,
    /// First line of the availability bits: one bit a destination id, set while it belongs to a service.
    pub available: u32,
    /// Number of lines of availability bits.
    pub available_lines: u32,
    /// Switches.
    pub settings: Settings,
    /// Spreads the hashes of this generation's tables; changed when a bucket would not hold.
    pub seed: u64,
    /// Line number of the timeouts.
    pub timeouts: u32,
    /// Removed destinations whose connections live on: a block laid out as a service's. 0 when none.
    pub trash: u32,
    /// Number of services.
    pub services_count: u32,
    /// What kinds of services and rules there are.
    pub kinds: Kinds,
}

impl RootLine {
    /// The first two root lines as written to the arena at `line`; `timeouts` in ticks, by number. The
    /// [`super::Details`] follow them.
    #[must_use]
    pub fn encode(&self, line: u32, timeouts: &[u32; TIMEOUTS]) -> [[u64; 8]; 2] {
        let mut second = [0; 8];
        for (word, pair) in second.iter_mut().zip(timeouts.chunks_exact(2)) {
            *word = u64::from(pair[0]) | u64::from(pair[1]) << 32;
        }
        let first = [
            self.filter.encode(),
            self.services.encode(),
            u64::from(self.available) | u64::from(self.available_lines) << 32,
            self.settings.encode(),
            self.seed,
            u64::from(line + 1) | u64::from(self.trash) << 32,
            u64::from(self.services_count) | u64::from(self.kinds.encode()) << 32,
            self.filter6.encode(),
        ];
        [first, second]
    }

    /// The root that a line holds.
    #[inline(always)]
    #[must_use]
    pub fn decode(line: &Line) -> Self {
        let available = line[AVAILABLE].peek();
        let (places, count) = (line[PLACES].peek(), line[COUNT].peek());
        Self {
            filter: Table::decode(line[FILTER].peek()),
            filter6: Table::decode(line[FILTER6].peek()),
            services: Table::decode(line[SERVICES].peek()),
            available: available as u32,
            available_lines: (available >> 32) as u32,
            settings: Settings::decode(line[SETTINGS].peek()),
            seed: line[SEED].peek(),
            timeouts: places as u32,
            trash: (places >> 32) as u32,
            services_count: count as u32,
            kinds: Kinds::decode((count >> 32) as u32),
        }
    }

    /// Line of the root of the generation in force. `None` before the first one.
    #[inline(always)]
    pub fn in_force<T: Tables>(tables: &T) -> Option<u32> {
        let word = tables.state(0)?[0].load();
        if word == super::NO_GENERATION {
            return None;
        }
        Some(word as u32)
    }

    /// The root at `line`.
    #[inline(always)]
    pub fn at<T: Tables>(tables: &T, line: u32) -> Option<Self> {
        tables.config(line).map(Self::decode)
    }

    /// The root of the generation in force. `None` before the first one.
    #[inline(always)]
    pub fn current<T: Tables>(tables: &T) -> Option<Self> {
        Self::at(tables, Self::in_force(tables)?)
    }

    /// Whether destination `id` belongs to a service.
    #[inline(always)]
    pub fn is_available<T: Tables>(&self, tables: &T, id: u32) -> bool {
        is_available(tables, self.available, self.available_lines, id)
    }

    /// The ticks that `seconds` last, rounded up, at most 2^31 - 1.
    #[inline(always)]
    pub fn ticks<T: Tables>(&self, tables: &T, seconds: u32) -> u32 {
        let scale = u64::from(self.timeout(tables, TIMEOUT_SCALE as u32));
        let ticks = (u64::from(seconds).wrapping_mul(scale)).wrapping_add(0xffff) >> 16;
        if ticks > 0x7fff_ffff {
            0x7fff_ffff
        } else {
            ticks as u32
        }
    }

    /// Timeout number `index`, in ticks. 0 when out of range.
    #[inline(always)]
    pub fn timeout<T: Tables>(&self, tables: &T, index: u32) -> u32 {
        timeout(tables, self.timeouts, index)
    }
}

/// The root as it lies in its line, for those who need little of it: each answer reads its words.
#[derive(Clone, Copy)]
pub struct RootWords<'a>(&'a Line);

impl<'a> RootWords<'a> {
    /// The root at `line`.
    #[inline(always)]
    pub fn at<T: Tables>(tables: &'a T, line: u32) -> Option<Self> {
        tables.config(line).map(Self)
    }

    /// As [`RootLine::concern`].
    #[inline(always)]
    pub fn concern<T: Tables>(self, tables: &T, address: u32) -> Concern {
        let table = Table::decode(self.0[FILTER].peek());
        concern(tables, table, self.0[SEED].peek(), address)
    }

    /// As [`RootLine::is_available`].
    #[inline(always)]
    pub fn is_available<T: Tables>(self, tables: &T, id: u32) -> bool {
        let available = self.0[AVAILABLE].peek();
        is_available(tables, available as u32, (available >> 32) as u32, id)
    }

    /// Its switches.
    #[inline(always)]
    #[must_use]
    pub fn settings(self) -> Settings {
        Settings::decode(self.0[SETTINGS].peek())
    }

    /// What kinds of services and rules there are.
    #[inline(always)]
    #[must_use]
    pub fn kinds(self) -> Kinds {
        Kinds::decode((self.0[COUNT].peek() >> 32) as u32)
    }

    /// As [`RootLine::service`].
    #[inline(always)]
    pub fn service<T: Tables>(self, tables: &T, key: ServiceKey) -> Option<u32> {
        let table = Table::decode(self.0[SERVICES].peek());
        service::find(tables, table, self.0[SEED].peek(), key)
    }

    /// Line of its timeouts.
    #[inline(always)]
    #[must_use]
    pub fn timeouts(self) -> u32 {
        self.0[PLACES].peek() as u32
    }

    /// As [`RootLine::timeout`].
    #[inline(always)]
    pub fn timeout<T: Tables>(self, tables: &T, index: u32) -> u32 {
        timeout(tables, self.timeouts(), index)
    }
}

#[inline(always)]
fn is_available<T: Tables>(tables: &T, first: u32, lines: u32, id: u32) -> bool {
    let index = id / 512;
    if index >= lines {
        return false;
    }
    match tables.config(first.wrapping_add(index)) {
        Some(line) => line[(id / 64 % 8) as usize].peek() >> (id % 64) & 1 != 0,
        None => false,
    }
}

/// Timeout number `index` of those in line `timeouts`, in ticks. 0 when out of range.
#[inline(always)]
pub(crate) fn timeout<T: Tables>(tables: &T, timeouts: u32, index: u32) -> u32 {
    match tables.config(timeouts) {
        Some(line) => (line[(index / 2 % 8) as usize].peek() >> (index % 2 * 32)) as u32,
        None => 0,
    }
}
