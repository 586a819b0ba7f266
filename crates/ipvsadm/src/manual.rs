//! What the three programs are called with, for their manual pages and completions: from the table that command lines are
//! read by, with the words of the help.

use crate::help;
use crate::options::{Entry, TABLE, Value};

/// What stands in no help of ipvsadm 1.31, with the value's name in brackets where that may be left out.
const BESIDE: &[(&str, &str, &str)] = &[
    ("json", "", "listings as JSON"),
    ("version", "", "display the version"),
    (
        "kernel",
        "",
        "as the first word: the kernel's IPVS is meant even where lvsd runs",
    ),
];

/// What `ipvsadm-restore` takes.
const RESTORE: [(&str, &str); 2] = [
    (
        "--strict",
        "characters of print are errors, not read as what they stand for",
    ),
    (
        "--as-ipvsadm",
        "clear the table, then load line by line, as the script of that name does",
    ),
];

/// Lines that the program `name` is called with, and what it takes, each as it is typed with what it means.
#[must_use]
pub fn of(name: &str) -> (Vec<String>, Vec<(String, String)>) {
    match name {
        "ipvsadm-save" => (
            vec!["ipvsadm-save [-n]".to_owned()],
            vec![(
                "-n".to_owned(),
                "numeric output of addresses and ports".to_owned(),
            )],
        ),
        "ipvsadm-restore" => (
            vec!["ipvsadm-restore [--strict] [--as-ipvsadm]".to_owned()],
            RESTORE
                .map(|(typed, text)| (typed.to_owned(), text.to_owned()))
                .to_vec(),
        ),
        _ => {
            let usage = help::USAGE.iter().map(|usage| format!("ipvsadm {usage}"));
            (usage.collect(), options())
        }
    }
}

/// Every option, in the order of the table.
fn options() -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = Vec::new();
    for (place, entry) in TABLE.iter().enumerate() {
        let is_again = |other: &Entry| other.long == entry.long;
        if TABLE.iter().take(place).any(is_again) {
            continue;
        }
        let (value, text) = explanation(entry.long);
        let mut typed = format!("--{}", entry.long);
        let shorts = TABLE
            .iter()
            .filter(|other| is_again(other))
            .filter_map(|other| other.short);
        for short in shorts {
            typed += &format!(", -{}", char::from(short));
        }
        let value = match entry.value {
            // `--set` takes three words of those that are left.
            Value::None => value,
            Value::Required | Value::Optional if !value.is_empty() => value,
            Value::Required => "value".to_owned(),
            Value::Optional => "[value]".to_owned(),
        };
        if !value.is_empty() {
            typed += &format!(" {value}");
        }
        options.push((typed, text));
    }
    options.push(("--kernel".to_owned(), explanation("kernel").1));
    options
}

/// The value's name and the text of an option.
fn explanation(long: &str) -> (String, String) {
    if let Some((_, value, text)) = BESIDE.iter().find(|(name, _, _)| *name == long) {
        return ((*value).to_owned(), (*text).to_owned());
    }
    let mut lines = help::OPTIONS
        .lines()
        .skip_while(|line| names(line) != Some(long));
    let line = lines.next().unwrap_or_default().trim();
    let (typed, text) = line.rsplit_once("  ").unwrap_or((line, ""));
    let value: Vec<_> = typed
        .split([' ', '|'])
        .filter(|word| !word.is_empty() && !word.starts_with('-'))
        .collect();
    let value = match long {
        "start-daemon" | "stop-daemon" => "master|backup".to_owned(),
        _ => value.join(" "),
    };
    let mut text = text.trim().to_owned();
    for more in lines.take_while(|line| line.starts_with("      ")) {
        text = format!("{text} {}", more.trim());
    }
    (value, text)
}

/// The option that a line of the help is about.
fn names(line: &str) -> Option<&str> {
    let long = line.strip_prefix("  --")?;
    long.split([' ', '|']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_the_parser_is_explained() {
        let (_, options) = of("ipvsadm");
        for entry in TABLE {
            let (typed, text) = options
                .iter()
                .find(|(typed, _)| {
                    typed.split([' ', ',']).next() == Some(&format!("--{}", entry.long))
                })
                .unwrap_or_else(|| panic!("--{} is left out", entry.long));
            assert!(
                !text.is_empty(),
                "--{}: say in BESIDE what it means",
                entry.long
            );
            if let Some(short) = entry.short {
                assert!(
                    typed.contains(&format!(", -{}", char::from(short))),
                    "{typed}"
                );
            }
        }
        for (typed, text) in [
            ("--list, -L, -l", "list the table"),
            ("--set tcp tcpfin udp", "set connection timeout values"),
            (
                "--tcp-service, -t service-address",
                "service-address is host[:port]",
            ),
            ("--persistent, -p [timeout]", "persistent service"),
            (
                "--tun-type type",
                "one of ipip|gue|gre, the default tunnel type is ipip.",
            ),
            (
                "--start-daemon master|backup",
                "start connection sync daemon",
            ),
        ] {
            assert!(
                options.contains(&(typed.to_owned(), text.to_owned())),
                "{typed}: {options:#?}"
            );
        }
    }
}
