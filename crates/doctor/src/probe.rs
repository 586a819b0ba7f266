//! `lvsx doctor probe`: a packet on the way that a client's packet takes to one server, step by step.

use std::net::IpAddr;

use lvsx_host::Network;
use lvsx_ipvs::{Choice, Client, ForwardingMethod};
use serde::Serialize;

use crate::director::{Answer, Delivery, Site, Trip, asking, judge, mtu_to};
use crate::{Error, Finding, Result};

/// A step of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// Whether the packet came through.
    pub passed: bool,
    /// What was seen.
    pub seen: String,
}

/// The way to a server as far as the packet came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// The service it was sent for.
    pub service: String,
    /// The steps in order; the last one is where it was lost, if it was.
    pub stages: Vec<Stage>,
    /// What is wrong there, where that is known.
    pub finding: Option<Finding>,
}

impl Probe {
    /// Whether it came through all steps.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.stages.iter().all(|stage| stage.passed)
    }

    /// Adds a step; whether the way goes on.
    fn stage(&mut self, name: &'static str, passed: bool, seen: String) -> bool {
        self.stages.push(Stage { name, passed, seen });
        passed
    }
}

/// Follows the way to a server for each service that it serves.
///
/// # Errors
/// When no service has this server, the director does not answer, or packets cannot be sent.
pub fn follow(server: IpAddr) -> Result<Vec<Probe>> {
    let network = Network::here()?;
    let site = Site::read(&mut Client::connect(Choice::Auto)?, &network)?;
    let known: Vec<_> = site
        .destinations()
        .filter(|(_, each)| each.key.addr == server)
        .collect();
    if known.is_empty() {
        let mut servers: Vec<_> = site
            .destinations()
            .map(|(_, each)| each.key.addr.to_string())
            .collect();
        servers.sort();
        servers.dedup();
        let servers = servers.join(", ");
        return Err(Error::Unknown(format!(
            "no service has the server {server}; there are: {servers}"
        )));
    }
    let mut delivery = Delivery::open(&site, &network, Some(server))?;
    delivery.send()?;
    if delivery.trips.is_empty() {
        let way = network.way_to(server)?;
        let seen = way.map_or_else(
            || format!("there is no route to {server}"),
            |(iface, _)| {
                format!("the way leads to {iface}, which is no Ethernet interface that is up")
            },
        );
        let lost = Stage {
            name: "route",
            passed: false,
            seen,
        };
        return Ok(known
            .iter()
            .map(|(service, _)| Probe {
                service: crate::director::named(&service.key),
                stages: vec![lost.clone()],
                finding: None,
            })
            .collect());
    }
    let probes = delivery.trips.iter().map(|trip| along(trip, &delivery));
    probes.collect()
}

fn along(trip: &Trip, delivery: &Delivery) -> Result<Probe> {
    let mut probe = Probe {
        service: crate::director::named(&trip.service),
        stages: Vec::new(),
        finding: None,
    };
    let iface = &delivery.segments[trip.segment].wire.card.name;
    let router = if trip.hop == trip.address {
        "directly".to_owned()
    } else {
        format!("through {}", trip.hop)
    };
    probe.stage(
        "route",
        true,
        format!("{} is reached {router} by {iface}", trip.address),
    );
    let asking = asking(trip.hop);
    let answered = match trip.macs.first() {
        Some(mac) => format!(
            "{} answers {asking} for {}",
            crate::Place::Of(*mac),
            trip.hop
        ),
        None => format!("nobody answers {asking} for {}", trip.hop),
    };
    if !probe.stage("neighbour", !trip.macs.is_empty(), answered) {
        return Ok(probe);
    }
    let direct = trip.hop != trip.address
        && trip.destination.settings.method == ForwardingMethod::DirectRouting;
    if direct {
        probe.stage(
            "segment",
            false,
            "direct routing does not pass a router".to_owned(),
        );
        return Ok(probe);
    }
    let said = |answer: Option<Answer>| match answer {
        Some(Answer::Open) => "it answers",
        Some(Answer::Closed) => "it refuses: nobody listens there",
        None => "silence",
    };
    // By the other methods a server may listen on the virtual address alone.
    let counts = trip.destination.settings.method == ForwardingMethod::Masquerade;
    let reached = trip.plain.is_some() || trip.forwarded.is_some();
    let passed = reached && !(counts && trip.plain == Some(Answer::Closed));
    let goes_on = probe.stage(
        "server",
        passed,
        format!("a packet of the director's own: {}", said(trip.plain)),
    );
    if goes_on {
        let how = match trip.destination.settings.method {
            ForwardingMethod::Masquerade => "a client's packet, whose answer must come back here",
            ForwardingMethod::Tunnel => "a packet in the tunnel, for the virtual address",
            _ => "a packet for the virtual address",
        };
        let passed = trip.forwarded == Some(Answer::Open);
        probe.stage(
            "service",
            passed,
            format!("{how}: {}", said(trip.forwarded)),
        );
    }
    if !probe.passed() {
        probe.finding = judge(trip, delivery);
        return Ok(probe);
    }
    let segment = &delivery.segments[trip.segment];
    let full = segment.wire.card.mtu;
    match mtu_to(trip, segment)? {
        None => probe.stage("length", true, format!("packets of {full} bytes pass")),
        Some(limit) => probe.stage(
            "length",
            false,
            format!("packets of {full} bytes are lost, of {limit} pass"),
        ),
    };
    Ok(probe)
}
