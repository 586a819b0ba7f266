//! A director, looked at from its own machine.

mod address;
mod answer;
mod delivery;
mod forwarding;
mod lvsd;
mod neighbour;
mod netfilter;
mod nftables;
mod service;
mod serving;
mod site;

use lvsx_host::Network;
use lvsx_ipvs::{Choice, Client, ConnectError};

pub(crate) use answer::{judge, mtu_to};
pub(crate) use delivery::{Answer, Delivery, Trip};
pub(crate) use neighbour::asking;
pub(crate) use site::{Site, named};

use crate::{Fault, Finding, Result};

/// Everything that is wrong with the director of this network namespace.
///
/// Takes about half a second when all is well, some seconds when servers are silent.
///
/// # Errors
/// When the machine's network or the director cannot be read, or packets cannot be sent: mostly not
/// root.
pub fn examine() -> Result<Vec<Finding>> {
    let network = Network::here()?;
    let mut client = match Client::connect(Choice::Auto) {
        Ok(client) => client,
        Err(error) => return nobody(error),
    };
    let site = Site::read(&mut client, &network)?;
    let mut findings = Vec::new();
    findings.extend(lvsd::examine(&site));
    findings.extend(service::examine(&site));
    findings.extend(netfilter::examine(&site));
    findings.extend(forwarding::examine(&site)?);
    findings.extend(address::examine(&site, &network)?);
    findings.extend(serving::examine(&site, &network)?);
    let mut delivery = Delivery::open(&site, &network, None)?;
    findings.extend(neighbour::examine(&site, &network, &delivery)?);
    delivery.send()?;
    findings.extend(answer::examine(&site, &delivery)?);
    Ok(findings)
}

/// Starts a director that outlives the terminal.
const START: &str = "setsid lvsd >>/run/lvsx/lvsd.log 2>&1 &";

/// Nobody answers for this namespace; what else is wrong only a director could tell.
fn nobody(error: ConnectError) -> Result<Vec<Finding>> {
    let (fault, what) = match &error {
        ConnectError::Silent { .. } => (Fault::DirectorSilent, error.to_string()),
        ConnectError::NoIpvs => (Fault::NoDirector, error.to_string()),
        _ => return Err(error.into()),
    };
    Ok(vec![Finding::here(fault, what, START.to_owned())])
}
