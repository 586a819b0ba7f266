//! Weights from load: a PI controller a pool.
//!
//! Load answers to a weight only as fast as connections end, so the integral half (a factor for each server) moves in steps that
//! are small against their lifetime, while the proportional half reacts at once. What counts is a server's load relative to the
//! pool's, so the total does not matter. Differences in the dead band are left alone; an idle pool goes home to its configured
//! weights; a server whose load is not known goes home too, and does not count.

use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(test)]
mod simulation;

/// How much of a new load counts against those of before.
const ALPHA: f64 = 0.4;
/// Below this mean load there is nothing to steer.
const IDLE: f64 = 0.15;
/// The part of the way home that is gone in a step.
const HOME: f64 = 0.1;
/// Relative differences that are left alone.
const DEAD_BAND: f64 = 0.04;
/// Largest relative difference that counts, for each half.
const MOST: f64 = 0.5;
/// Largest difference upwards in the integral half: down faster than up.
const MOST_UP: f64 = 0.3;
/// A server this loaded is relieved whatever the others do.
const FULL: f64 = 0.97;
/// Largest gain of the integral half.
const MOST_GAIN: f64 = 0.5;
/// The gain of the proportional half.
const PROPORTION: f64 = 0.5;
/// Longest lifetime of connections that is believed: too low an estimate is better than one too high.
const LONGEST: Duration = Duration::from_secs(600);
/// The range of factors.
const FACTORS: (f64, f64) = (0.1, 4.0);

/// What a step knows of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauge {
    /// Its configured weight.
    pub weight: f64,
    /// Its load, 0 to 1; `None`: not known.
    pub load: Option<f64>,
}

/// The controller of a pool whose servers have names `K`.
#[derive(Clone, Debug)]
pub struct Controller<K> {
    loops: BTreeMap<K, Loop>,
}

#[derive(Clone, Copy, Debug)]
struct Loop {
    factor: f64,
    /// The smoothed load.
    load: Option<f64>,
}

