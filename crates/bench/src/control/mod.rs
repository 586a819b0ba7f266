//! Part d: rules and listings, by Debian's programs and by ours; connections by the million; memory.
//!
//! Where the kernel has IPVS, both programs are put to it too; where it has not, they are in user-mode Linux, a machine of its own
//! whose figures compare among themselves.

mod rules;

use crate::ends::network::{Namespace, Network, SHORT, VIRTUAL};
use crate::ends::packets;
use crate::ends::subject::{Programs, Running, Subject};
use crate::figure::{Gate, Limit, Samples, Section, Test};
use crate::kernel::{self, Work};
use crate::options::Options;
use anyhow::{Context, Result, ensure};
pub(crate) use rules::{Side, measure as measure_rules};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Rounds where no number is given.
const ROUNDS: u32 = 3;
/// Connections that are listed.
const CONNECTIONS: u32 = 1_000_000;
/// How long the connections may take to be there.
const PATIENCE: Duration = Duration::from_secs(5);

const READY: Test = Test {
    name: "lvsd is ready",
    unit: "ms",
};
const LISTED: Test = Test {
    name: "1M connections listed",
    unit: "ms",
};
const RESIDENT: Test = Test {
    name: "lvsd, resident",
    unit: "MiB",
};
const TABLES: Test = Test {
    name: "tables in the kernel",
    unit: "MiB",
};
const MEBIBYTE: f64 = 1_048_576.0;
const LVSD: &str = "lvsd";
const FILLED: &str = "lvsd, 50,000 servers";

/// The most that ours may take on lvsd of what Debian's takes on the kernel's IPVS, in one machine.
const OF_DEBIAN: f64 = 0.2;

/// Measures.
///
/// # Errors
/// The caller is not root; lvsd does not start, or refuses the rules.
pub(crate) fn measure(options: &Options) -> Result<Section> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let mut samples = Samples::default();
    let mut section = Section {
        title: format!("d: control, {rounds} rounds; 1,000 services of 50 servers each"),
        ..Section::default()
    };
    let programs = Programs {
        lvsx: options.lvsx.clone(),
        nginx: options.nginx.clone(),
    };
    let is_kernel_here = Subject::Ipvs.find(&programs).is_ok();
    for round in 0..rounds {
        eprint!("\rround {} of {rounds}", round + 1);
        let network = Network::lay()?;
        let mut running = Running::with_programs(&programs.lvsx)?;
        let mut put = |side: Side, running: &Running| {
            let measured = measure_rules(side, &network.director, running, round, &mut samples);
            section.note(side.name(), measured);
        };
        if is_kernel_here {
            put(Side::DebianOnKernel, &running);
            put(Side::OursOnKernel, &running);
        }
        let begin = Instant::now();
        running.bare_lvsd(
            &network.director,
            &programs.lvsx,
            &["--mode", "xdp", "--connections", "1200000"],
        )?;
        let ready = begin.elapsed().as_secs_f64() * 1e3;
        let bare = running.resident()?;
        put(Side::OursOnLvsd, &running);
        put(Side::DebianOnLvsd, &running);
        samples.put(READY, LVSD, round, ready);
        samples.put(RESIDENT, LVSD, round, bare / MEBIBYTE);
        memory(&running, &network.director, FILLED, round, &mut samples)?;
        let listed = connections(&network, &running, options, round, &mut samples);
        section.note(LISTED.name, listed);
    }
    eprint!("\r{:<40}\r", "");
    section.figures = samples.figures(|test| match test {
        RESIDENT => Some(LVSD),
        READY | TABLES => None,
        LISTED => Some(Side::DebianOnLvsd.name()),
        _ if is_kernel_here => Some(Side::DebianOnKernel.name()),
        _ => Some(Side::DebianOnLvsd.name()),
    });
    for test in rules::TESTS {
        let (ours, debian) = (Side::OursOnLvsd.name(), Side::DebianOnKernel.name());
        let what = format!("{}, {ours} over {debian}", test.name);
        section.gates.extend(Gate::of(
            &what,
            samples.ratio(test, ours, debian),
            Limit::AtMost(OF_DEBIAN),
        ));
    }
    if !is_kernel_here {
        let why =
            "this kernel has no ip_vs: both programs are put to the one of user-mode Linux below";
        section
            .missing
            .push((Side::DebianOnKernel.name().into(), why.into()));
        let inside = kernel::boot(&Work::Rules { rounds }, options);
        section.add(kernel::MACHINE, inside);
    }
    Ok(section)
}

/// What lvsd holds.
fn memory(
    running: &Running,
    at: &Namespace,
    name: &str,
    round: u32,
    samples: &mut Samples,
) -> Result<()> {
    samples.put(RESIDENT, name, round, running.resident()? / MEBIBYTE);
    let status: serde_json::Value = serde_json::from_str(&running.status(at)?)?;
    let bytes = status["tables"]["bytes"]
        .as_f64()
        .context("the status tells no bytes")?;
    samples.put(TABLES, name, round, bytes / MEBIBYTE);
    Ok(())
}

/// A million connections, opened by packets and listed by both programs.
fn connections(
    network: &Network,
    running: &Running,
    options: &Options,
    round: u32,
    samples: &mut Samples,
) -> Result<()> {
    let at = &network.director;
    rules::load(running, at, &packets_service())?;
    thread::sleep(Duration::from_millis(300));
    packets::open(network, &options.object, options.cpu(), CONNECTIONS)?;
    let live = || -> Result<u64> {
        let status: serde_json::Value = serde_json::from_str(&running.status(at)?)?;
        status["connections"]["live"]
            .as_u64()
            .context("the status tells no connections")
    };
    let since = Instant::now();
    while live()? < u64::from(CONNECTIONS) && since.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(50));
    }
    let open = live()?;
    ensure!(
        open >= u64::from(CONNECTIONS) * 99 / 100,
        "{open} of {CONNECTIONS} connections are open"
    );
    for side in [Side::OursOnLvsd, Side::DebianOnLvsd] {
        let (lines, took) = rules::listed(side, running, at, &["-Lnc"])?;
        ensure!(
            lines as u64 > open * 99 / 100,
            "{lines} lines for {open} connections"
        );
        // As if exactly so many had been open.
        let took = took * f64::from(CONNECTIONS) / lines as f64;
        samples.put(LISTED, side.name(), round, took);
    }
    Ok(())
}

/// A service whose servers are there, in place of all others.
fn packets_service() -> String {
    let service = format!("-t {VIRTUAL}:{SHORT}");
    let servers = crate::ends::network::SERVERS
        .map(|server| format!("-a {service} -r {server}:{SHORT} -m\n"));
    format!("-C\n-A {service} -s rr\n{}", servers.concat())
}

impl Running {
    /// Bytes of the director's that are in memory.
    fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(format!(
            "/proc/{}/status",
            self.process().context("nothing runs")?
        ))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes: f64 = line
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .context("the kernel tells no VmRSS")?;
        Ok(kibibytes * 1024.0)
    }
}
