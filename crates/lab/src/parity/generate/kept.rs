//! Lines that are kept: what chance seldom makes.

use super::super::line::{Group, Line};

const TEXT: &str = include_str!("kept.txt");

/// The groups of `kept.txt`.
pub(super) fn groups() -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for text in TEXT
        .lines()
        .filter(|text| !text.is_empty() && !text.starts_with('#'))
    {
        if let Some(name) = text.strip_prefix("= ") {
            groups.push(Group::in_turn(&format!("kept {name}"), Vec::new()));
            continue;
        }
        let Some(group) = groups.last_mut() else {
            continue;
        };
        if let Some(line) = text.strip_prefix("+ ") {
            group.is_each_alone = true;
            group.setup.push(Line::read(line));
        } else if let Some(input) = text.strip_prefix("<<") {
            if let Some(line) = group.lines.last_mut() {
                line.input.push_str(input);
            }
        } else if let Some(input) = text.strip_prefix('<') {
            if let Some(line) = group.lines.last_mut() {
                line.input
                    .push_str(input.strip_prefix(' ').unwrap_or(input));
                line.input.push('\n');
            }
        } else {
            group.lines.push(Line::read(text));
        }
    }
    groups
}
