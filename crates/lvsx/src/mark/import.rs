//! Taking over the mark rules of nftables and iptables.
//!
//! Each reader turns its text into [`Found`] rules; one that says more than a mark rule of lvsx can is named with the reason.

use std::process::Command;

use lvsx_ipvs::{Family, MarkChange, MarkEdit, MarkRule, PortRange, Prefix};

use super::{Outcome, client, iptables, lines, nft, nft_text, read};

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    only_show: bool,
    replace: bool,
    partial: bool,
    files: Vec<String>,
}

impl Options {
    pub(super) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        for word in words {
            match *word {
                "-n" | "--dry-run" => options.only_show = true,
                "--replace" => options.replace = true,
                "--partial" => options.partial = true,
                option if option.len() > 1 && option.starts_with('-') => {
                    return Err(format!("`{option}` is unknown"));
                }
                file => options.files.push(file.to_owned()),
            }
        }
        Ok(options)
    }
}

/// A rule of another tool, with several values where that tool has sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// How it reads there.
    pub(super) text: String,
    pub(super) family: Option<Family>,
    pub(super) protocols: Vec<u8>,
    pub(super) to: Vec<Prefix>,
    pub(super) ports: Vec<PortRange>,
    pub(super) from: Vec<Prefix>,
    pub(super) from_ports: Vec<PortRange>,
    pub(super) interfaces: Vec<String>,
    pub(super) change: Option<MarkChange>,
    /// Its packets meet no later rule.
    pub(super) ends: bool,
}

impl Found {
    /// A rule that says nothing yet.
    pub(super) fn new(text: &str, family: Option<Family>) -> Self {
        Self {
            text: text.to_owned(),
            family,
            protocols: Vec::new(),
            to: Vec::new(),
            ports: Vec::new(),
            from: Vec::new(),
            from_ports: Vec::new(),
            interfaces: Vec::new(),
            change: None,
            ends: false,
        }
    }

    /// The rules that say the same, one for each combination of values.
    fn rules(&self, change: MarkChange) -> Result<Vec<MarkRule>, String> {
        let mut rules = vec![MarkRule {
            family: self.family,
            ..MarkRule::new(change)
        }];
        each(&mut rules, &self.protocols, |rule, it| {
            rule.protocol = Some(*it)
        });
        each(&mut rules, &self.to, |rule, it| rule.to = Some(*it));
        each(&mut rules, &self.ports, |rule, it| rule.ports = *it);
        each(&mut rules, &self.from, |rule, it| rule.from = Some(*it));
        each(&mut rules, &self.from_ports, |rule, it| {
            rule.from_ports = *it
        });
        each(&mut rules, &self.interfaces, |rule, it| {
            rule.interface = Some(it.clone())
        });
        rules.into_iter().map(MarkRule::checked).collect()
    }
}

fn each<T>(rules: &mut Vec<MarkRule>, values: &[T], set: impl Fn(&mut MarkRule, &T)) {
    if values.is_empty() {
        return;
    }
    let old = std::mem::take(rules);
    for value in values {
        rules.extend(old.iter().map(|rule| {
            let mut rule = rule.clone();
            set(&mut rule, value);
            rule
        }));
    }
}

/// What was made of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Imported {
    pub(super) rules: Vec<MarkRule>,
    /// Rules that cannot be taken, with the reason.
    pub(super) left: Vec<String>,
}

impl Imported {
    /// Takes the rules of one chain, in their order. Those that mark nothing count only by ending the chain.
    pub(super) fn take_chain(&mut self, chain: &[Result<Found, String>]) {
        for (place, rule) in chain.iter().enumerate() {
            let marks = |rule: &Result<Found, String>| {
                rule.as_ref().map_or(true, |found| found.change.is_some())
            };
            let is_last = !chain.iter().skip(place + 1).any(marks);
            match rule {
                Err(why) => self.left.push(why.clone()),
                Ok(found) if found.ends && !is_last => self.left.push(format!(
                    "`{}`: its packets meet no later rule there, but here all rules are looked at",
                    found.text
                )),
                Ok(found) => {
                    let Some(change) = found.change else { continue };
                    match found.rules(change) {
                        Ok(rules) => self.rules.extend(rules),
                        Err(why) => self.left.push(format!("`{}`: {why}", found.text)),
                    }
                }
            }
        }
    }

