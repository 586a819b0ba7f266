//! Whether this kernel unwraps IP-in-IP by itself, or our program has to.

use std::thread;

use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use crate::network::TUNNEL;
use crate::{Error, Network, Object, Result};

/// What takes the outer header off tunnelled packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decapsulation {
    /// The kernel's interface `tunl0`.
    Kernel,
    /// Our program of this object, at the interface's ingress.
    Program(Object),
}

impl Decapsulation {
    /// The longest headers that it takes off, in bytes: IPv4 by the kernel; by our program IPv6, UDP, and GUE with the kernel's
    /// remote checksum.
    #[must_use]
    pub const fn longest(self) -> u32 {
        match self {
            Self::Kernel => 20,
            Self::Program(_) => 40 + 8 + 12,
        }
    }

    /// The kernel's where it has ipip (module or built in), else our program.
    ///
    /// # Errors
    /// When the kernel could not be asked: not root, or no namespace could be made.
    pub fn of_this_kernel(object: Object) -> Result<Self> {
        Ok(if kernel_has_ipip()? {
            Self::Kernel
        } else {
            Self::Program(object)
        })
    }
}

/// Whether an ipip interface can be made. It is tried in a network namespace made for the
/// question, so nothing of the caller's changes; the kernel may load its module.
///
/// # Errors
/// When the kernel could not be asked: not root, or no namespace could be made.
pub fn kernel_has_ipip() -> Result<bool> {
    let probe = || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Refused(errno.into()))?;
        let network = Network::here()?;
        match network.add_ipip() {
            Ok(()) => Ok(true),
            Err(Error::NoIpip) => network.has_link(TUNNEL),
            Err(other) => Err(other),
        }
    };
    thread::scope(|scope| scope.spawn(probe).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
