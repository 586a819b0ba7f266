//! Mark rules: which packets carry a firewall mark for the director, as types and as text.
//!
//! Where lvsd handles packets netfilter has not marked them yet, so it has rules of its own. A rule is a line of words, in any
//! order: what it does to the mark, then what a packet must be. Words that are absent hold for every packet.
//!
//! ```text
//! mark 1 protocol tcp to 192.168.1.40 ports 80
//! mark 2 protocol tcp to 2001:db8::40/128 ports 8000-8099 from 2001:db8:1::/48 interface eth0
//! mark 0x10/0xf0 family ipv4 protocol udp from-ports 5060
//! ```
//!
//! A packet's mark begins as 0; every rule that matches changes it, in order, so the last one has the last word, as with
//! `iptables -j MARK`. `mark V/M` clears the bits of M and then flips those of V (`--set-xmark`); `mark V` sets all.

use crate::model::Family;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Longest name of an interface.
const NAME_MAX: usize = 15;

/// An address range: the addresses that share the first bits with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    addr: IpAddr,
    length: u8,
}

impl Prefix {
    /// The prefix of `length` bits that `addr` lies in. `None`: longer than an address.
    #[must_use]
    pub fn new(addr: IpAddr, length: u8) -> Option<Self> {
        let addr = match addr {
            IpAddr::V4(addr) if length <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(addr.to_bits() & mask))
            }
            IpAddr::V6(addr) if length <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & mask))
            }
            _ => return None,
        };
        Some(Self { addr, length })
    }

    /// One address.
    #[must_use]
    pub const fn host(addr: IpAddr) -> Self {
        let length = match addr {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        Self { addr, length }
    }

    /// The first address; bits behind the prefix are 0.
    #[must_use]
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Number of bits.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Its address family.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self.addr {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// Whether `addr` lies in it.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        Family::of(&addr) == Family::of(&self.addr) && Self::new(addr, self.length) == Some(*self)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::host(self.addr) {
            write!(f, "{}", self.addr)
        } else {
            write!(f, "{}/{}", self.addr, self.length)
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (addr, length) = match text.split_once('/') {
            Some((addr, length)) => (addr, Some(length)),
            None => (text, None),
        };
        let wrong = || format!("`{text}` is no address or prefix, as 10.0.0.0/8 or 2001:db8::1");
        let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
        let Some(length) = length else {
            return Ok(Self::host(addr));
        };
        let length = digits(length).ok_or_else(wrong)?;
        let whole = Self::new(addr, length).ok_or_else(wrong)?;
        if whole.addr != addr {
            return Err(format!(
                "`{text}` has bits behind its prefix; write {whole}"
            ));
        }
        Ok(whole)
    }
}

/// Ports from the first to the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The least.
    pub first: u16,
    /// The greatest; not below the first.
    pub last: u16,
}

impl PortRange {
    /// Every port, also of protocols that have none.
    pub const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (digits(first), digits(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!(
                "`{text}` is no port or range of ports, as 80 or 8000-8099"
            )),
        }
    }
}

/// What a rule does to a mark: clears the bits of the mask, then flips those of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkChange {
    /// Bits that are flipped.
    pub value: u32,
    /// Bits that are cleared before.
    pub mask: u32,
}

impl MarkChange {
    /// Sets the mark to `value`.
    #[must_use]
    pub const fn exactly(value: u32) -> Self {
        Self {
            value,
            mask: u32::MAX,
        }
    }
}

impl fmt::Display for MarkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mask == u32::MAX {
            write!(f, "{}", self.value)
        } else {
            write!(f, "{:#x}/{:#x}", self.value, self.mask)
        }
    }
}

impl FromStr for MarkChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no mark, as 1, 0x10 or 0x10/0xf0");
        match text.split_once('/') {
            None => number(text).map(Self::exactly).ok_or_else(wrong),
            Some((value, mask)) => Ok(Self {
                value: number(value).ok_or_else(wrong)?,
                mask: number(mask).ok_or_else(wrong)?,
            }),
        }
    }
}

/// A mark rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkRule {
    /// What it does.
    pub change: MarkChange,
    /// Address family of the packets, that of its prefixes if it has some; `None` is both.
    pub family: Option<Family>,
    /// Protocol number; `None` is every one.
    pub protocol: Option<u8>,
    /// Where packets are to.
    pub to: Option<Prefix>,
    /// Destination ports.
    pub ports: PortRange,
    /// Where packets are from.
    pub from: Option<Prefix>,
    /// Source ports.
    pub from_ports: PortRange,
    /// Name of the interface that packets come in by, at most 15 bytes.
    pub interface: Option<String>,
}

impl MarkRule {
    /// A rule for every packet.
    #[must_use]
    pub const fn new(change: MarkChange) -> Self {
        Self {
            change,
            family: None,
            protocol: None,
            to: None,
            ports: PortRange::ALL,
            from: None,
            from_ports: PortRange::ALL,
            interface: None,
        }
    }

