//! Named network namespaces, as `ip netns` makes them, entered without a process of its own.
//!
//! Work inside a namespace runs on a thread that entered it; a child process started by that
//! thread starts in the namespace too. `/sys` stays as it is, other than with `ip netns exec`:
//! a bpffs below it, and the pins in it, stay in sight.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use lvsx_host::network::NAMESPACES;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace with a name under `/run/netns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a new, empty namespace.
    ///
    /// # Errors
    /// When the name is taken, or the caller is not root.
    pub fn create(name: &str) -> Result<Self> {
        let namespace = Self {
            name: name.to_owned(),
        };
        let path = namespace.path();
        fs::create_dir_all(NAMESPACES).with_context(|| format!("no folder {NAMESPACES}"))?;
        File::create_new(&path).with_context(|| format!("the namespace {name} cannot be named"))?;
        let born = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            bind(Path::new("/proc/thread-self/ns/net"), &path)
        });
        if let Err(error) = born {
            let _ = fs::remove_file(&path);
            return Err(error).with_context(|| format!("the namespace {name} cannot be made"));
        }
        Ok(namespace)
    }

    /// The namespace of this name, whether it is there or not.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file under `/run/netns`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(NAMESPACES).join(&self.name)
    }

    /// Whether it is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Moves the calling thread into the namespace for good.
    ///
    /// # Errors
    /// When there is no such namespace, or the caller is not root.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(File::open(self.path())?, CloneFlags::CLONE_NEWNET)?)
    }

    /// Runs `work` inside the namespace, on a thread of its own, and waits for it.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_a_thread(|| self.enter().map(|()| work()))
            .with_context(|| format!("the namespace {} cannot be entered", self.name))
    }

    /// Takes the name away. The namespace itself ends with its last process.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove(&self) -> Result<()> {
        let path = self.path();
        if !path.exists() {
            return Ok(());
        }
        // A file that never became a mount refuses this with EINVAL; removing the file tells.
        let _ = umount2(&path, MntFlags::MNT_DETACH);
        fs::remove_file(&path)
            .with_context(|| format!("the namespace {} cannot be removed", self.name))
    }
}

/// Gives the calling thread a mount namespace of its own, in which `hosts` is `/etc/hosts`. It ends
/// with the thread and the processes that it started.
///
/// # Errors
/// When the caller is not root or the file is missing.
pub fn with_own_hosts_file(hosts: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Slave: mounts of the machine come in, ours do not go out.
    let (nothing, slave) = (None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC);
    mount(nothing, "/", nothing, slave, nothing)?;
    bind(hosts, Path::new("/etc/hosts"))
}

fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let nothing = None::<&str>;
    Ok(mount(
        Some(source),
        target,
        nothing,
        MsFlags::MS_BIND,
        nothing,
    )?)
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
