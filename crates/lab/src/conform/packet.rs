//! Packets as the bench sends them, byte by byte. Naive on purpose: nothing here is shared with the director.

use std::net::IpAddr;

use super::addresses::Mac;
use super::scenario::Checksum;

/// What an IP header holds besides addresses and length.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Source.
    pub from: IpAddr,
    /// Destination.
    pub to: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// Identification, or flow label.
    pub id: u16,
    /// Don't fragment.
    pub df: bool,
}

/// The window of every TCP segment that the bench sends.
pub const WINDOW: u16 = 0x2000;

/// The Internet checksum (RFC 1071) of bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let sum: u64 = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    let mut folded = sum;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    !(folded as u16)
}

/// The bytes of an address.
#[must_use]
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The pseudo header that transport checksums cover (RFC 768, RFC 8200 section 8.1).
#[must_use]
pub fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = [octets(from), octets(to)].concat();
    if from.is_ipv4() {
        bytes.extend([0, protocol]);
        bytes.extend((length as u16).to_be_bytes());
    } else {
        bytes.extend((length as u32).to_be_bytes());
        bytes.extend([0, 0, 0, protocol]);
    }
    bytes
}

/// A payload that depends on the packet's number.
#[must_use]
pub fn payload(number: u16, length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (usize::from(number) * 7 + index * 3) as u8)
        .collect()
}

/// Ports of a segment or datagram, source first.
pub type Ports = (u16, u16);

/// A TCP segment whose sequence numbers tell the packet's number.
#[must_use]
pub fn tcp(header: &Header, ports: Ports, flags: u8, data: &[u8], sum: Checksum) -> Vec<u8> {
    const ACK: u8 = 0x10;
    let sequence = u32::from(header.id) << 16 | 0x100;
    let acknowledged = if flags & ACK == 0 {
        0
    } else {
        u32::from(header.id) << 16 | 0x8000
    };
    let mut bytes = Vec::new();
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(acknowledged.to_be_bytes());
    bytes.extend([0x50, flags]);
    bytes.extend(WINDOW.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(data);
    fill_checksum(&mut bytes, header, 6, 16, sum);
    bytes
}

/// A UDP datagram.
#[must_use]
pub fn udp(header: &Header, ports: Ports, data: &[u8], sum: Checksum) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend((8 + data.len() as u16).to_be_bytes());
    bytes.extend([0; 2]);
    bytes.extend(data);
    fill_checksum(&mut bytes, header, 17, 6, sum);
    bytes
}

/// An ICMP or ICMPv6 message with its second word.
#[must_use]
pub fn icmp(header: &Header, kind: (u8, u8), word: u32, data: &[u8], sum: Checksum) -> Vec<u8> {
    let mut bytes = vec![kind.0, kind.1, 0, 0];
    bytes.extend(word.to_be_bytes());
    bytes.extend(data);
    let protocol = if header.from.is_ipv4() { 1 } else { 58 };
    fill_checksum(&mut bytes, header, protocol, 2, sum);
    bytes
}

fn fill_checksum(bytes: &mut [u8], header: &Header, protocol: u8, at: usize, kind: Checksum) {
    let covered = if protocol == 1 {
        bytes.to_vec()
    } else {
        [
            &pseudo_header(header.from, header.to, protocol, bytes.len()),
            &*bytes,
        ]
        .concat()
    };
    let mut sum = checksum(&covered);
    if protocol == 17 && sum == 0 {
        sum = 0xffff;
    }
    match kind {
        Checksum::Right => {}
        Checksum::Bad if protocol == 17 && sum == 0x5555 => sum = 1,
        Checksum::Bad => sum ^= 0x5555,
        Checksum::None => sum = 0,
    }
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// An IP packet.
#[must_use]
pub fn ip(header: &Header, protocol: u8, body: &[u8]) -> Vec<u8> {
    if header.from.is_ipv4() {
        let fragment = if header.df { 0x4000 } else { 0 };
        ipv4(header, protocol, fragment, body)
    } else {
        ipv6(header, protocol, body)
    }
}

fn ipv4(header: &Header, protocol: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, header.tos];
    bytes.extend((20 + body.len() as u16).to_be_bytes());
    bytes.extend(header.id.to_be_bytes());
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([header.ttl, protocol, 0, 0]);
    bytes.extend(octets(header.from));
    bytes.extend(octets(header.to));
    let sum = checksum(&bytes);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn ipv6(header: &Header, next: u8, body: &[u8]) -> Vec<u8> {
    let word = 6 << 28 | u32::from(header.tos) << 20 | u32::from(header.id);
    let mut bytes = word.to_be_bytes().to_vec();
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend([next, header.ttl]);
    bytes.extend(octets(header.from));
    bytes.extend(octets(header.to));
    bytes.extend(body);
    bytes
}

/// The pieces of an IP packet: `size` bytes of its body each, a multiple of 8.
#[must_use]
pub fn fragments(header: &Header, protocol: u8, body: &[u8], size: usize) -> Vec<Vec<u8>> {
    let count = body.len().div_ceil(size);
    let pieces = body.chunks(size).enumerate().map(|(index, piece)| {
        let (offset, more) = ((index * size) as u16, u16::from(index + 1 < count));
        if header.from.is_ipv4() {
            ipv4(header, protocol, (more << 13) | (offset / 8), piece)
        } else {
            let mut extended = vec![protocol, 0];
            extended.extend((offset | more).to_be_bytes());
            extended.extend(u32::from(header.id).to_be_bytes());
            extended.extend(piece);
            ipv6(header, 44, &extended)
        }
    });
    pieces.collect()
}

/// A frame that carries an IP packet.
#[must_use]
pub fn frame(to: Mac, from: Mac, packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = if packet.first().is_some_and(|byte| byte >> 4 == 6) {
        [0x86, 0xdd]
    } else {
        [8, 0]
    };
    [&to[..], &from, &kind, packet].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_known_bytes() {
        // The example of RFC 1071 section 3.
        assert_eq!(checksum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[1]), !0x0100);
    }

    #[test]
    fn a_packet_with_its_checksum_sums_up_to_nothing() {
        for from in ["10.0.0.1", "fd00::1"] {
            let from: IpAddr = from.parse().unwrap();
            let header = Header {
                from,
                to: from,
                ttl: 64,
                tos: 0,
                id: 7,
                df: false,
            };
            for length in [0, 1, 100] {
                let data = payload(7, length);
                let segment = tcp(&header, (1, 2), 2, &data, Checksum::Right);
                let covered = [pseudo_header(from, from, 6, segment.len()), segment].concat();
                assert_eq!(checksum(&covered), 0);
            }
        }
    }
}
