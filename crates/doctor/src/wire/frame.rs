//! The frames that are sent: ARP (RFC 826, as a probe of RFC 5227), neighbour solicitation (RFC 4861, as a probe of RFC 4862),
//! ICMP echo, TCP's first segment and reset, and tunnels around them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lvsx_ipvs::model::{Tunnel, TunnelType};

use super::Mac;

pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const ARP: u16 = 0x0806;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;
pub(super) const TCP: u8 = 6;
const IPIP: u8 = 4;
const IPV6_INSIDE: u8 = 41;
const UDP: u8 = 17;
const GRE: u8 = 47;
const BROADCAST: Mac = [0xff; 6];

/// TCP's flags.
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;

/// Asks the segment who has an address, naming no address of ours, so that nobody learns one.
pub(crate) fn who_has(own: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(own, address),
        IpAddr::V6(address) => solicitation(own, address),
    }
}

fn arp(own: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend(own);
    packet.extend([0; 4]);
    packet.extend([0; 6]);
    packet.extend(address.octets());
    ethernet(own, BROADCAST, ARP, &packet)
}

/// To the multicast group of all addresses that end alike, which the owner has joined.
fn solicitation(own: Mac, address: Ipv6Addr) -> Vec<u8> {
    const SOLICITATION: u8 = 135;
    const HOPS: u8 = 255;
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(address.octets());
    let nobody = Ipv6Addr::UNSPECIFIED;
    let sum = checksum(
        &message,
        pseudo(nobody.into(), group.into(), ICMPV6, &message),
    );
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = ipv6(nobody, group, ICMPV6, &message);
    packet[7] = HOPS;
    ethernet(own, [0x33, 0x33, 0xff, a, b, c], IPV6, &packet)
}

/// A whole frame with an IP packet.
pub(crate) fn ip_frame(from: Mac, to: Mac, packet: &[u8]) -> Vec<u8> {
    let kind = if is_ipv6(packet) { IPV6 } else { IPV4 };
    ethernet(from, to, kind, packet)
}

fn is_ipv6(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 6)
}

