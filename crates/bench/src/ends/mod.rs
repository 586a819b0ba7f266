//! Part b: a director between a client and two real servers, beside what else could stand there, on veth.
//!
//! Each subject gets the network anew in each round, forward in even rounds and backward in odd ones. Reading order: [`network`],
//! [`subject`], [`packets`], [`streams`], [`clock`].

pub(crate) mod clock;
pub(crate) mod network;
pub(crate) mod packets;
mod streams;
pub(crate) mod subject;

use crate::figure::{Gate, Limit, Samples, Section, Test};
use crate::options::Options;
use anyhow::{Context, Result};
use network::Network;
use packets::Packets;
use std::path::Path;
use subject::{Programs, Running, Subject};

/// Rounds where no number is given.
pub(crate) const ROUNDS: u32 = 3;

/// The most that a packet may cost by NAT in XDP: of what netfilter's costs, and of routing.
const OF_NETFILTER: f64 = 1.0 / 7.0;
const OF_ROUTING: f64 = 0.2;
/// The least of routing's throughput with whole segments.
const BULK: f64 = 0.9;

/// A test of packets: its name, and the names of what it gives.
pub(crate) struct OfPackets {
    pub(crate) packets: Packets,
    pub(crate) cost: Test,
    pub(crate) rate: Test,
    pub(crate) lost: Test,
}

pub(crate) const PACKETS: [OfPackets; 3] = [
    of_packets(
        Packets::One,
        [
            "udp, 1 flow: cost",
            "udp, 1 flow: rate",
            "udp, 1 flow: lost",
        ],
    ),
    of_packets(
        Packets::Many,
        [
            "udp, 64k flows: cost",
            "udp, 64k flows: rate",
            "udp, 64k flows: lost",
        ],
    ),
    of_packets(
        Packets::First,
        [
            "syn, all new: cost",
            "syn, all new: rate",
            "syn, all new: lost",
        ],
    ),
];

const fn of_packets(packets: Packets, [cost, rate, lost]: [&'static str; 3]) -> OfPackets {
    OfPackets {
        packets,
        cost: Test {
            name: cost,
            unit: "cpu ns",
        },
        rate: Test {
            name: rate,
            unit: "k/s",
        },
        lost: Test {
            name: lost,
            unit: "%",
        },
    }
}

const SHORT: Test = Test {
    name: "short connections",
    unit: "/s",
};
const SHORT_COST: Test = Test {
    name: "short: cost of all",
    unit: "cpu us",
};
const SHORT_FAILED: Test = Test {
    name: "short: failed",
    unit: "of a round",
};
const BULK_FRAMES: Test = Test {
    name: "bulk, frames",
    unit: "Gbit/s",
};
const BULK_FRAMES_COST: Test = Test {
    name: "bulk, frames: of all",
    unit: "cpu ms/Gbit",
};
const BULK_WHOLE: Test = Test {
    name: "bulk, offloads",
    unit: "Gbit/s",
};
const BULK_WHOLE_COST: Test = Test {
    name: "bulk, offloads: of all",
    unit: "cpu ms/Gbit",
};

/// How packets are made, where, and for how long.
pub(crate) struct Effort<'a> {
    pub(crate) object: &'a Path,
    pub(crate) programs: Programs,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    pub(crate) cpu: usize,
}

impl<'a> Effort<'a> {
    pub(crate) fn of(options: &'a Options) -> Self {
        Self {
            object: &options.object,
            programs: Programs {
                lvsx: options.lvsx.clone(),
                nginx: options.nginx.clone(),
            },
            rounds: options.rounds.unwrap_or(ROUNDS),
            seconds: options.seconds,
            cpu: options.cpu(),
        }
    }
}

/// Measures.
///
/// # Errors
/// The caller is not root; the machine lacks `ip` or `ethtool`.
pub(crate) fn measure(options: &Options) -> Result<Section> {
    let effort = Effort::of(options);
    let is_basis = |subject| matches!(subject, Subject::Generator | Subject::Routing);
    let chosen: Vec<Subject> = Subject::ALL
        .into_iter()
        .filter(|subject| is_basis(*subject) || options.chooses(subject.name()))
        .collect();
    let mut section = Section {
        title: format!(
            "b: end to end on veth, NAT, {} rounds of {} s a test; cost: CPU time a packet, what making it costs taken off",
            effort.rounds, effort.seconds
        ),
        ..Section::default()
    };
    let samples = all(&chosen, &effort, true, &mut section)?;
    let with_routing = Subject::Routing.name();
    section.figures = samples.figures(|_| Some(with_routing));
    section.gates = gates(&samples);
    Ok(section)
}

