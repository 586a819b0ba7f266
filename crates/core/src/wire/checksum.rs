//! The Internet checksum (RFC 1071), corrected incrementally (RFC 1624, equation 3).
//!
//! Sums are one's complement over raw 16-bit words: the sum of byte-swapped words is the byte-swapped sum (RFC 1071
//! section 2.B), so nothing here ever swaps bytes.

use lvsx_platform::{hide, load16, store16};

/// A 64-bit sum folded to 16 bits.
#[inline(always)]
#[must_use]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The same of a sum below 2^33.
#[inline(always)]
fn fold33(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// What replacing the raw 32-bit word `old` by `new` adds to a sum: `!old + new`.
#[inline(always)]
#[must_use]
pub fn change32(old: u32, new: u32) -> u32 {
    add(!old, new)
}

/// What replacing the raw 16-bit word `old` by `new` adds to a sum.
#[inline(always)]
#[must_use]
pub fn change16(old: u16, new: u16) -> u32 {
    u32::from(!old) + u32::from(new)
}

/// What replacing the 16 raw bytes `old` by `new` (an IPv6 address) adds to a sum.
#[inline(always)]
#[must_use]
pub fn change128(old: [u64; 2], new: [u64; 2]) -> u32 {
    reduce(words(!old[0]) + words(!old[1]) + words(new[0]) + words(new[1]))
}

/// The sum of raw 16-byte words such as IPv6 addresses.
#[inline(always)]
#[must_use]
pub fn sum128(bytes: [u64; 2]) -> u64 {
    words(bytes[0]) + words(bytes[1])
}

#[inline(always)]
fn words(word: u64) -> u64 {
    (word & 0xffff_ffff) + (word >> 32)
}

/// A 64-bit sum as the 32-bit sum of the same value.
#[inline(always)]
#[must_use]
pub fn reduce(sum: u64) -> u32 {
    carried(words(sum))
}

/// A sum of 33 bits with its carry added. Hidden, because the compiler would make a branch of the carry, which is as good as
/// random.
#[inline(always)]
fn carried(sum: u64) -> u32 {
    let sum = hide(sum);
    (sum as u32).wrapping_add((sum >> 32) as u32)
}

/// One's-complement sum of two 32-bit sums.
#[inline(always)]
#[must_use]
pub fn add(a: u32, b: u32) -> u32 {
    carried(u64::from(a) + u64::from(b))
}

/// The checksum field `old` after its data changed by `change`.
#[inline(always)]
#[must_use]
pub fn corrected(old: u16, change: u32) -> u16 {
    !fold33(u64::from(!old) + u64::from(change))
}

/// The same for UDP, where 0 means "no checksum" and a computed 0 is sent as 0xffff (RFC 768).
#[inline(always)]
#[must_use]
pub fn corrected_udp(old: u16, change: u32) -> u16 {
    match corrected(old, change) {
        0 => 0xffff,
        sum => sum,
    }
}

/// Corrects a checksum field in place for a change of its data; `udp` as [`corrected_udp`].
#[inline(always)]
pub fn correct(field: &mut [u8; 2], change: u32, udp: bool) {
    let old = load16(field);
    let new = if udp {
        corrected_udp(old, change)
    } else {
        corrected(old, change)
    };
    store16(field, new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn full(words: &[u16]) -> u16 {
        !fold(words.iter().map(|word| u64::from(*word)).sum())
    }

    /// 0x0000 and 0xffff are the same number in one's complement.
    fn same(a: u16, b: u16) -> bool {
        a == b || (a == 0 || a == 0xffff) && (b == 0 || b == 0xffff)
    }

    proptest! {
        #[test]
        fn a_corrected_checksum_equals_one_computed_anew(
            mut words in prop::collection::vec(any::<u16>(), 4..40), place in 0usize..2, new in any::<u32>()
        ) {
            let old_sum = full(&words);
            let at = place * 2;
            let old = u32::from(words[at]) | u32::from(words[at + 1]) << 16;
            words[at] = new as u16;
            words[at + 1] = (new >> 16) as u16;
            let got = corrected(old_sum, change32(old, new));
            prop_assert!(same(got, full(&words)), "{got:04x} for {:04x}", full(&words));
        }

        #[test]
        fn an_ipv6_address_is_a_change_of_eight_words(
            rest in prop::collection::vec(1u16.., 1..20), old in any::<[u64; 2]>(), new in any::<[u64; 2]>()
        ) {
            let all = |address: [u64; 2]| {
                let mut words: Vec<u16> = address.iter().flat_map(|half| (0..4).map(move |at| (half >> (16 * at)) as u16)).collect();
                words.extend(&rest);
                words
            };
            let got = corrected(full(&all(old)), change128(old, new));
            prop_assert!(same(got, full(&all(new))));
            prop_assert!(same(fold(sum128(new)), !full(&all(new)[..8])));
            prop_assert!(same(fold(u64::from(reduce(old[0]))), fold(old[0])));
        }

        #[test]
        fn a_port_change_is_a_16_bit_change(words in prop::collection::vec(1u16.., 4..20), new in any::<u16>()) {
            let mut changed = words.clone();
            changed[1] = new;
            let got = corrected(full(&words), change16(words[1], new));
            prop_assert!(same(got, full(&changed)));
        }
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: header checksum 0xDD2F, m = 0x5555, m' = 0x3285 gives 0x0000.
        assert_eq!(corrected(0xdd2f, change16(0x5555, 0x3285)), 0x0000);
        assert_eq!(corrected_udp(0xdd2f, change16(0x5555, 0x3285)), 0xffff);
    }
}
