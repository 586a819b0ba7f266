//! What the kernel makes of an address: ours, a broadcast, or somewhere else.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// Delivered to this host (`RTN_LOCAL`).
    Local,
    /// To all of a network (`RTN_BROADCAST`), or to nobody in particular (0.0.0.0/8, ::).
    Broadcast,
    /// To a group.
    Multicast,
    /// To whoever is on the link (fe80::/10), unless it is ours.
    LinkLocal,
    /// Another host's.
    Unicast,
}

/// A route that says what an address is rather than where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRoute {
    /// First address of the prefix.
    pub prefix: IpAddr,
    /// Bits of the prefix.
    pub length: u8,
    /// Local or broadcast.
    pub kind: AddressKind,
    /// Index of the interface that carries it; 0 for none.
    pub interface: u32,
}

impl LocalRoute {
    /// Whether it is about one address.
    fn is_single(&self) -> bool {
        self.length == if self.prefix.is_ipv4() { 32 } else { 128 }
    }

    fn covers(&self, address: IpAddr) -> bool {
        match (self.prefix, address) {
            (IpAddr::V4(prefix), IpAddr::V4(address)) => {
                let other = prefix.to_bits() ^ address.to_bits();
                other.leading_zeros() >= self.length.into()
            }
            (IpAddr::V6(prefix), IpAddr::V6(address)) => {
                let other = prefix.to_bits() ^ address.to_bits();
                other.leading_zeros() >= self.length.into()
            }
            _ => false,
        }
    }
}

/// The local routing table of the network namespace: the same whatever order its routes came in. Looking for an address costs the
/// logarithm of the single ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalTable {
    singles: BTreeMap<IpAddr, LocalRoute>,
    wide: Vec<LocalRoute>,
}

impl FromIterator<LocalRoute> for LocalTable {
    fn from_iter<I: IntoIterator<Item = LocalRoute>>(routes: I) -> Self {
        let mut table = Self::NONE;
        routes.into_iter().for_each(|route| table.push(route));
        table
    }
}

impl LocalTable {
    /// Without a route.
    pub const NONE: Self = Self {
        singles: BTreeMap::new(),
        wide: Vec::new(),
    };

    /// Adds a route; of two about one address that of the higher interface counts.
    pub fn push(&mut self, route: LocalRoute) {
        if route.is_single() {
            let known = self.singles.entry(route.prefix).or_insert(route);
            if known.interface <= route.interface {
                *known = route;
            }
        } else {
            let order = |route: &LocalRoute| (route.prefix, route.length, route.interface);
            let place = self.wide.partition_point(|it| order(it) <= order(&route));
            self.wide.insert(place, route);
        }
    }

    /// The routes about one address each.
    pub fn singles(&self) -> impl Iterator<Item = &LocalRoute> {
        self.singles.values()
    }

    /// All routes.
    pub fn routes(&self) -> impl Iterator<Item = &LocalRoute> {
        self.singles.values().chain(&self.wide)
    }

    /// What `address` is, as the kernel says (`inet_addr_type`, `ipv6_addr_type`, Linux 6.1): fixed ranges first, then the
    /// longest prefix.
    #[must_use]
    pub fn kind(&self, address: impl Into<IpAddr>) -> AddressKind {
        let address = address.into();
        match address {
            IpAddr::V4(address) if address.octets()[0] == 0 || address == Ipv4Addr::BROADCAST => {
                return AddressKind::Broadcast;
            }
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => return AddressKind::Broadcast,
            _ if address.is_multicast() => return AddressKind::Multicast,
            _ => {}
        }
        match (self.route(address), address) {
            (Some(route), _) => route.kind,
            (None, IpAddr::V6(address)) if address.is_unicast_link_local() => {
                AddressKind::LinkLocal
            }
            (None, _) => AddressKind::Unicast,
        }
    }

    /// The route that says what `address` is. `None`: it lies elsewhere.
    #[must_use]
    pub fn route(&self, address: impl Into<IpAddr>) -> Option<&LocalRoute> {
        let address = address.into();
        self.singles.get(&address).or_else(|| {
            let routes = self.wide.iter();
            routes
                .filter(|route| route.covers(address))
                .max_by_key(|route| route.length)
        })
    }

    /// Whether packets to `address` are this host's.
    #[must_use]
    pub fn is_local(&self, address: impl Into<IpAddr>) -> bool {
        self.kind(address) == AddressKind::Local
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_says_what_an_address_is() {
        let route = |prefix: [u8; 4], length, kind| LocalRoute {
            prefix: IpAddr::from(prefix),
            length,
            kind,
            interface: 0,
        };
        let table = LocalTable::from_iter([
            route([127, 0, 0, 0], 8, AddressKind::Local),
            route([127, 255, 255, 255], 32, AddressKind::Broadcast),
            route([192, 168, 1, 40], 32, AddressKind::Local),
            route([10, 1, 0, 0], 16, AddressKind::Local),
        ]);
        let kinds = [
            ([192, 168, 1, 40], AddressKind::Local),
            ([192, 168, 1, 41], AddressKind::Unicast),
            ([127, 3, 2, 1], AddressKind::Local),
            ([127, 255, 255, 255], AddressKind::Broadcast),
            ([10, 1, 200, 3], AddressKind::Local),
            ([10, 2, 0, 1], AddressKind::Unicast),
            ([0, 0, 0, 0], AddressKind::Broadcast),
            ([255, 255, 255, 255], AddressKind::Broadcast),
            ([224, 0, 0, 81], AddressKind::Multicast),
        ];
        for (address, kind) in kinds {
            assert_eq!(table.kind(address), kind, "{address:?}");
        }
    }

    #[test]
    fn a_prefix_of_no_bits_covers_everything() {
        let everything = LocalRoute {
            prefix: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            length: 0,
            kind: AddressKind::Local,
            interface: 1,
        };
        let table = LocalTable::from_iter([everything]);
        assert!(table.is_local(Ipv4Addr::new(8, 8, 8, 8)));
    }

    #[test]
    fn ipv6_addresses_are_told_apart() {
        let local = |prefix: &str, length| LocalRoute {
            prefix: prefix.parse().expect("an address"),
            length,
            kind: AddressKind::Local,
            interface: 2,
        };
        let table = LocalTable::from_iter([
            local("2001:db8::40", 128),
            local("fe80::1", 128),
            local("2001:db8:1::", 48),
        ]);
        for (address, kind) in [
            ("2001:db8::40", AddressKind::Local),
            ("2001:db8::41", AddressKind::Unicast),
            ("2001:db8:1:2::3", AddressKind::Local),
            ("fe80::1", AddressKind::Local),
            ("fe80::2", AddressKind::LinkLocal),
            ("ff02::1", AddressKind::Multicast),
            ("::", AddressKind::Broadcast),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(table.kind(address), kind, "{address}");
        }
    }
}
