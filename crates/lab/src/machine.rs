//! The machine with the kernel's own IPVS: user-mode Linux, a kernel that runs as an ordinary process and boots in some
//! three seconds.
//!
//! The machine's root is this host's file system, read-only; this very program does the work in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The kernel, of Debian's package `user-mode-linux`.
const KERNEL: &str = "/usr/bin/linux.uml";

/// The option with which this program is started in the machine; the job's folder follows.
pub const INSIDE: &str = "--inside";

/// The job's folder, which is all that the machine can write; it goes when this is dropped.
pub struct Job {
    folder: PathBuf,
}

impl Job {
    /// An empty folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("lvsx-uml-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Boots the machine, runs this program there with [`INSIDE`] and waits for the machine's end, for at most `limit`.
    ///
    /// # Errors
    /// The machine cannot be started, or ended before this program did and without anything that `is_answered`.
    pub fn boot(&self, limit: Duration, is_answered: impl Fn() -> bool) -> Result<()> {
        let program = std::env::current_exe().context("the path of this program")?;
        self.boot_for(&program, limit, is_answered)
    }

    /// The same for another program, or a script.
    ///
    /// # Errors
    /// The same.
    pub fn boot_for(
        &self,
        program: &Path,
        limit: Duration,
        is_answered: impl Fn() -> bool,
    ) -> Result<()> {
        let folder = &self.folder;
        fs::copy(program, folder.join("program"))?;
        let init = folder.join("init");
        let script = include_str!("machine.sh").replace("JOB", &folder.to_string_lossy());
        fs::write(&init, script)?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        let console = fs::File::create(folder.join("console"))?;
        // Even when this program is killed the machine ends by itself.
        let status = Command::new("timeout")
            .args(["--foreground", "--kill-after=5"])
            .args([&limit.as_secs().to_string(), KERNEL])
            .args([
                "mem=512M",
                "rootfstype=hostfs",
                "rootflags=/",
                "ro",
                "quiet",
            ])
            .args(["con=null", "con0=null,fd:1"])
            .arg(format!("init={}", init.display()))
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .status()
            .context("user-mode Linux cannot be started")?;
        // A machine that was too slow has answered some all the same.
        if !folder.join("done").exists() && !is_answered() {
            let console = fs::read(folder.join("console")).unwrap_or_default();
            let console = String::from_utf8_lossy(&console);
            let lines: Vec<&str> = console.lines().collect();
            bail!(
                "user-mode Linux ({KERNEL}, `cargo xtask setup conform` installs it) ended early ({status}); its console ends:\n{}",
                lines[lines.len().saturating_sub(15)..].join("\n")
            );
        }
        Ok(())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
