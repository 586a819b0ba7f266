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

/// A pass takes two seconds or less; on a busy machine, where firings come late, more. So long it is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Before a pass begins.
const LEAD: Duration = Duration::from_millis(64);

/// What a pass took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pass {
    /// Milliseconds of CPU.
    pub(super) pass: f64,
    /// Those of a firing, which holds up whatever else its CPU has to do: the median, and the longest.
    pub(super) firing: f64,
    pub(super) longest: f64,
}

/// A firing as one CPU saw it.
#[derive(Clone, Copy, Debug, Default)]
struct Firing {
    /// Nanoseconds by which the looking thread's own time grew.
    took: f64,
    /// Sets that the hand moved on.
    sets: u64,
}

/// Watches the hand for a pass that begins with `what`.
///
/// # Errors
/// Too few firings could be seen.
pub(super) fn watch(tables: &Tables, what: impl FnOnce()) -> Result<Pass> {
    // Those that this thread may run on are fewer.
    let cpus = aya::util::online_cpus().map_err(|(_, error)| error)?;
    let end = Instant::now() + PATIENCE;
    let seen: Result<Vec<_>> = thread::scope(|scope| {
        let all: Vec<_> = cpus
            .into_iter()
            .map(|cpu| scope.spawn(move || firings(tables, cpu as usize, end)))
            .collect();
        thread::sleep(LEAD);
        what();
        all.into_iter()
            .map(|one| {
                one.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    pass(&seen?, u64::from(tables.capacity.sets()))
}

/// Firing after firing by where the hand was behind it, as the calling thread sees them on a CPU.
fn firings(tables: &Tables, cpu: usize, end: Instant) -> Result<BTreeMap<u64, Firing>> {
    stay_on(cpu)?;
    let hand = &tables.state[state::HAND as usize];
    let total = u64::from(tables.capacity.sets());
    let own = || -> Result<f64> {
        let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        Ok(time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64)
    };
    let mut firings = BTreeMap::new();
    // Time is read between two looks: a firing seen by the second may have come before that or after, so it is within what passed
    // since the time was read before the first.
    let mut at = hand[state::HAND_AT].load();
    let (mut earlier, mut before) = (own()?, own()?);
    // A pass, and what the hand did in the lead: four firings of 32, which is half of what is added.
    let mut left = total + total / 4;
    while left > 0 && Instant::now() < end {
        let next = hand[state::HAND_AT].load();
        if next != at {
            let firing = Firing {
                took: own()? - earlier,
                sets: (next + total - at) % total,
            };
            left = left.saturating_sub(firing.sets);
            firings.insert(next, firing);
            at = next;
        }
        (earlier, before) = (before, own()?);
    }
    Ok(firings)
}

/// The pass over `total` sets, by what each CPU saw of it: a firing is what it was where it was longest.
fn pass(seen: &[BTreeMap<u64, Firing>], total: u64) -> Result<Pass> {
    let mut firings: BTreeMap<u64, Firing> = BTreeMap::new();
    for (at, firing) in seen.iter().flatten() {
        let most = firings.entry(*at).or_default();
        if firing.took > most.took {
            *most = *firing;
        }
    }
    let mut all: Vec<Firing> = firings.into_values().collect();
    all.sort_by(|one, other| other.took.total_cmp(&one.took));
    // Shorter by so much than one of the longest: it interrupted somebody else.
    let usual = all.get(all.len() / 10).map_or(0.0, |firing| firing.took);
    let counted: Vec<Firing> = all
        .iter()
        .copied()
        .filter(|firing| firing.took > usual / 5.0)
        .collect();
    let sets: u64 = counted.iter().map(|firing| firing.sets).sum();
    ensure!(
        sets >= total / 4,
        "of {} firings {} could be seen: too much runs beside",
        all.len(),
        counted.len()
    );
    let took: f64 = counted.iter().map(|firing| firing.took).sum();
    Ok(Pass {
        pass: took / sets as f64 * total as f64 / 1e6,
        firing: counted[counted.len() / 2].took / 1e6,
        longest: counted[0].took / 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firings(took: impl Fn(u64) -> f64) -> BTreeMap<u64, Firing> {
        let firing = |at| Firing {
            took: took(at),
            sets: 10,
        };
        (0..32).map(|at| (10 * at, firing(at))).collect()
    }

    #[test]
    fn a_pass_is_what_its_firings_are() -> Result<()> {
        let here = firings(|at| if at % 2 == 0 { 1e6 } else { 300.0 });
        let there = firings(|at| if at % 2 == 1 { 2e6 } else { 300.0 });
        let pass = pass(&[here, there], 320)?;
        assert_eq!((pass.pass, pass.longest), (48.0, 2.0));
        Ok(())
    }

    #[test]
    fn who_was_interrupted_elsewhere_does_not_count() -> Result<()> {
        let half = firings(|at| if at < 16 { 1e6 } else { 300.0 });
        assert_eq!(pass(&[half], 320)?.pass, 32.0);
        let few = firings(|at| if at < 4 { 1e6 } else { 300.0 });
        assert!(pass(&[few], 320).is_err());
        Ok(())
    }
}
