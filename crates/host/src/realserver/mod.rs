//! What a real server needs so that a director can forward to it.
//!
//! By NAT only that its answers go back through the director. By the other two methods it must
//! take packets for the virtual address without ever telling the segment that it has it, since
//! the director alone answers ARP for it.
//!
//! [`Setup`] is what is asked for and gives the [`Plan`]; [`Setup::fits`] says beforehand why it
//! cannot be on this machine; [`Register`] sets it up, remembers what it changed, and takes it back.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::network::TUNNEL;
use crate::{Decapsulation, Destination, ForwardingMethod, Plan, Prefix, Step, Via};

mod fits;
mod register;

pub use register::Register;

/// Where the virtual address stands on a server that must not answer ARP for it.
pub const LOOPBACK: &str = "lo";

/// TCP's header.
const TCP: u32 = 20;

/// What a real server is set up for: one virtual address by one forwarding method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setup {
    /// By NAT: answers go back by the gateway, which is the director.
    Masquerade {
        /// The virtual address; the server never sees it.
        virtual_address: IpAddr,
        /// The director's address on the server's network.
        gateway: IpAddr,
    },
    /// By direct routing.
    DirectRouting {
        /// The virtual address.
        virtual_address: IpAddr,
    },
    /// By tunnelling.
    Tunnel {
        /// The virtual address.
        virtual_address: IpAddr,
        /// The interface that tunnelled packets arrive on.
        iface: String,
        /// What takes the outer header off.
        decapsulation: Decapsulation,
    },
}

impl Setup {
    /// The forwarding method.
    #[must_use]
    pub const fn method(&self) -> ForwardingMethod {
        match self {
            Self::Masquerade { .. } => ForwardingMethod::Masquerade,
            Self::DirectRouting { .. } => ForwardingMethod::DirectRouting,
            Self::Tunnel { .. } => ForwardingMethod::Tunnel,
        }
    }

    /// The virtual address.
    #[must_use]
    pub const fn virtual_address(&self) -> IpAddr {
        match self {
            Self::Masquerade {
                virtual_address, ..
            }
            | Self::DirectRouting { virtual_address }
            | Self::Tunnel {
                virtual_address, ..
            } => *virtual_address,
        }
    }

    /// The steps that set the server up.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let plan = Plan::new(format!("a real server by {}", self.method()));
        match self {
            Self::Masquerade { gateway, .. } => plan.because(
                "answers must go back through the director, which restores the virtual address",
                Step::AddRoute {
                    destination: Destination::everything(*gateway),
                    via: Via::Gateway(*gateway),
                },
            ),
            Self::DirectRouting { virtual_address } => on_loopback(plan, *virtual_address),
            Self::Tunnel {
                virtual_address,
                decapsulation: Decapsulation::Kernel,
                ..
            } => {
                let plan = plan
                    .because("unwraps the director's packets", Step::CreateTunnel)
                    .step(Step::LinkUp {
                        iface: TUNNEL.to_owned(),
                    });
                let plan = silent_address(plan, *virtual_address, TUNNEL, None);
                self.limited(unfiltered(plan, TUNNEL))
            }
            Self::Tunnel {
                virtual_address,
                iface,
                decapsulation: Decapsulation::Program(object),
            } => {
                let plan = on_loopback(plan, *virtual_address).because(
                    "our program unwraps the director's packets, on kernels without tunl0 too",
                    Step::AttachDecapsulation {
                        iface: iface.clone(),
                        object: *object,
                    },
                );
                self.limited(match virtual_address {
                    IpAddr::V4(_) => unfiltered(plan, iface),
                    // IPv6 has no such filter.
                    IpAddr::V6(_) => plan,
                })
            }
        }
    }

    /// By tunnelling: what keeps clients' segments so short that the director can wrap them. Answers stay as long as they were.
    #[must_use]
    pub fn segment_limit(&self) -> Option<Step> {
        let Self::Tunnel {
            virtual_address,
            iface,
            decapsulation,
        } = self
        else {
            return None;
        };
        let inside = match virtual_address {
            IpAddr::V4(_) => 20 + TCP,
            IpAddr::V6(_) => 40 + TCP,
        };
        Some(Step::LimitSegments {
            destination: Destination::everything(*virtual_address),
            iface: iface.clone(),
            headers: decapsulation.longest() + inside,
        })
    }

    fn limited(&self, plan: Plan) -> Plan {
        self.segment_limit().into_iter().fold(plan, |plan, step| {
            plan.because("clients' segments shall fit the tunnel", step)
        })
    }
}

fn on_loopback(plan: Plan, address: IpAddr) -> Plan {
    let plan = plan.because(
        "the address on it counts while it is up",
        Step::LinkUp {
            iface: LOOPBACK.to_owned(),
        },
    );
    match address {
        IpAddr::V4(_) => silent_address(plan, address, LOOPBACK, Some("lo:0")),
        IpAddr::V6(_) => plan.because(
            "takes packets for the virtual address; nobody is told of an IPv6 address on lo",
            Step::AddAddress {
                iface: LOOPBACK.to_owned(),
                address: Prefix::host(address),
                label: None,
            },
        ),
    }
}

/// The virtual address on an interface, with a host route, unknown to ARP. The sysctls come first:
/// in the other order there is a moment in which the server answers ARP for the address.
fn silent_address(plan: Plan, address: IpAddr, iface: &str, label: Option<&str>) -> Plan {
    [iface, "all"]
        .into_iter()
        .fold(plan, |plan, of| {
            plan.because(
                "answers ARP only for addresses of the interface asked",
                Step::ipv4_conf(of, "arp_ignore", 1),
            )
            .because(
                "asks ARP only with the best address of the interface",
                Step::ipv4_conf(of, "arp_announce", 2),
            )
        })
        .because(
            "takes packets for the virtual address",
            Step::AddAddress {
                iface: iface.to_owned(),
                address: Prefix::host(address),
                label: label.map(str::to_owned),
            },
        )
        .step(Step::AddRoute {
            destination: Destination::Network(Prefix::host(address)),
            via: Via::Interface(iface.to_owned()),
        })
}

/// The client's packets come out of the tunnel though the way back to the client is another one.
fn unfiltered(plan: Plan, iface: &str) -> Plan {
    [iface, "all"].into_iter().fold(plan, |plan, of| {
        plan.because(
            "the client's address comes by another way than answers go",
            Step::ipv4_conf(of, "rp_filter", 0),
        )
    })
}
