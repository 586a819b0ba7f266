//! Who is cabled to whom, with the tutorial's addresses.
//!
//! By NAT the client stands on the outer network, where the director's second card has the virtual
//! address. By tunnelling and direct routing it stands behind the router of the servers' segment,
//! as clients do: the router hands its packets to the director, and the servers' answers go to the
//! router without passing the director.

use std::net::Ipv4Addr;

use lvsx_host::{Destination, ForwardingMethod, Plan, Prefix, Step, Via, director};

/// The segment of director and servers.
pub const SEGMENT: &str = "segment";
/// The network of the client.
pub const OUTSIDE: &str = "outside";
/// The host that holds the bridges.
pub const SWITCH: &str = "switch";
/// The director's name in the tutorial.
pub const DIRECTOR: &str = "lvsserver";
/// The client's name.
pub const CLIENT: &str = "client";
/// The real servers' names in the tutorial.
pub const SERVERS: [&str; 2] = ["serverA", "serverB"];

/// What a lab is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The machines; the switch is not among them.
    pub hosts: Vec<HostSpec>,
    /// The virtual address, with the prefix length it has where it is a card's own address.
    pub virtual_address: Prefix,
    /// The card of the director towards the clients.
    pub front: &'static str,
    /// Names for the addresses, for the lab's hosts file.
    pub names: Vec<(Ipv4Addr, &'static str)>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Its name.
    pub name: &'static str,
    /// Its cards.
    pub cards: Vec<Card>,
    /// Its default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Whether it passes packets on from the start.
    pub forwards: bool,
}

/// A network card, cabled to a bridge of the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its name on the host: `eth0`, `eth1`.
    pub iface: &'static str,
    /// The bridge at the other end of its cable.
    pub segment: &'static str,
    /// Its address; `None` where a later plan gives it one.
    pub address: Option<Prefix>,
}

const DIRECTOR_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 49);
const SERVER_ADDRESSES: [Ipv4Addr; 2] = [
    Ipv4Addr::new(192, 168, 1, 46),
    Ipv4Addr::new(192, 168, 1, 47),
];
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 9);
const ROUTER_INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const ROUTER_OUTSIDE: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 1);

impl Topology {
    /// The machines of the tutorial for a forwarding method.
    #[must_use]
    pub fn of(method: ForwardingMethod) -> Self {
        match method {
            ForwardingMethod::Masquerade => nat(),
            ForwardingMethod::Tunnel | ForwardingMethod::DirectRouting => behind_a_router(),
        }
    }

    /// A director alone, with the virtual address of the tutorial's service file.
    #[must_use]
    pub fn service_file() -> Self {
        let address = Ipv4Addr::new(172, 16, 4, 200);
        Self {
            hosts: vec![HostSpec {
                name: DIRECTOR,
                cards: vec![card("eth0", SEGMENT, address, 24)],
                gateway: None,
                forwards: false,
            }],
            virtual_address: Prefix::host(address),
            front: "eth0",
            names: vec![
                (address, "www"),
                (Ipv4Addr::new(172, 16, 4, 188), "web1"),
                (Ipv4Addr::new(172, 16, 4, 198), "web2"),
            ],
        }
    }

    /// The machines by the network they stand on, for a person.
    #[must_use]
    pub fn picture(&self) -> String {
        let mut text = String::new();
        for segment in self.segments() {
            let on_it = self
                .hosts
                .iter()
                .flat_map(|host| host.cards.iter().map(move |card| (host, card)));
            let on_it = on_it
                .filter(|(_, card)| card.segment == segment)
                .map(|(host, card)| {
                    let address = card.address.unwrap_or(self.virtual_address).address;
                    format!("{} {address}", host.name)
                });
            text += &format!(
                "{segment:<8} ---- {}\n",
                on_it.collect::<Vec<_>>().join(" ---- ")
            );
        }
        text + &format!("virtual address {}\n", self.virtual_address.address)
    }

    /// The bridges that the cards need, each once.
    #[must_use]
    pub fn segments(&self) -> Vec<&'static str> {
        let mut segments: Vec<_> = self
            .hosts
            .iter()
            .flat_map(|host| &host.cards)
            .map(|card| card.segment)
            .collect();
        segments.sort_unstable();
        segments.dedup();
        segments
    }

    /// The machine of this name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&HostSpec> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// The text of the lab's `/etc/hosts`.
    #[must_use]
    pub fn hosts_file(&self) -> String {
        let lines = self
            .names
            .iter()
            .map(|(address, name)| format!("{address}\t{name}\n"));
        std::iter::once("127.0.0.1\tlocalhost\n".to_owned())
            .chain(lines)
            .collect()
    }

    /// What the switch does: its bridges, and a cable to each card of each machine. `namespace`
    /// gives a machine's namespace.
    #[must_use]
    pub fn cabling(&self, namespace: impl Fn(&str) -> String) -> Plan {
        let bridges = self
            .segments()
            .into_iter()
            .fold(Plan::new("the switch"), |plan, segment| {
                plan.step(Step::CreateBridge {
                    name: segment.to_owned(),
                })
            });
        let cards = self
            .hosts
            .iter()
            .flat_map(|host| host.cards.iter().map(move |card| (host, card)));
        cards.fold(bridges, |plan, (host, card)| {
            let port = port(host.name, card.iface);
            plan.step(Step::CreateVeth {
                name: port.clone(),
                peer: card.iface.to_owned(),
            })
            .step(Step::MoveToNamespace {
                iface: card.iface.to_owned(),
                namespace: namespace(host.name),
            })
            .step(Step::JoinBridge {
                iface: port.clone(),
                bridge: card.segment.to_owned(),
            })
            .step(Step::LinkUp { iface: port })
        })
    }
}