    /// The rule with its family settled, prefixes without a bit left out, and checked.
    ///
    /// # Errors
    /// Families or ports and protocol contradict each other, or a name is too long; the text says which.
    pub fn checked(mut self) -> Result<Self, String> {
        for prefix in [self.to, self.from].into_iter().flatten() {
            let family = Family::of(&prefix.addr);
            if self.family.is_some_and(|other| other != family) {
                return Err(format!(
                    "{prefix} is of another address family than the rest of the rule"
                ));
            }
            self.family = Some(family);
        }
        // What holds for every address says no more than the family.
        self.to = self.to.filter(|prefix| prefix.length != 0);
        self.from = self.from.filter(|prefix| prefix.length != 0);
        let has_ports = [self.ports, self.from_ports] != [PortRange::ALL; 2];
        if has_ports && !matches!(self.protocol, Some(6 | 17 | 132)) {
            return Err("ports need `protocol tcp`, `protocol udp` or `protocol sctp`".to_owned());
        }
        if let Some(name) = &self.interface
            && (name.is_empty()
                || name.len() > NAME_MAX
                || name.contains(['/', ' ', '\t', '+', '*']))
        {
            return Err(format!(
                "`{name}` is no name of one interface, 1 to {NAME_MAX} bytes"
            ));
        }
        Ok(self)
    }
}

/// Protocols by name.
const PROTOCOLS: [(&str, u8); 8] = [
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("sctp", 132),
];

/// The number of a protocol by its name or number.
#[must_use]
pub fn protocol_number(text: &str) -> Option<u8> {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == text);
    named
        .map(|(_, number)| *number)
        .or_else(|| digits(text))
        .filter(|number| *number != 0)
}

impl fmt::Display for MarkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mark {}", self.change)?;
        if let (Some(family), None, None) = (self.family, self.to, self.from) {
            let name = match family {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            };
            write!(f, " family {name}")?;
        }
        if let Some(number) = self.protocol {
            match PROTOCOLS.iter().find(|(_, known)| *known == number) {
                Some((name, _)) => write!(f, " protocol {name}")?,
                None => write!(f, " protocol {number}")?,
            }
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if self.ports != PortRange::ALL {
            write!(f, " ports {}", self.ports)?;
        }
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        if self.from_ports != PortRange::ALL {
            write!(f, " from-ports {}", self.from_ports)?;
        }
        if let Some(name) = &self.interface {
            write!(f, " interface {name}")?;
        }
        Ok(())
    }
}

impl FromStr for MarkRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut change = None;
        let mut rule = Self::new(MarkChange::exactly(0));
        let mut seen = Vec::new();
        let mut words = text.split_ascii_whitespace();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or(format!("`{word}` wants a value behind it"))
            };
            match word {
                "mark" => change = Some(value()?.parse()?),
                "family" => {
                    rule.family = Some(match value()? {
                        "ipv4" => Family::V4,
                        "ipv6" => Family::V6,
                        other => return Err(format!("family is ipv4 or ipv6, not `{other}`")),
                    });
                }
                "protocol" => {
                    let name = value()?;
                    let number = protocol_number(name).ok_or(format!(
                        "`{name}` is no protocol, as tcp, udp or a number from 1 to 255"
                    ))?;
                    rule.protocol = Some(number);
                }
                "to" => rule.to = Some(value()?.parse()?),
                "ports" | "port" => rule.ports = value()?.parse()?,
                "from" => rule.from = Some(value()?.parse()?),
                "from-ports" | "from-port" => rule.from_ports = value()?.parse()?,
                "interface" => rule.interface = Some(value()?.to_owned()),
                other => {
                    return Err(format!(
                        "`{other}` is unknown; there are mark, family, protocol, to, ports, from, from-ports, interface"
                    ));
                }
            }
            let word = word.trim_end_matches('s');
            if seen.contains(&word) {
                return Err(format!("`{word}` is there twice"));
            }
            seen.push(word);
        }
        rule.change =
            change.ok_or("`mark` is missing: a rule says which mark it gives, as `mark 1`")?;
        rule.checked()
    }
}

/// A change of the list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkEdit {
    /// Appends a rule.
    Add(MarkRule),
    /// Removes the last rule that is the same.
    Delete(MarkRule),
    /// Removes all.
    Flush,
}

impl fmt::Display for MarkEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(rule) => write!(f, "add {rule}"),
            Self::Delete(rule) => write!(f, "del {rule}"),
            Self::Flush => f.write_str("flush"),
        }
    }
}

