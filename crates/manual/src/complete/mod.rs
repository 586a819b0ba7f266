//! Completions for the shells.

mod bash;
mod fish;
mod zsh;

pub use bash::bash;
pub use fish::fish;
pub use zsh::zsh;

use crate::help::{Help, Row};

/// A program, or a word that makes it do one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// What is typed.
    pub name: String,
    /// What it does.
    pub text: String,
    /// Its options.
    pub options: Vec<Row>,
    /// The words that can follow; those of a word have no words below them.
    pub words: Vec<Self>,
}

impl Command {
    /// The command that a help text tells of. `before` is what is typed in front of its words.
    #[must_use]
    pub fn of(name: &str, text: &str, before: &str, help: &Help) -> Self {
        let words = help.words(before).into_iter().map(|word| Self {
            name: word.typed,
            text: word.text,
            ..Self::default()
        });
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            options: help.options(before),
            words: words.collect(),
        }
    }

    /// What can be typed next: words, then options.
    fn candidates(&self) -> String {
        let words = self.words.iter().map(|word| word.name.as_str());
        let names = self.options.iter().flat_map(Row::names);
        words.chain(names).collect::<Vec<_>>().join(" ")
    }

    /// The name of a function of a shell.
    fn function(&self) -> String {
        format!("_{}", self.name.replace(['-', '.'], "_"))
    }
}

/// What an option's value is.
enum Value<'a> {
    /// One of these words.
    Words(Vec<&'a str>),
    /// A file.
    File,
    /// Something that the shell does not know.
    Other(&'a str),
}

/// The value of an option; `None` if it has none.
fn value(option: &Row) -> Option<Value<'_>> {
    let written = option.value()?;
    let words = option.values();
    Some(match (words.is_empty(), written.contains("FILE")) {
        (false, _) => Value::Words(words),
        (true, true) => Value::File,
        (true, false) => Value::Other(written),
    })
}

/// The first sentence, for a list, without what the shells read as theirs.
fn brief(text: &str) -> String {
    let end = text
        .find([';', ':'])
        .unwrap_or(text.len())
        .min(text.find(". ").unwrap_or(text.len()));
    let sentence = text.get(..end).unwrap_or(text).trim_end_matches('.');
    sentence
        .replace('\'', "\u{2019}")
        .replace('[', "(")
        .replace(']', ")")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lvsx() -> Command {
        let lab = Help::read(
            "  lvsx lab nat|dr\n  --mode tc|xdp   the hook\n  --app FILE   a file\n  --keep   stays up\n",
        );
        let all = Help::read("  lvsx lab ...   labs\n  lvsx status [--json]   what goes on\n");
        let mut lvsx = Command::of("lvsx", "", "lvsx", &all);
        lvsx.words[0] = Command::of("lab", "labs", "lvsx lab", &lab);
        lvsx
    }

    #[test]
    fn every_shell_is_told_of_words_options_and_values() {
        let lvsx = lvsx();
        for (script, lines) in [
            (
                bash(&lvsx),
                vec![
                    "words='lab status --json'",
                    "lab,--mode) words='tc xdp'",
                    "words='nat dr --mode --app --keep'",
                    "lab,--app) kind=files",
                ],
            ),
            (
                zsh(&lvsx),
                vec![
                    "#compdef lvsx",
                    "'lab:labs'",
                    "'--mode[the hook]:value:(tc xdp)'",
                    "'--app[a file]:FILE:_files'",
                ],
            ),
            (
                fish(&lvsx),
                vec![
                    "complete -c lvsx -n __fish_use_subcommand -f -a lab -d 'labs'",
                    "-l mode -x -a 'tc xdp' -d 'the hook'",
                    "-l app -r -F -d 'a file'",
                ],
            ),
        ] {
            for line in lines {
                assert!(script.contains(line), "{line} is not in\n{script}");
            }
        }
    }
}
