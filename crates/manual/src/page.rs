//! A manual page: a text in Markdown, with what programs say of themselves put in, written as roff (man(7)).
//!
//! Of Markdown it knows what our texts have: headings, paragraphs, lists, code between fences, tables, `code` and links. A
//! line `<!-- NAME -->` is where the part of that name belongs.

use roff::{Inline, Roff, bold, italic, roman};

use crate::help::{Help, Part, Row};

/// A manual page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its name, as in `lvsd`.
    pub name: String,
    /// Its section of the manual.
    pub section: u8,
    /// Its parts in their order.
    pub blocks: Vec<Block>,
}

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A heading of the page.
    Section(String),
    /// A heading within a section.
    Subsection(String),
    /// Sentences.
    Paragraph(String),
    /// Lines as they are.
    Code(Vec<String>),
    /// A word or a mark, and what it means.
    Item(String, String),
}

impl Block {
    /// A help text, or a part of it, as parts of a page.
    #[must_use]
    pub fn of_help(help: &Help) -> Vec<Self> {
        let parts = help.parts.iter().map(|part| match part {
            Part::Paragraph(text) => Self::Paragraph(text.clone()),
            Part::Row(row) => Self::of_row(row),
        });
        parts.collect()
    }

    /// A row of a help text.
    #[must_use]
    pub fn of_row(row: &Row) -> Self {
        Self::Item(format!("`{}`", row.typed), row.text.clone())
    }
}

impl Page {
    /// Reads a page's text; `part` gives what belongs in the places that the text names.
    ///
    /// # Errors
    /// The name of a place for which there is nothing.
    pub fn read(
        name: &str,
        section: u8,
        text: &str,
        part: impl Fn(&str) -> Option<Vec<Block>>,
    ) -> Result<Self, String> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut lines = text.lines();
        let mut columns: Option<Vec<String>> = None;
        let mut is_open = false;
        while let Some(line) = lines.next() {
            let was_open = std::mem::replace(&mut is_open, false);
            if !line.starts_with('|') {
                columns = None;
            }
            if let Some(place) = line
                .strip_prefix("<!-- ")
                .and_then(|rest| rest.strip_suffix(" -->"))
            {
                blocks.extend(part(place).ok_or_else(|| place.to_owned())?);
            } else if let Some(heading) = line.strip_prefix("### ") {
                blocks.push(Block::Subsection(heading.to_owned()));
            } else if let Some(heading) = line.strip_prefix("## ") {
                blocks.push(Block::Section(heading.to_uppercase()));
            } else if line.starts_with("# ") || line.is_empty() {
                // The page's name stands in its head.
            } else if line.starts_with("```") {
                let code = lines.by_ref().take_while(|line| !line.starts_with("```"));
                blocks.push(Block::Code(code.map(str::to_owned).collect()));
            } else if line.starts_with('|') {
                let cells = cells(line);
                match &columns {
                    None => columns = Some(cells),
                    Some(_) if is_rule(&cells) => {}
                    Some(heads) => blocks.push(row(heads, &cells)),
                }
            } else if let Some(item) = line.strip_prefix("- ") {
                blocks.push(Block::Item("-".to_owned(), item.to_owned()));
                is_open = true;
            } else {
                match blocks.last_mut() {
                    Some(Block::Paragraph(text) | Block::Item(_, text)) if was_open => {
                        text.push(' ');
                        text.push_str(line.trim_start());
                    }
                    _ => blocks.push(Block::Paragraph(line.to_owned())),
                }
                is_open = true;
            }
        }
        Ok(Self {
            name: name.to_owned(),
            section,
            blocks,
        })
    }

    /// The page as roff.
    #[must_use]
    pub fn roff(&self, version: &str) -> String {
        let mut roff = Roff::new();
        let mut is_first = false;
        for block in &self.blocks {
            let is_under_heading = std::mem::replace(&mut is_first, false);
            match block {
                Block::Section(heading) | Block::Subsection(heading) => {
                    let is_section = matches!(block, Block::Section(_));
                    roff.control(if is_section { "SH" } else { "SS" }, [heading.as_str()]);
                    is_first = true;
                }
                Block::Paragraph(text) => {
                    if !is_under_heading {
                        roff.control("PP", []);
                    }
                    roff.text(inlines(text));
                }
                Block::Code(lines) => {
                    if !is_under_heading {
                        roff.control("PP", []);
                    }
                    roff.control("RS", ["4"]).control("nf", []);
                    for line in lines {
                        roff.text([roman(line.as_str())]);
                    }
                    roff.control("fi", []).control("RE", []);
                }
                Block::Item(head, text) if head == "-" => {
                    roff.control("IP", ["-", "2"]).text(inlines(text));
                }
                Block::Item(head, text) => {
                    roff.control("TP", [])
                        .text(inlines(head))
                        .text(inlines(text));
                }
            }
        }
        // The third, empty, is the date: pages are the same whenever they are made.
        let title = self.name.to_uppercase();
        format!(
            ".TH \"{title}\" \"{}\" \"\" \"{version}\" \"Linux Virtual Server\"\n{}",
            self.section,
            roff.to_roff()
        )
    }
}

