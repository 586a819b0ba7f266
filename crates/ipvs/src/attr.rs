//! Netlink attributes: lenient reading, exact writing.
//!
//! An attribute is `u16` length (with these four bytes), `u16` type, payload, filled to four bytes.
//! Reading follows the kernel's non-strict validation (Linux 6.1, `lib/nlattr.c`): unknown types are
//! skipped, of a repeated one the last counts, integers may be longer than needed, both flag bits of
//! a type are ignored, and what follows a broken length is not looked at.

use crate::errno::Errno;

const HEADER: usize = 4;
/// Marks a nest. libnl sets it in requests; IPVS leaves it out of its answers.
pub(crate) const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
/// More than the highest type of any level.
const TYPES: usize = 16;

/// What the payload of an attribute must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// At least one byte.
    U8,
    /// At least two bytes.
    U16,
    /// At least four bytes.
    U32,
    /// A NUL within the first `max + 1` bytes, and nothing but one NUL after `max`.
    Text { max: usize },
    /// At most so many bytes.
    Bytes { max: usize },
    /// Further attributes, or nothing.
    Nest,
}

impl Shape {
    fn check(self, payload: &[u8]) -> Result<(), Errno> {
        let fits = match self {
            Self::U8 => !payload.is_empty(),
            Self::U16 => payload.len() >= 2,
            Self::U32 => payload.len() >= 4,
            Self::Bytes { max } => payload.len() <= max,
            Self::Nest => payload.is_empty() || payload.len() >= HEADER,
            Self::Text { max } => {
                let head = &payload[..payload.len().min(max + 1)];
                if !head.contains(&0) {
                    return Err(Errno::EINVAL);
                }
                payload.strip_suffix(&[0]).unwrap_or(payload).len() <= max
            }
        };
        if fits { Ok(()) } else { Err(Errno::ERANGE) }
    }
}

/// Steps through attributes as (type, payload), types without their flag bits.
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(*self.0.first_chunk()?));
        let kind = u16::from_ne_bytes(*self.0.get(2..)?.first_chunk()?) & TYPE_MASK;
        let payload = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    }
}

/// The attributes of one level, each checked against its shape and found by its type.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// Index is the type; 0 is never used.
    payloads: [Option<&'a [u8]>; TYPES],
}

impl<'a> Table<'a> {
    /// Sorts the attributes of `bytes` by type; those without a shape are skipped.
    ///
    /// # Errors
    /// `ERANGE` or `EINVAL`: a payload does not fit its shape.
    pub(crate) fn parse(bytes: &'a [u8], shapes: &[(u16, Shape)]) -> Result<Self, Errno> {
        let mut payloads = [None; TYPES];
        for (kind, payload) in Attributes(bytes) {
            let Some((_, shape)) = shapes.iter().find(|(known, _)| *known == kind) else {
                continue;
            };
            shape.check(payload)?;
            if let Some(slot) = payloads.get_mut(usize::from(kind)) {
                *slot = Some(payload);
            }
        }
        Ok(Self { payloads })
    }

    /// The payload as it came.
    pub(crate) fn bytes(&self, kind: u16) -> Option<&'a [u8]> {
        self.payloads.get(usize::from(kind)).copied().flatten()
    }

    /// The first `N` bytes of the payload, filled up with zeros.
    pub(crate) fn padded<const N: usize>(&self, kind: u16) -> Option<[u8; N]> {
        self.bytes(kind).map(|payload| {
            let mut whole = [0; N];
            let length = payload.len().min(N);
            whole[..length].copy_from_slice(&payload[..length]);
            whole
        })
    }

    pub(crate) fn u8(&self, kind: u16) -> Option<u8> {
        self.padded(kind).map(u8::from_ne_bytes)
    }

    pub(crate) fn u16(&self, kind: u16) -> Option<u16> {
        self.padded(kind).map(u16::from_ne_bytes)
    }

    /// A big-endian number, as ports are.
    pub(crate) fn port(&self, kind: u16) -> Option<u16> {
        self.padded(kind).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&self, kind: u16) -> Option<u32> {
        self.padded(kind).map(u32::from_ne_bytes)
    }

    /// A number of 32 or 64 bits, whichever was sent.
    pub(crate) fn wide(&self, kind: u16) -> Option<u64> {
        match self.bytes(kind)?.len() {
            0..8 => self.u32(kind).map(u64::from),
            _ => self.padded(kind).map(u64::from_ne_bytes),
        }
    }

    /// Text up to its NUL. What is not UTF-8 cannot be a name that anybody knows, so that it is
    /// replaced does not matter.
    pub(crate) fn text(&self, kind: u16) -> Option<String> {
        self.bytes(kind).map(|payload| {
            let end = payload
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(payload.len());
            String::from_utf8_lossy(&payload[..end]).into_owned()
        })
    }
}

