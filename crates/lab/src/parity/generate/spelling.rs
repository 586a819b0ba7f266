//! Commands as they can be spelled: long and short options, clusters, values attached and apart, shortened names,
//! dashes too many, options in another order.

use super::super::line::{Group, Line};
use super::on_the_table;
use crate::conform::generate::dice::Dice;

/// Short and long name of an option, and its value.
type Option_ = (&'static str, &'static str, &'static str);

/// Commands that are right, in options.
const LINES: [&[Option_]; 10] = [
    &[
        ("A", "add-service", ""),
        ("t", "tcp-service", "10.0.0.2:80"),
        ("s", "scheduler", "wrr"),
        ("p", "persistent", "77"),
        ("M", "netmask", "255.255.255.0"),
    ],
    &[
        ("A", "add-service", ""),
        ("u", "udp-service", "10.0.0.2:53"),
        ("o", "ops", ""),
        ("b", "sched-flags", "flag-1"),
    ],
    &[
        ("E", "edit-service", ""),
        ("f", "fwmark-service", "5"),
        ("s", "scheduler", "sh"),
        ("b", "sched-flags", "sh-port"),
        ("p", "persistent", ""),
    ],
    &[
        ("A", "add-service", ""),
        ("f", "fwmark-service", "9"),
        ("6", "ipv6", ""),
        ("p", "persistent", "5"),
        ("M", "netmask", "64"),
    ],
    &[
        ("a", "add-server", ""),
        ("t", "tcp-service", "10.0.0.1:80"),
        ("r", "real-server", "10.9.0.21:8080"),
        ("m", "masquerading", ""),
        ("w", "weight", "5"),
        ("x", "u-threshold", "30"),
        ("y", "l-threshold", "20"),
    ],
    &[
        ("e", "edit-server", ""),
        ("t", "tcp-service", "10.0.0.1:80"),
        ("r", "real-server", "10.9.0.11:80"),
        ("i", "ipip", ""),
        ("", "tun-type", "gue"),
        ("", "tun-port", "6080"),
        ("", "tun-csum", ""),
    ],
    &[
        ("L", "list", ""),
        ("n", "numeric", ""),
        ("", "thresholds", ""),
        ("X", "exact", ""),
        ("", "sort", ""),
    ],
    &[
        ("l", "list", ""),
        ("t", "tcp-service", "10.0.0.1:80"),
        ("n", "numeric", ""),
        ("", "stats", ""),
    ],
    &[
        ("d", "delete-server", ""),
        ("f", "fwmark-service", "5"),
        ("r", "real-server", "10.9.0.13"),
    ],
    &[("S", "save", ""), ("n", "numeric", "")],
];

/// `count` lines of chance spelling.
pub(super) fn groups(dice: &mut Dice, count: usize) -> Vec<Group> {
    let lines: Vec<Line> = (0..count).map(|_| Line::ipvsadm(spelled(dice))).collect();
    on_the_table("spelling", &lines)
}

fn spelled(dice: &mut Dice) -> Vec<String> {
    let line = dice.one(&LINES);
    let mut options = vec![line[0]];
    if dice.chance(50) {
        options.extend_from_slice(&line[1..]);
    } else {
        options.extend(dice.some(&line[1..], line.len() - 1));
    }
    let mut words: Vec<String> = Vec::new();
    for (short, long, value) in options {
        let is_short = !short.is_empty() && dice.chance(60);
        // A cluster goes on where the word before is one.
        let is_cluster = |word: &String| word.starts_with('-') && !word.starts_with("--");
        if is_short && words.last().is_some_and(is_cluster) && dice.chance(50) {
            if let Some(last) = words.last_mut() {
                last.push_str(short);
            }
        } else if is_short {
            words.push(format!("-{short}"));
        } else {
            words.push(name(dice, long));
        }
        if !value.is_empty() {
            attach(dice, &mut words, value);
        }
    }
    if dice.chance(12) {
        let place = dice.number(0, words.len() as u32 + 1) as usize;
        let odd = [
            "--", "-", "", "-n", "-h", "---n", "--=", "-=", "--n=1", "word", "-\u{e9}", "--list",
        ];
        words.insert(place, dice.one(&odd).to_owned());
    }
    words
}

/// A long name: whole, shortened, with a letter wrong, or with one dash.
fn name(dice: &mut Dice, long: &str) -> String {
    match dice.number(0, 20) {
        0 | 1 => {
            let kept = dice.number(1, long.len() as u32) as usize;
            format!("--{}", &long[..kept])
        }
        2 => format!("-{long}"),
        3 => format!("--{}", long.to_uppercase()),
        4 => format!("--{long}s"),
        _ => format!("--{long}"),
    }
}

/// A value behind the last word: apart, behind `=`, or, of a cluster, right behind.
fn attach(dice: &mut Dice, words: &mut Vec<String>, value: &str) {
    let way = dice.number(0, 12);
    match words.last_mut() {
        Some(last) if way < 2 => last.push_str(&format!("={value}")),
        Some(last) if way < 4 && !last.starts_with("--") => last.push_str(value),
        Some(last) if way == 4 => last.push('='),
        // It is left out.
        _ if way == 5 => {}
        _ => words.push(value.to_owned()),
    }
}
