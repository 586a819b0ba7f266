//! What differs between IPv4 and IPv6 on a packet's way; the way itself is one.

use super::verdict::Stage;
use crate::conn::Peer;
use crate::conn::{Entry, Entry4, Entry6};
use crate::env::{Env, Route};
use crate::forward::Age;
use crate::forward::direct;
use crate::forward::fit::{Fit, fit4, fit6};
use crate::forward::masquerade::{self, Readdress};
use crate::forward::masquerade6::{self, Readdress6};
use crate::forward::refusal::{Refusal, refuse4, refuse6};
use crate::forward::tunnel::Inner;
use crate::generation::{Concern, RootLine, ServiceKey};
use crate::packet::Packet;
use crate::sched::Request;
use crate::wire::{self, Fragment6, Head4, Head6, Header4, Header6, Ports, icmp};

/// An address family.
pub(super) trait Family: Sized {
    /// A raw address.
    type Address: Copy + PartialEq;
    /// An entry of its connection table.
    type Entry: Entry<Address = Self::Address>;
    /// The fixed headers of a frame.
    type Head<'a>: Copy;
    /// The IP header as it was read.
    type Header: Copy;

    /// Its number, as in `AF_INET` and `AF_INET6`.
    const NUMBER: u8;
    /// Its EtherType, raw.
    const KIND: u16;
    /// Whether its packets need more programs for the same way, because their addresses fill BPF's stack.
    const IS_WIDE: bool;
    /// Its stages.
    const FIND: Stage;
    const OVERFLOW: Stage;
    const OPEN: Stage;
    const BIND: Stage;
    const REFUSE: Stage;
    const ENCAPSULATE: Stage;
    const SEND: Stage;
    const FOUND: Stage;
    const ON: Stage;
    const RELATE: Stage;
    const CARRY: Stage;
    const TEMPLATE: Stage;
    const KEEP: Stage;
    const JOIN: Stage;
    const RAISE: Stage;
    const ANSWER: Stage;
    const LOCAL: Stage;
    const TELL: Stage;
    /// Protocol number of its ICMP.
    const ICMP: u8;