fn ethernet(from: Mac, to: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend(to);
    frame.extend(from);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A packet that must not be fragmented; `None` if the ends are of two families.
fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some(ipv4(from, to, protocol, payload)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Some(ipv6(from, to, protocol, payload)),
        _ => None,
    }
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([protocol, 64]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

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

/// An echo request (RFC 792, RFC 4443) that makes a packet of `length` bytes, at least 28 or 48; `None` if the ends are of
/// two families.
pub(crate) fn echo(from: IpAddr, to: IpAddr, number: u16, length: usize) -> Option<Vec<u8>> {
    let (protocol, kind, header) = match to {
        IpAddr::V4(_) => (ICMP, 8, 20),
        IpAddr::V6(_) => (ICMPV6, 128, 40),
    };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(number.to_be_bytes());
    message.resize(length.saturating_sub(header).max(8), 0);
    let before = match to {
        IpAddr::V4(_) => 0,
        IpAddr::V6(_) => pseudo(from, to, protocol, &message),
    };
    let sum = checksum(&message, before);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(from, to, protocol, &message)
}

/// A TCP segment without data (RFC 9293): a SYN, or the RST that takes it back; `None` if the ends are of two families.
pub(crate) fn segment(
    from: SocketAddr,
    to: SocketAddr,
    flags: u8,
    sequence: u32,
) -> Option<Vec<u8>> {
    let mut segment = Vec::with_capacity(20);
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend([0; 4]);
    segment.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    let sum = checksum(&segment, pseudo(from.ip(), to.ip(), TCP, &segment));
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ip(from.ip(), to.ip(), TCP, &segment)
}

/// The sum of the pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1).
fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> u32 {
    let octets = |address| match address {
        IpAddr::V4(address) => Ipv4Addr::octets(&address).to_vec(),
        IpAddr::V6(address) => Ipv6Addr::octets(&address).to_vec(),
    };
    let start = u32::from(protocol) + payload.len() as u32;
    let ends = [octets(from), octets(to)].concat();
    ends.chunks(2).fold(start, |sum, pair| sum + word(pair))
}

/// A packet in the tunnel that the director uses to a server; `None` for one that it does not know, and if the ends are of two
/// families.
pub(crate) fn tunnelled(
    from: IpAddr,
    to: IpAddr,
    tunnel: &Tunnel,
    packet: &[u8],
) -> Option<Vec<u8>> {
    let (inside, kind) = if is_ipv6(packet) {
        (IPV6_INSIDE, IPV6)
    } else {
        (IPIP, IPV4)
    };
    match tunnel.kind {
        TunnelType::Ipip => ip(from, to, inside, packet),
        TunnelType::Gre => {
            let payload = [&[0, 0][..], &kind.to_be_bytes(), packet].concat();
            ip(from, to, GRE, &payload)
        }
        TunnelType::Gue => {
            let length = (8 + 4 + packet.len()) as u16;
            let mut payload = Vec::new();
            payload.extend(GUE_SOURCE.to_be_bytes());
            payload.extend(tunnel.port.to_be_bytes());
            payload.extend(length.to_be_bytes());
            // No checksum; GUE version 0, no options, what is inside.
            payload.extend([0, 0, 0, inside, 0, 0]);
            payload.extend(packet);
            ip(from, to, UDP, &payload)
        }
        TunnelType::Other(_) => None,
    }
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

    fn ends() -> [(IpAddr, IpAddr, usize); 2] {
        let wide = |last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).into();
        let narrow = |last| Ipv4Addr::new(10, 0, 0, last).into();
        [(narrow(1), narrow(2), 20), (wide(1), wide(2), 40)]
    }

    #[test]
    fn sums_come_out_right() {
        for (from, to, header) in ends() {
            let packet = echo(from, to, 7, 1500).unwrap();
            assert_eq!(packet.len(), 1500);
            let message = &packet[header..];
            let before = match to {
                IpAddr::V4(_) => {
                    assert_eq!(checksum(&packet[..20], 0), 0);
                    0
                }
                IpAddr::V6(_) => pseudo(from, to, ICMPV6, message),
            };
            assert_eq!(checksum(message, before), 0);
            let (near, far) = (SocketAddr::new(from, 1), SocketAddr::new(to, 80));
            let packet = segment(near, far, SYN, 9).unwrap();
            let segment = &packet[header..];
            assert_eq!(checksum(segment, pseudo(from, to, TCP, segment)), 0);
        }
        let [(narrow, ..), (wide, ..)] = ends();
        assert_eq!(echo(narrow, wide, 7, 100), None);
    }

    #[test]
    fn a_solicitation_goes_to_the_group_of_its_address() {
        let address: Ipv6Addr = "fd00::12:3456".parse().unwrap();
        let frame = solicitation([2; 6], address);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let group: Ipv6Addr = "ff02::1:ff12:3456".parse().unwrap();
        let (packet, message) = (&frame[14..54], &frame[54..]);
        assert_eq!((packet[7], &packet[24..]), (255, &group.octets()[..]));
        let nobody = Ipv6Addr::UNSPECIFIED.into();
        let before = pseudo(nobody, group.into(), ICMPV6, message);
        assert_eq!(checksum(message, before), 0);
    }

    #[test]
    fn tunnels_are_as_long_as_their_headers_say() {
        for (from, to, outside) in ends() {
            for (near, far, _) in ends() {
                let inner = echo(near, far, 7, 60).unwrap();
                for (kind, around) in [
                    (TunnelType::Ipip, 0),
                    (TunnelType::Gre, 4),
                    (TunnelType::Gue, 12),
                ] {
                    let tunnel = Tunnel {
                        kind,
                        port: 6080,
                        flags: 0,
                    };
                    let outer = tunnelled(from, to, &tunnel, &inner).unwrap();
                    let length =
                        |at: usize| usize::from(u16::from_be_bytes([outer[at], outer[at + 1]]));
                    let said = if outside == 20 {
                        length(2)
                    } else {
                        40 + length(4)
                    };
                    assert_eq!(outer.len(), outside + around + inner.len());
                    assert_eq!(said, outer.len());
                    assert_eq!(outer[outside + around..], inner);
                }
            }
        }
    }
}
