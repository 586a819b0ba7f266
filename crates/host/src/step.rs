//! The steps: everything this project ever changes in a machine's network.
//!
//! The list is closed. `Display` is the command a person would type for the step, so that what is
//! shown, logged and documented is one text.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::{Object, Offload, Prefix, decapsulation};

/// One change of the network of the namespace it is applied in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Gives an interface an address.
    AddAddress {
        /// The interface.
        iface: String,
        /// The address and its network.
        address: Prefix,
        /// The old alias name, such as `eth0:0`, which `ifconfig` shows; at most 15 bytes.
        label: Option<String>,
    },
    /// Brings an interface up.
    LinkUp {
        /// The interface.
        iface: String,
    },
    /// Makes the main table's route of metric 0 to a destination this one. A route of metric 0
    /// that was there before is replaced, and comes back by undo.
    AddRoute {
        /// Where to.
        destination: Destination,
        /// By which way.
        via: Via,
    },
    /// Sets a sysctl.
    SetSysctl {
        /// The key with dots; a dot inside an interface's name is written `/`, as `sysctl` does.
        key: String,
        /// The value.
        value: String,
    },
    /// Makes `tunl0`, the kernel's IP-in-IP interface that unwraps for any sender.
    CreateTunnel,
    /// Switches an interface's offloads.
    SetOffload {
        /// The interface.
        iface: String,
        /// Each feature and whether it shall be on.
        features: Vec<(Offload, bool)>,
    },
    /// Attaches our own decapsulation at an interface's ingress: packets for this host in a tunnel
    /// (IP in IP, GRE, GUE on port 6080; IPv4 and IPv6) lose their outer headers, everything else
    /// passes untouched. The filter stays when the process ends, and dies with the interface.
    AttachDecapsulation {
        /// The interface the tunnelled packets arrive on.
        iface: String,
        /// The object that holds the program.
        object: Object,
    },
    /// Has this host announce TCP segments no longer than fit, with so many bytes of headers, the MTU of an interface: to all peers
    /// beyond the default route, whose other metrics stay. It is so where there is no such route, or the kernel learnt it from an
    /// IPv6 router, which would tell it again.
    LimitSegments {
        /// Everything of a family.
        destination: Destination,
        /// The interface that segments arrive on.
        iface: String,
        /// What is around a segment: headers of the tunnel, IP and TCP.
        headers: u32,
    },
    /// Makes a pair of virtual Ethernet interfaces, as a cable with two ends.
    CreateVeth {
        /// One end.
        name: String,
        /// The other.
        peer: String,
    },
    /// Makes an Ethernet bridge: a switch in software. It is up at once, without spanning tree.
    CreateBridge {
        /// Its name.
        name: String,
    },
    /// Plugs an interface into a bridge.
    JoinBridge {
        /// The interface.
        iface: String,
        /// The bridge.
        bridge: String,
    },
    /// Moves an interface into a namespace of `/run/netns`; it loses its addresses and is down.
    MoveToNamespace {
        /// The interface.
        iface: String,
        /// The namespace's name.
        namespace: String,
    },
    /// Enters a neighbour's hardware address for good.
    AddNeighbour {
        /// The interface it is reached by.
        iface: String,
        /// Its network address.
        address: IpAddr,
        /// Its hardware address.
        mac: [u8; 6],
    },
}

/// Where a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// Everything that no other route takes (IPv4).
    Default,
    /// One network or host.
    Network(Prefix),
}

/// Which way a route takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Via {
    /// By the router of this address.
    Gateway(IpAddr),
    /// Straight out of this interface.
    Interface(String),
}

impl Destination {
    /// Everything of the family of this address.
    #[must_use]
    pub fn everything(of: IpAddr) -> Self {
        match of {
            IpAddr::V4(_) => Self::Default,
            IpAddr::V6(_) => Self::Network(Prefix {
                address: Ipv6Addr::UNSPECIFIED.into(),
                length: 0,
            }),
        }
    }
}

impl Step {
    /// Sets `net.ipv4.conf.IFACE.KEY`; `all` and `default` count as interfaces.
    #[must_use]
    pub fn ipv4_conf(iface: &str, key: &str, value: u32) -> Self {
        Self::SetSysctl {
            key: format!("net.ipv4.conf.{}.{key}", iface.replace('.', "/")),
            value: value.to_string(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddAddress {
                iface,
                address,
                label,
            } => {
                write!(f, "ip addr add {address} dev {iface}")?;
                label
                    .iter()
                    .try_for_each(|label| write!(f, " label {label}"))
            }
            Self::LinkUp { iface } => write!(f, "ip link set {iface} up"),
            Self::AddRoute { destination, via } => {
                write!(f, "ip route replace {destination} {via}")
            }
            Self::SetSysctl { key, value } => write!(f, "sysctl -w {key}={value}"),
            Self::CreateTunnel => f.write_str("ip link add tunl0 type ipip"),
            Self::SetOffload { iface, features } => {
                write!(f, "ethtool -K {iface}")?;
                features.iter().try_for_each(|(feature, on)| {
                    write!(f, " {feature} {}", if *on { "on" } else { "off" })
                })
            }
            Self::AttachDecapsulation { iface, .. } => write!(
                f,
                "tc filter add dev {iface} ingress prio {} handle {} bpf direct-action object lvsx.bpf.o program {}",
                decapsulation::PRIORITY,
                decapsulation::HANDLE,
                decapsulation::PROGRAM,
            ),
            Self::LimitSegments {
                destination,
                iface,
                headers,
            } => {
                let ip = ip_of(*destination);
                write!(
                    f,
                    "{ip} route change $({ip} route show default | head -n 1) \
                     advmss $(($(ip -o link show {iface} | sed 's/.* mtu \\([0-9]*\\) .*/\\1/') - {headers}))"
                )
            }
            Self::CreateVeth { name, peer } => {
                write!(f, "ip link add {name} type veth peer name {peer}")
            }
            Self::CreateBridge { name } => write!(f, "ip link add {name} up type bridge"),
            Self::JoinBridge { iface, bridge } => {
                write!(f, "ip link set {iface} master {bridge}")
            }
            Self::MoveToNamespace { iface, namespace } => {
                write!(f, "ip link set {iface} netns {namespace}")
            }
            Self::AddNeighbour {
                iface,
                address,
                mac,
            } => {
                let [a, b, c, d, e, g] = mac;
                write!(
                    f,
                    "ip neigh replace {address} lladdr {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x} dev {iface}"
                )
            }
        }
    }
}

/// The command for routes of a destination's family, where the other words do not tell it.
pub(crate) const fn ip_of(destination: Destination) -> &'static str {
    match destination {
        Destination::Network(Prefix {
            address: IpAddr::V6(_),
            ..
        }) => "ip -6",
        Destination::Default | Destination::Network(_) => "ip",
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Network(prefix) => prefix.fmt(f),
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(address) => write!(f, "via {address}"),
            Self::Interface(iface) => write!(f, "dev {iface}"),
        }
    }
}
