//! Packets that have nothing about them that most packets have not: of IPv4 without options, whole, handed to this interface,
//! far from their end; a TCP segment, or a datagram with a checksum.

use crate::env::{Env, PORTS};
use crate::forward::fit::is_expiring;
use crate::generation::live;
use crate::packet::Packet;
use crate::state::{TCP, UDP};
use crate::wire::{ETHERNET, Header4, OUTER4, Ports, TcpFlags, high, low};
use lvsx_platform::{load16_at as at16, load32_at as at32};

/// What one look at the headers makes of a packet.
pub(super) enum Plain {
    /// They are such as most have: those of a segment with ACK alone, or of a datagram.
    Usual(Header4, Ports),
    /// They are such as most SYNs have: to be read [`again`].
    First,
    /// They are not.
    Not,
}

impl Plain {
    /// One look at the frame.
    #[inline(always)]
    pub(super) fn of<P: Packet, E: Env>(packet: &P, env: &E) -> Self {
        let Some(bytes) = packet.bytes::<HEADERS>(0) else {
            return Self::Not;
        };
        let interface = packet.interface();
        let Some(port) = env.port(interface & (PORTS - 1)) else {
            return Self::Not;
        };
        let is_handed_here = port[live::port::INTERFACE].peek() as u32 == interface
            && port[live::port::ADDRESS].peek()
                == u64::from(at32::<0, _>(bytes)) | u64::from(at16::<4, _>(bytes)) << 32;
        let fragment = u16::from_be(at16::<{ ETHERNET + 6 }, _>(bytes));
        let (header, ports) = read(bytes);
        if !is_handed_here
            || bytes[ETHERNET] != 0x45
            || fragment & 0x3fff != 0
            || is_expiring(header.ttl)
            || u32::from(header.total) + ETHERNET as u32 > packet.len()
        {
            return Self::Not;
        }
        let flags = ports.flags;
        let least = OUTER4 as u32
            + if header.protocol == TCP {
                let data = u32::from(bytes[TRANSPORT + 12] >> 4) * 4;
                if data < 20 || !flags.is_ack_alone() && !flags.is_syn_alone() {
                    return Self::Not;
                }
                data
            } else {
                let length = u32::from(u16::from_be(at16::<{ TRANSPORT + 4 }, _>(bytes)));
                let is_summed = at16::<{ TRANSPORT + 6 }, _>(bytes) != 0;
                if header.protocol != UDP || length < 8 || !is_summed {
                    return Self::Not;
                }
                length
            };
        if least > u32::from(header.total) {
            return Self::Not;
        }
        if header.protocol == TCP && flags.is_syn_alone() {
            return Self::First;
        }
        Self::Usual(header, ports)
    }
}

/// The headers of a packet that was seen to be plain before. `None`: they are not there any more.
#[inline(always)]
pub(super) fn again<P: Packet>(packet: &P) -> Option<(Header4, Ports)> {
    packet.bytes::<HEADERS>(0).map(read)
}

/// Headers as they lie in a plain packet.
#[inline(always)]
fn read(bytes: &[u8; HEADERS]) -> (Header4, Ports) {
    let ends = at32::<TRANSPORT, _>(bytes);
    let ports = Ports {
        source: low(ends),
        destination: high(ends),
        flags: TcpFlags(bytes[TRANSPORT + 13]),
    };
    let header = Header4 {
        source: at32::<{ ETHERNET + 12 }, _>(bytes),
        destination: at32::<{ ETHERNET + 16 }, _>(bytes),
        protocol: bytes[ETHERNET + 9],
        tos: bytes[ETHERNET + 1],
        ttl: bytes[ETHERNET + 8],
        total: u16::from_be(at16::<{ ETHERNET + 2 }, _>(bytes)),
        identification: u16::from_be(at16::<{ ETHERNET + 4 }, _>(bytes)),
        transport: TRANSPORT,
        is_fragment: false,
        fragment_offset: 0,
        more_fragments: false,
        dont_fragment: bytes[ETHERNET + 6] & 0x40 != 0,
    };
    (header, ports)
}

/// Where the transport header begins behind an IPv4 header without options.
const TRANSPORT: usize = ETHERNET + OUTER4;
/// The headers of a TCP segment.
const HEADERS: usize = TRANSPORT + 20;
