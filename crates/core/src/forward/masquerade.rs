//! Masquerading (NAT): one end of the packet is replaced, its checksums corrected for the difference (RFC 1624).
//!
//! A UDP datagram sent without checksum gets a real one, as Linux 6.1 does. It puts fragments together first and so can do it
//! for them too; here the first fragment of such a datagram leaves without checksum, which IPv4 allows.

use super::{Age, DESTINATION, Rewrite, SOURCE};
use crate::packet::Packet;
use crate::state::UDP;
use crate::wire::checksum::{change16, change32, fold};
use crate::wire::{Header4, Ports};
use lvsx_platform::{load16, store16};

/// Offset of the checksum in a TCP header.
pub(super) const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header.
pub(super) const UDP_CHECKSUM: usize = 6;

/// One end of a packet and what takes its place: decided first, so that the rewriting stands in the program once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readdress {
    address_at: usize,
    port_at: usize,
    old: (u32, u16),
    new: (u32, u16),
    /// The address that stays.
    other: u32,
}

impl Readdress {
    /// A client's packet goes to its server: raw address and port.
    #[inline(always)]
    #[must_use]
    pub fn to_server(header: &Header4, ports: &Ports, server: (u32, u16)) -> Self {
        Self {
            address_at: DESTINATION,
            port_at: header.transport + 2,
            old: (header.destination, ports.destination),
            new: server,
            other: header.source,
        }
    }

    /// A server's packet gets the virtual source that its client knows: raw address and port.
    #[inline(always)]
    #[must_use]
    pub fn to_client(header: &Header4, ports: &Ports, virt: (u32, u16)) -> Self {
        Self {
            address_at: SOURCE,
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
    header: &Header4,
    change: &Readdress,
    age: Age,
) -> Option<()> {
    let (address, port) = replace(packet, change, age)?;
    if !is_summed(packet, header)? {
        if header.is_fragment {
            return Some(());
        }
        return fill_udp(packet, header, change, port);
    }
    correct(packet, header, address, port)
}

/// Carries out the change of a packet that has a transport checksum.
#[inline(always)]
pub fn readdress_summed<P: Packet>(
    packet: &mut P,
    header: &Header4,
    change: &Readdress,
    age: Age,
) -> Option<()> {
    let (address, port) = replace(packet, change, age)?;
    correct(packet, header, address, port)
}

/// Whether a packet has a transport checksum. `None`: the headers read before are not there any more.
#[inline(always)]
fn is_summed<P: Packet>(packet: &P, header: &Header4) -> Option<bool> {
    if header.protocol != UDP {
        return Some(true);
    }
    Some(load16(packet.bytes::<2>(header.transport + UDP_CHECKSUM)?) != 0)
}

/// Corrects the transport checksum for what the changes of address and port add to its sum.
#[inline(always)]
fn correct<P: Packet>(packet: &mut P, header: &Header4, address: u32, port: u32) -> Option<()> {
    let is_udp = header.protocol == UDP;
    let checksum_at = header.transport + if is_udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
    packet.adjust_checksum(checksum_at, address, port, is_udp)
}

/// Replaces address and port. What that adds to the sum of each.
#[inline(always)]
fn replace<P: Packet>(packet: &mut P, change: &Readdress, age: Age) -> Option<(u32, u32)> {
    let address = change32(change.old.0, change.new.0);
    let mut rewrite = Rewrite::of(packet)?;
    rewrite.store(change.address_at, change.new.0);
    rewrite.age_by(age, address);
    if change.old.1 == change.new.1 {
        return Some((address, 0));
    }
    store16(packet.bytes_mut::<2>(change.port_at)?, change.new.1);
    Some((address, change16(change.old.1, change.new.1)))
}

/// The change for a later fragment, which has no transport header: the address alone. The first fragment's checksum covers
/// it.
#[inline(always)]
pub fn readdress_later<P: Packet>(packet: &mut P, change: &Readdress) -> Option<()> {
    let address = change32(change.old.0, change.new.0);
    let mut rewrite = Rewrite::of(packet)?;
    rewrite.store(change.address_at, change.new.0);
    rewrite.age(address);
    Some(())
}

/// Computes the checksum of a datagram that had none, after one end was replaced.
#[inline(always)]
fn fill_udp<P: Packet>(
    packet: &mut P,
    header: &Header4,
    change: &Readdress,
    port: u32,
) -> Option<()> {
    let length = header.payload();
    let data = packet.sum(header.transport, length)?;
    let (protocol, length) = (u16::from(UDP).to_be(), (length as u16).to_be());
    let pseudo =
        u64::from(change.new.0) + u64::from(change.other) + u64::from(protocol) + u64::from(length);
    packet.shift_sum(port);
    store_udp(packet, header.transport, u64::from(data) + pseudo)
}

/// Writes the checksum of a UDP datagram whose bytes (its own checksum 0) and pseudo header sum up to `sum`.
#[inline(always)]
pub(super) fn store_udp<P: Packet>(packet: &mut P, transport: usize, sum: u64) -> Option<()> {
    let checksum = match !fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    };
    store16(packet.bytes_mut::<2>(transport + UDP_CHECKSUM)?, checksum);
    packet.shift_sum(u32::from(checksum));
    Some(())
}
