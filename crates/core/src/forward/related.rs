//! ICMP errors about masqueraded connections: the error and the packet it quotes are rewritten as if there were no director.
//!
//! As Linux 6.1 IPVS does: outer and quoted address, quoted port, and the checksums over them; the quoted transport checksum
//! stays as it was quoted. From the server's side the error leaves with the virtual address as its source, whoever on that
//! side sent it. The caller has seen that the error's checksum is right ([`is_sound4`](crate::wire::icmp::is_sound4)), so
//! correcting it gives what the kernel computes anew. Differs: the kernel puts right a wrong checksum of the quoted header,
//! here it stays wrong.

use super::{Age, DESTINATION, DESTINATION6, Rewrite, Rewrite6, SOURCE, SOURCE6};
use crate::packet::Packet;
use crate::wire::checksum::{add, change16, change32, change128, correct};
use crate::wire::icmp::{Quote4, Quote6};
use crate::wire::{ETHERNET, Header4, Header6};
use lvsx_platform::{store16, store32};

/// Offset of the checksum in an IPv4 header.
const CHECKSUM4: usize = 10;
/// Offset of the checksum in an ICMP or ICMPv6 header.
const CHECKSUM: usize = 2;

/// What takes which places in an error about an IPv4 connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation4 {
    outer_at: usize,
    outer: u32,
    quoted_at: usize,
    quoted: u32,
    port_at: usize,
    port: u16,
    checksum_at: usize,
    new: (u32, u16),
}

impl Relation4 {
    /// An error from the server's side goes to the client: its source, and the destination it quotes, become the virtual end.
    #[inline(always)]
    #[must_use]
    pub fn to_client(header: &Header4, quote: &Quote4, virt: (u32, u16)) -> Self {
        Self {
            outer_at: SOURCE,
            outer: header.source,
            quoted_at: quote.at + DESTINATION,
            quoted: quote.destination,
            port_at: quote.transport + 2,
            port: quote.destination_port,
            checksum_at: quote.at + CHECKSUM4,
            new: virt,
        }
    }

    /// An error from the client's side goes to the server: its destination, and the source it quotes, become the server's end.
    #[inline(always)]
    #[must_use]
    pub fn to_server(header: &Header4, quote: &Quote4, server: (u32, u16)) -> Self {
        Self {
            outer_at: DESTINATION,
            outer: header.destination,
            quoted_at: quote.at + SOURCE,
            quoted: quote.source,
            port_at: quote.transport,
            port: quote.source_port,
            checksum_at: quote.at + CHECKSUM4,
            new: server,
        }
    }
}

/// Rewrites an error about an IPv4 connection of TCP, UDP or SCTP, its time to live included. `None`: the headers read
/// before are not there any more.
#[inline(always)]
pub fn relate<P: Packet>(
    packet: &mut P,
    header: &Header4,
    change: &Relation4,
    age: Age,
) -> Option<()> {
    let mut rewrite = Rewrite::of(packet)?;
    rewrite.store(change.outer_at, change.new.0);
    rewrite.age_by(age, change32(change.outer, change.new.0));
    store32(packet.bytes_mut::<4>(change.quoted_at)?, change.new.0);
    correct(
        packet.bytes_mut::<2>(change.checksum_at)?,
        change32(change.quoted, change.new.0),
        false,
    );
    // The quoted header sums up to what it did, by its own checksum: the message changes by the port alone.
    store16(packet.bytes_mut::<2>(change.port_at)?, change.new.1);
    correct(
        packet.bytes_mut::<2>(header.transport + CHECKSUM)?,
        change16(change.port, change.new.1),
        false,
    );
    Some(())
}

/// What takes which places in an error about an IPv6 connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation6 {
    outer_at: usize,
    outer: [u64; 2],
    quoted_at: usize,
    quoted_in: usize,
    quoted: [u64; 2],
    port_at: usize,
    port: u16,
    new: ([u64; 2], u16),
}

impl Relation6 {
    /// As [`Relation4::to_client`].
    #[inline(always)]
    #[must_use]
    pub fn to_client(header: &Header6, quote: &Quote6, virt: ([u64; 2], u16)) -> Self {
        Self {
            outer_at: SOURCE6,
            outer: header.source,
            quoted_at: DESTINATION6,
            quoted_in: quote.at,
            quoted: quote.destination,
            port_at: quote.transport + 2,
            port: quote.destination_port,
            new: virt,
        }
    }

    /// As [`Relation4::to_server`].
    #[inline(always)]
    #[must_use]
    pub fn to_server(header: &Header6, quote: &Quote6, server: ([u64; 2], u16)) -> Self {
        Self {
            outer_at: DESTINATION6,
            outer: header.destination,
            quoted_at: SOURCE6,
            quoted_in: quote.at,
            quoted: quote.source,
            port_at: quote.transport,
            port: quote.source_port,
            new: server,
        }
    }
}

/// Rewrites an error about an IPv6 connection, its hop limit included. `None`: the headers read before are not there any
/// more.
#[inline(always)]
pub fn relate6<P: Packet>(
    packet: &mut P,
    header: &Header6,
    change: &Relation6,
    age: Age,
) -> Option<()> {
    let mut outer = Rewrite6::at(packet, ETHERNET)?;
    outer.store(change.outer_at, change.new.0);
    let age = outer.age_by(age);
    Rewrite6::at(packet, change.quoted_in)?.store(change.quoted_at, change.new.0);
    store16(packet.bytes_mut::<2>(change.port_at)?, change.new.1);
    let addresses = add(
        change128(change.outer, change.new.0),
        change128(change.quoted, change.new.0),
    );
    correct(
        packet.bytes_mut::<2>(header.transport + CHECKSUM)?,
        add(addresses, change16(change.port, change.new.1)),
        false,
    );
    packet.shift_sum(age);
    Some(())
}
