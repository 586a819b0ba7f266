//! Time, as the data plane knows it.

/// A moment: kernel jiffies shifted right until one tick lasts about 64 ms, modulo 2^32 (8.7 years).
///
/// Coarse on purpose: a connection's deadline is written only when the tick has moved, so a busy flow writes its entry
/// at most 16 times a second. Later minus earlier is taken modulo 2^32; spans up to 2^31 ticks (4.3 years) compare
/// rightly, more than the longest timeout IPVS accepts (2^31 jiffies).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tick(pub u32);

impl Tick {
    /// The moment `ticks` later.
    #[inline(always)]
    #[must_use]
    pub fn after(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// Whether `self` lies before `other`.
    #[inline(always)]
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Ticks from `now` to `self`; negative when `self` has passed.
    #[inline(always)]
    #[must_use]
    pub fn left(self, now: Self) -> i32 {
        self.0.wrapping_sub(now.0) as i32
    }
}

/// How ticks relate to seconds: the kernel's timer frequency and the shift from jiffies to ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickRate {
    /// Jiffies a second (`CONFIG_HZ`): 100, 250, 300 or 1000.
    pub hz: u32,
    /// Jiffies are shifted right by this to make ticks.
    pub shift: u32,
}

impl TickRate {
    /// The rate for a kernel of `hz` jiffies a second: the shift that makes a tick last 53 to 80 ms.
    #[must_use]
    pub fn of_hz(hz: u32) -> Self {
        let mut shift = 0;
        while (1u32 << (shift + 1)) * 1000 / hz.max(1) <= 80 && shift < 16 {
            shift += 1;
        }
        Self { hz, shift }
    }

    /// The ticks that `seconds` last, rounded up, at most 2^31 - 1.
    #[must_use]
    pub fn ticks(self, seconds: u32) -> u32 {
        let jiffies = u64::from(seconds) * u64::from(self.hz);
        jiffies.div_ceil(1 << self.shift).min(0x7fff_ffff) as u32
    }

    /// The whole seconds in `ticks`, rounded down.
    #[must_use]
    pub fn seconds(self, ticks: u32) -> u32 {
        ((u64::from(ticks) << self.shift) / u64::from(self.hz.max(1))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_lasts_about_64_ms_at_every_usual_hz() {
        for hz in [100, 250, 300, 1000] {
            let rate = TickRate::of_hz(hz);
            let ms = (1000 << rate.shift) / hz;
            assert!((53..=80).contains(&ms), "{hz} Hz gives {ms} ms");
        }
    }

    #[test]
    fn order_survives_the_wrap() {
        let late = Tick(5);
        let early = Tick(u32::MAX - 5);
        assert!(early.is_before(late));
        assert_eq!(late.left(early), 11);
    }

    #[test]
    fn the_longest_timeout_fits() {
        let rate = TickRate::of_hz(250);
        assert!(rate.ticks(8_589_934) < 0x7fff_ffff);
        assert_eq!(rate.seconds(rate.ticks(900)), 900);
    }
}
