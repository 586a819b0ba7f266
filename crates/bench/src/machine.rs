//! The machine that figures are of.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::process::Command;

/// What decides about figures.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    /// The size of the last cache, as the kernel writes it.
    pub(crate) cache: String,
    pub(crate) is_virtual: bool,
    /// Bytes of memory.
    #[serde(default)]
    pub(crate) memory: u64,
    /// What is measured: the checkout's commit, with a `+` if files differ from it. Empty outside a checkout.
    #[serde(default)]
    pub(crate) commit: String,
}

impl Machine {
    /// This one.
    pub(crate) fn this() -> Self {
        let facts = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let fact = |name: &str| {
            facts.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            })
        };
        let read = |path: &str| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        Self {
            processor: fact("model name").unwrap_or_default(),
            cpus: facts
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            kernel: read("/proc/sys/kernel/osrelease"),
            cache: read("/sys/devices/system/cpu/cpu0/cache/index3/size"),
            is_virtual: fact("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            memory: memory(&read("/proc/meminfo")),
            commit: commit().unwrap_or_default(),
        }
    }
}

/// Bytes of memory, by `/proc/meminfo`; 0 if it does not say.
fn memory(facts: &str) -> u64 {
    let total = facts
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// The commit of the checkout in which this runs.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() {
        commit
    } else {
        commit + "+"
    })
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} CPUs{}, last cache {}, {:.0} GiB, Linux {}",
            self.processor,
            self.cpus,
            if self.is_virtual { " (virtual)" } else { "" },
            self.cache,
            self.memory as f64 / f64::from(1 << 30),
            self.kernel
        )?;
        match &*self.commit {
            "" => Ok(()),
            commit => write!(f, "; commit {commit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_kilobytes() {
        assert_eq!(
            memory("MemTotal:       25165824 kB\nMemFree: 1 kB\n"),
            24 << 30
        );
        assert_eq!(memory(""), 0);
    }
}
