//! Bytes that are the same on every run, and a digest to compare what arrived.

use std::hash::{DefaultHasher, Hasher};

/// An endless stream of bytes, always the same one: the outputs of splitmix64 for 0, 1, 2, ..., in
/// little-endian order. No part repeats, so lost, doubled and swapped pieces all show.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    position: u64,
}

impl Pattern {
    /// Fills `buffer` with the next bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        let offset = (self.position % 8) as usize;
        self.position += buffer.len() as u64;
        let mut index = (self.position - buffer.len() as u64) / 8;
        let mut rest = buffer;
        if offset != 0 {
            let word = splitmix64(index).to_le_bytes();
            let (head, tail) = rest.split_at_mut(rest.len().min(8 - offset));
            head.copy_from_slice(&word[offset..offset + head.len()]);
            (rest, index) = (tail, index + 1);
        }
        for piece in rest.chunks_mut(8) {
            piece.copy_from_slice(&splitmix64(index).to_le_bytes()[..piece.len()]);
            index += 1;
        }
    }
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014.
fn splitmix64(index: u64) -> u64 {
    let mut word = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A 64-bit digest and a length; against accidents, not against malice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// How many bytes there were.
    pub length: u64,
    /// What their digest is.
    pub value: u64,
}

impl Digest {
    /// The digest of the pattern's first `length` bytes.
    #[must_use]
    pub fn of_pattern(length: u64) -> Self {
        let mut running = RunningDigest::default();
        let mut pattern = Pattern::default();
        let mut buffer = vec![0; 1 << 16];
        let mut left = length;
        while left > 0 {
            let piece = &mut buffer[..left.min(1 << 16) as usize];
            pattern.fill(piece);
            running.add(piece);
            left -= piece.len() as u64;
        }
        running.finish()
    }
}

/// A digest that is still being computed; how the bytes are cut into pieces does not matter.
#[derive(Clone, Debug, Default)]
pub struct RunningDigest {
    hasher: DefaultHasher,
    length: u64,
}

impl RunningDigest {
    /// Takes the next bytes in.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
        self.length += bytes.len() as u64;
    }

    /// The digest of all bytes so far.
    #[must_use]
    pub fn finish(&self) -> Digest {
        Digest {
            length: self.length,
            value: self.hasher.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_does_not_depend_on_how_it_is_cut() {
        let mut whole = vec![0; 1000];
        Pattern::default().fill(&mut whole);
        for step in [1, 3, 7, 8, 9, 64, 333] {
            let mut cut = vec![0; 1000];
            let mut pattern = Pattern::default();
            cut.chunks_mut(step).for_each(|piece| pattern.fill(piece));
            assert_eq!(cut, whole, "in steps of {step}");
        }
    }

    #[test]
    fn the_digest_sees_a_swap_a_loss_and_a_flipped_bit() {
        let mut bytes = vec![0; 4096];
        Pattern::default().fill(&mut bytes);
        let digest = |bytes: &[u8], step: usize| {
            let mut running = RunningDigest::default();
            bytes.chunks(step).for_each(|piece| running.add(piece));
            running.finish()
        };
        let right = Digest::of_pattern(4096);
        assert_eq!(digest(&bytes, 4096), right);
        assert_eq!(digest(&bytes, 13), right);
        assert_ne!(digest(&bytes[1..], 13), right);
        let mut swapped = bytes.clone();
        swapped.swap(100, 2000);
        assert_ne!(digest(&swapped, 13), right);
        bytes[77] ^= 1;
        assert_ne!(digest(&bytes, 13), right);
    }
}
