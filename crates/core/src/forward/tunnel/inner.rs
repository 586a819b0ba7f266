//! The packet inside a tunnel, as far as the headers outside depend on it.

use crate::forward::own::checksum_at;
use crate::generation::spread;
use crate::packet::Packet;
use crate::wire::{Header4, Header6, Outer, Ports, word32};

/// What the outer headers take from the packet inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    pub(super) is_ipv6: bool,
    pub(super) total: u32,
    tos: u8,
    /// Before it is lowered.
    ttl: u8,
    dont_fragment: bool,
    identification: u16,
    pub(super) transport: usize,
    /// Where its TCP or UDP checksum lies, 0 if there is none.
    pub(super) checksum_at: usize,
    /// The same for all packets of a flow.
    hash: u32,
}

impl Inner {
    /// An IPv4 packet; `ports` are nothing for a later fragment. `heeds_df`: path MTU discovery is on (`pmtu_disc`, the
    /// default).
    #[inline(always)]
    #[must_use]
    pub fn of4(header: &Header4, ports: &Ports, heeds_df: bool) -> Self {
        let ends = u64::from(header.source) << 32 | u64::from(header.destination);
        Self {
            is_ipv6: false,
            total: u32::from(header.total),
            tos: header.tos,
            ttl: header.ttl,
            dont_fragment: heeds_df && header.dont_fragment,
            // Fragments of a datagram have one identification, and become packets of their own.
            identification: header
                .identification
                .wrapping_add((header.fragment_offset / 8).wrapping_mul(0x9e37)),
            transport: header.transport,
            checksum_at: checksum_at(header.protocol, header.transport, header.is_fragment),
            hash: flow_hash(ends, header.protocol, ports),
        }
    }

    /// An IPv6 packet. It has no identification: `packet` gives one, of the bytes that differ from packet to packet in a
    /// flow (TCP sequence number, UDP checksum), so that two alike within a reassembly's time are unlikely, not impossible.
    #[inline(always)]
    #[must_use]
    pub fn of6<P: Packet>(packet: &P, header: &Header6, ports: &Ports) -> Self {
        let ends = header.source[0]
            ^ header.source[1].rotate_left(16)
            ^ header.destination[0].rotate_left(32)
            ^ header.destination[1].rotate_left(48);
        let varying = packet
            .bytes::<8>(header.transport)
            .map_or(0, |bytes| word32(bytes, 4));
        let place = u64::from(header.total) << 16 | u64::from(header.fragment.offset);
        Self {
            is_ipv6: true,
            total: header.total,
            tos: header.tos,
            ttl: header.hop_limit,
            dont_fragment: false,
            identification: spread(u64::from(varying) << 32 ^ place, 0) as u16,
            transport: header.transport,
            checksum_at: checksum_at(header.protocol, header.transport, header.is_fragment()),
            hash: flow_hash(ends, header.protocol, ports),
        }
    }

    /// The outer header in front of `payload` bytes of `protocol`.
    #[inline(always)]
    pub(super) fn outer(&self, payload: u32, protocol: u8) -> Outer {
        Outer {
            payload,
            protocol,
            tos: if self.tos & 3 == 3 {
                self.tos & !3 | 2
            } else {
                self.tos
            },
            ttl: self.ttl.wrapping_sub(1),
            dont_fragment: self.dont_fragment,
            identification: 0,
        }
    }

    /// Identification of an outer IPv4 header: 0 with DF (RFC 6864 section 4.1), else one that tells a flow's packets apart,
    /// and not 0.
    #[inline(always)]
    pub(super) fn outer_identification(&self) -> u16 {
        if self.dont_fragment {
            return 0;
        }
        match self.identification.wrapping_add(self.hash as u16) {
            0 => 0xffff,
            identification => identification,
        }
    }

    /// GUE's source port, raw: the same for all packets of a flow, of Linux's default range of local ports.
    #[inline(always)]
    pub(super) fn source_port(&self) -> u16 {
        let place = (u64::from(self.hash) * (60_999 - 32_768)) >> 32;
        (32_768 + place as u16).to_be()
    }
}

/// A hash of a flow's ends.
#[inline(always)]
fn flow_hash(ends: u64, protocol: u8, ports: &Ports) -> u32 {
    let ports = u64::from(ports.source) << 16 | u64::from(ports.destination);
    spread(ends, ports << 8 | u64::from(protocol))
}
