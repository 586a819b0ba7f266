//! A frame that came out, in words: who got it, and everything in which it differs from the packet that was sent.
//!
//! What is as usual is left out: checksums that hold, an identification, sequence numbers and payload as they were sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::addresses::Port;
use super::packet::{WINDOW, checksum, pseudo_header};
use super::scenario::flag_words;

/// The UDP port of GUE tunnels.
const GUE: u16 = 6080;
/// How deep packets in packets are read.
const DEPTH: u8 = 4;

/// The packets by which a frame is read: the one that was sent, and what it quotes or carries.
pub struct Sent<'a>(pub &'a [u8]);

/// One line for a frame.
#[must_use]
pub fn line(frame: &[u8], sent: &Sent<'_>) -> String {
    let (Some(to), Some(from), Some(packet)) = (mac(frame, 0), mac(frame, 6), frame.get(14..))
    else {
        return format!("a frame of {} bytes", frame.len());
    };
    let name = |mac: [u8; 6]| {
        Port::of(mac).map_or_else(|| super::addresses::mac_text(mac), |port| port.to_string())
    };
    let known = references(sent.0);
    format!(
        "{}>{} {}",
        name(from),
        name(to),
        packet_words(packet, &known, false, DEPTH)
    )
}

fn mac(frame: &[u8], at: usize) -> Option<[u8; 6]> {
    frame.get(at..at + 6)?.try_into().ok()
}

/// An IP header as it was read.
pub struct Outer<'a> {
    /// Source.
    pub from: IpAddr,
    /// Destination.
    pub to: IpAddr,
    /// Protocol number, that behind a fragment header.
    pub protocol: u8,
    /// Offset of this piece in the whole body.
    pub offset: usize,
    /// Pieces follow.
    pub more: bool,
    /// What the header is followed by.
    pub body: &'a [u8],
    ttl: u8,
    tos: u8,
    id: u32,
    df: bool,
    flaws: Vec<String>,
}

/// Reads an IP header; `None` if this is no IP packet.
#[must_use]
pub fn ip(packet: &[u8], quoted: bool) -> Option<Outer<'_>> {
    if packet.first()? >> 4 == 4 {
        ipv4(packet, quoted)
    } else {
        ipv6(packet, quoted)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn ipv4(packet: &[u8], quoted: bool) -> Option<Outer<'_>> {
    let length = usize::from(packet[0] & 15) * 4;
    let header = packet.get(..length.max(20))?;
    let total = usize::from(word(header, 2)?);
    let fragment = word(header, 6)?;
    let mut flaws = Vec::new();
    if checksum(header) != 0 {
        flaws.push("header checksum bad".to_owned());
    }
    if length != 20 {
        flaws.push(format!("options {}", length - 20));
    }
    if !quoted && total > packet.len() {
        flaws.push(format!("cut by {}", total - packet.len()));
    }
    // Frames are padded to 60 bytes; what an error quotes is shorter than it says.
    let end = if quoted {
        packet.len()
    } else {
        total.min(packet.len())
    };
    Some(Outer {
        from: Ipv4Addr::from(long(header, 12)?).into(),
        to: Ipv4Addr::from(long(header, 16)?).into(),
        protocol: header[9],
        offset: usize::from(fragment & 0x1fff) * 8,
        more: fragment & 0x2000 != 0,
        body: packet.get(length.max(20)..end)?,
        ttl: header[8],
        tos: header[1],
        id: word(header, 4)?.into(),
        df: fragment & 0x4000 != 0,
        flaws,
    })
}

