//! The thread that made a call, as the supervisor reaches it: its memory, its descriptors, its rights, its network namespace.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::seccomp::{Call, Listener};

/// `CAP_NET_ADMIN` in a set of capabilities.
const NET_ADMIN: u64 = 1 << 12;

/// The thread that made a call.
pub(super) struct Caller {
    /// Its folder in `/proc`.
    folder: String,
    memory: File,
    process: OwnedFd,
    /// Its capabilities in force.
    capabilities: u64,
}

impl Caller {
    /// Reaches the thread of a call. Everything is opened first and the call looked at afterwards, so that what was opened is
    /// that thread's, and not that of another with the same number.
    ///
    /// # Errors
    /// `ESRCH`: it is gone, or not visible from here; `EPERM` or `EACCES`: it is not for us to look into.
    pub(super) fn of(listener: &Listener, call: &Call) -> io::Result<Self> {
        let caller = Self::reach(call.thread)?;
        match listener.waits(call) {
            true => Ok(caller),
            false => Err(Errno::ESRCH.into()),
        }
    }

    /// # Errors
    /// As of [`of`](Self::of).
    pub(super) fn reach(thread: u32) -> io::Result<Self> {
        let folder = format!("/proc/{thread}");
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let field = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
        };
        let process = field("Tgid").and_then(|number| Pid::from_raw(number.parse().ok()?));
        let capabilities = field("CapEff").and_then(|set| u64::from_str_radix(set, 16).ok());
        let memory = File::options()
            .read(true)
            .write(true)
            .open(format!("{folder}/mem"))?;
        Ok(Self {
            folder,
            memory,
            process: pidfd_open(process.ok_or(Errno::ESRCH)?, PidfdFlags::empty())?,
            capabilities: capabilities.unwrap_or(0),
        })
    }

    /// Reads its memory.
    ///
    /// # Errors
    /// `EFAULT`: it has none there.
    pub(super) fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let read = self.memory.read_exact_at(bytes, at);
        read.map_err(|_| Errno::EFAULT)
    }

    /// Writes to its memory.
    ///
    /// # Errors
    /// `EFAULT`: it has none there.
    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        let written = self.memory.write_all_at(bytes, at);
        written.map_err(|_| Errno::EFAULT)
    }

    /// A descriptor of ours for what its descriptor stands for.
    ///
    /// # Errors
    /// `EBADF`: it has no such descriptor.
    pub(super) fn descriptor(&self, number: i32) -> io::Result<OwnedFd> {
        Ok(pidfd_getfd(
            &self.process,
            number,
            PidfdGetfdFlags::empty(),
        )?)
    }

    /// Whether it has a descriptor of this number.
    pub(super) fn has_descriptor(&self, number: u32) -> bool {
        fs::symlink_metadata(format!("{}/fd/{number}", self.folder)).is_ok()
    }

    /// Whether it may configure the network: what is sent in its name is judged by its rights, not by ours.
    pub(super) fn may_administer(&self) -> bool {
        // Capabilities hold in the user namespace that they were given in.
        self.capabilities & NET_ADMIN != 0
            && self.namespace("user").ok() == namespace("/proc/thread-self", "user").ok()
    }

    fn namespace(&self, kind: &str) -> io::Result<u64> {
        namespace(&self.folder, kind)
    }

    /// Takes this thread into the caller's network namespace.
    ///
    /// # Errors
    /// `EPERM`: it is another one, and we may not go there.
    pub(super) fn enter_network(&self) -> io::Result<()> {
        if self.namespace("net")? != namespace("/proc/thread-self", "net")? {
            let theirs = File::open(format!("{}/ns/net", self.folder))?;
            setns(theirs.as_fd(), CloneFlags::CLONE_NEWNET)?;
        }
        Ok(())
    }
}

/// The number of a namespace of the thread with this folder.
fn namespace(folder: &str, kind: &str) -> io::Result<u64> {
    Ok(fs::metadata(format!("{folder}/ns/{kind}"))?.ino())
}
