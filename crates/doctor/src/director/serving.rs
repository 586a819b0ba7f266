//! Interfaces that clients may come in by, and lvsd does not look at.
//!
//! Without names it serves those that carry a virtual address, lead to a server, or have the default route. A virtual address
//! on `lo` names none of them, and where there is no default route nothing tells which way clients come.

use std::net::IpAddr;

use lvsx_host::realserver::LOOPBACK;
use lvsx_host::{Destination, Network, Prefix};

use super::Site;
use crate::{Fault, Finding, Result};

pub(super) fn examine(site: &Site, network: &Network) -> Result<Vec<Finding>> {
    let Some(lvsd) = &site.lvsd else {
        return Ok(Vec::new());
    };
    let served = lvsd.status["serving"]["interfaces"].as_array();
    let is_served = |name: &str| served.into_iter().flatten().any(|one| one["name"] == name);
    let mut findings: Vec<Finding> = Vec::new();
    for address in site.virtual_addresses() {
        let on_loopback =
            |(iface, own): &(String, Prefix)| iface == LOOPBACK && own.address == address;
        if !site.addresses.iter().any(on_loopback)
            || network.way_out(Destination::everything(address))?.is_some()
        {
            continue;
        }
        let unserved: Vec<&str> = site
            .cards
            .iter()
            .filter(|card| {
                card.is_up && !is_served(&card.name) && has_network(site, &card.name, address)
            })
            .map(|card| card.name.as_str())
            .collect();
        let Some(what) = names(&unserved) else {
            continue;
        };
        let what = format!(
            "{address} is on lo, there is no default route, and lvsd does not serve {what}"
        );
        let cure = match unserved[..] {
            [one] => {
                let prefix = Prefix::host(address);
                format!("ip addr del {prefix} dev {LOOPBACK}; ip addr add {prefix} dev {one}")
            }
            _ => restart(site, &lvsd.status["pid"].to_string()),
        };
        findings.push(Finding::here(Fault::ClientsUnserved, what, cure));
    }
    findings.dedup_by(|a, b| a.cure == b.cure);
    Ok(findings)
}

/// Whether the interface has an address with a network, of the family of `like`.
fn has_network(site: &Site, iface: &str, like: IpAddr) -> bool {
    site.addresses.iter().any(|(on, own)| {
        let is_link_local =
            matches!(own.address, IpAddr::V6(address) if address.is_unicast_link_local());
        on == iface
            && own.address.is_ipv4() == like.is_ipv4()
            && *own != Prefix::host(own.address)
            && !is_link_local
    })
}

fn names(ifaces: &[&str]) -> Option<String> {
    match ifaces {
        [] => None,
        [one] => Some((*one).to_owned()),
        [most @ .., last] => Some(format!("{} and {last}", most.join(", "))),
    }
}

/// The command that starts lvsd again with the options it has, and all interfaces that are up named.
fn restart(site: &Site, pid: &str) -> String {
    let up = site.cards.iter().filter(|card| card.is_up);
    let named: String = up.map(|card| format!(" --iface {}", card.name)).collect();
    format!(
        "set -- $(tr '\\0' ' ' </proc/{pid}/cmdline); kill {pid}; sleep 1; setsid \"$@\"{named} >>/run/lvsx/lvsd.log 2>&1 &"
    )
}
