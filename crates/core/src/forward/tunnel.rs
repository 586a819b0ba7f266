//! Tunnels: an outer header to the server in front of the packet, which stays as it is but for its age.
//!
//! IP in IP (RFC 2003, RFC 2473), GUE version 0 (draft-ietf-intarea-gue) and GRE (RFC 2784), IPv4 and IPv6 inside and
//! outside in any mixture. As Linux 6.1 IPVS builds them: time to live of the inner header after it was lowered; DSCP of the
//! inner, ECN copied except that CE becomes ECT(0) (RFC 6040 section 4.1, normal mode, keeps CE; IPVS does not); IPv4 outside:
//! DF as inside if path MTU discovery is on, never for IPv6 inside; IPv6 outside: flow label 0.
//!
//! Differs, both of necessity: identifications and GUE source ports come from other hashes than the kernel's; and a
//! super-frame leaves without outer checksum, because no hook can ask the kernel to compute one for each of its pieces.

use super::{Rewrite, Rewrite6, own};
use crate::generation::spread;
use crate::packet::{Carrier, Packet, Room};
use crate::state::{TCP, UDP};
use crate::wire::checksum::{fold, reduce, sum128};
use crate::wire::icmp::{GRE, IPV4_IN_IP};
use crate::wire::{
    ETHERNET, FIXED6, Header4, Header6, IPV4, IPV6, OUTER4, Outer, Ports, outer4, outer6, word32,
};
use lvsx_platform::{load16, store16, store32};

/// Protocol number of IPv4 in IPv4.
pub const IPIP: u8 = IPV4_IN_IP;
/// Protocol number of IPv6 in IP.
const IPV6_IN_IP: u8 = 41;
/// UDP and GUE headers.
const GUE_LENGTH: u32 = 12;

/// Why a packet could not be wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwrappable {
    /// The frame has no room in front.
    NoHeadroom,
    /// The headers read before are not there any more, or cannot be summed up.
    Malformed,
}

/// How a tunnel carries packets; numbers as in IPVS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// IP in IP.
    Ipip = 0,
    /// Generic UDP encapsulation.
    Gue = 1,
    /// Generic routing encapsulation.
    Gre = 2,
}

/// A server's tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// How it carries packets.
    pub kind: Kind,
    /// Whether its GUE or GRE header has a checksum.
    pub has_checksum: bool,
    /// Raw destination port of GUE.
    pub port: u16,
}

impl Tunnel {
    /// The tunnel of IPVS's numbers: type, flags (1 checksum, 2 remote checksum), raw port. Remote checksum is sent as a
    /// checksum, as Linux does for packets whose own checksum is complete. `None`: no such type.
    #[inline(always)]
    #[must_use]
    pub fn from_numbers(kind: u8, flags: u8, port: u16) -> Option<Self> {
        let kind = match kind {
            0 => Kind::Ipip,
            1 => Kind::Gue,
            2 => Kind::Gre,
            _ => return None,
        };
        Some(Self {
            kind,
            has_checksum: flags & 3 != 0,
            port,
        })
    }

    /// Bytes between outer and inner IP header. Those of an aggregate have no checksum.
    #[inline(always)]
    #[must_use]
    pub fn length(&self, is_aggregate: bool) -> u32 {
        match self.kind {
            Kind::Ipip => 0,
            Kind::Gue => GUE_LENGTH,
            Kind::Gre if self.has_checksum && !is_aggregate => 8,
            Kind::Gre => 4,
        }
    }
}

