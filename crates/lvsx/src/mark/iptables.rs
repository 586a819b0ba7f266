//! `iptables-save` and `ip6tables-save`.

use lvsx_ipvs::mark::protocol_number;
use lvsx_ipvs::{Family, MarkChange, PortRange};

use super::import::{Found, Imported, number};

/// Chains that packets to the director meet before services see them.
const CHAINS: [&str; 2] = ["PREROUTING", "INPUT"];

/// The mark rules in a text.
pub(super) fn rules(text: &str) -> Imported {
    let family = if text.contains("by ip6tables-save") {
        Family::V6
    } else {
        Family::V4
    };
    let mut imported = Imported::default();
    let mut table = "";
    let mut chains: [Vec<Result<Found, String>>; 2] = Default::default();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        }
        let Some(rule) = line.strip_prefix("-A ").or_else(|| {
            // With counters: [packets:bytes] -A ...
            let (counters, rule) = line.split_once("] -A ")?;
            counters.starts_with('[').then_some(rule)
        }) else {
            continue;
        };
        let words = words(rule);
        let Some((chain, words)) = words.split_first() else {
            continue;
        };
        let place = CHAINS.iter().position(|known| known == chain);
        match place {
            Some(place) if table == "mangle" => chains[place].push(read(line, words, family)),
            _ if words.iter().any(|word| word == "MARK") => imported.left.push(format!(
                "`{line}`: only PREROUTING and INPUT of the table mangle are looked at; put it there"
            )),
            _ => {}
        }
    }
    for chain in chains {
        imported.take_chain(&chain);
    }
    imported
}

/// The words of a line; quotes hold blanks together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut is_quoted, mut is_escaped) = (false, false);
    for letter in line.chars() {
        match letter {
            _ if is_escaped => {
                word.push(letter);
                is_escaped = false;
            }
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            blank if blank.is_whitespace() && !is_quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            letter => word.push(letter),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A rule from the words behind its chain.
fn read(line: &str, words: &[String], family: Family) -> Result<Found, String> {
    let mut found = Found::new(line, Some(family));
    let mut is_mark = false;
    let mut target = "";
    let mut trouble: Option<String> = None;
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_default();
        let understood = match word {
            "-p" => take(&mut found.protocols, protocol_number(value())),
            "-d" => take(&mut found.to, value().parse().ok()),
            "-s" => take(&mut found.from, value().parse().ok()),
            "-i" => take(&mut found.interfaces, Some(value().to_owned())),
            "--dport" => take(&mut found.ports, ports(value())),
            "--sport" => take(&mut found.from_ports, ports(value())),
            "--dports" => several(&mut found.ports, value()),
            "--sports" => several(&mut found.from_ports, value()),
            "-m" => matches!(
                value(),
                "tcp" | "udp" | "sctp" | "multiport" | "comment" | "addrtype"
            ),
            // Rules of lvsx concern local addresses alone.
            "--dst-type" => value() == "LOCAL",
            "--comment" => !value().is_empty(),
            "-j" | "-g" => {
                target = value();
                true
            }
            "--set-xmark" | "--set-mark" => {
                is_mark = true;
                found.change = change(value(), word == "--set-mark");
                found.change.is_some()
            }
            _ => false,
        };
        if !understood && trouble.is_none() {
            trouble = Some(word.to_owned());
        }
    }
    let is_end = matches!(
        target,
        "ACCEPT" | "DROP" | "RETURN" | "QUEUE" | "NFQUEUE" | "TPROXY"
    );
    let may_mark = !is_end
        && !matches!(
            target,
            "" | "LOG" | "NFLOG" | "TRACE" | "TTL" | "HL" | "DSCP" | "TOS" | "TCPMSS" | "CHECKSUM"
        );
    found.ends = is_end;
    match trouble {
        _ if !is_mark && !may_mark => Ok(found),
        _ if !is_mark && target != "MARK" => Err(format!(
            "`{line}`: what {target} does to marks is not known here"
        )),
        Some(word) => Err(format!(
            "`{line}`: `{word}` cannot be said in a rule of lvsx"
        )),
        None => Ok(found),
    }
}

fn take<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    let is_there = value.is_some();
    values.extend(value);
    is_there
}

