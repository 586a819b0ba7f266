//! Scenarios by category and seed: the same ones under the same seed.

mod commands;
pub mod dice;
pub mod draft;
mod errors;
mod forwarding;
mod lives;
mod scheduling;
mod services;

use super::scenario::Scenario;
use draft::{Draft, Method};

/// A category's name, and what writes its scenarios.
type Category = (&'static str, fn(&mut Draft));

const CATEGORIES: [Category; 41] = [
    ("sched-rr", |draft| scheduling::plain(draft, "rr")),
    ("sched-wrr", |draft| scheduling::plain(draft, "wrr")),
    ("sched-lc", |draft| scheduling::plain(draft, "lc")),
    ("sched-wlc", |draft| scheduling::plain(draft, "wlc")),
    ("sched-sed", |draft| scheduling::plain(draft, "sed")),
    ("sched-nq", |draft| scheduling::plain(draft, "nq")),
    ("sched-fo", |draft| scheduling::plain(draft, "fo")),
    ("sched-ovf", |draft| scheduling::plain(draft, "ovf")),
    ("sched-sh", |draft| scheduling::flagged(draft, "sh")),
    ("sched-mh", |draft| scheduling::flagged(draft, "mh")),
    ("sched-dh", |draft| scheduling::by_destination(draft, "dh")),
    ("sched-lblc", |draft| {
        scheduling::by_destination(draft, "lblc")
    }),
    ("sched-lblcr", |draft| {
        scheduling::by_destination(draft, "lblcr")
    }),
    ("nat", |draft| {
        forwarding::method(draft, Method::Masquerade, false)
    }),
    ("dr", |draft| {
        forwarding::method(draft, Method::Route, false)
    }),
    ("tun", |draft| {
        forwarding::method(draft, Method::Tunnel, false)
    }),
    ("nat6", |draft| {
        forwarding::method(draft, Method::Masquerade, true)
    }),
    ("dr6", |draft| {
        forwarding::method(draft, Method::Route, true)
    }),
    ("tun6", |draft| {
        forwarding::method(draft, Method::Tunnel, true)
    }),
    ("tun-types", forwarding::tunnel_types),
    ("udp", forwarding::udp),
    ("icmp-nat", |draft| errors::icmp(draft, Method::Masquerade)),
    ("icmp-dr", |draft| errors::icmp(draft, Method::Route)),
    ("icmp-tun", |draft| errors::icmp(draft, Method::Tunnel)),
    ("mtu", errors::mtu),
    ("frag", errors::fragments),
    ("persist", services::persistence),
    ("persist-timeout", services::persistence_ends),
    ("threshold", services::thresholds),
    ("ops", services::one_packet),
    ("port0", services::all_ports),
    ("fwmark", services::marks),
    ("localnode", services::local_server),
    ("states", lives::states),
    ("timeout", lives::timeouts),
    ("strays", lives::strays),
    ("reuse", lives::reuse),
    ("nodest", lives::no_destination),
    ("listing", commands::listings),
    ("badcmd", commands::refusals),
    ("restore", commands::restore),
];

/// The names of all categories.
pub fn categories() -> impl Iterator<Item = &'static str> {
    CATEGORIES.iter().map(|(name, _)| *name)
}

/// The scenario of a category and a seed; an empty one for an unknown category.
#[must_use]
pub fn scenario(category: &str, seed: u64) -> Scenario {
    let mut draft = Draft::new(category, seed);
    if let Some((_, write)) = CATEGORIES.iter().find(|(name, _)| *name == category) {
        write(&mut draft);
    }
    draft.scenario()
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    #[test]
    fn every_scenario_can_be_read_back() {
        for name in categories() {
            for seed in 0..12 {
                let written = scenario(name, seed);
                let text = written.to_string();
                let (read, answers) =
                    parse(&text).unwrap_or_else(|error| panic!("{name} {seed}: {error}"));
                // Flows that nobody uses are not written.
                assert_eq!((read.to_string(), answers), (text, None), "{name} {seed}");
                assert_eq!(scenario(name, seed), written, "{name} {seed}");
            }
        }
    }
}
