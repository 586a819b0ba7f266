//! fish: a line of `complete` for each word and option.

use super::{Command, Value, brief, value};
use crate::help::Row;
use std::fmt::Write as _;

/// The completions of a program.
#[must_use]
pub fn fish(program: &Command) -> String {
    let name = &program.name;
    let mut text = format!("# Completions of {name} for fish.\n");
    // Writing to a String cannot fail.
    for word in &program.words {
        let _ = writeln!(
            text,
            "complete -c {name} -n __fish_use_subcommand -f -a {}{}",
            word.name,
            description(&word.text)
        );
    }
    for option in &program.options {
        let _ = writeln!(text, "complete -c {name}{}", described(option));
    }
    for word in &program.words {
        let seen = format!(
            "complete -c {name} -n '__fish_seen_subcommand_from {}'",
            word.name
        );
        for below in &word.words {
            let _ = writeln!(
                text,
                "{seen} -f -a {}{}",
                below.name,
                description(&below.text)
            );
        }
        for option in &word.options {
            let _ = writeln!(text, "{seen}{}", described(option));
        }
    }
    text
}

fn described(option: &Row) -> String {
    let mut text = String::new();
    for name in option.names() {
        let _ = match (name.strip_prefix("--"), name.strip_prefix('-')) {
            (Some(long), _) => write!(text, " -l {long}"),
            (None, Some(short)) => write!(text, " -s {short}"),
            (None, None) => Ok(()),
        };
    }
    match value(option) {
        Some(Value::Words(words)) => {
            let _ = write!(text, " -x -a '{}'", words.join(" "));
        }
        Some(Value::File) => text += " -r -F",
        Some(Value::Other(_)) => text += " -x",
        None => {}
    }
    text + &description(&option.text)
}

fn description(text: &str) -> String {
    match brief(text).as_str() {
        "" => String::new(),
        brief => format!(" -d '{brief}'"),
    }
}
