//! IPv6 on a packet's way.

use super::Family;
use crate::conn::{Entry6, Peer};
use crate::director::verdict::Stage;
use crate::env::{Env, Route};
use crate::forward::Age;
use crate::forward::direct;
use crate::forward::fit::{Fit, fit6};
use crate::forward::masquerade6::{self, Readdress6};
use crate::forward::refusal::{Refusal, refuse6};
use crate::forward::tunnel::Inner;
use crate::generation::{Concern, RootLine};
use crate::packet::Packet;
use crate::sched::Request;
use crate::wire::{self, Fragment6, Head6, Header6, Ports, icmp};

/// IPv6.
#[derive(Clone, Copy)]
pub(in crate::director) struct V6;

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
