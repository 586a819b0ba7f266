//! What came in: only what answers a question of ours.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::Mac;
use super::frame::{ARP, ICMP, IPV4, TCP};

/// A frame that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Who sent it.
    pub(crate) from: Mac,
    /// What it says.
    pub(crate) said: Said,
    /// Whether its checksum is still to be filled in, which only a virtual wire allows.
    pub(crate) unfinished: bool,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// This hardware address has the network address.
    Has(Ipv4Addr, Mac),
    /// An answer to an echo request: from, to, number.
    Echo(Ipv4Addr, Ipv4Addr, u16),
    /// A TCP segment.
    Segment {
        /// The sender.
        from: SocketAddrV4,
        /// The receiver.
        to: SocketAddrV4,
        /// The flags.
        flags: u8,
        /// The largest segment that the sender takes, where it says so.
        largest: Option<u16>,
    },
}

impl Heard {
    /// Reads a frame; `None` for what is none of these, or cut short.
    pub(crate) fn parse(frame: &[u8], unfinished: bool) -> Option<Self> {
        let from = frame.get(6..12)?.try_into().ok()?;
        let packet = frame.get(14..)?;
        let said = match word(frame, 12)? {
            ARP => arp(packet),
            IPV4 => ipv4(packet),
            _ => None,
        }?;
        Some(Self {
            from,
            said,
            unfinished,
        })
    }

    /// The longest IPv4 packet that the sender of a segment takes, headers included.
    pub(crate) fn expected_length(&self) -> Option<usize> {
        match self.said {
            Said::Segment { largest, .. } => Some(usize::from(largest?) + 40),
            _ => None,
        }
    }
}

fn arp(packet: &[u8]) -> Option<Said> {
    const REPLY: u16 = 2;
    let mac = packet.get(8..14)?.try_into().ok()?;
    (word(packet, 6)? == REPLY).then_some(Said::Has(address(packet, 14)?, mac))
}

fn ipv4(packet: &[u8]) -> Option<Said> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let (from, to) = (address(packet, 12)?, address(packet, 16)?);
    let payload = packet.get(header..)?;
    match *packet.get(9)? {
        ICMP if *payload.first()? == 0 => Some(Said::Echo(from, to, word(payload, 4)?)),
        TCP => Some(Said::Segment {
            from: SocketAddrV4::new(from, word(payload, 0)?),
            to: SocketAddrV4::new(to, word(payload, 2)?),
            flags: *payload.get(13)?,
            largest: maximum_segment(payload),
        }),
        _ => None,
    }
}

/// TCP's option 2 (RFC 9293, section 3.7.1).
fn maximum_segment(segment: &[u8]) -> Option<u16> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const MAXIMUM: u8 = 2;
    let header = usize::from(segment.get(12)? >> 4) * 4;
    let mut options = segment.get(20..header)?;
    loop {
        match options {
            [] | [END, ..] => return None,
            [NOTHING, rest @ ..] => options = rest,
            [MAXIMUM, 4, high, low, ..] => return Some(u16::from_be_bytes([*high, *low])),
            [_, length, ..] => options = options.get(usize::from(*length).max(2)..)?,
            _ => return None,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    #[test]
    fn what_is_sent_is_understood_and_questions_are_no_answers() {
        let (from, to) = (SocketAddrV4::new(A, 1000), SocketAddrV4::new(B, 80));
        let segment = frame::segment(from, to, frame::SYN, 1);
        let framed = frame::ipv4_frame([2; 6], [4; 6], &segment);
        let heard = Heard::parse(&framed, true).unwrap();
        let expected = Said::Segment {
            from,
            to,
            flags: frame::SYN,
            largest: None,
        };
        assert_eq!(heard.said, expected);
        assert!(heard.unfinished && heard.from == [2; 6]);
        assert_eq!(Heard::parse(&frame::who_has([2; 6], A), false), None);
        let echo = frame::ipv4_frame([2; 6], [4; 6], &frame::echo(A, B, 7, 100));
        assert_eq!(Heard::parse(&echo, false), None);
    }

    #[test]
    fn the_largest_segment_is_found_among_the_options() {
        let segment = |options: &[u8]| {
            let mut segment = vec![0; 20];
            segment[12] = (5 + options.len().div_ceil(4) as u8) << 4;
            segment.extend(options);
            segment.resize(20 + options.len().div_ceil(4) * 4, 0);
            maximum_segment(&segment)
        };
        assert_eq!(segment(&[2, 4, 5, 0xb4]), Some(1460));
        assert_eq!(segment(&[1, 1, 4, 2, 2, 4, 5, 0x14]), Some(1300));
        assert_eq!(segment(&[0, 2, 4, 5, 0xb4]), None);
        assert_eq!(segment(&[3, 0, 2, 4, 5, 0xb4]), Some(1460));
        assert_eq!(segment(&[3, 200]), None);
        assert_eq!(segment(&[]), None);
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let (from, to) = (SocketAddrV4::new(A, 1000), SocketAddrV4::new(B, 80));
        let segment = frame::segment(from, to, frame::SYN, 1);
        let framed = frame::ipv4_frame([2; 6], [4; 6], &segment);
        for length in 0..framed.len() - 6 {
            assert_eq!(Heard::parse(&framed[..length], false), None, "{length}");
        }
    }
}
