//! Attaching the programs to interfaces, and letting go.
//!
//! A tcx or XDP link is pinned, and a director that starts anew puts its own program into it: no packet passes between
//! the two. A clsact filter (kernels before 6.6) has a priority and a handle of ours, so it is replaced in place.

use super::{Pins, Plane};
use crate::status::Interface;
use anyhow::Result;
use aya::programs::links::{FdLink, Link, PinnedLink};
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{LinkOrder, TcAttachType, XdpMode};
use aya::util::KernelVersion;
use std::collections::BTreeMap;
use std::io;

/// Priority of our filter under clsact: the first that the kernel gives out by itself, so that filters which others
/// placed before it stay before it.
const PRIORITY: u16 = 49152;
/// Handle of our filter.
const HANDLE: TcHandle = TcHandle::new(0, 1);

/// The first kernel with tcx links.
const TCX: KernelVersion = KernelVersion::new(6, 6, 0);

/// Where a program sits on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A tcx link at ingress (Linux 6.6).
    Tcx,
    /// A filter of the clsact queueing discipline at ingress.
    Clsact,
    /// The driver's own XDP hook.
    Xdp,
}

impl Hook {
    /// The tc hook of this kernel.
    #[must_use]
    pub fn tc() -> Self {
        if KernelVersion::current().is_ok_and(|found| found >= TCX) {
            Self::Tcx
        } else {
            Self::Clsact
        }
    }

    /// Its name in pins and in the status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Xdp => "xdp",
        }
    }
}

/// Why an interface is not served.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Somebody else's program has the interface's one XDP hook.
    #[error(
        "{interface}: another XDP program is attached; it is left alone (look with `ip link show {interface}`, or use --mode tc)"
    )]
    Occupied {
        /// Name of the interface.
        interface: String,
    },
    /// The driver has no XDP hook of its own, and the generic one breaks packets.
    #[error("{interface}: its driver has no native XDP; use --mode tc")]
    NoNativeXdp {
        /// Name of the interface.
        interface: String,
    },
    /// Anything else.
    #[error("{interface}: attaching by {hook}: {cause}")]
    Refused {
        /// Name of the interface.
        interface: String,
        /// How it was tried.
        hook: &'static str,
        /// What the kernel said.
        cause: String,
    },
}

/// What is attached: hook and name, by interface index.
#[derive(Debug, Default)]
pub struct Attachments(BTreeMap<u32, (Hook, String)>);

impl Attachments {
    /// What the status shows of them.
    #[must_use]
    pub fn listed(&self) -> Vec<Interface> {
        let entry = |(index, (hook, name)): (&u32, &(Hook, String))| Interface {
            name: name.clone(),
            index: *index,
            hook: hook.name(),
        };
        self.0.iter().map(entry).collect()
    }

    /// Attaches to the interfaces of `wanted` (name by index) by `hook`, and lets go of all others. What cannot be
    /// attached is told; the rest is done all the same.
    pub fn become_these(
        &mut self,
        plane: &mut Plane,
        hook: Hook,
        wanted: &BTreeMap<u32, String>,
    ) -> Vec<AttachError> {
        let mut errors = Vec::new();
        for (index, name) in wanted {
            if self
                .0
                .get(index)
                .is_some_and(|(present, _)| *present == hook)
            {
                continue;
            }
            match attach(plane, hook, *index, name) {
                Ok(()) => {
                    tracing::info!("{name}: attached by {}", hook.name());
                    if let Some((before, _)) = self.0.insert(*index, (hook, name.clone())) {
                        detach(&plane.pins, before, *index, name);
                    }
                }
                Err(error) => errors.push(explain(&error, hook, name)),
            }
        }
        let unwanted: Vec<u32> = self
            .0
            .keys()
            .copied()
            .filter(|index| !wanted.contains_key(index))
            .collect();
        for index in unwanted {
            if let Some((hook, name)) = self.0.remove(&index) {
                detach(&plane.pins, hook, index, &name);
                tracing::info!("{name}: detached");
            }
        }
        self.drop_strays(plane, hook);
        errors
    }

