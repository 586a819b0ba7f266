//! Splits a command line into options as popt does, the library `ipvsadm` uses.
//!
//! `--long`, `--long=value`, `--long value`, clusters of short options, a value as the rest of a
//! cluster (with or without `=`) or as the next word whatever it looks like, `--` ends the options.
//! lexopt cannot say these: a value that is the next word only if that has no dash, the whole word
//! of a cluster in an error, `=` behind a flag of a cluster as an error of its own.

use crate::options::{Entry, TABLE, Value};

/// An option as it was found.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) entry: &'static Entry,
    pub(crate) value: Option<&'a str>,
}

/// A word that is no proper option.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misuse<'a> {
    pub(crate) word: &'a str,
    pub(crate) text: &'static str,
}

const UNKNOWN: &str = "unknown option";
const MISSING: &str = "missing argument";
const UNWANTED: &str = "option does not take an argument";

/// The words of a command line, without the program's name.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    words: &'a [String],
    next: usize,
    /// What is left of a cluster of short options.
    cluster: &'a str,
    /// Words that belong to no option.
    pub(crate) rest: Vec<&'a str>,
}

impl<'a> Scan<'a> {
    pub(crate) const fn new(words: &'a [String]) -> Self {
        Self {
            words,
            next: 0,
            cluster: "",
            rest: Vec::new(),
        }
    }

    /// The word that was read last, which is how errors quote an option.
    pub(crate) fn last_word(&self) -> &'a str {
        match self.next.checked_sub(1) {
            Some(last) => &self.words[last],
            None => "",
        }
    }

    /// The next option; `None` at the end, when `rest` is complete.
    pub(crate) fn option(&mut self) -> Option<Result<Found<'a>, Misuse<'a>>> {
        while self.cluster.is_empty() {
            let word = self.word()?;
            match word.strip_prefix('-') {
                Some("-") => {
                    while let Some(word) = self.word() {
                        self.rest.push(word);
                    }
                }
                None | Some("") => self.rest.push(word),
                Some(long) if long.starts_with('-') => return Some(self.long(&long[1..])),
                Some(cluster) => self.cluster = cluster,
            }
        }
        Some(self.short())
    }

    fn word(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    fn misuse<T>(&self, text: &'static str) -> Result<T, Misuse<'a>> {
        Err(Misuse {
            word: self.last_word(),
            text,
        })
    }

    fn long(&mut self, word: &'a str) -> Result<Found<'a>, Misuse<'a>> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match TABLE.iter().find(|entry| entry.long == name) {
            Some(entry) => self.complete(entry, value),
            None => self.misuse(UNKNOWN),
        }
    }

    fn short(&mut self) -> Result<Found<'a>, Misuse<'a>> {
        let letter = self.cluster.as_bytes()[0];
        let Some(entry) = TABLE.iter().find(|entry| entry.short == Some(letter)) else {
            self.cluster = "";
            return self.misuse(UNKNOWN);
        };
        let left = &self.cluster[1..];
        if entry.value == Value::None && !left.starts_with('=') {
            self.cluster = left;
            return Ok(Found { entry, value: None });
        }
        self.cluster = "";
        let value = Some(left.strip_prefix('=').unwrap_or(left)).filter(|_| !left.is_empty());
        self.complete(entry, value)
    }

    /// Finds the value of an option, which may be attached already.
    fn complete(
        &mut self,
        entry: &'static Entry,
        attached: Option<&'a str>,
    ) -> Result<Found<'a>, Misuse<'a>> {
        let next_is_option = || {
            self.words
                .get(self.next)
                .is_some_and(|word| word.starts_with('-'))
        };
        let value = match (entry.value, attached) {
            (Value::None, Some(_)) => return self.misuse(UNWANTED),
            (Value::None, None) => None,
            (_, Some(value)) => Some(value),
            (Value::Optional, None) if next_is_option() => None,
            (Value::Optional, None) => self.word(),
            (Value::Required, None) => match self.word() {
                Some(value) => Some(value),
                None => return self.misuse(MISSING),
            },
        };
        Ok(Found { entry, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Options as `name` or `name=value`, or the misuse that ends them; then what is left over.
    fn scanned(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut scan = Scan::new(&words);
        let mut seen = Vec::new();
        while let Some(option) = scan.option() {
            match option {
                Ok(Found {
                    entry,
                    value: Some(value),
                }) => seen.push(format!("{}={value}", entry.long)),
                Ok(Found { entry, value: None }) => seen.push(entry.long.to_owned()),
                Err(misuse) => {
                    seen.push(format!("{}: {}", misuse.word, misuse.text));
                    break;
                }
            }
        }
        seen.extend(scan.rest.iter().map(|word| format!("({word})")));
        seen.join(" ")
    }

    #[test]
    fn values_are_attached_or_the_next_word() {
        assert_eq!(
            scanned("-At 1.1.1.1:80"),
            "add-service tcp-service=1.1.1.1:80"
        );
        assert_eq!(
            scanned("-At=x -p60 -mw5"),
            "add-service tcp-service=x persistent=60 masquerading weight=5"
        );
        assert_eq!(
            scanned("--tcp-service=x -r -g"),
            "tcp-service=x real-server=-g"
        );
        assert_eq!(
            scanned("-p -s rr -p 5 -p"),
            "persistent scheduler=rr persistent=5 persistent"
        );
        assert_eq!(scanned("-tA x"), "tcp-service=A (x)");
    }

    #[test]
    fn misuse_quotes_the_whole_word() {
        assert_eq!(scanned("-Lnz"), "list numeric -Lnz: unknown option");
        assert_eq!(
            scanned("-Ln=3"),
            "list -Ln=3: option does not take an argument"
        );
        assert_eq!(scanned("-A --sched"), "add-service --sched: unknown option");
        assert_eq!(scanned("-A -t"), "add-service -t: missing argument");
        assert_eq!(scanned("-L\u{e9}"), "list -L\u{e9}: unknown option");
    }

    #[test]
    fn words_without_a_dash_and_all_after_two_dashes_are_left_over() {
        assert_eq!(
            scanned("-A a - -n -- -t b"),
            "add-service numeric (a) (-) (-t) (b)"
        );
    }

    /// A name of the table, whole or cut, with one dash or two, perhaps with a value behind it.
    fn option() -> impl Strategy<Value = String> {
        let place = any::<proptest::sample::Index>();
        let tail = prop_oneof![Just(""), Just("="), Just("=1"), Just("x\u{e9}")];
        (0..TABLE.len(), any::<bool>(), place, tail).prop_map(|(number, is_short, place, tail)| {
            let entry = &TABLE[number];
            match entry.short.filter(|_| is_short) {
                Some(letter) => format!("-{}{tail}", char::from(letter)),
                None => {
                    let whole = format!("--{}", entry.long);
                    format!("{}{tail}", &whole[..=place.index(whole.len())])
                }
            }
        })
    }

    proptest! {
        #[test]
        fn any_words_are_options_or_left_over_or_misuse(
            words in proptest::collection::vec(prop_oneof![3 => option(), 1 => any::<String>()], 0..9),
        ) {
            let mut scan = Scan::new(&words);
            let mut options = 0;
            while let Some(option) = scan.option() {
                prop_assert!(words.iter().any(|word| word == scan.last_word()));
                options += 1;
                if option.is_err() {
                    return Ok(());
                }
            }
            let letters: usize = words.iter().map(|word| word.len()).sum();
            prop_assert!(options <= letters && scan.rest.len() <= words.len());
            prop_assert!(scan.rest.iter().all(|word| words.iter().any(|one| one == word)));
        }
    }
}
