//! The IPv6 header and its extension headers (RFC 8200, RFC 4302 for AH).

use super::{ETHERNET, word16, word32, word64};
use crate::packet::Packet;
use lvsx_platform::bits;

/// Length of the fixed IPv6 header.
pub const FIXED6: usize = 40;

/// Extension headers followed before the transport header; a packet with more is malformed for the director.
pub const EXTENSIONS: usize = 8;

/// Numbers of the extension headers that are followed: hop-by-hop (0), routing (43), fragment (44), AH (51), destination
/// options (60). All below 64, so that one look at a word tells them.
const FOLLOWED: u64 = 1 | 1 << 43 | 1 << FRAGMENT | 1 << AH | 1 << 60;
const FRAGMENT: u64 = 44;
const AH: u64 = 51;

/// What the director reads of an IPv6 header and its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header6 {
    /// Source address, two raw words.
    pub source: [u64; 2],
    /// Destination address, two raw words.
    pub destination: [u64; 2],
    /// Protocol number of the transport header (of the next header, before [`Header6::follow`]).
    pub protocol: u8,
    /// Traffic class: DSCP and ECN.
    pub tos: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Total length in bytes, the fixed header included.
    pub total: u32,
    /// Where the transport header begins in the frame; of a later fragment, where its data begins.
    pub transport: usize,
    /// Which part of a datagram it is.
    pub fragment: Fragment6,
}

/// Which part of a datagram an IPv6 packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Fragment6 {
    /// Whether it has a fragment header (with offset 0 and nothing to follow too: RFC 6946's atomic fragment).
    pub present: bool,
    /// Where its data lies in the datagram, in bytes.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
    /// Names the datagram between two addresses.
    pub identification: u32,
}

/// The header contradicts itself or the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed6;

impl Header6 {
    /// Bytes of transport header and payload.
    #[inline(always)]
    #[must_use]
    pub fn payload(&self) -> u32 {
        self.total
            .saturating_sub((self.transport - ETHERNET) as u32)
    }

    /// Whether it is a part of a datagram: an atomic fragment is whole.
    #[inline(always)]
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.fragment.more || self.fragment.offset != 0
    }

    /// Reads the fixed header of a frame that begins with `head`. `protocol` is that of the next header, which may be an
    /// extension: see [`is_extended`](Self::is_extended).
    ///
    /// # Errors
    /// [`Malformed6`]: version is not 6, or the datagram longer than the frame's `length`.
    #[inline(always)]
    pub fn parse(head: &Head6<'_>, length: u32) -> Result<Self, Malformed6> {
        let total = u32::from(u16::from_be(word16(head.0, ETHERNET + 4))) + FIXED6 as u32;
        if head.0[ETHERNET] >> 4 != 6 || total + ETHERNET as u32 > length {
            return Err(Malformed6);
        }
        let first = u32::from_be(word32(head.0, ETHERNET));
        Ok(Self {
            source: head.source(),
            destination: head.destination(),
            protocol: head.0[ETHERNET + 6],
            tos: (first >> 20) as u8,
            hop_limit: head.0[ETHERNET + 7],
            total,
            transport: ETHERNET + FIXED6,
            fragment: Fragment6::default(),
        })
    }

    /// Whether an extension header follows the last one read, so that [`follow`](Self::follow) would go on.
    #[inline(always)]
    #[must_use]
    pub fn is_extended(&self) -> bool {
        is_followed(u64::from(self.protocol)) != 0
    }

    /// Follows the extension headers of a header just [parsed](Self::parse) to the transport header. Behind the fragment
    /// header of a later fragment there are no headers: `protocol` is then what it names. The caller has made the headers
    /// visible ([`Packet::reveal`]).
    ///
    /// # Errors
    /// [`Malformed6`]: a header beyond the datagram, or more than [`EXTENSIONS`].
    #[inline(always)]
    pub fn follow<P: Packet>(self, packet: &P) -> Result<Self, Malformed6> {
        let end = ETHERNET + self.total as usize;
        let chain = Chain::follow(packet, self.protocol, self.transport).ok_or(Malformed6)?;
        if chain.transport > end {
            return Err(Malformed6);
        }
        Ok(Self {
            protocol: chain.protocol,
            transport: chain.transport,
            fragment: chain.fragment,
            ..self
        })
    }

    /// Reads the header behind the link-layer header and follows its extensions.
    ///
    /// # Errors
    /// [`Malformed6`]: as [`parse`](Self::parse) and [`follow`](Self::follow), or the frame is shorter than the header.
    #[inline(always)]
    pub fn read<P: Packet>(packet: &P) -> Result<Self, Malformed6> {
        let head = Head6::of(packet).ok_or(Malformed6)?;
        let header = Self::parse(&head, packet.len())?;
        if header.is_extended() {
            header.follow(packet)
        } else {
            Ok(header)
        }
    }
}