    /// Links that a director before left on interfaces, or by hooks, that are not wanted any more.
    fn drop_strays(&self, plane: &Plane, hook: Hook) {
        for (name, index) in plane.pins.links().unwrap_or_default() {
            if name != hook.name() || !self.0.contains_key(&index) {
                let _ = std::fs::remove_file(plane.pins.link(&name, index));
            }
        }
    }
}

fn attach(plane: &mut Plane, hook: Hook, index: u32, name: &str) -> Result<()> {
    let pin = plane.pins.link(hook.name(), index);
    match PinnedLink::from_pin(&pin).map_err(anyhow::Error::new) {
        Ok(link) => match replace(plane, hook, link.into()) {
            // The interface that the link was on is gone; another has its number now.
            Err(error) if errno(&error) == Some(libc::ENOLINK) => std::fs::remove_file(&pin)?,
            done => return done,
        },
        Err(error) if errno(&error) == Some(libc::ENOENT) => {}
        Err(error) => return Err(error),
    }
    let link: FdLink = match hook {
        Hook::Tcx => {
            let program = plane.classifier()?;
            let order = TcAttachOptions::TcxOrder(LinkOrder::default());
            let id = program.attach_with_options(name, TcAttachType::Ingress, order)?;
            program.take_link(id)?.try_into()?
        }
        Hook::Xdp => {
            let program = plane.xdp()?;
            let id = program.attach_to_if_index(index, XdpMode::Driver)?;
            program.take_link(id)?.try_into()?
        }
        Hook::Clsact => return filter(plane, name),
    };
    link.pin(&pin)?;
    Ok(())
}

/// Puts our program into a link that is attached already.
fn replace(plane: &mut Plane, hook: Hook, link: FdLink) -> Result<()> {
    match hook {
        Hook::Tcx | Hook::Clsact => {
            plane.classifier()?.attach_to_link(link.try_into()?)?;
        }
        Hook::Xdp => {
            plane.xdp()?.attach_to_link(link.try_into()?)?;
        }
    }
    Ok(())
}

/// Adds our filter to clsact, or puts our program into the one that is there.
fn filter(plane: &mut Plane, name: &str) -> Result<()> {
    let options = NlOptions {
        priority: PRIORITY,
        handle: HANDLE,
        classid: None,
    };
    // It may be there already; if it cannot be had, attaching says so.
    let _ = tc::qdisc_add_clsact(name);
    let program = plane.classifier()?;
    let there = SchedClassifierLink::attached(name, TcAttachType::Ingress, PRIORITY, HANDLE, None)?;
    let id = match program.attach_to_link(there) {
        Ok(id) => id,
        Err(_) => program.attach_with_options(
            name,
            TcAttachType::Ingress,
            TcAttachOptions::Netlink(options),
        )?,
    };
    // Dropping it would take the filter away.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

fn detach(pins: &Pins, hook: Hook, index: u32, name: &str) {
    match hook {
        // The last reference: the link ends.
        Hook::Tcx | Hook::Xdp => drop(std::fs::remove_file(pins.link(hook.name(), index))),
        Hook::Clsact => {
            if let Ok(link) =
                SchedClassifierLink::attached(name, TcAttachType::Ingress, PRIORITY, HANDLE, None)
            {
                let _ = link.detach();
            }
        }
    }
}

/// Takes our filters off these interfaces, wherever there are some.
pub fn detach_filters<'a>(interfaces: impl Iterator<Item = &'a str>) {
    for name in interfaces {
        let _ = tc::qdisc_detach_program(name, TcAttachType::Ingress, "fast_tc");
    }
}

/// The error number behind an error, if there is one.
fn errno(error: &anyhow::Error) -> Option<i32> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())
}

fn explain(error: &anyhow::Error, hook: Hook, name: &str) -> AttachError {
    let interface = name.to_owned();
    match (hook, errno(error)) {
        (Hook::Xdp, Some(libc::EBUSY | libc::EEXIST)) => AttachError::Occupied { interface },
        (Hook::Xdp, Some(libc::EOPNOTSUPP | libc::EINVAL)) => {
            AttachError::NoNativeXdp { interface }
        }
        _ => AttachError::Refused {
            interface,
            hook: hook.name(),
            cause: format!("{error:#}"),
        },
    }
}