fn ipv6(packet: &[u8], quoted: bool) -> Option<Outer<'_>> {
    let header: &[u8; 40] = packet.first_chunk()?;
    let first = long(header, 0)?;
    let length = usize::from(word(header, 4)?);
    let end = if quoted {
        packet.len()
    } else {
        packet.len().min(40 + length)
    };
    let mut outer = Outer {
        from: Ipv6Addr::from(<[u8; 16]>::try_from(&header[8..24]).ok()?).into(),
        to: Ipv6Addr::from(<[u8; 16]>::try_from(&header[24..40]).ok()?).into(),
        protocol: header[6],
        offset: 0,
        more: false,
        body: packet.get(40..end)?,
        ttl: header[7],
        tos: (first >> 20) as u8,
        id: first & 0xf_ffff,
        df: false,
        flaws: Vec::new(),
    };
    if !quoted && 40 + length > packet.len() {
        outer
            .flaws
            .push(format!("cut by {}", 40 + length - packet.len()));
    }
    if outer.protocol == 44 && outer.body.len() >= 8 {
        let place = word(outer.body, 2)?;
        outer.protocol = outer.body[0];
        outer.offset = usize::from(place & 0xfff8);
        outer.more = place & 1 != 0;
        outer.body = &outer.body[8..];
    }
    Some(outer)
}

/// The sent packet, and those it quotes or carries.
fn references(packet: &[u8]) -> Vec<Outer<'_>> {
    let mut found = Vec::new();
    let mut next = Some((packet, false));
    while let Some((packet, quoted)) = next.take() {
        let Some(outer) = ip(packet, quoted) else {
            break;
        };
        next = match outer.protocol {
            4 | 41 => Some((outer.body, quoted)),
            1 | 58 if is_error(&outer) => outer.body.get(8..).map(|quote| (quote, true)),
            _ => None,
        };
        found.push(outer);
        if found.len() > usize::from(DEPTH) {
            break;
        }
    }
    found
}

fn is_error(outer: &Outer<'_>) -> bool {
    match (outer.protocol, outer.body.first()) {
        (1, Some(kind)) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        (58, Some(kind)) => *kind < 128,
        _ => false,
    }
}

