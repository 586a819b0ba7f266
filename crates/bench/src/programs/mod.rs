//! Part a: what a packet costs in the director's programs, beside the least that it could cost.
//!
//! Reading order: [`case`](mod@case) (what is measured), [`measure`](mod@measure) (the rounds), [`report`], [`plot`].

pub(crate) mod case;
mod ground;
mod measure;
pub(crate) mod plot;
pub(crate) mod report;

use crate::director::Director;
use crate::generator::Generator;
use crate::options::Options;
use anyhow::{Result, bail};
use case::Case;
pub(crate) use ground::lay;
use measure::Effort;
use report::Report;

/// Rounds where no number is given.
const ROUNDS: u32 = 7;

/// Measures.
///
/// # Errors
/// The kernel refuses a run, or a program does not answer as it should; no case is chosen.
pub(crate) fn measure(options: &Options) -> Result<Report> {
    let out = lay()?;
    let mut generator = Generator::load(&options.object)?;
    let mut director = Director::load(options.connections, out)?;
    let cases = chosen(case::all(&options.flows), &options.only);
    if cases.is_empty() {
        bail!("no case begins with {}", options.only.join(" or "));
    }
    let effort = Effort {
        rounds: options.rounds.unwrap_or(ROUNDS),
        packets: options.packets,
    };
    let measured = measure::all(&cases, effort, &mut generator, &mut director)?;
    let bytes = director.bytes_a_connection();
    Ok(Report::of(&cases, &measured, effort, bytes))
}

/// The cases of these beginnings, all if there is none, and the baselines that they stand beside.
fn chosen(cases: Vec<Case>, only: &[String]) -> Vec<Case> {
    let is_chosen = |case: &Case| {
        only.is_empty() || only.iter().any(|word| case.name.starts_with(word.as_str()))
    };
    let beside: Vec<&str> = cases
        .iter()
        .filter(|case| is_chosen(case))
        .filter_map(|case| case.beside)
        .collect();
    let is_beside: Vec<bool> = cases
        .iter()
        .map(|case| is_chosen(case) || beside.contains(&case.name.as_str()))
        .collect();
    cases
        .into_iter()
        .zip(is_beside)
        .filter_map(|(case, is)| is.then_some(case))
        .collect()
}
