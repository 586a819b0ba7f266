//! The IPv6 header (RFC 8200).

use super::{ETHERNET, word16, word64};
use crate::packet::Packet;

/// Extension headers followed before the transport header; more than these is malformed for the director.
const EXTENSIONS: usize = 4;

/// What the director reads of an IPv6 header and its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header6 {
    /// Source address, two raw words.
    pub source: [u64; 2],
    /// Destination address, two raw words.
    pub destination: [u64; 2],
    /// Protocol number of the transport header.
    pub protocol: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Total length in bytes, the fixed header included.
    pub total: u32,
    /// Where the transport header begins in the frame.
    pub transport: usize,
    /// Whether a fragment header was passed.
    pub is_fragment: bool,
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

    /// Reads the header behind the link-layer header, and follows hop-by-hop, routing, destination and fragment headers.
    ///
    /// # Errors
    /// [`Malformed6`]: version is not 6, a header beyond the datagram, the datagram beyond the frame, or more than four
    /// extension headers.
    #[inline(always)]
    pub fn read<P: Packet>(packet: &P) -> Result<Self, Malformed6> {
        let bytes = packet.bytes::<40>(ETHERNET).ok_or(Malformed6)?;
        if bytes[0] >> 4 != 6 {
            return Err(Malformed6);
        }
        let total = u32::from(u16::from_be(word16(bytes, 4))) + 40;
        if total + ETHERNET as u32 > packet.len() {
            return Err(Malformed6);
        }
        let mut header = Self {
            source: [word64(bytes, 8), word64(bytes, 16)],
            destination: [word64(bytes, 24), word64(bytes, 32)],
            protocol: bytes[6],
            hop_limit: bytes[7],
            total,
            transport: ETHERNET + 40,
            is_fragment: false,
        };
        let mut passed = 0;
        while passed < EXTENSIONS {
            let length = match header.protocol {
                0 | 43 | 60 => {
                    let head = packet.bytes::<2>(header.transport).ok_or(Malformed6)?;
                    header.protocol = head[0];
                    (usize::from(head[1]) + 1) * 8
                }
                44 => {
                    let head = packet.bytes::<8>(header.transport).ok_or(Malformed6)?;
                    header.protocol = head[0];
                    header.is_fragment = true;
                    8
                }
                _ => return header.checked(),
            };
            header.transport += length;
            passed += 1;
        }
        match header.protocol {
            0 | 43 | 44 | 60 => Err(Malformed6),
            _ => header.checked(),
        }
    }

    #[inline(always)]
    fn checked(self) -> Result<Self, Malformed6> {
        if (self.transport - ETHERNET) as u32 > self.total {
            Err(Malformed6)
        } else {
            Ok(self)
        }
    }
}
