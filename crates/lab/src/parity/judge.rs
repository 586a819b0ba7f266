//! What is equal, and which differences are known.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::director::Side;
use super::line::{Answer, Group, Line, Program};

/// A side's answers to all groups.
pub(super) type Answers = Vec<Vec<Answer>>;

/// The differences that are listed: by side, group and line, with `*` for any text.
pub(super) struct Known(Vec<Entry>);

struct Entry {
    pattern: String,
    count: usize,
}

impl Known {
    /// Reads the lines ``- `SIDE GROUP: LINE` `` of a list; others are not about command lines.
    ///
    /// # Errors
    /// An entry lacks its reason.
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut entries = Vec::new();
        for line in text.lines() {
            let Some(entry) = line.strip_prefix("- `") else {
                continue;
            };
            let is_ours = ["kernel ", "lvsd ", "* "]
                .iter()
                .any(|side| entry.starts_with(side));
            if is_ours {
                let (pattern, reason) = entry
                    .split_once("`: ")
                    .context("an entry without a reason")?;
                let reason = reason.trim();
                anyhow::ensure!(!reason.is_empty(), "`{pattern}' has no reason");
                entries.push(Entry {
                    pattern: pattern.to_owned(),
                    count: 0,
                });
            }
        }
        Ok(Self(entries))
    }

    fn has(&mut self, name: &str) -> bool {
        let mut entries = self.0.iter_mut();
        let found = entries.find(|entry| matches(&entry.pattern, name));
        if let Some(entry) = found {
            entry.count += 1;
            return true;
        }
        false
    }

    /// Entries that met nothing.
    pub(super) fn unmet(&self) -> impl Iterator<Item = &str> {
        let unmet = self.0.iter().filter(|entry| entry.count == 0);
        unmet.map(|entry| entry.pattern.as_str())
    }
}

/// Whether `*` in a pattern can stand for such texts that it reads as `text`.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            let places = text.char_indices().map(|(place, _)| place);
            let mut places = places.chain([text.len()]);
            places.any(|place| matches(rest, &text[place..]))
        }),
    }
}

/// How many lines of a side are as those of Debian's.
#[derive(Default)]
pub(super) struct Count {
    pub(super) equal: usize,
    pub(super) known: usize,
    pub(super) different: usize,
}

/// What lvsd is measured by: Debian's answers, and where Debian's has no such option or program what ours prints on the kernel.
pub(super) fn measure(groups: &[Group], debian: &Answers, kernel: &Answers) -> Answers {
    let mut measure = debian.clone();
    for (group, (wanted, found)) in groups.iter().zip(measure.iter_mut().zip(kernel)) {
        for (line, (wanted, found)) in group.lines.iter().zip(wanted.iter_mut().zip(found)) {
            if line.words.iter().any(|word| word == "--json") {
                wanted.clone_from(found);
            }
            if line.program == Program::Lvsx && line.whole().is_none() {
                let state = std::mem::take(&mut wanted.state);
                *wanted = Answer {
                    state,
                    ..found.clone()
                };
            }
        }
    }
    measure
}

/// Compares a side with Debian's answers: counts by category, and a text of all differences.
pub(super) fn compare(
    side: Side,
    groups: &[Group],
    wanted: &Answers,
    found: &Answers,
    known: &mut Known,
) -> (BTreeMap<String, Count>, String) {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut text = String::new();
    for (group, (wanted, found)) in groups.iter().zip(wanted.iter().zip(found)) {
        let count = counts.entry(category(&group.name).to_owned()).or_default();
        // Where lines follow each other, what one left behind is the fault of that one.
        let mut was_same = true;
        for (line, (wanted, found)) in group.lines.iter().zip(wanted.iter().zip(found)) {
            let is_state_same = wanted.state == found.state;
            let is_state_counted = was_same || group.is_each_alone;
            let wanted = &with_own_words(side, line, in_order(line, wanted));
            let found = &in_order(line, &without_own_count(side, line, found, wanted));
            let what = difference(wanted, found, is_state_counted);
            was_same = is_state_same;
            if what.is_empty() {
                count.equal += 1;
                continue;
            }
            let name = format!("{side} {}: {line}", group.name);
            if known.has(&name) {
                count.known += 1;
            } else {
                count.different += 1;
                let _ = write!(text, "{name}\n{what}");
            }
        }
    }
    (counts, text)
}

/// The name of a group up to its number.
fn category(name: &str) -> &str {
    name.split(' ').next().unwrap_or(name)
}

/// Debian's answer as ours is to be: on the kernel's IPVS it says that a table does not change in one step.
fn with_own_words(side: Side, line: &Line, mut wanted: Answer) -> Answer {
    if let (Side::Kernel, Some(name)) = (side, line.whole()) {
        let said = format!("{name}: not atomic here: IPVS of the kernel takes line by line\n");
        wanted.err.insert_str(0, &said);
    }
    wanted
}

/// Ours without its last words where the kernel's IPVS refused lines of a file: how many, and an exit code that says so.
/// Debian's exits as its last line does.
fn without_own_count(side: Side, line: &Line, found: &Answer, wanted: &Answer) -> Answer {
    let mut found = found.clone();
    if let (Side::Kernel, Some(name)) = (side, line.whole()) {
        let begin = format!("{name}: not atomic here: ");
        let is_count = |line: &&str| line.starts_with(&begin) && line.contains("were refused");
        if found.err.lines().any(|line| is_count(&line)) {
            let others = found
                .err
                .split_inclusive('\n')
                .filter(|line| !is_count(line));
            found.err = others.collect();
            found.code = wanted.code;
        }
    }
    found
}

