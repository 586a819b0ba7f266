//! A network namespace of the benchmark's own, with a route for the baseline that asks for one.

use anyhow::{Context, Result, bail};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::process::Command;

/// The interface that leads to clients and servers; frames come in by `lo`, as test runs have it.
const OUT: &str = "v0";
/// The link-layer address behind it.
const NEIGHBOUR: &str = "02:00:00:00:00:09";
/// What lays it: the baselines' destinations are 192.168.0.1 to 192.168.0.8, the way to clients is by the ninth.
const LINES: [&str; 8] = [
    "link set lo up",
    "link add v0 type veth peer name v1",
    "link set v1 up",
    "link set v0 up",
    "addr add 192.168.0.254/16 dev v0",
    "addr add 2001:db8:a::fe/64 dev v0 nodad",
    "route add 10.0.0.0/8 via 192.168.0.9",
    "route add 2001:db8:c::/64 via 2001:db8:a::9",
];
/// The kernel looks up routes for hosts that forward alone.
const FORWARDING: [&str; 2] = [
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
];

/// Moves the caller to a new one; the index of the interface that leads to clients and servers.
///
/// # Errors
/// The caller is not root; there is no `ip`.
pub(crate) fn lay() -> Result<u32> {
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace needs root")?;
    for line in LINES {
        ip(line)?;
    }
    for server in 1..=9 {
        ip(&format!(
            "neigh add 192.168.0.{server} lladdr {NEIGHBOUR} dev {OUT}"
        ))?;
    }
    ip(&format!(
        "neigh add 2001:db8:a::9 lladdr {NEIGHBOUR} dev {OUT}"
    ))?;
    for path in FORWARDING {
        fs::write(path, "1").context(path)?;
    }
    Ok(if_nametoindex(OUT)?)
}

fn ip(line: &str) -> Result<()> {
    let status = Command::new("ip")
        .args(line.split(' '))
        .status()
        .context("ip")?;
    if !status.success() {
        bail!("ip {line}: {status}");
    }
    Ok(())
}
