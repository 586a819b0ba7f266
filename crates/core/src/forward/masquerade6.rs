//! Masquerading (NAT) of IPv6 packets: as [`masquerade`](super::masquerade), but no header checksum makes up for the change.
//!
//! A UDP checksum of 0, which RFC 8200 section 8.1 forbids, is replaced by a real one: Linux 6.1 does so for both families.
//! The first fragment of such a datagram is left as it came, for its receiver to refuse.

use super::masquerade::{TCP_CHECKSUM, UDP_CHECKSUM, store_udp};
use super::{Age, DESTINATION6, Rewrite6, SOURCE6};
use crate::packet::Packet;
use crate::state::UDP;
use crate::wire::checksum::{add, change16, change128, sum128};
use crate::wire::{ETHERNET, Header6, Ports};
use lvsx_platform::{load16, store16};

/// One end of a packet and what takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readdress6 {
    address_at: usize,
    port_at: usize,
    old: ([u64; 2], u16),
    new: ([u64; 2], u16),
    /// The address that stays.
    other: [u64; 2],
}

impl Readdress6 {
    /// A client's packet goes to its server: raw address and port.
    #[inline(always)]
    #[must_use]
    pub fn to_server(header: &Header6, ports: &Ports, server: ([u64; 2], u16)) -> Self {
        Self {
            address_at: DESTINATION6,
            port_at: header.transport + 2,
            old: (header.destination, ports.destination),
            new: server,
            other: header.source,
        }
    }

    /// A server's packet gets the virtual source that its client knows: raw address and port.
    #[inline(always)]
    #[must_use]
    pub fn to_client(header: &Header6, ports: &Ports, virt: ([u64; 2], u16)) -> Self {
        Self {
            address_at: SOURCE6,
            port_at: header.transport,
            old: (header.source, ports.source),
            new: virt,
            other: header.destination,
        }
    }
}

/// Carries out the change. `None`: the headers read before are not there any more.
#[inline(always)]
pub fn readdress<P: Packet>(
    packet: &mut P,
    header: &Header6,
    change: &Readdress6,
    age: Age,
) -> Option<()> {
    let (address, age) = readdress_header(packet, change, age)?;
    let port = if change.old.1 == change.new.1 {
        0
    } else {
        store16(packet.bytes_mut::<2>(change.port_at)?, change.new.1);
        change16(change.old.1, change.new.1)
    };
    let is_udp = header.protocol == UDP;
    let checksum_at = header.transport + if is_udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
    // What the transport's checksum does not make up for.
    packet.shift_sum(add(address, age));
    if is_udp && load16(packet.bytes::<2>(checksum_at)?) == 0 {
        if header.is_fragment() {
            return Some(());
        }
        return fill_udp(packet, header, change, port);
    }
    packet.adjust_checksum(checksum_at, address, port, is_udp)
}

/// The change for a later fragment, which has no transport header: the address alone.
#[inline(always)]
pub fn readdress_later<P: Packet>(packet: &mut P, change: &Readdress6) -> Option<()> {
    let (address, age) = readdress_header(packet, change, Age::Older)?;
    packet.shift_sum(add(address, age));
    Some(())
}

/// Address and hop limit; how they changed the packet's sum.
#[inline(always)]
fn readdress_header<P: Packet>(
    packet: &mut P,
    change: &Readdress6,
    age: Age,
) -> Option<(u32, u32)> {
    let mut rewrite = Rewrite6::at(packet, ETHERNET)?;
    rewrite.store(change.address_at, change.new.0);
    let age = rewrite.age_by(age);
    Some((change128(change.old.0, change.new.0), age))
}

/// Computes the checksum of a datagram that had none, after one end was replaced.
#[inline(always)]
fn fill_udp<P: Packet>(
    packet: &mut P,
    header: &Header6,
    change: &Readdress6,
    port: u32,
) -> Option<()> {
    let length = header.payload();
    let data = packet.sum(header.transport, length)?;
    let pseudo = sum128(change.new.0)
        + sum128(change.other)
        + u64::from(u16::from(UDP).to_be())
        + u64::from((length as u16).to_be());
    packet.shift_sum(port);
    store_udp(packet, header.transport, u64::from(data) + pseudo)
}
