//! The rounds: each case once in each, so that what disturbs the machine disturbs them alike.

use super::case::{Case, Packets, Subject};
use crate::director::Director;
use crate::generator::{Generator, PASS, REDIRECT, TX};
use crate::traffic::{Flows, Traffic};
use anyhow::{Context, Result, bail};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: u32,
    /// Packets of a case in a round.
    pub(crate) packets: u32,
}

/// What a case gave, a value for each round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Nanoseconds a packet, without the generator's.
    pub(crate) nanoseconds: Vec<f64>,
    /// What the connection table held at the end of a round; none for baselines.
    pub(crate) live: Option<usize>,
    /// Connections that were opened beyond those that were meant to be.
    pub(crate) misses: u64,
    pub(crate) evicted: u64,
    pub(crate) overflowed: u64,
}

/// Measures all cases.
///
/// # Errors
/// The kernel refuses a run, or a program does not answer as it should.
pub(crate) fn all(
    cases: &[Case],
    effort: Effort,
    generator: &mut Generator,
    director: &mut Director,
) -> Result<Vec<Measured>> {
    let mut measured = vec![Measured::default(); cases.len()];
    // First packets of baselines are of flows that no round has seen.
    let mut fresh = fill(cases, generator)?;
    for round in 0..effort.rounds {
        eprint!("\rround {} of {}", round + 1, effort.rounds);
        for (case, measured) in cases.iter().zip(&mut measured) {
            let mut bench = Bench {
                effort,
                generator,
                director,
                fresh: &mut fresh,
            };
            bench
                .once(case, measured)
                .with_context(|| format!("case {}", case.name))?;
        }
    }
    eprintln!();
    Ok(measured)
}

/// Fills the table of the baseline of first packets, if that is measured: in use such a table is full, and each new flow
/// takes the place of an old one. The first flow that it has not seen.
fn fill(cases: &[Case], generator: &mut Generator) -> Result<u32> {
    let of_first = cases.iter().find_map(|case| match case {
        Case {
            subject: Subject::Baseline(name),
            packets: Packets::First(traffic),
            ..
        } => Some((*name, traffic)),
        _ => None,
    });
    let Some((name, traffic)) = of_first else {
        return Ok(0);
    };
    generator.aim_at_baseline(name)?;
    generator.run(traffic, Flows::Fresh(0), FULL)?;
    Ok(FULL)
}

/// Flows after which the kernel's LRU table is full: what it holds, and an eighth for entries that wait in lists of other CPUs.
const FULL: u32 = (1 << 21) + (1 << 18);

/// The answers of a program that takes a packet.
const OUT: &[u32] = &[TX, REDIRECT];

struct Bench<'a> {
    effort: Effort,
    generator: &'a mut Generator,
    director: &'a mut Director,
    fresh: &'a mut u32,
}

impl Bench<'_> {
    fn once(&mut self, case: &Case, measured: &mut Measured) -> Result<()> {
        self.aim(&case.subject)?;
        let packets = self.effort.packets;
        let (traffic, flows, opened) = match case.packets {
            Packets::Established {
                opening,
                timed,
                flows,
            } => {
                self.send(&opening, Flows::Fresh(0), flows, OUT)?;
                (timed, Flows::Random(flows), flows)
            }
            Packets::First(traffic) => {
                let first = *self.fresh;
                *self.fresh += 2 * packets;
                // The tables' first pages and the code are no longer cold.
                self.send(&traffic, Flows::Fresh(first), packets, OUT)?;
                (traffic, Flows::Fresh(first + packets), 2 * packets)
            }
            Packets::Foreign { traffic, flows } => (traffic, Flows::Random(flows), 0),
        };
        let answers: &[u32] = match (&case.subject, case.packets) {
            (Subject::Director(_), Packets::Foreign { .. }) | (Subject::Baseline("pass"), _) => {
                &[PASS]
            }
            _ => OUT,
        };
        let whole = self.send(&traffic, flows, packets, answers)?;
        self.count(case, opened, measured)?;
        self.generator.aim_at_baseline("null")?;
        let own = self.send(&traffic, flows, packets, OUT)?;
        measured.nanoseconds.push(whole - own);
        Ok(())
    }

    fn aim(&mut self, subject: &Subject) -> Result<()> {
        match subject {
            Subject::Baseline(name) => self.generator.aim_at_baseline(name),
            Subject::Director(lines) => {
                self.director.begin(lines)?;
                self.generator.aim(self.director.entrance()?)
            }
        }
    }

    fn send(
        &mut self,
        traffic: &Traffic,
        flows: Flows,
        packets: u32,
        answers: &[u32],
    ) -> Result<f64> {
        let timed = self.generator.run(traffic, flows, packets)?;
        if !answers.contains(&timed.answer) {
            bail!(
                "{traffic:?}: the program answers {}, not {answers:?}",
                timed.answer
            );
        }
        Ok(timed.nanoseconds)
    }

    fn count(&mut self, case: &Case, opened: u32, measured: &mut Measured) -> Result<()> {
        if let Subject::Director(_) = case.subject {
            let counts = self.director.counts();
            measured.live = Some(self.director.live()?);
            measured.misses += counts.opened.abs_diff(opened.into());
            measured.evicted += counts.evicted;
            measured.overflowed = counts.overflowed;
        }
        Ok(())
    }
}
