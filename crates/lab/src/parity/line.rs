//! A command line, groups of them, and what came of each.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// `ipvsadm`.
    Ipvsadm,
    /// `ipvsadm-save`.
    Save,
    /// `ipvsadm-restore`.
    Restore,
    /// `lvsx`, which Debian has nothing like.
    Lvsx,
    /// No program: a datagram that the director's host sends.
    Datagram,
}

impl Program {
    const ALL: [Self; 5] = [
        Self::Ipvsadm,
        Self::Save,
        Self::Restore,
        Self::Lvsx,
        Self::Datagram,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipvsadm => "ipvsadm",
            Self::Save => "ipvsadm-save",
            Self::Restore => "ipvsadm-restore",
            Self::Lvsx => "lvsx",
            Self::Datagram => "datagram",
        }
    }
}

/// How a line begins that a user without rights runs.
const NOBODY: &str = "nobody";

/// The longest input that is shown.
const INPUT: usize = 4096;

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What is run.
    pub program: Program,
    /// Its arguments.
    pub words: Vec<String>,
    /// Its standard input.
    pub input: String,
    /// Whether it is run by a user without rights.
    pub by_nobody: bool,
}

impl Line {
    /// `ipvsadm` with these arguments and no input.
    #[must_use]
    pub const fn ipvsadm(words: Vec<String>) -> Self {
        Self {
            program: Program::Ipvsadm,
            words,
            input: String::new(),
            by_nobody: false,
        }
    }

    /// Reads a line as a shell would: words between blanks, quotes around those with blanks in them or nothing. `ipvsadm`
    /// need not be said; `nobody` before it says who runs it.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut words = split(text);
        let by_nobody = words.first().is_some_and(|word| word == NOBODY);
        if by_nobody {
            words.remove(0);
        }
        let first = words.first();
        let named = Program::ALL
            .into_iter()
            .find(|program| first.is_some_and(|word| word == program.name()));
        if named.is_some() {
            words.remove(0);
        }
        Self {
            program: named.unwrap_or(Program::Ipvsadm),
            words,
            input: String::new(),
            by_nobody,
        }
    }

    /// What ours calls itself where it changes a whole table: in one step, or on the kernel's IPVS not.
    #[must_use]
    pub fn whole(&self) -> Option<&'static str> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        match (self.program, &words[..]) {
            (Program::Restore, ["--as-ipvsadm", ..]) => None,
            (Program::Restore, _) => Some("ipvsadm-restore"),
            (Program::Lvsx, ["apply", "-"]) => Some("lvsx apply"),
            _ => None,
        }
    }
}

/// As a shell would read it.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.by_nobody {
            write!(f, "{NOBODY} ")?;
        }
        f.write_str(self.program.name())?;
        for word in &self.words {
            let is_plain = |char: char| !char.is_whitespace() && char != '\'';
            if !word.is_empty() && word.chars().all(is_plain) {
                write!(f, " {word}")?;
            } else {
                write!(f, " '{}'", word.escape_debug())?;
            }
        }
        if self.input.len() > INPUT {
            write!(f, " <<< {} bytes", self.input.len())?;
        } else if !self.input.is_empty() {
            write!(f, " <<< '{}'", self.input.escape_debug())?;
        }
        Ok(())
    }
}

fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (word, behind) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    words
}

/// Lines that are put to a director one after the other, which begins empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What it is about.
    pub name: String,
    /// What is there before the first line; it is not compared.
    pub setup: Vec<Line>,
    /// Whether each line begins with the set-up anew.
    pub is_each_alone: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Group {
    /// A group of lines each of which finds the set-up as it was.
    #[must_use]
    pub fn each_alone(name: &str, setup: &[&str], lines: Vec<Line>) -> Self {
        Self {
            name: name.to_owned(),
            setup: setup.iter().map(|text| Line::read(text)).collect(),
            is_each_alone: true,
            lines,
        }
    }

    /// A group of lines one of which finds what the others left.
    #[must_use]
    pub fn in_turn(name: &str, lines: Vec<Line>) -> Self {
        Self {
            name: name.to_owned(),
            setup: Vec::new(),
            is_each_alone: false,
            lines,
        }
    }
}

/// What came of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The exit code.
    pub code: i32,
    /// Standard output, bytes beyond ASCII escaped.
    pub out: String,
    /// Standard error, likewise.
    pub err: String,
    /// What the director then holds.
    pub state: String,
    /// How long it took, which is not compared.
    pub took: Duration,
}

/// Bytes as a text from which they can be told.
#[must_use]
pub fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_by_a_shell_and_shown_again() {
        let line = Line::read("-A -t '' --pe 'a  b'  x");
        assert_eq!(line.words, ["-A", "-t", "", "--pe", "a  b", "x"]);
        assert_eq!(line.to_string(), "ipvsadm -A -t '' --pe 'a  b' x");
        assert_eq!(Line::read("ipvsadm-save -n").program, Program::Save);
        assert_eq!(Line::read("ipvsadm").words, Vec::<String>::new());
    }
}
