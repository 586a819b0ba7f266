//! Puts groups of lines to directors: in the machine with the kernel's IPVS, and beside an lvsd.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};

use super::director::{Director, Side, with_own_names};
use super::line::{Answer, Group};

/// The file with the groups, and those with the answers.
pub const GROUPS: &str = "groups.json";

/// The file with a side's answers.
#[must_use]
pub fn answers_file(side: Side) -> String {
    format!("{side}.json")
}

/// Reads the groups of a job's folder, puts them to each side, and leaves the answers there.
///
/// # Errors
/// A director cannot be asked; the folder cannot be read or written.
pub fn inside(folder: &Path, sides: &[Side]) -> Result<()> {
    let groups: Vec<Group> = serde_json::from_slice(&fs::read(folder.join(GROUPS))?)?;
    with_own_names(folder)?;
    for side in sides {
        // On a thread of its own, which may have a network namespace of its own.
        let answers = thread::scope(|scope| scope.spawn(|| play(&groups, *side, folder)).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .with_context(|| format!("the side {side}"))?;
        fs::write(
            folder.join(answers_file(*side)),
            serde_json::to_vec(&answers)?,
        )?;
    }
    Ok(())
}

fn play(groups: &[Group], side: Side, folder: &Path) -> Result<Vec<Vec<Answer>>> {
    let mut director = Director::open(side, &folder.join("programs"))?;
    groups
        .iter()
        .map(|group| group_on(group, &mut director).with_context(|| group.name.clone()))
        .collect()
}

fn group_on(group: &Group, director: &mut Director) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for (number, line) in group.lines.iter().enumerate() {
        if number == 0 || group.is_each_alone {
            director.clear()?;
            group.setup.iter().for_each(|line| director.set_up(line));
        }
        // The program itself once a group, to see that it is no other than its code in this process.
        let answer = director
            .run(line, number == 0)
            .with_context(|| line.to_string())?;
        answers.push(answer);
    }
    Ok(answers)
}

/// Reads a side's answers.
///
/// # Errors
/// It left none.
pub fn answers(folder: &Path, side: Side) -> Result<Vec<Vec<Answer>>> {
    let file = folder.join(answers_file(side));
    let text = fs::read(&file).with_context(|| format!("no answers of the side {side}"))?;
    Ok(serde_json::from_slice(&text)?)
}
