//! What is the case in the network namespace, as plain data.

use crate::addresses::{AddressKind, LocalRoute, LocalTable};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia,
};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its link-layer address, 48 bits as they lie in memory; 0 for none.
    pub address: u64,
    /// Its MTU.
    pub mtu: u32,
    /// What it is.
    pub kind: InterfaceKind,
    /// Whether it is switched on.
    pub is_up: bool,
    /// Index of the interface it is a member of; 0 for none.
    pub master: u32,
    /// Whether an XDP program is attached, ours or another's.
    pub has_xdp: bool,
}

/// What an interface is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceKind {
    /// Carries Ethernet frames to others: a card, a VLAN, macvlan.
    Ethernet,
    /// One end of a veth pair: Ethernet too, but frames sent back by `XDP_TX` wait there for the next other frame, unless
    /// the far end runs an XDP program itself (`veth_xdp_flush`, Linux 6.18).
    Veth,
    /// Carries those of its members: a bridge, a bond, a team.
    Aggregate,
    /// `lo`.
    Loopback,
    /// Carries no Ethernet frames to anybody: a tunnel, dummy, VRF.
    Other,
}

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// Index of the interface it is reached by.
    pub interface: u32,
    /// Its address, of either family: IPv4 routes may lead by an IPv6 gateway.
    pub address: IpAddr,
}

/// The way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The next hop.
    pub hop: Hop,
    /// The address that this host would send from.
    pub source: Option<IpAddr>,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Interfaces by index.
    pub interfaces: BTreeMap<u32, Interface>,
    /// What addresses are.
    pub locals: LocalTable,
    /// Next hops of routes.
    pub gateways: BTreeSet<Hop>,
    /// Indices of the interfaces that default routes leave by.
    pub default_interfaces: BTreeSet<u32>,
    /// A digest of all routes to elsewhere: another one means that ways may be others.
    pub routes: u64,
}

impl Facts {
    /// The facts in these messages.
    #[must_use]
    pub fn of(links: &[LinkMessage], routes: &[RouteMessage]) -> Self {
        let mut facts = Self {
            interfaces: links
                .iter()
                .map(|link| (link.header.index, interface(link)))
                .collect(),
            ..Self::default()
        };
        routes.iter().for_each(|route| facts.take(route));
        facts
    }

    fn take(&mut self, route: &RouteMessage) {
        let length = route.header.destination_prefix_length;
        let kind = match route.header.kind {
            RouteType::Local => AddressKind::Local,
            RouteType::Broadcast => AddressKind::Broadcast,
            RouteType::Anycast => AddressKind::Local,
            RouteType::BlackHole
            | RouteType::Unreachable
            | RouteType::Prohibit
            | RouteType::Throw => {
                self.routes = self.routes.wrapping_add(digest(route));
                return;
            }
            RouteType::Unicast => {
                self.routes = self.routes.wrapping_add(digest(route));
                let hops = hops(&route.attributes);
                if length == 0 {
                    self.default_interfaces
                        .extend(interfaces(&route.attributes));
                }
                self.gateways.extend(hops);
                return;
            }
            _ => return,
        };
        let prefix = route
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::Destination(address) => ip(address),
                _ => None,
            });
        let everything = match route.header.address_family {
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let interface = interfaces(&route.attributes).next().unwrap_or(0);
        self.locals.push(LocalRoute {
            prefix: prefix.unwrap_or(everything),
            length,
            kind,
            interface,
        });
    }
}

/// A digest of what decides the ways by a route; how long it lasts, which each router advertisement changes, is not of it.
fn digest(route: &RouteMessage) -> u64 {
    let mut hasher = DefaultHasher::new();
    let header = &route.header;
    u8::from(header.address_family).hash(&mut hasher);
    u8::from(header.kind).hash(&mut hasher);
    (header.table, header.destination_prefix_length, header.tos).hash(&mut hasher);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(address) => (1, ip(address)).hash(&mut hasher),
            RouteAttribute::PrefSource(address) => (2, ip(address)).hash(&mut hasher),
            RouteAttribute::Priority(priority) => (3, priority).hash(&mut hasher),
            RouteAttribute::Table(table) => (4, table).hash(&mut hasher),
            _ => {}
        }
    }
    interfaces(&route.attributes).for_each(|interface| interface.hash(&mut hasher));
    hops(&route.attributes).for_each(|hop| hop.hash(&mut hasher));
    hasher.finish()
}

/// The interfaces that a route leaves by.
fn interfaces(attributes: &[RouteAttribute]) -> impl Iterator<Item = u32> {
    attributes.iter().flat_map(|attribute| match attribute {
        RouteAttribute::Oif(interface) => vec![*interface],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    })
}

/// The gateways of a route.
fn hops(attributes: &[RouteAttribute]) -> impl Iterator<Item = Hop> {
    let several = attributes.iter().flat_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => hops
            .iter()
            .filter_map(|path| {
                Some(Hop {
                    interface: path.interface_index,
                    address: gateway(&path.attributes)?,
                })
            })
            .collect(),
        _ => Vec::new(),
    });
    hop(attributes, None).into_iter().chain(several)
}

/// The next hop that a route's attributes name: its gateway, else `address` itself.
#[must_use]
pub fn hop(attributes: &[RouteAttribute], address: Option<IpAddr>) -> Option<Hop> {
    let interface = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(interface) => Some(*interface),
        _ => None,
    })?;
    Some(Hop {
        interface,
        address: gateway(attributes).or(address)?,
    })
}

/// The address that the kernel would send from along a route.
#[must_use]
pub fn source(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(address) => ip(address),
        _ => None,
    })
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn interface(link: &LinkMessage) -> Interface {
    let mut interface = Interface {
        name: String::new(),
        address: 0,
        mtu: 0,
        kind: match link.header.link_layer_type {
            LinkLayerType::Ether => InterfaceKind::Ethernet,
            LinkLayerType::Loopback => InterfaceKind::Loopback,
            _ => InterfaceKind::Other,
        },
        is_up: link.header.flags.contains(LinkFlags::Up),
        master: 0,
        has_xdp: false,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Controller(master) => interface.master = *master,
            LinkAttribute::Xdp(xdp) => interface.has_xdp = xdp.iter().any(is_attached),
            LinkAttribute::Address(bytes) => {
                if let Some(address) = bytes.first_chunk::<6>().filter(|_| bytes.len() == 6) {
                    let [a, b, c, d, e, f] = *address;
                    interface.address = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
                }
            }
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| match info {
                LinkInfo::Kind(InfoKind::Veth) => {
                    interface.kind = InterfaceKind::Veth;
                }
                LinkInfo::Kind(InfoKind::Bridge | InfoKind::Bond | InfoKind::Team) => {
                    interface.kind = InterfaceKind::Aggregate;
                }
                LinkInfo::Kind(InfoKind::Dummy | InfoKind::Ifb | InfoKind::Vrf) => {
                    interface.kind = InterfaceKind::Other;
                }
                _ => {}
            }),
            _ => {}
        }
    }
    interface
}

fn is_attached(xdp: &LinkXdp) -> bool {
    matches!(xdp, LinkXdp::Attached(how) if *how != XdpAttached::None)
}
