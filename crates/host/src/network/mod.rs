//! The kernel's routing socket (rtnetlink) of one network namespace, with the few requests that
//! the steps need.
//!
//! A [`Network`] belongs to the namespace in which the thread was that opened it. It brings its
//! own single-threaded runtime, so callers stay synchronous; never use it inside another one.

use std::fs::File;
use std::future::Future;
use std::os::fd::{AsRawFd, RawFd};
use std::thread;

use nix::sched::{CloneFlags, setns};
use rtnetlink::{Handle, new_connection};
use tokio::runtime::{self, Runtime};

use crate::{Error, Result};

mod address;
mod filter;
mod link;
mod neighbour;
mod route;
mod segments;

pub use link::Card;
pub(crate) use neighbour::{neighbour_address, permanent_mac};

/// The kernel's own name for the interface that unwraps IP-in-IP of any sender.
pub const TUNNEL: &str = "tunl0";

/// Where `ip netns` keeps the named namespaces.
pub const NAMESPACES: &str = "/run/netns";

/// A routing socket of one network namespace.
#[derive(Debug)]
pub struct Network {
    runtime: Runtime,
    handle: Handle,
}

impl Network {
    /// Opens the namespace in which the calling thread is.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn here() -> Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Socket)?;
        let _inside = runtime.enter();
        let (connection, handle, _) = new_connection().map_err(Error::Socket)?;
        runtime.spawn(connection);
        drop(_inside);
        Ok(Self { runtime, handle })
    }

    /// Runs `work` inside the named namespace, on a thread of its own.
    pub(crate) fn within<T: Send>(
        namespace: &str,
        work: impl FnOnce(&Self) -> Result<T> + Send,
    ) -> Result<T> {
        let namespace_file = namespace_file(namespace)?;
        let inside = || {
            setns(&namespace_file, CloneFlags::CLONE_NEWNET).map_err(|errno| {
                Error::NoNamespace {
                    name: namespace.to_owned(),
                    cause: errno.into(),
                }
            })?;
            work(&Self::here()?)
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn wait<T>(
        &self,
        answer: impl Future<Output = std::result::Result<T, rtnetlink::Error>>,
    ) -> Result<T> {
        self.runtime.block_on(answer).map_err(Error::from)
    }
}

/// Opens a named namespace.
pub(crate) fn namespace_file(name: &str) -> Result<File> {
    File::open(format!("{NAMESPACES}/{name}")).map_err(|cause| Error::NoNamespace {
        name: name.to_owned(),
        cause,
    })
}

/// The namespace of the calling thread.
pub(crate) fn own_namespace() -> Result<File> {
    File::open("/proc/thread-self/ns/net").map_err(Error::Socket)
}

/// A file's descriptor, for the one request that takes a number.
pub(crate) fn descriptor(file: &File) -> RawFd {
    file.as_raw_fd()
}
