//! ICMP errors that the director sends: made in place of the packet that they are about, and turned back to its sender.
//!
//! As Linux 6.1: from the virtual address to the client, from the director to a server; IPv4 with the precedence
//! of internetwork control and else the quoted packet's type of service (RFC 1812 section 4.3.2.5), DF clear
//! and 576 bytes at most, so 548 quoted; IPv6 with traffic class 0 and 1280 bytes at most, so 1232 quoted (RFC 4443 section
//! 2.4); hop limit 64. A packet refused for its size is quoted with its time to live lowered, others as they came.
//!
//! How often errors may be sent is the caller's to see to. Linux 6.1's limits, all counted by receiver and in total:
//! `net.ipv4.icmp_ratelimit` (a thousand milliseconds between two to one address, six saved up) for the types of
//! `icmp_ratemask` (3, 4, 11, 12), `icmp_msgs_per_sec` (1000) and `icmp_msgs_burst` (50); fragmentation needed (3/4) is never
//! limited. `net.ipv6.icmp.ratelimit` likewise, for all types but packet too big (2).

use super::own::{self, checksum_at};
use super::{Rewrite, Rewrite6};
use crate::generation::spread;
use crate::packet::{Packet, Room};
use crate::wire::checksum::{fold, sum128};
use crate::wire::icmp::{ICMP, ICMP_HEADER, ICMP6, Icmp, Quote4, pseudo6};
use crate::wire::{
    ETHERNET, FIXED6, Header4, Header6, OUTER4, Outer, outer4, outer6, word16, word32,
};
use lvsx_platform::{store16, store32};

/// The most that an ICMP error quotes.
const QUOTE4: u32 = 576 - OUTER4 as u32 - ICMP_HEADER as u32;
/// The most that an ICMPv6 error quotes.
const QUOTE6: u32 = 1280 - FIXED6 as u32 - ICMP_HEADER as u32;
/// Precedence of ICMP errors: internetwork control.
const CONTROL: u8 = 0xc0;
/// Bits of the type of service that they take over from what they quote.
const TOS: u8 = 0x1e;
/// Time to live of packets that the director makes.
const LIFE: u8 = 64;

/// Why a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No destination takes it: port unreachable, for TCP too.
    PortUnreachable,
    /// It is longer than the way to its server takes: fragmentation needed, packet too big.
    TooBig,
    /// Its time to live is at its end.
    TimeExceeded,
    /// A masqueraded server's that belongs to no connection: port unreachable, from the director.
    NoConnection,
    /// A first fragment, whose datagram was not complete in time: reassembly time exceeded.
    ReassemblyTime,
}

impl Refusal {
    /// The ICMP header's content; `mtu` counts for [`Refusal::TooBig`].
    #[inline(always)]
    #[must_use]
    pub fn message4(self, mtu: u32) -> Icmp {
        let (kind, code, rest) = match self {
            Self::PortUnreachable | Self::NoConnection => (3, 3, 0),
            // RFC 1191: the MTU is in the low half.
            Self::TooBig => (3, 4, mtu & 0xffff),
            Self::TimeExceeded => (11, 0, 0),
            Self::ReassemblyTime => (11, 1, 0),
        };
        Icmp { kind, code, rest }
    }

    /// The same of ICMPv6.
    #[inline(always)]
    #[must_use]
    pub fn message6(self, mtu: u32) -> Icmp {
        let (kind, code, rest) = match self {
            Self::PortUnreachable | Self::NoConnection => (1, 4, 0),
            Self::TooBig => (2, 0, mtu),
            Self::TimeExceeded => (3, 0, 0),
            Self::ReassemblyTime => (3, 1, 0),
        };
        Icmp { kind, code, rest }
    }
}

