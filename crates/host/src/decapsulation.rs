//! Our decapsulation at an interface's ingress, for kernels without the modules of tunnels.
//!
//! It is a clsact filter on every kernel, not a tcx link: a filter stays when the process that
//! attached it ends and dies with the interface, a link would need a pin that outlives both.
//! `tc filter show dev eth0 ingress` shows it.

use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact,
};
use aya::programs::{Link, SchedClassifier, TcAttachType};
use aya::{EbpfLoader, programs::ProgramError};

use crate::{Error, Network, Object, Result};

/// The program's name in the object.
pub(crate) const PROGRAM: &str = "decap_tc";
/// The filter's place; IP-in-IP is protocol 4.
pub(crate) const PRIORITY: u16 = 4;
/// The filter's handle.
pub(crate) const HANDLE: u16 = 4;

/// Whether our filter is there.
pub(crate) fn is_attached(network: &Network, iface: &str) -> Result<bool> {
    Ok(network
        .ingress_filters(iface)?
        .contains(&(PRIORITY, HANDLE.into())))
}

/// Loads the program and attaches it.
pub(crate) fn attach(network: &Network, iface: &str, object: Object) -> Result<()> {
    let failed = |cause: String| Error::Decapsulation {
        iface: iface.to_owned(),
        cause,
    };
    let mut ebpf = EbpfLoader::new()
        .load(object.0)
        .map_err(|error| failed(format!("the BPF object does not load: {}", chain(&error))))?;
    let program: &mut SchedClassifier = ebpf
        .program_mut(PROGRAM)
        .ok_or_else(|| failed(format!("the BPF object has no program {PROGRAM}")))?
        .try_into()
        .map_err(|error: ProgramError| failed(chain(&error)))?;
    program.load().map_err(|error| failed(chain(&error)))?;

    if !network.has_clsact(iface)? {
        qdisc_add_clsact(iface).map_err(|error| failed(chain(&error)))?;
    }
    let place = TcAttachOptions::Netlink(NlOptions {
        priority: PRIORITY,
        handle: TcHandle::new(0, HANDLE),
        classid: None,
    });
    let link = program
        .attach_with_options(iface, TcAttachType::Ingress, place)
        .and_then(|id| program.take_link(id))
        .map_err(|error| failed(chain(&error)))?;
    // Dropped, the link would detach; the filter shall outlive this process.
    std::mem::forget(link);
    Ok(())
}

/// Removes the filter, and the qdisc if it came with it and serves nothing else now.
pub(crate) fn detach(network: &Network, iface: &str, with_clsact: bool) -> Result<()> {
    let failed = |cause: String| Error::Decapsulation {
        iface: iface.to_owned(),
        cause,
    };
    if is_attached(network, iface)? {
        SchedClassifierLink::attached(
            iface,
            TcAttachType::Ingress,
            PRIORITY,
            TcHandle::new(0, HANDLE),
            None,
        )
        .map_err(|error| failed(error.to_string()))?
        .detach()
        .map_err(|error| failed(chain(&error)))?;
    }
    if with_clsact && network.has_clsact(iface)? && network.ingress_filters(iface)?.is_empty() {
        network.delete_clsact(iface)?;
    }
    Ok(())
}

/// An error with its causes, which aya's texts leave out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let one = error.to_string();
        if !text.contains(&one) {
            text = format!("{text}: {one}");
        }
        cause = error.source();
    }
    text
}
