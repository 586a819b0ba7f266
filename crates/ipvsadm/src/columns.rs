//! Lines of a listing, put together column by column. A table of tens of thousands of destinations has as many, so they are
//! made without the formatter of the standard library, which would take longer over them than all else together.

use std::io::{self, Write};
use std::net::Ipv4Addr;

/// Bytes by which a line grows; few are longer.
const ROOM: usize = 512;
/// Blanks that are written at once.
const BLANKS: usize = 32;
/// Bytes of a number's digits, two by two.
const PAIRS: [[u8; 2]; 100] = {
    let (mut pairs, mut number) = ([[0; 2]; 100], 0);
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// A line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// What is written, and room behind it.
    bytes: Vec<u8>,
    /// Where it ends.
    end: usize,
}

impl Line {
    /// The room for so many bytes behind what is written.
    #[inline(always)]
    fn room(&mut self, length: usize) -> &mut [u8] {
        if self.bytes.len() - self.end < length {
            self.bytes.resize(self.end + length + ROOM, b' ');
        }
        &mut self.bytes[self.end..][..length]
    }

    /// Appends a text. In place, so that one of a known length is a store or two.
    #[inline(always)]
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.room(text.len()).copy_from_slice(text.as_bytes());
        self.end += text.len();
        self
    }

    /// Appends a number.
    #[inline]
    pub(crate) fn number(&mut self, number: impl Into<i64>) -> &mut Self {
        let number = number.into();
        if number < 0 {
            self.text("-");
        }
        let mut left = number.unsigned_abs();
        let digits = left.checked_ilog10().unwrap_or_default() as usize + 1;
        let place = self.room(digits);
        let mut first = digits;
        while first >= 2 {
            first -= 2;
            place[first..first + 2].copy_from_slice(&PAIRS[(left % 100) as usize]);
            left /= 100;
        }
        if first == 1 {
            place[0] = b'0' + (left % 10) as u8;
        }
        self.end += digits;
        self
    }

    /// Appends an address.
    #[inline]
    pub(crate) fn address(&mut self, addr: Ipv4Addr) -> &mut Self {
        let [a, b, c, d] = addr.octets();
        self.number(a).text(".").number(b).text(".");
        self.number(c).text(".").number(d)
    }

    /// Appends a column of at least so many characters of ASCII, which stand left in it.
    #[inline(always)]
    pub(crate) fn column(&mut self, width: usize, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let end = self.end + width;
        fill(self);
        self.blanks(end.saturating_sub(self.end));
        self
    }

    /// Appends a column of at least so many characters, whose text stands left in it.
    pub(crate) fn text_column(&mut self, width: usize, text: &str) -> &mut Self {
        self.text(text);
        self.blanks(width.saturating_sub(text.chars().count()));
        self
    }

    #[inline(always)]
    fn blanks(&mut self, mut count: usize) {
        while count > 0 {
            self.room(BLANKS).copy_from_slice(&[b' '; BLANKS]);
            let put = count.min(BLANKS);
            self.end += put;
            count -= put;
        }
    }

    /// Writes the line with its end, and begins another.
    pub(crate) fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.text("\n");
        let written = out.write_all(&self.bytes[..self.end]);
        self.end = 0;
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

    /// Numbers of every length.
    fn numbers() -> impl Strategy<Value = i64> {
        (any::<i64>(), 0u32..64).prop_map(|(number, shift)| number >> shift)
    }

    proptest! {
        #[test]
        fn columns_are_those_of_the_standard_library(
            text: String,
            number in numbers(),
            addr: Ipv4Addr,
            width in 0usize..80,
        ) {
            let line = shown(|line| {
                line.text_column(width, &text)
                    .text(" ")
                    .column(width, |it| { it.number(number); })
                    .text(" ")
                    .column(width, |it| { it.address(addr); });
            });
            let addr = addr.to_string();
            prop_assert_eq!(line, format!("{text:<width$} {number:<width$} {addr:<width$}\n"));
        }
    }
}
