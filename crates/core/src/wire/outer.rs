//! IP headers that the director makes: in front of a packet in a tunnel, and of its own ICMP errors.

use super::checksum::fold;

/// Length of an IPv4 header without options.
pub const OUTER4: usize = 20;

/// What a header made here says, beside addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Bytes behind the header; with it below 2^16.
    pub payload: u32,
    /// Protocol number of what follows.
    pub protocol: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4: whether it must not be fragmented.
    pub dont_fragment: bool,
    /// IPv4: identification. IPv6: flow label, of which these are the low 16 bits.
    pub identification: u16,
}

/// The five raw words of an IPv4 header (RFC 791) without options, checksum filled in.
#[inline(always)]
#[must_use]
pub fn outer4(outer: &Outer, source: u32, destination: u32) -> [u32; 5] {
    let length = outer.payload + OUTER4 as u32;
    let fragment = if outer.dont_fragment { 0x4000u32 } else { 0 };
    let mut words = [
        (0x4500_0000 | u32::from(outer.tos) << 16 | length & 0xffff).to_be(),
        (u32::from(outer.identification) << 16 | fragment).to_be(),
        (u32::from(outer.ttl) << 24 | u32::from(outer.protocol) << 16).to_be(),
        source,
        destination,
    ];
    let mut sum = 0u64;
    let mut at = 0;
    while at < 5 {
        sum += u64::from(words[at]);
        at += 1;
    }
    // The checksum is the low half of the third word on the wire.
    words[2] |= if cfg!(target_endian = "little") {
        u32::from(!fold(sum)) << 16
    } else {
        u32::from(!fold(sum))
    };
    words
}

/// The first two raw words of an IPv6 header (RFC 8200); source and destination follow.
#[inline(always)]
#[must_use]
pub fn outer6(outer: &Outer) -> [u32; 2] {
    let label = u32::from(outer.identification);
    [
        (6 << 28 | u32::from(outer.tos) << 20 | label).to_be(),
        (outer.payload << 16 | u32::from(outer.protocol) << 8 | u32::from(outer.ttl)).to_be(),
    ]
}
