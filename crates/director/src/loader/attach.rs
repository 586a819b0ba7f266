//! Attaching the programs to interfaces, and letting go.
//!
//! A tcx or XDP link is pinned, and a director that starts anew puts its own program into it: no packet passes between
//! the two. A clsact filter (kernels before 6.6) has a priority and a handle of ours, so it is replaced in place.

use super::{Pins, Plane, link};
use crate::status::Interface;
use anyhow::{Context, Result};
use aya::programs::links::{FdLink, Link, PinnedLink};
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{LinkOrder, TcAttachType, XdpMode};
use aya::util::KernelVersion;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Priority of our filter under clsact: the first that the kernel gives out by itself, so that filters which others
/// placed before it stay before it.
const PRIORITY: u16 = 49152;

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

/// What a program does on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seat {
    /// Looks at what comes in: by XDP or tc.
    First,
    /// Looks at what sockets of this host send: by tc, at egress.
    Own,
    /// Takes up what XDP marked for the host's own stack: by tc, behind it.
    Behind,
}

impl Seat {
    const ALL: [Self; 3] = [Self::First, Self::Own, Self::Behind];

    /// How its program is attached where packets are met by `first`.
    fn hook(self, first: Hook) -> Hook {
        match self {
            Self::First => first,
            Self::Own | Self::Behind => Hook::tc(),
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::First => "fast_tc",
            Self::Own => "own_tc",
            Self::Behind => "behind_tc",
        }
    }

    fn direction(self) -> TcAttachType {
        match self {
            Self::First | Self::Behind => TcAttachType::Ingress,
            Self::Own => TcAttachType::Egress,
        }
    }

    /// Handle of its filter: one beside another at ingress.
    fn handle(self) -> TcHandle {
        match self {
            Self::First | Self::Own => TcHandle::new(0, 1),
            Self::Behind => TcHandle::new(0, 2),
        }
    }

    /// Its name in pins and in the status, attached by `hook`.
    const fn name(self, hook: Hook) -> &'static str {
        match (self, hook) {
            (Self::First, hook) => hook.name(),
            (Self::Own, Hook::Clsact) => "clsact-own",
            (Self::Own, _) => "tcx-own",
            (Self::Behind, Hook::Clsact) => "clsact-behind",
            (Self::Behind, _) => "tcx-behind",
        }
    }
}

/// The interfaces that programs should be attached to: their names, by index and what the program does there.
pub type Wanted = BTreeMap<(u32, Seat), String>;

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

/// What is attached: hook and interface's name, by its index and what the program does there.
#[derive(Debug, Default)]
pub struct Attachments(BTreeMap<(u32, Seat), (Hook, String)>);

impl Attachments {
    /// What the status shows of them: the interfaces that are served, whose incoming packets are looked at.
    #[must_use]
    pub fn listed(&self) -> Vec<Interface> {
        let is_first = |(place, _): &(&(u32, Seat), &(Hook, String))| place.1 == Seat::First;
        let entry = |((index, seat), (hook, name)): (&(u32, Seat), &(Hook, String))| Interface {
            name: name.clone(),
            index: *index,
            hook: seat.name(*hook),
        };
        self.0.iter().filter(is_first).map(entry).collect()
    }

    /// Attaches to the interfaces of `wanted`, what looks at packets first by `first`, and lets go of all others. What cannot
    /// be attached is told; the rest is done all the same, but on an interface where nothing looks at packets first.
    pub fn become_these(
        &mut self,
        plane: &mut Plane,
        first: Hook,
        wanted: &Wanted,
    ) -> Vec<AttachError> {
        let mut errors = Vec::new();
        let mut refused = BTreeSet::new();
        for (place @ (index, seat), name) in wanted {
            if refused.contains(index) {
                continue;
            }
            let hook = seat.hook(first);
            if self
                .0
                .get(place)
                .is_some_and(|(present, _)| *present == hook)
            {
                continue;
            }
            match attach(plane, hook, *seat, *index, name) {
                Ok(()) => {
                    tracing::info!("{name}: attached by {}", seat.name(hook));
                    if let Some((before, _)) = self.0.insert(*place, (hook, name.clone())) {
                        detach(&plane.pins, before, *seat, *index, name);
                    }
                }
                Err(error) => {
                    errors.push(explain(&error, hook, name));
                    if *seat == Seat::First && !self.0.contains_key(place) {
                        refused.insert(*index);
                    }
                }
            }
        }
        let is_unwanted =
            |place: &(u32, Seat)| !wanted.contains_key(place) || refused.contains(&place.0);
        let unwanted: Vec<(u32, Seat)> = self.0.keys().copied().filter(is_unwanted).collect();
        for place @ (index, seat) in unwanted {
            if let Some((hook, name)) = self.0.remove(&place) {
                detach(&plane.pins, hook, seat, index, &name);
                tracing::info!("{name}: {} detached", seat.name(hook));
            }
        }
        self.drop_strays(plane);
        errors
    }

