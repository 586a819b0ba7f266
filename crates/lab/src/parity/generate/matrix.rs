//! Every command with options of all kinds, one at a time and some at once.

use super::super::line::{Group, Line};
use super::grammar::{COMMANDS, OPTIONS};
use super::on_the_table;
use crate::conform::generate::dice::Dice;

/// Every command with options behind it, by chance half of all, of those commands that take few options a quarter; and each
/// option where the command should stand.
pub(super) fn groups(dice: &mut Dice) -> Vec<Group> {
    let mut groups = Vec::new();
    for command in COMMANDS {
        let takes_many = ["-A", "-E", "-a", "-e", "-L"]
            .iter()
            .any(|word| command.starts_with(word));
        let count = OPTIONS.len() / if takes_many { 2 } else { 4 };
        let mut lines = vec![Line::read(command)];
        let options = dice.some(&OPTIONS, count);
        lines.extend(
            options
                .iter()
                .map(|option| Line::read(&format!("{command} {option}"))),
        );
        groups.extend(on_the_table(&format!("matrix {command}"), &lines));
    }
    let lines = OPTIONS.map(Line::read);
    groups.extend(on_the_table("matrix alone", &lines));
    groups
}

/// Commands, cut short now and then, with two to four options in any order.
pub(super) fn at_once(dice: &mut Dice, count: usize) -> Vec<Group> {
    let mut lines = Vec::new();
    for _ in 0..count {
        let mut words: Vec<&str> = dice.one(&COMMANDS).split(' ').collect();
        if dice.chance(20) {
            words.truncate(dice.number(1, words.len() as u32 + 1) as usize);
        }
        let command = words.remove(0);
        let mut parts = vec![words.join(" ")];
        let more = dice.number(2, 5) as usize;
        parts.extend(dice.some(&OPTIONS, more).into_iter().map(str::to_owned));
        let parts = dice.some(&parts, parts.len());
        lines.push(Line::read(&format!("{command} {}", parts.join(" "))));
    }
    on_the_table("at-once", &lines)
}
