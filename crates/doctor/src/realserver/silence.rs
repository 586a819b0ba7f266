//! A real server must not tell its segment that it has the virtual address (IPv4: ARP).

use lvsx_host::Setup;

use super::{Machine, in_force};
use crate::{Fault, Finding, Result};

/// With these, the kernel keeps an address on lo or a tunnel to itself.
const NEEDED: [(&str, u32, Fault); 2] = [
    ("arp_ignore", 1, Fault::ArpIgnore),
    ("arp_announce", 2, Fault::ArpAnnounce),
];

pub(super) fn examine(setup: &Setup, machine: &Machine<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if matches!(setup, Setup::Masquerade { .. }) || setup.virtual_address().is_ipv6() {
        return Ok(findings);
    }
    for (key, needed, fault) in NEEDED {
        for card in machine.cards.iter().filter(|card| card.is_up) {
            let value = in_force(&card.name, key)?;
            if value < needed {
                findings.push(Finding::here(
                    fault,
                    format!("{key} in force on {} is {value}", card.name),
                    format!("sysctl -w net.ipv4.conf.all.{key}={needed}"),
                ));
            }
        }
    }
    Ok(findings)
}
