//! A scenario played on a plane: what came of each step, in lines.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};

use super::read::{self, Sent};
use super::scenario::{Protocol, Scenario, Side, Step};
use super::traffic::{OnLink, Sending, Traffic};
use super::{file, listing};

/// What came of each step, a list of lines a step.
pub type Answers = Vec<Vec<String>>;

/// A command that ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A packet's mark, by protocol, address and port.
#[derive(Clone, Debug)]
pub struct MarkRule<'a> {
    /// The mark.
    pub mark: u32,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Address or prefix.
    pub to: &'a str,
    /// Port; 0 for all.
    pub port: u16,
}

impl fmt::Display for MarkRule<'_> {
    /// As `lvsx mark add` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.protocol == Protocol::Udp {
            "udp"
        } else {
            "tcp"
        };
        write!(f, "mark {} protocol {protocol} to {}", self.mark, self.to)?;
        if self.port != 0 {
            write!(f, " ports {}", self.port)?;
        }
        Ok(())
    }
}

/// A director with its network, as scenarios drive it.
pub trait Director {
    /// Runs `ipvsadm`.
    ///
    /// # Errors
    /// It cannot be run at all.
    fn command(&mut self, words: &[String], input: &str) -> Result<Ended>;

    /// Reads a file of IPVS under `/proc/net`.
    ///
    /// # Errors
    /// It is not there.
    fn read(&mut self, name: &str) -> Result<String>;

    /// Changes a setting; whether the director took it.
    ///
    /// # Errors
    /// It cannot be asked.
    fn set(&mut self, name: &str, value: i64) -> Result<bool>;

    /// Adds a rule for marks; whether the director took it.
    ///
    /// # Errors
    /// It cannot be asked.
    fn mark(&mut self, rule: &MarkRule<'_>) -> Result<bool>;

    /// Lets time pass.
    ///
    /// # Errors
    /// The plane has no time of its own.
    fn wait(&mut self, time: Duration) -> Result<()>;

    /// Sends frames, and gives those that came out until all was done.
    ///
    /// # Errors
    /// The director does not come to rest.
    fn exchange(&mut self, frames: &[OnLink]) -> Result<Vec<OnLink>>;
}

/// Plays a scenario.
///
/// # Errors
/// What the plane fails with; a director's refusals are answers.
pub fn play(scenario: &Scenario, director: &mut dyn Director) -> Result<Answers> {
    let mut traffic = Traffic::of(scenario);
    let mut answers = Vec::new();
    for (index, step) in scenario.steps.iter().enumerate() {
        let lines = one(step, &mut traffic, director);
        answers.push(
            lines.with_context(|| format!("step {}: {}", index + 1, scenario.step_text(index)))?,
        );
    }
    Ok(answers)
}

fn one(step: &Step, traffic: &mut Traffic<'_>, director: &mut dyn Director) -> Result<Vec<String>> {
    match step {
        Step::Command { words, input } => {
            let ended = director.command(
                words,
                &input
                    .iter()
                    .map(|line| format!("{line}\n"))
                    .collect::<String>(),
            )?;
            let mut lines: Vec<String> = marked('|', listing::lines(words, &ended.out)).collect();
            lines.extend(marked('!', listing::complaints(&ended.err)));
            if ended.code != 0 {
                lines.push(format!("= {}", ended.code));
            }
            Ok(lines)
        }
        Step::Read { name } => Ok(marked('|', file::lines(name, &director.read(name)?)).collect()),
        Step::Sysctl { name, value } => Ok(refused(director.set(name, *value)?)),
        Step::Mark {
            mark,
            protocol,
            to,
            port,
        } => {
            let rule = MarkRule {
                mark: *mark,
                protocol: *protocol,
                to,
                port: *port,
            };
            Ok(refused(director.mark(&rule)?))
        }
        Step::Wait(time) => director.wait(*time).map(|()| Vec::new()),
        Step::Packet {
            flow,
            from,
            content,
        } => match traffic.send(*flow, *from, content) {
            Sending::Nothing(why) => Ok(vec![format!("| {why}")]),
            Sending::Frames(frames, packet) => {
                let out = director.exchange(&frames)?;
                traffic.hear(*flow, &out);
                let mut lines: Vec<String> = out
                    .iter()
                    .map(|(_, frame)| format!("| {}", read::line(frame, &Sent(&packet))))
                    .collect();
                if lines.is_empty() {
                    lines.push("| nothing".to_owned());
                }
                Ok(lines)
            }
        },
    }
}

fn marked(sign: char, lines: Vec<String>) -> impl Iterator<Item = String> {
    lines
        .into_iter()
        .map(move |line| format!("{sign} {line}").trim_end().to_owned())
}

fn refused(taken: bool) -> Vec<String> {
    if taken {
        Vec::new()
    } else {
        vec!["! refused".to_owned()]
    }
}

/// The first step at which two planes differ, in words; `None` where they do not.
#[must_use]
pub fn difference(scenario: &Scenario, wanted: &Answers, found: &Answers) -> Option<String> {
    let index = (0..scenario.steps.len()).find(|index| wanted.get(*index) != found.get(*index))?;
    let mut text = format!("step {}: {}\n", index + 1, scenario.step_text(index));
    let nothing = Vec::new();
    let of = |answers: &Answers| answers.get(index).unwrap_or(&nothing).clone();
    let (wanted, found) = (of(wanted), of(found));
    for line in wanted.iter().filter(|line| !found.contains(line)) {
        text.push_str(&format!("    kernel  {line}\n"));
    }
    for line in found.iter().filter(|line| !wanted.contains(line)) {
        text.push_str(&format!("    here    {line}\n"));
    }
    let is_subset = |of: &[String], all: &[String]| of.iter().all(|line| all.contains(line));
    if is_subset(&wanted, &found) && is_subset(&found, &wanted) {
        text.push_str("    the same lines, but not as often or not in this order:\n");
        let lists = [("kernel", &wanted), ("here  ", &found)];
        for (whose, lines) in lists {
            for line in lines {
                text.push_str(&format!("    {whose}  {line}\n"));
            }
        }
    }
    let before = (0..index).rev().take(4).collect::<Vec<_>>();
    for step in before.into_iter().rev() {
        text.push_str(&format!("    before: {}\n", scenario.step_text(step)));
    }
    if let Step::Packet {
        flow,
        from: Side::Client | Side::Server,
        ..
    } = &scenario.steps[index]
    {
        text.push_str(&format!("    {}\n", scenario.flows[*flow]));
    }
    Some(text)
}