/// Writes attributes behind whatever the buffer holds already.
#[derive(Debug)]
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    /// One attribute. The callers' payloads are far below the 65,531 bytes that fit.
    pub(crate) fn bytes(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        let length = (HEADER + payload.len()) as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(payload);
        self.fill();
        self
    }

    /// An attribute of one word, put together before it is written: a dump has a dozen of them for each destination.
    fn word(&mut self, kind: u16, length: u16, payload: [u8; 4]) -> &mut Self {
        let [a, b] = (HEADER as u16 + length).to_ne_bytes();
        let [c, d] = kind.to_ne_bytes();
        let [e, f, g, h] = payload;
        self.0.extend_from_slice(&[a, b, c, d, e, f, g, h]);
        self
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.word(kind, 1, [value, 0, 0, 0])
    }

    pub(crate) fn u16(&mut self, kind: u16, value: u16) -> &mut Self {
        let [a, b] = value.to_ne_bytes();
        self.word(kind, 2, [a, b, 0, 0])
    }

    /// A big-endian number, as ports are.
    pub(crate) fn port(&mut self, kind: u16, value: u16) -> &mut Self {
        let [a, b] = value.to_be_bytes();
        self.word(kind, 2, [a, b, 0, 0])
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.word(kind, 4, value.to_ne_bytes())
    }

    pub(crate) fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        let [a, b] = (HEADER as u16 + 8).to_ne_bytes();
        let [c, d] = kind.to_ne_bytes();
        let [e, f, g, h, i, j, k, l] = value.to_ne_bytes();
        let attribute = [a, b, c, d, e, f, g, h, i, j, k, l];
        self.0.extend_from_slice(&attribute);
        self
    }

    /// Text with its NUL.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut payload = Vec::with_capacity(value.len() + 1);
        payload.extend_from_slice(value.as_bytes());
        payload.push(0);
        self.bytes(kind, &payload)
    }

    /// A nest that `fill` writes; its length is known, and entered, afterwards.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Writer<'_>)) -> &mut Self {
        let start = self.0.len();
        self.bytes(kind, &[]);
        fill(&mut Writer(self.0));
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    fn fill(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPES: &[(u16, Shape)] = &[
        (1, Shape::U16),
        (2, Shape::U32),
        (3, Shape::Text { max: 3 }),
        (4, Shape::Bytes { max: 16 }),
    ];

    fn written(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        fill(&mut Writer(&mut bytes));
        bytes
    }

    #[test]
    fn the_last_of_a_repeated_attribute_counts_and_unknown_ones_are_skipped() {
        let bytes = written(|w| {
            w.u16(1, 7).u32(99, 1).u16(1 | NESTED, 8);
        });
        let table = Table::parse(&bytes, SHAPES).unwrap();
        assert_eq!((table.u16(1), table.u32(2)), (Some(8), None));
    }

    #[test]
    fn short_numbers_and_unterminated_or_long_texts_are_refused() {
        let parse = |kind, payload: &[u8]| {
            let bytes = written(|w| {
                w.bytes(kind, payload);
            });
            Table::parse(&bytes, SHAPES).map(|table| table.text(kind))
        };
        assert_eq!(parse(2, &[1, 2, 3]).unwrap_err(), Errno::ERANGE);
        assert_eq!(parse(3, b"abc").unwrap_err(), Errno::EINVAL);
        assert_eq!(parse(3, b"abcd\0").unwrap_err(), Errno::EINVAL);
        assert_eq!(parse(3, b"ab\0defg\0").unwrap_err(), Errno::ERANGE);
        assert_eq!(parse(3, b"abc\0").unwrap().as_deref(), Some("abc"));
        assert_eq!(parse(4, &[0; 17]).unwrap_err(), Errno::ERANGE);
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_table_or_an_error(bytes: Vec<u8>) {
            let _ = Table::parse(&bytes, SHAPES);
            prop_assert!(Attributes(&bytes).count() <= bytes.len() / HEADER + 1);
        }
    }
}
