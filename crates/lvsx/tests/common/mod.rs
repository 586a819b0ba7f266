//! What the tests with a director share.

use std::net::TcpStream;

use anyhow::{Context, Result};
use lvsx_host::{ForwardingMethod, bpf};
use lvsx_lab::listing::{ServiceCounters, exact_counters};
use lvsx_lab::{Blueprint, Lab, Mode};

/// The tutorial's lab of a method, with its services, ready for clients.
pub(crate) fn tutorial(method: ForwardingMethod, mode: Mode) -> Result<Lab> {
    let binary = env!("CARGO_BIN_EXE_lvsx").into();
    Lab::tutorial(Blueprint {
        method: Some(method),
        mode,
        binary,
        object: bpf::OBJECT,
    })
}

/// A connection of the client to the virtual service.
pub(crate) fn connect(lab: &Lab) -> Result<TcpStream> {
    lab.client()?.connect(lab.service_address()?)
}

/// The counters of the lab's one service.
pub(crate) fn counters(lab: &Lab) -> Result<ServiceCounters> {
    let listing = lab
        .director()?
        .run("ipvsadm -Ln --stats --exact")?
        .success()?;
    exact_counters(&listing)?
        .pop()
        .context("no service is listed")
}
