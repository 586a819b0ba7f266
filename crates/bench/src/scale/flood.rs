//! A flood of first packets from spoofed sources at a full table, beside 65,536 connections that are established.

use super::out;
use crate::director::Director;
use crate::figure::{Gate, Limit, Samples, Test};
use crate::generator::Generator;
use crate::programs::case::{VIP, from_clients, service};
use crate::traffic::{Flows, Segment};
use anyhow::{Result, ensure};
use lvsx_core::state::State;
use std::path::Path;

/// What the table is rated for.
pub(super) const CONNECTIONS: u32 = 1 << 18;
/// Connections that are established.
const FLOWS: u32 = 1 << 16;
/// Where the spoofed sources begin, and how many come before anything is measured: the table is full then.
const SPOOFED: (u32, u32) = (1 << 22, 1 << 20);
/// Packets of each kind by turns, as a card hands them over.
const BATCH: u32 = 64;
/// Batches of each kind.
const BATCHES: u32 = 3000;

const MIX: Test = Test {
    name: "64k established",
    unit: "ns",
};
const FLOOD: Test = Test {
    name: "a spoofed SYN",
    unit: "ns",
};
const LOST: Test = Test {
    name: "established, lost",
    unit: "connections",
};
const WITHOUT: &str = "without flood";
const WITH: &str = "flood, table full";
/// The most that an established packet may take, of what it takes without.
const MOST: f64 = 1.3;

/// What a test's subjects stand beside.
pub(super) fn beside(test: Test) -> Option<&'static str> {
    (test == MIX).then_some(WITHOUT)
}

pub(super) fn gates(samples: &Samples) -> Vec<Gate> {
    let slower = samples.ratio(MIX, WITH, WITHOUT);
    let lost = samples.most(LOST, WITH);
    [
        Gate::of(
            "64k established, with a flood over without",
            slower,
            Limit::AtMost(MOST),
        ),
        Gate::of(
            "established connections lost in the flood",
            lost,
            Limit::AtMost(0.0),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Measures a round.
pub(super) fn measure(
    director: &mut Director,
    object: &Path,
    round: u32,
    samples: &mut Samples,
) -> Result<()> {
    director.begin(&service(VIP, "rr", "-m", 4))?;
    let (syn, ack) = (
        from_clients(VIP, Segment::Syn),
        from_clients(VIP, Segment::Ack),
    );
    let (mut mix, mut flood) = (
        Generator::load_small(object)?,
        Generator::load_small(object)?,
    );
    // Runs are as short as what a card hands over.
    mix.hold(&ack, "v0")?;
    flood.hold(&syn, "v1")?;
    mix.aim(director.entrance()?)?;
    out(&mut mix, &syn, Flows::Fresh(0), FLOWS)?;
    // Each of them once in so many: the client's answer to the handshake.
    out(&mut mix, &ack, Flows::Random(FLOWS), FLOWS)?;
    let established = director.live_in(State::ESTABLISHED)?;
    ensure!(
        established == FLOWS as usize,
        "{established} connections are established"
    );

    let by_turns = |mix: &mut Generator, flood: &mut Generator| -> Result<(f64, f64)> {
        let mut sums = (0.0, 0.0);
        for _ in 0..BATCHES {
            sums.1 += flood.go_on(&syn, BATCH)?.nanoseconds;
            sums.0 += mix.go_on(&ack, BATCH)?.nanoseconds;
        }
        Ok((sums.0 / f64::from(BATCHES), sums.1 / f64::from(BATCHES)))
    };
    let (first, many) = SPOOFED;
    flood.aim_at_baseline("null")?;
    out(&mut flood, &syn, Flows::Fresh(first), BATCH)?;
    let (quiet, _) = by_turns(&mut mix, &mut flood)?;

    flood.aim(director.entrance()?)?;
    let before = director.counts().evicted;
    flood.run(&syn, Flows::Fresh(first), many)?;
    ensure!(director.counts().evicted > before, "the table is not full");
    let (loud, spoofed) = by_turns(&mut mix, &mut flood)?;

    mix.aim_at_baseline("null")?;
    flood.aim_at_baseline("null")?;
    let (made, made_spoofed) = by_turns(&mut mix, &mut flood)?;
    samples.put(MIX, WITHOUT, round, quiet - made);
    samples.put(MIX, WITH, round, loud - made);
    samples.put(FLOOD, WITH, round, spoofed - made_spoofed);
    let left = director.live_in(State::ESTABLISHED)?;
    samples.put(
        LOST,
        WITH,
        round,
        (FLOWS as usize).saturating_sub(left) as f64,
    );
    Ok(())
}
