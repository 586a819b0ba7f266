//! What planes made of scenarios beside the kernel's answers, counted category by category.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::plane::Plane;
use super::play::{Answers, difference};
use super::scenario::Scenario;

/// A scenario to play.
pub(super) struct Case {
    pub(super) category: String,
    /// `nat/ports`, or `nat seed 3`.
    pub(super) name: String,
    pub(super) scenario: Scenario,
    /// The kernel's answers, as they are kept in the repository.
    pub(super) recorded: Option<Answers>,
    pub(super) file: Option<PathBuf>,
}

/// The kernel's answers, or why it has none.
pub(super) type Reference = Result<Answers, String>;

/// What a plane made of cases.
pub(super) struct Played {
    pub(super) plane: Plane,
    /// By the cases' numbers.
    pub(super) found: Vec<(usize, Result<Answers>)>,
    pub(super) took: Duration,
}

/// The kernel's answers to each case: those kept, else those of the machine that was `asked`.
pub(super) fn references(cases: &[Case], asked: &Played) -> Vec<Reference> {
    let mut all: Vec<Reference> = cases
        .iter()
        .map(|case| {
            case.recorded
                .clone()
                .ok_or_else(|| "it was not asked".to_owned())
        })
        .collect();
    for (index, answers) in &asked.found {
        if cases[*index].recorded.is_none() {
            all[*index] = match answers {
                Ok(answers) => Ok(answers.clone()),
                Err(error) => Err(format!("{error:#}")),
            };
        }
    }
    all
}

impl Played {
    /// Those whose answers are kept.
    pub(super) fn of_kept(mut self, cases: &[Case]) -> Self {
        self.found
            .retain(|(index, _)| cases[*index].recorded.is_some());
        self
    }

    /// Prints, category by category, how many are equal, and writes each first difference below `out`; the numbers of
    /// the cases that differ, and in what.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn compare(
        &self,
        cases: &[Case],
        reference: &[Reference],
        out: &Path,
    ) -> Result<Vec<(usize, String)>> {
        let mut counts: BTreeMap<&str, (usize, Vec<&str>)> = BTreeMap::new();
        let mut details = String::new();
        let mut different = Vec::new();
        for (index, found) in &self.found {
            let case = &cases[*index];
            let count = counts.entry(&case.category).or_default();
            count.0 += 1;
            let what = match (&reference[*index], found) {
                (Ok(wanted), Ok(found)) => difference(&case.scenario, wanted, found),
                (Err(error), _) => Some(format!("the kernel did not play it: {error}\n")),
                (_, Err(error)) => Some(format!("it could not be played: {error:#}\n")),
            };
            let Some(what) = what else { continue };
            count.1.push(&case.name);
            let what = format!("{}: {what}", case.name);
            details.push_str(&what);
            different.push((*index, what));
            if let Ok(wanted) = &reference[*index] {
                let file = format!("{}.scenario", case.name.replace('/', "-"));
                fs::write(out.join(file), case.scenario.text(Some(wanted)))?;
            }
        }
        let file = out.join(format!("{}.txt", self.plane));
        fs::write(&file, &details)?;
        println!("{} ({:.0} s)", self.plane, self.took.as_secs_f64());
        for (category, (count, names)) in &counts {
            println!("  {}", row(category, *count, names));
        }
        println!(
            "  {}",
            row("all", self.found.len(), &vec![""; different.len()])
        );
        if !different.is_empty() {
            println!("  differences: {}", file.display());
        }
        Ok(different)
    }
}

fn row(category: &str, count: usize, different: &[&str]) -> String {
    let row = format!(
        "{category:<16} run {count:>3}  equal {:>3}  different {:>3}  {}",
        count - different.len(),
        different.len(),
        different.join(" ")
    );
    row.trim_end().to_owned()
}
