//! Part c: the kernel's IPVS beside plain routing in user-mode Linux, and lvsd beside plain routing here, so that the two meet as
//! ratios to routing. The same packets, made by the same programs, in the same network; only the kernel is another.

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

/// Modules that the machine does not load by itself.
const MODULES: [&str; 2] = ["sch_ingress", "cls_bpf"];
/// How long the machine may live.
const LIMIT: Duration = Duration::from_secs(400);
/// Files in the job's folder.
const WORK: &str = "work.json";
const FOUND: &str = "found.json";
const OBJECT: &str = "bench.bpf.o";
const LVSX: &str = "lvsx";

/// What the machine is to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Packets through routing and through the kernel's IPVS.
    Packets { rounds: u32, seconds: f64 },
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
            "c: NAT as a ratio to routing, {} rounds of {} s a test: lvsd here, the kernel's IPVS in user-mode Linux",
            effort.rounds, effort.seconds
        ),
        ..Section::default()
    };
    let subjects = [
        Subject::Generator,
        Subject::Routing,
        Subject::Tc,
        Subject::Xdp,
    ];
    let here = ends::all(&subjects, &effort, false, &mut section)?;
    section.figures = here.figures(|_| Some(routing));
    let work = Work::Packets {
        rounds: effort.rounds,
        seconds: effort.seconds,
    };
    let inside = boot(&work, options);
    for test in &PACKETS {
        let ipvs = Subject::Ipvs.name();
        let theirs = inside
            .as_ref()
            .ok()
            .and_then(|it| it.ratio(test.cost.name, ipvs));
        for ours in [Subject::Tc.name(), Subject::Xdp.name()] {
            let over = here.ratio(test.cost, ours, routing).zip(theirs);
            let what = format!(
                "{}, {ours} over routing, of {ipvs} over routing",
                test.cost.name
            );
            let value = over.map(|(ours, theirs)| ours / theirs);
            section
                .gates
                .extend(Gate::of(&what, value, Limit::AtMost(1.0)));
        }
    }
    section.add("user-mode Linux: ", inside);
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
    fs::copy(&options.object, folder.join(OBJECT)).context("the benchmarks' programs")?;
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
    for module in MODULES {
        let _ = Command::new("modprobe")
            .args(["-d", "/run/kernel", module])
            .status();
    }
    let work = serde_json::from_slice(&fs::read(folder.join(WORK))?)?;
    let programs = Programs {
        lvsx: folder.join(LVSX),
        ..Programs::default()
    };
    let mut section = Section::default();
    match work {
        Work::Packets { rounds, seconds } => {
            let object = folder.join(OBJECT);
            let effort = Effort {
                object: &object,
                programs,
                rounds,
                seconds,
                cpu: 0,
            };
            let subjects = [Subject::Generator, Subject::Routing, Subject::Ipvs];
            let samples = ends::all(&subjects, &effort, false, &mut section)?;
            section.figures = samples.figures(|_| Some(Subject::Routing.name()));
        }
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
