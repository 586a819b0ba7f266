//! What the servers' answers tell.

use std::net::{IpAddr, Ipv4Addr};

use lvsx_host::Prefix;
use lvsx_ipvs::{ForwardingMethod, ServiceKey};

use super::delivery::{Answer, Delivery, Trip};
use super::neighbour::{asking, clean_set_up, set_up};
use super::site::{Site, edit};
use crate::segment::Segment;
use crate::{Fault, Finding, Place, Result, mtu};

pub(super) fn examine(site: &Site, delivery: &Delivery) -> Result<Vec<Finding>> {
    let mut findings: Vec<_> = delivery
        .trips
        .iter()
        .filter(|trip| !trip.macs.is_empty() && trip.destination.settings.weight > 0)
        .filter_map(|trip| judge(trip, delivery))
        .collect();
    findings.extend(beside(site, delivery));
    findings.extend(unfinished(site, delivery));
    findings.extend(long_packets(delivery)?);
    findings.dedup_by(|a, b| (a.fault, &a.cure, a.place) == (b.fault, &b.cure, b.place));
    Ok(findings)
}

/// What is wrong at the server of a trip, by its answers.
pub(crate) fn judge(trip: &Trip, delivery: &Delivery) -> Option<Finding> {
    let (server, method) = (trip.address, trip.destination.settings.method);
    let place = Place::At(server);
    match (trip.plain, trip.forwarded) {
        (_, Some(Answer::Open)) => None,
        (_, Some(Answer::Closed)) => Some(out_of_service(
            trip,
            format!("nobody on {server} listens on the service's port"),
        )),
        (None, None) => Some(out_of_service(
            trip,
            format!("{server} answers {}, but no packet", asking(server)),
        )),
        (Some(Answer::Closed), None) if method == ForwardingMethod::Masquerade => {
            Some(out_of_service(
                trip,
                format!("nobody on {server} listens on the service's port"),
            ))
        }
        (Some(_), None) if method == ForwardingMethod::Masquerade => {
            let own = delivery.segments[trip.segment].own_towards(trip.hop)?;
            let what =
                format!("{server} serves {own}, but its answers to clients do not come here");
            let cure = format!("ip route replace default via {own}");
            Some(Finding::here(Fault::AnswersAstray, what, cure).on(place))
        }
        (Some(_), None) => {
            let virtual_address = virtual_of(trip)?;
            let what = format!("{server} answers, but not for {virtual_address}");
            let cure = clean_set_up(&trip.destination.settings, virtual_address);
            Some(Finding::here(Fault::ServerRefuses, what, cure).on(place))
        }
    }
}

/// The longest packet that reaches the server of a trip, where longer ones are lost that it expects:
/// a server that announces small segments is sent no others.
pub(crate) fn mtu_to(trip: &Trip, segment: &Segment) -> Result<Option<usize>> {
    let Some(mac) = trip.macs.first() else {
        return Ok(None);
    };
    let own = segment.wire.card.mtu as usize;
    let full = trip
        .expected_length
        .map_or(own, |expected| own.min(expected));
    mtu::limit(segment, trip.address, *mac, full)
}

fn out_of_service(trip: &Trip, what: String) -> Finding {
    let mut quiesced = trip.destination.clone();
    quiesced.settings.weight = 0;
    Finding::here(Fault::PortClosed, what, edit(&trip.service, &quiesced))
}

fn virtual_of(trip: &Trip) -> Option<IpAddr> {
    match trip.service {
        ServiceKey::Address { addr, .. } => Some(addr),
        ServiceKey::Mark { .. } => None,
    }
}

/// Connections that wait for an answer, of clients on the segment of their server by NAT.
fn beside(site: &Site, delivery: &Delivery) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (client, server) in site.connections.lines().filter_map(unanswered) {
        let by_nat = |trip: &&Trip| {
            trip.address == server
                && trip.hop == server
                && trip.destination.settings.method == ForwardingMethod::Masquerade
        };
        let Some(trip) = delivery.trips.iter().find(by_nat) else {
            continue;
        };
        let segment = &delivery.segments[trip.segment];
        let Some(own) = segment
            .own_towards(server)
            .filter(|_| segment.holds(client) && client != server)
        else {
            continue;
        };
        let what = format!("{client} waits for an answer of {server}, which answers it directly");
        let cure = format!("ip route replace {} via {own}", Prefix::host(client));
        let found = Finding::here(Fault::ClientBesideServer, what, cure);
        let found = found.on(Place::At(server));
        if !findings.contains(&found) {
            findings.push(found);
        }
    }
    findings
}

