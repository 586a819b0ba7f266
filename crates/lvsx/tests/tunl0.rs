//! `lvsx realserver` on a kernel that has `tunl0` of its own: user-mode Linux, in a few seconds. Needs root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvsx_lab::machine::Job;

/// What is done there; it ends at the first thing that is not as it must be.
const SCRIPT: &str = include_str!("tunl0.sh");

#[test]
fn the_kernels_tunl0_is_set_up_and_taken_back() -> Result<()> {
    let job = Job::create()?;
    let script = job.folder().join("script");
    fs::write(&script, SCRIPT)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    fs::copy(env!("CARGO_BIN_EXE_lvsx"), job.folder().join("lvsx"))?;
    let said = |name: &str| fs::read_to_string(job.folder().join(name)).unwrap_or_default();
    // The script's last words are wanted where it ended early.
    job.boot_for(&script, Duration::from_secs(120), || {
        !said("log").is_empty()
    })?;
    let log = said("log");
    let end: Vec<&str> = log.lines().rev().take(25).collect();
    let end = || end.iter().rev().copied().collect::<Vec<_>>().join("\n");
    ensure!(said("verdict").trim() == "as it must be", "{}", end());
    let up = said("up-0");
    for line in [
        "ip link set tunl0 up",
        "sysctl -w net.ipv4.conf.tunl0.arp_ignore=1",
        "ip addr add 192.168.1.40/32 dev tunl0",
        "sysctl -w net.ipv4.conf.tunl0.rp_filter=0",
        "ip route change $(ip route show default | head -n 1) advmss",
    ] {
        ensure!(up.contains(line), "{line} is not in\n{up}");
    }
    // Where a namespace has no tunl0 from the start one is made, and goes again.
    let made = said("up-1");
    let step = made
        .lines()
        .find(|line| line.contains("ip link add tunl0 type ipip"));
    let step = step.with_context(|| made.clone())?;
    ensure!(!step.contains("is so already"), "{step}");
    Ok(())
}
