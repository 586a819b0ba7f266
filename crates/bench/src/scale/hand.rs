//! What the hand takes that removes expired connections: a timer in the kernel, which interrupts whoever runs.
//!
//! A thread on each CPU does nothing but look where the hand is. When it has moved between two looks, what the thread's own CPU
//! time grew by meanwhile is what the hand took, because a timer works on the time of whom it interrupts; others that run on the
//! machine are not counted. Firings that interrupted somebody else are seen as short and left out.

use crate::stay_on;
use anyhow::{Result, ensure};
use lvsx_core::env::state;
use lvsx_director::tables::Tables;
use nix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// Firings in which the whole table is seen.
const SLICES: usize = 32;
/// How long those take, and some more.
const SPAN: Duration = Duration::from_millis(32 * 64 + 200);

/// What a pass took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// Milliseconds of CPU.
    pub(super) pass: f64,
    /// Those of its longest firing.
    pub(super) longest: f64,
}

/// Watches the hand for a pass that begins with `what`.
///
/// # Errors
/// Too few firings could be seen.
pub(super) fn watch(tables: &Tables, what: impl FnOnce()) -> Result<Pass> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let end = Instant::now() + SPAN + Duration::from_millis(64);
    let seen: Result<Vec<_>> = thread::scope(|scope| {
        let all: Vec<_> = (0..cpus)
            .map(|cpu| scope.spawn(move || firings(tables, cpu, end)))
            .collect();
        thread::sleep(Duration::from_millis(64));
        what();
        all.into_iter()
            .map(|one| {
                one.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    pass(&seen?)
}

/// Where the hand was, and the nanoseconds of the calling thread's time that it took, firing after firing.
fn firings(tables: &Tables, cpu: usize, end: Instant) -> Result<BTreeMap<u64, f64>> {
    stay_on(cpu)?;
    let hand = &tables.state[state::HAND as usize];
    let own = || -> Result<f64> {
        let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        Ok(time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64)
    };
    let mut firings = BTreeMap::new();
    let (mut at, mut before) = (hand[state::HAND_AT].load(), own()?);
    while Instant::now() < end {
        let (next, now) = (hand[state::HAND_AT].load(), own()?);
        if next != at {
            firings.insert(next, now - before);
        }
        (at, before) = (next, now);
    }
    Ok(firings)
}

/// The pass, by what each CPU saw of it: a firing is what it was where it was longest.
fn pass(seen: &[BTreeMap<u64, f64>]) -> Result<Pass> {
    let mut firings: BTreeMap<u64, f64> = BTreeMap::new();
    for (at, took) in seen.iter().flatten() {
        let most = firings.entry(*at).or_default();
        *most = most.max(*took);
    }
    let longest = firings.values().copied().fold(0.0, f64::max);
    // Shorter by so much: it interrupted somebody else.
    let counted: Vec<f64> = firings
        .values()
        .copied()
        .filter(|took| *took > longest / 5.0)
        .collect();
    ensure!(
        counted.len() >= SLICES / 4,
        "of {} firings {} could be seen: too much runs beside",
        firings.len(),
        counted.len()
    );
    let mean = counted.iter().sum::<f64>() / counted.len() as f64;
    Ok(Pass {
        pass: mean * SLICES as f64 / 1e6,
        longest: longest / 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_what_its_firings_are() -> Result<()> {
        let here = (0..32)
            .map(|at| (at, if at % 2 == 0 { 1e6 } else { 300.0 }))
            .collect();
        let there = (0..32)
            .map(|at| (at, if at % 2 == 1 { 2e6 } else { 300.0 }))
            .collect();
        let pass = pass(&[here, there])?;
        assert_eq!((pass.pass, pass.longest), (48.0, 2.0));
        Ok(())
    }

    #[test]
    fn who_was_interrupted_elsewhere_does_not_count() -> Result<()> {
        let seen = (0..32)
            .map(|at| (at, if at < 16 { 1e6 } else { 300.0 }))
            .collect();
        assert_eq!(pass(&[seen])?.pass, 32.0);
        assert!(pass(&[BTreeMap::from([(1, 1e6)])]).is_err());
        Ok(())
    }
}
