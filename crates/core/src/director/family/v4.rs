//! IPv4 on a packet's way.

use super::Family;
use crate::conn::{Entry4, Peer};
use crate::director::verdict::Stage;
use crate::env::{Env, Route};
use crate::forward::Age;
use crate::forward::direct;
use crate::forward::fit::{Fit, fit4};
use crate::forward::masquerade::{self, Readdress};
use crate::forward::refusal::{Refusal, refuse4};
use crate::forward::tunnel::Inner;
use crate::generation::{Concern, RootLine, ServiceKey};
use crate::packet::Packet;
use crate::sched::Request;
use crate::wire::{self, Head4, Header4, Ports, icmp};

/// IPv4.
#[derive(Clone, Copy)]
pub(in crate::director) struct V4;

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
