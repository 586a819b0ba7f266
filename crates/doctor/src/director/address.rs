//! The virtual addresses on the director: it must have them, up, and answer ARP for them.

use std::net::IpAddr;

use lvsx_host::{Card, Network, Prefix, sysctl};

use super::Site;
use crate::{Fault, Finding, Result};

pub(super) fn examine(site: &Site, network: &Network) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for address in site.virtual_addresses() {
        findings.extend(present(site, network, address)?);
    }
    for (_, destination) in site.destinations() {
        findings.extend(down(site, destination.key.addr, "server"));
    }
    findings.dedup_by(|a, b| a.cure == b.cure);
    Ok(findings)
}

fn present(site: &Site, network: &Network, address: IpAddr) -> Result<Option<Finding>> {
    let on = site
        .addresses
        .iter()
        .find(|(_, own)| own.address == address);
    if let Some((iface, _)) = on {
        let card = site.cards.iter().find(|card| card.name == *iface);
        if let Some(card) = card.filter(|card| !card.is_up) {
            return Ok(Some(is_down(
                card,
                format!("the virtual address {address}"),
            )));
        }
    } else if !is_local(network, address)? {
        if let Some(found) = down(site, address, "virtual address") {
            return Ok(Some(found));
        }
        let iface = card_for(site, network, address)?;
        return Ok(Some(Finding::here(
            Fault::NoVirtualAddress,
            format!("{address} is not an address of this machine"),
            format!("ip addr add {} dev {iface}", Prefix::host(address)),
        )));
    }
    silent(site, address)
}

/// Whether the kernel takes packets for the address as its own, by a local route too.
fn is_local(network: &Network, address: IpAddr) -> Result<bool> {
    Ok(network
        .way_to(address)?
        .is_some_and(|(iface, _)| iface == "lo"))
}

/// A finding where the card on whose network the address lies is down.
fn down(site: &Site, address: IpAddr, what: &str) -> Option<Finding> {
    let card = cards_of(site, address).find(|card| !card.is_up)?;
    Some(is_down(card, format!("the {what} {address}")))
}

fn is_down(card: &Card, needed_by: String) -> Finding {
    let name = &card.name;
    Finding::here(
        Fault::InterfaceDown,
        format!("{name} is down, which {needed_by} needs"),
        format!("ip link set {name} up"),
    )
}

/// The cards with a network in which the address lies.
fn cards_of(site: &Site, address: IpAddr) -> impl Iterator<Item = &Card> {
    site.cards.iter().filter(move |card| {
        site.addresses.iter().any(|(iface, own)| {
            *iface == card.name && *own != Prefix::host(own.address) && own.holds(address)
        })
    })
}

/// Where a missing virtual address belongs: on its network, else on the way out.
fn card_for(site: &Site, network: &Network, address: IpAddr) -> Result<String> {
    if let Some(card) = cards_of(site, address).next() {
        return Ok(card.name.clone());
    }
    let way = network.way_to(address)?.map(|(iface, _)| iface);
    let first = || site.cards.first().map(|card| card.name.clone());
    Ok(way.or_else(first).unwrap_or_else(|| "IFACE".to_owned()))
}

/// Whether `arp_ignore` keeps the director from answering ARP where it must (Linux 6.1,
/// `arp_ignore()`): 1 and 2 answer for addresses of the interface asked, 8 for none.
fn silent(site: &Site, address: IpAddr) -> Result<Option<Finding>> {
    let IpAddr::V4(_) = address else {
        return Ok(None);
    };
    let mut silent = None;
    for card in cards_of(site, address) {
        let ignore = arp_ignore("all")?.max(arp_ignore(&card.name)?);
        let on_card = site
            .addresses
            .iter()
            .any(|(iface, own)| *iface == card.name && own.address == address);
        match ignore {
            0 => return Ok(None),
            1 | 2 if on_card => return Ok(None),
            1 | 2 => {
                silent = Some((
                    format!(
                        "arp_ignore is {ignore}, and {address} is not on {}",
                        card.name
                    ),
                    format!("ip addr add {} dev {}", Prefix::host(address), card.name),
                ));
            }
            _ => {
                let name = card.name.replace('.', "/");
                silent = Some((
                    format!("arp_ignore is {ignore} on {name}"),
                    format!(
                        "sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.{name}.arp_ignore=0"
                    ),
                ));
            }
        }
    }
    Ok(silent.map(|(what, cure)| Finding::here(Fault::VirtualAddressSilent, what, cure)))
}

fn arp_ignore(iface: &str) -> Result<u32> {
    let value = sysctl::read(&format!(
        "net.ipv4.conf.{}.arp_ignore",
        iface.replace('.', "/")
    ))?;
    Ok(value.parse().unwrap_or(0))
}
