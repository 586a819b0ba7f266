//! Which addresses concern the director: what goes into the address filters, and which prefixes are virtual as a whole.

use crate::addresses::{AddressKind, LocalRoute, LocalTable};
use crate::config::{Config, Marked};
use crate::generation::{raw_address, raw_address6};
use lvsx_core::generation::{Concern, MOST_PREFIXES};
use lvsx_ipvs::{Family, MarkRule, Prefix, ServiceKey};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that concern the director, raw, with what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concerns {
    /// IPv4.
    pub v4: BTreeMap<u32, Concern>,
    /// IPv6.
    pub v6: BTreeMap<[u64; 2], Concern>,
    /// Prefixes that are virtual as a whole, [`MOST_PREFIXES`] a family at most.
    pub prefixes: BTreeSet<Prefix>,
}

impl Concerns {
    /// Whether anything of IPv6 concerns the director.
    #[must_use]
    pub fn has_v6(&self) -> bool {
        !self.v6.is_empty() || self.prefixes.iter().any(|it| it.family() == Family::V6)
    }

    /// What `addr` is.
    #[must_use]
    pub fn of(&self, addr: IpAddr) -> Option<Concern> {
        match addr {
            IpAddr::V4(addr) => self.v4.get(&raw_address(addr)).copied(),
            IpAddr::V6(addr) => self.v6.get(&raw_address6(addr)).copied(),
        }
    }

    /// Makes these addresses what they are.
    pub fn extend(&mut self, more: &BTreeMap<IpAddr, Concern>) {
        more.iter()
            .for_each(|(addr, concern)| *self.at(*addr) = *concern);
    }

    fn at(&mut self, addr: IpAddr) -> &mut Concern {
        match addr {
            IpAddr::V4(addr) => self.v4.entry(raw_address(addr)).or_default(),
            IpAddr::V6(addr) => self.v6.entry(raw_address6(addr)).or_default(),
        }
    }
}

/// What concerns the director in the next generation.
#[derive(Clone, Debug)]
pub enum Concerned {
    /// This.
    Whole(Concerns),
    /// What does in the one before, but these addresses, which then are this: more than before, never less.
    More(BTreeMap<IpAddr, Concern>),
}

impl From<Concerns> for Concerned {
    fn from(concerns: Concerns) -> Self {
        Self::Whole(concerns)
    }
}

impl Concerned {
    /// All of it, given what concerns the director before.
    #[must_use]
    pub fn after<'a>(&'a self, before: Option<&Concerns>) -> Cow<'a, Concerns> {
        match self {
            Self::Whole(concerns) => Cow::Borrowed(concerns),
            Self::More(more) => {
                let mut concerns = before.cloned().unwrap_or_default();
                concerns.extend(more);
                Cow::Owned(concerns)
            }
        }
    }

    /// Whether of IPv6 it is what it was.
    #[must_use]
    pub fn keeps_v6(&self, before: &Concerns) -> bool {
        match self {
            Self::Whole(now) => before.v6 == now.v6 && before.has_v6() == now.has_v6(),
            Self::More(more) => more.keys().all(IpAddr::is_ipv4),
        }
    }
}

/// Addresses that the filter takes of one prefix which is routed as local: of a larger one the prefix is kept.
const LISTED: u32 = 16_384;

/// What is ours.
#[derive(Clone, Copy, Debug)]
pub struct Ours<'a> {
    /// What the kernel routes as local.
    pub locals: &'a LocalTable,
    /// Every virtual address is ours, local or not.
    pub any: bool,
    /// Addresses of destinations that were masqueraded once: connections made then live on.
    pub once_masqueraded: &'a BTreeSet<IpAddr>,
}

static NOWHERE: LocalTable = LocalTable::NONE;
static NOBODY: BTreeSet<IpAddr> = BTreeSet::new();

impl Ours<'static> {
    /// Every virtual address is ours.
    pub const EVERYTHING: Self = Self {
        locals: &NOWHERE,
        any: true,
        once_masqueraded: &NOBODY,
    };
}

