//! Lines of a listing, put together column by column. A table of tens of thousands of destinations has as many, so they are
//! made without the formatter of the standard library, which would take longer over them than all else together.

use std::io::{self, Write};

/// A line.
#[derive(Debug, Default)]
pub(crate) struct Line(Vec<u8>);

impl Line {
    /// Appends a text.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Appends a number.
    pub(crate) fn number(&mut self, number: impl Into<i64>) -> &mut Self {
        let number = number.into();
        if number < 0 {
            self.0.push(b'-');
        }
        let mut digits = [0; 20];
        let mut first = digits.len();
        let mut left = number.unsigned_abs();
        loop {
            first -= 1;
            digits[first] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[first..]);
        self
    }

    /// Appends a column of at least so many characters, which stand left in it.
    pub(crate) fn column(&mut self, width: usize, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let begin = self.0.len();
        fill(self);
        let filled = self.0.get(begin..).unwrap_or_default();
        // Bytes that go on with a character begin with the bits 10.
        let characters = filled.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        let end = self.0.len() + width.saturating_sub(characters);
        self.0.resize(end, b' ');
        self
    }

    /// Writes the line with its end, and begins another.
    pub(crate) fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.0.push(b'\n');
        let written = out.write_all(&self.0);
        self.0.clear();
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(fill: impl FnOnce(&mut Line)) -> String {
        let (mut line, mut out) = (Line::default(), Vec::new());
        fill(&mut line);
        line.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn columns_are_those_of_the_standard_library(text: String, number: i64, width in 0usize..40) {
            let line = shown(|line| {
                line.column(width, |it| { it.text(&text); })
                    .text(" ")
                    .column(width, |it| { it.number(number); });
            });
            prop_assert_eq!(line, format!("{text:<width$} {number:<width$}\n"));
        }
    }
}
