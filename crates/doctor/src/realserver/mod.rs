//! A real server, looked at from itself.

mod address;
mod route;
mod silence;
mod tunnel;

use std::net::IpAddr;

use lvsx_host::network::TUNNEL;
use lvsx_host::realserver::LOOPBACK;
use lvsx_host::{Card, Decapsulation, Destination, Network, Prefix, Setup, bpf};

use crate::{Finding, Result};

/// The machine as every concern sees it.
pub(crate) struct Machine<'a> {
    network: &'a Network,
    cards: Vec<Card>,
    addresses: Vec<(String, Prefix)>,
}

/// Everything that is wrong with this machine as a real server that is set up so.
///
/// # Errors
/// When the machine's network cannot be read, or packets cannot be sent: mostly not root.
pub fn examine(setups: &[Setup], network: &Network) -> Result<Vec<Finding>> {
    let machine = Machine {
        network,
        cards: network.cards()?,
        addresses: network.addresses()?,
    };
    let mut findings = Vec::new();
    for setup in setups {
        findings.extend(address::examine(setup, &machine)?);
        findings.extend(silence::examine(setup, &machine)?);
        findings.extend(tunnel::examine(setup, &machine)?);
        findings.extend(route::examine(setup, &machine)?);
    }
    findings.dedup_by(|a, b| a.cure == b.cure);
    Ok(findings)
}

/// What this machine looks like it is set up for, where nobody said: an address that stands alone
/// on lo is a virtual address by direct routing, on `tunl0` or beside our decapsulation by tunnelling.
///
/// # Errors
/// When the machine's network cannot be read.
pub fn guess(network: &Network) -> Result<Vec<Setup>> {
    let unwrapping = network
        .cards()?
        .into_iter()
        .find(|card| matches!(decapsulates(network, &card.name), Ok(true)));
    let alone = network
        .addresses()?
        .into_iter()
        .filter(|(_, own)| *own == Prefix::host(own.address) && !own.address.is_loopback());
    // Where packets for tunl0 come in, as `lvsx realserver up` takes it to be.
    let outer = network.way_out(Destination::Default)?;
    let outer = outer.map_or_else(|| TUNNEL.to_owned(), |(iface, _)| iface);
    let setup = |(iface, own): (String, Prefix)| {
        let virtual_address = own.address;
        match (iface.as_str(), &unwrapping) {
            (TUNNEL, _) => Some(Setup::Tunnel {
                virtual_address,
                iface: outer.clone(),
                decapsulation: Decapsulation::Kernel,
            }),
            (LOOPBACK, Some(card)) => Some(Setup::Tunnel {
                virtual_address,
                iface: card.name.clone(),
                decapsulation: Decapsulation::Program(bpf::OBJECT),
            }),
            (LOOPBACK, None) => Some(Setup::DirectRouting { virtual_address }),
            _ => None,
        }
    };
    Ok(alone.filter_map(setup).collect())
}

/// Whether our decapsulation sits on the interface.
fn decapsulates(network: &Network, iface: &str) -> lvsx_host::Result<bool> {
    lvsx_host::Step::AttachDecapsulation {
        iface: iface.to_owned(),
        object: bpf::OBJECT,
    }
    .check(network)
}

impl Machine<'_> {
    /// Whether the interface is one of the Ethernet interfaces.
    fn is_card(&self, iface: &str) -> bool {
        self.cards.iter().any(|card| card.name == iface)
    }

    /// The cards on whose network an address lies.
    fn cards_of(&self, address: IpAddr) -> impl Iterator<Item = &Card> {
        self.cards.iter().filter(move |card| {
            self.addresses.iter().any(|(iface, own)| {
                *iface == card.name && *own != Prefix::host(own.address) && own.holds(address)
            })
        })
    }
}

/// A sysctl of an IPv4 interface that is in force: the larger one of its own and that of all.
fn in_force(iface: &str, key: &str) -> Result<u32> {
    let read = |of: &str| -> Result<u32> {
        let value =
            lvsx_host::sysctl::read(&format!("net.ipv4.conf.{}.{key}", of.replace('.', "/")))?;
        Ok(value.parse().unwrap_or(0))
    };
    Ok(read("all")?.max(read(iface)?))
}
