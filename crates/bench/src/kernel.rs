//! Part c: the kernel's IPVS and lvsd, each beside plain routing, where the kernel has IPVS; and user-mode Linux, whose kernel has it
//! everywhere, for rules. Packets are not measured there: its BPF takes no program that reads words where they lie in a frame.

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
use std::time::Duration;

/// How long the machine may live.
const LIMIT: Duration = Duration::from_secs(400);
/// Files in the job's folder.
const WORK: &str = "work.json";
const FOUND: &str = "found.json";
const LVSX: &str = "lvsx";

/// What the machine is to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Rules for the kernel's IPVS, by Debian's program and by ours.
    Rules { rounds: u32 },
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
    for test in &PACKETS {
        for ours in [Subject::Tc.name(), Subject::Xdp.name()] {
            let what = format!("{}, {ours} over {theirs}", test.cost.name);
            let value = samples.ratio(test.cost, ours, theirs);
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
    }
    Ok(fs::write(
        folder.join(FOUND),
        serde_json::to_vec(&section)?,
    )?)
}