/// `80` or `80:90`.
fn ports(text: &str) -> Option<PortRange> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    let first: u16 = if first.is_empty() {
        0
    } else {
        first.parse().ok()?
    };
    let last: u16 = if last.is_empty() {
        u16::MAX
    } else {
        last.parse().ok()?
    };
    (first <= last).then_some(PortRange { first, last })
}

fn several(values: &mut Vec<PortRange>, text: &str) -> bool {
    text.split(',').all(|range| take(values, ports(range)))
}

/// `0x1/0xff`. As `--set-mark` the bits of the value are cleared too.
fn change(text: &str, is_set_mark: bool) -> Option<MarkChange> {
    let Some((value, mask)) = text.split_once('/') else {
        return number(text).map(MarkChange::exactly);
    };
    let (value, mask) = (number(value)?, number(mask)?);
    let mask = if is_set_mark { mask | value } else { mask };
    Some(MarkChange { value, mask })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(imported: &Imported) -> Vec<String> {
        imported.rules.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mark_rules_of_the_tutorials_are_taken() {
        let text = r#"# Generated by iptables-save v1.8.9
*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 192.168.1.40/32 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x1/0xffffffff
[3:180] -A PREROUTING -d 192.168.1.40/32 -p tcp -m multiport --dports 443,8000:8099 -m comment --comment "web \"and\" more" -j MARK --set-xmark 0x1/0xffffffff
-A INPUT -s 10.0.0.0/8 -i eth1 -p udp -m udp --sport 5060 -j MARK --set-mark 0x10/0xf0
-A PREROUTING -p tcp -j LOG
COMMIT
*nat
-A PREROUTING -p tcp -j REDIRECT
COMMIT
"#;
        let imported = rules(text);
        assert_eq!(imported.left, Vec::<String>::new());
        assert_eq!(
            taken(&imported),
            [
                "mark 1 protocol tcp to 192.168.1.40 ports 80",
                "mark 1 protocol tcp to 192.168.1.40 ports 443",
                "mark 1 protocol tcp to 192.168.1.40 ports 8000-8099",
                "mark 0x10/0xf0 protocol udp from 10.0.0.0/8 from-ports 5060 interface eth1",
            ]
        );
    }

    #[test]
    fn ipv6_rules_without_addresses_are_ipv6() {
        let text = "# Generated by ip6tables-save v1.8.9\n*mangle\n-A PREROUTING -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x1/0xffffffff\n";
        assert_eq!(
            taken(&rules(text)),
            ["mark 1 family ipv6 protocol tcp ports 80"]
        );
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        for (rule, part) in [
            (
                "-A PREROUTING ! -s 10.0.0.0/8 -j MARK --set-xmark 0x1/0xffffffff",
                "`!`",
            ),
            (
                "-A PREROUTING -m set --match-set web dst -j MARK --set-xmark 0x1/0xffffffff",
                "`-m`",
            ),
            (
                "-A PREROUTING -i eth+ -j MARK --set-xmark 0x1/0xffffffff",
                "`eth+`",
            ),
            (
                "-A OUTPUT -p tcp -j MARK --set-xmark 0x1/0xffffffff",
                "PREROUTING and INPUT",
            ),
            ("-A PREROUTING -j CONNMARK --restore-mark", "CONNMARK"),
            ("-A PREROUTING -j web", "web"),
            (
                "-A PREROUTING -p tcp -j ACCEPT\n-A PREROUTING -j MARK --set-xmark 0x1/0xffffffff",
                "meet no later rule",
            ),
        ] {
            let imported = rules(&format!("*mangle\n{rule}\nCOMMIT\n"));
            let left = imported.left.join("\n");
            assert!(left.contains(part), "{rule}: {left}");
        }
    }
}