/// Measures these subjects in rounds. Who cannot be had is left out, and the section says why.
///
/// # Errors
/// The caller is not root; the machine lacks `ip` or `ethtool`.
pub(crate) fn all(
    subjects: &[Subject],
    effort: &Effort<'_>,
    with_streams: bool,
    section: &mut Section,
) -> Result<Samples> {
    let mut present = Vec::new();
    for subject in subjects {
        match subject.find(&effort.programs) {
            Ok(()) => present.push(*subject),
            Err(why) => section
                .missing
                .push((subject.name().into(), format!("{why:#}"))),
        }
    }
    let mut samples = Samples::default();
    for round in 0..effort.rounds {
        // What making a packet costs is taken off the others' costs: it comes first in each round.
        let mut order = present.clone();
        if round % 2 == 1 {
            order.reverse();
            order.sort_by_key(|subject| *subject != Subject::Generator);
        }
        for subject in order {
            eprint!(
                "\rround {} of {}: {:<20}",
                round + 1,
                effort.rounds,
                subject.name()
            );
            if let Err(why) = once(subject, round, effort, with_streams, &mut samples) {
                let name = format!("{}, round {}", subject.name(), round + 1);
                section.missing.push((name, format!("{why:#}")));
            }
        }
    }
    eprint!("\r{:<40}\r", "");
    Ok(samples)
}

/// One subject in one round.
fn once(
    subject: Subject,
    round: u32,
    effort: &Effort<'_>,
    with_streams: bool,
    samples: &mut Samples,
) -> Result<()> {
    let network = Network::lay()?;
    let running = Running::start(subject, &network, &effort.programs)?;
    let name = subject.name();
    if subject.takes_packets() {
        for test in &PACKETS {
            let passed = packets::pass(
                test.packets,
                subject,
                &running,
                &network,
                effort.object,
                effort.cpu,
                effort.seconds,
            )
            .context(test.cost.name)?;
            // Of this very round: the generator was first in it.
            let made = samples
                .at(test.cost, Subject::Generator.name(), round)
                .unwrap_or(0.0);
            samples.put(test.cost, name, round, passed.nanoseconds - made);
            samples.put(test.rate, name, round, passed.rate);
            samples.put(test.lost, name, round, 100.0 * passed.lost);
        }
    }
    if !with_streams || !subject.takes_connections() {
        return Ok(());
    }
    let flowed = streams::short(subject, &running, &network, effort.seconds).context(SHORT.name)?;
    samples.put(SHORT, name, round, flowed.rate);
    samples.put(SHORT_COST, name, round, flowed.cost);
    samples.put(SHORT_FAILED, name, round, flowed.failed as f64);
    let flowed =
        streams::long(subject, &running, &network, effort.seconds).context(BULK_FRAMES.name)?;
    samples.put(BULK_FRAMES, name, round, flowed.rate);
    samples.put(BULK_FRAMES_COST, name, round, flowed.cost);
    if !subject.sends_frames() {
        network.set_offloads(true)?;
        let flowed =
            streams::long(subject, &running, &network, effort.seconds).context(BULK_WHOLE.name)?;
        samples.put(BULK_WHOLE, name, round, flowed.rate);
        samples.put(BULK_WHOLE_COST, name, round, flowed.cost);
    }
    Ok(())
}

fn gates(samples: &Samples) -> Vec<Gate> {
    let [xdp, tc, routing, numgen] =
        [Subject::Xdp, Subject::Tc, Subject::Routing, Subject::Numgen].map(Subject::name);
    let mut gates = Vec::new();
    for test in &PACKETS {
        for (beside, most) in [(numgen, OF_NETFILTER), (routing, OF_ROUTING)] {
            let what = format!("{}, {xdp} over {beside}", test.cost.name);
            gates.extend(Gate::of(
                &what,
                samples.ratio(test.cost, xdp, beside),
                Limit::AtMost(most),
            ));
        }
    }
    let what = format!("{}, {tc} over {routing}", BULK_WHOLE.name);
    gates.extend(Gate::of(
        &what,
        samples.ratio(BULK_WHOLE, tc, routing),
        Limit::AtLeast(BULK),
    ));
    gates
}
