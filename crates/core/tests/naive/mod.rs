//! Packets built and judged byte by byte, as the RFCs say and with no thought of speed: the model that the core's code is
//! compared with.
#![allow(dead_code, reason = "each test binary uses its own part")]

use lvsx_core::host::Frame;
use lvsx_core::packet::{Packet, Room};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMP6: u8 = 58;
pub(crate) const DIRECTOR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x49];
pub(crate) const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x01];

/// One's-complement sum of bytes as big-endian words, the last one padded.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Source and destination as they lie on the wire: 4 or 16 bytes each.
pub(crate) type Addresses = (Vec<u8>, Vec<u8>);

/// Pseudo header of either family (RFC 9293 section 3.1, RFC 8200 section 8.1).
pub(crate) fn pseudo(addresses: &Addresses, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = [&addresses.0[..], &addresses.1].concat();
    if addresses.0.len() == 4 {
        bytes.extend([0, protocol]);
        bytes.extend((length as u16).to_be_bytes());
    } else {
        bytes.extend((length as u32).to_be_bytes());
        bytes.extend([0, 0, 0, protocol]);
    }
    bytes
}

/// Where the checksum lies in a transport header, and whether it covers a pseudo header.
pub(crate) fn checksum_place(protocol: u8) -> Option<(usize, bool)> {
    match protocol {
        TCP => Some((16, true)),
        UDP => Some((6, true)),
        ICMP => Some((2, false)),
        ICMP6 => Some((2, true)),
        _ => None,
    }
}

/// The checksum that a segment should have; its own field is taken as 0.
pub(crate) fn checksum(addresses: &Addresses, protocol: u8, segment: &[u8]) -> u16 {
    let (at, has_pseudo) = checksum_place(protocol).expect("a protocol with a checksum");
    let mut all = if has_pseudo {
        pseudo(addresses, protocol, segment.len())
    } else {
        Vec::new()
    };
    let start = all.len();
    all.extend(segment);
    all[start + at..start + at + 2].fill(0);
    match !sum(&all) {
        0 if protocol == UDP => 0xffff,
        checksum => checksum,
    }
}

/// A TCP or UDP segment with its checksum.
pub(crate) fn segment(
    addresses: &Addresses,
    protocol: u8,
    ports: (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0; if protocol == TCP { 20 } else { 8 }];
    bytes[..2].copy_from_slice(&ports.0.to_be_bytes());
    bytes[2..4].copy_from_slice(&ports.1.to_be_bytes());
    if protocol == TCP {
        bytes[12] = 0x50;
        bytes[13] = 0x10;
    } else {
        let length = (8 + payload.len()) as u16;
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
    }
    bytes.extend(payload);
    seal(addresses, protocol, bytes)
}

