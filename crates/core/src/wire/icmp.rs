//! ICMP (RFC 792) and ICMPv6 (RFC 4443): which messages are errors, and the packet that an error quotes.
//!
//! An error belongs to the connection of the packet it quotes. That packet went the other way: an error that comes from the
//! server's side quotes what the client sent (client to server), one from the client's side what was sent to the client
//! (virtual end to client). So a look-up for an error takes client and peer from the quoted ends, exchanged.

use super::{Chain, ETHERNET, FIXED6, Header4, Header6, high, low, word16, word32, word64};
use crate::packet::Packet;
use crate::state::{TCP, UDP};
use crate::wire::checksum::{fold, sum128};

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of ICMPv6.
pub const ICMP6: u8 = 58;
/// Protocol number of IPv4 in IP.
pub const IPV4_IN_IP: u8 = 4;
/// Protocol number of GRE.
pub const GRE: u8 = 47;
/// Length of the header of ICMP and ICMPv6 errors.
pub const ICMP_HEADER: usize = 8;

/// The header of an ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The second word, as a number: an MTU, an echo's identifier and sequence number, or nothing.
    pub rest: u32,
}

impl Icmp {
    /// Reads the header at `offset`, of a message of `length` bytes. `None`: it is shorter than 8 bytes.
    #[inline(always)]
    pub fn read<P: Packet>(packet: &P, offset: usize, length: u32) -> Option<Self> {
        if length < ICMP_HEADER as u32 {
            return None;
        }
        let bytes = packet.bytes::<ICMP_HEADER>(offset)?;
        Some(Self {
            kind: bytes[0],
            code: bytes[1],
            rest: u32::from_be(word32(bytes, 4)),
        })
    }

    /// Whether the ICMP message is an error as IPVS relates them (Linux 6.1): destination unreachable (3), source quench (4)
    /// or time exceeded (11). Redirects (5) and parameter problems (12) it leaves alone, like echo and all others.
    #[inline(always)]
    #[must_use]
    pub fn is_error4(&self) -> bool {
        matches!(self.kind, 3 | 4 | 11)
    }

    /// Whether the ICMPv6 message is an error: all types below 128 (RFC 4443 section 2.1).
    #[inline(always)]
    #[must_use]
    pub fn is_error6(&self) -> bool {
        self.kind < 128
    }
}

/// Whether the checksum of an unfragmented ICMP message is right. `None`: the hook cannot sum it up.
///
/// IPVS drops an error of a masqueraded connection whose checksum is wrong, before it corrects it (Linux 6.1).
#[inline(always)]
pub fn is_sound4<P: Packet>(packet: &P, header: &Header4) -> Option<bool> {
    let sum = packet.sum(header.transport, header.payload())?;
    Some(fold(u64::from(sum)) == 0xffff)
}

/// The same of an ICMPv6 message, whose checksum covers a pseudo header too.
#[inline(always)]
pub fn is_sound6<P: Packet>(packet: &P, header: &Header6) -> Option<bool> {
    let length = header.payload();
    let sum = u64::from(packet.sum(header.transport, length)?)
        + pseudo6(header.source, header.destination, length, ICMP6);
    Some(fold(sum) == 0xffff)
}

/// Whether an ICMP error quotes a packet of a protocol with ports up to where these begin, and no further.
#[inline(always)]
pub fn lacks_ports4<P: Packet>(packet: &P, header: &Header4) -> bool {
    let at = header.transport + ICMP_HEADER;
    let end = ETHERNET + usize::from(header.total);
    packet.bytes::<20>(at).is_some_and(|bytes| {
        let length = usize::from(bytes[0] & 0xf) * 4;
        bytes[0] >> 4 == 4 && length >= 20 && has_ports(bytes[9]) && at + length + 4 > end
    })
}

/// The same of an ICMPv6 error. One that quotes extension headers does not.
#[inline(always)]
pub fn lacks_ports6<P: Packet>(packet: &P, header: &Header6) -> bool {
    let at = header.transport + ICMP_HEADER;
    let end = ETHERNET + header.total as usize;
    packet
        .bytes::<FIXED6>(at)
        .is_some_and(|bytes| bytes[0] >> 4 == 6 && has_ports(bytes[6]) && at + FIXED6 + 4 > end)
}

#[inline(always)]
fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP)
}

/// Protocol number of SCTP.
const SCTP: u8 = 132;

/// Sum of an IPv6 pseudo header: raw addresses, upper-layer length below 2^16, protocol.
#[inline(always)]
#[must_use]
pub fn pseudo6(source: [u64; 2], destination: [u64; 2], length: u32, protocol: u8) -> u64 {
    sum128(source)
        + sum128(destination)
        + u64::from((length as u16).to_be())
        + u64::from(u16::from(protocol).to_be())
}

/// The IPv4 packet that an error quotes, or one inside it: at least its header and four bytes of transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote4 {
    /// Where its header begins in the frame.
    pub at: usize,
    /// Where its transport header begins.
    pub transport: usize,
    /// Raw source address.
    pub source: u32,
    /// Raw destination address.
    pub destination: u32,
    /// Protocol number.
    pub protocol: u8,
    /// Whether it must not be fragmented.
    pub dont_fragment: bool,
    /// Raw source port, where the protocol has ports: the first two bytes of transport.
    pub source_port: u16,
    /// Raw destination port: the next two.
    pub destination_port: u16,
}

