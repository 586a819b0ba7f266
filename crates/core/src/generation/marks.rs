//! Marks: the director's own rules, which say which packets a mark service serves.
//!
//! Netfilter's marks do not exist yet where the programs run. A rule names packets by protocol, destination, source, ports
//! and interface, and what it does to the mark, which begins as 0. All rules are looked at in their order, so the last one
//! that matches has the last word, as with `iptables -j MARK`.

use super::RootLine;
use crate::env::Tables;
use lvsx_platform::Line;

/// Lines that a rule takes: the first one is enough to see that it does not match, mostly.
pub const MARK_RULE_LINES: u32 = 2;

/// Rules at most; each is looked at for each packet that finds no connection.
pub const MOST_MARK_RULES: u32 = 512;

/// What rules see of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Address family as in `AF_INET` (2) or `AF_INET6` (10).
    pub family: u8,
    /// Protocol number.
    pub protocol: u8,
    /// Raw source port; 0 for protocols without.
    pub source_port: u16,
    /// Raw destination port; 0 for protocols without.
    pub destination_port: u16,
    /// Index of the interface it came in by.
    pub interface: u32,
    /// Source as 16 bytes in two raw words; an IPv4 address in the first four.
    pub source: [u64; 2],
    /// Destination, likewise.
    pub destination: [u64; 2],
}

/// A rule as lines of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkRule {
    /// Address family as in `AF_INET` (2) or `AF_INET6` (10); 0 for both.
    pub family: u8,
    /// Protocol number; 0 for all.
    pub protocol: u8,
    /// Index of the interface that packets come in by; 0 for all, `u32::MAX` for one that is not there.
    pub interface: u32,
    /// What the mark is changed to: `(mark & !mask) ^ value`.
    pub value: u32,
    /// Bits of the mark that are cleared before.
    pub mask: u32,
    /// Destination as 16 bytes in two raw words, in which only the bits of the mask may be set.
    pub destination: [u64; 2],
    /// Bits of the destination that must agree.
    pub destination_mask: [u64; 2],
    /// Source.
    pub source: [u64; 2],
    /// Bits of the source that must agree.
    pub source_mask: [u64; 2],
    /// Least and greatest destination port, numeric.
    pub destination_ports: [u16; 2],
    /// Least and greatest source port, numeric.
    pub source_ports: [u16; 2],
    /// Name of the interface, filled with zeros; for the director.
    pub interface_name: [u64; 2],
}

impl MarkRule {
    /// The lines as written to the arena.
    #[must_use]
    pub fn encode(&self) -> [[u64; 8]; MARK_RULE_LINES as usize] {
        let ports = |[least, greatest]: [u16; 2]| u64::from(least) | u64::from(greatest) << 16;
        [
            [
                u64::from(self.family)
                    | u64::from(self.protocol) << 8
                    | u64::from(self.interface) << 32,
                u64::from(self.value) | u64::from(self.mask) << 32,
                self.destination[0],
                self.destination[1],
                self.destination_mask[0],
                self.destination_mask[1],
                ports(self.destination_ports) | ports(self.source_ports) << 32,
                0,
            ],
            [
                self.source[0],
                self.source[1],
                self.source_mask[0],
                self.source_mask[1],
                self.interface_name[0],
                self.interface_name[1],
                0,
                0,
            ],
        ]
    }

    /// The rule that two lines hold.
    #[must_use]
    pub fn decode(first: &Line, second: &Line) -> Self {
        let (shape, change, ports) = (first[0].peek(), first[1].peek(), first[6].peek());
        let pair = |line: &Line, at: usize| [line[at].peek(), line[at + 1].peek()];
        Self {
            family: shape as u8,
            protocol: (shape >> 8) as u8,
            interface: (shape >> 32) as u32,
            value: change as u32,
            mask: (change >> 32) as u32,
            destination: pair(first, 2),
            destination_mask: pair(first, 4),
            source: pair(second, 0),
            source_mask: pair(second, 2),
            destination_ports: [ports as u16, (ports >> 16) as u16],
            source_ports: [(ports >> 32) as u16, (ports >> 48) as u16],
            interface_name: pair(second, 4),
        }
    }
}

impl RootLine {
    /// The mark of a packet: 0 begins, then each rule that matches changes it, in order.
    ///
    /// Cost: nothing to speak of without rules; else a line a rule, two for those whose destination matches. Not inlined,
    /// for BPF's stack.
    #[inline(never)]
    pub fn mark_of<T: Tables>(&self, tables: &T, ends: &Ends) -> u32 {
        let rules = self.marks(tables);
        if rules.count == 0 {
            return 0;
        }
        let count = if rules.count < MOST_MARK_RULES {
            rules.count
        } else {
            MOST_MARK_RULES
        };
        let mut mark = 0;
        tables.scan(count, |place| {
            let line = rules.first.wrapping_add(place * MARK_RULE_LINES);
            if let Some(change) = change(tables, line, ends) {
                mark = mark & !((change >> 32) as u32) ^ change as u32;
            }
            true
        });
        mark
    }
}

/// What the rule at `line` does to the mark of a packet: value + mask << 32. `None`: it does not match.
#[inline(always)]
fn change<T: Tables>(tables: &T, line: u32, ends: &Ends) -> Option<u64> {
    let first = tables.config(line)?;
    let (shape, ports) = (first[0].peek(), first[6].peek());
    let (family, protocol, interface) = (shape as u8, (shape >> 8) as u8, (shape >> 32) as u32);
    let is_kind = (family == 0 || family == ends.family)
        && (protocol == 0 || protocol == ends.protocol)
        && (interface == 0 || interface == ends.interface);
    let is_between = |port: u16, ports: u64| {
        let port = u16::from_be(port);
        port >= ports as u16 && port <= (ports >> 16) as u16
    };
    let is_there = |line: &Line, at: usize, address: [u64; 2]| {
        let low = (address[0] ^ line[at].peek()) & line[at + 2].peek();
        let high = (address[1] ^ line[at + 1].peek()) & line[at + 3].peek();
        low | high == 0
    };
    if !is_kind
        || !is_there(first, 2, ends.destination)
        || !is_between(ends.destination_port, ports)
        || !is_between(ends.source_port, ports >> 32)
    {
        return None;
    }
    let second = tables.config(line.wrapping_add(1))?;
    is_there(second, 0, ends.source).then(|| first[1].peek())
}