    fn head<P: Packet>(packet: &P) -> Option<Self::Head<'_>>;
    fn kind(head: &Self::Head<'_>) -> u16;
    fn link_destination(head: &Self::Head<'_>) -> u64;
    /// Protocol number, or that of an IPv6 header's first extension.
    fn next(head: &Self::Head<'_>) -> u8;
    /// Source and destination.
    fn addresses(head: &Self::Head<'_>) -> (Self::Address, Self::Address);
    /// A header of which only ends and protocol are known.
    fn bare(source: Self::Address, destination: Self::Address, protocol: u8) -> Self::Header;
    /// The whole header, extensions followed. `None`: malformed.
    fn parse<P: Packet>(head: &Self::Head<'_>, packet: &P) -> Option<Self::Header>;
    fn ends(header: &Self::Header) -> (Self::Address, Self::Address);
    fn protocol(header: &Self::Header) -> u8;
    fn ttl(header: &Self::Header) -> u8;
    fn total(header: &Self::Header) -> u32;
    fn transport(header: &Self::Header) -> usize;
    fn payload(header: &Self::Header) -> u32;
    fn is_fragment(header: &Self::Header) -> bool;
    /// Whether it goes through reassembly before anything is decided: fragments, and IPv6's atomic ones, whose fragment header
    /// is gone behind it (Linux 6.1, `nf_conntrack_reasm.c`).
    fn is_reassembled(header: &Self::Header) -> bool;
    /// How `packet`, whose header this is, fits a way of `limit` bytes.
    fn fit<P: Packet>(packet: &P, header: &Self::Header, limit: u32, heeds_df: bool) -> Fit;

    fn concern<E: Env>(root: &RootLine, env: &E, address: Self::Address) -> Concern;
    /// Whether the address is virtual because its whole prefix is.
    #[inline(always)]
    fn is_in_prefix<E: Env>(root: &RootLine, env: &E, address: Self::Address) -> bool {
        root.is_in_prefix(env, Self::IS_WIDE, Self::words(address))
    }
    fn service<E: Env>(
        root: &RootLine,
        env: &E,
        protocol: u8,
        address: Self::Address,
        port: u16,
    ) -> Option<u32>;
    fn route<E: Env>(env: &E, ingress: u32, to: Self::Address) -> Route;
    /// What a scheduler may know of a client's packet.
    fn request(header: &Self::Header, port: u16) -> Request;
    /// An address from two raw words, as lines of the arena hold it, and back.
    fn address(words: [u64; 2]) -> Self::Address;
    fn words(address: Self::Address) -> [u64; 2];
    /// The network that a client's address belongs to by a service's mask: raw for IPv4, a prefix's length for IPv6.
    fn network(address: Self::Address, mask: u32) -> Self::Address;
    /// Whether it is one of a host's addresses for itself (127/8, ::1).
    fn is_loopback(address: Self::Address) -> bool;

    /// Replaces the packet's far end: the destination's if it comes from the client (`side` [`Peer::Virtual`]), else the
    /// source's.
    fn readdress<P: Packet>(
        packet: &mut P,
        header: &Self::Header,
        ports: &Ports,
        side: Peer,
        new: (Self::Address, u16),
        age: Age,
    ) -> Option<()>;
    fn direct<P: Packet>(packet: &mut P) -> Option<()>;
    fn inner<P: Packet>(packet: &P, header: &Self::Header, ports: &Ports, heeds_df: bool) -> Inner;
    /// Turns the packet into the error that refuses it, which comes from `source`.
    fn refuse<P: Packet>(
        packet: &mut P,
        header: &Self::Header,
        refusal: Refusal,
        mtu: u32,
        source: Self::Address,
    ) -> Option<()>;
}

/// IPv4.
#[derive(Clone, Copy)]
pub(super) struct V4;

impl Family for V4 {
    type Address = u32;
    type Entry = Entry4;
    type Head<'a> = Head4<'a>;
    type Header = Header4;

    const NUMBER: u8 = 2;
    const KIND: u16 = wire::IPV4;
    const IS_WIDE: bool = false;
    const FIND: Stage = Stage::Find;
    const OVERFLOW: Stage = Stage::Overflow;
    const OPEN: Stage = Stage::Open;
    const BIND: Stage = Stage::Bind;
    const REFUSE: Stage = Stage::Refuse;
    const ENCAPSULATE: Stage = Stage::Encapsulate;
    const SEND: Stage = Stage::Send;
    const FOUND: Stage = Stage::Found;
    const ON: Stage = Stage::On;
    const RELATE: Stage = Stage::Relate;
    const CARRY: Stage = Stage::Carry;
    const TEMPLATE: Stage = Stage::Template;
    const KEEP: Stage = Stage::Keep;
    const JOIN: Stage = Stage::Join;
    const RAISE: Stage = Stage::Raise;
    const ANSWER: Stage = Stage::Answer;
    const LOCAL: Stage = Stage::Local;
    const TELL: Stage = Stage::Tell;
    const ICMP: u8 = icmp::ICMP;

    #[inline(always)]
    fn head<P: Packet>(packet: &P) -> Option<Head4<'_>> {
        Head4::of(packet)
    }

    #[inline(always)]
    fn kind(head: &Head4<'_>) -> u16 {
        head.kind()
    }

    #[inline(always)]
    fn link_destination(head: &Head4<'_>) -> u64 {
        head.link_destination()
    }

    #[inline(always)]
    fn next(head: &Head4<'_>) -> u8 {
        head.protocol()
    }

    #[inline(always)]
    fn addresses(head: &Head4<'_>) -> (u32, u32) {
        (head.source(), head.destination())
    }

    #[inline(always)]
    fn bare(source: u32, destination: u32, protocol: u8) -> Header4 {
        Header4 {
            source,
            destination,
            protocol,
            tos: 0,
            ttl: 0,
            total: 0,
            identification: 0,
            transport: wire::ETHERNET,
            is_fragment: false,
            fragment_offset: 0,
            more_fragments: false,
            dont_fragment: false,
        }
    }

    #[inline(always)]
    fn parse<P: Packet>(head: &Head4<'_>, packet: &P) -> Option<Header4> {
        Header4::parse(head, packet.len()).ok()
    }

    #[inline(always)]
    fn ends(header: &Header4) -> (u32, u32) {
        (header.source, header.destination)
    }

    #[inline(always)]
    fn protocol(header: &Header4) -> u8 {
        header.protocol
    }

    #[inline(always)]
    fn ttl(header: &Header4) -> u8 {
        header.ttl
    }

    #[inline(always)]
    fn total(header: &Header4) -> u32 {
        u32::from(header.total)
    }

    #[inline(always)]
    fn transport(header: &Header4) -> usize {
        header.transport
    }

    #[inline(always)]
    fn payload(header: &Header4) -> u32 {
        header.payload()
    }

    #[inline(always)]
    fn is_fragment(header: &Header4) -> bool {
        header.is_fragment
    }

    #[inline(always)]
    fn is_reassembled(header: &Header4) -> bool {
        header.is_fragment
    }

    #[inline(always)]
    fn fit<P: Packet>(packet: &P, header: &Header4, limit: u32, heeds_df: bool) -> Fit {
        let total = u32::from(header.total);
        let dont_fragment = header.dont_fragment;
        fit4(total, limit, dont_fragment, heeds_df, packet.is_aggregate())
    }

    #[inline(always)]
    fn concern<E: Env>(root: &RootLine, env: &E, address: u32) -> Concern {
        root.concern(env, address)
    }

    #[inline(always)]
    fn service<E: Env>(
        root: &RootLine,
        env: &E,
        protocol: u8,
        address: u32,
        port: u16,
    ) -> Option<u32> {
        root.service(env, ServiceKey::ipv4(protocol, address, port))
    }

    #[inline(always)]
    fn route<E: Env>(env: &E, ingress: u32, to: u32) -> Route {
        env.route4(ingress, to)
    }

    #[inline(always)]
    fn request(header: &Header4, port: u16) -> Request {
        Request::ipv4(header.source, port, header.destination)
    }

    #[inline(always)]
    fn address(words: [u64; 2]) -> u32 {
        words[0] as u32
    }

    #[inline(always)]
    fn words(address: u32) -> [u64; 2] {
        [u64::from(address), 0]
    }

    #[inline(always)]
    fn network(address: u32, mask: u32) -> u32 {
        address & mask
    }

    #[inline(always)]
    fn is_loopback(address: u32) -> bool {
        u32::from_be(address) >> 24 == 127
    }

    #[inline(always)]
    fn readdress<P: Packet>(
        packet: &mut P,
        header: &Header4,
        ports: &Ports,
        side: Peer,
        new: (u32, u16),
        age: Age,
    ) -> Option<()> {
        let change = match side {
            Peer::Virtual => Readdress::to_server(header, ports, new),
            Peer::Server => Readdress::to_client(header, ports, new),
        };
        masquerade::readdress(packet, header, &change, age)
    }

    #[inline(always)]
    fn direct<P: Packet>(packet: &mut P) -> Option<()> {
        direct::to_server(packet)
    }

    #[inline(always)]
    fn inner<P: Packet>(_packet: &P, header: &Header4, ports: &Ports, heeds_df: bool) -> Inner {
        Inner::of4(header, ports, heeds_df)
    }

    #[inline(always)]
    fn refuse<P: Packet>(
        packet: &mut P,
        header: &Header4,
        refusal: Refusal,
        mtu: u32,
        source: u32,
    ) -> Option<()> {
        refuse4(packet, header, refusal, mtu, source)
    }
}

/// IPv6.
#[derive(Clone, Copy)]
pub(super) struct V6;

impl Family for V6 {
    type Address = [u64; 2];
    type Entry = Entry6;
    type Head<'a> = Head6<'a>;
    type Header = Header6;

    const NUMBER: u8 = 10;
    const KIND: u16 = wire::IPV6;
    const IS_WIDE: bool = true;
    const FIND: Stage = Stage::Find6;
    const OVERFLOW: Stage = Stage::Overflow6;
    const OPEN: Stage = Stage::Open6;
    const BIND: Stage = Stage::Bind6;
    const REFUSE: Stage = Stage::Refuse6;
    const ENCAPSULATE: Stage = Stage::Encapsulate6;
    const SEND: Stage = Stage::Send6;
    const FOUND: Stage = Stage::Found6;
    const ON: Stage = Stage::On6;
    const RELATE: Stage = Stage::Relate6;
    const CARRY: Stage = Stage::Carry6;
    const TEMPLATE: Stage = Stage::Template6;
    const KEEP: Stage = Stage::Keep6;
    const JOIN: Stage = Stage::Join6;
    const RAISE: Stage = Stage::Raise6;
    const ANSWER: Stage = Stage::Answer6;
    const LOCAL: Stage = Stage::Local6;
    const TELL: Stage = Stage::Tell6;
    const ICMP: u8 = icmp::ICMP6;

    #[inline(always)]
    fn head<P: Packet>(packet: &P) -> Option<Head6<'_>> {
        Head6::of(packet)
    }

    #[inline(always)]
    fn kind(head: &Head6<'_>) -> u16 {
        head.kind()
    }

    #[inline(always)]
    fn link_destination(head: &Head6<'_>) -> u64 {
        head.link_destination()
    }

    #[inline(always)]
    fn next(head: &Head6<'_>) -> u8 {
        head.next()
    }

    #[inline(always)]
    fn addresses(head: &Head6<'_>) -> ([u64; 2], [u64; 2]) {
        (head.source(), head.destination())
    }

    #[inline(always)]
    fn bare(source: [u64; 2], destination: [u64; 2], protocol: u8) -> Header6 {
        Header6 {
            source,
            destination,
            protocol,
            tos: 0,
            hop_limit: 0,
            total: 0,
            transport: wire::ETHERNET,
            fragment: Fragment6::default(),
        }
    }

    #[inline(always)]
    fn parse<P: Packet>(head: &Head6<'_>, packet: &P) -> Option<Header6> {
        let header = Header6::parse(head, packet.len()).ok()?;
        let extent = extent(packet, &header);
        if extent == NO_EXTENT {
            return None;
        }
        Some(Header6 {
            protocol: extent as u8,
            transport: (extent >> 8) as usize & 0x1ff,
            fragment: Fragment6 {
                present: extent >> 17 & 1 != 0,
                more: extent >> 18 & 1 != 0,
                offset: ((extent >> 19) as u16 & 0x1fff) << 3,
                identification: (extent >> 32) as u32,
            },
            ..header
        })
    }

    #[inline(always)]
    fn ends(header: &Header6) -> ([u64; 2], [u64; 2]) {
        (header.source, header.destination)
    }

    #[inline(always)]
    fn protocol(header: &Header6) -> u8 {
        header.protocol
    }

    #[inline(always)]
    fn ttl(header: &Header6) -> u8 {
        header.hop_limit
    }

    #[inline(always)]
    fn total(header: &Header6) -> u32 {
        header.total
    }

    #[inline(always)]
    fn transport(header: &Header6) -> usize {
        header.transport
    }

    #[inline(always)]
    fn payload(header: &Header6) -> u32 {
        header.payload()
    }

    #[inline(always)]
    fn is_fragment(header: &Header6) -> bool {
        header.is_fragment()
    }

    #[inline(always)]
    fn is_reassembled(header: &Header6) -> bool {
        header.fragment.present
    }

    #[inline(always)]
    fn fit<P: Packet>(packet: &P, header: &Header6, limit: u32, _heeds_df: bool) -> Fit {
        // A datagram that came in fragments leaves in fragments as long.
        let total = match packet.longest_fragment() {
            0 => header.total,
            longest => longest,
        };
        fit6(total, limit, packet.is_aggregate())
    }

    #[inline(always)]
    fn concern<E: Env>(root: &RootLine, env: &E, address: [u64; 2]) -> Concern {
        root.concern6(env, address)
    }

    #[inline(always)]
    fn service<E: Env>(
        root: &RootLine,
        env: &E,
        protocol: u8,
        address: [u64; 2],
        port: u16,
    ) -> Option<u32> {
        root.service6(env, protocol, address, port)
    }

    #[inline(always)]
    fn route<E: Env>(env: &E, ingress: u32, to: [u64; 2]) -> Route {
        env.route6(ingress, to)
    }

    #[inline(always)]
    fn request(header: &Header6, port: u16) -> Request {
        Request::ipv6(header.source, port, header.destination)
    }

    #[inline(always)]
    fn address(words: [u64; 2]) -> [u64; 2] {
        words
    }

    #[inline(always)]
    fn words(address: [u64; 2]) -> [u64; 2] {
        address
    }

    #[inline(always)]
    fn network(address: [u64; 2], mask: u32) -> [u64; 2] {
        [
            address[0] & prefix_word(mask),
            address[1] & prefix_word(mask.saturating_sub(64)),
        ]
    }

    #[inline(always)]
    fn is_loopback(address: [u64; 2]) -> bool {
        address[0] == 0 && u64::from_be(address[1]) == 1
    }

    #[inline(always)]
    fn readdress<P: Packet>(
        packet: &mut P,
        header: &Header6,
        ports: &Ports,
        side: Peer,
        new: ([u64; 2], u16),
        age: Age,
    ) -> Option<()> {
        let change = match side {
            Peer::Virtual => Readdress6::to_server(header, ports, new),
            Peer::Server => Readdress6::to_client(header, ports, new),
        };
        masquerade6::readdress(packet, header, &change, age)
    }

    #[inline(always)]
    fn direct<P: Packet>(packet: &mut P) -> Option<()> {
        direct::to_server6(packet)
    }

    #[inline(always)]
    fn inner<P: Packet>(packet: &P, header: &Header6, ports: &Ports, _heeds_df: bool) -> Inner {
        Inner::of6(packet, header, ports)
    }

    #[inline(always)]
    fn refuse<P: Packet>(
        packet: &mut P,
        header: &Header6,
        refusal: Refusal,
        mtu: u32,
        source: [u64; 2],
    ) -> Option<()> {
        refuse6(packet, header, refusal, mtu, source)
    }
}

/// The first `length` bits of a raw word: none for 0, all from 64 on.
#[inline(always)]
fn prefix_word(length: u32) -> u64 {
    if length >= 64 {
        return u64::MAX;
    }
    (!(u64::MAX >> length)).to_be()
}

/// What lies behind an IPv6 header's extensions, in one word: protocol, offset << 8, fragment's presence << 17, more << 18,
/// offset in units << 19, identification << 32. A function of its own, so that packets with extensions and without are one
/// to the verifier afterwards, which else walks the rest of the program for either.
#[inline(never)]
fn extent<P: Packet>(packet: &P, header: &Header6) -> u64 {
    let header = if header.is_extended() {
        match header.follow(packet) {
            Ok(header) => header,
            Err(_) => return NO_EXTENT,
        }
    } else {
        *header
    };
    let fragment = header.fragment;
    u64::from(header.protocol)
        | (header.transport as u64 & 0x1ff) << 8
        | u64::from(fragment.present) << 17
        | u64::from(fragment.more) << 18
        | u64::from(fragment.offset >> 3 & 0x1fff) << 19
        | u64::from(fragment.identification) << 32
}

/// No extent: the chain of extensions is broken.
const NO_EXTENT: u64 = u64::MAX;