    /// Links that a director before left on interfaces, or by hooks, that are not wanted any more.
    fn drop_strays(&self, plane: &Plane) {
        for (name, index) in plane.pins.links().unwrap_or_default() {
            let is_ours = |seat: Seat| {
                let hook = self.0.get(&(index, seat)).map(|(hook, _)| *hook);
                hook.is_some_and(|hook| seat.name(hook) == name)
            };
            if !Seat::ALL.into_iter().any(is_ours) {
                link::end(&plane.pins.link(&name, index));
            }
        }
    }

    /// Takes filters of ours off that are not of these attachments, wherever there are some: unlike links they are pinned
    /// nowhere.
    pub fn drop_stray_filters<'a>(&self, interfaces: impl Iterator<Item = (u32, &'a str)>) {
        for (index, name) in interfaces {
            for seat in Seat::ALL {
                if !matches!(self.0.get(&(index, seat)), Some((Hook::Clsact, _))) {
                    detach_filter(seat, name);
                }
            }
        }
    }
}

fn attach(plane: &mut Plane, hook: Hook, seat: Seat, index: u32, name: &str) -> Result<()> {
    let pin = plane.pins.link(seat.name(hook), index);
    match PinnedLink::from_pin(&pin).map_err(anyhow::Error::new) {
        Ok(link) => match replace(plane, hook, seat, link.into()) {
            // The interface that the link was on is gone; another has its number now.
            Err(error) if errno(&error) == Some(libc::ENOLINK) => std::fs::remove_file(&pin)?,
            done => return done,
        },
        Err(error) if errno(&error) == Some(libc::ENOENT) => {}
        Err(error) => return Err(error),
    }
    let link: FdLink = match hook {
        Hook::Tcx => {
            let program = plane.classifier(seat.program())?;
            let order = TcAttachOptions::TcxOrder(LinkOrder::default());
            let id = program.attach_with_options(name, seat.direction(), order)?;
            program.take_link(id)?.try_into()?
        }
        Hook::Xdp => {
            let program = plane.xdp()?;
            let id = program.attach_to_if_index(index, XdpMode::Driver)?;
            program.take_link(id)?.try_into()?
        }
        Hook::Clsact => return filter(plane, seat, name),
    };
    link.pin(&pin)?;
    Ok(())
}

/// Puts our program into a link that is attached already. Its pin stays the only reference: with another one the link would
/// outlive its pin.
fn replace(plane: &mut Plane, hook: Hook, seat: Seat, link: FdLink) -> Result<()> {
    match hook {
        Hook::Tcx | Hook::Clsact => {
            let program = plane.classifier(seat.program())?;
            let id = program.attach_to_link(link.try_into()?)?;
            drop(program.take_link(id)?);
        }
        Hook::Xdp => {
            let program = plane.xdp()?;
            let id = program.attach_to_link(link.try_into()?)?;
            drop(program.take_link(id)?);
        }
    }
    Ok(())
}

/// Adds our filter to clsact, or puts our program into the one that is there.
fn filter(plane: &mut Plane, seat: Seat, name: &str) -> Result<()> {
    let options = NlOptions {
        priority: PRIORITY,
        handle: seat.handle(),
        classid: None,
    };
    // It may be there already; if it cannot be had, attaching says so.
    let _ = tc::qdisc_add_clsact(name);
    let program = plane.classifier(seat.program())?;
    let there = there(seat, name)?;
    let id = match program.attach_to_link(there) {
        Ok(id) => id,
        Err(_) => program.attach_with_options(
            name,
            seat.direction(),
            TcAttachOptions::Netlink(options),
        )?,
    };
    // Dropping it would take the filter away.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// The filter of a seat, as far as it is there.
fn there(seat: Seat, name: &str) -> Result<SchedClassifierLink> {
    let (direction, handle) = (seat.direction(), seat.handle());
    Ok(SchedClassifierLink::attached(
        name, direction, PRIORITY, handle, None,
    )?)
}

fn detach(pins: &Pins, hook: Hook, seat: Seat, index: u32, name: &str) {
    match hook {
        Hook::Tcx | Hook::Xdp => link::end(&pins.link(seat.name(hook), index)),
        Hook::Clsact => {
            if let Ok(link) = there(seat, name) {
                let _ = link.detach();
            }
        }
    }
}

/// Takes our filters off all interfaces of this network namespace, wherever there are some.
///
/// # Errors
/// Interfaces cannot be listed.
pub fn detach_all() -> Result<()> {
    let interfaces = nix::net::if_::if_nameindex().context("listing interfaces")?;
    for interface in &interfaces {
        let name = interface.name().to_string_lossy();
        Seat::ALL
            .into_iter()
            .for_each(|seat| detach_filter(seat, &name));
    }
    Ok(())
}

fn detach_filter(seat: Seat, name: &str) {
    let _ = tc::qdisc_detach_program(name, seat.direction(), seat.program());
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
