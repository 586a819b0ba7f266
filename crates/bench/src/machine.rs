//! The machine that figures are of.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;

/// What decides about figures.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    /// The size of the last cache, as the kernel writes it.
    pub(crate) cache: String,
    pub(crate) is_virtual: bool,
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
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} CPUs{}, last cache {}, Linux {}",
            self.processor,
            self.cpus,
            if self.is_virtual { " (virtual)" } else { "" },
            self.cache,
            self.kernel
        )
    }
}
