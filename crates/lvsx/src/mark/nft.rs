//! `nft -j list ruleset` (libnftables-json(5)).

use std::net::IpAddr;

use lvsx_ipvs::mark::protocol_number;
use lvsx_ipvs::{Family, MarkChange, PortRange, Prefix};
use serde_json::Value;

use super::import::{Found, Imported, number};

/// Hooks that packets to the director meet before services see them.
pub(super) const HOOKS: [&str; 2] = ["prerouting", "input"];

/// The mark rules in a text.
///
/// # Errors
/// It is no JSON of nft.
pub(super) fn rules(text: &str) -> Result<Imported, String> {
    read(text, |_, _| true)
}

/// The same without the tables that iptables keeps in nftables.
pub(super) fn rules_beside_iptables(text: &str) -> Result<Imported, String> {
    read(text, |family, table| {
        table != "mangle" || !matches!(family, "ip" | "ip6")
    })
}

/// A chain of packets on their way in.
struct Chain {
    name: [String; 3],
    order: (usize, i64),
    rules: Vec<Result<Found, String>>,
}

fn read(text: &str, is_wanted: impl Fn(&str, &str) -> bool) -> Result<Imported, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let objects = json["nftables"]
        .as_array()
        .ok_or("no JSON of nft: `nftables` is missing")?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut imported = Imported::default();
    let mut chains: Vec<Chain> = Vec::new();
    for chain in objects.iter().filter_map(|object| object.get("chain")) {
        let hook = HOOKS.iter().position(|hook| chain["hook"] == *hook);
        if let Some(hook) = hook
            && is_wanted(&word(&chain["family"]), &word(&chain["table"]))
        {
            chains.push(Chain {
                name: ["family", "table", "name"].map(|key| word(&chain[key])),
                order: (hook, chain["prio"].as_i64().unwrap_or(0)),
                rules: Vec::new(),
            });
        }
    }
    for rule in objects.iter().filter_map(|object| object.get("rule")) {
        let name = ["family", "table", "chain"].map(|key| word(&rule[key]));
        let [family, table, chain] = &name;
        let at = format!(
            "{family} {table} {chain}, rule with handle {}",
            rule["handle"]
        );
        match chains.iter_mut().find(|chain| chain.name == name) {
            Some(chain) => chain.rules.push(found(&at, family, &rule["expr"])),
            None if is_wanted(family, table) && sets_mark(&rule["expr"]) => imported.left.push(
                format!("{at}: only chains of the hooks prerouting and input are looked at; put it there"),
            ),
            None => {}
        }
    }
    chains.sort_by_key(|chain| chain.order);
    for chain in chains {
        imported.take_chain(&chain.rules);
    }
    Ok(imported)
}

fn sets_mark(statements: &Value) -> bool {
    let mut statements = statements.as_array().into_iter().flatten();
    statements.any(|statement| statement["mangle"]["key"]["meta"]["key"] == "mark")
}

fn found(at: &str, family: &str, statements: &Value) -> Result<Found, String> {
    let family = match family {
        "ip" => Some(Family::V4),
        "ip6" => Some(Family::V6),
        "inet" => None,
        other => return Err(format!("{at}: family {other} has no services")),
    };
    let mut found = Found::new(at, family);
    let mut trouble = None;
    let mut leads_on = None;
    for statement in statements.as_array().into_iter().flatten() {
        let Some((kind, value)) = statement.as_object().and_then(|it| it.iter().next()) else {
            continue;
        };
        let understood = match &**kind {
            "match" => matching(&mut found, value),
            "mangle" if value["key"]["meta"]["key"] == "mark" => {
                found.change = change(&value["value"]);
                found.change.is_some()
            }
            "counter" | "comment" | "log" => true,
            "accept" | "drop" | "reject" | "return" | "queue" => {
                found.ends = true;
                true
            }
            "jump" | "goto" | "xt" | "vmap" => {
                leads_on = Some(statement.to_string());
                true
            }
            _ => false,
        };
        if !understood && trouble.is_none() {
            trouble = Some(statement.to_string());
        }
    }
    if let Some(leads_on) = leads_on {
        return Err(format!(
            "{at}: what `{leads_on}` does to marks is not known here"
        ));
    }
    match trouble {
        Some(statement) if sets_mark(statements) => Err(format!(
            "{at}: `{statement}` cannot be said in a rule of lvsx"
        )),
        _ => Ok(found),
    }
}

