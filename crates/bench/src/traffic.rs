//! The packets of a case, as the generator is told them.

use crate::order::{
    FIRST, FLOW, FRAME, IS_FRESH, LENGTH, MASK, NETWORK_SUM, PROTOCOL, TRANSPORT_SUM, WORDS,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Clients,
    Servers,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Syn,
    Ack,
    Datagram,
}

/// Packets that differ in their clients alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) sender: Sender,
    /// The end that is not the client's: where clients send to, or the server that answers.
    pub(crate) other: SocketAddr,
    pub(crate) segment: Segment,
}

/// Which flows come, one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flows {
    /// So many, a power of two, at random.
    Random(u32),
    /// The same, from this one on.
    RandomFrom(u32, u32),
    /// Each new, from this one on.
    Fresh(u32),
}

/// The shortest frame, without its checksum.
const SHORTEST: usize = 60;
/// The director's link-layer address, and that of whoever sends to it.
pub(crate) const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The clients' network of IPv6; the generator fills in the last 32 bits.
const CLIENTS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0);

impl Traffic {
    /// The generator's program that makes these.
    pub(crate) fn program(&self) -> &'static str {
        match (self.sender, self.other.is_ipv6()) {
            (Sender::Clients, false) => "from_clients",
            (Sender::Servers, false) => "from_servers",
            (Sender::Clients, true) => "from_clients6",
            (Sender::Servers, true) => "from_servers6",
        }
    }

    /// The order for these flows.
    pub(crate) fn order(&self, flows: Flows) -> [u32; WORDS] {
        let frame = self.frame();
        let (network, transport) = (14, if self.other.is_ipv6() { 54 } else { 34 });
        let mut order = [0; WORDS];
        match flows {
            Flows::Random(number) => order[MASK] = number - 1,
            Flows::RandomFrom(first, number) => {
                order[FIRST] = first;
                order[MASK] = number - 1;
            }
            Flows::Fresh(first) => {
                order[IS_FRESH] = 1;
                order[FLOW] = first.wrapping_sub(1);
            }
        }
        order[LENGTH] = frame.len() as u32;
        order[PROTOCOL] = self.protocol().into();
        order[NETWORK_SUM] = sum(&frame[network..transport]);
        let addresses = match self.other.ip() {
            IpAddr::V4(_) => network + 12..transport,
            IpAddr::V6(_) => network + 8..transport,
        };
        let length = (frame.len() - transport) as u16;
        order[TRANSPORT_SUM] = sum(&frame[addresses])
            + sum(&[0, self.protocol()])
            + sum(&length.to_be_bytes())
            + sum(&frame[transport..]);
        let mut rest = &frame[..];
        for (index, word) in order[FRAME..].iter_mut().enumerate() {
            let length = if matches!(index, 1 | 3 | 4) { 2 } else { 4 };
            let mut bytes = [0; 4];
            let (now, later) = rest.split_at(length.min(rest.len()));
            bytes[..now.len()].copy_from_slice(now);
            *word = u32::from_ne_bytes(bytes);
            rest = later;
        }
        order
    }

    fn protocol(&self) -> u8 {
        match self.segment {
            Segment::Syn | Segment::Ack => 6,
            Segment::Datagram => 17,
        }
    }

    /// A frame with neither checksums nor client.
    fn frame(&self) -> Vec<u8> {
        let mut segment = match self.sender {
            Sender::Clients => [[0; 2], self.other.port().to_be_bytes()].concat(),
            Sender::Servers => [self.other.port().to_be_bytes(), [0; 2]].concat(),
        };
        let network: usize = if self.other.is_ipv6() { 40 } else { 20 };
        match self.segment {
            Segment::Syn | Segment::Ack => {
                let flags = if self.segment == Segment::Syn { 2 } else { 16 };
                segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, flags, 0x20, 0, 0, 0, 0, 0]);
                segment.resize(segment.len().max(SHORTEST - 14 - network), 0);
            }
            Segment::Datagram => {
                let length = SHORTEST - 14 - 20;
                segment.extend((length as u16).to_be_bytes());
                segment.resize(length, 0);
            }
        }
        let mut frame = [DIRECTOR, CLIENT].concat();
        match self.other.ip() {
            IpAddr::V4(other) => {
                let length = (20 + segment.len()) as u16;
                frame.extend([8, 0, 0x45, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([0, 0, 0x40, 0, 64, self.protocol(), 0, 0]);
                frame.extend(ends(
                    self.sender,
                    Ipv4Addr::UNSPECIFIED.octets(),
                    other.octets(),
                ));
            }
            IpAddr::V6(other) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((segment.len() as u16).to_be_bytes());
                frame.extend([self.protocol(), 64]);
                frame.extend(ends(self.sender, CLIENTS6.octets(), other.octets()));
            }
        }
        frame.extend(segment);
        frame
    }
}

fn ends<const N: usize>(sender: Sender, client: [u8; N], other: [u8; N]) -> Vec<u8> {
    match sender {
        Sender::Clients => [client, other].concat(),
        Sender::Servers => [other, client].concat(),
    }
}

/// The sum of 16-bit words as they lie in memory.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_ne_bytes([pair[0], pair[1]])))
        .sum()
}
