//! The IPv4 header (RFC 791).

use super::checksum::fold;
use super::{ETHERNET, word16, word32};
use crate::packet::Packet;

/// Length of the IPv4 header that a tunnel puts in front.
pub const OUTER4: usize = 20;

/// What the director reads of an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header4 {
    /// Raw source address.
    pub source: u32,
    /// Raw destination address.
    pub destination: u32,
    /// Protocol number.
    pub protocol: u8,
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
    /// Total length in bytes, header included.
    pub total: u16,
    /// Where the transport header begins in the frame.
    pub transport: usize,
    /// Whether it is a fragment (first, middle or last).
    pub is_fragment: bool,
    /// Whether it must not be fragmented.
    pub dont_fragment: bool,
}

/// The header contradicts itself or the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed4;

impl Header4 {
    /// Bytes of transport header and payload.
    #[inline(always)]
    #[must_use]
    pub fn payload(&self) -> u32 {
        u32::from(self.total).saturating_sub((self.transport - ETHERNET) as u32)
    }

    /// Source and destination alone, for the address filter. `None`: the frame is too short.
    #[inline(always)]
    pub fn addresses<P: Packet>(packet: &P) -> Option<(u32, u32)> {
        let bytes = packet.bytes::<20>(ETHERNET)?;
        Some((word32(bytes, 12), word32(bytes, 16)))
    }

    /// Reads the header behind the link-layer header.
    ///
    /// # Errors
    /// [`Malformed4`]: version is not 4, header shorter than 20 bytes or longer than the datagram, or the datagram longer
    /// than the frame.
    #[inline(always)]
    pub fn read<P: Packet>(packet: &P) -> Result<Self, Malformed4> {
        let bytes = packet.bytes::<20>(ETHERNET).ok_or(Malformed4)?;
        let header = usize::from(bytes[0] & 0xf) * 4;
        let total = u16::from_be(word16(bytes, 2));
        if bytes[0] >> 4 != 4 || header < 20 || usize::from(total) < header {
            return Err(Malformed4);
        }
        let fragment = u16::from_be(word16(bytes, 6));
        let parsed = Self {
            source: word32(bytes, 12),
            destination: word32(bytes, 16),
            protocol: bytes[9],
            tos: bytes[1],
            ttl: bytes[8],
            total,
            transport: ETHERNET + header,
            is_fragment: fragment & 0x3fff != 0,
            dont_fragment: fragment & 0x4000 != 0,
        };
        if u32::from(total) + ETHERNET as u32 > packet.len() {
            return Err(Malformed4);
        }
        Ok(parsed)
    }
}

/// The five raw words of a tunnel's outer IPv4 header (IP in IP, RFC 2003), checksum filled in.
///
/// As Linux 6.1 IPVS builds it: time to live of the inner header after it was lowered; DSCP of the inner, ECN copied except
/// that CE becomes ECT(0) (RFC 6040 section 4.1, normal mode, keeps CE; IPVS does not); DF as the inner; identification 0.
#[inline(always)]
#[must_use]
pub fn outer4(inner: &Header4, ttl: u8, source: u32, destination: u32, protocol: u8) -> [u32; 5] {
    let tos = if inner.tos & 3 == 3 {
        inner.tos & !3 | 2
    } else {
        inner.tos
    };
    let length = u32::from(inner.total) + OUTER4 as u32;
    let fragment = if inner.dont_fragment { 0x4000u32 } else { 0 };
    let mut words = [
        (0x4500_0000 | u32::from(tos) << 16 | length & 0xffff).to_be(),
        fragment.to_be(),
        (u32::from(ttl) << 24 | u32::from(protocol) << 16).to_be(),
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
