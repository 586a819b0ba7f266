//! lvsd itself: what it serves, what it cannot, how full it is, and who else balances here.

use serde_json::Value;

use super::Site;
use super::site::Lvsd;
use crate::{Fault, Finding};

/// From this share of the rated connections on, in percent.
const FULL: u64 = 90;

pub(super) fn examine(site: &Site) -> Vec<Finding> {
    let Some(lvsd) = &site.lvsd else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let problems = lvsd.status["serving"]["problems"].as_array();
    for problem in problems.into_iter().flatten().filter_map(Value::as_str) {
        findings.push(Finding::here(
            Fault::NotServed,
            problem.to_owned(),
            not_served(problem, site),
        ));
    }
    findings.extend(full(lvsd));
    if lvsd.kernel_services > 0 {
        let count = lvsd.kernel_services;
        findings.push(Finding::here(
            Fault::KernelServes,
            format!(
                "the kernel's IPVS has {count} services, lvsd has {}",
                site.services.len()
            ),
            "ipvsadm --kernel -C".to_owned(),
        ));
    }
    findings
}

/// Mostly another's XDP program sits on the interface that the problem names.
fn not_served(problem: &str, site: &Site) -> String {
    let words: Vec<_> = problem
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || ".-_@".contains(letter)))
        .collect();
    let named = site
        .cards
        .iter()
        .find(|card| words.contains(&card.name.as_str()));
    named.map_or_else(
        || "lvsx status".to_owned(),
        |card| format!("ip link set dev {} xdp off", card.name),
    )
}

fn full(lvsd: &Lvsd) -> Option<Finding> {
    let connections = &lvsd.status["connections"];
    let (live, rated) = (
        connections["live"].as_u64()?,
        connections["rated"].as_u64()?,
    );
    (rated > 0 && live * 100 >= rated * FULL).then(|| {
        Finding::here(
            Fault::TableFull,
            format!("{live} connections are live, {rated} is what the table is rated for"),
            format!("lvsd --stop-forwarding; lvsd --connections {} &", rated * 2),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn site(status: Value, kernel_services: usize) -> Site {
        Site {
            services: Vec::new(),
            cards: Vec::new(),
            addresses: Vec::new(),
            lvsd: Some(Lvsd {
                status,
                settings: Vec::new(),
                marks: Vec::new(),
                kernel_services,
            }),
            connections: String::new(),
        }
    }

    #[test]
    fn a_full_table_a_second_director_and_an_interface_not_served_are_found() {
        let status = |live| {
            json!({
                "connections": { "live": live, "rated": 1000 },
                "serving": { "problems": ["eth9 is gone"] },
            })
        };
        let faults = |site| {
            examine(&site)
                .iter()
                .map(|found| found.fault)
                .collect::<Vec<_>>()
        };
        assert_eq!(faults(site(status(899), 0)), [Fault::NotServed]);
        assert_eq!(
            faults(site(status(900), 2)),
            [Fault::NotServed, Fault::TableFull, Fault::KernelServes]
        );
        assert_eq!(faults(site(Value::Null, 0)), []);
    }
}
