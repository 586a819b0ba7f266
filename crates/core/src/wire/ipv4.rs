//! The IPv4 header (RFC 791).

use super::ETHERNET;
use crate::packet::Packet;
use lvsx_platform::{load16_at, load32_at};

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
        let mut total = u16::from_be(load16_at::<{ ETHERNET + 2 }, _>(bytes));
        if total == 0 && length > ETHERNET as u32 + u32::from(u16::MAX) {
            // A super-frame longer than the field can say, such as `lo` carries (Linux 6.3): it counts as the longest.
            total = u16::MAX;
        }
        if bytes[ETHERNET] >> 4 != 4 || header < 20 || usize::from(total) < header {
            return Err(Malformed4);
        }
        if u32::from(total) + ETHERNET as u32 > length {
            return Err(Malformed4);
        }
        let fragment = u16::from_be(load16_at::<{ ETHERNET + 6 }, _>(bytes));
        Ok(Self {
            source: head.source(),
            destination: head.destination(),
            protocol: bytes[ETHERNET + 9],
            tos: bytes[ETHERNET + 1],
            ttl: bytes[ETHERNET + 8],
            total,
            identification: u16::from_be(load16_at::<{ ETHERNET + 4 }, _>(bytes)),
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
        load16_at::<12, _>(self.0)
    }

    /// Raw destination link-layer address.
    #[inline(always)]
    #[must_use]
    pub fn link_destination(&self) -> u64 {
        u64::from(load32_at::<0, _>(self.0)) | u64::from(load16_at::<4, _>(self.0)) << 32
    }

    /// Protocol number.
    #[inline(always)]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.0[ETHERNET + 9]
    }

    /// Raw IPv4 source address.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> u32 {
        load32_at::<{ ETHERNET + 12 }, _>(self.0)
    }

    /// Raw IPv4 destination address.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> u32 {
        load32_at::<{ ETHERNET + 16 }, _>(self.0)
    }
}
