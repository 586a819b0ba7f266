//! Whatever happens, nothing stays: the work is done by a process of its own, and who started it cleans up behind it.
//!
//! The worker's network namespaces have no names, so they end with it. What is left are processes of its group, and a folder in which
//! directors keep pins.

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::env;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Tells the worker that it is one.
const VARIABLE: &str = "LVSX_BENCH_WORKER";
/// Between two looks at the worker.
const LOOK: Duration = Duration::from_millis(20);
/// How long the worker may take to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether this process is the worker.
pub(crate) fn is_worker() -> bool {
    env::var_os(VARIABLE).is_some()
}

/// Starts this program anew as the worker, waits for its end, and clears away what it left.
///
/// # Errors
/// It cannot be started.
pub(crate) fn watch() -> Result<ExitCode> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, asked.clone())?;
    }
    let folder = env::temp_dir().join(format!("lvsx-bench-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut worker = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(VARIABLE, "1")
        .env("TMPDIR", &folder)
        .process_group(0)
        .spawn()?;
    let group = Pid::from_raw(worker.id() as i32);
    let mut told: Option<Instant> = None;
    let status = loop {
        if let Some(status) = worker.try_wait()? {
            break status;
        }
        if asked.load(Ordering::Relaxed) && told.is_none() {
            told = Some(Instant::now());
            let _ = killpg(group, Signal::SIGTERM);
        }
        if told.is_some_and(|since| since.elapsed() > PATIENCE) {
            let _ = killpg(group, Signal::SIGKILL);
        }
        sleep(LOOK);
    };
    let _ = killpg(group, Signal::SIGKILL);
    // With the pins goes what forwards; what still ends may hold the folder for a moment.
    for mounted in mounts_below(&folder) {
        let _ = umount2(&mounted, MntFlags::MNT_DETACH);
    }
    let since = Instant::now();
    while fs::remove_dir_all(&folder).is_err() && since.elapsed() < PATIENCE {
        sleep(LOOK);
    }
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is mounted below a folder, the latest first.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts
        .lines()
        .rev()
        .filter_map(|line| line.split(' ').nth(1));
    places
        .map(PathBuf::from)
        .filter(|place| place.starts_with(folder))
        .collect()
}
