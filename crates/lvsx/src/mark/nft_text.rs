//! `nft list ruleset`: the text form (nft(8)).

use lvsx_ipvs::{Family, MarkChange};

use super::import::{Found, Imported, number};
use super::nft::{HOOKS, joined, put, put_field};

/// The mark rules in a text.
pub(super) fn rules(text: &str) -> Imported {
    let mut imported = Imported::default();
    let mut family = String::new();
    let mut chain: Option<(bool, Vec<Result<Found, String>>)> = None;
    for line in text.lines().map(str::trim) {
        let words = words(line);
        match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["table", of, _, "{"] => (*of).clone_into(&mut family),
            ["chain", _, "{"] => chain = Some((false, Vec::new())),
            ["type", _, "hook", hook, ..] => {
                if let Some((is_ours, _)) = &mut chain {
                    *is_ours = HOOKS.contains(hook);
                }
            }
            ["}"] => {
                if let Some((true, found)) = chain.take() {
                    imported.take_chain(&found);
                }
            }
            [] => {}
            [..] => match &mut chain {
                Some((true, found)) => found.push(rule(line, &family, &words)),
                Some((false, _)) if sets_mark(&words) => imported.left.push(format!(
                    "`{line}`: only chains of the hooks prerouting and input are looked at; put it there"
                )),
                _ => {}
            },
        }
    }
    imported
}

/// Words, with braces and commas apart and quotes taken off.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => words
                .last_mut()
                .into_iter()
                .for_each(|word| word.push(letter)),
            '#' => break,
            '{' | '}' | ',' | ';' => words.extend([letter.to_string(), String::new()]),
            blank if blank.is_whitespace() => words.push(String::new()),
            _ => words
                .last_mut()
                .into_iter()
                .for_each(|word| word.push(letter)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn sets_mark(words: &[String]) -> bool {
    words
        .windows(2)
        .any(|pair| pair[0] == "mark" && pair[1] == "set")
}

fn rule(line: &str, family: &str, words: &[String]) -> Result<Found, String> {
    let family = match family {
        "ip" => Some(Family::V4),
        "ip6" => Some(Family::V6),
        _ => None,
    };
    let mut found = Found::new(line, family);
    let mut rest: &[String] = words;
    let mut trouble = None;
    while !rest.is_empty() {
        let plain: Vec<&str> = rest.iter().take(3).map(String::as_str).collect();
        let step = match &plain[..] {
            [
                header @ ("ip" | "ip6" | "tcp" | "udp" | "sctp" | "th"),
                field,
                ..,
            ] => {
                let (values, behind) = values(&rest[2..]);
                put_field(&mut found, header, field, &values).then_some(behind)
            }
            [
                "meta",
                key @ ("l4proto" | "nfproto" | "iifname" | "iif"),
                ..,
            ] => {
                let (values, behind) = values(&rest[2..]);
                put(&mut found, place(key), &values).then_some(behind)
            }
            [key @ ("iifname" | "iif"), ..] => {
                let (values, behind) = values(&rest[1..]);
                put(&mut found, place(key), &values).then_some(behind)
            }
            ["meta", "mark", "set"] => mark(&mut found, &rest[3..]),
            ["mark", "set", ..] => mark(&mut found, &rest[2..]),
            ["counter", "packets", ..] => rest.get(5..),
            ["counter" | "log" | ";", ..] => rest.get(1..),
            ["comment", ..] => rest.get(2..),
            ["accept" | "drop" | "return", ..] => {
                found.ends = true;
                rest.get(1..)
            }
            ["jump" | "goto", chain, ..] => {
                return Err(format!(
                    "`{line}`: what chain {chain} does to marks is not known here"
                ));
            }
            _ => None,
        };
        match step {
            Some(behind) => rest = behind,
            None => {
                trouble.get_or_insert_with(|| plain.join(" "));
                rest = &rest[1..];
            }
        }
    }
    match trouble {
        Some(part) if sets_mark(words) => Err(format!(
            "`{line}`: `{part}` cannot be said in a rule of lvsx"
        )),
        _ => Ok(found),
    }
}

fn place(key: &str) -> &'static str {
    match key {
        "l4proto" => "protocol",
        "nfproto" => "family",
        _ => "interface",
    }
}

/// A value or the members of a set, and what is behind.
fn values(words: &[String]) -> (Vec<String>, &[String]) {
    match words {
        [open, members @ ..] if open == "{" => {
            let end = members
                .iter()
                .position(|word| word == "}")
                .unwrap_or(members.len());
            let values = members
                .iter()
                .take(end)
                .filter(|word| *word != ",")
                .cloned();
            (values.collect(), members.get(end + 1..).unwrap_or_default())
        }
        [value, behind @ ..] => (vec![value.clone()], behind),
        [] => (Vec::new(), &[]),
    }
}

/// What the mark is set to: `1`, `meta mark | 0x10`, `mark and 0xf0 or 1`. `None`: something else.
fn mark<'w>(found: &mut Found, words: &'w [String]) -> Option<&'w [String]> {
    let mut rest = words;
    if rest.first().is_some_and(|word| word == "meta") {
        rest = &rest[1..];
    }
    let (first, mut rest) = rest.split_first()?;
    let mut change = if first == "mark" {
        MarkChange { value: 0, mask: 0 }
    } else {
        MarkChange::exactly(number(first)?)
    };
    while let [operation, operand, behind @ ..] = rest {
        let Some(outer) = number(operand).and_then(|operand| joined(operation, operand)) else {
            break;
        };
        change = MarkChange {
            value: change.value & !outer.mask ^ outer.value,
            mask: change.mask | outer.mask,
        };
        rest = behind;
    }
    found.change = Some(change);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_is_read() {
        let text = r#"
table inet lvs {
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		ip daddr 192.168.1.40 tcp dport { 80, 443, 8000-8099 } counter packets 0 bytes 0 meta mark set 0x00000001
		iifname "eth0" meta l4proto udp ip6 saddr 2001:db8::/32 meta mark set meta mark | 0x00000010 comment "voice # calls"
		meta mark set meta mark & 0xffffff00 | 0x00000005
		tcp dport != 22 meta mark set 0x3
		ct state new meta mark set 0x4
		tcp dport 25 drop
	}
	chain output {
		type route hook output priority mangle; policy accept;
		meta mark set 0x9
	}
}
"#;
        let imported = rules(text);
        let taken: Vec<String> = imported.rules.iter().map(ToString::to_string).collect();
        assert_eq!(
            taken,
            [
                "mark 1 protocol tcp to 192.168.1.40 ports 80",
                "mark 1 protocol tcp to 192.168.1.40 ports 443",
                "mark 1 protocol tcp to 192.168.1.40 ports 8000-8099",
                "mark 0x10/0x10 protocol udp from 2001:db8::/32 interface eth0",
                "mark 0x5/0xff",
            ]
        );
        assert_eq!(imported.left.len(), 3, "{:?}", imported.left);
        for (why, part) in imported
            .left
            .iter()
            .zip(["tcp dport !=", "ct state", "output"])
        {
            assert!(why.contains(part) || why.contains("0x9"), "{why}");
        }
    }

    #[test]
    fn an_early_end_of_the_chain_is_named() {
        let text = "table ip a {\nchain b {\ntype filter hook input priority 0;\ntcp dport 80 mark set 1 accept\nmark set 2\n}\n}\n";
        let imported = rules(text);
        assert_eq!(imported.rules.len(), 1);
        assert!(
            imported.left[0].contains("meet no later rule"),
            "{:?}",
            imported.left
        );
    }
}
