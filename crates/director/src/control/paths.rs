//! Learned path MTUs: the kernel's own settings about them, and what ports say of them.

use super::Control;
use lvsx_core::director::least_path_mtu;
use lvsx_core::generation::{PathLimits, live};
use lvsx_core::tick::TickRate;
use std::fs;

impl Control {
    /// Puts the kernel's present settings in force, if they moved, and looks at what was learned.
    pub(super) fn follow_paths(&mut self) {
        let limits = limits(self.clock.rate, |name| {
            let text = fs::read_to_string(format!("/proc/sys/net/ipv4/route/{name}")).ok()?;
            text.trim().parse().ok()
        });
        if limits != self.config().paths {
            let mut config = self.config().clone();
            config.paths = limits;
            // A full arena is logged there; the settings before stay.
            let _ = self.put_in_force(config);
        }
        self.tell_ports();
    }

    /// Has every port know the least that a path takes of which something was learned. Programs only lower it, at the port by
    /// which they send there.
    fn tell_ports(&self) {
        let before: Vec<u64> = self.tables.ports.iter().map(learned).collect();
        let least = least_path_mtu(&*self.tables, self.clock.now());
        let now = least.map_or(0, |mtu| u64::from(!mtu));
        for (port, before) in self.tables.ports.iter().zip(before) {
            // What a program lowered since was perhaps not seen above; it is at the next look.
            if before != now {
                let _ = port[live::port::LEARNED].compare_exchange(before, now);
            }
        }
    }
}

fn learned(port: &lvsx_platform::Line) -> u64 {
    port[live::port::LEARNED].load()
}

/// The settings that `read` knows by name. Older kernels have them in the first network namespace alone: then their defaults.
fn limits(rate: TickRate, read: impl Fn(&str) -> Option<u32>) -> PathLimits {
    const EXPIRES: u32 = 600;
    PathLimits {
        kept: rate.ticks(read("mtu_expires").unwrap_or(EXPIRES)),
        least: read("min_pmtu").unwrap_or(PathLimits::default().least),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_as_usual() {
        let rate = TickRate::of_hz(250);
        assert_eq!(limits(rate, |_| None), PathLimits::default());
        let read = |name: &str| (name == "mtu_expires").then_some(64);
        assert_eq!(limits(rate, read).kept, 1000);
    }
}
