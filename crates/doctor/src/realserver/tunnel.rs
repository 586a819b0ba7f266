//! Something must take the outer header off, and clients' segments must leave room for it (tunnelling).

use lvsx_host::network::TUNNEL;
use lvsx_host::{Decapsulation, Destination, Setup};

use super::{Machine, decapsulates};
use crate::{Fault, Finding, Result};

pub(super) fn examine(setup: &Setup, machine: &Machine<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    findings.extend(decapsulation(setup, machine)?);
    findings.extend(segments(setup, machine)?);
    Ok(findings)
}

/// Clients beyond the default route are told how long their segments may be.
fn segments(setup: &Setup, machine: &Machine<'_>) -> Result<Option<Finding>> {
    let Some(limit) = setup.segment_limit() else {
        return Ok(None);
    };
    if limit.check(machine.network)? {
        return Ok(None);
    }
    let announced = machine
        .network
        .announced(Destination::everything(setup.virtual_address()))?;
    let announced = announced.map_or_else(
        || "the interface's full length".to_owned(),
        |length| format!("{length} bytes"),
    );
    let what = format!(
        "clients are told to send segments of {announced}, which leaves no room for the tunnel's headers"
    );
    let cure = limit.to_string();
    Ok(Some(Finding::here(Fault::SegmentsTooLong, what, cure)))
}

fn decapsulation(setup: &Setup, machine: &Machine<'_>) -> Result<Option<Finding>> {
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
