//! Tunnels: an outer header to the server in front of the packet, which stays as it is but for its age.
//!
//! IP in IP (RFC 2003, RFC 2473), GUE version 0 (draft-ietf-intarea-gue) and GRE (RFC 2784), IPv4 and IPv6 inside and
//! outside in any mixture. As Linux 6.1 IPVS builds them: time to live of the inner header after it was lowered; DSCP of the
//! inner, ECN copied except that CE becomes ECT(0) (RFC 6040 section 4.1, normal mode, keeps CE; IPVS does not); IPv4 outside:
//! DF as inside if path MTU discovery is on, never for IPv6 inside; IPv6 outside: flow label 0.
//!
//! Differs, both of necessity: identifications and GUE source ports come from other hashes than the kernel's; and a
//! super-frame leaves without outer checksum, because no hook can ask the kernel to compute one for each of its pieces.

mod inner;

use super::{Rewrite, Rewrite6, own};
use crate::packet::{Carrier, Packet, Room};
use crate::state::UDP;
use crate::wire::checksum::{fold, reduce, sum128};
use crate::wire::icmp::{GRE, IPV4_IN_IP};
use crate::wire::{ETHERNET, FIXED6, IPV4, IPV6, OUTER4, Outer, outer4, outer6};
use lvsx_platform::{store16, store32};

pub use inner::Inner;

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

/// Wraps an IPv4 packet in IPv4, IP in IP, for the server at raw address `server`; `source` is the director's own. The
/// shortest way, for the tunnel that most use.
#[inline(always)]
pub fn to_server<P: Packet>(
    packet: &mut P,
    inner: &Inner,
    source: u32,
    server: u32,
) -> Result<(), Unwrappable> {
    Rewrite::of(packet).ok_or(Unwrappable::Malformed)?.age(0);
    if !packet.push(OUTER4 as u32, Room::ipv4(Carrier::Ip)) {
        return Err(Unwrappable::NoHeadroom);
    }
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
    /// Whether the header has a checksum.
    is_summed: bool,
    /// Sum of the packet inside, if so; else 0. Two fields, because the verifier refuses to see half an `Option` copied.
    sum: u64,
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
        own::sum(packet, inner.total, inner.transport, inner.checksum_at)
            .ok_or(Unwrappable::Malformed)?
    } else {
        0
    };
    Ok(Between {
        carrier,
        protocol,
        length: tunnel.length(is_aggregate),
        is_summed,
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
        let checksum = if self.is_summed {
            let pseudo = addresses + u64::from(length) + u64::from(u16::from(UDP).to_be());
            match !fold(written + pseudo + self.sum) {
                0 => 0xffff,
                checksum => checksum,
            }
        } else {
            0
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
        if !self.is_summed {
            let word = kind.to_be();
            store32(packet.bytes_mut::<4>(offset)?, word);
            packet.shift_sum(word);
            return Some(());
        }
        let word = (0x8000_0000 | kind).to_be();
        let checksum = !fold(u64::from(word) + self.sum);
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
