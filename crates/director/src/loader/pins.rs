//! Where maps and links are pinned, so that they outlive the director: a bpffs of our own, a folder a network namespace,
//! in it one a layout version.

use anyhow::{Context, Result, bail};
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder of the pins of this network namespace, of this layout.
#[derive(Clone, Debug)]
pub struct Pins {
    namespace: PathBuf,
    layout: PathBuf,
}

impl Pins {
    /// The pins of the network namespace of this `cookie` below `run_dir`.
    #[must_use]
    pub fn of(run_dir: &Path, cookie: u64) -> Self {
        let namespace = run_dir.join("bpf").join(cookie.to_string());
        let layout = namespace.join(name_of(lvsx_core::LAYOUT));
        Self { namespace, layout }
    }

    /// Makes sure that there is a bpffs to pin to.
    ///
    /// # Errors
    /// None can be mounted.
    pub fn prepare(&self, run_dir: &Path) -> Result<()> {
        mount(run_dir)
    }

    /// Makes the folders.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn make(&self) -> Result<()> {
        make_folder(&self.namespace)?;
        make_folder(&self.layout)
    }

    /// The folders of other layouts: tables in force that cannot be read.
    ///
    /// # Errors
    /// The namespace's folder cannot be read.
    pub fn others(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.namespace)? {
            let path = entry?.path();
            if path != self.layout {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// Removes the pins of other layouts, and ends what they forward.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove_others(&self) -> io::Result<()> {
        self.others()?
            .iter()
            .try_for_each(|layout| remove_layout(layout))
    }

    /// The place of a map called `name`.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.layout.join(name)
    }

    /// The place of the link of a hook on an interface.
    #[must_use]
    pub fn link(&self, hook: &str, interface: u32) -> PathBuf {
        self.layout.join(format!("link_{hook}_{interface}"))
    }

    /// The links that are pinned: hook, interface index.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn links(&self) -> io::Result<Vec<(String, u32)>> {
        let names = fs::read_dir(&self.layout)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let links = names.filter_map(|name| {
            let (hook, interface) = name.strip_prefix("link_")?.rsplit_once('_')?;
            Some((hook.to_owned(), interface.parse().ok()?))
        });
        Ok(links.collect())
    }

    /// Whether a pin is there that speaks of a data plane in force.
    #[must_use]
    pub fn are_there(&self) -> bool {
        self.map("STATE").exists()
    }

    /// Removes the pins of every layout: links end, and with them forwarding.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        let layouts = match fs::read_dir(&self.namespace) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            layouts => layouts?,
        };
        for layout in layouts {
            remove_layout(&layout?.path())?;
        }
        fs::remove_dir(&self.namespace)
    }

    /// Removes what a director left that was killed before its first data plane was whole.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn begin_anew(&self) -> io::Result<()> {
        remove_layout(&self.layout)?;
        fs::create_dir(&self.layout)
    }
}

/// Removes the pins of a layout; links first, so that no program runs on maps half gone.
fn remove_layout(layout: &Path) -> io::Result<()> {
    let (links, maps): (Vec<PathBuf>, Vec<PathBuf>) = fs::read_dir(layout)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .partition(|path| {
            path.file_name()
                .is_some_and(|name| name.as_bytes().starts_with(b"link_"))
        });
    links
        .into_iter()
        .chain(maps)
        .try_for_each(fs::remove_file)?;
    fs::remove_dir(layout)
}

fn name_of(layout: u32) -> String {
    format!("v{layout}")
}

fn make_folder(path: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).context(path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// Makes sure that `<run_dir>/bpf` is a bpffs which outlives this process.
///
/// A private mount namespace, such as `ip netns exec` makes, would take the pins with it when its last process ends. In
/// one, this process moves out of it first.
fn mount(run_dir: &Path) -> Result<()> {
    make_run_dir(run_dir)?;
    let folder = run_dir.join("bpf");
    if is_bpffs(&folder) {
        return Ok(());
    }
    leave_private_mounts()
        .context("leaving the private mount namespace, so that pins outlive this process")?;
    make_run_dir(run_dir)?;
    let lock = fs::File::create(run_dir.join("mount.lock"))?;
    // Two directors that start at once: the second mount would hide the first one's pins.
    lock.lock()?;
    if is_bpffs(&folder) {
        return Ok(());
    }
    make_folder(&folder)?;
    nix::mount::mount(
        Some("lvsx"),
        &folder,
        Some("bpf"),
        MsFlags::empty(),
        Some("mode=0700"),
    )
    .with_context(|| format!("mounting a bpffs on {}", folder.display()))
}

fn make_run_dir(run_dir: &Path) -> Result<()> {
    fs::create_dir_all(run_dir).with_context(|| run_dir.display().to_string())?;
    let metadata = fs::metadata(run_dir)?;
    if metadata.permissions().mode() & 0o022 != 0 {
        bail!(
            "{}: others may write there; make it 0755 or 0700",
            run_dir.display()
        );
    }
    Ok(())
}

fn is_bpffs(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// Moves to the mount namespace of process 1, or where that cannot be seen to the eldest ancestor's, if this one is
/// another. To be called before threads begin.
fn leave_private_mounts() -> Result<()> {
    let namespace = |process: u32| PathBuf::from(format!("/proc/{process}/ns/mnt"));
    let mut elders = ancestors();
    elders.push(1);
    let seen = |process: &u32| fs::read_link(namespace(*process)).is_ok();
    let Some(elder) = elders.into_iter().rev().find(seen) else {
        tracing::warn!(
            "the mount namespace of process 1 cannot be seen: if this one is private (`ip netns exec` makes such), \
             forwarding ends with the last process in it"
        );
        return Ok(());
    };
    if fs::read_link(namespace(elder))? == fs::read_link("/proc/self/ns/mnt")? {
        return Ok(());
    }
    nix::sched::setns(fs::File::open(namespace(elder))?, CloneFlags::CLONE_NEWNS)?;
    tracing::info!(
        "entered the mount namespace of process {elder}, so that pins outlive this process"
    );
    Ok(())
}

/// The processes from the parent of this one upwards.
fn ancestors() -> Vec<u32> {
    let parent = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        line.trim().parse().ok().filter(|parent| *parent != 0)
    };
    std::iter::successors(parent(&std::process::id()), parent).collect()
}
