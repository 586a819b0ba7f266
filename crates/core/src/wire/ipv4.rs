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
    /// Names the datagram between two addresses, for its fragments.
    pub identification: u16,
    /// Where the transport header begins in the frame; of a later fragment, where its data begins.
    pub transport: usize,
    /// Whether it is a fragment (first, middle or last).
    pub is_fragment: bool,
    /// Where a fragment's data lies in the datagram, in bytes.
    pub fragment_offset: u16,
    /// Whether more fragments follow.
    pub more_fragments: bool,
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

    /// Reads the header behind the link-layer header, of a frame that begins with `head`.
    ///
    /// # Errors
    /// [`Malformed4`]: version is not 4, header shorter than 20 bytes or longer than the datagram, or the datagram longer
    /// than the frame's `length`.
    #[inline(always)]
    pub fn parse(head: &Head4<'_>, length: u32) -> Result<Self, Malformed4> {
        let bytes = head.0;
        let header = usize::from(bytes[ETHERNET] & 0xf) * 4;
        let total = u16::from_be(word16(bytes, ETHERNET + 2));
        if bytes[ETHERNET] >> 4 != 4 || header < 20 || usize::from(total) < header {
            return Err(Malformed4);
        }
        if u32::from(total) + ETHERNET as u32 > length {
            return Err(Malformed4);
        }
        let fragment = u16::from_be(word16(bytes, ETHERNET + 6));
        Ok(Self {
            source: head.source(),
            destination: head.destination(),
            protocol: bytes[ETHERNET + 9],
            tos: bytes[ETHERNET + 1],
            ttl: bytes[ETHERNET + 8],
            total,
            identification: u16::from_be(word16(bytes, ETHERNET + 4)),
            transport: ETHERNET + header,
            is_fragment: fragment & 0x3fff != 0,
            fragment_offset: (fragment & 0x1fff) * 8,
            more_fragments: fragment & 0x2000 != 0,
            dont_fragment: fragment & 0x4000 != 0,
        })
    }
}

/// The first 34 bytes of a frame: Ethernet header and fixed IPv4 header, if it is one. Read at once, because each look
/// at a packet has the verifier's bounds check before it.
#[derive(Clone, Copy)]
pub struct Head4<'a>(&'a [u8; ETHERNET + 20]);

impl<'a> Head4<'a> {
    /// The head of a frame. `None`: it is shorter.
    #[inline(always)]
    pub fn of<P: Packet>(packet: &'a P) -> Option<Self> {
        packet.bytes(0).map(Self)
    }

    /// Raw EtherType.
    #[inline(always)]
    #[must_use]
    pub fn kind(&self) -> u16 {
        word16(self.0, 12)
    }

    /// Raw destination link-layer address.
    #[inline(always)]
    #[must_use]
    pub fn link_destination(&self) -> u64 {
        u64::from(word32(self.0, 0)) | u64::from(word16(self.0, 4)) << 32
    }

    /// Raw IPv4 source address.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> u32 {
        word32(self.0, ETHERNET + 12)
    }

    /// Raw IPv4 destination address.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> u32 {
        word32(self.0, ETHERNET + 16)
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