/// Whether an IPv4 packet that is no ICMP error may be answered by one (RFC 1122 section 3.2.2): not a later fragment, and
/// from one host, which 0/8, 127/8, multicast and broadcast addresses do not name.
#[inline(always)]
#[must_use]
pub fn is_answerable4(header: &Header4) -> bool {
    let first = u32::from_be(header.source) >> 24;
    header.fragment_offset == 0 && first != 0 && first != 127 && first < 224
}

/// The same of an IPv6 packet (RFC 4443 section 2.4 (e)): the unspecified address, ::1 and multicast name no host to answer.
#[inline(always)]
#[must_use]
pub fn is_answerable6(header: &Header6) -> bool {
    let [high, low] = header.source.map(u64::from_be);
    header.fragment.offset == 0 && high >> 56 != 0xff && (high != 0 || low > 1)
}

/// Total length of the error about an IPv4 packet of `total` bytes.
#[inline(always)]
#[must_use]
pub fn answer_length4(total: u32) -> u32 {
    total.min(QUOTE4) + (OUTER4 + ICMP_HEADER) as u32
}

/// The same of IPv6, its header included.
#[inline(always)]
#[must_use]
pub fn answer_length6(total: u32) -> u32 {
    total.min(QUOTE6) + (FIXED6 + ICMP_HEADER) as u32
}

/// Turns an IPv4 packet into the error that refuses it, sent from `source`. `None`: it may not be answered, or the hook cannot: it is to be
/// dropped.
#[inline(always)]
pub fn refuse4<P: Packet>(
    packet: &mut P,
    header: &Header4,
    refusal: Refusal,
    mtu: u32,
    source: u32,
) -> Option<()> {
    if !is_answerable4(header) {
        return None;
    }
    if refusal == Refusal::TooBig {
        Rewrite::of(packet)?.age(0);
    }
    let quoted = Quoted {
        length: u32::from(header.total).min(QUOTE4),
        transport: header.transport,
        checksum_at: checksum_at(header.protocol, header.transport, header.is_fragment),
    };
    answer4(
        packet,
        &quoted,
        &refusal.message4(mtu),
        source,
        header.source,
    )
}

/// Turns an IPv6 packet into the error that refuses it. `None`: as [`refuse4`].
#[inline(always)]
pub fn refuse6<P: Packet>(
    packet: &mut P,
    header: &Header6,
    refusal: Refusal,
    mtu: u32,
    source: [u64; 2],
) -> Option<()> {
    if !is_answerable6(header) {
        return None;
    }
    if refusal == Refusal::TooBig {
        Rewrite6::at(packet, ETHERNET)?.age();
    }
    let quoted = Quoted {
        length: header.total.min(QUOTE6),
        transport: header.transport,
        checksum_at: checksum_at(header.protocol, header.transport, header.is_fragment()),
    };
    answer6(
        packet,
        &quoted,
        &refusal.message6(mtu),
        source,
        header.source,
    )
}

/// Turns an ICMP error about one of the director's own tunnel packets into one about the client's packet `inside` it, from
/// the virtual address to the client. `header` is the received error's; `message` says type, code and MTU of the new one.
/// `None`: the hook cannot.
#[inline(always)]
pub fn convert4<P: Packet>(
    packet: &mut P,
    header: &Header4,
    inside: &Quote4,
    message: &Icmp,
) -> Option<()> {
    let skipped = inside.at.checked_sub(ETHERNET)?;
    let left = usize::from(header.total).checked_sub(skipped)?;
    if !packet.pop(skipped as u32) {
        return None;
    }
    let quoted = Quoted {
        length: (left as u32).min(QUOTE4),
        transport: inside.transport.checked_sub(skipped)?,
        checksum_at: 0,
    };
    answer4(packet, &quoted, message, inside.destination, inside.source)
}

/// The packet at hand, as an error quotes it.
struct Quoted {
    /// How much of it is quoted.
    length: u32,
    /// Where its transport begins in the frame.
    transport: usize,
    /// Where its transport checksum lies, which may be unfinished; 0 if nowhere.
    checksum_at: usize,
}

