//! Rates, as the kernel's estimator makes them every two seconds.
//!
//! Packets and connections a second are kept in units of 2^-10, bytes a second in units of 2^-5; each run moves the
//! average a quarter of the way to what the last two seconds had. Source: Linux 6.1, observed.

use super::Counters;
use lvsx_ipvs::Stats;

/// Seconds between two runs.
const PERIOD: u64 = 2;

/// The running average of one set of counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    last: Counters,
    average: Counters,
}

impl Rate {
    /// No rate yet, counting from `now` on.
    #[must_use]
    pub fn from(now: Counters) -> Self {
        Self {
            last: now,
            average: Counters::default(),
        }
    }

    /// One run, two seconds after the one before.
    pub fn run(&mut self, now: Counters) {
        let units = |delta: u64, unit: u64| delta.wrapping_mul(unit / PERIOD);
        let grown = now - self.last;
        let rate = Counters {
            connections: units(grown.connections, 1 << 10),
            in_packets: units(grown.in_packets, 1 << 10),
            out_packets: units(grown.out_packets, 1 << 10),
            in_bytes: units(grown.in_bytes, 1 << 5),
            out_bytes: units(grown.out_bytes, 1 << 5),
        };
        self.average = self.average.combine(rate, |average, rate| {
            average.wrapping_add_signed((rate.wrapping_sub(average) as i64) >> 2)
        });
        self.last = now;
    }

    /// The rates in whole units a second; counters 0.
    #[must_use]
    pub fn shown(&self) -> Stats {
        let packets = |average: u64| average.wrapping_add(0x1ff) >> 10;
        let bytes = |average: u64| average.wrapping_add(0xf) >> 5;
        Stats {
            connection_rate: packets(self.average.connections),
            in_packet_rate: packets(self.average.in_packets),
            out_packet_rate: packets(self.average.out_packets),
            in_byte_rate: bytes(self.average.in_bytes),
            out_byte_rate: bytes(self.average.out_bytes),
            ..Stats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from a kernel (Linux 6.1): 400 packets of 100 bytes at once.
    #[test]
    fn a_burst_fades_as_in_the_kernel() {
        let burst = Counters {
            in_packets: 400,
            in_bytes: 40_000,
            ..Counters::default()
        };
        let mut rate = Rate::default();
        let shown: Vec<_> = (0..7)
            .map(|_| {
                rate.run(burst);
                (rate.shown().in_packet_rate, rate.shown().in_byte_rate)
            })
            .collect();
        let expected = [
            (50, 5000),
            (37, 3750),
            (28, 2812),
            (21, 2109),
            (16, 1582),
            (12, 1186),
            (9, 890),
        ];
        assert_eq!(shown, expected);
    }
}
