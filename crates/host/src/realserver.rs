//! What a real server needs so that a director can forward to it.
//!
//! By NAT only that its answers go back through the director. By the other two methods it must
//! take packets for the virtual address without ever telling the segment that it has it, since
//! the director alone answers ARP for it.

use std::net::Ipv4Addr;

use crate::network::TUNNEL;
use crate::{Decapsulation, Destination, ForwardingMethod, Plan, Prefix, Step, Via};

/// Where the virtual address stands on a server that must not answer ARP for it.
const LOOPBACK: &str = "lo";

/// The plan of one real server.
///
/// `iface` is the interface towards the director, `director` the director's address on that side
/// (the default gateway by NAT; not used by the other methods).
#[must_use]
pub fn plan(
    method: ForwardingMethod,
    virtual_address: Ipv4Addr,
    iface: &str,
    director: Ipv4Addr,
    decapsulation: Decapsulation,
) -> Plan {
    let plan = Plan::new(format!("a real server by {method}"));
    match method {
        ForwardingMethod::Masquerade => plan.because(
            "answers must go back through the director, which restores the virtual address",
            Step::AddRoute {
                destination: Destination::Default,
                via: Via::Gateway(director.into()),
            },
        ),
        ForwardingMethod::DirectRouting => {
            silent_address(plan, virtual_address, LOOPBACK, Some("lo:0"))
        }
        ForwardingMethod::Tunnel => match decapsulation {
            Decapsulation::Kernel => {
                let plan = plan
                    .because("unwraps the director's packets", Step::CreateTunnel)
                    .step(Step::LinkUp {
                        iface: TUNNEL.to_owned(),
                    });
                let plan = silent_address(plan, virtual_address, TUNNEL, None);
                unfiltered(plan, TUNNEL)
            }
            Decapsulation::Program(object) => {
                let plan = silent_address(plan, virtual_address, LOOPBACK, Some("lo:0")).because(
                    "this kernel has no ipip, so no tunl0: our program unwraps the director's packets",
                    Step::AttachDecapsulation { iface: iface.to_owned(), object },
                );
                unfiltered(plan, iface)
            }
        },
    }
}

/// The virtual address on an interface, with a host route, unknown to ARP. The sysctls come first:
/// in the other order there is a moment in which the server answers ARP for the address.
fn silent_address(plan: Plan, address: Ipv4Addr, iface: &str, label: Option<&str>) -> Plan {
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