impl Ours<'_> {
    /// Whether `addr` is ours.
    #[must_use]
    pub fn has(&self, addr: IpAddr) -> bool {
        self.any || self.locals.is_local(addr)
    }

    /// The addresses of this host that are routed to it one by one.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let is_ours = |route: &&LocalRoute| route.kind == AddressKind::Local;
        self.locals.singles().filter(is_ours).map(|it| it.prefix)
    }

    /// The parts of `prefix` that are ours: those that the kernel routes as local, and with `any` the whole, unless it is
    /// everything.
    fn within(&self, prefix: Prefix) -> Vec<Prefix> {
        let mut parts = Vec::new();
        if self.any && prefix.length() > 0 {
            parts.push(prefix);
        }
        for route in self.locals.routes() {
            let Some(local) = Prefix::new(route.prefix, route.length) else {
                continue;
            };
            let is_loopback = route.prefix.is_loopback() && !prefix.addr().is_loopback();
            if route.kind != AddressKind::Local || is_loopback {
                continue;
            }
            if prefix.contains(local.addr()) && prefix.length() <= local.length() {
                parts.push(local);
            } else if local.contains(prefix.addr()) {
                parts.push(prefix);
            }
        }
        parts
    }
}

/// Number of addresses in a prefix, `u32::MAX` for all that are more.
fn size(prefix: Prefix) -> u32 {
    let bits = match prefix.addr() {
        IpAddr::V4(_) => 32 - u32::from(prefix.length()),
        IpAddr::V6(_) => 128 - u32::from(prefix.length()),
    };
    1u32.checked_shl(bits).unwrap_or(u32::MAX)
}

/// The addresses of a small prefix.
fn addresses(prefix: Prefix) -> impl Iterator<Item = IpAddr> {
    (0..size(prefix)).map(move |number| match prefix.addr() {
        IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() | number)),
        IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | u128::from(number))),
    })
}

/// The addresses of `config`'s services as far as they are ours, those that mark rules give a mark as far as they are ours and
/// there is a service by mark, and those of destinations that are masqueraded or were; including removed ones, whose connections
/// live on. And this host's own, which destinations and clients may have too.
///
/// With the last service of an address family everything of that family ends: then none of its addresses concerns the
/// director (as in the kernel, which takes its hooks away then; Linux 5.7).
#[must_use]
pub fn of(config: &Config, ours: Ours<'_>) -> Concerns {
    let mut concerns = Concerns::default();
    let keys = || config.services.values().map(|service| service.key);
    for addr in config.virtual_addresses().filter(|addr| ours.has(*addr)) {
        concerns.at(addr).is_virtual = true;
    }
    let reach = reach(config, ours);
    for addr in reach.listed {
        concerns.at(addr).is_virtual = true;
    }
    concerns.prefixes = reach.whole;
    for addr in config
        .masqueraded()
        .chain(ours.once_masqueraded.iter().copied())
    {
        concerns.at(addr).is_server = true;
    }
    for addr in ours.addresses().chain(config.servers()) {
        if ours.locals.is_local(addr) {
            concerns.at(addr).is_local = true;
        }
    }
    if !keys().any(|key| key.family() == Family::V4) {
        concerns.v4.clear();
        concerns.prefixes.retain(|it| it.family() != Family::V4);
    }
    if !keys().any(|key| key.family() == Family::V6) {
        concerns.v6.clear();
        concerns.prefixes.retain(|it| it.family() != Family::V6);
    }
    concerns
}

/// The addresses of ours that mark rules lead to services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// One by one.
    pub listed: BTreeSet<IpAddr>,
    /// As prefixes, because they are many.
    pub whole: BTreeSet<Prefix>,
}

/// The addresses of ours that mark rules give a mark, in families that have a service by mark.
#[must_use]
pub fn reach(config: &Config, ours: Ours<'_>) -> Reach {
    let has_service = |family: &Family| {
        let by_mark = |key| matches!(key, ServiceKey::Mark { family: of, .. } if of == *family);
        config.services.values().any(|service| by_mark(service.key))
    };
    let mut reach = Reach::default();
    for family in FAMILIES.into_iter().filter(has_service) {
        let small = parts(&config.marks, family, ours).filter(is_small);
        let listed = small.flat_map(addresses).filter(|addr| ours.has(*addr));
        reach.listed.extend(listed);
        let whole = whole(&config.marks, family, ours);
        reach.whole.extend(whole.into_iter().take(MOST_PREFIXES));
    }
    reach
}