/// Where a chain of extension headers leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// What is there.
    pub(crate) protocol: u8,
    /// Its offset in the frame.
    pub(crate) transport: usize,
    /// What the last fragment header said.
    pub(crate) fragment: Fragment6,
}

impl Chain {
    /// Follows extension headers from one of kind `kind` at `at`. `None`: they lead beyond the frame, or are more than
    /// [`EXTENSIONS`].
    ///
    /// One branch a header besides the bounds check, so that the verifier walks eight steps and not every mixture of kinds.
    #[inline(always)]
    pub(crate) fn follow<P: Packet>(packet: &P, kind: u8, at: usize) -> Option<Self> {
        let mut kind = u64::from(kind);
        let mut at = at;
        // The fragment header's flags and identification, as numbers; bit 62 says that there is one.
        let mut fragment = 0u64;
        let mut passed = 0;
        while passed < EXTENSIONS {
            if is_followed(kind) & is_first(fragment) == 0 {
                break;
            }
            // Next header, length, two bytes, four bytes: no extension header is shorter.
            let word = u64::from_be(word64(packet.bytes::<8>(at)?, 0));
            let units = word >> 48 & 0xff;
            let is_fragment = bits::is_zero(kind ^ FRAGMENT);
            let is_ah = bits::is_zero(kind ^ AH);
            // AH counts in 4 bytes less 2, the others in 8 bytes less 1; a fragment header has no length (RFC 8200, 4302).
            let length = bits::pick(is_ah, (units + 2) * 4, (units + 1) * 8);
            let length = bits::pick(is_fragment, 8, length);
            fragment = bits::pick(is_fragment, word & 0xffff_ffff_ffff | 1 << 62, fragment);
            kind = word >> 56;
            at += length as usize;
            passed += 1;
        }
        if is_followed(kind) & is_first(fragment) != 0 {
            return None;
        }
        Some(Self {
            protocol: kind as u8,
            transport: at,
            fragment: Fragment6 {
                present: fragment != 0,
                offset: (fragment >> 32) as u16 & 0xfff8,
                more: fragment >> 32 & 1 != 0,
                identification: fragment as u32,
            },
        })
    }
}

/// 1 if `kind` is an extension header that is followed.
#[inline(always)]
fn is_followed(kind: u64) -> u64 {
    (FOLLOWED >> (kind & 63)) & bits::less(kind, 64) & 1
}

/// 1 unless a fragment header with an offset was passed.
#[inline(always)]
fn is_first(fragment: u64) -> u64 {
    bits::is_zero(fragment >> 32 & 0xfff8)
}

/// The first 54 bytes of a frame: Ethernet header and fixed IPv6 header, if it is one. Read at once, because each look at a
/// packet has the verifier's bounds check before it.
#[derive(Clone, Copy)]
pub struct Head6<'a>(&'a [u8; ETHERNET + FIXED6]);

impl<'a> Head6<'a> {
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

    /// Number of the header behind it: the protocol's or an extension's.
    #[inline(always)]
    #[must_use]
    pub fn next(&self) -> u8 {
        self.0[ETHERNET + 6]
    }

    /// Source address, two raw words.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> [u64; 2] {
        [word64(self.0, ETHERNET + 8), word64(self.0, ETHERNET + 16)]
    }

    /// Destination address, two raw words.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> [u64; 2] {
        [word64(self.0, ETHERNET + 24), word64(self.0, ETHERNET + 32)]
    }
}
