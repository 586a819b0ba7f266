//! How many ICMP errors this host sends: the kernel's own settings, which the data plane keeps to as well.

use super::Control;
use lvsx_core::generation::IcmpLimits;
use std::fs;

impl Control {
    /// Puts the kernel's present limits in force, if they moved.
    pub(super) fn follow_icmp_limits(&mut self) {
        let limits = limits(|name| {
            let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?;
            text.trim().parse().ok()
        });
        if limits == self.config().icmp {
            return;
        }
        let mut config = self.config().clone();
        config.icmp = limits;
        // A full arena is logged there; the limits before stay.
        let _ = self.put_in_force(config);
    }
}

/// The limits that `read` knows by name. Some exist in the first network namespace alone (Linux 6.1): then their defaults.
fn limits(read: impl Fn(&str) -> Option<u32>) -> IcmpLimits {
    let usual = IcmpLimits::default();
    IcmpLimits {
        interval: read("icmp_ratelimit").unwrap_or(usual.interval),
        mask: read("icmp_ratemask").unwrap_or(usual.mask),
        a_second: read("icmp_msgs_per_sec").unwrap_or(usual.a_second),
        burst: read("icmp_msgs_burst").unwrap_or(usual.burst),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_as_usual() {
        let read = |name: &str| (name == "icmp_ratelimit").then_some(250);
        let want = IcmpLimits {
            interval: 250,
            ..IcmpLimits::default()
        };
        assert_eq!(limits(read), want);
    }
}
