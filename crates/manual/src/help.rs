//! A help text as data.
//!
//! ```text
//! lvsd, the director                      a paragraph
//!
//!   lvsd [OPTION]...                      a row: what is typed, and behind two blanks or on deeper lines what it means
//!   --mode auto|tc|xdp   where packets    an option is a row that begins with a dash
//!                        are handled
//! ```

/// A help text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Help {
    /// Its parts in their order.
    pub parts: Vec<Part>,
}

/// A part of a help text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Sentences.
    Paragraph(String),
    /// What is typed, and what it means.
    Row(Row),
}

/// What is typed, and what it means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// As in `--mode auto|tc|xdp` or `lvsx lab list`.
    pub typed: String,
    /// What it means; may be empty.
    pub text: String,
}

impl Row {
    /// The names of an option, as in `-h` and `--help`; of other rows none.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.typed
            .split([' ', ','])
            .filter(|word| !word.is_empty())
            .take_while(|word| word.starts_with('-'))
    }

    /// The value of an option, as it is written in the help: `auto|tc|xdp`, `NAME`, `[timeout]`.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        let mut rest = self.typed.as_str();
        while rest.starts_with('-') {
            rest = rest
                .split_once(' ')
                .map_or("", |(_, rest)| rest)
                .trim_start();
        }
        Some(rest).filter(|rest| !rest.is_empty() && self.typed.starts_with('-'))
    }

    /// The words that an option's value can be, where the help lists them: in place of the value, or as `one of a|b|c`.
    #[must_use]
    pub fn values(&self) -> Vec<&str> {
        let listed = |list: &str| list.contains('|') && !list.contains(char::is_uppercase);
        let text = self.text.split_once("one of ").map(|(_, list)| {
            let end = list.find([' ', ',']).unwrap_or(list.len());
            list.get(..end).unwrap_or_default()
        });
        let list = self.value().filter(|value| listed(value)).or(text);
        list.map_or_else(Vec::new, |list| list.split('|').collect())
    }

    /// Adds words to those that an option's value can be.
    fn allow(&mut self, more: &str) {
        for word in more.split('|') {
            let value = self.value().unwrap_or_default();
            if !value.split('|').any(|known| known == word) {
                self.typed = format!("{}|{word}", self.typed);
            }
        }
    }
}

impl Help {
    /// Reads a help text.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        let mut is_open = false;
        for line in text.lines() {
            let line = line.trim_end();
            let bare = line.trim_start();
            let depth = line.len() - bare.len();
            if bare.is_empty() {
                is_open = false;
                continue;
            }
            match parts.last_mut() {
                Some(Part::Row(row)) if is_open && depth > 2 => add(&mut row.text, bare),
                Some(Part::Paragraph(paragraph)) if is_open && depth == 0 => add(paragraph, bare),
                _ => parts.push(part(bare, depth)),
            }
            is_open = true;
        }
        Self { parts }
    }

    /// Its rows in their order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.parts.iter().filter_map(|part| match part {
            Part::Row(row) => Some(row),
            Part::Paragraph(_) => None,
        })
    }

    /// Its options, each once: those with a row of their own, then those that only stand in lines that are typed as `before`
    /// (`lvsx realserver`) says, with all the values that they have there.
    #[must_use]
    pub fn options(&self, before: &str) -> Vec<Row> {
        let is_option = |row: &&Row| row.typed.starts_with('-');
        let mut options: Vec<Row> = self.rows().filter(is_option).cloned().collect();
        let with_rows = options.len();
        let is_usage = |row: &&Row| {
            row.typed
                .strip_prefix(before)
                .is_some_and(|rest| rest.starts_with(' '))
        };
        for usage in self.rows().filter(is_usage) {
            for (name, value) in typed_in(&usage.typed) {
                let known = options
                    .iter()
                    .position(|option| option.names().any(|known| known == name));
                match (known, value) {
                    (None, _) => options.push(Row {
                        typed: value
                            .map_or_else(|| name.to_owned(), |value| format!("{name} {value}")),
                        text: String::new(),
                    }),
                    (Some(place), Some(value)) if place >= with_rows => {
                        if let Some(option) = options.get_mut(place) {
                            option.allow(value);
                        }
                    }
                    (Some(_), _) => {}
                }
            }
        }
        options
    }

    /// The words that can stand behind `before` (as in `lvsx realserver`), each with what its row says.
    #[must_use]
    pub fn words(&self, before: &str) -> Vec<Row> {
        let mut words: Vec<Row> = Vec::new();
        let rows = self.rows().filter_map(|row| {
            let rest = row.typed.strip_prefix(before)?.strip_prefix(' ')?;
            Some((rest.trim_start(), &row.text))
        });
        for (rest, text) in rows {
            let list = rest.split(' ').next().unwrap_or_default();
            let list = list.trim_start_matches('[').trim_end_matches(']');
            let plain = |word: &str| word.starts_with(|first: char| first.is_ascii_lowercase());
            for word in list.split('|').filter(|word| plain(word)) {
                if !words.iter().any(|known| known.typed == word) {
                    words.push(Row {
                        typed: word.to_owned(),
                        text: text.clone(),
                    });
                }
            }
        }
        words
    }
}