/// The changes in a text, one a line: `add RULE`, `del RULE`, `flush`. Empty lines and what follows a `#` are passed over.
///
/// # Errors
/// Line number and reason of the first line that is none.
pub fn edits(text: &str) -> Result<Vec<MarkEdit>, String> {
    let lines = (1..).zip(text.lines());
    let lines = lines.map(|(number, line)| {
        let line = line.split('#').next().unwrap_or_default().trim();
        (number, line)
    });
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| edit(line).map_err(|why| format!("line {number}: {why}")))
        .collect()
}

fn edit(line: &str) -> Result<MarkEdit, String> {
    let (verb, rule) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    match verb {
        "add" => rule.parse().map(MarkEdit::Add),
        "del" => rule.parse().map(MarkEdit::Delete),
        "flush" if rule.is_empty() => Ok(MarkEdit::Flush),
        _ => Err(format!(
            "`{verb}` is unknown; a line begins with add, del or flush"
        )),
    }
}

/// A decimal number without sign.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// A decimal or, with 0x, hexadecimal number.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u32::from_str_radix(hex, 16).ok()
        }
        _ => digits(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(family: Family) -> impl Strategy<Value = Option<Prefix>> {
        let prefix = (any::<u128>(), 0u8..=128).prop_map(move |(bits, length)| match family {
            Family::V4 => Prefix::new(IpAddr::V4(Ipv4Addr::from_bits(bits as u32)), length % 33),
            Family::V6 => Prefix::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), length),
        });
        prop_oneof![Just(None), prefix]
    }

    fn ports() -> impl Strategy<Value = PortRange> {
        let range = (any::<u16>(), any::<u16>()).prop_map(|(a, b)| PortRange {
            first: a.min(b),
            last: a.max(b),
        });
        prop_oneof![Just(PortRange::ALL), range]
    }

    fn rule() -> impl Strategy<Value = MarkRule> {
        let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
        let protocol = prop_oneof![Just(Some(6)), Just(Some(17)), Just(Some(132))];
        let words = family.prop_flat_map(|family| (Just(family), prefix(family), prefix(family)));
        let name = prop_oneof![Just(None), "[a-z0-9.]{1,15}".prop_map(Some)];
        (
            any::<u32>(),
            any::<u32>(),
            words,
            protocol,
            ports(),
            ports(),
            name,
        )
            .prop_map(
                |(value, mask, (family, to, from), protocol, ports, from_ports, interface)| {
                    MarkRule {
                        change: MarkChange { value, mask },
                        family: Some(family),
                        protocol,
                        to,
                        ports,
                        from,
                        from_ports,
                        interface,
                    }
                    .checked()
                    .unwrap()
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(rule in rule()) {
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }

        #[test]
        fn any_text_is_a_rule_or_an_error(text in "(mark|to|from|ports|protocol|[0-9a-f:./ -]{0,9}| ){0,12}") {
            if let Ok(rule) = text.parse::<MarkRule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
            let _ = edits(&text);
        }

        #[test]
        fn a_prefix_holds_what_shares_its_bits(one: u32, other: u32, length in 0u8..=32) {
            let prefix = Prefix::new(IpAddr::V4(Ipv4Addr::from_bits(one)), length).unwrap();
            let shares = u64::from(one ^ other) >> (32 - length) == 0;
            prop_assert_eq!(prefix.contains(IpAddr::V4(Ipv4Addr::from_bits(other))), shares);
        }
    }

    #[test]
    fn rules_read_as_in_the_examples() {
        for text in [
            "mark 1 protocol tcp to 192.168.1.40 ports 80",
            "mark 2 protocol tcp to 2001:db8::40 ports 8000-8099 from 2001:db8:1::/48 interface eth0",
            "mark 0x10/0xf0 family ipv4 protocol udp from-ports 5060",
            "mark 7",
        ] {
            let rule: MarkRule = text.parse().unwrap();
            assert_eq!(rule.to_string(), text);
        }
    }

    #[test]
    fn errors_name_the_word_and_the_fix() {
        for (text, part) in [
            ("to 10.0.0.1", "`mark` is missing"),
            ("mark", "wants a value"),
            ("mark one", "`one` is no mark"),
            ("mark 1 to 10.0.0.1/8", "write 10.0.0.0/8"),
            ("mark 1 to 10.0.0.0/33", "no address or prefix"),
            (
                "mark 1 to 10.0.0.1 from 2001:db8::/32",
                "another address family",
            ),
            ("mark 1 to 10.0.0.1 ports 80", "ports need `protocol tcp`"),
            ("mark 1 protocol tcp ports 90-80", "`90-80`"),
            ("mark 1 mark 2", "there twice"),
            ("mark 1 protocol tcp port 1 ports 2", "there twice"),
            ("mark 1 interface eth+", "no name of one interface"),
            ("mark 1 dport 80", "`dport` is unknown"),
        ] {
            let why = text.parse::<MarkRule>().unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
        let why = edits("# marks\nadd mark 1\n\nadd mark x # no\n").unwrap_err();
        assert!(why.starts_with("line 4: "), "{why}");
    }
}
