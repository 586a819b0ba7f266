//! What differs between IPv4 and IPv6 on a packet's way; the way itself is one.

mod v4;
mod v6;

pub(super) use v4::V4;
pub(super) use v6::V6;

use super::verdict::Stage;
use crate::conn::{Entry, Peer};
use crate::env::{Env, Route};
use crate::forward::Age;
use crate::forward::fit::Fit;
use crate::forward::refusal::Refusal;
use crate::forward::tunnel::Inner;
use crate::generation::{Concern, RootLine};
use crate::packet::Packet;
use crate::sched::Request;
use crate::wire::Ports;

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