/// The cells of a table's line.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_matches('|');
    // A bar inside a cell is written `\|`.
    let line = line.replace("\\|", "\u{0}");
    let cells = line
        .split('|')
        .map(|cell| cell.trim().replace('\u{0}', "|"));
    cells.collect()
}

fn is_rule(cells: &[String]) -> bool {
    cells
        .iter()
        .all(|cell| cell.bytes().all(|byte| byte == b'-' || byte == b':'))
}

/// A line of a table: its first cell, and what the others say of it, from the third on under their columns' heads.
fn row(heads: &[String], cells: &[String]) -> Block {
    let mut cells = cells.iter().zip(heads);
    let head = cells
        .next()
        .map(|(cell, _)| cell.clone())
        .unwrap_or_default();
    let mut text = String::new();
    for (place, (cell, column)) in cells.enumerate().filter(|(_, (cell, _))| !cell.is_empty()) {
        if place > 0 {
            text += &format!(" ({column}: {cell})");
        } else {
            text += cell;
        }
    }
    Block::Item(head, text)
}

/// `code` is bold, *words* are italic, of a link its text is left.
fn inlines(text: &str) -> Vec<Inline> {
    let mut inlines = Vec::new();
    for (place, piece) in text.split('`').enumerate() {
        if place % 2 == 1 {
            inlines.push(bold(piece));
            continue;
        }
        for (place, piece) in without_links(piece).split('*').enumerate() {
            match place % 2 {
                1 => inlines.push(italic(piece)),
                _ if piece.is_empty() => {}
                _ => inlines.push(roman(piece)),
            }
        }
    }
    inlines
}

fn without_links(text: &str) -> String {
    let Some((before, rest)) = text.split_once('[') else {
        return text.to_owned();
    };
    match rest
        .split_once("](")
        .and_then(|(name, rest)| Some((name, rest.split_once(')')?.1)))
    {
        Some((name, rest)) => format!("{before}{name}{}", without_links(rest)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_and_written() {
        let text = "\
# lvsd
## Name
lvsd - the director

<!-- options -->
## Keys
One `word`, and
another, see [there](there.md).

| key | for | else |
|---|---|---|
| `a\\|b` | all | 2s |

- an item
  of two lines
```sh
.code -x
```
";
        let option = Row {
            typed: "--mode tc".to_owned(),
            text: "where".to_owned(),
        };
        let part = |name: &str| (name == "options").then(|| vec![Block::of_row(&option)]);
        let page = Page::read("lvsd", 8, text, part).expect("every place is filled");
        let expected = [
            Block::Section("NAME".to_owned()),
            Block::Paragraph("lvsd - the director".to_owned()),
            Block::Item("`--mode tc`".to_owned(), "where".to_owned()),
            Block::Section("KEYS".to_owned()),
            Block::Paragraph("One `word`, and another, see [there](there.md).".to_owned()),
            Block::Item("`a|b`".to_owned(), "all (else: 2s)".to_owned()),
            Block::Item("-".to_owned(), "an item of two lines".to_owned()),
            Block::Code(vec![".code -x".to_owned()]),
        ];
        assert_eq!(page.blocks, expected);
        let roff = page.roff("1.0");
        for line in [
            ".TH \"LVSD\" \"8\"",
            "\\fB\\-\\-mode tc\\fR",
            "see there.",
            "\\&.code \\-x",
        ] {
            assert!(roff.contains(line), "{line} is not in\n{roff}");
        }
        assert_eq!(
            Page::read("lvsd", 8, text, |_| None),
            Err("options".to_owned())
        );
    }
}
