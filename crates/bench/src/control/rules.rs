//! Many services with many servers: loaded, listed, saved.

use crate::ends::network::{Namespace, feed};
use crate::ends::subject::{Running, installed};
use crate::figure::{Samples, Test};
use anyhow::{Context, Result, bail, ensure};
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Instant;

const RESTORED: Test = Test {
    name: "restore",
    unit: "ms",
};
const LISTED: Test = Test {
    name: "list, -Ln",
    unit: "ms",
};
const SAVED: Test = Test {
    name: "save, -Sn",
    unit: "ms",
};
pub(super) const TESTS: [Test; 3] = [RESTORED, LISTED, SAVED];

/// Services, and servers of each.
const SIZE: (u16, u16) = (1000, 50);

/// A program and a director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    DebianOnKernel,
    OursOnKernel,
    DebianOnLvsd,
    OursOnLvsd,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DebianOnKernel => "Debian's on kernel IPVS",
            Self::OursOnKernel => "ours on kernel IPVS",
            Self::DebianOnLvsd => "Debian's on lvsd",
            Self::OursOnLvsd => "ours on lvsd",
        }
    }

    /// Its `ipvsadm`.
    fn command(self, running: &Running, at: &Namespace) -> Result<Command> {
        let debian = installed("ipvsadm")?;
        Ok(match self {
            Self::DebianOnKernel => at.command(debian),
            Self::OursOnKernel => {
                let mut command = running.ours(at, "ipvsadm");
                command.arg("--kernel");
                command
            }
            Self::DebianOnLvsd => {
                let mut command = running.ours(at, "lvsx");
                command.args(["run", "--"]).arg(debian);
                command
            }
            Self::OursOnLvsd => running.ours(at, "ipvsadm"),
        })
    }
}

/// The lines of all services, as `ipvsadm -Sn` writes them.
fn file() -> String {
    let (services, servers) = SIZE;
    let mut text = String::new();
    for service in 0..services {
        let [high, low] = service.to_be_bytes();
        let service = format!("-t 198.18.{high}.{low}:80");
        text += &format!("-A {service} -s wlc\n");
        for server in 1..=servers {
            text += &format!("-a {service} -r 10.{high}.{low}.{server}:80 -m -w 1\n");
        }
    }
    text
}

/// Puts the rules to a side.
///
/// # Errors
/// A program fails, or does not print what was loaded.
pub(crate) fn measure(
    side: Side,
    at: &Namespace,
    running: &Running,
    round: u32,
    samples: &mut Samples,
) -> Result<()> {
    let (file, name) = (file(), side.name());
    feed(side.command(running, at)?.arg("-C"), "")?;
    let begin = Instant::now();
    feed(side.command(running, at)?.arg("-R"), &file)?;
    samples.put(RESTORED, name, round, begin.elapsed().as_secs_f64() * 1e3);
    for (test, words) in [(LISTED, "-Ln"), (SAVED, "-Sn")] {
        let (lines, took) = listed(side, running, at, &[words])?;
        ensure!(
            lines >= file.lines().count(),
            "{words} prints {lines} lines"
        );
        samples.put(test, name, round, took);
    }
    Ok(())
}

/// Loads rules into lvsd.
pub(super) fn load(running: &Running, at: &Namespace, rules: &str) -> Result<()> {
    feed(running.ours(at, "ipvsadm").arg("-R"), rules)
}

/// Runs a side's `ipvsadm`: how many lines it printed, and milliseconds.
///
/// # Errors
/// It cannot be started, or fails.
pub(super) fn listed(
    side: Side,
    running: &Running,
    at: &Namespace,
    words: &[&str],
) -> Result<(usize, f64)> {
    let mut command = side.command(running, at)?;
    command.args(words).stdout(Stdio::piped());
    let begin = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let mut pipe = child.stdout.take().context("no pipe")?;
    let (mut bytes, mut lines) = (vec![0; 1 << 20], 0);
    loop {
        let length = pipe.read(&mut bytes)?;
        if length == 0 {
            break;
        }
        lines += bytes[..length]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
    }
    let status = child.wait()?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok((lines, took))
}

#[cfg(test)]
mod tests {
    use super::file;

    #[test]
    fn the_file_has_all_services_and_servers() {
        let text = file();
        assert_eq!(
            text.lines().filter(|line| line.starts_with("-A")).count(),
            1000
        );
        assert_eq!(
            text.lines().filter(|line| line.starts_with("-a")).count(),
            50_000
        );
        assert!(text.contains("-a -t 198.18.3.231:80 -r 10.3.231.50:80 -m -w 1\n"));
    }
}