impl HostSpec {
    /// What makes the machine a host of its network.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let plan = Plan::new(self.name).step(Step::LinkUp {
            iface: "lo".to_owned(),
        });
        let plan = self.cards.iter().fold(plan, |plan, card| {
            let plan = match card.address {
                Some(address) => plan.step(Step::AddAddress {
                    iface: card.iface.to_owned(),
                    address,
                    label: None,
                }),
                None => plan,
            };
            plan.step(Step::LinkUp {
                iface: card.iface.to_owned(),
            })
        });
        let plan = match self.gateway {
            Some(gateway) => plan.step(Step::AddRoute {
                destination: Destination::Default,
                via: Via::Gateway(gateway.into()),
            }),
            None => plan,
        };
        if self.forwards {
            plan.step(director::ip_forward())
        } else {
            plan
        }
    }

    /// The address of its first card.
    #[must_use]
    pub fn address(&self) -> Option<Prefix> {
        self.cards.first().and_then(|card| card.address)
    }
}

/// The switch's end of the cable to a card; interface names have at most 15 bytes.
#[must_use]
pub fn port(host: &str, iface: &str) -> String {
    format!("{host}-{iface}")
}

fn card(iface: &'static str, segment: &'static str, address: Ipv4Addr, length: u8) -> Card {
    Card {
        iface,
        segment,
        address: Prefix::new(address, length),
    }
}

fn host(name: &'static str, cards: Vec<Card>, gateway: Option<Ipv4Addr>) -> HostSpec {
    HostSpec {
        name,
        cards,
        gateway,
        forwards: false,
    }
}

fn servers(gateway: Option<Ipv4Addr>) -> impl Iterator<Item = HostSpec> {
    SERVERS
        .into_iter()
        .zip(SERVER_ADDRESSES)
        .map(move |(name, address)| host(name, vec![card("eth0", SEGMENT, address, 24)], gateway))
}

fn nat() -> Topology {
    let virtual_address = Prefix {
        address: Ipv4Addr::new(8, 8, 8, 8).into(),
        length: 24,
    };
    let outer_card = Card {
        iface: "eth1",
        segment: OUTSIDE,
        address: None,
    };
    let mut hosts = vec![
        host(
            CLIENT,
            vec![card("eth0", OUTSIDE, CLIENT_ADDRESS, 24)],
            None,
        ),
        host(
            DIRECTOR,
            vec![card("eth0", SEGMENT, DIRECTOR_ADDRESS, 24), outer_card],
            None,
        ),
    ];
    // The servers' gateway is the director: that is the NAT plan of a real server.
    hosts.extend(servers(None));
    Topology {
        hosts,
        virtual_address,
        front: "eth1",
        names: names([(Ipv4Addr::new(8, 8, 8, 8), "www")]),
    }
}

fn behind_a_router() -> Topology {
    let virtual_address = Ipv4Addr::new(192, 168, 1, 40);
    let router = HostSpec {
        name: "router",
        cards: vec![
            card("eth0", SEGMENT, ROUTER_INSIDE, 24),
            card("eth1", OUTSIDE, ROUTER_OUTSIDE, 24),
        ],
        gateway: None,
        forwards: true,
    };
    let mut hosts = vec![
        host(
            CLIENT,
            vec![card("eth0", OUTSIDE, CLIENT_ADDRESS, 24)],
            Some(ROUTER_OUTSIDE),
        ),
        router,
        host(
            DIRECTOR,
            vec![card("eth0", SEGMENT, DIRECTOR_ADDRESS, 24)],
            Some(ROUTER_INSIDE),
        ),
    ];
    hosts.extend(servers(Some(ROUTER_INSIDE)));
    Topology {
        hosts,
        virtual_address: Prefix::host(virtual_address),
        front: "eth0",
        names: names([(virtual_address, "www"), (ROUTER_INSIDE, "router")]),
    }
}

fn names(own: impl IntoIterator<Item = (Ipv4Addr, &'static str)>) -> Vec<(Ipv4Addr, &'static str)> {
    let servers = SERVER_ADDRESSES.into_iter().zip(SERVERS);
    let others = [(DIRECTOR_ADDRESS, DIRECTOR), (CLIENT_ADDRESS, CLIENT)];
    own.into_iter().chain(others).chain(servers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_fit_the_kernel() {
        for method in ForwardingMethod::ALL {
            for host in Topology::of(method).hosts {
                for card in host.cards {
                    let port = port(host.name, card.iface);
                    assert!(port.len() <= 15, "{port}");
                }
            }
        }
    }

    #[test]
    fn every_address_has_a_name() {
        for method in ForwardingMethod::ALL {
            let topology = Topology::of(method);
            let file = topology.hosts_file();
            for name in [CLIENT, DIRECTOR, "serverA", "serverB", "www"] {
                assert!(file.contains(&format!("\t{name}\n")), "{name} in {file}");
            }
            assert!(
                file.contains(&topology.virtual_address.address.to_string()),
                "{file}"
            );
        }
    }

    #[test]
    fn a_card_is_cabled_moved_and_plugged_in() {
        let cabling = Topology::service_file().cabling(|host| format!("lvsx-x-{host}"));
        let commands: Vec<_> = cabling
            .steps
            .iter()
            .map(|planned| planned.step.to_string())
            .collect();
        assert_eq!(
            commands,
            [
                "ip link add segment up type bridge",
                "ip link add lvsserver-eth0 type veth peer name eth0",
                "ip link set eth0 netns lvsx-x-lvsserver",
                "ip link set lvsserver-eth0 master segment",
                "ip link set lvsserver-eth0 up",
            ]
        );
    }
}
