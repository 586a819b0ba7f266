//! Who is on the segments: the servers, once each; and nobody else with a virtual address.

use std::net::IpAddr;

use lvsx_host::{Network, Prefix};
use lvsx_ipvs::ForwardingMethod;
use lvsx_ipvs::model::{DestinationSettings, TunnelType};

use super::delivery::{Delivery, Trip};
use super::site::{Site, edit};
use crate::segment::Segment;
use crate::wire::Mac;
use crate::{Fault, Finding, Place, Result};

pub(super) fn examine(site: &Site, network: &Network, delivery: &Delivery) -> Result<Vec<Finding>> {
    let mut findings = no_route(site, network)?;
    for trip in &delivery.trips {
        let segment = &delivery.segments[trip.segment];
        findings.extend(entered(trip, segment, network)?);
        findings.extend(there(trip, segment));
        if trip.hop != trip.address
            && trip.destination.settings.method == ForwardingMethod::DirectRouting
        {
            findings.push(behind_router(trip));
        }
    }
    for segment in &delivery.segments {
        for address in site.virtual_addresses() {
            findings.extend(strangers(site, delivery, segment, address));
        }
    }
    // One server of several services is one matter.
    findings.dedup_by(|a, b| (a.fault, &a.cure) == (b.fault, &b.cure));
    Ok(findings)
}

fn no_route(site: &Site, network: &Network) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (_, destination) in site.destinations() {
        let address = destination.key.addr;
        // A card that is down takes its routes along; that is another finding.
        let near_a_card = site
            .addresses
            .iter()
            .any(|(iface, own)| iface != "lo" && own.holds(address));
        if network.way_to(address)?.is_some() || near_a_card {
            continue;
        }
        let iface = site.cards.first().map_or("IFACE", |card| &card.name);
        findings.push(Finding::here(
            Fault::NoRoute,
            format!("there is no route to the server {address}"),
            format!("ip route add {} dev {iface}", Prefix::host(address)),
        ));
    }
    Ok(findings)
}

/// A hardware address that was entered by hand must be the one that answers.
fn entered(trip: &Trip, segment: &Segment, network: &Network) -> Result<Option<Finding>> {
    let iface = &segment.wire.card.name;
    let hop = trip.hop;
    let Some(mac) = network.entered_mac(iface, hop)? else {
        return Ok(None);
    };
    Ok(
        (!trip.macs.is_empty() && !trip.macs.contains(&mac)).then(|| {
            Finding::here(
                Fault::WrongNeighbour,
                format!(
                    "{hop} was entered as {}, {} answers",
                    Place::Of(mac),
                    Place::Of(trip.macs[0])
                ),
                format!("ip neigh del {hop} dev {iface}"),
            )
        }),
    )
}

/// Exactly one machine must answer for a server.
fn there(trip: &Trip, segment: &Segment) -> Option<Finding> {
    let (hop, iface) = (trip.hop, &segment.wire.card.name);
    match trip.macs.as_slice() {
        [] if trip.destination.settings.weight > 0 => {
            let mut quiesced = trip.destination.clone();
            quiesced.settings.weight = 0;
            let what = format!("nobody on {iface} answers {} for {hop}", asking(hop));
            Some(Finding::here(
                Fault::ServerUnreachable,
                what,
                edit(&trip.service, &quiesced),
            ))
        }
        [] | [_] => None,
        [first, others @ ..] => {
            let known = |mac: &Mac| segment.address_of(*mac, hop);
            let wrong = others
                .iter()
                .chain([first])
                .find(|mac| known(mac).is_some());
            let wrong = wrong.or(others.last())?;
            let both: Vec<_> = trip
                .macs
                .iter()
                .map(|mac| Place::Of(*mac).to_string())
                .collect();
            let what = format!("{} answer {} for {hop}", both.join(" and "), asking(hop));
            let cure = format!("ip addr flush to {}", Prefix::host(hop));
            Some(Finding::here(Fault::DuplicateAddress, what, cure).on(place(segment, *wrong, hop)))
        }
    }
}

fn behind_router(trip: &Trip) -> Finding {
    let mut tunnelled = trip.destination.clone();
    tunnelled.settings.method = ForwardingMethod::Tunnel;
    Finding::here(
        Fault::ServerBehindRouter,
        format!("{} is reached through {}", trip.address, trip.hop),
        edit(&trip.service, &tunnelled),
    )
}

/// Those who answer for a virtual address and are not this director.
fn strangers(site: &Site, delivery: &Delivery, segment: &Segment, address: IpAddr) -> Vec<Finding> {
    let own = |mac: &Mac| site.cards.iter().any(|card| card.mac == *mac);
    let host = Prefix::host(address);
    let found = |mac: Mac| {
        // A server of both families is named by the address of this one.
        let trips = delivery.trips.iter();
        let server = trips
            .filter(|trip| trip.hop == trip.address && trip.macs.contains(&mac))
            .min_by_key(|trip| trip.address.is_ipv6() != address.is_ipv6());
        let Some(server) = server else {
            let what = format!(
                "{} answers {} for {address}",
                Place::Of(mac),
                asking(address)
            );
            let cure = format!("ip addr flush to {host}");
            let at = place(segment, mac, address);
            return Finding::here(Fault::OtherAnswersArp, what, cure).on(at);
        };
        let what = format!(
            "the server {} answers {} for {address}",
            server.address,
            asking(address)
        );
        let cure = clean_set_up(&server.destination.settings, address);
        Finding::here(Fault::ServerAnswersArp, what, cure).on(Place::At(server.address))
    };
    let strangers = segment.who_has(address).into_iter().filter(|mac| !own(mac));
    strangers.map(found).collect()
}

/// Puts the virtual address on a server where it belongs, wherever it is now.
pub(super) fn clean_set_up(settings: &DestinationSettings, address: IpAddr) -> String {
    let flush = format!("ip addr flush to {}", Prefix::host(address));
    match settings.method {
        ForwardingMethod::DirectRouting | ForwardingMethod::Tunnel => {
            format!("{flush} && {}", set_up(settings, address))
        }
        _ => flush,
    }
}

/// Sets a server up that gets packets past the director, by direct routing or a tunnel.
pub(super) fn set_up(settings: &DestinationSettings, address: IpAddr) -> String {
    let mode = match settings.method {
        ForwardingMethod::Tunnel => "tun",
        _ => "dr",
    };
    // The kernel's tunl0 knows IP in IP alone.
    let other = mode == "tun" && settings.tunnel.kind != TunnelType::Ipip;
    let program = if other { " --bpf" } else { "" };
    format!("lvsx realserver up --mode {mode} --vip {address}{program}")
}

/// What is asked for the machine that has an address.
pub(crate) fn asking(address: IpAddr) -> &'static str {
    if address.is_ipv6() {
        "neighbour discovery"
    } else {
        "ARP"
    }
}

/// A machine by another address of its own, where one is known.
fn place(segment: &Segment, mac: Mac, but: IpAddr) -> Place {
    segment
        .address_of(mac, but)
        .map_or(Place::Of(mac), Place::At)
}
