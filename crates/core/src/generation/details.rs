//! The lines of a root that only rare packets read, and some the director alone: behind the tables and the timeouts.

use super::RootLine;
use super::settings::{VALUE_LINES, Values};
use crate::env::Tables;
use lvsx_platform::Line;

/// Lines that details take.
pub const DETAIL_LINES: usize = 1 + VALUE_LINES;

/// A run of lines in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Run {
    /// The first line; 0 for none.
    pub first: u32,
    /// How many things lie there.
    pub count: u32,
}

impl Run {
    #[inline(always)]
    fn decode(word: u64) -> Self {
        Self {
            first: word as u32,
            count: (word >> 32) as u32,
        }
    }

    fn encode(self) -> u64 {
        u64::from(self.first) | u64::from(self.count) << 32
    }
}

/// How many ICMP errors this host sends: the kernel's settings `net.ipv4.icmp_*` (ip-sysctl.rst, Linux 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpLimits {
    /// `icmp_ratelimit`: least milliseconds between two errors to one host, 0 for no limit.
    pub interval: u32,
    /// `icmp_ratemask`: one bit a type that the interval holds for.
    pub mask: u32,
    /// `icmp_msgs_per_sec`: most errors a second to all hosts together.
    pub a_second: u32,
    /// `icmp_msgs_burst`: how many of them at once.
    pub burst: u32,
}

impl Default for IcmpLimits {
    /// Linux 6.1: a second between errors of the types 3, 4, 11 and 12 to one host, 1000 a second, 50 at once.
    fn default() -> Self {
        Self {
            interval: 1000,
            mask: 0x1818,
            a_second: 1000,
            burst: 50,
        }
    }
}

/// What is learned of paths: the kernel's settings `net.ipv4.route.*` (ip-sysctl.rst, Linux 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathLimits {
    /// `mtu_expires`: how long a learned path MTU holds, in ticks.
    pub kept: u32,
    /// `min_pmtu`: the least that is learned, in bytes.
    pub least: u32,
}

impl PathLimits {
    /// Both in a word.
    #[inline(always)]
    #[must_use]
    pub fn word(self) -> u64 {
        u64::from(self.kept) | u64::from(self.least) << 32
    }

    /// Those of a word.
    #[inline(always)]
    #[must_use]
    pub fn of(word: u64) -> Self {
        Self {
            kept: word as u32,
            least: (word >> 32) as u32,
        }
    }
}

impl Default for PathLimits {
    /// Linux 6.1: 600 s, in ticks of 64 ms; 552 bytes.
    fn default() -> Self {
        Self {
            kept: 9375,
            least: 552,
        }
    }
}

/// What a generation holds besides tables and timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Details {
    /// Mark rules, two lines each: [`super::MarkRule`].
    pub marks: Run,
    /// Limits of ICMP errors.
    pub icmp: IcmpLimits,
    /// What is learned of paths.
    pub paths: PathLimits,
    /// First of the lines of the prefixes that are virtual as a whole; 0 for none.
    pub prefixes: u32,
    /// Every setting as it was given; for the director.
    pub values: Values,
}

impl Details {
    /// The lines as written to the arena.
    #[must_use]
    pub fn encode(&self) -> [[u64; 8]; DETAIL_LINES] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let mut lines = [[0; 8]; DETAIL_LINES];
        lines[0] = [
            self.marks.encode(),
            pair(self.icmp.interval, self.icmp.mask),
            pair(self.icmp.a_second, self.icmp.burst),
            u64::from(self.prefixes),
            self.paths.word(),
            0,
            0,
            0,
        ];
        for (line, words) in lines.iter_mut().skip(1).zip(self.values.encode()) {
            *line = words;
        }
        lines
    }

    /// The details that lines hold.
    #[must_use]
    pub fn decode(lines: &[Line]) -> Option<Self> {
        let (first, values) = lines.split_first()?;
        Some(Self {
            marks: Run::decode(first[MARKS].peek()),
            icmp: icmp(first),
            paths: paths(first),
            prefixes: first[PREFIXES].peek() as u32,
            values: Values::decode(values),
        })
    }
}

const MARKS: usize = 0;
const ICMP: usize = 1;
const PREFIXES: usize = 3;
const PATHS: usize = 4;

#[inline(always)]
fn icmp(line: &Line) -> IcmpLimits {
    let (host, all) = (line[ICMP].peek(), line[ICMP + 1].peek());
    IcmpLimits {
        interval: host as u32,
        mask: (host >> 32) as u32,
        a_second: all as u32,
        burst: (all >> 32) as u32,
    }
}

#[inline(always)]
fn paths(line: &Line) -> PathLimits {
    PathLimits::of(line[PATHS].peek())
}

impl RootLine {
    #[inline(always)]
    fn details<'t, T: Tables>(&self, tables: &'t T) -> Option<&'t Line> {
        tables.config(self.timeouts.wrapping_add(1))
    }

    /// The mark rules. None where the root's [`super::Kinds`] says that there are none.
    #[inline(always)]
    pub fn marks<T: Tables>(&self, tables: &T) -> Run {
        match self.details(tables) {
            Some(line) if self.kinds.mark_rules => Run::decode(line[MARKS].peek()),
            _ => Run::default(),
        }
    }

    /// First line of the prefixes. 0 where the root's [`super::Kinds`] says that there are none.
    #[inline(always)]
    pub(super) fn prefixes<T: Tables>(&self, tables: &T) -> u32 {
        match self.details(tables) {
            Some(line) if self.kinds.prefixes => line[PREFIXES].peek() as u32,
            _ => 0,
        }
    }

    /// Limits of ICMP errors.
    #[inline(always)]
    pub fn icmp_limits<T: Tables>(&self, tables: &T) -> IcmpLimits {
        self.details(tables).map_or(IcmpLimits::default(), icmp)
    }

    /// What is learned of paths.
    #[inline(always)]
    pub fn path_limits<T: Tables>(&self, tables: &T) -> PathLimits {
        self.details(tables).map_or(PathLimits::default(), paths)
    }
}
