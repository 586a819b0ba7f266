//! The controller against servers that connections fill and leave: how evenly they are loaded, how restless weights are.
//!
//! A server's load is its connections by its capacity, which change as new ones come by its share of the weights and old ones end
//! after a mean lifetime. Each second's sample has 5 % of noise; agents smooth, and what they report is a sample old. The second half
//! of 40 minutes is judged, the mean of many runs that differ in their noise. Steps that are smaller than 5 % are not made, as in
//! [`Pool`](crate::pool::Pool).

use super::{Controller, Gauge};
use std::collections::BTreeMap;
use std::time::Duration;

/// A second a tick, a step of the controller every five.
const PERIOD: usize = 5;
const TICKS: usize = 2400;
const NOISE: f64 = 0.05;
/// How much of a new sample counts at an agent.
const SMOOTHING: f64 = 0.3;
/// Small weights are multiplied by this.
const SCALE: f64 = 16.0;
/// Runs of a case.
const RUNS: u64 = 6;

struct Case {
    /// Capacities; new connections are such that all of it would be at 73.5 %.
    capacity: Vec<f64>,
    /// Mean lifetime in seconds, and what the controller takes it for.
    lifetime: f64,
    believed: f64,
    /// The first server loses half of its capacity at a third of the time.
    halves: bool,
    steered: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            capacity: vec![1.0, 1.0, 2.0],
            lifetime: 30.0,
            believed: 30.0,
            halves: false,
            steered: true,
        }
    }
}

/// How it went: largest less smallest mean load; standard deviation of weights by their mean; changes of weight a server.
#[derive(Debug)]
struct Outcome {
    spread: f64,
    deviation: f64,
    changes: f64,
}

/// Pseudo-random numbers (xorshift64), made normal by summing twelve.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        let mut uniform = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 as f64 / u64::MAX as f64
        };
        (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }
}

fn simulate(case: &Case, run: u64) -> Outcome {
    let count = case.capacity.len();
    let mut capacity = case.capacity.clone();
    let demand = 0.735 * capacity.iter().sum::<f64>();
    let mut connections = vec![demand / count as f64; count];
    let mut weights = vec![SCALE; count];
    let mut controller = Controller::default();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(2 * run + 1));
    let mut reported = vec![0.5; count];
    let (mut loads, mut seen, mut changes) = (vec![Vec::new(); count], vec![Vec::new(); count], 0);
    for tick in 0..TICKS {
        if case.halves && tick == TICKS / 3 {
            capacity[0] /= 2.0;
        }
        let total: f64 = weights.iter().sum();
        for server in 0..count {
            // In one second all but e^(-1/lifetime) of the connections are replaced.
            let stays = (-1.0 / case.lifetime).exp();
            let share = demand * weights[server] / total;
            connections[server] = connections[server] * stays + share * (1.0 - stays);
            if tick >= TICKS / 2 {
                loads[server].push(connections[server] / capacity[server]);
                seen[server].push(weights[server]);
            }
        }
        let before = reported.clone();
        for server in 0..count {
            let load = (connections[server] / capacity[server]).min(1.0);
            let sample = (load * (1.0 + NOISE * noise.next())).clamp(0.0, 1.0);
            reported[server] += SMOOTHING * (sample - reported[server]);
        }
        if tick % PERIOD == 0 && case.steered {
            let gauges = before.iter().map(|load| Gauge {
                weight: 1.0,
                load: Some(*load),
            });
            let gauges: BTreeMap<usize, Gauge> = gauges.enumerate().collect();
            let lifetime = Duration::from_secs_f64(case.believed);
            let multipliers =
                controller.step(Duration::from_secs(PERIOD as u64), lifetime, &gauges);
            for (server, by) in multipliers {
                let (old, new) = (weights[server], SCALE * by);
                if (new - old).abs() >= (0.05 * old).max(1.0) {
                    weights[server] = new.round();
                    changes += u32::from(tick >= TICKS / 2);
                }
            }
        }
    }
    let means: Vec<f64> = loads.iter().map(|loads| mean(loads)).collect();
    let largest = means.iter().copied().fold(0.0, f64::max);
    let smallest = means.iter().copied().fold(f64::MAX, f64::min);
    let deviations = seen.iter().map(|seen| {
        let mean = mean(seen);
        let squares: Vec<f64> = seen.iter().map(|weight| (weight - mean).powi(2)).collect();
        self::mean(&squares).sqrt() / mean
    });
    Outcome {
        spread: largest - smallest,
        deviation: deviations.fold(0.0, f64::max),
        changes: f64::from(changes) / count as f64,
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean of all runs.
fn outcome(case: &Case) -> Outcome {
    let runs: Vec<Outcome> = (0..RUNS).map(|run| simulate(case, run)).collect();
    let mean = |of: fn(&Outcome) -> f64| mean(&runs.iter().map(of).collect::<Vec<_>>());
    Outcome {
        spread: mean(|run| run.spread),
        deviation: mean(|run| run.deviation),
        changes: mean(|run| run.changes),
    }
}

fn fits(name: &str, case: &Case, (spread, deviation, changes): (f64, f64, f64)) {
    let outcome = outcome(case);
    println!("{name}: {outcome:.3?}, at most {spread}, {deviation}, {changes}");
    let fits =
        outcome.spread <= spread && outcome.deviation <= deviation && outcome.changes <= changes;
    assert!(
        fits,
        "{name}: {outcome:.3?}, at most {spread}, {deviation}, {changes}"
    );
}

fn lives(lifetime: f64, believed: f64) -> Case {
    Case {
        lifetime,
        believed,
        ..Case::default()
    }
}

/// What the research for this controller measured: spread, deviation, changes.
#[test]
fn it_is_as_good_as_it_was_designed() {
    fits("1 s", &lives(1.0, 1.0), (0.15, 0.05, 63.0));
    fits("30 s", &lives(30.0, 30.0), (0.03, 0.01, 8.0));
    fits("120 s", &lives(120.0, 120.0), (0.035, 0.01, 9.0));
    fits("600 s", &lives(600.0, 600.0), (0.17, 0.02, 13.0));
    let halves = Case {
        halves: true,
        ..Case::default()
    };
    fits("one halves", &halves, (0.06, 0.05, 14.0));
    let equal = Case {
        capacity: vec![1.0; 8],
        ..Case::default()
    };
    fits("eight equal", &equal, (0.09, 0.04, 39.0));
}

/// The same with lifetimes that are estimated at a third and at three times what they are; of these the research has the spread.
#[test]
fn a_wrong_lifetime_does_little_harm() {
    for (lifetime, low, high) in [
        (1.0, 0.15, 0.15),
        (30.0, 0.03, 0.04),
        (120.0, 0.03, 0.10),
        (600.0, 0.04, 0.27),
    ] {
        for (factor, spread) in [(1.0 / 3.0, low), (3.0, high)] {
            let name = format!("{lifetime} s, taken for {factor:.2} of it");
            let most = (spread, f64::MAX, f64::MAX);
            fits(&name, &lives(lifetime, factor * lifetime), most);
        }
    }
}

#[test]
fn static_weights_are_far_from_even() {
    let unsteered = Case {
        steered: false,
        ..Case::default()
    };
    assert!(simulate(&unsteered, 0).spread > 0.4);
}