/// What the outer headers take from the packet inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    is_ipv6: bool,
    total: u32,
    tos: u8,
    /// Before it is lowered.
    ttl: u8,
    dont_fragment: bool,
    identification: u16,
    transport: usize,
    /// Where its TCP or UDP checksum lies, 0 if there is none.
    checksum_at: usize,
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
    fn outer(&self, payload: u32, protocol: u8) -> Outer {
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
    fn outer_identification(&self) -> u16 {
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
    fn source_port(&self) -> u16 {
        let place = (u64::from(self.hash) * (60_999 - 32_768)) >> 32;
        (32_768 + place as u16).to_be()
    }

    /// Sum of the packet's bytes as they will leave. An unfinished transport checksum makes its segment sum up to the
    /// complement of what it holds now (local checksum offload, as in Linux).
    #[inline(always)]
    fn sum<P: Packet>(&self, packet: &mut P) -> Option<u64> {
        if self.checksum_at != 0 && packet.is_partial(self.checksum_at) {
            let begun = load16(packet.bytes::<2>(self.checksum_at)?);
            let headers = packet.sum(ETHERNET, (self.transport - ETHERNET) as u32)?;
            return Some(u64::from(headers) + u64::from(!begun));
        }
        packet.sum(ETHERNET, self.total).map(u64::from)
    }
}

/// Where the checksum of a whole TCP or UDP packet lies; 0 of anything else.
#[inline(always)]
pub(super) fn checksum_at(protocol: u8, transport: usize, is_fragment: bool) -> usize {
    match protocol {
        TCP if !is_fragment => transport + super::masquerade::TCP_CHECKSUM,
        UDP if !is_fragment => transport + super::masquerade::UDP_CHECKSUM,
        _ => 0,
    }
}

/// A hash of a flow's ends.
#[inline(always)]
fn flow_hash(ends: u64, protocol: u8, ports: &Ports) -> u32 {
    let ports = u64::from(ports.source) << 16 | u64::from(ports.destination);
    spread(ends, ports << 8 | u64::from(protocol))
}

/// Wraps an IPv4 packet in IPv4, IP in IP, for the server at raw address `server`; `source` is the director's own. The
/// shortest way, for the tunnel that most use.
#[inline(always)]
pub fn to_server<P: Packet>(
    packet: &mut P,
    inner: &Header4,
    source: u32,
    server: u32,
) -> Result<(), Unwrappable> {
    Rewrite::of(packet).ok_or(Unwrappable::Malformed)?.age(0);
    if !packet.push(OUTER4 as u32, Room::ipv4(Carrier::Ip)) {
        return Err(Unwrappable::NoHeadroom);
    }
    let inner = Inner::of4(inner, &Ports::default(), true);
    let outer = Outer {
        identification: inner.outer_identification(),
        ..inner.outer(inner.total, IPIP)
    };
    own::store4(packet, &outer4(&outer, source, server)).ok_or(Unwrappable::Malformed)
}

/// Wraps a packet in IPv4 for the server at raw address `server`; `source` is the director's own.
#[inline(always)]
pub fn wrap4<P: Packet>(
    packet: &mut P,
    inner: &Inner,
    tunnel: &Tunnel,
    source: u32,
    server: u32,
) -> Result<(), Unwrappable> {
    let header = age_and_sum(packet, inner, tunnel)?;
    if !packet.push(OUTER4 as u32 + header.length, Room::ipv4(header.carrier)) {
        return Err(Unwrappable::NoHeadroom);
    }
    let outer = Outer {
        identification: inner.outer_identification(),
        ..inner.outer(inner.total + header.length, header.protocol)
    };
    let addresses = u64::from(source) + u64::from(server);
    own::store4(packet, &outer4(&outer, source, server))
        .and_then(|()| header.store(packet, ETHERNET + OUTER4, inner, tunnel, addresses))
        .and_then(|()| own::store_kind(packet, IPV4))
        .ok_or(Unwrappable::Malformed)
}

/// Wraps a packet in IPv6 for the server at `server`; `source` is the director's own.
#[inline(always)]
pub fn wrap6<P: Packet>(
    packet: &mut P,
    inner: &Inner,
    tunnel: &Tunnel,
    source: [u64; 2],
    server: [u64; 2],
) -> Result<(), Unwrappable> {
    let header = age_and_sum(packet, inner, tunnel)?;
    if !packet.push(FIXED6 as u32 + header.length, Room::ipv6(header.carrier)) {
        return Err(Unwrappable::NoHeadroom);
    }
    let words = outer6(&inner.outer(inner.total + header.length, header.protocol));
    let addresses = sum128(source) + sum128(server);
    let sum = u64::from(words[0]) + u64::from(words[1]) + addresses;
    packet.shift_sum(reduce(sum));
    own::store6(packet, words, source, server)
        .and_then(|()| header.store(packet, ETHERNET + FIXED6, inner, tunnel, addresses))
        .and_then(|()| own::store_kind(packet, IPV6))
        .ok_or(Unwrappable::Malformed)
}

/// A tunnel's own header, between the IP headers.
struct Between {
    carrier: Carrier,
    protocol: u8,
    length: u32,
    /// Sum of the packet inside, if the header has a checksum.
    sum: Option<u64>,
}

/// Lowers the inner time to live, and finds out what goes between the headers.
#[inline(always)]
fn age_and_sum<P: Packet>(
    packet: &mut P,
    inner: &Inner,
    tunnel: &Tunnel,
) -> Result<Between, Unwrappable> {
    if inner.is_ipv6 {
        let age = Rewrite6::at(packet, ETHERNET)
            .ok_or(Unwrappable::Malformed)?
            .age();
        packet.shift_sum(age);
    } else {
        Rewrite::of(packet).ok_or(Unwrappable::Malformed)?.age(0);
    }
    let is_aggregate = packet.is_aggregate();
    let (carrier, protocol) = match tunnel.kind {
        Kind::Ipip if inner.is_ipv6 => (Carrier::Ip, IPV6_IN_IP),
        Kind::Ipip => (Carrier::Ip, IPV4_IN_IP),
        Kind::Gue => (Carrier::Udp, UDP),
        Kind::Gre => (Carrier::Gre, GRE),
    };
    let is_summed = tunnel.has_checksum && !is_aggregate && tunnel.kind != Kind::Ipip;
    let sum = if is_summed {
        Some(inner.sum(packet).ok_or(Unwrappable::Malformed)?)
    } else {
        None
    };
    Ok(Between {
        carrier,
        protocol,
        length: tunnel.length(is_aggregate),
        sum,
    })
}

impl Between {
    /// Writes it at `offset`. `addresses`: the sum of the outer ones.
    #[inline(always)]
    fn store<P: Packet>(
        &self,
        packet: &mut P,
        offset: usize,
        inner: &Inner,
        tunnel: &Tunnel,
        addresses: u64,
    ) -> Option<()> {
        match tunnel.kind {
            Kind::Ipip => Some(()),
            Kind::Gue => self.store_gue(packet, offset, inner, tunnel.port, addresses),
            Kind::Gre => self.store_gre(packet, offset, inner),
        }
    }

    /// UDP with a hash of the flow as source port, then GUE: version 0, data, no flags.
    #[inline(always)]
    fn store_gue<P: Packet>(
        &self,
        packet: &mut P,
        offset: usize,
        inner: &Inner,
        port: u16,
        addresses: u64,
    ) -> Option<()> {
        let length = ((inner.total + GUE_LENGTH) as u16).to_be();
        let source = inner.source_port();
        let inside = if inner.is_ipv6 {
            IPV6_IN_IP
        } else {
            IPV4_IN_IP
        };
        let gue = (u32::from(inside) << 16).to_be();
        let written = u64::from(source) + u64::from(port) + u64::from(length) + u64::from(gue);
        let checksum = match self.sum {
            Some(sum) => {
                let pseudo = addresses + u64::from(length) + u64::from(u16::from(UDP).to_be());
                match !fold(written + pseudo + sum) {
                    0 => 0xffff,
                    checksum => checksum,
                }
            }
            None => 0,
        };
        let bytes = packet.bytes_mut::<12>(offset)?;
        let (halves, _) = bytes.as_chunks_mut::<2>();
        if let [a, b, c, d, ..] = halves {
            store16(a, source);
            store16(b, port);
            store16(c, length);
            store16(d, checksum);
        }
        store32(bytes.last_chunk_mut::<4>()?, gue);
        packet.shift_sum(reduce(written + u64::from(checksum)));
        Some(())
    }

    /// Flags and version, EtherType; with a checksum that and two reserved bytes.
    #[inline(always)]
    fn store_gre<P: Packet>(&self, packet: &mut P, offset: usize, inner: &Inner) -> Option<()> {
        let kind = u32::from(u16::from_be(if inner.is_ipv6 { IPV6 } else { IPV4 }));
        let Some(sum) = self.sum else {
            let word = kind.to_be();
            store32(packet.bytes_mut::<4>(offset)?, word);
            packet.shift_sum(word);
            return Some(());
        };
        let word = (0x8000_0000 | kind).to_be();
        let checksum = !fold(u64::from(word) + sum);
        let bytes = packet.bytes_mut::<8>(offset)?;
        store32(bytes.first_chunk_mut::<4>()?, word);
        let (halves, _) = bytes.as_chunks_mut::<2>();
        if let [_, _, third, fourth] = halves {
            store16(third, checksum);
            store16(fourth, 0);
        }
        packet.shift_sum(reduce(u64::from(word) + u64::from(checksum)));
        Some(())
    }
}
