//! What a person sees: each step with the command it stands for, what came back, a verdict.

use std::env;
use std::io::{self, IsTerminal, Write};

use lvsx_host::{Outcome, PlannedStep};

/// Tells what happens, on standard output; or keeps silent, for tests.
#[derive(Clone, Copy, Debug)]
pub struct Narrator {
    speaks: bool,
    styled: bool,
}

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[1;32m";
const RED: &str = "\x1b[1;31m";
const PLAIN: &str = "\x1b[0m";

impl Narrator {
    /// Speaks; in colour where standard output is a terminal and `NO_COLOR` is not set.
    #[must_use]
    pub fn aloud() -> Self {
        let styled =
            io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self {
            speaks: true,
            styled,
        }
    }

    /// Says nothing.
    #[must_use]
    pub const fn silent() -> Self {
        Self {
            speaks: false,
            styled: false,
        }
    }

    /// Opens a part.
    pub fn heading(&self, text: &str) {
        let text = self.style(BOLD, text);
        self.say(&format!("\n{text}\n"));
    }

    /// A command on a machine, with a remark where there is one.
    pub fn command(&self, host: &str, command: &str, remark: &str) {
        let remark = if remark.is_empty() {
            String::new()
        } else {
            self.style(DIM, &format!("   ({remark})"))
        };
        self.say(&format!("  {host:<9} # {command}{remark}\n"));
    }

    /// A step of a plan, as the command it stands for.
    pub fn step(&self, host: &str, planned: &PlannedStep, outcome: Outcome) {
        let remark = match outcome {
            Outcome::Changed => planned.reason,
            Outcome::AlreadySo => "is so already",
        };
        self.command(host, &planned.step.to_string(), remark);
    }

    /// What a command printed, as it came.
    pub fn output(&self, text: &str) {
        for line in text.lines() {
            self.say(&format!("    {line}\n"));
        }
    }

    /// The last word on one point.
    pub fn verdict(&self, holds: bool, text: &str) {
        let mark = if holds {
            self.style(GREEN, "yes")
        } else {
            self.style(RED, "NO ")
        };
        self.say(&format!("  {mark}  {text}\n"));
    }

    fn style(&self, style: &str, text: &str) -> String {
        if self.styled {
            format!("{style}{text}{PLAIN}")
        } else {
            text.to_owned()
        }
    }

    /// Nobody listening any more (a closed pipe) is no reason to stop half-way.
    fn say(&self, text: &str) {
        if self.speaks {
            let _ = io::stdout().write_all(text.as_bytes());
        }
    }
}
