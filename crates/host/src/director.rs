//! What a director's machine needs besides `lvsd` and its services.

use crate::network::TUNNEL;
use crate::{Decapsulation, Destination, ForwardingMethod, Plan, Prefix, Step, Via};

/// The plan of a director: the virtual address on the interface that the tutorial gives it.
///
/// `iface` is the interface towards the clients. By NAT the virtual address is that interface's own,
/// so its prefix length counts; by the other methods the address stands as /32.
///
/// `ip_forward` is not in it: it belongs to the script that also sets up the services.
#[must_use]
pub fn plan(
    method: ForwardingMethod,
    virtual_address: Prefix,
    iface: &str,
    decapsulation: Decapsulation,
) -> Plan {
    let plan = Plan::new(format!("a director by {method}"));
    match (method, decapsulation) {
        (ForwardingMethod::Masquerade, _) => plan.because(
            "the virtual address is the outer interface's own",
            Step::AddAddress { iface: iface.to_owned(), address: virtual_address, label: None },
        ),
        (ForwardingMethod::DirectRouting, _) => {
            host_address(plan, virtual_address, iface, Some(format!("{iface}:0")))
        }
        (ForwardingMethod::Tunnel, Decapsulation::Kernel) => {
            let plan = plan.step(Step::CreateTunnel).step(Step::LinkUp { iface: TUNNEL.to_owned() });
            host_address(plan, virtual_address, TUNNEL, None)
        }
        (ForwardingMethod::Tunnel, Decapsulation::Program(_)) => plan.because(
            "this kernel has no ipip, so no tunl0; the address may stand on any interface, and lo is always up",
            Step::AddAddress {
                iface: "lo".to_owned(),
                address: Prefix::host(virtual_address.address),
                label: Some("lo:0".to_owned()),
            },
        ),
    }
}

/// The virtual address as /32 with the host route that the tutorial adds.
fn host_address(plan: Plan, virtual_address: Prefix, iface: &str, label: Option<String>) -> Plan {
    let host = Prefix::host(virtual_address.address);
    plan.because(
        "the director answers ARP for the virtual address",
        Step::AddAddress {
            iface: iface.to_owned(),
            address: host,
            label,
        },
    )
    .step(Step::AddRoute {
        destination: Destination::Network(host),
        via: Via::Interface(iface.to_owned()),
    })
}

/// The step that lets a machine pass packets on.
#[must_use]
pub fn ip_forward() -> Step {
    Step::SetSysctl {
        key: "net.ipv4.ip_forward".to_owned(),
        value: "1".to_owned(),
    }
}
