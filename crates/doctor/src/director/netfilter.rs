//! Netfilter's rules about balanced packets, which netfilter never sees: the director's programs take
//! them before.

use std::process::{Command, Stdio};

use super::{Site, nftables};
use crate::{Fault, Finding};

pub(super) fn examine(site: &Site) -> Vec<Finding> {
    // The kernel's IPVS sits behind netfilter's first hooks.
    if site.lvsd.is_none() {
        return Vec::new();
    }
    let addresses: Vec<_> = site
        .virtual_addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    ["iptables", "ip6tables"]
        .into_iter()
        .flat_map(|program| unseen(program, &saved(program), &addresses))
        .chain(nftables::examine(&addresses))
        .collect()
}

/// What `iptables-save` says; nothing where it is not there or says nothing.
fn saved(program: &str) -> String {
    let output = Command::new(format!("{program}-save"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// The rules that name a virtual address as destination. Those that set marks are another matter:
/// `lvsx mark import` takes them.
fn unseen(program: &str, text: &str, addresses: &[String]) -> Vec<Finding> {
    let mut table = "filter";
    let mut findings = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        }
        let Some(rule) = line.strip_prefix("-A ") else {
            continue;
        };
        let words: Vec<_> = rule.split_ascii_whitespace().collect();
        let names = |address: &String| {
            words.windows(2).any(|pair| {
                matches!(pair[0], "-d" | "--destination")
                    && pair[1].split('/').next() == Some(address)
            })
        };
        let chain = words.first().copied().unwrap_or_default();
        let too_late = matches!(chain, "PREROUTING" | "INPUT" | "FORWARD");
        if too_late && !words.contains(&"MARK") && addresses.iter().any(names) {
            findings.push(Finding::here(
                Fault::RuleUnseen,
                format!("{program} has `{rule}` in {table}"),
                format!("{program} -t {table} -D {rule}"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_about_a_virtual_address_are_found_in_their_table() {
        let text = "*mangle\n\
            -A PREROUTING -d 192.168.1.40/32 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x1/0xffffffff\n\
            COMMIT\n*filter\n:INPUT ACCEPT [0:0]\n\
            -A INPUT -d 192.168.1.40/32 -j DROP\n\
            -A INPUT -d 192.168.1.4/32 -j DROP\n\
            -A OUTPUT -d 192.168.1.40/32 -j DROP\nCOMMIT\n";
        let found = unseen("iptables", text, &["192.168.1.40".to_owned()]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            found[0].cure,
            "iptables -t filter -D INPUT -d 192.168.1.40/32 -j DROP"
        );
    }
}