/// The first prefix beyond those that there is place for: prefixes that a mark rule concerns and that are routed as local,
/// too large to be listed.
#[must_use]
pub fn beyond(marks: &[Marked], ours: Ours<'_>) -> Option<Prefix> {
    FAMILIES
        .into_iter()
        .find_map(|family| whole(marks, family, ours).into_iter().nth(MOST_PREFIXES))
}

/// The large parts that rules concern, without those that lie in another.
fn whole(marks: &[Marked], family: Family, ours: Ours<'_>) -> BTreeSet<Prefix> {
    let large: BTreeSet<Prefix> = parts(marks, family, ours)
        .filter(|part| !is_small(part))
        .collect();
    let is_within = |inner: &Prefix, outer: &Prefix| {
        inner != outer && outer.contains(inner.addr()) && outer.length() <= inner.length()
    };
    let is_outermost = |part: &&Prefix| !large.iter().any(|other| is_within(part, other));
    large.iter().filter(is_outermost).copied().collect()
}

fn is_small(prefix: &Prefix) -> bool {
    size(*prefix) <= LISTED
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn parts(marks: &[Marked], family: Family, ours: Ours<'_>) -> impl Iterator<Item = Prefix> {
    marks
        .iter()
        .filter_map(move |mark| concerned(&mark.rule, family))
        .flat_map(move |prefix| ours.within(prefix))
}

/// The destinations in `family` that a rule is about.
fn concerned(rule: &MarkRule, family: Family) -> Option<Prefix> {
    if rule.family.is_some_and(|other| other != family) {
        return None;
    }
    rule.to.or_else(|| Prefix::new(family.unspecified(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(locals: &[(&str, u8)], any: bool, prefix: &str) -> Vec<String> {
        let route = |(prefix, length): &(&str, u8)| LocalRoute {
            prefix: prefix.parse().expect("an address"),
            length: *length,
            kind: AddressKind::Local,
            interface: 1,
        };
        let locals: LocalTable = locals.iter().map(route).collect();
        let ours = Ours {
            locals: &locals,
            any,
            ..Ours::EVERYTHING
        };
        let parts = ours.within(prefix.parse().expect("a prefix"));
        let (small, large): (Vec<_>, Vec<_>) = parts.into_iter().partition(is_small);
        let found: BTreeSet<IpAddr> = small.into_iter().flat_map(addresses).collect();
        let found = found.iter().map(ToString::to_string);
        found.chain(large.iter().map(ToString::to_string)).collect()
    }

    #[test]
    fn a_rule_concerns_the_local_addresses_it_covers() {
        let locals = [
            ("192.0.2.1", 32),
            ("192.0.2.9", 32),
            ("198.51.100.0", 30),
            ("127.0.0.0", 8),
            ("2001:db8::1", 128),
        ];
        assert_eq!(
            within(&locals, false, "192.0.2.0/24"),
            ["192.0.2.1", "192.0.2.9"]
        );
        assert_eq!(within(&locals, false, "192.0.2.9"), ["192.0.2.9"]);
        assert_eq!(within(&locals, false, "192.0.2.2"), Vec::<String>::new());
        assert_eq!(within(&locals, false, "198.51.100.2"), ["198.51.100.2"]);
        assert_eq!(within(&locals, false, "198.51.100.0/24").len(), 4);
        assert_eq!(within(&locals, false, "0.0.0.0/0").len(), 6);
        assert_eq!(within(&locals, false, "::/0"), ["2001:db8::1"]);
        assert_eq!(within(&locals, true, "203.0.113.7"), ["203.0.113.7"]);
        assert_eq!(within(&[], true, "10.0.0.0/8"), ["10.0.0.0/8"]);
        assert_eq!(within(&[], true, "0.0.0.0/0"), Vec::<String>::new());
    }

    #[test]
    fn many_addresses_are_one_prefix() {
        let locals = [("10.0.0.0", 8), ("2001:db8::", 64)];
        assert_eq!(within(&locals, false, "10.9.0.0/16"), ["10.9.0.0/16"]);
        assert_eq!(within(&locals, false, "0.0.0.0/0"), ["10.0.0.0/8"]);
        assert_eq!(within(&locals, false, "::/0"), ["2001:db8::/64"]);
        assert_eq!(
            within(&locals, false, "10.9.8.6/31"),
            ["10.9.8.6", "10.9.8.7"]
        );
    }
}