/// Writes the checksum of a segment or message.
pub(crate) fn seal(addresses: &Addresses, protocol: u8, mut bytes: Vec<u8>) -> Vec<u8> {
    let (at, _) = checksum_place(protocol).expect("a protocol with a checksum");
    let checksum = checksum(addresses, protocol, &bytes);
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// An ICMP message: type, code, rest of the header, what it quotes.
pub(crate) fn message(
    addresses: &Addresses,
    kind: u8,
    code: u8,
    rest: u32,
    quote: &[u8],
) -> Vec<u8> {
    let protocol = if addresses.0.len() == 4 { ICMP } else { ICMP6 };
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(rest.to_be_bytes());
    bytes.extend(quote);
    seal(addresses, protocol, bytes)
}

/// What an IP header says beside addresses and lengths.
#[derive(Clone, Debug)]
pub(crate) struct Ip {
    pub(crate) addresses: Addresses,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    /// IPv4: identification and the word of flags and offset. IPv6: flow label in the first.
    pub(crate) id: u32,
    pub(crate) fragment: u16,
    /// IPv4 options or IPv6 extension headers, a multiple of 4 or 8 bytes.
    pub(crate) options: Vec<u8>,
}

impl Ip {
    pub(crate) fn new(addresses: &Addresses, protocol: u8) -> Self {
        Self {
            addresses: addresses.clone(),
            protocol,
            ttl: 64,
            tos: 0,
            id: 0x1234,
            fragment: 0,
            options: Vec::new(),
        }
    }

    /// The header with this behind it. `protocol` is the first extension header's in IPv6.
    pub(crate) fn around(&self, payload: &[u8]) -> Vec<u8> {
        let mut header;
        if self.addresses.0.len() == 4 {
            let length = 20 + self.options.len();
            header = vec![0x40 | (length / 4) as u8, self.tos];
            header.extend(((length + payload.len()) as u16).to_be_bytes());
            header.extend((self.id as u16).to_be_bytes());
            header.extend(self.fragment.to_be_bytes());
            header.extend([self.ttl, self.protocol, 0, 0]);
            header.extend(&self.addresses.0);
            header.extend(&self.addresses.1);
            header.extend(&self.options);
            let checksum = !sum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
        } else {
            let first = 6 << 28 | u32::from(self.tos) << 20 | self.id & 0xf_ffff;
            header = first.to_be_bytes().to_vec();
            header.extend(((self.options.len() + payload.len()) as u16).to_be_bytes());
            header.extend([self.protocol, self.ttl]);
            header.extend(&self.addresses.0);
            header.extend(&self.addresses.1);
            header.extend(&self.options);
        }
        header.extend(payload);
        header
    }
}

/// A frame to the director with this IP packet.
pub(crate) fn frame(packet: &[u8]) -> Frame {
    let kind = if packet[0] >> 4 == 4 {
        [8, 0]
    } else {
        [0x86, 0xdd]
    };
    let mut bytes = [&DIRECTOR_MAC[..], &SENDER_MAC, &kind].concat();
    bytes.extend(packet);
    Frame {
        bytes,
        interface: 1,
    }
}

/// An IPv6 packet read by the book: protocol, offset of its header in the packet, fragment (offset in bytes, more,
/// identification). `None`: it contradicts itself or the bytes at hand, or has more than eight extension headers.
pub(crate) type Read6 = (u8, usize, Option<(u16, bool, u32)>);

pub(crate) fn read6(packet: &[u8]) -> Option<Read6> {
    if packet.len() < 40 || packet[0] >> 4 != 6 {
        return None;
    }
    let total = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    if total > packet.len() {
        return None;
    }
    let (mut kind, mut at, mut fragment) = (packet[6], 40, None);
    for _ in 0..=8 {
        let is_later = matches!(fragment, Some((1.., _, _)));
        if !matches!(kind, 0 | 43 | 44 | 51 | 60) || is_later {
            return (at <= total).then_some((kind, at, fragment));
        }
        let header: [u8; 8] = packet.get(at..at + 8)?.try_into().ok()?;
        let units = usize::from(header[1]);
        at += match kind {
            44 => {
                let word = u16::from_be_bytes([header[2], header[3]]);
                let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                fragment = Some((word & 0xfff8, word & 1 == 1, id));
                8
            }
            51 => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        kind = header[0];
    }
    None
}

/// Fails unless every checksum of the packet is right: its header's, its transport's (a UDP checksum of 0 counts as
/// right), and those of a packet inside a tunnel. Quoted packets are not looked into.
pub(crate) fn assert_sound(packet: &[u8]) {
    let (addresses, protocol, payload) = open(packet);
    match protocol {
        4 | 41 => assert_sound(payload),
        47 => {
            let has_checksum = payload[0] & 0x80 != 0;
            if has_checksum {
                assert_eq!(sum(payload), 0xffff, "GRE checksum");
            }
            assert_sound(&payload[if has_checksum { 8 } else { 4 }..]);
        }
        _ => {
            let (at, _) = checksum_place(protocol).expect("a protocol with a checksum");
            let found = u16::from_be_bytes([payload[at], payload[at + 1]]);
            if protocol == UDP && found == 0 {
                return;
            }
            let wanted = checksum(&addresses, protocol, payload);
            assert_eq!(found, wanted, "checksum of protocol {protocol}");
        }
    }
}

/// Addresses, protocol and payload of an IP packet whose header is right.
pub(crate) fn open(packet: &[u8]) -> (Addresses, u8, &[u8]) {
    if packet[0] >> 4 == 4 {
        let length = usize::from(packet[0] & 15) * 4;
        assert_eq!(sum(&packet[..length]), 0xffff, "header checksum");
        let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        let addresses = (packet[12..16].to_vec(), packet[16..20].to_vec());
        (addresses, packet[9], &packet[length..total])
    } else {
        let (protocol, at, _) = read6(packet).expect("a right IPv6 packet");
        let total = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
        let addresses = (packet[8..24].to_vec(), packet[24..40].to_vec());
        (addresses, protocol, &packet[at..total])
    }
}

/// 16 bytes as two raw words.
pub(crate) fn raw6(bytes: &[u8]) -> [u64; 2] {
    [
        u64::from_ne_bytes(bytes[..8].try_into().expect("8 bytes")),
        u64::from_ne_bytes(bytes[8..16].try_into().expect("8 bytes")),
    ]
}

/// 4 bytes as a raw word.
pub(crate) fn raw4(bytes: &[u8]) -> u32 {
    u32::from_ne_bytes(bytes.try_into().expect("4 bytes"))
}

/// A frame whose transport checksum is only begun, as a kernel hands it on to hardware that finishes it.
pub(crate) struct Begun {
    pub(crate) frame: Frame,
    /// Where the segment begins, as the distance to the frame's end at first.
    behind: usize,
    field: usize,
}

impl Begun {
    /// Takes the finished checksum of an IP packet away.
    pub(crate) fn new(packet: &[u8]) -> Self {
        let (addresses, protocol, payload) = open(packet);
        let (field, _) = checksum_place(protocol).expect("a protocol with a checksum");
        let begun = sum(&pseudo(&addresses, protocol, payload.len()));
        let mut frame = frame(packet);
        let behind = payload.len();
        let at = frame.bytes.len() - behind + field;
        frame.bytes[at..at + 2].copy_from_slice(&begun.to_be_bytes());
        Self {
            frame,
            behind,
            field,
        }
    }

    /// What leaves: the checksum finished over what is left of the segment.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let start = self.start();
        let checksum = !sum(&self.frame.bytes[start..]);
        let at = start + self.field;
        self.frame.bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        self.frame.bytes
    }

    fn start(&self) -> usize {
        self.frame.bytes.len() - self.behind
    }
}

impl Packet for Begun {
    const RESOLVES: bool = true;

    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.frame.bytes(offset)
    }

    fn bytes_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.frame.bytes_mut(offset)
    }

    fn reveal(&mut self, length: u32) {
        self.frame.reveal(length);
    }

    fn len(&self) -> u32 {
        self.frame.len()
    }

    fn is_aggregate(&self) -> bool {
        false
    }

    fn interface(&self) -> u32 {
        1
    }

    fn push(&mut self, length: u32, room: Room) -> bool {
        self.frame.push(length, room)
    }

    fn pop(&mut self, length: u32) -> bool {
        self.frame.pop(length)
    }

    fn cut(&mut self, length: u32) -> bool {
        let before = self.frame.bytes.len();
        let done = self.frame.cut(length);
        self.behind -= before - self.frame.bytes.len();
        done
    }

    fn adjust_checksum(&mut self, offset: usize, address: u32, port: u32, udp: bool) -> Option<()> {
        self.frame.adjust_checksum(offset, address, port, udp)
    }

    fn is_partial(&mut self, offset: usize) -> bool {
        offset == self.start() + self.field
    }

    fn shift_sum(&mut self, _change: u32) {}

    fn sum(&self, offset: usize, length: u32) -> Option<u32> {
        self.frame.sum(offset, length)
    }
}
