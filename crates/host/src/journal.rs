//! The journal that takes a plan back.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::step::ip_of;
use crate::{Before, Error, Network, Result, Step, decapsulation};

/// A step that was applied, and how it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The step.
    pub step: Step,
    /// How it was before.
    pub before: Before,
}

/// What a plan changed, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a journal that is dropped can no longer be undone"]
pub struct Journal {
    /// The changes; steps that were so already are not among them.
    pub changes: Vec<Change>,
}

impl Journal {
    /// Undoes the changes, newest first, telling `observe` of each. It goes on after a failure.
    ///
    /// # Errors
    /// The first undo that failed.
    pub fn undo(self, network: &Network, mut observe: impl FnMut(&Change)) -> Result<()> {
        let mut first_failure = Ok(());
        for change in self.changes.iter().rev() {
            let undone = change.undo(network);
            observe(change);
            first_failure = first_failure.and(undone);
        }
        first_failure
    }
}

impl Change {
    /// Makes it as it was before.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn undo(&self, network: &Network) -> Result<()> {
        self.step
            .undo(network, &self.before)
            .map_err(|cause| Error::Step {
                command: self.to_string(),
                cause: Box::new(cause),
            })
    }
}

/// The command that takes the change back.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.step, &self.before) {
            (Step::AddAddress { iface, address, .. }, _) => {
                write!(f, "ip addr del {address} dev {iface}")
            }
            (Step::LinkUp { iface }, _) => write!(f, "ip link set {iface} down"),
            (Step::AddRoute { destination, .. }, Before::Route(old)) => {
                write!(f, "ip route replace {destination} {old}")
            }
            (Step::AddRoute { destination, via }, _) => {
                write!(f, "ip route del {destination} {via}")
            }
            (Step::SetSysctl { key, .. }, Before::Value(value)) => {
                write!(f, "sysctl -w {key}={value}")
            }
            (Step::CreateTunnel, _) => f.write_str("ip link del tunl0"),
            (Step::SetOffload { iface, .. }, Before::Features(features)) => {
                let features = features.clone();
                let iface = iface.clone();
                Step::SetOffload { iface, features }.fmt(f)
            }
            (Step::AttachDecapsulation { iface, .. }, before) => {
                let (priority, handle) = (decapsulation::PRIORITY, decapsulation::HANDLE);
                write!(
                    f,
                    "tc filter del dev {iface} ingress prio {priority} handle {handle} bpf"
                )?;
                match before {
                    Before::NoClsact => write!(f, "; tc qdisc del dev {iface} clsact"),
                    _ => Ok(()),
                }
            }
            (Step::LimitSegments { destination, .. }, before) => {
                let ip = ip_of(*destination);
                let as_before = match before {
                    Before::Segments(Some(announced)) => {
                        format!("s/advmss [0-9]*/advmss {announced}/")
                    }
                    _ => "s/ advmss [0-9]*//".to_owned(),
                };
                write!(
                    f,
                    "{ip} route change $({ip} route show default | sed -n '{as_before};1p')"
                )
            }
            (Step::CreateVeth { name, .. } | Step::CreateBridge { name }, _) => {
                write!(f, "ip link del {name}")
            }
            (Step::JoinBridge { iface, .. }, _) => write!(f, "ip link set {iface} nomaster"),
            (Step::AddNeighbour { iface, address, .. }, _) => {
                write!(f, "ip neigh del {address} dev {iface}")
            }
            // Nothing was different before, or it goes back by what has no one command.
            (step, _) => write!(f, "undo of {step}"),
        }
    }
}
