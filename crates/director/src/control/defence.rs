//! The defences: modes, the memory available, what follows. As the kernel does it each second and on each change of a mode
//! (observed on Linux 6.1).

use super::Control;
use lvsx_core::env::state;
use lvsx_core::generation::Setting;
use lvsx_core::generation::defence::Defences;

/// Modes: 0 is off, 1 and 2 automatic (2 while triggered).
const AUTOMATIC: i32 = 1;
const TRIGGERED: i32 = 2;
const ON: i32 = 3;
/// Linux 6.1 bounds the queue to a sync thread by a 32nd of the pages.
const QUEUE_SHARE: u64 = 32;

/// Whether a setting is the mode of a defence.
pub(super) fn is_mode(setting: Setting) -> bool {
    matches!(
        setting,
        Setting::DropEntry | Setting::DropPacket | Setting::SecureTcp
    )
}

/// A mode after a look at the memory, and whether the defence is in force.
fn next(mode: i32, is_low: bool) -> (i32, bool) {
    match mode {
        AUTOMATIC | TRIGGERED if is_low => (TRIGGERED, true),
        AUTOMATIC | TRIGGERED => (AUTOMATIC, false),
        ON => (ON, true),
        other => (other, false),
    }
}

/// Of so many packets one is dropped, with this threshold and this much memory available.
fn drop_rate(mode: i32, threshold: i64, available: i64, constant: i32) -> u32 {
    match next(mode, available < threshold) {
        // A rate below 0 drops every packet, as 1 does.
        (ON, _) if constant < 0 => 1,
        (ON, _) => constant as u32,
        (TRIGGERED, _) => {
            u32::try_from(threshold / (threshold - available).max(1)).unwrap_or(u32::MAX)
        }
        _ => 0,
    }
}

impl Control {
    /// A look at the host, due every second: the memory, for the defences, the limits of ICMP errors, and paths.
    pub fn watch_host(&mut self) {
        self.defend();
        self.follow_icmp_limits();
        self.follow_paths();
    }

    /// Settles which defences are in force.
    pub(super) fn defend(&mut self) {
        self.defend_with(memory::available());
    }

    /// The same, with this many pages available.
    pub(super) fn defend_with(&mut self, available: i64) {
        let value = |setting| self.config().values.of(setting);
        let threshold = i64::from(value(Setting::AmemThresh)).max(0);
        let is_low = available < threshold;
        let in_force = |setting| next(value(setting), is_low).1;
        let mode = value(Setting::DropPacket);
        let defences = Defences {
            drop_entry: in_force(Setting::DropEntry),
            secure_tcp: in_force(Setting::SecureTcp),
            drop_rate: drop_rate(mode, threshold, available, value(Setting::AmDropRate)),
        };
        let line = &self.tables.state[state::READ as usize];
        let word = defences.encode();
        if line[state::DEFENCE].peek() != word {
            line[state::DEFENCE].store(word);
            tracing::info!(
                "defences in force: drop_entry {}, drop_packet 1 of {}, secure_tcp {}",
                defences.drop_entry,
                defences.drop_rate,
                defences.secure_tcp
            );
        }
        if is_low && matches!(mode, AUTOMATIC | TRIGGERED) {
            self.tables.state[state::DEFENCES as usize][state::DROP_COUNTER]
                .store(defences.drop_rate.into());
        }
        self.is_memory_low = is_low;
    }

    /// The mode that a defence shows: an automatic one tells whether it is triggered.
    pub(super) fn defence_mode(&self, setting: Setting) -> Option<i32> {
        is_mode(setting).then(|| next(self.config().values.of(setting), self.is_memory_low).0)
    }
}

/// `sync_qlen_max` as Linux 6.1 begins with it.
pub(super) fn queue_bound() -> u64 {
    memory::total() / QUEUE_SHARE
}

mod memory {
    //! The machine's memory in pages, from `/proc/meminfo`.

    use std::fs;

    /// Pages that are free or buffers; without an answer plenty, so that no defence begins by mistake.
    pub(super) fn available() -> i64 {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        match (pages(&text, "MemFree:"), pages(&text, "Buffers:")) {
            (Some(free), Some(buffers)) => i64::try_from(free + buffers).unwrap_or(i64::MAX),
            _ => i64::MAX,
        }
    }

    /// All pages.
    pub(super) fn total() -> u64 {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        pages(&text, "MemTotal:").unwrap_or_default()
    }

    pub(super) fn pages(text: &str, name: &str) -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024 / page_size())
    }

    fn page_size() -> u64 {
        // SAFETY: no pointer is passed.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        u64::try_from(size).unwrap_or(4096).max(1)
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn meminfo_is_read_in_pages() {
            let text = "MemTotal:       24518616 kB\nMemFree:          4096 kB\nBuffers:  40 kB\n";
            let kilobytes = super::page_size() / 1024;
            assert_eq!(super::pages(text, "MemFree:"), Some(4096 / kilobytes));
            assert_eq!(super::pages(text, "Buffers:"), Some(40 / kilobytes));
            assert_eq!(super::pages(text, "Swap:"), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_automatic_mode_follows_the_memory_and_the_others_do_not() {
        let cases = [
            (0, false, (0, false)),
            (0, true, (0, false)),
            (1, false, (1, false)),
            (1, true, (2, true)),
            (2, true, (2, true)),
            (2, false, (1, false)),
            (3, false, (3, true)),
            (3, true, (3, true)),
        ];
        for (mode, is_low, want) in cases {
            assert_eq!(next(mode, is_low), want, "mode {mode}, low {is_low}");
        }
    }

    #[test]
    fn the_drop_rate_grows_scarcer_as_memory_returns() {
        assert_eq!(drop_rate(1, 1024, 0, 10), 1);
        assert_eq!(drop_rate(2, 1024, 512, 10), 2);
        assert_eq!(drop_rate(1, 1024, 1023, 10), 1024);
        assert_eq!(drop_rate(1, 1024, 1024, 10), 0);
        assert_eq!(drop_rate(0, 1024, 0, 10), 0);
        assert_eq!(drop_rate(3, 1024, 5000, 10), 10);
        assert_eq!(drop_rate(3, 1024, 5000, 0), 0);
        assert_eq!(drop_rate(3, 1024, 5000, -5), 1);
    }
}