/// An answer with the services of an unsorted listing and with connections in an order, since the kernel's is another one
/// each boot; with the times that connections have left as they began; and without the settings that are saved, since those of
/// lvsd are others.
fn in_order(line: &Line, answer: &Answer) -> Answer {
    let mut answer = answer.clone();
    if answer.out.starts_with("IPVS connection entries\n") {
        let mut lines: Vec<String> = answer.out.split_inclusive('\n').map(begun).collect();
        lines[1..].sort();
        answer.out = lines.concat();
    }
    if line.program == Program::Lvsx && line.words == ["save"] {
        let lines = answer.out.split_inclusive('\n');
        answer.out = lines.filter(|line| !line.starts_with("#lvsx ")).collect();
    }
    if line.words.iter().any(|word| word == "--nosort") {
        let mut services: Vec<String> = Vec::new();
        for line in answer.out.split_inclusive('\n') {
            match services.last_mut() {
                Some(service) if line.starts_with("  -> ") => service.push_str(line),
                _ => services.push(line.to_owned()),
            }
        }
        services.sort();
        answer.out = services.concat();
    }
    answer
}

/// Timeouts are whole multiples of so many seconds.
const GRID: u32 = 30;

/// The line of a connection with its time left, `14:59` behind three letters and a blank, rounded up.
fn begun(line: &str) -> String {
    let seconds = || {
        let (minutes, seconds) = line.get(4..9)?.split_once(':')?;
        Some(minutes.parse::<u32>().ok()? * 60 + seconds.parse::<u32>().ok()?)
    };
    match seconds() {
        Some(left) => {
            let left = left.div_ceil(GRID) * GRID;
            format!(
                "{}{:02}:{:02}{}",
                &line[..4],
                left / 60,
                left % 60,
                &line[9..]
            )
        }
        None => line.to_owned(),
    }
}

fn difference(wanted: &Answer, found: &Answer, with_state: bool) -> String {
    let mut text = String::new();
    if wanted.code != found.code {
        let _ = writeln!(text, "  exit code {}, not {}", found.code, wanted.code);
    }
    let parts = [
        ("stdout", &wanted.out, &found.out, true),
        ("stderr", &wanted.err, &found.err, true),
        ("state", &wanted.state, &found.state, with_state),
    ];
    for (name, wanted, found, _) in parts.into_iter().filter(|part| part.3) {
        text.push_str(&lines_apart(name, wanted, found));
    }
    text
}

/// The lines of two texts between what is the same at their beginning and their end.
fn lines_apart(name: &str, wanted: &str, found: &str) -> String {
    if wanted == found {
        return String::new();
    }
    let (one, other): (Vec<&str>, Vec<&str>) =
        (wanted.split('\n').collect(), found.split('\n').collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let head = one.iter().zip(&other).take_while(same).count();
    let tail = one.iter().rev().zip(other.iter().rev());
    let room = one.len().min(other.len()) - head;
    let tail = tail.take_while(same).count().min(room);
    let mut text = format!("  {name}, line {}:\n", head + 1);
    for line in &one[head..one.len() - tail] {
        let _ = writeln!(text, "    - {line}");
    }
    for line in &other[head..other.len() - tail] {
        let _ = writeln!(text, "    + {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(out: &str, state: &str) -> Answer {
        Answer {
            code: 0,
            out: out.to_owned(),
            err: String::new(),
            state: state.to_owned(),
            ..Answer::default()
        }
    }

    #[test]
    fn a_listed_difference_is_known_and_an_unmet_entry_is_told() {
        let lines = ["-A", "-L", "-S"].map(Line::read).to_vec();
        let groups = [Group::in_turn("odd 1", lines)];
        let wanted = vec![vec![answer("", "a"), answer("l", "a"), answer("s", "a")]];
        let found = vec![vec![answer("", "b"), answer("l", "b"), answer("S", "b")]];
        let list =
            "- `lvsd odd *: ipvsadm -A`: because\n- `nat/one`: no line\n- `lvsd x: *`: never\n";
        let mut known = Known::read(list).unwrap();
        let (counts, text) = compare(Side::Lvsd, &groups, &wanted, &found, &mut known);
        let count = &counts["odd"];
        // The listing is not to blame for what the first line left.
        assert_eq!((count.equal, count.known, count.different), (1, 1, 1));
        assert_eq!(
            text,
            "lvsd odd 1: ipvsadm -S\n  stdout, line 1:\n    - s\n    + S\n"
        );
        assert_eq!(known.unmet().collect::<Vec<_>>(), ["lvsd x: *"]);
        assert!(Known::read("- `kernel x: y`: \n").is_err());
    }

    #[test]
    fn an_unsorted_listing_is_equal_in_any_order_of_its_services() {
        let (one, other) = (answer("B\n  -> b\nA\n", ""), answer("A\nB\n  -> b\n", ""));
        let line = Line::read("-Ln --nosort");
        assert_eq!(in_order(&line, &one), in_order(&line, &other));
        assert_ne!(in_order(&Line::read("-Ln"), &one), other);
        let entries = answer(
            "IPVS connection entries\npro\nUDP 04:58  UDP b\nUDP 00:30  UDP a\n",
            "",
        );
        let expected = "IPVS connection entries\nUDP 00:30  UDP a\nUDP 05:00  UDP b\npro\n";
        assert_eq!(in_order(&Line::read("-Lnc"), &entries).out, expected);
    }

    #[test]
    fn stars_stand_for_any_text() {
        assert!(matches("a*c*", "abc") && matches("*", "") && matches("a*c", "acac"));
        assert!(!matches("a*c", "ab") && !matches("a", "ab"));
    }
}
