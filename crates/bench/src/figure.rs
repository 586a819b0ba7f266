//! Figures of the parts that are not about one program: samples by round, what they come to, and the gates.

use crate::median;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is measured of several subjects, so that they stand beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
}

/// Samples as they come: of a test, a subject, a round.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// In the order in which tests and subjects first came.
    order: Vec<(Test, String)>,
    values: BTreeMap<(Test, String), BTreeMap<u32, f64>>,
}

/// A part's figures.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) figures: Vec<Figure>,
    /// Rows that could not be had, and why.
    pub(crate) missing: Vec<(String, String)>,
    pub(crate) gates: Vec<Gate>,
}

/// What a test gave of a subject.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) test: String,
    pub(crate) subject: String,
    pub(crate) unit: String,
    /// Of the rounds.
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// What it stands beside, and the median of the rounds' ratios.
    pub(crate) beside: Option<String>,
    pub(crate) ratio: Option<f64>,
}

/// A figure that was asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Gate {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) limit: Limit,
}

/// Which way a gate is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Samples {
    /// Keeps a value.
    pub(crate) fn put(&mut self, test: Test, subject: &str, round: u32, value: f64) {
        let key = (test, subject.to_owned());
        if !self.order.contains(&key) {
            self.order.push(key.clone());
        }
        self.values.entry(key).or_default().insert(round, value);
    }

    /// The median of the rounds' ratios of one subject's values to another's.
    pub(crate) fn ratio(&self, test: Test, subject: &str, beside: &str) -> Option<f64> {
        let ours = self.values.get(&(test, subject.to_owned()))?;
        let theirs = self.values.get(&(test, beside.to_owned()))?;
        let ratios = ours
            .iter()
            .filter_map(|(round, value)| Some(value / theirs.get(round)?));
        let ratio = median(ratios.collect());
        ratio.is_finite().then_some(ratio)
    }

    /// The value of a round.
    pub(crate) fn at(&self, test: Test, subject: &str, round: u32) -> Option<f64> {
        self.values
            .get(&(test, subject.to_owned()))?
            .get(&round)
            .copied()
    }

    /// The median of a subject's rounds.
    pub(crate) fn median(&self, test: Test, subject: &str) -> Option<f64> {
        let rounds = self.values.get(&(test, subject.to_owned()))?;
        Some(median(rounds.values().copied().collect()))
    }

    /// The most of a subject's rounds.
    pub(crate) fn most(&self, test: Test, subject: &str) -> Option<f64> {
        let rounds = self.values.get(&(test, subject.to_owned()))?;
        rounds.values().copied().reduce(f64::max)
    }

    /// All, those of a test together; `beside` names what the subjects of a test stand beside.
    pub(crate) fn figures(&self, beside: impl Fn(Test) -> Option<&'static str>) -> Vec<Figure> {
        let mut tests: Vec<Test> = Vec::new();
        for (test, _) in &self.order {
            if !tests.contains(test) {
                tests.push(*test);
            }
        }
        let mut figures = Vec::new();
        for test in tests {
            let of_test = self.order.iter().filter(|(other, _)| *other == test);
            for (_, subject) in of_test {
                let Some(rounds) = self.values.get(&(test, subject.clone())) else {
                    continue;
                };
                let values: Vec<f64> = rounds.values().copied().collect();
                let ratio = beside(test)
                    .filter(|beside| beside != subject)
                    .and_then(|beside| Some((beside, self.ratio(test, subject, beside)?)));
                figures.push(Figure {
                    test: test.name.to_owned(),
                    subject: subject.clone(),
                    unit: test.unit.to_owned(),
                    least: values.iter().copied().fold(f64::INFINITY, f64::min),
                    most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    median: median(values),
                    beside: ratio.map(|(beside, _)| beside.to_owned()),
                    ratio: ratio.map(|(_, ratio)| ratio),
                });
            }
        }
        figures
    }
}

impl Gate {
    /// A gate, if there is a figure for it.
    pub(crate) fn of(what: &str, value: Option<f64>, limit: Limit) -> Option<Self> {
        Some(Self {
            what: what.to_owned(),
            value: value?,
            limit,
        })
    }

    /// Whether the figure is as it should be.
    pub(crate) fn is_met(&self) -> bool {
        match self.limit {
            Limit::AtMost(most) => self.value <= most,
            Limit::AtLeast(least) => self.value >= least,
        }
    }
}

impl Section {
    /// Takes over what another machine found, under its name, or why it found nothing.
    pub(crate) fn add(&mut self, machine: &str, found: Result<Self>) {
        let named = |name: String| format!("{machine}{name}");
        match found {
            Ok(found) => {
                self.figures
                    .extend(found.figures.into_iter().map(|mut figure| {
                        figure.test = named(figure.test);
                        figure
                    }));
                let missing = found.missing.into_iter();
                self.missing
                    .extend(missing.map(|(subject, why)| (named(subject), why)));
            }
            Err(why) => self.missing.push((
                machine.trim_end_matches(": ").to_owned(),
                format!("{why:#}"),
            )),
        }
    }

