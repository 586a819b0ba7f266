//! The frames that are sent: ARP (RFC 826, as a probe of RFC 5227), ICMP echo, TCP's first segment and
//! reset, and tunnels around them.

use std::net::{Ipv4Addr, SocketAddrV4};

use lvsx_ipvs::model::{Tunnel, TunnelType};

use super::Mac;

pub(super) const IPV4: u16 = 0x0800;
pub(super) const ARP: u16 = 0x0806;
pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
const IPIP: u8 = 4;
const UDP: u8 = 17;
const GRE: u8 = 47;
const BROADCAST: Mac = [0xff; 6];

/// TCP's flags.
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;

/// Asks the segment who has an address, naming no address of ours, so that nobody learns one.
pub(crate) fn who_has(own: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend(own);
    packet.extend([0; 4]);
    packet.extend([0; 6]);
    packet.extend(address.octets());
    ethernet(own, BROADCAST, ARP, &packet)
}

/// A whole frame with an IPv4 packet.
pub(crate) fn ipv4_frame(from: Mac, to: Mac, packet: &[u8]) -> Vec<u8> {
    ethernet(from, to, IPV4, packet)
}

fn ethernet(from: Mac, to: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend(to);
    frame.extend(from);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet that must not be fragmented.
fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(&packet, 0);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An echo request (RFC 792) that makes an IPv4 packet of `length` bytes, at least 28.
pub(crate) fn echo(from: Ipv4Addr, to: Ipv4Addr, number: u16, length: usize) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0];
    message.extend(number.to_be_bytes());
    message.resize(length.saturating_sub(20).max(8), 0);
    let sum = checksum(&message, 0);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(from, to, ICMP, &message)
}

/// A TCP segment without data (RFC 9293): a SYN, or the RST that takes it back.
pub(crate) fn segment(from: SocketAddrV4, to: SocketAddrV4, flags: u8, sequence: u32) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20);
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend([0; 4]);
    segment.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    let pseudo = [from.ip().octets(), to.ip().octets()].concat();
    let start = pseudo
        .chunks(2)
        .fold(u32::from(TCP) + 20, |sum, pair| sum + word(pair));
    let sum = checksum(&segment, start);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ipv4(*from.ip(), *to.ip(), TCP, &segment)
}

/// A packet in the tunnel that the director uses to a server; `None` for one that it does not know.
pub(crate) fn tunnelled(
    from: Ipv4Addr,
    to: Ipv4Addr,
    tunnel: &Tunnel,
    packet: &[u8],
) -> Option<Vec<u8>> {
    Some(match tunnel.kind {
        TunnelType::Ipip => ipv4(from, to, IPIP, packet),
        TunnelType::Gre => {
            let payload = [&[0, 0][..], &IPV4.to_be_bytes(), packet].concat();
            ipv4(from, to, GRE, &payload)
        }
        TunnelType::Gue => {
            let length = (8 + 4 + packet.len()) as u16;
            let mut payload = Vec::new();
            payload.extend(GUE_SOURCE.to_be_bytes());
            payload.extend(tunnel.port.to_be_bytes());
            payload.extend(length.to_be_bytes());
            // No checksum; GUE version 0, no options, IPv4 inside.
            payload.extend([0, 0, 0, IPIP, 0, 0]);
            payload.extend(packet);
            ipv4(from, to, UDP, &payload)
        }
        TunnelType::Other(_) => return None,
    })
}

/// Any port of the dynamic range.
const GUE_SOURCE: u16 = 0xd431;

fn word(pair: &[u8]) -> u32 {
    u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low))
}

/// The Internet checksum (RFC 1071) over bytes and what was summed before.
fn checksum(bytes: &[u8], before: u32) -> u16 {
    let mut sum = bytes.chunks(2).fold(before, |sum, pair| sum + word(pair));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_come_out_right() {
        let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let packet = echo(from, to, 7, 1500);
        assert_eq!(packet.len(), 1500);
        assert_eq!(checksum(&packet[..20], 0), 0);
        assert_eq!(checksum(&packet[20..], 0), 0);
        let packet = segment(
            SocketAddrV4::new(from, 1),
            SocketAddrV4::new(to, 80),
            SYN,
            9,
        );
        let pseudo: u32 = packet[12..20].chunks(2).map(word).sum::<u32>() + 6 + 20;
        assert_eq!(checksum(&packet[20..], pseudo), 0);
    }

    #[test]
    fn tunnels_are_as_long_as_their_headers_say() {
        let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let inner = echo(from, to, 7, 28);
        for (kind, header) in [
            (TunnelType::Ipip, 20),
            (TunnelType::Gre, 24),
            (TunnelType::Gue, 32),
        ] {
            let tunnel = Tunnel {
                kind,
                port: 6080,
                flags: 0,
            };
            let outer = tunnelled(from, to, &tunnel, &inner).unwrap();
            assert_eq!(outer.len(), header + inner.len());
            assert_eq!(
                u16::from_be_bytes([outer[2], outer[3]]) as usize,
                outer.len()
            );
            assert_eq!(outer[header..], inner);
        }
    }
}
