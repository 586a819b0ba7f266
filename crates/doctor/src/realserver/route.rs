//! The way of the answers: there, through the right machine, wide enough, and not taken for forged.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lvsx_host::{Card, Decapsulation, Destination, Setup};

use super::{Machine, in_force};
use crate::director::asking;
use crate::segment::Segment;
use crate::{Fault, Finding, Result, mtu};

pub(super) fn examine(setup: &Setup, machine: &Machine<'_>) -> Result<Vec<Finding>> {
    let everything = Destination::everything(setup.virtual_address());
    let way = machine.network.way_out(everything)?;
    let mut findings = Vec::new();
    if let Setup::Masquerade { gateway, .. } = setup {
        if way.as_ref().and_then(|(_, gateway)| *gateway) != Some(*gateway) {
            let now = way.as_ref().and_then(|(_, gateway)| *gateway);
            let now = now.map_or("nothing".to_owned(), |gateway| gateway.to_string());
            findings.push(Finding::here(
                Fault::WrongGateway,
                format!("the default gateway is {now}, the director is {gateway}"),
                format!("ip route replace {everything} via {gateway}"),
            ));
        }
    } else if way.is_none() {
        findings.push(Finding::here(
            Fault::NoWayBack,
            "there is no default route".to_owned(),
            with_limit(setup, format!("ip route add {everything} via ROUTER")),
        ));
    }
    if let Some((iface, gateway)) = &way {
        findings.extend(reverse_path(setup, machine, iface)?);
        let card = machine
            .cards
            .iter()
            .find(|card| card.name == *iface && card.is_up);
        if let (Some(card), Some(gateway)) = (card, gateway) {
            findings.extend(on_the_wire(setup, machine, card, *gateway)?);
        }
    }
    Ok(findings)
}

/// Strict rp_filter takes a packet for forged that comes in elsewhere than answers to it go out
/// (RFC 3704; Linux 6.1 takes the larger one of the interface's value and that of all).
fn reverse_path(setup: &Setup, machine: &Machine<'_>, out: &str) -> Result<Option<Finding>> {
    const STRICT: u32 = 1;
    let arrival: Vec<String> = match setup {
        Setup::Masquerade { .. } => Vec::new(),
        Setup::Tunnel {
            decapsulation: Decapsulation::Kernel,
            ..
        } => vec![lvsx_host::network::TUNNEL.to_owned()],
        Setup::Tunnel { iface, .. } => vec![iface.clone()],
        Setup::DirectRouting { virtual_address } => {
            let cards = machine.cards_of(*virtual_address);
            cards
                .filter(|card| card.is_up)
                .map(|card| card.name.clone())
                .collect()
        }
    };
    if setup.virtual_address().is_ipv6() {
        return Ok(None);
    }
    for iface in arrival.iter().filter(|iface| *iface != out) {
        if in_force(iface, "rp_filter")? == STRICT {
            return Ok(Some(Finding::here(
                Fault::ReversePath,
                format!(
                    "requests come in on {iface}, answers go out on {out}, and rp_filter is 1 on {iface}"
                ),
                "sysctl -w net.ipv4.conf.all.rp_filter=2".to_owned(),
            )));
        }
    }
    Ok(None)
}

/// Who the gateway really is, and how long packets to it may be.
fn on_the_wire(
    setup: &Setup,
    machine: &Machine<'_>,
    card: &Card,
    gateway: IpAddr,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut segment = Segment::open(card, &machine.addresses)?;
    let address = setup.virtual_address();
    let everything = Destination::everything(address);
    segment.ask(&BTreeSet::from([gateway, address]))?;
    let director = segment.who_has(address);
    let by_nat = matches!(setup, Setup::Masquerade { .. });
    let is_director = |mac| director.contains(mac);
    if !by_nat && segment.who_has(gateway).iter().any(is_director) {
        findings.push(Finding::here(
            Fault::GatewayIsDirector,
            format!(
                "the default gateway {gateway} is who answers {} for {address}",
                asking(address)
            ),
            with_limit(setup, format!("ip route replace {everything} via ROUTER")),
        ));
    }
    let Some(mac) = segment.who_has(gateway).first().copied() else {
        return Ok(findings);
    };
    if let Some(limit) = mtu::limit(&segment, gateway, mac, card.mtu as usize)? {
        let (iface, full) = (&card.name, card.mtu);
        findings.push(Finding::here(
            Fault::PathMtu,
            format!("to the gateway {gateway}: packets of {full} bytes are lost, of {limit} pass"),
            with_limit(setup, format!("ip link set {iface} mtu {limit}")),
        ));
    }
    Ok(findings)
}

/// A cure after which the limit to clients' segments must be told anew, where there is one.
fn with_limit(setup: &Setup, cure: String) -> String {
    match setup.segment_limit() {
        Some(limit) => format!("{cure} && {limit}"),
        None => cure,
    }
}