    /// What a test gave of a subject, over what it stands beside.
    pub(crate) fn ratio(&self, test: &str, subject: &str) -> Option<f64> {
        let is_it = |figure: &&Figure| figure.test == test && figure.subject == subject;
        self.figures.iter().find(is_it)?.ratio
    }

    /// Keeps why a row is not there, or not in each round.
    pub(crate) fn note(&mut self, subject: &str, measured: Result<()>) {
        if let Err(why) = measured {
            self.missing.push((subject.to_owned(), format!("{why:#}")));
        }
    }

    /// The table; with another run's figures, how these stand to those.
    pub(crate) fn print(&self, before: Option<&Self>) {
        println!("\n{}", self.title);
        let names = self.figures.iter().map(|figure| figure.test.len() + 2);
        let width = names.fold(24, usize::max);
        println!(
            "{:<width$}{:<22}{:>12}{:>12}{:>12}  {:<12}  beside",
            "test", "subject", "median", "least", "most", "unit"
        );
        let mut last = "";
        for figure in &self.figures {
            let test = if figure.test == last {
                ""
            } else {
                &figure.test
            };
            last = &figure.test;
            let beside = match (&figure.beside, figure.ratio) {
                (Some(beside), Some(ratio)) => format!("{ratio:.3} x {beside}"),
                _ => String::new(),
            };
            let then = before.and_then(|before| before.same(figure));
            let change = then.map_or(String::new(), |then| {
                format!("  {:.2} x before", figure.median / then.median)
            });
            println!(
                "{test:<width$}{:<22}{:>12}{:>12}{:>12}  {:<12}  {beside}{change}",
                figure.subject,
                number(figure.median),
                number(figure.least),
                number(figure.most),
                figure.unit,
            );
        }
        for (subject, why) in &self.missing {
            println!("{:<width$}{subject:<22}not measured: {why}", "");
        }
        for gate in &self.gates {
            let (value, met) = (
                number(gate.value),
                if gate.is_met() { "met" } else { "MISSED" },
            );
            let then = before.and_then(|before| before.gate(&gate.what));
            let then = then.map_or(String::new(), |then| {
                format!("; before {}", number(then.value))
            });
            match gate.limit {
                Limit::AtMost(most) => {
                    println!(
                        "gate  {}: {value}, at most {most:.4}: {met}{then}",
                        gate.what
                    )
                }
                Limit::AtLeast(least) => {
                    println!(
                        "gate  {}: {value}, at least {least}: {met}{then}",
                        gate.what
                    )
                }
            }
        }
    }

    fn gate(&self, what: &str) -> Option<&Gate> {
        self.gates.iter().find(|gate| gate.what == what)
    }

    fn same(&self, figure: &Figure) -> Option<&Figure> {
        self.figures
            .iter()
            .find(|other| other.test == figure.test && other.subject == figure.subject)
    }
}

/// Four digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Test = Test {
        name: "rate",
        unit: "k/s",
    };

    fn samples() -> Samples {
        let mut samples = Samples::default();
        // The machine was slow in the second round, alike for both.
        for (round, (routing, ours)) in [(100.0, 200.0), (10.0, 21.0), (100.0, 190.0)]
            .iter()
            .enumerate()
        {
            samples.put(RATE, "routing", round as u32, *routing);
            samples.put(RATE, "ours", round as u32, *ours);
        }
        samples
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        assert_eq!(samples().ratio(RATE, "ours", "routing"), Some(2.0));
        assert_eq!(samples().ratio(RATE, "ours", "nobody"), None);
    }

    #[test]
    fn figures_stand_beside_what_was_named() {
        let figures = samples().figures(|_| Some("routing"));
        let ours = &figures[1];
        assert_eq!((ours.median, ours.least, ours.most), (190.0, 21.0, 200.0));
        assert_eq!(ours.ratio, Some(2.0));
        assert_eq!(figures[0].ratio, None);
    }

    #[test]
    fn a_round_without_its_measure_gives_no_ratio() {
        let mut samples = samples();
        samples.put(RATE, "ours", 7, 1.0);
        assert_eq!(samples.ratio(RATE, "ours", "routing"), Some(2.0));
    }

    #[test]
    fn gates_are_met_from_either_side() {
        let gate = |limit| Gate::of("it", Some(1.0), limit).map(|gate| gate.is_met());
        assert_eq!(gate(Limit::AtMost(1.0)), Some(true));
        assert_eq!(gate(Limit::AtMost(0.9)), Some(false));
        assert_eq!(gate(Limit::AtLeast(1.1)), Some(false));
        assert!(Gate::of("it", None, Limit::AtMost(1.0)).is_none());
    }
}
