//! Something must take the outer header off (tunnelling).

use lvsx_host::network::TUNNEL;
use lvsx_host::{Decapsulation, Setup};

use super::{Machine, decapsulates};
use crate::{Fault, Finding, Result};

pub(super) fn examine(setup: &Setup, machine: &Machine<'_>) -> Result<Option<Finding>> {
    let Setup::Tunnel {
        virtual_address,
        iface,
        decapsulation,
    } = setup
    else {
        return Ok(None);
    };
    let cure = format!("lvsx realserver up --mode tun --vip {virtual_address}");
    let there = machine.network.links()?.iter().any(|name| name == TUNNEL);
    let found =
        |what: String, cure: String| Some(Finding::here(Fault::NoDecapsulation, what, cure));
    Ok(match decapsulation {
        Decapsulation::Kernel if !there => found(format!("there is no {TUNNEL}"), cure),
        Decapsulation::Kernel if !machine.network.is_up(TUNNEL)? => found(
            format!("{TUNNEL} is down"),
            format!("ip link set {TUNNEL} up"),
        ),
        Decapsulation::Program(_) if !decapsulates(machine.network, iface)? => found(
            format!("no decapsulation sits on {iface}"),
            format!("{cure} --iface {iface} --bpf"),
        ),
        _ => None,
    })
}