impl<K: Ord + Copy> Default for Controller<K> {
    fn default() -> Self {
        Self {
            loops: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy> Controller<K> {
    /// A step, due every `period`: what each server's weight is to be multiplied by. `lifetime`: the mean lifetime of
    /// connections. Servers that are not named are forgotten.
    pub fn step(
        &mut self,
        period: Duration,
        lifetime: Duration,
        servers: &BTreeMap<K, Gauge>,
    ) -> BTreeMap<K, f64> {
        self.take(servers);
        let gain = gain(period, lifetime);
        let mean = self.mean(servers);
        let mut multipliers = BTreeMap::new();
        for (key, server) in &mut self.loops {
            let (Some(mean), Some(load)) = (mean, server.load) else {
                server.go_home();
                multipliers.insert(*key, 1.0);
                continue;
            };
            let difference = (mean - load) / mean;
            if difference.abs() >= DEAD_BAND {
                server.factor *= 1.0 + gain * difference.clamp(-MOST, MOST_UP);
            }
            if load >= FULL {
                server.factor *= 1.0 - (2.0 * gain).min(0.2);
            }
            multipliers.insert(*key, 1.0 + PROPORTION * difference.clamp(-MOST, MOST));
        }
        self.normalise(servers);
        for (key, multiplier) in &mut multipliers {
            *multiplier *= self.loops.get(key).map_or(1.0, |server| server.factor);
        }
        multipliers
    }

    /// Takes the loads in.
    fn take(&mut self, servers: &BTreeMap<K, Gauge>) {
        self.loops.retain(|key, _| servers.contains_key(key));
        for (key, gauge) in servers {
            let server = self.loops.entry(*key).or_insert(Loop {
                factor: 1.0,
                load: None,
            });
            let new = gauge
                .load
                .filter(|load| load.is_finite())
                .map(|load| load.clamp(0.0, 1.0));
            server.load = match (server.load, new) {
                (Some(old), Some(new)) => Some(old + ALPHA * (new - old)),
                (_, new) => new,
            };
        }
    }

    /// The mean load, each server's by its share of the traffic. `None`: nothing to steer by.
    fn mean(&self, servers: &BTreeMap<K, Gauge>) -> Option<f64> {
        let (mut loads, mut weights) = (0.0, 0.0);
        for (key, server) in &self.loops {
            if let (Some(load), Some(gauge)) = (server.load, servers.get(key)) {
                loads += load * server.factor * gauge.weight;
                weights += server.factor * gauge.weight;
            }
        }
        let mean = loads / weights;
        (mean >= IDLE).then_some(mean)
    }

    /// Keeps the sum of all weights as it is configured, and the factors in their range.
    fn normalise(&mut self, servers: &BTreeMap<K, Gauge>) {
        let weight = |key: &K| servers.get(key).map_or(0.0, |gauge| gauge.weight);
        let configured: f64 = self.loops.keys().map(weight).sum();
        let now: f64 = self
            .loops
            .iter()
            .map(|(key, server)| server.factor * weight(key))
            .sum();
        if now <= 0.0 {
            return;
        }
        for server in self.loops.values_mut() {
            server.factor = (server.factor * configured / now).clamp(FACTORS.0, FACTORS.1);
        }
    }
}

impl Loop {
    /// A part of the way to the configured weight; the last bit at once, so that it gets there.
    fn go_home(&mut self) {
        let away = 1.0 - self.factor;
        self.factor = match away.abs() < HOME / 2.0 {
            true => 1.0,
            false => self.factor + HOME * away,
        };
    }
}

/// The gain of the integral half: small against the lifetime of connections.
fn gain(period: Duration, lifetime: Duration) -> f64 {
    let period = period.as_secs_f64();
    let lifetime = lifetime.min(LONGEST).as_secs_f64();
    (period / (lifetime + period)).min(MOST_GAIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PERIOD: Duration = Duration::from_secs(5);

    fn servers(loads: &[Option<f64>]) -> BTreeMap<usize, Gauge> {
        let gauges = loads.iter().map(|load| Gauge {
            weight: 1.0,
            load: *load,
        });
        gauges.enumerate().collect()
    }

    #[test]
    fn equal_loads_are_left_alone() {
        let mut controller = Controller::default();
        for _ in 0..100 {
            let multipliers =
                controller.step(PERIOD, PERIOD, &servers(&[Some(0.5), Some(0.5), Some(0.5)]));
            assert!(
                multipliers.values().all(|by| (by - 1.0).abs() < 1e-9),
                "{multipliers:?}"
            );
        }
    }

    #[test]
    fn who_has_more_load_gets_less() {
        let mut controller = Controller::default();
        let first = controller.step(PERIOD, PERIOD, &servers(&[Some(0.9), Some(0.3)]));
        assert!(first[&0] < 0.85 && first[&1] > 1.15, "at once: {first:?}");
        let mut last = first;
        for _ in 0..200 {
            last = controller.step(PERIOD, PERIOD, &servers(&[Some(0.9), Some(0.3)]));
        }
        assert!(
            last[&0] >= FACTORS.0 * 0.5 && last[&0] < 0.2,
            "to the floor: {last:?}"
        );
    }

    #[test]
    fn who_falls_silent_goes_home() {
        let mut controller = Controller::default();
        for _ in 0..50 {
            controller.step(PERIOD, PERIOD, &servers(&[Some(0.9), Some(0.3), Some(0.3)]));
        }
        let mut last = BTreeMap::new();
        for _ in 0..100 {
            last = controller.step(PERIOD, PERIOD, &servers(&[None, None, None]));
        }
        assert!(last.values().all(|by| (by - 1.0).abs() < 0.01), "{last:?}");
    }

    #[test]
    fn an_idle_pool_goes_home() {
        let mut controller = Controller::default();
        for _ in 0..50 {
            controller.step(PERIOD, PERIOD, &servers(&[Some(0.9), Some(0.3)]));
        }
        let mut last = BTreeMap::new();
        for _ in 0..100 {
            last = controller.step(PERIOD, PERIOD, &servers(&[Some(0.1), Some(0.01)]));
        }
        assert!(last.values().all(|by| (by - 1.0).abs() < 0.01), "{last:?}");
    }

    proptest! {
        #[test]
        fn multipliers_stay_in_range(
            steps in prop::collection::vec(prop::collection::vec(prop::option::of(any::<f64>()), 1..6), 1..50),
            lifetime in 0u64..10_000,
        ) {
            let mut controller = Controller::default();
            for loads in steps {
                let multipliers = controller.step(PERIOD, Duration::from_secs(lifetime), &servers(&loads));
                prop_assert_eq!(multipliers.len(), loads.len());
                for by in multipliers.values() {
                    prop_assert!((0.05..=6.0).contains(by), "{}", by);
                }
            }
        }
    }
}
