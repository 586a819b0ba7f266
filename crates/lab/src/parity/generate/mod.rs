//! Command lines: those of the grammar, in all combinations of two and in chance ones of more, and those that are kept.
//!
//! Everything follows from a seed.

mod grammar;
mod kept;
mod matrix;
mod restore;
mod spelling;
mod tables;
mod values;

use super::line::{Group, Line};
use crate::conform::generate::dice::Dice;

/// Lines of a group where each line begins anew.
const TOGETHER: usize = 25;

/// At least `count` lines: those that are kept and commands with an option, and of the others in equal parts as many
/// as that leaves.
#[must_use]
pub fn groups(count: usize, seed: u64) -> Vec<Group> {
    let mut kept = kept::groups();
    // Connections outlive what clears the table.
    let last = kept.pop();
    let mut groups = kept;
    groups.extend(matrix::groups(&mut Dice::new("parity matrix", seed)));
    let least = count.saturating_sub(lines(&groups));
    let kinds: [fn(&mut Dice, usize) -> Vec<Group>; 5] = [
        values::groups,
        matrix::at_once,
        spelling::groups,
        tables::groups,
        restore::groups,
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let mut dice = Dice::new(&format!("parity {number}"), seed);
        groups.extend(kind(&mut dice, least.div_ceil(kinds.len()).max(1)));
    }
    groups.extend(last);
    groups
}

fn lines(groups: &[Group]) -> usize {
    groups.iter().map(|group| group.lines.len()).sum()
}

/// Lines that each find [`grammar::TABLE`], in groups of a size.
fn on_the_table(name: &str, lines: &[Line]) -> Vec<Group> {
    let groups = lines.chunks(TOGETHER).enumerate();
    let group = |(number, lines): (usize, &[Line])| {
        let name = format!("{name} {}", number + 1);
        Group::each_alone(&name, &grammar::TABLE, lines.to_vec())
    };
    groups.map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_lines_and_at_least_as_many_as_wanted() {
        let all = groups(1200, 1);
        assert_eq!(all, groups(1200, 1));
        assert_ne!(all, groups(1200, 2));
        assert!(lines(&all) >= 1200 && lines(&groups(3000, 7)) >= 3000);
        let mut names: Vec<_> = all.iter().map(|group| &group.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }
}
