//! The namespaces that a director stands in: its own, and the bench's at the far ends of its links.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::scenario::Site;
use super::network::{self, SETTINGS};
use crate::host::finish;
use crate::namespace::Namespace;

/// How long a command may take.
pub(super) const COMMAND: Duration = Duration::from_secs(20);

/// Two namespaces with the links between them, which go when this is dropped.
pub(super) struct Ground {
    /// The director's.
    pub(super) near: Namespace,
    /// The bench's.
    pub(super) far: Namespace,
}

impl Ground {
    /// Lays it out. `takes_xdp`: the bench's ends take frames that an XDP program sends.
    ///
    /// # Errors
    /// The caller is not root, or a tool is missing.
    pub(super) fn lay(site: &Site, takes_xdp: bool) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |side: char| format!("conform{}-{number}{side}", std::process::id());
        let far = Namespace::create(&name('b'))?;
        let near = Namespace::create(&name('d')).inspect_err(|_| drop(far.remove()))?;
        let ground = Self { near, far };
        ground.furnish(site, takes_xdp)?;
        Ok(ground)
    }

    fn furnish(&self, site: &Site, takes_xdp: bool) -> Result<()> {
        self.far.run(|| {
            for name in ["default", "all"] {
                put(&format!("ipv6/conf/{name}/disable_ipv6"), "1");
            }
            batch(&network::cabling(site, self.near.name(), self.far.name()))?;
            batch(&network::far_side(site))?;
            if takes_xdp {
                // Without GRO a veth takes no frames that XDP sends.
                (0..network::links(site))
                    .try_for_each(|link| ethtool(&network::far(link), &["gro", "on"]))?;
            }
            anyhow::Ok(())
        })??;
        self.near.run(|| {
            for (name, value) in SETTINGS {
                put(name, value);
            }
            for link in 0..network::links(site) {
                let device = network::near(link);
                ethtool(&device, &["tx", "off", "tso", "off", "gso", "off"])?;
                for (name, value) in [
                    ("addr_gen_mode", "1"),
                    ("accept_ra", "0"),
                    ("accept_dad", "0"),
                ] {
                    put(&format!("ipv6/conf/{device}/{name}"), value);
                }
            }
            batch(&network::near_side(site))
        })?
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = self.near.remove();
        let _ = self.far.remove();
    }
}

/// Writes a setting of the calling thread's network namespace; those that a kernel lacks are passed over.
fn put(name: &str, value: &str) {
    let _ = fs::write(Path::new("/proc/sys/net").join(name), value);
}

fn batch(lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("ip (iproute2) cannot be started")?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(lines.as_bytes())?;
    }
    finish(child, COMMAND)?
        .success()
        .context("ip -batch")
        .map(drop)
}

fn ethtool(device: &str, switches: &[&str]) -> Result<()> {
    let mut command = Command::new("ethtool");
    command
        .arg("-K")
        .arg(device)
        .args(switches)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().context("ethtool cannot be started")?;
    finish(child, COMMAND)?
        .success()
        .with_context(|| format!("ethtool -K {device}"))
        .map(drop)
}
