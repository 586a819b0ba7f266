//! The services as they are configured: can they serve anybody?

use std::net::IpAddr;

use lvsx_host::Prefix;
use lvsx_ipvs::{Destination, Service, ServiceKey};

use super::Site;
use super::site::{edit, named};
use crate::{Fault, Finding};

/// The defences whose mode 3 is "always".
const DEFENCES: [&str; 3] = ["drop_entry", "drop_packet", "secure_tcp"];

pub(super) fn examine(site: &Site) -> Vec<Finding> {
    let mut findings: Vec<_> = site
        .services
        .iter()
        .filter_map(|(service, destinations)| able(service, destinations))
        .collect();
    findings.extend(
        site.services
            .iter()
            .filter_map(|(service, destinations)| marked(site, service, destinations)),
    );
    let settings = site.lvsd.iter().flat_map(|lvsd| &lvsd.settings);
    findings.extend(
        settings
            .filter(|(name, value)| DEFENCES.contains(&name.as_str()) && value == "3")
            .map(|(name, _)| {
                Finding::here(
                    Fault::DefenceAlwaysOn,
                    format!("net.ipv4.vs.{name} is 3"),
                    format!("lvsx sysctl -w {name}=0"),
                )
            }),
    );
    findings
}

/// Whether some server would take a new connection.
fn able(service: &Service, destinations: &[Destination]) -> Option<Finding> {
    let name = named(&service.key);
    if destinations.is_empty() {
        let what = format!("the service `{name}` has no server");
        let cure = format!("ipvsadm -a {name} -r SERVER:PORT -g");
        return Some(Finding::here(Fault::NoServers, what, cure));
    }
    let weighty = destinations
        .iter()
        .filter(|destination| destination.settings.weight > 0);
    let Some(first) = weighty.clone().next() else {
        let mut first = destinations[0].clone();
        first.settings.weight = 1;
        let what = format!(
            "all {} servers of `{name}` have weight 0",
            destinations.len()
        );
        return Some(Finding::here(
            Fault::NoWeight,
            what,
            edit(&service.key, &first),
        ));
    };
    let overloaded = |destination: &Destination| {
        let upper = destination.settings.upper_threshold;
        upper > 0 && destination.active + destination.inactive >= upper
    };
    weighty.clone().all(overloaded).then(|| {
        let mut first = first.clone();
        first.settings.upper_threshold = 0;
        let what = format!(
            "every server of `{name}` has as many connections as its upper threshold allows"
        );
        Finding::here(Fault::AllOverloaded, what, edit(&service.key, &first))
    })
}

/// Whether packets can ever carry the mark of a service by mark.
fn marked(site: &Site, service: &Service, destinations: &[Destination]) -> Option<Finding> {
    let ServiceKey::Mark { mark, .. } = service.key else {
        return None;
    };
    let lvsd = site.lvsd.as_ref()?;
    let sets = lvsd.marks.iter().any(|rule| {
        rule.change.value & rule.change.mask == mark & rule.change.mask && rule.change.mask != 0
    });
    if sets {
        return None;
    }
    let address = virtual_address(site).map_or("VIP".to_owned(), |address| address.to_string());
    let port = destinations.first().map(|destination| destination.key.port);
    let ports = port
        .filter(|port| *port != 0)
        .map_or("PORTS".to_owned(), |port| port.to_string());
    Some(Finding::here(
        Fault::MarkWithoutRule,
        format!("no rule of `lvsx mark` sets mark {mark}"),
        format!("lvsx mark add mark {mark} protocol tcp to {address} ports {ports}"),
    ))
}

/// What looks like the virtual address: the only address that stands alone, without a network.
fn virtual_address(site: &Site) -> Option<IpAddr> {
    let alone =
        |prefix: &Prefix| *prefix == Prefix::host(prefix.address) && !prefix.address.is_loopback();
    let mut candidates = site
        .addresses
        .iter()
        .map(|(_, prefix)| prefix)
        .filter(|prefix| alone(prefix));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Some(only.address),
        _ => None,
    }
}
