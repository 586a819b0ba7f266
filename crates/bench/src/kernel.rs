//! Part c: the kernel's IPVS and lvsd, each beside plain routing. A kernel without IPVS routes beside lvsd alone; then user-mode Linux,
//! whose kernel has it everywhere, routes beside IPVS, and the two meet as ratios to routing. Rules of part d are put to it too.

use crate::control::{Side, measure_rules};
use crate::ends::network::Network;
use crate::ends::subject::{Programs, Running, Subject};
use crate::ends::{self, Effort, PACKETS};
use crate::figure::{Gate, Limit, Samples, Section};
use crate::options::Options;
use anyhow::{Context, Result};
use lvsx_lab::machine::Job;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long the machine may live.
const LIMIT: Duration = Duration::from_secs(400);
/// Files in the job's folder.
const WORK: &str = "work.json";
const FOUND: &str = "found.json";
const LVSX: &str = "lvsx";
const OBJECT: &str = "bench.bpf.o";
/// What stands before the names of tests in that machine.
pub(crate) const MACHINE: &str = "user-mode Linux: ";
/// Modules for packets' ends, which that machine does not load by itself.
const MODULES: [&str; 2] = ["sch_ingress", "cls_bpf"];

/// What the machine is to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Rules for the kernel's IPVS, by Debian's program and by ours.
    Rules { rounds: u32 },
    /// Packets by plain routing and through the kernel's IPVS.
    Packets { rounds: u32, seconds: f64 },
}

/// Measures.
///
/// # Errors
/// The caller is not root; the machine lacks `ip` or `ethtool`.
pub(crate) fn measure(options: &Options) -> Result<Section> {
    let effort = Effort::of(options);
    let routing = Subject::Routing.name();
    let mut section = Section {
        title: format!(
            "c: NAT as a ratio to routing, {} rounds of {} s a test: lvsd and the kernel's IPVS",
            effort.rounds, effort.seconds
        ),
        ..Section::default()
    };
    let subjects = [
        Subject::Generator,
        Subject::Routing,
        Subject::Ipvs,
        Subject::Tc,
        Subject::Xdp,
    ];
    let samples = ends::all(&subjects, &effort, false, &mut section)?;
    section.figures = samples.figures(|_| Some(routing));
    let theirs = Subject::Ipvs.name();
    let is_kernel_here = Subject::Ipvs.find(&effort.programs).is_ok();
    if !is_kernel_here {
        eprint!("\rkernel IPVS in user-mode Linux");
        let work = Work::Packets {
            rounds: effort.rounds,
            seconds: effort.seconds,
        };
        section.add(MACHINE, boot(&work, options));
        eprint!("\r{:<40}\r", "");
    }
    for test in &PACKETS {
        let name = test.cost.name;
        let of_kernel = match is_kernel_here {
            true => samples.ratio(test.cost, theirs, routing),
            false => section.ratio(&format!("{MACHINE}{name}"), theirs),
        };
        for ours in [Subject::Tc.name(), Subject::Xdp.name()] {
            let what = format!("{name}, {ours} over {theirs}, each over {routing}");
            let value = samples
                .ratio(test.cost, ours, routing)
                .zip(of_kernel)
                .map(|(ours, theirs)| ours / theirs);
            section
                .gates
                .extend(Gate::of(&what, value, Limit::AtMost(1.0)));
        }
    }
    Ok(section)
}

/// Has user-mode Linux do this: what it found.
///
/// # Errors
/// It is not installed, or ends early.
pub(crate) fn boot(work: &Work, options: &Options) -> Result<Section> {
    let job = Job::create()?;
    let folder = job.folder();
    fs::write(folder.join(WORK), serde_json::to_vec(work)?)?;
    fs::copy(&options.lvsx, folder.join(LVSX)).context("the binary")?;
    fs::copy(&options.object, folder.join(OBJECT)).context("the programs of the benchmarks")?;
    job.boot(LIMIT, || false)?;
    let text = fs::read(folder.join(FOUND)).context("the machine found nothing")?;
    Ok(serde_json::from_slice(&text)?)
}

/// What is done in the machine: reads the work in the folder, and leaves there what was found.
///
/// # Errors
/// It cannot be done.
pub(crate) fn inside(folder: &Path) -> Result<()> {
    let work = serde_json::from_slice(&fs::read(folder.join(WORK))?)?;
    let programs = Programs {
        lvsx: folder.join(LVSX),
        ..Programs::default()
    };
    let mut section = Section::default();
    match work {
        Work::Rules { rounds } => {
            let mut samples = Samples::default();
            let network = Network::lay()?;
            let running = Running::with_programs(&programs.lvsx)?;
            for round in 0..rounds {
                for side in [Side::DebianOnKernel, Side::OursOnKernel] {
                    let measured =
                        measure_rules(side, &network.director, &running, round, &mut samples);
                    section.note(side.name(), measured);
                }
            }
            section.figures = samples.figures(|_| Some(Side::DebianOnKernel.name()));
        }
        Work::Packets { rounds, seconds } => {
            for module in MODULES {
                let mut modprobe = Command::new("modprobe");
                // One that is missing makes a row that says so.
                let _ = modprobe.args(["-d", "/run/kernel", module]).status();
            }
            let effort = Effort {
                object: &folder.join(OBJECT),
                programs,
                rounds,
                seconds,
                cpu: 0,
            };
            let subjects = [Subject::Generator, Subject::Routing, Subject::Ipvs];
            let samples = ends::all(&subjects, &effort, false, &mut section)?;
            section.figures = samples.figures(|_| Some(Subject::Routing.name()));
        }
    }
    Ok(fs::write(
        folder.join(FOUND),
        serde_json::to_vec(&section)?,
    )?)
}