/// Takes over a match. `false`: a rule of lvsx cannot say it.
fn matching(found: &mut Found, value: &Value) -> bool {
    if value["op"] != "==" && value["op"] != "in" {
        return false;
    }
    let (left, right) = (&value["left"], &value["right"]);
    let payload = &left["payload"];
    let place = match (left["meta"]["key"].as_str(), payload["protocol"].as_str()) {
        (Some("iifname" | "iif"), _) => "interface",
        (Some("l4proto"), _) => "protocol",
        (Some("nfproto"), _) => "family",
        (None, Some(protocol)) => {
            let field = payload["field"].as_str().unwrap_or_default();
            return of_payload(found, protocol, field, right);
        }
        _ => return false,
    };
    let words: Option<Vec<String>> = values(right)
        .into_iter()
        .map(|value| match value {
            Value::String(word) => Some(word.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .collect();
    let Some(words) = words else { return false };
    put(found, place, &words)
}

fn of_payload(found: &mut Found, protocol: &str, field: &str, right: &Value) -> bool {
    let words: Option<Vec<String>> = values(right).into_iter().map(word_of).collect();
    match words {
        Some(words) => put_field(found, protocol, field, &words),
        None => false,
    }
}

/// A value as the text form of nft has it.
fn word_of(value: &Value) -> Option<String> {
    if let Some(prefix) = value.get("prefix") {
        return Some(format!(
            "{}/{}",
            prefix["addr"].as_str()?,
            prefix["len"].as_u64()?
        ));
    }
    if let Some(range) = value["range"].as_array() {
        let [first, last] = &**range else { return None };
        return Some(format!("{}-{}", word_of(first)?, word_of(last)?));
    }
    match value {
        Value::String(word) => Some(word.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The members of a set, or the one value.
fn values(value: &Value) -> Vec<&Value> {
    match value["set"].as_array() {
        Some(members) => members.iter().collect(),
        None => vec![value],
    }
}

/// What a header field must be, with its values as words. `false`: a rule of lvsx cannot say it.
pub(super) fn put_field(found: &mut Found, header: &str, field: &str, words: &[String]) -> bool {
    let family = match header {
        "ip" => Some(Family::V4),
        "ip6" => Some(Family::V6),
        _ => None,
    };
    match (header, field) {
        ("ip" | "ip6", "daddr" | "saddr") => {
            if !is_family(found, family) {
                return false;
            }
            let prefixes: Option<Vec<Prefix>> = words.iter().map(|word| prefix(word)).collect();
            let Some(prefixes) = prefixes else {
                return false;
            };
            let place = if field == "daddr" {
                &mut found.to
            } else {
                &mut found.from
            };
            fill(place, prefixes)
        }
        ("ip", "protocol") | ("ip6", "nexthdr") => {
            is_family(found, family) && put(found, "protocol", words)
        }
        ("tcp" | "udp" | "sctp" | "th", "dport" | "sport") => {
            if header != "th" && !put(found, "protocol", &[header.to_owned()]) {
                return false;
            }
            let ranges: Option<Vec<PortRange>> =
                words.iter().map(|word| word.parse().ok()).collect();
            let Some(ranges) = ranges else { return false };
            let place = if field == "dport" {
                &mut found.ports
            } else {
                &mut found.from_ports
            };
            fill(place, ranges)
        }
        _ => false,
    }
}

/// The same for what is no header field.
pub(super) fn put(found: &mut Found, place: &str, words: &[String]) -> bool {
    match place {
        "interface" => {
            let is_plain = words.iter().all(|word| !word.contains('*'));
            is_plain && fill(&mut found.interfaces, words.to_vec())
        }
        "protocol" => {
            let name = |word: &String| match &**word {
                "ipv6-icmp" => Some(58),
                word => protocol_number(word),
            };
            let numbers: Option<Vec<u8>> = words.iter().map(name).collect();
            match numbers {
                // `meta l4proto tcp tcp dport 80` says it twice.
                Some(numbers) if numbers == found.protocols => true,
                Some(numbers) => fill(&mut found.protocols, numbers),
                None => false,
            }
        }
        "family" => match words {
            [word] if word == "ipv4" => is_family(found, Some(Family::V4)),
            [word] if word == "ipv6" => is_family(found, Some(Family::V6)),
            _ => false,
        },
        _ => false,
    }
}

fn is_family(found: &mut Found, family: Option<Family>) -> bool {
    let agrees = found.family.is_none() || found.family == family;
    found.family = family;
    agrees
}

/// Values for a place that had none; two matches of one place are both to hold, which one list cannot say.
fn fill<T>(place: &mut Vec<T>, values: Vec<T>) -> bool {
    let is_free = place.is_empty();
    place.extend(values);
    is_free
}

fn prefix(word: &str) -> Option<Prefix> {
    match word.parse::<IpAddr>() {
        Ok(addr) => Some(Prefix::host(addr)),
        Err(_) => word.parse().ok(),
    }
}

/// The new value of the mark: a number, or the old one joined with a number.
fn change(value: &Value) -> Option<MarkChange> {
    let numeric = |value: &Value| {
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.or_else(|| number_of(value))
    };
    if let Some(value) = numeric(value) {
        return Some(MarkChange::exactly(value));
    }
    let (operation, operands) = value.as_object()?.iter().next()?;
    let [left, right] = &**operands.as_array()? else {
        return None;
    };
    if left["meta"]["key"] == "mark" {
        return joined(operation, numeric(right)?);
    }
    // `meta mark & A | B`, as nft writes a mask.
    let inner = change(left)?;
    let outer = joined(operation, numeric(right)?)?;
    Some(MarkChange {
        value: inner.value & !outer.mask ^ outer.value,
        mask: inner.mask | outer.mask,
    })
}

fn number_of(value: &Value) -> Option<u32> {
    number(value.as_str()?)
}

/// What an operation with a number does to the mark.
pub(super) fn joined(operation: &str, value: u32) -> Option<MarkChange> {
    let (value, mask) = match operation {
        "|" | "or" => (value, value),
        "&" | "and" => (0, !value),
        "^" | "xor" => (value, 0),
        _ => return None,
    };
    Some(MarkChange { value, mask })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULESET: &str = r#"{"nftables": [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "lvs", "handle": 1}},
        {"chain": {"family": "inet", "table": "lvs", "name": "in", "handle": 1, "type": "filter", "hook": "prerouting", "prio": -150, "policy": "accept"}},
        {"chain": {"family": "inet", "table": "lvs", "name": "out", "handle": 2, "type": "route", "hook": "output", "prio": -150, "policy": "accept"}},
        {"rule": {"family": "inet", "table": "lvs", "chain": "in", "handle": 3, "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "192.168.1.40"}},
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [80, {"range": [8000, 8099]}]}}},
            {"counter": {"packets": 0, "bytes": 0}},
            {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}}]}},
        {"rule": {"family": "inet", "table": "lvs", "chain": "in", "handle": 4, "expr": [
            {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth0"}},
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip6", "field": "saddr"}}, "right": {"prefix": {"addr": "2001:db8::", "len": 32}}}},
            {"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"|": [{"meta": {"key": "mark"}}, 16]}}}]}},
        {"rule": {"family": "inet", "table": "lvs", "chain": "in", "handle": 5, "expr": [
            {"match": {"op": "!=", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}},
            {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 3}}]}},
        {"rule": {"family": "inet", "table": "lvs", "chain": "out", "handle": 6, "expr": [
            {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 4}}]}},
        {"rule": {"family": "inet", "table": "lvs", "chain": "in", "handle": 7, "expr": [{"accept": null}]}}
    ]}"#;

    #[test]
    fn a_ruleset_is_read() {
        let imported = rules(RULESET).expect("JSON of nft");
        let taken: Vec<String> = imported.rules.iter().map(ToString::to_string).collect();
        assert_eq!(
            taken,
            [
                "mark 1 protocol tcp to 192.168.1.40 ports 80",
                "mark 1 protocol tcp to 192.168.1.40 ports 8000-8099",
                "mark 0x10/0x10 from 2001:db8::/32 interface eth0",
            ]
        );
        assert_eq!(imported.left.len(), 2, "{:?}", imported.left);
        assert!(
            imported
                .left
                .iter()
                .any(|why| why.contains("handle 5") && why.contains("!="))
        );
        assert!(imported.left.iter().any(|why| why.contains("handle 6")));
    }

    #[test]
    fn tables_of_iptables_can_be_left_out() {
        let text = RULESET
            .replace("\"inet\"", "\"ip\"")
            .replace("\"lvs\"", "\"mangle\"");
        let imported = rules_beside_iptables(&text).expect("JSON of nft");
        assert_eq!(imported, Imported::default());
    }

    #[test]
    fn operations_on_the_mark_are_masks() {
        let change = |text: &str| {
            let change = change(&serde_json::from_str(text).expect("JSON"));
            change.map(|change| (change.value, change.mask))
        };
        let mark = r#"{"meta": {"key": "mark"}}"#;
        assert_eq!(change("7"), Some((7, u32::MAX)));
        assert_eq!(
            change(&format!(r#"{{"&": [{mark}, 240]}}"#)),
            Some((0, !240))
        );
        assert_eq!(
            change(&format!(r#"{{"|": [{{"&": [{mark}, 4294967040]}}, 5]}}"#)),
            Some((5, 0xff))
        );
        assert_eq!(change(r#"{"numgen": {"mode": "inc", "mod": 2}}"#), None);
    }
}