fn add(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(more);
}

fn part(bare: &str, depth: usize) -> Part {
    let row = |typed: &str, text: &str| {
        // What is typed may be set out in columns.
        let typed = typed.split_whitespace().collect::<Vec<_>>().join(" ");
        Part::Row(Row {
            typed,
            text: text.trim_start().to_owned(),
        })
    };
    let columns = columns(bare);
    match (depth, columns) {
        (0, Some((typed, text))) if !typed.contains(' ') => row(typed, text),
        (0, _) => Part::Paragraph(bare.to_owned()),
        (_, Some((typed, text))) => row(typed, text),
        (_, None) => row(bare, ""),
    }
}

/// What is left and right of the first two blanks behind which no more is typed: options are, as in `lvsx x up    --mode`.
fn columns(bare: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    while let Some(gap) = bare.get(from..)?.find("  ") {
        let (left, right) = bare.split_at(from + gap);
        if !right.trim_start().starts_with('-') {
            return Some((left, right));
        }
        from = bare.len() - right.trim_start().len();
    }
    None
}

/// The options in a line, as in `lvsx lab nat --break NAME [--mode tc|xdp] [-n] [NAME|--all]`, each with its value.
fn typed_in(typed: &str) -> Vec<(&str, Option<&str>)> {
    let mut found = Vec::new();
    let mut words = typed.split(' ').peekable();
    while let Some(word) = words.next() {
        let closed = word.ends_with(']');
        let bare = word.trim_start_matches('[').trim_end_matches(['.', ']']);
        for name in bare
            .split('|')
            .filter(|name| name.len() > 1 && name.starts_with('-') && *name != "--")
        {
            let value = words
                .peek()
                .filter(|next| !closed && !next.starts_with(['-', '[']));
            found.push((name, value.map(|value| value.trim_end_matches(['.', ']']))));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
lvsd, the director
of this network namespace

  lvsd [OPTION]... [--quick] [NAME|--all]
      which may be
      started

  --mode auto|tc|xdp   where packets are handled;
                       tc if nothing is said
  -h, --help           this text
  --list  -L           the list
  --kind  -k kind      one of a|b, a if nothing is said

up     does it

It runs.
";

    #[test]
    fn a_text_is_read() {
        let help = Help::read(TEXT);
        let row = |typed: &str, text: &str| {
            Part::Row(Row {
                typed: typed.to_owned(),
                text: text.to_owned(),
            })
        };
        let expected = [
            Part::Paragraph("lvsd, the director of this network namespace".to_owned()),
            row(
                "lvsd [OPTION]... [--quick] [NAME|--all]",
                "which may be started",
            ),
            row(
                "--mode auto|tc|xdp",
                "where packets are handled; tc if nothing is said",
            ),
            row("-h, --help", "this text"),
            row("--list -L", "the list"),
            row("--kind -k kind", "one of a|b, a if nothing is said"),
            row("up", "does it"),
            Part::Paragraph("It runs.".to_owned()),
        ];
        assert_eq!(help.parts, expected);
        let options = help.options("lvsd");
        let names: Vec<Vec<_>> = options.iter().map(|row| row.names().collect()).collect();
        assert_eq!(
            names.concat(),
            [
                "--mode", "-h", "--help", "--list", "-L", "--kind", "-k", "--quick", "--all"
            ]
        );
        let values: Vec<_> = options.iter().map(Row::value).collect();
        assert_eq!(
            &values[..4],
            [Some("auto|tc|xdp"), None, None, Some("kind")]
        );
        assert_eq!(
            (options[0].values(), options[3].values()),
            (vec!["auto", "tc", "xdp"], vec!["a", "b"])
        );
    }

    #[test]
    fn options_of_usage_lines_are_found() {
        let help = Help::read(
            "  lvsx x up --mode nat --vip VIP\n  lvsx x up --mode dr|tun [-n] [NAME|--all]\n  other -z\n",
        );
        let options = help.options("lvsx x");
        let typed: Vec<_> = options.iter().map(|row| row.typed.as_str()).collect();
        assert_eq!(typed, ["--mode nat|dr|tun", "--vip VIP", "-n", "--all"]);
    }

    #[test]
    fn words_are_found() {
        let help = Help::read(
            "  lvsx lab nat|dr [--keep]\n  lvsx lab down [NAME]\n      takes it down\n  lvsx lab NAME\n",
        );
        let words = help.words("lvsx lab");
        let typed: Vec<_> = words.iter().map(|word| word.typed.as_str()).collect();
        assert_eq!(typed, ["nat", "dr", "down"]);
        assert_eq!(words[2].text, "takes it down");
    }
}