impl Quoted {
    /// Cuts the frame to what is quoted, and sums that up as it will leave.
    #[inline(always)]
    fn cut_and_sum<P: Packet>(&self, packet: &mut P) -> Option<u64> {
        if !packet.cut(ETHERNET as u32 + self.length) {
            return None;
        }
        own::sum(packet, self.length, self.transport, self.checksum_at)
    }
}

/// Puts an IPv4 and an ICMP header in front of what is quoted.
#[inline(always)]
fn answer4<P: Packet>(
    packet: &mut P,
    quoted: &Quoted,
    message: &Icmp,
    source: u32,
    destination: u32,
) -> Option<()> {
    let sum = quoted.cut_and_sum(packet)?;
    let quoted_head = packet.bytes::<8>(ETHERNET)?;
    let (tos, varying) = (quoted_head[1], word32(quoted_head, 4));
    if !packet.push((OUTER4 + ICMP_HEADER) as u32, Room::PLAIN) {
        return None;
    }
    let outer = Outer {
        payload: quoted.length + ICMP_HEADER as u32,
        protocol: ICMP,
        tos: CONTROL | tos & TOS,
        ttl: LIFE,
        dont_fragment: false,
        identification: identification(varying, u64::from(destination)),
    };
    own::store4(packet, &outer4(&outer, source, destination))?;
    store_message(packet, ETHERNET + OUTER4, message, sum)?;
    turn_back(packet)
}

/// Puts an IPv6 and an ICMPv6 header in front of what is quoted.
#[inline(always)]
fn answer6<P: Packet>(
    packet: &mut P,
    quoted: &Quoted,
    message: &Icmp,
    source: [u64; 2],
    destination: [u64; 2],
) -> Option<()> {
    let sum = quoted.cut_and_sum(packet)?;
    if !packet.push((FIXED6 + ICMP_HEADER) as u32, Room::PLAIN) {
        return None;
    }
    let payload = quoted.length + ICMP_HEADER as u32;
    let outer = Outer {
        payload,
        protocol: ICMP6,
        tos: 0,
        ttl: LIFE,
        dont_fragment: false,
        identification: identification(0, sum128(destination) ^ sum128(source) << 16),
    };
    own::store6(packet, outer6(&outer), source, destination)?;
    let pseudo = pseudo6(source, destination, payload, ICMP6);
    store_message(packet, ETHERNET + FIXED6, message, sum + pseudo)?;
    turn_back(packet)
}

/// A number that tells what the director sends apart, not 0.
#[inline(always)]
fn identification(varying: u32, ends: u64) -> u16 {
    match spread(ends, u64::from(varying)) as u16 {
        0 => 0xffff,
        identification => identification,
    }
}

/// Writes the header of an ICMP or ICMPv6 message whose other bytes sum up to `sum`.
#[inline(always)]
fn store_message<P: Packet>(packet: &mut P, offset: usize, message: &Icmp, sum: u64) -> Option<()> {
    let first = (u16::from(message.kind) << 8 | u16::from(message.code)).to_be();
    let rest = message.rest.to_be();
    let bytes = packet.bytes_mut::<ICMP_HEADER>(offset)?;
    let (halves, _) = bytes.as_chunks_mut::<2>();
    if let [kind, checksum, ..] = halves {
        store16(kind, first);
        store16(checksum, !fold(sum + u64::from(first) + u64::from(rest)));
    }
    store32(bytes.last_chunk_mut::<4>()?, rest);
    Some(())
}

/// Exchanges the link-layer addresses: the frame goes back to who handed it over.
#[inline(always)]
fn turn_back<P: Packet>(packet: &mut P) -> Option<()> {
    let bytes = packet.bytes::<12>(0)?;
    let destination = u64::from(word32(bytes, 0)) | u64::from(word16(bytes, 4)) << 32;
    let source = u64::from(word16(bytes, 6)) | u64::from(word32(bytes, 8)) << 16;
    super::link(packet, source, destination)
}