/// Client and server of a connection in SYN_RECV, from a line of `/proc/net/ip_vs_conn`.
fn unanswered(line: &str) -> Option<(IpAddr, IpAddr)> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let address = |at: usize| {
        let word = *words.get(at)?;
        match word.len() {
            8 => Some(IpAddr::from(Ipv4Addr::from(
                u32::from_str_radix(word, 16).ok()?,
            ))),
            _ => word.parse().ok(),
        }
    };
    (*words.get(7)? == "SYN_RECV").then_some(())?;
    Some((address(1)?, address(5)?))
}

/// Frames that a virtual wire brings with unfinished checksums, where XDP takes them.
fn unfinished(site: &Site, delivery: &Delivery) -> Vec<Finding> {
    let Some(lvsd) = &site.lvsd else {
        return Vec::new();
    };
    let served = lvsd.status["serving"]["interfaces"].as_array();
    let in_xdp = |iface: &str| {
        served.into_iter().flatten().any(|one| {
            one["name"] == iface
                && one["hook"]
                    .as_str()
                    .is_some_and(|hook| hook.starts_with("xdp"))
        })
    };
    let mut ifaces: Vec<_> = delivery
        .trips
        .iter()
        .filter(|trip| trip.unfinished)
        .map(|trip| delivery.segments[trip.segment].wire.card.name.clone())
        .filter(|iface| in_xdp(iface))
        .collect();
    ifaces.dedup();
    ifaces
        .into_iter()
        .map(|iface| {
            Finding::here(
                Fault::UnfinishedChecksums,
                format!("answers come to {iface} without their checksums"),
                "ethtool -K PEER tx off gro on".to_owned(),
            )
            .on(Place::Opposite)
        })
        .collect()
}

/// The longest packets must reach each server. Where they reach none of several, it is our end.
fn long_packets(delivery: &Delivery) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (place, segment) in delivery.segments.iter().enumerate() {
        let mut limits = Vec::new();
        for trip in delivery
            .trips
            .iter()
            .filter(|trip| trip.segment == place && trip.hop == trip.address)
        {
            let known = |(other, _): &(&Trip, _)| other.address == trip.address;
            if !trip.macs.is_empty() && !limits.iter().any(known) {
                limits.push((trip, mtu_to(trip, segment)?));
            }
        }
        let (iface, full) = (&segment.wire.card.name, segment.wire.card.mtu);
        let least = limits.iter().filter_map(|(_, limit)| *limit).min();
        let lost = |limit| format!("packets of {full} bytes are lost, of {limit} pass");
        match least {
            Some(limit) if limits.len() > 1 && limits.iter().all(|(_, limit)| limit.is_some()) => {
                findings.push(Finding::here(
                    Fault::PathMtu,
                    format!("on {iface}, to every server: {}", lost(limit)),
                    format!("ip link set {iface} mtu {limit}"),
                ));
            }
            _ => findings.extend(limits.iter().filter_map(|(trip, limit)| {
                let limit = (*limit)?;
                let own = segment.own_towards(trip.address)?;
                let device =
                    format!("$(ip -o route get {own} | sed 's/.* dev \\([^ ]*\\).*/\\1/')");
                let shorter = format!("ip link set {device} mtu {limit}");
                // What clients may send by a tunnel follows from that.
                let cure = match (trip.destination.settings.method, virtual_of(trip)) {
                    (ForwardingMethod::Tunnel, Some(virtual_address)) => {
                        let up = set_up(&trip.destination.settings, virtual_address);
                        format!("{shorter} && {up}")
                    }
                    _ => shorter,
                };
                let what = format!("to {}: {}", trip.address, lost(limit));
                let found = Finding::here(Fault::PathMtu, what, cure);
                Some(found.on(Place::At(trip.address)))
            })),
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_without_answer_are_read() {
        let line = "TCP C0A8012F D431 08080808 0050 C0A8012E 0050 SYN_RECV         55";
        let expected: [IpAddr; 2] = [[192, 168, 1, 47].into(), [192, 168, 1, 46].into()];
        assert_eq!(unanswered(line), Some(expected.into()));
        assert_eq!(unanswered(&line.replace("SYN_RECV", "ESTABLISHED")), None);
        assert_eq!(
            unanswered("Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires"),
            None
        );
    }
}
