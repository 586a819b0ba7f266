//! What the kernel makes of an IPv4 address: ours, a broadcast, or somewhere else.

use std::net::Ipv4Addr;

/// What an address is to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// Delivered to this host (`RTN_LOCAL`).
    Local,
    /// To all of a network (`RTN_BROADCAST`), or to nobody in particular (0.0.0.0/8).
    Broadcast,
    /// To a group.
    Multicast,
    /// Another host's.
    Unicast,
}

/// A route that says what an address is rather than where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRoute {
    /// First address of the prefix.
    pub prefix: Ipv4Addr,
    /// Bits of the prefix.
    pub length: u8,
    /// Local or broadcast.
    pub kind: AddressKind,
    /// Index of the interface that carries it; 0 for none.
    pub interface: u32,
}

/// The local routing table of the network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalTable(pub Vec<LocalRoute>);

impl LocalTable {
    /// What `address` is, as the kernel says (`inet_addr_type`, Linux 6.1): fixed ranges first, then the longest prefix.
    #[must_use]
    pub fn kind(&self, address: Ipv4Addr) -> AddressKind {
        if address.octets()[0] == 0 || address.is_broadcast() {
            return AddressKind::Broadcast;
        }
        if address.is_multicast() {
            return AddressKind::Multicast;
        }
        self.route(address)
            .map_or(AddressKind::Unicast, |route| route.kind)
    }

    /// The route that says what `address` is. `None`: it lies elsewhere.
    #[must_use]
    pub fn route(&self, address: Ipv4Addr) -> Option<&LocalRoute> {
        let covers = |route: &&LocalRoute| {
            let host_bits = 32u32.saturating_sub(route.length.into());
            let network = |address: Ipv4Addr| address.to_bits().checked_shr(host_bits);
            network(address) == network(route.prefix)
        };
        self.0
            .iter()
            .filter(covers)
            .max_by_key(|route| route.length)
    }

    /// Whether packets to `address` are this host's.
    #[must_use]
    pub fn is_local(&self, address: Ipv4Addr) -> bool {
        self.kind(address) == AddressKind::Local
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_says_what_an_address_is() {
        let route = |prefix: [u8; 4], length, kind| LocalRoute {
            prefix: prefix.into(),
            length,
            kind,
            interface: 0,
        };
        let table = LocalTable(vec![
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
            assert_eq!(table.kind(address.into()), kind, "{address:?}");
        }
    }

    #[test]
    fn a_prefix_of_no_bits_covers_everything() {
        let everything = LocalRoute {
            prefix: Ipv4Addr::UNSPECIFIED,
            length: 0,
            kind: AddressKind::Local,
            interface: 1,
        };
        let table = LocalTable(vec![everything]);
        assert!(table.is_local(Ipv4Addr::new(8, 8, 8, 8)));
    }
}
