//! Masquerading (NAT): one end of the packet is replaced, its checksums corrected for the difference (RFC 1624).
//!
//! A UDP datagram sent without checksum gets a real one, as Linux 6.1 does.

use super::{age, at};
use crate::packet::Packet;
use crate::state::{TCP, UDP};
use crate::wire::checksum::{add, change16, change32, fold};
use crate::wire::{Header4, Ports};
use lvsx_platform::{load16, store16, store32};

/// Offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header.
const UDP_CHECKSUM: usize = 6;

/// Which end is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// Readdresses a client's packet to its server: raw address and port.
#[inline(always)]
pub fn to_server<P: Packet>(packet: &mut P, header: &Header4, ports: &Ports, server: (u32, u16)) -> Option<()> {
    replace(packet, header, End::Destination, (header.destination, ports.destination), server)
}

/// Gives a server's packet the virtual source its client knows: raw address and port.
#[inline(always)]
pub fn to_client<P: Packet>(packet: &mut P, header: &Header4, ports: &Ports, virt: (u32, u16)) -> Option<()> {
    replace(packet, header, End::Source, (header.source, ports.source), virt)
}

#[inline(always)]
fn replace<P: Packet>(packet: &mut P, header: &Header4, end: End, old: (u32, u16), new: (u32, u16)) -> Option<()> {
    let (address_at, port_at) = match end {
        End::Source => (at::SOURCE, header.transport),
        End::Destination => (at::DESTINATION, header.transport + 2),
    };
    let address = change32(old.0, new.0);
    store32(packet.bytes_mut::<4>(address_at)?, new.0);
    store16(packet.bytes_mut::<2>(port_at)?, new.1);
    age(packet, address)?;
    let port = if old.1 == new.1 { 0 } else { change16(old.1, new.1) };
    if header.protocol == TCP {
        return packet.adjust_checksum(header.transport + TCP_CHECKSUM, address, port, false);
    }
    let checksum_at = header.transport + UDP_CHECKSUM;
    if load16(packet.bytes::<2>(checksum_at)?) == 0 {
        return fill_udp(packet, header, end, new.0);
    }
    packet.adjust_checksum(checksum_at, address, port, true)
}

/// Computes the checksum of a datagram that had none, after one end was replaced by `new`.
#[inline(always)]
fn fill_udp<P: Packet>(packet: &mut P, header: &Header4, end: End, new: u32) -> Option<()> {
    let length = header.payload();
    let data = packet.sum(header.transport, length)?;
    let other = match end {
        End::Source => header.destination,
        End::Destination => header.source,
    };
    let pseudo = u64::from(new) + u64::from(other) + u64::from(u16::from(UDP).to_be()) + u64::from((length as u16).to_be());
    let sum = !fold(u64::from(add(data, 0)) + pseudo);
    store16(packet.bytes_mut::<2>(header.transport + UDP_CHECKSUM)?, if sum == 0 { 0xffff } else { sum });
    Some(())
}
