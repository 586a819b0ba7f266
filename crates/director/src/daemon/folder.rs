//! The folder of this network namespace: the lock that makes a second director impossible, the socket, the port's number.

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder, and the lock on it while this is alive.
pub(super) struct Folder {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Folder {
    /// Makes the folder of the network namespace of this `cookie` below `run_dir` and takes its lock.
    ///
    /// # Errors
    /// Another director holds the lock; the folder cannot be made, or is not root's alone.
    pub(super) fn take(run_dir: &Path, cookie: u64) -> Result<Self> {
        let path = run_dir.join(cookie.to_string());
        fs::create_dir_all(run_dir).with_context(|| run_dir.display().to_string())?;
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| path.display().to_string());
            }
            _ => {}
        }
        let found = fs::symlink_metadata(&path)?;
        if !found.is_dir() || found.uid() != Uid::effective().as_raw() {
            bail!(
                "{}: not a folder of this user; remove it and start again",
                path.display()
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))?;
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                bail!(
                    "another lvsd runs in this network namespace ({} is locked)",
                    path.join("lock").display()
                )
            }
            Err((_, error)) => Err(error).with_context(|| path.join("lock").display().to_string()),
        }
    }

    /// A file in it.
    #[must_use]
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file in one piece: a reader sees the text before or this one.
    ///
    /// # Errors
    /// Those of the file.
    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> io::Result<()> {
        let temporary = self.file(&format!("{name}.new"));
        fs::write(&temporary, text)?;
        fs::rename(temporary, self.file(name))
    }

    /// Removes the folder with what is in it: nothing is forwarded any more.
    ///
    /// # Errors
    /// Those of the files.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}