    fn join(&mut self, other: Self) {
        self.rules.extend(other.rules);
        self.left.extend(other.left);
    }
}

/// The mark rules in a text of any of the tools.
pub(super) fn of_text(text: &str) -> Result<Imported, String> {
    let first = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or_default();
    if first.starts_with('{') {
        nft::rules(text)
    } else if first.starts_with("table ") || first.starts_with("flush ") {
        Ok(nft_text::rules(text))
    } else if first.starts_with('*') {
        Ok(iptables::rules(text))
    } else if first.is_empty() {
        Ok(Imported::default())
    } else {
        Err(format!(
            "`{first}` is neither of iptables-save nor of nft list ruleset, with or without -j"
        ))
    }
}

/// What the tools of this machine say; those that are not there say nothing.
fn of_tools() -> Result<Imported, String> {
    let mut imported = Imported::default();
    let mut has_tool = false;
    for tool in [
        &["iptables-save", "-t", "mangle"][..],
        &["ip6tables-save", "-t", "mangle"][..],
        &["nft", "-j", "list", "ruleset"][..],
    ] {
        let Ok(output) = Command::new(tool[0]).args(&tool[1..]).output() else {
            continue;
        };
        has_tool = true;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("{}: {why}", tool.join(" ")));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        imported.join(match tool[0] {
            // Its tables `mangle` are iptables', and were just read.
            "nft" => nft::rules_beside_iptables(&text)?,
            _ => iptables::rules(&text),
        });
    }
    if has_tool {
        Ok(imported)
    } else {
        Err("neither iptables-save nor nft is there; name a file with what they say".to_owned())
    }
}

/// Imports.
pub(super) fn run(options: &Options) -> Outcome {
    let mut imported = Imported::default();
    for file in &options.files {
        let found = of_text(&read(file)?).map_err(|why| format!("{file}: {why}"))?;
        imported.join(found);
    }
    if options.files.is_empty() {
        imported = of_tools()?;
    }
    for why in &imported.left {
        super::complain(&format!("not taken: {why}"));
    }
    let shown = lines(&imported.rules);
    if options.only_show {
        return Ok(shown);
    }
    if !imported.left.is_empty() && !options.partial {
        return Err("nothing is changed; with --partial the other rules are taken".into());
    }
    let flush = options.replace.then_some(MarkEdit::Flush);
    let edits: Vec<MarkEdit> = flush
        .into_iter()
        .chain(imported.rules.into_iter().map(MarkEdit::Add))
        .collect();
    client()?.edit_marks(&edits)?;
    Ok(shown)
}

/// A number as these tools print it.
pub(super) fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn options_are_read() {
        let options = Options::parse(&["-n", "--replace", "a", "-"]).expect("fine");
        assert!(options.only_show && options.replace && !options.partial);
        assert_eq!(options.files, ["a", "-"]);
        assert!(Options::parse(&["--all"]).is_err());
    }

    const WORDS: &str = "(-A|PREROUTING|-p|tcp|-d|-j|MARK|--set-xmark|0x1/0xff|--dports|80,90:|ip|daddr|10.0.0.0/8|dport|\\{|\\}|,|meta|mark|set|\\||1|counter|packets|\"|!|[a-z0-9:./-]{0,6})";

    proptest! {
        /// Whatever the text, it is rules that lvsd reads again, or reasons.
        #[test]
        fn any_text_is_rules_or_reasons(words in prop::collection::vec(WORDS, 0..20)) {
            let rule = words.join(" ");
            for text in [
                format!("*mangle\n-A PREROUTING {rule}\n"),
                format!("table inet t {{\nchain c {{\ntype filter hook input priority 0;\n{rule}\n}}\n}}\n"),
            ] {
                let imported = of_text(&text).expect("a text of a tool");
                for rule in imported.rules {
                    prop_assert_eq!(rule.to_string().parse::<MarkRule>(), Ok(rule));
                }
            }
            let _ = of_text(&rule);
        }
    }

    #[test]
    fn the_tool_is_known_by_its_text() {
        assert_eq!(of_text("\n# nothing\n"), Ok(Imported::default()));
        assert!(of_text("Chain INPUT").is_err());
        assert!(of_text("{ \"nftables\": ").is_err());
    }
}
