//! `cargo xtask bench`: what the director costs, beside what it could cost at least and beside what others do.
//!
//! Reading order: [`options`], [`guard`] (nothing stays behind), [`traffic`] and [`generator`] (the packets, made by BPF
//! programs), [`director`] (the one that is measured without interfaces), then the parts: [`programs`] (a), [`ends`] (b), [`kernel`]
//! (c), [`control`] (d), [`scale`]. [`figure`] is how what they give is kept and printed.

mod control;
mod director;
mod ends;
mod figure;
mod generator;
mod guard;
mod kernel;
mod machine;
mod options;
#[path = "../ebpf/src/order.rs"]
#[expect(dead_code, reason = "part of it concerns the programs alone")]
mod order;
mod programs;
mod scale;
mod traffic;

use anyhow::{Context, Result};
use figure::Section;
use machine::Machine;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use options::{Options, Part, USAGE};
use programs::report::Report;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

/// A run, as it is written to a file.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    machine: Machine,
    programs: Option<Report>,
    /// The other parts, by their names on the command line.
    parts: BTreeMap<String, Section>,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let [word, folder] = &arguments[..]
        && *word == *lvsx_lab::machine::INSIDE
    {
        kernel::inside(Path::new(folder))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(options) = Options::read(&mut lexopt::Parser::from_args(arguments))? else {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    if !guard::is_worker() {
        return guard::watch();
    }
    let before = options.compare.as_deref().map(|path| {
        let text = fs::read(path).with_context(|| path.display().to_string())?;
        serde_json::from_slice::<Run>(&text).with_context(|| path.display().to_string())
    });
    measure(&options, before.transpose()?.as_ref())?;
    Ok(ExitCode::SUCCESS)
}

/// Measures the parts one after another, and prints each when it is done.
fn measure(options: &Options, before: Option<&Run>) -> Result<()> {
    let mut run = Run {
        machine: Machine::this(),
        programs: None,
        parts: BTreeMap::new(),
    };
    println!("{}", run.machine);
    for part in &options.parts {
        let word = part.word();
        let section = match part {
            Part::Programs => {
                let report = alone(Some(options.cpu()), || programs::measure(options))?;
                report.print(before.and_then(|run| run.programs.as_ref()));
                if let Some(path) = &options.plot {
                    fs::write(path, programs::plot::svg(&report))
                        .with_context(|| path.display().to_string())?;
                }
                run.programs = Some(report);
                keep(&run, options)?;
                continue;
            }
            Part::Ends => alone(None, || ends::measure(options)),
            Part::Kernel => alone(None, || kernel::measure(options)),
            Part::Control => alone(None, || control::measure(options)),
            Part::Scale => alone(Some(options.cpu()), || scale::measure(options)),
        };
        let section = section.with_context(|| format!("part {word}"))?;
        section.print(before.and_then(|run| run.parts.get(word)));
        run.parts.insert(word.to_owned(), section);
        keep(&run, options)?;
    }
    Ok(())
}

/// Writes what was measured so far, so that a part that fails takes nothing along.
fn keep(run: &Run, options: &Options) -> Result<()> {
    match &options.json {
        Some(path) => fs::write(path, serde_json::to_vec_pretty(run)?)
            .with_context(|| path.display().to_string()),
        None => Ok(()),
    }
}

/// Does something on a thread of its own, whose network namespace and CPU are nobody else's.
fn alone<T: Send>(cpu: Option<usize>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let work = || {
        cpu.map_or(Ok(()), stay_on)?;
        work()
    };
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Keeps the calling thread on a CPU.
fn stay_on(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).context("--cpu")?;
    sched_setaffinity(Pid::from_raw(0), &set).context("--cpu")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => f64::midpoint(values[length / 2 - 1], values[length / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
