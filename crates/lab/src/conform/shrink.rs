//! The smallest scenario that still differs.
//!
//! Booting the kernel costs seconds, a scenario little: so each round tries many cuts at once, and goes on with the
//! smallest of those that still differ.

use anyhow::Result;

use super::play::{Answers, difference};
use super::scenario::{Content, Scenario, Step};

/// Rounds at most.
const ROUNDS: usize = 30;
/// Cuts tried in a round.
const CUTS: usize = 48;

/// A scenario that differs, with what both sides answered.
pub struct Different {
    /// The scenario.
    pub scenario: Scenario,
    /// The kernel's answers.
    pub wanted: Answers,
    /// The plane's.
    pub found: Answers,
}

/// What plays scenarios on both sides: the kernel's answers and the plane's, `None` where one could not be played.
pub type Both<'a> = dyn Fn(&[&Scenario]) -> Result<Vec<Option<(Answers, Answers)>>> + 'a;

/// Cuts `scenario` down as long as both sides still answer differently; `None` if they do not even at first.
///
/// # Errors
/// A side cannot be asked.
pub fn smallest(scenario: &Scenario, both: &Both<'_>) -> Result<Option<Different>> {
    let Some(mut best) = differing(vec![scenario.clone()], both)? else {
        return Ok(None);
    };
    // Nothing behind the first difference matters to it.
    if let Some(first) = first_difference(&best) {
        let mut head = best.scenario.clone();
        head.steps.truncate(first + 1);
        best = differing(vec![head], both)?.unwrap_or(best);
    }
    let mut parts = 2;
    for _ in 0..ROUNDS {
        let mut cuts = without_parts(&best.scenario, parts);
        let is_finest = parts >= best.scenario.steps.len();
        if is_finest {
            cuts.extend(simpler(&best.scenario));
            cuts.truncate(CUTS.max(best.scenario.steps.len()));
        }
        match differing(cuts, both)? {
            Some(smaller) => {
                best = smaller;
                parts = (parts - 1).max(2);
            }
            None if is_finest => break,
            None => parts = (parts * 2).min(best.scenario.steps.len()),
        }
    }
    Ok(Some(best))
}

fn first_difference(it: &Different) -> Option<usize> {
    (0..it.scenario.steps.len()).find(|index| it.wanted.get(*index) != it.found.get(*index))
}

/// The smallest of these that differs.
fn differing(mut cuts: Vec<Scenario>, both: &Both<'_>) -> Result<Option<Different>> {
    cuts.retain(|cut| !cut.steps.is_empty());
    if cuts.is_empty() {
        return Ok(None);
    }
    let answers = both(&cuts.iter().collect::<Vec<_>>())?;
    let played = cuts
        .into_iter()
        .zip(answers)
        .filter_map(|(scenario, answers)| {
            let (wanted, found) = answers?;
            difference(&scenario, &wanted, &found)?;
            Some(Different {
                scenario,
                wanted,
                found,
            })
        });
    Ok(played.min_by_key(|it| it.scenario.to_string().len()))
}

/// The scenario without each of `parts` equal parts of its steps.
fn without_parts(scenario: &Scenario, parts: usize) -> Vec<Scenario> {
    let count = scenario.steps.len();
    let size = count.div_ceil(parts.clamp(1, count.max(1)));
    (0..count)
        .step_by(size.max(1))
        .map(|start| {
            let mut cut = scenario.clone();
            cut.steps.drain(start..(start + size).min(count));
            cut
        })
        .collect()
}

/// The scenario with one packet plainer each.
fn simpler(scenario: &Scenario) -> Vec<Scenario> {
    let mut found = Vec::new();
    for (index, step) in scenario.steps.iter().enumerate() {
        let Step::Packet { content, .. } = step else {
            continue;
        };
        let plain = Content {
            flags: content.flags,
            icmp: content.icmp.clone(),
            ..Content::default()
        };
        if plain != *content {
            let mut cut = scenario.clone();
            if let Some(Step::Packet { content, .. }) = cut.steps.get_mut(index) {
                *content = plain;
            }
            found.push(cut);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    /// Two sides that differ in the answer to every packet after step `a` and step `b` were there.
    fn both(scenarios: &[&Scenario]) -> Result<Vec<Option<(Answers, Answers)>>> {
        let answers = scenarios.iter().map(|scenario| {
            let has = |word: &str| {
                (0..scenario.steps.len()).any(|step| scenario.step_text(step).contains(word))
            };
            let is_different = has("aa=1") && has("bb=1");
            let equal: Answers = vec![Vec::new(); scenario.steps.len()];
            let mut other = equal.clone();
            if let (Some(last), true) = (other.last_mut(), is_different) {
                last.push("| x".to_owned());
            }
            Some((equal, other))
        });
        Ok(answers.collect())
    }

    #[test]
    fn only_what_matters_is_left() {
        let mut text = String::new();
        for number in 0..40 {
            text.push_str(&format!("sysctl x{number}=0\n"));
            text.push_str(match number {
                7 => "sysctl aa=1\n",
                31 => "sysctl bb=1\n",
                _ => "",
            });
        }
        let (scenario, _) = parse(&text).unwrap();
        let smallest = smallest(&scenario, &both).unwrap().unwrap();
        assert_eq!(smallest.scenario.steps.len(), 2, "{}", smallest.scenario);
        let equal = parse("sysctl aa=1\n").unwrap().0;
        assert!(super::smallest(&equal, &both).unwrap().is_none());
    }
}
