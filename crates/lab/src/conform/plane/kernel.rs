//! The kernel's own IPVS, in user-mode Linux.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::super::parse::parse;
use super::super::play::Answers;
use super::super::scenario::Scenario;
use crate::machine::Job;

/// Scenarios at once in the machine, which has one CPU.
const AT_ONCE: usize = 2;

/// The files in which the machine finds its work.
const SCENARIO: &str = "scenario";
/// What it leaves: the scenario with the kernel's answers, or an error.
const ANSWERED: &str = "answered";
const FAILED: &str = "failed";

/// Plays all scenarios in one machine, for at most `limit`: the answers to each, or why it could not be played.
///
/// # Errors
/// The machine does not come up, or ends before it has answered any.
pub fn play(scenarios: &[&Scenario], limit: Duration) -> Result<Vec<Result<Answers>>> {
    let job = Job::create()?;
    let folder = job.folder();
    for (index, scenario) in scenarios.iter().enumerate() {
        let file = folder.join(format!("{index}.{SCENARIO}"));
        fs::write(file, scenario.to_string())?;
    }
    let count = scenarios.len();
    let is_answered = |index: usize| folder.join(format!("{index}.{ANSWERED}")).exists();
    job.boot(limit, || (0..count).any(is_answered))?;
    Ok((0..count).map(|index| answers(folder, index)).collect())
}

fn answers(job: &Path, index: usize) -> Result<Answers> {
    let answered = job.join(format!("{index}.{ANSWERED}"));
    let Ok(text) = fs::read_to_string(&answered) else {
        let failed = fs::read_to_string(job.join(format!("{index}.{FAILED}")));
        bail!(
            "{}",
            failed.unwrap_or_else(|_| "the machine left no answer".to_owned())
        );
    };
    let (scenario, answers) = parse(&text).context("the machine's answers")?;
    Ok(answers.unwrap_or_else(|| vec![Vec::new(); scenario.steps.len()]))
}

/// The machine's side: plays every scenario of the job folder with the kernel's IPVS, several at a time, since most of
/// their time is waiting.
///
/// # Errors
/// The folder cannot be read or written.
pub fn inside(job: &Path) -> Result<()> {
    let workshop = super::live::Workshop::open(super::live::Program::Kernel)?;
    let mut files: Vec<PathBuf> = fs::read_dir(job)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == SCENARIO)
    });
    files.sort();
    super::super::each(&files, AT_ONCE, |file| {
        let played = fs::read_to_string(file)
            .map_err(anyhow::Error::from)
            .and_then(|text| {
                let (scenario, _) = parse(&text)?;
                let answers = workshop.play(&scenario)?;
                Ok(scenario.text(Some(&answers)))
            });
        let written = match played {
            Ok(text) => fs::write(file.with_extension(ANSWERED), text),
            Err(error) => fs::write(file.with_extension(FAILED), format!("{error:#}")),
        };
        if let Err(error) = written {
            eprintln!("{}: {error}", file.display());
        }
    });
    Ok(())
}