fn packet_words(packet: &[u8], known: &[Outer<'_>], quoted: bool, depth: u8) -> String {
    let Some(outer) = ip(packet, quoted).filter(|_| depth > 0) else {
        return format!("{} bytes of no IP", packet.len());
    };
    // What the director sends of its own may bear the same number by chance.
    let is_sent = |sent: &&Outer<'_>| {
        let kind = |it: &Outer<'_>| (it.id, it.protocol, it.from.is_ipv4());
        outer.id != 0 && kind(sent) == kind(&outer)
    };
    let reference = known.iter().find(is_sent);
    let mut words = Vec::new();
    let inner = |packet: &[u8]| {
        format!(
            "[ {} ]",
            packet_words(packet, known, quoted || outer.more, depth - 1)
        )
    };
    let whole = !quoted && !outer.more && outer.offset == 0;
    let ends = |from: u16, to: u16| match (outer.from, outer.to) {
        (IpAddr::V4(a), IpAddr::V4(b)) => format!("{a}:{from} > {b}:{to}"),
        (a, b) => format!("[{a}]:{from} > [{b}]:{to}"),
    };
    let addresses = format!("{} > {}", outer.from, outer.to);
    let sums_up = || {
        let pseudo = pseudo_header(outer.from, outer.to, outer.protocol, outer.body.len());
        checksum(&[&pseudo, outer.body].concat()) == 0
    };
    let body = outer.body;
    match outer.protocol {
        _ if outer.offset > 0 => {
            words.push(format!("{addresses} piece of protocol {}", outer.protocol));
            let as_sent =
                reference.and_then(|sent| sent.body.get(outer.offset..outer.offset + body.len()));
            words.push(format!("data {}", body.len()));
            if as_sent.is_some_and(|sent| sent != body) {
                words.push("altered".to_owned());
            }
        }
        4 | 41 => words.push(format!("{addresses} ipip {}", inner(body))),
        47 if body.len() >= 4 => {
            let flags = word(body, 0).unwrap_or_default();
            let options = [0x8000, 0x2000, 0x1000]
                .into_iter()
                .filter(|bit| flags & bit != 0)
                .count()
                * 4;
            words.push(format!(
                "{addresses} gre {flags:04x}/{:04x}",
                word(body, 2).unwrap_or_default()
            ));
            if flags & 0x8000 != 0 && whole && checksum(body) != 0 {
                words.push("checksum bad".to_owned());
            }
            words.push(inner(body.get(4 + options..).unwrap_or_default()));
        }
        17 if body.len() >= 12 && word(body, 2) == Some(GUE) => {
            // The kernel draws the source port.
            let length = 12 + usize::from(body[8] & 31) * 4;
            let header = body.get(8..length).unwrap_or_default();
            let header: String = header.iter().map(|byte| format!("{byte:02x}")).collect();
            words.push(format!("{addresses} gue {header}"));
            match word(body, 6) {
                Some(0) => words.push("checksum none".to_owned()),
                _ if whole && !sums_up() => words.push("checksum bad".to_owned()),
                _ => {}
            }
            words.push(inner(body.get(length..).unwrap_or_default()));
        }
        6 if body.len() >= 8 => {
            let port = |at| word(body, at).unwrap_or_default();
            words.push(format!("{} tcp", ends(port(0), port(2))));
            words.extend(tcp_words(body, reference));
            if whole && !sums_up() {
                words.push("checksum bad".to_owned());
            }
        }
        17 if body.len() >= 8 => {
            let port = |at| word(body, at).unwrap_or_default();
            words.push(format!("{} udp", ends(port(0), port(2))));
            words.push(data_words(
                &body[8..],
                reference.and_then(|sent| sent.body.get(8..)),
            ));
            match word(body, 6) {
                Some(0) => words.push("checksum none".to_owned()),
                _ if whole && !sums_up() => words.push("checksum bad".to_owned()),
                _ => {}
            }
            if whole && usize::from(port(4)) != body.len() {
                words.push(format!("length {}", port(4)));
            }
        }
        1 | 58 if body.len() >= 8 => {
            let rest = long(body, 4).unwrap_or_default();
            let error = is_error(&outer);
            words.push(format!("{addresses} icmp {}/{}", body[0], body[1]));
            let good = if outer.protocol == 1 {
                checksum(body) == 0
            } else {
                sums_up()
            };
            if whole && !good {
                words.push("checksum bad".to_owned());
            }
            if error {
                if rest != 0 {
                    words.push(format!("mtu {rest}"));
                }
                let quote = &body[8..];
                words.push(format!(
                    "quoting {} [ {} ]",
                    quote.len(),
                    packet_words(quote, known, true, depth - 1)
                ));
            } else {
                words.push(data_words(
                    &body[8..],
                    reference.and_then(|sent| sent.body.get(8..)),
                ));
            }
        }
        protocol => {
            words.push(format!("{addresses} protocol/{protocol}"));
            words.push(data_words(body, reference.map(|sent| sent.body)));
        }
    }
    words.extend(header_words(&outer, reference));
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

fn header_words(outer: &Outer<'_>, reference: Option<&Outer<'_>>) -> Vec<String> {
    let mut words = vec![format!("ttl {}", outer.ttl)];
    if outer.tos != 0 {
        words.push(format!("tos {:#04x}", outer.tos));
    }
    if outer.df {
        words.push("df".to_owned());
    }
    if outer.more || outer.offset > 0 {
        words.push(format!(
            "fragment {}{}",
            outer.offset,
            if outer.more { "+" } else { "" }
        ));
    }
    match (outer.id, reference) {
        (_, Some(_)) => {}
        (0, None) if outer.from.is_ipv6() => {}
        (0, None) => words.push("id 0".to_owned()),
        (_, None) => words.push("id new".to_owned()),
    }
    words.extend(outer.flaws.iter().cloned());
    words
}

fn tcp_words(body: &[u8], reference: Option<&Outer<'_>>) -> Vec<String> {
    let mut words = Vec::new();
    let sent = reference.map(|sent| sent.body);
    let sequence = long(body, 4).unwrap_or_default();
    let differs = |at: usize, width: usize| match sent.and_then(|sent| sent.get(at..at + width)) {
        Some(sent) => body.get(at..at + width) != Some(sent),
        None => true,
    };
    let (Some(acknowledged), Some(flags), Some(window)) =
        (long(body, 8), body.get(13), word(body, 14))
    else {
        if differs(4, 4) {
            words.push(format!("seq {sequence:08x}"));
        }
        return words;
    };
    words.push(flag_words(*flags));
    if differs(4, 8) {
        words.push(format!("seq {sequence:08x} ack {acknowledged:08x}"));
    }
    if window != WINDOW {
        words.push(format!("window {window}"));
    }
    let length = usize::from(body[12] >> 4) * 4;
    if length > 20 {
        words.push(format!("options {}", length - 20));
    }
    let data = body.get(length..).unwrap_or_default();
    if !data.is_empty() {
        words.push(data_words(data, sent.and_then(|sent| sent.get(20..))));
    }
    words
}

fn data_words(data: &[u8], sent: Option<&[u8]>) -> String {
    let altered = match sent {
        Some(sent) => !sent.starts_with(data) && !data.starts_with(sent),
        None => false,
    };
    format!(
        "data {}{}",
        data.len(),
        if altered { " altered" } else { "" }
    )
}

#[cfg(test)]
mod tests {
    use super::super::packet::{Header, frame, payload, tcp, udp};
    use super::super::scenario::Checksum;
    use super::*;

    fn header(from: &str, to: &str) -> Header {
        Header {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            ttl: 63,
            tos: 0,
            id: 5,
            df: true,
        }
    }

    #[test]
    fn a_forwarded_segment_is_one_short_line() {
        let sent = header("172.16.0.1", "10.0.0.100");
        let data = payload(5, 9);
        let sent = super::super::packet::ip(
            &sent,
            6,
            &tcp(&sent, (1000, 80), 0x18, &data, Checksum::Right),
        );
        let out = header("172.16.0.1", "10.1.0.11");
        let segment = tcp(&out, (1000, 8080), 0x18, &data, Checksum::Right);
        let packet = super::super::packet::ip(&out, 6, &segment);
        let seen = frame(Port::Server(1).mac(), Port::Director(1).mac(), &packet);
        assert_eq!(
            line(&seen, &Sent(&sent)),
            "d1>r1 172.16.0.1:1000 > 10.1.0.11:8080 tcp psh ack data 9 ttl 63 df"
        );
        let mut bad = packet.clone();
        *bad.last_mut().unwrap() ^= 1;
        bad[8] = 62;
        let seen = frame(Port::Server(1).mac(), Port::Director(1).mac(), &bad);
        assert_eq!(
            line(&seen, &Sent(&sent)),
            "d1>r1 172.16.0.1:1000 > 10.1.0.11:8080 tcp psh ack data 9 altered checksum bad ttl 62 df header checksum bad"
        );
    }

    #[test]
    fn a_tunnelled_datagram_is_read_inside() {
        let sent = header("172.16.0.1", "10.0.0.100");
        let sent =
            super::super::packet::ip(&sent, 17, &udp(&sent, (1000, 53), &[], Checksum::None));
        let outer = Header {
            id: 77,
            df: false,
            ..header("10.0.0.1", "10.0.0.11")
        };
        let packet = super::super::packet::ip(&outer, 4, &sent);
        let seen = frame(Port::Server(1).mac(), Port::Director(0).mac(), &packet);
        assert_eq!(
            line(&seen, &Sent(&sent)),
            "d0>r1 10.0.0.1 > 10.0.0.11 ipip [ 172.16.0.1:1000 > 10.0.0.100:53 udp data 0 checksum none ttl 63 df ] ttl 63 id new"
        );
    }
}
