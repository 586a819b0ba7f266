//! Lines of a saved table, split into words as ipvsadm splits them.
//!
//! Files that went through a word processor or a web page hold characters that look right and are
//! not: a byte order mark, blanks that do not break, dashes and quotes of print, letters and digits
//! as wide as a Chinese character. Nothing of the grammar needs them, so they are read as what they
//! stand for, and a note says where they were.

use std::fmt::Write;

/// A line of input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its words, without any that is `ipvsadm`: whole command lines can be loaded.
    pub(crate) words: Vec<String>,
    /// Which character each begins with, counted from 1.
    pub(crate) columns: Vec<usize>,
    /// Which characters were read as others, if any.
    pub(crate) note: Option<String>,
}

/// Splits a line; `number` counts from 1.
pub(crate) fn split(text: &str, number: usize) -> Line {
    let mut note = None;
    let (mut words, mut columns) = (Vec::new(), Vec::new());
    let mut word = String::new();
    let mut begin = 1;
    for (column, char) in (1..).zip(text.chars()) {
        // Most lines have no other characters.
        let plain = if char.is_ascii() { None } else { plain(char) };
        if let Some(plain) = &plain {
            add_to_note(&mut note, (number, column), char, plain);
        }
        let is_blank = match &plain {
            Some(plain) => plain == " ",
            None => matches!(char, ' ' | '\t' | '\r' | '\n'),
        };
        if is_blank {
            end_word(&mut word, begin, &mut words, &mut columns);
            continue;
        }
        if word.is_empty() {
            begin = column;
        }
        match &plain {
            Some(plain) => word.push_str(plain),
            None => word.push(char),
        }
    }
    end_word(&mut word, begin, &mut words, &mut columns);
    Line {
        words,
        columns,
        note,
    }
}

fn end_word(word: &mut String, begin: usize, words: &mut Vec<String>, columns: &mut Vec<usize>) {
    let word = std::mem::take(word);
    if !word.is_empty() && word != "ipvsadm" {
        words.push(word);
        columns.push(begin);
    }
}

/// What a character of print stands for; `None`: it stands for itself.
fn plain(char: char) -> Option<String> {
    let plain = match char {
        '\u{feff}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{ad}' => "",
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => {
            " "
        }
        '\u{2010}'..='\u{2013}' | '\u{2212}' | '\u{fe63}' => "-",
        '\u{2014}' | '\u{2015}' => "--",
        '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{300c}'..='\u{300f}' => "",
        '\u{3002}' => ".",
        '\u{ff01}'..='\u{ff5e}' => {
            // The wide forms lie in the order of ASCII.
            let narrow = char::from_u32(u32::from(char) - 0xfee0)?;
            return Some(narrow.to_string());
        }
        _ => return None,
    };
    Some(plain.to_owned())
}

fn add_to_note(note: &mut Option<String>, (line, column): (usize, usize), char: char, plain: &str) {
    let note = note.get_or_insert_with(|| format!("line {line}:"));
    let separator = if note.ends_with(':') { "" } else { "," };
    let reading = if plain.is_empty() {
        "nothing".to_owned()
    } else {
        format!("`{plain}'")
    };
    // Writing to a String cannot fail.
    let _ = write!(
        note,
        "{separator} U+{:04X} in column {column} read as {reading}",
        u32::from(char)
    );
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
    fn words_know_their_columns() {
        let line = split("ipvsadm -A\u{3000}-t  1.1.1.1:80", 1);
        assert_eq!(line.words, ["-A", "-t", "1.1.1.1:80"]);
        assert_eq!(line.columns, [9, 12, 16]);
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
                "line 3: U+FEFF in column 1 read as nothing, U+2013 in column 10 read as `-', \
                 U+00A0 in column 12 read as ` ', U+2014 in column 13 read as `--', \
                 U+3000 in column 25 read as ` ', U+FF1A in column 33 read as `:'"
            )
        );
        assert_eq!(split("-A -t 1.1.1.1:80", 1).note, None);
        assert_eq!(
            words(
                "\u{ff0d}\u{ff21} \u{201c}-t\u{201d} \u{ff11}\u{ff10}.0.0.1:80 -s\u{2003}\u{ff52}r"
            ),
            ["-A", "-t", "10.0.0.1:80", "-s", "rr"]
        );
    }
}
