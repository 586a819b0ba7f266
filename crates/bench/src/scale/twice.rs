//! Two CPUs forwarding at once, each its own flows, beside one alone: what they share shows.

use crate::director::Director;
use crate::figure::{Samples, Test};
use crate::generator::Generator;
use crate::programs::case::{VIP, from_clients, service};
use crate::stay_on;
use crate::traffic::{Flows, Segment};
use anyhow::{Result, ensure};
use std::path::Path;
use std::sync::Barrier;
use std::thread;

/// Flows of a CPU.
const FLOWS: u32 = 1 << 15;
/// Packets of a CPU in a round.
const PACKETS: u32 = 2_000_000;
/// CPUs.
const CPUS: usize = 2;

const FACTOR: Test = Test {
    name: "two CPUs over one",
    unit: "times",
};
const OURS: &str = "nat-in, 64k flows";
const SWAP: &str = "swap";
const NOTHING: &str = "generator alone";

/// What a test's subjects stand beside.
pub(super) fn beside(test: Test) -> Option<&'static str> {
    (test == FACTOR).then_some(NOTHING)
}

/// Measures a round: how many times as many packets two CPUs forward as one does. 2 is the most; the baseline shares nothing at all.
pub(super) fn measure(
    director: &mut Director,
    object: &Path,
    round: u32,
    samples: &mut Samples,
) -> Result<()> {
    if thread::available_parallelism().map_or(1, usize::from) < CPUS {
        return Ok(());
    }
    director.begin(&service(VIP, "rr", "-m", 4))?;
    for name in [OURS, SWAP, NOTHING] {
        let mut generators = Vec::new();
        for cpu in 0..CPUS as u32 {
            let mut generator = Generator::load_small(object)?;
            match name {
                OURS => generator.aim(director.entrance()?)?,
                SWAP => generator.aim_at_baseline("swap")?,
                _ => generator.aim_at_baseline("null")?,
            }
            let (syn, ack) = (
                from_clients(VIP, Segment::Syn),
                from_clients(VIP, Segment::Ack),
            );
            if name == OURS {
                generator.run(&syn, Flows::Fresh(cpu * FLOWS), FLOWS)?;
            }
            generator.run(&ack, Flows::RandomFrom(cpu * FLOWS, FLOWS), FLOWS)?;
            generators.push(generator);
        }
        let alone = at_once(&mut generators[..1])?;
        let both = at_once(&mut generators)?;
        samples.put(FACTOR, name, round, CPUS as f64 * alone / both);
    }
    ensure!(
        director.counts().opened == u64::from(CPUS as u32 * FLOWS),
        "packets missed their connections"
    );
    Ok(())
}

/// Has each generator go on, on a CPU of its own: nanoseconds a packet.
fn at_once(generators: &mut [Generator]) -> Result<f64> {
    let ack = from_clients(VIP, Segment::Ack);
    let count = generators.len();
    let start = Barrier::new(count);
    let times: Result<Vec<f64>> = thread::scope(|scope| {
        let all: Vec<_> = generators
            .iter_mut()
            .enumerate()
            .map(|(cpu, generator)| {
                let (ack, start) = (&ack, &start);
                scope.spawn(move || {
                    let stays = stay_on(cpu);
                    start.wait();
                    stays?;
                    Ok(generator.go_on(ack, PACKETS)?.nanoseconds)
                })
            })
            .collect();
        all.into_iter()
            .map(|one| {
                one.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    Ok(times?.iter().sum::<f64>() / count as f64)
}