impl Quote4 {
    /// The packet that an ICMP error quotes.
    ///
    /// `None`: too little of it is quoted, it is not IPv4, or a later fragment, which has no ports.
    #[inline(always)]
    pub fn of_error<P: Packet>(packet: &P, header: &Header4) -> Option<Self> {
        let end = ETHERNET + usize::from(header.total);
        Self::read(packet, header.transport + ICMP_HEADER, end)
    }

    /// The packet at `at` of the frame, which an error with this header quotes; `None` as of [`of_error`](Self::of_error).
    #[inline(always)]
    pub fn at<P: Packet>(packet: &P, header: &Header4, at: usize) -> Option<Self> {
        Self::read(packet, at, ETHERNET + usize::from(header.total))
    }

    /// The packet at `at`, of a quote that ends at `end`.
    #[inline(always)]
    fn read<P: Packet>(packet: &P, at: usize, end: usize) -> Option<Self> {
        let bytes = packet.bytes::<20>(at)?;
        let length = usize::from(bytes[0] & 0xf) * 4;
        let fragment = u16::from_be(word16(bytes, 6));
        if bytes[0] >> 4 != 4 || length < 20 || fragment & 0x1fff != 0 {
            return None;
        }
        let (source, destination) = (word32(bytes, 12), word32(bytes, 16));
        let protocol = bytes[9];
        let transport = at + length;
        if transport + 4 > end {
            return None;
        }
        let ports = word32(packet.bytes::<4>(transport)?, 0);
        Some(Self {
            at,
            transport,
            source,
            destination,
            protocol,
            dont_fragment: fragment & 0x4000 != 0,
            source_port: low(ports),
            destination_port: high(ports),
        })
    }

    /// The IPv4 packet inside, if this one is of a tunnel as the director makes them: IP in IP, GRE without key and sequence
    /// number, or, for any UDP packet, GUE version 0 with data; the caller knows the tunnel's port, [`destination_port`].
    /// `header` is the error's.
    ///
    /// [`destination_port`]: Self::destination_port
    #[inline(always)]
    pub fn inside<P: Packet>(&self, packet: &P, header: &Header4) -> Option<Self> {
        let at = match self.protocol {
            IPV4_IN_IP => self.transport,
            GRE => {
                let word = u32::from_be(word32(packet.bytes::<4>(self.transport)?, 0));
                // Flags but the checksum's, version, and the EtherType of IPv4.
                if word & 0x7fff_ffff != 0x0800 {
                    return None;
                }
                self.transport + if word >> 31 == 0 { 4 } else { 8 }
            }
            UDP => {
                let word = u32::from_be(word32(packet.bytes::<4>(self.transport + 8)?, 0));
                // Version (2 bits), control (1), length beyond 4 bytes in words (5), protocol (8), flags (16).
                if word >> 29 != 0 || word >> 16 & 0xff != u32::from(IPV4_IN_IP) {
                    return None;
                }
                self.transport + 12 + (word >> 24 & 0x1f) as usize * 4
            }
            _ => return None,
        };
        Self::read(packet, at, ETHERNET + usize::from(header.total))
    }
}

/// The IPv6 packet that an error quotes: at least its headers and four bytes of transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote6 {
    /// Where its header begins in the frame.
    pub at: usize,
    /// Where its transport header begins.
    pub transport: usize,
    /// Source address, two raw words.
    pub source: [u64; 2],
    /// Destination address, two raw words.
    pub destination: [u64; 2],
    /// Protocol number of the transport.
    pub protocol: u8,
    /// Raw source port, where the protocol has ports.
    pub source_port: u16,
    /// Raw destination port.
    pub destination_port: u16,
}

impl Quote6 {
    /// The packet that an ICMPv6 error quotes.
    ///
    /// `None`: too little of it is quoted, it is not IPv6, its extension headers are broken or more than eight, or it is a
    /// later fragment.
    #[inline(always)]
    pub fn of_error<P: Packet>(packet: &P, header: &Header6) -> Option<Self> {
        let at = header.transport + ICMP_HEADER;
        let bytes = packet.bytes::<FIXED6>(at)?;
        if bytes[0] >> 4 != 6 {
            return None;
        }
        let source = [word64(bytes, 8), word64(bytes, 16)];
        let destination = [word64(bytes, 24), word64(bytes, 32)];
        let next = bytes[6];
        let chain = Chain::follow(packet, next, at + FIXED6)?;
        let end = ETHERNET + header.total as usize;
        if chain.fragment.offset != 0 || chain.transport + 4 > end {
            return None;
        }
        let ports = word32(packet.bytes::<4>(chain.transport)?, 0);
        Some(Self {
            at,
            transport: chain.transport,
            source,
            destination,
            protocol: chain.protocol,
            source_port: low(ports),
            destination_port: high(ports),
        })
    }
}
