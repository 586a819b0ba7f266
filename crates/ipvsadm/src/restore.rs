//! Lines of a saved table, split into words as ipvsadm splits them.
//!
//! Files that went through a word processor or a web page hold characters that look right and are
//! not: a byte order mark, blanks that do not break, dashes and quotes of print. Nothing of the
//! grammar needs them, so they are read as what they stand for, and a note says where they were.

use std::fmt::Write;

/// A line of input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its words, without any that is `ipvsadm`: whole command lines can be loaded.
    pub(crate) words: Vec<String>,
    /// Which characters were read as others, if any.
    pub(crate) note: Option<String>,
}

/// Splits a line; `number` counts from 1.
pub(crate) fn split(text: &str, number: usize) -> Line {
    let mut note = None;
    let mut read = String::with_capacity(text.len());
    for char in text.chars() {
        let plain = match char {
            '\u{feff}' | '\u{200b}' => "",
            '\u{a0}' | '\u{2007}' | '\u{202f}' | '\u{3000}' => " ",
            '\u{2010}'..='\u{2013}' | '\u{2212}' | '\u{ff0d}' => "-",
            '\u{2014}' | '\u{2015}' => "--",
            '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}' => "",
            '\u{ff1a}' => ":",
            _ => {
                read.push(char);
                continue;
            }
        };
        read.push_str(plain);
        let note = note.get_or_insert_with(|| format!("line {number}:"));
        let separator = if note.ends_with(':') { "" } else { "," };
        let reading = if plain.is_empty() {
            "nothing".to_owned()
        } else {
            format!("`{plain}'")
        };
        // Writing to a String cannot fail.
        let _ = write!(
            note,
            "{separator} U+{:04X} read as {reading}",
            u32::from(char)
        );
    }
    let words = read
        .split([' ', '\t', '\r', '\n'])
        .filter(|word| !word.is_empty() && *word != "ipvsadm")
        .map(str::to_owned)
        .collect();
    Line { words, note }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text, 1).words
    }

    #[test]
    fn whole_command_lines_are_read() {
        let expected = ["-A", "-t", "172.16.4.200:80", "-s", "rr"];
        assert_eq!(words("ipvsadm -A -t 172.16.4.200:80 -s rr\r\n"), expected);
        assert_eq!(words("  -A\t-t ipvsadm 172.16.4.200:80  -s rr"), expected);
        assert_eq!(words("\r\n"), Vec::<String>::new());
    }

    #[test]
    fn characters_of_print_are_read_as_what_they_stand_for() {
        let line = split(
            "\u{feff}ipvsadm \u{2013}A\u{a0}\u{2014}tcp-service\u{3000}1.1.1.1\u{ff1a}80",
            3,
        );
        assert_eq!(line.words, ["-A", "--tcp-service", "1.1.1.1:80"]);
        assert_eq!(
            line.note.as_deref(),
            Some(
                "line 3: U+FEFF read as nothing, U+2013 read as `-', U+00A0 read as ` ', \
                 U+2014 read as `--', U+3000 read as ` ', U+FF1A read as `:'"
            )
        );
        assert_eq!(split("-A -t 1.1.1.1:80", 1).note, None);
    }
}
