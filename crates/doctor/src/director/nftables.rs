//! Rules of nftables about balanced packets, as `nft -j list ruleset` shows them.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Fault, Finding};

/// Where packets come by that are balanced before.
const TOO_LATE: [&str; 4] = ["ingress", "prerouting", "input", "forward"];

/// The rules of this network namespace that would drop, rewrite or hold up packets for one of `addresses`.
pub(super) fn examine(addresses: &[String]) -> Vec<Finding> {
    unseen(&listed(), addresses)
}

/// What nft says; nothing where it is not there or says nothing.
fn listed() -> Value {
    let output = Command::new("nft")
        .args(["-j", "list", "ruleset"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.map_or(Value::Null, |output| {
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    })
}

fn unseen(ruleset: &Value, addresses: &[String]) -> Vec<Finding> {
    let objects = ruleset["nftables"].as_array();
    let objects: Vec<&Value> = objects.into_iter().flatten().collect();
    let of_kind = |kind: &'static str| {
        let found = objects.iter().map(move |object| &object[kind]);
        found.filter(|found| found.is_object())
    };
    let chains: Vec<&Value> = of_kind("chain").collect();
    let sets: Vec<&Value> = of_kind("set").collect();
    let mut findings = Vec::new();
    for rule in of_kind("rule") {
        let words = ["family", "table", "chain"].map(|key| rule[key].as_str().unwrap_or_default());
        let is_of =
            |other: &&&Value| other["family"] == rule["family"] && other["table"] == rule["table"];
        let mut near = chains.iter().filter(is_of);
        let is_elsewhere = near.any(|chain| chain["name"] == rule["chain"] && !is_too_late(chain));
        if is_elsewhere || is_of_iptables(words) {
            continue;
        }
        let expressions = rule["expr"].as_array();
        let mut parts = expressions.into_iter().flatten();
        let sets: Vec<&Value> = sets.iter().filter(is_of).copied().collect();
        let names = parts.clone().any(|part| is_about(part, &sets, addresses));
        if names && parts.any(matters) {
            let [family, table, chain] = words;
            let what = format!("nftables has a rule in {family} {table} {chain}");
            let handle = &rule["handle"];
            let cure = format!("nft delete rule {family} {table} {chain} handle {handle}");
            findings.push(Finding::here(Fault::RuleUnseen, what, cure));
        }
    }
    findings
}

/// Whether packets reach a chain after they are balanced: by its hook, or from another chain.
fn is_too_late(chain: &Value) -> bool {
    match chain["hook"].as_str() {
        Some(hook) => TOO_LATE.contains(&hook),
        None => true,
    }
}

/// Whether iptables keeps its rules there, and shows them itself.
fn is_of_iptables([family, table, chain]: [&str; 3]) -> bool {
    ["ip", "ip6"].contains(&family)
        && ["raw", "mangle", "nat", "filter", "security"].contains(&table)
        && ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"].contains(&chain)
}

/// Whether a part of a rule asks for one of the addresses as the destination, by itself or in a set.
fn is_about(part: &Value, sets: &[&Value], addresses: &[String]) -> bool {
    let asked = &part["match"];
    let is_destination = asked["left"]["payload"]["field"] == "daddr" && asked["op"] != "!=";
    let is_ours = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| addresses.iter().any(|it| it == text))
    };
    let any = |values: &Value| {
        values
            .as_array()
            .is_some_and(|values| values.iter().any(is_ours))
    };
    let right = &asked["right"];
    let named = right.as_str().and_then(|text| text.strip_prefix('@'));
    let is_in_named = |set: &&Value| set["name"].as_str() == named && any(&set["elem"]);
    is_destination
        && (is_ours(right) || any(&right["set"]) || named.is_some() && sets.iter().any(is_in_named))
}

/// Whether a part of a rule does anything to a packet. What sets its mark is another matter: `lvsx mark import` takes that.
fn matters(part: &Value) -> bool {
    const HARMLESS: [&str; 6] = ["match", "counter", "log", "comment", "accept", "return"];
    let kinds = part.as_object();
    kinds.into_iter().flatten().any(|(kind, value)| {
        !HARMLESS.contains(&kind.as_str()) && value["key"]["meta"]["key"] != "mark"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(chain: &str, handle: u32, right: Value, does: Value) -> Value {
        let left = json!({ "payload": { "protocol": "ip", "field": "daddr" } });
        let asked = json!({ "match": { "op": "==", "left": left, "right": right } });
        json!({ "rule": { "family": "inet", "table": "t", "chain": chain, "handle": handle, "expr": [asked, does] } })
    }

    #[test]
    fn rules_that_would_do_something_to_balanced_packets_are_found() {
        let chain = |name: &str, hook: Option<&str>| json!({ "chain": { "family": "inet", "table": "t", "name": name, "hook": hook } });
        let ours = json!("192.168.1.40");
        let drop = json!({ "drop": null });
        let ruleset = json!({ "nftables": [
            { "metainfo": { "json_schema_version": 1 } },
            chain("in", Some("input")), chain("out", Some("output")), chain("web", None),
            { "set": { "family": "inet", "table": "t", "name": "vips", "elem": ["10.0.0.1", "192.168.1.40"] } },
            { "set": { "family": "inet", "table": "t", "name": "others", "elem": ["10.0.0.1"] } },
            rule("in", 1, ours.clone(), drop.clone()),
            rule("web", 2, json!("@vips"), json!({ "dnat": { "addr": "10.0.0.9" } })),
            rule("in", 3, json!({ "set": ["1.2.3.4", "192.168.1.40"] }), json!({ "reject": null })),
            rule("in", 10, json!("@others"), drop.clone()),
            rule("in", 11, json!("192.168.1.4"), drop.clone()),
            rule("out", 12, ours.clone(), drop),
            rule("in", 13, ours.clone(), json!({ "accept": null })),
            rule("in", 14, ours, json!({ "mangle": { "key": { "meta": { "key": "mark" } }, "value": 7 } })),
        ] });
        let found = unseen(&ruleset, &["192.168.1.40".to_owned()]);
        let cures: Vec<_> = found.iter().map(|it| it.cure.as_str()).collect();
        let wanted = ["in handle 1", "web handle 2", "in handle 3"];
        assert_eq!(
            cures,
            wanted.map(|end| format!("nft delete rule inet t {end}"))
        );
        assert!(unseen(&Value::Null, &["192.168.1.40".to_owned()]).is_empty());
    }
}
