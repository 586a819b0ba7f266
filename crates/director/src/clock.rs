//! The data plane's clock, as the director reads it.

use lvsx_core::tick::{Tick, TickRate};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Jiffies and `CLOCK_MONOTONIC` at one moment, and how fast jiffies run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// How ticks relate to jiffies and seconds.
    pub rate: TickRate,
    /// Jiffies at that moment.
    pub jiffies: u64,
    /// Nanoseconds at that moment.
    pub monotonic: u64,
}

impl Clock {
    /// The present tick.
    #[must_use]
    pub fn now(&self) -> Tick {
        self.at(monotonic())
    }

    /// The tick when `CLOCK_MONOTONIC` shows `monotonic`.
    #[must_use]
    pub fn at(&self, monotonic: u64) -> Tick {
        let passed = u128::from(monotonic.saturating_sub(self.monotonic))
            * u128::from(self.rate.hz)
            / u128::from(SECOND);
        Tick((self.jiffies.wrapping_add(passed as u64) >> self.rate.shift) as u32)
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds.
#[must_use]
pub fn monotonic() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec of our own; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * SECOND + time.tv_nsec as u64
}

/// The kernel's timer frequency, from two readings of (jiffies, nanoseconds): the usual one that is nearest.
#[must_use]
pub fn nearest_hz(earlier: (u64, u64), later: (u64, u64)) -> u32 {
    let jiffies = later.0.saturating_sub(earlier.0);
    let nanoseconds = later.1.saturating_sub(earlier.1).max(1);
    let measured = u128::from(jiffies) * u128::from(SECOND) / u128::from(nanoseconds);
    let usual = [100u32, 250, 300, 1000];
    usual
        .into_iter()
        .min_by_key(|hz| measured.abs_diff(u128::from(*hz)))
        .unwrap_or(250)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequency_is_found_from_readings_a_jiffy_off() {
        for hz in [100u64, 250, 300, 1000] {
            for error in [-1i64, 0, 1] {
                let jiffies = (hz / 10).checked_add_signed(error).expect("positive");
                assert_eq!(
                    u64::from(nearest_hz((1000, 5), (1000 + jiffies, 5 + SECOND / 10))),
                    hz
                );
            }
        }
    }

    #[test]
    fn ticks_pass_with_time() {
        let clock = Clock {
            rate: TickRate::of_hz(250),
            jiffies: 1600,
            monotonic: 7 * SECOND,
        };
        assert_eq!(clock.at(7 * SECOND), Tick(100));
        assert_eq!(clock.at(8 * SECOND), Tick(115));
    }
}
