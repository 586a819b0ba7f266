//! What the cases gave, as a table and as JSON.

use super::case::Case;
use super::measure::{Effort, Measured};
use crate::median;
use serde::{Deserialize, Serialize};

/// The cases of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) rounds: u32,
    pub(crate) packets: u32,
    /// Bytes of the IPv4 connection table for a connection that it is rated for.
    pub(crate) bytes_a_connection: f64,
    pub(crate) lines: Vec<Line>,
}

/// A case's figures.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// None for first packets.
    pub(crate) flows: Option<u32>,
    /// Net nanoseconds a packet: median and least of the rounds.
    pub(crate) median: f64,
    pub(crate) least: f64,
    /// What it is compared with, and the median of the rounds' ratios.
    pub(crate) beside: Option<String>,
    pub(crate) ratio: Option<f64>,
    pub(crate) live: Option<usize>,
    pub(crate) misses: u64,
    pub(crate) evicted: u64,
    pub(crate) overflowed: u64,
}

/// What the design asks for: a case, its flows, the most that its ratio may be.
const GATES: [(&str, Option<u32>, f64); 8] = [
    ("nat-in", Some(1), 1.5),
    ("nat-out", Some(1), 1.5),
    ("dr", Some(1), 1.5),
    ("ipip", Some(1), 1.25),
    ("nat-in", Some(1 << 20), 0.9),
    ("nat-out", Some(1 << 20), 0.9),
    ("first-dr", None, 0.5),
    ("first-nat", None, 0.75),
];
/// The most nanoseconds for a packet that is not ours.
const FOREIGN: f64 = 40.0;
/// The most for a first packet of the widest service, by the usual scheduler.
const WIDEST: (&str, f64) = ("first-wlc-1024", 1200.0);
/// The most bytes a connection.
const BYTES: f64 = 96.0;

impl Report {
    pub(crate) fn of(
        cases: &[Case],
        measured: &[Measured],
        effort: Effort,
        bytes_a_connection: f64,
    ) -> Self {
        let line = |(case, of): (&Case, &Measured)| {
            let beside = case.beside.and_then(|name| {
                let same = |other: &Case| other.packets.flows() == case.packets.flows();
                let all = || cases.iter().zip(measured).filter(|(it, _)| it.name == name);
                all().find(|(it, _)| same(it)).or_else(|| all().next())
            });
            let ratio = beside.map(|(_, beside)| {
                let rounds = of.nanoseconds.iter().zip(&beside.nanoseconds);
                median(rounds.map(|(ours, theirs)| ours / theirs).collect())
            });
            Line {
                name: case.name.clone(),
                flows: case.packets.flows(),
                median: median(of.nanoseconds.clone()),
                least: of.nanoseconds.iter().copied().fold(f64::INFINITY, f64::min),
                beside: beside.map(|(it, _)| it.name.clone()),
                ratio,
                live: of.live,
                misses: of.misses,
                evicted: of.evicted,
                overflowed: of.overflowed,
            }
        };
        Self {
            rounds: effort.rounds,
            packets: effort.packets,
            bytes_a_connection,
            lines: cases.iter().zip(measured).map(line).collect(),
        }
    }

    /// The table; with another run's figures beside, how these stand to those.
    pub(crate) fn print(&self, before: Option<&Self>) {
        println!("\na: packets in the programs");
        println!(
            "{} rounds of {} packets; net ns a packet, and the median of the rounds' ratios",
            self.rounds, self.packets
        );
        println!(
            "{:<18}{:>8}{:>9}{:>9}  {:<16}{:>9}  state",
            "case", "flows", "median", "least", "beside", "live"
        );
        for line in &self.lines {
            let flows = line.flows.map_or("new".into(), short);
            let beside = match (&line.beside, line.ratio) {
                (Some(beside), Some(ratio)) => format!("{ratio:.2} x {beside}"),
                _ => String::new(),
            };
            let live = line.live.map_or(String::new(), |live| live.to_string());
            let then = before.and_then(|run| run.line(&line.name, line.flows));
            let change = then.map_or(String::new(), |then| {
                format!("  {:.2} x before", line.median / then.median)
            });
            println!(
                "{:<18}{flows:>8}{:>9.1}{:>9.1}  {beside:<16}{live:>9}  {}{change}",
                line.name,
                line.median,
                line.least,
                line.state()
            );
        }
        println!("\ngate");
        for (name, flows, most) in GATES {
            if let Some((line, ratio)) = self
                .line(name, flows)
                .and_then(|line| Some((line, line.ratio?)))
            {
                let beside = line.beside.as_deref().unwrap_or_default();
                let flows = flows.map_or("new".into(), short);
                let is_met = ratio <= most && line.counts();
                let then = before.and_then(|run| run.line(name, line.flows)?.ratio);
                let then = then.map_or(String::new(), |then| format!("; before {then:.2}"));
                println!(
                    "{:<18}{flows:>8}  {ratio:.2} x {beside}, at most {most}: {}{then}",
                    name,
                    word(is_met)
                );
            }
        }
        for (name, most) in [("not-ours", FOREIGN), WIDEST] {
            for line in self.lines.iter().filter(|line| line.name == name) {
                let flows = line.flows.map_or("new".into(), short);
                let then = before.and_then(|run| run.line(name, line.flows));
                let then =
                    then.map_or(String::new(), |then| format!("; before {:.1}", then.median));
                println!(
                    "{:<18}{flows:>8}  {:.1} ns, at most {most}: {}{then}",
                    line.name,
                    line.median,
                    word(line.median <= most)
                );
            }
        }
        println!(
            "{:<26}  {:.1} bytes, at most {BYTES}: {}",
            "memory a connection",
            self.bytes_a_connection,
            word(self.bytes_a_connection <= BYTES)
        );
    }

    fn line(&self, name: &str, flows: Option<u32>) -> Option<&Line> {
        self.lines
            .iter()
            .find(|line| line.name == name && line.flows == flows)
    }
}

impl Line {
    /// Whether the figure means what it says: each packet found its connection, and none had to go.
    fn counts(&self) -> bool {
        self.misses == 0 && self.evicted == 0
    }

    fn state(&self) -> String {
        if self.counts() {
            match self.overflowed {
                0 => "ok".into(),
                some => format!("ok, {some} overflowed"),
            }
        } else {
            format!(
                "DOES NOT COUNT: {} misses, {} evicted",
                self.misses, self.evicted
            )
        }
    }
}

fn word(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

/// 1, 1k, 64k, 1M.
pub(crate) fn short(number: u32) -> String {
    match number {
        number if number >= 1 << 20 => format!("{}M", number >> 20),
        number if number >= 1 << 10 => format!("{}k", number >> 10),
        number => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [1, 1 << 10, 1 << 16, 1 << 20].map(short),
            ["1", "1k", "64k", "1M"]
        );
    }
}
