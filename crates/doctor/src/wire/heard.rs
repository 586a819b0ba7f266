//! What came in: only what answers a question of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Mac;
use super::frame::{ARP, ICMP, ICMPV6, IPV4, IPV6, TCP};

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
    Has(IpAddr, Mac),
    /// An answer to an echo request: from, to, number.
    Echo(IpAddr, IpAddr, u16),
    /// A TCP segment.
    Segment {
        /// The sender.
        from: SocketAddr,
        /// The receiver.
        to: SocketAddr,
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
            IPV6 => ipv6(packet, from),
            _ => None,
        }?;
        Some(Self {
            from,
            said,
            unfinished,
        })
    }

    /// The longest packet that the sender of a segment takes, headers included.
    pub(crate) fn expected_length(&self) -> Option<usize> {
        match self.said {
            Said::Segment { from, largest, .. } => {
                let headers = if from.is_ipv6() { 60 } else { 40 };
                Some(usize::from(largest?) + headers)
            }
            _ => None,
        }
    }
}

fn arp(packet: &[u8]) -> Option<Said> {
    const REPLY: u16 = 2;
    let mac = packet.get(8..14)?.try_into().ok()?;
    (word(packet, 6)? == REPLY).then_some(Said::Has(address(packet, 14)?.into(), mac))
}

fn ipv4(packet: &[u8]) -> Option<Said> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let (from, to) = (address(packet, 12)?.into(), address(packet, 16)?.into());
    let payload = packet.get(header..)?;
    match *packet.get(9)? {
        ICMP if *payload.first()? == 0 => Some(Said::Echo(from, to, word(payload, 4)?)),
        TCP => segment(from, to, payload),
        _ => None,
    }
}

/// Nothing that answers us has extension headers.
fn ipv6(packet: &[u8], sender: Mac) -> Option<Said> {
    const ECHO_REPLY: u8 = 129;
    const ADVERTISEMENT: u8 = 136;
    let (from, to) = (address6(packet, 8)?.into(), address6(packet, 24)?.into());
    let payload = packet.get(40..)?;
    match (*packet.get(6)?, *payload.first()?) {
        (ICMPV6, ECHO_REPLY) => Some(Said::Echo(from, to, word(payload, 4)?)),
        (ICMPV6, ADVERTISEMENT) => {
            let has = address6(payload, 8)?.into();
            Some(Said::Has(has, target(payload.get(24..)?).unwrap_or(sender)))
        }
        (TCP, _) => segment(from, to, payload),
        _ => None,
    }
}

/// The hardware address among the options of an advertisement (RFC 4861, section 4.6.1).
fn target(mut options: &[u8]) -> Option<Mac> {
    const TARGET: u8 = 2;
    loop {
        let length = usize::from(*options.get(1)?) * 8;
        if options[0] == TARGET {
            return options.get(2..8)?.try_into().ok();
        }
        options = options.get(length.max(8)..)?;
    }
}

fn segment(from: IpAddr, to: IpAddr, payload: &[u8]) -> Option<Said> {
    Some(Said::Segment {
        from: SocketAddr::new(from, word(payload, 0)?),
        to: SocketAddr::new(to, word(payload, 2)?),
        flags: *payload.get(13)?,
        largest: maximum_segment(payload),
    })
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

fn address6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame;

    fn ends() -> [[IpAddr; 2]; 2] {
        let wide = |last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).into();
        let narrow = |last| Ipv4Addr::new(10, 0, 0, last).into();
        [[narrow(1), narrow(2)], [wide(1), wide(2)]]
    }

    #[test]
    fn what_is_sent_is_understood_and_questions_are_no_answers() {
        for [a, b] in ends() {
            let (from, to) = (SocketAddr::new(a, 1000), SocketAddr::new(b, 80));
            let segment = frame::segment(from, to, frame::SYN, 1).unwrap();
            let framed = frame::ip_frame([2; 6], [4; 6], &segment);
            let heard = Heard::parse(&framed, true).unwrap();
            let expected = Said::Segment {
                from,
                to,
                flags: frame::SYN,
                largest: None,
            };
            assert_eq!(heard.said, expected);
            assert!(heard.unfinished && heard.from == [2; 6]);
            assert_eq!(Heard::parse(&frame::who_has([2; 6], a), false), None);
            let echo = frame::echo(a, b, 7, 100).unwrap();
            let echo = frame::ip_frame([2; 6], [4; 6], &echo);
            assert_eq!(Heard::parse(&echo, false), None);
        }
    }

    #[test]
    fn an_advertisement_tells_whose_an_address_is() {
        let address: Ipv6Addr = "fd00::46".parse().unwrap();
        let mut frame = frame::who_has([2; 6], address.into());
        frame[54] = 136;
        let said = |frame: &[u8]| Heard::parse(frame, false).map(|heard| heard.said);
        assert_eq!(said(&frame), Some(Said::Has(address.into(), [2; 6])));
        frame.extend([14, 1, 0, 0, 0, 0, 0, 0, 2, 1, 8, 8, 8, 8, 8, 8]);
        assert_eq!(said(&frame), Some(Said::Has(address.into(), [8; 6])));
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
        for [a, b] in ends() {
            let (from, to) = (SocketAddr::new(a, 1000), SocketAddr::new(b, 80));
            let segment = frame::segment(from, to, frame::SYN, 1).unwrap();
            let framed = frame::ip_frame([2; 6], [4; 6], &segment);
            for length in 0..framed.len() - 6 {
                assert_eq!(Heard::parse(&framed[..length], false), None, "{length}");
            }
        }
    }
}
