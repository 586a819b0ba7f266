//! The virtual address on a real server: there, alone, and not on a card.

use lvsx_host::network::TUNNEL;
use lvsx_host::realserver::LOOPBACK;
use lvsx_host::{Prefix, Setup};

use super::Machine;
use crate::{Fault, Finding, Result};

pub(super) fn examine(setup: &Setup, machine: &Machine<'_>) -> Result<Vec<Finding>> {
    if matches!(setup, Setup::Masquerade { .. }) {
        return Ok(Vec::new());
    }
    let address = setup.virtual_address();
    let host = Prefix::host(address);
    let mut findings = Vec::new();
    let home = match setup {
        Setup::Tunnel {
            decapsulation: lvsx_host::Decapsulation::Kernel,
            ..
        } => TUNNEL,
        _ => LOOPBACK,
    };
    let mut silent = false;
    for (iface, own) in machine
        .addresses
        .iter()
        .filter(|(_, own)| own.address == address)
    {
        let moved = format!("ip addr del {own} dev {iface} && ip addr add {host} dev {home}");
        if machine.is_card(iface) {
            let what = format!("{own} is on {iface}");
            findings.push(Finding::here(Fault::AddressOnCard, what, moved));
        } else if *own != host {
            let what = format!("{own} is on {iface}");
            findings.push(Finding::here(Fault::AddressWide, what, moved));
        } else {
            silent = true;
        }
    }
    if !silent && findings.is_empty() {
        findings.push(Finding::here(
            Fault::AddressMissing,
            format!("{address} is on no interface"),
            format!("ip addr add {host} dev {home}"),
        ));
    }
    if !machine.network.is_up(LOOPBACK)? {
        findings.push(Finding::here(
            Fault::LoopbackDown,
            "lo is down".to_owned(),
            "ip link set lo up".to_owned(),
        ));
    }
    Ok(findings)
}
