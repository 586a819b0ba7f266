//! Which interfaces are served: those that carry a virtual address, lead to a server, or to clients by a default route.

use super::facts::{Facts, Hop, Interface, InterfaceKind};
use crate::loader::{Seat, Wanted};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The interfaces to serve, name by index. A member of a bridge, a bond or a team stands for its master.
///
/// `virtuals`: addresses of services. `servers`: next hops to destinations. `named`: what the operator chose instead; if
/// it is not empty, it alone counts.
#[must_use]
pub fn interfaces(
    facts: &Facts,
    virtuals: impl Iterator<Item = IpAddr>,
    servers: impl Iterator<Item = Hop>,
    named: &[String],
) -> BTreeMap<u32, String> {
    let carriers = virtuals.filter_map(|address| Some(facts.locals.route(address)?.interface));
    let leading = servers.map(|hop| hop.interface);
    let by_name = |name: &String| {
        facts
            .interfaces
            .iter()
            .find(|(_, it)| it.name == *name)
            .map(|(index, _)| *index)
    };
    let wanted: Vec<u32> = if named.is_empty() {
        carriers
            .chain(leading)
            .chain(facts.default_interfaces.iter().copied())
            .collect()
    } else {
        named.iter().filter_map(by_name).collect()
    };
    wanted
        .into_iter()
        .map(|index| aggregate_of(facts, index))
        .filter_map(|index| Some((index, facts.interfaces.get(&index)?)))
        .filter(|(_, interface)| can_be_served(interface))
        .map(|(index, interface)| (index, interface.name.clone()))
        .collect()
}

/// Which programs are attached where, so that `served` interfaces are served: what comes in everywhere; what sockets of this
/// host send on `lo`, where its own requests to virtual addresses leave, and if there are servers on this host everywhere
/// too, where their replies do; and behind XDP what it cannot take to the host's own stack itself.
#[must_use]
pub fn seats(
    facts: &Facts,
    served: BTreeMap<u32, String>,
    has_local_servers: bool,
    is_xdp: bool,
) -> Wanted {
    let mut wanted = Wanted::new();
    let is_loopback = |it: &Interface| it.is_up && it.kind == InterfaceKind::Loopback;
    for (index, interface) in &facts.interfaces {
        if !served.is_empty() && is_loopback(interface) {
            wanted.insert((*index, Seat::Own), interface.name.clone());
        }
    }
    for (index, name) in served {
        if has_local_servers {
            wanted.insert((index, Seat::Own), name.clone());
        }
        if is_xdp {
            wanted.insert((index, Seat::Behind), name.clone());
        }
        wanted.insert((index, Seat::First), name);
    }
    wanted
}

/// Whether frames that concern the director can come in there.
#[must_use]
pub fn can_be_served(interface: &Interface) -> bool {
    interface.is_up
        && matches!(
            interface.kind,
            InterfaceKind::Ethernet | InterfaceKind::Veth | InterfaceKind::Aggregate
        )
}

/// The bridge, bond or team that interface `index` is a member of, as far up as it goes; else itself.
fn aggregate_of(facts: &Facts, index: u32) -> u32 {
    let mut found = index;
    // No more steps than there are interfaces: what the kernel tells has no circles, and if it had, they would end.
    for _ in 0..facts.interfaces.len() {
        let master = facts
            .interfaces
            .get(&found)
            .map_or(0, |interface| interface.master);
        match facts.interfaces.get(&master) {
            Some(interface) if interface.kind == InterfaceKind::Aggregate => found = master,
            _ => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addresses::{AddressKind, LocalRoute, LocalTable};

    fn interface(name: &str, kind: InterfaceKind, master: u32) -> Interface {
        Interface {
            name: name.into(),
            address: 1,
            mtu: 1500,
            kind,
            is_up: true,
            master,
            has_xdp: false,
        }
    }

    fn facts() -> Facts {
        let local = |address: [u8; 4], interface| LocalRoute {
            prefix: IpAddr::from(address),
            length: 32,
            kind: AddressKind::Local,
            interface,
        };
        Facts {
            interfaces: BTreeMap::from([
                (1, interface("lo", InterfaceKind::Loopback, 0)),
                (2, interface("eth0", InterfaceKind::Ethernet, 0)),
                (3, interface("eth1", InterfaceKind::Ethernet, 0)),
                (4, interface("tunl0", InterfaceKind::Other, 0)),
                (5, interface("eth2", InterfaceKind::Ethernet, 6)),
                (6, interface("br0", InterfaceKind::Aggregate, 0)),
                (
                    7,
                    Interface {
                        is_up: false,
                        ..interface("eth3", InterfaceKind::Ethernet, 0)
                    },
                ),
            ]),
            locals: LocalTable::from_iter([
                local([8, 8, 8, 8], 3),
                local([192, 168, 1, 40], 4),
                local([10, 0, 0, 1], 1),
            ]),
            ..Facts::default()
        }
    }

    fn served(virtuals: &[[u8; 4]], servers: &[u32], named: &[&str]) -> Vec<String> {
        let hops = servers.iter().map(|interface| Hop {
            interface: *interface,
            address: IpAddr::from([0; 4]),
        });
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        interfaces(
            &facts(),
            virtuals.iter().map(|it| (*it).into()),
            hops,
            &named,
        )
        .into_values()
        .collect()
    }

    #[test]
    fn a_masquerading_director_serves_both_sides() {
        assert_eq!(served(&[[8, 8, 8, 8]], &[2], &[]), ["eth0", "eth1"]);
    }

    #[test]
    fn an_address_on_a_tunnel_or_on_lo_serves_nothing_there() {
        assert_eq!(
            served(&[[192, 168, 1, 40], [10, 0, 0, 1]], &[2], &[]),
            ["eth0"]
        );
    }

    #[test]
    fn a_member_stands_for_its_master_and_one_that_is_down_for_nothing() {
        assert_eq!(served(&[], &[5, 6, 7], &[]), ["br0"]);
    }

    #[test]
    fn what_sockets_send_is_looked_at_on_lo_and_for_local_servers_everywhere() {
        let seats = |served: &[(u32, &str)], has_local_servers, is_xdp| -> Vec<(u32, Seat)> {
            let served = served.iter().map(|(index, name)| (*index, (*name).into()));
            let wanted = seats(&facts(), served.collect(), has_local_servers, is_xdp);
            wanted.into_keys().collect()
        };
        assert!(seats(&[], true, true).is_empty());
        let (lo, eth0) = ((1, Seat::Own), [(2, Seat::First), (2, Seat::Own)]);
        assert_eq!(seats(&[(2, "eth0")], false, false), [lo, eth0[0]]);
        assert_eq!(seats(&[(2, "eth0")], true, false), [lo, eth0[0], eth0[1]]);
        let behind = (2, Seat::Behind);
        assert_eq!(seats(&[(2, "eth0")], false, true), [lo, eth0[0], behind]);
    }

    #[test]
    fn the_operators_choice_counts_alone() {
        assert_eq!(served(&[[8, 8, 8, 8]], &[2], &["eth1"]), ["eth1"]);
    }
}
