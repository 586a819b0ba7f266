//! What a Linux host without IPVS does with a packet that the data plane let pass: the planes without a kernel of their
//! own need it, since the director's own stack answers on the others.

use std::net::IpAddr;

use super::super::addresses::{Port, SERVERS, VIP, VIP6, director, server};
use super::super::packet::{self, Header, checksum, pseudo_header};
use super::super::read::{self, Outer};
use super::super::scenario::{Checksum, Site};
use super::super::traffic::OnLink;

/// An identification, or a flow label, that no packet of the bench has.
const OWN_ID: u16 = 0xfeed;
/// TOS of ICMP errors: internetwork control.
const CONTROL: u8 = 0xc0;

/// The frames by which the director's host answers or forwards a packet.
#[must_use]
pub(super) fn answer(site: &Site, frame: &[u8]) -> Vec<OnLink> {
    let packet = frame.get(14..).unwrap_or_default();
    let Some(outer) = read::ip(packet, false) else {
        return Vec::new();
    };
    let answered = if is_own(site, outer.to) {
        local(&outer, packet)
    } else {
        forwarded(site, &outer, packet)
    };
    answered
        .and_then(|packet| out(site, &packet))
        .into_iter()
        .collect()
}

/// A packet on its way out, by the route to its destination.
#[must_use]
pub(super) fn out(site: &Site, packet: &[u8]) -> Option<OnLink> {
    let to = read::ip(packet, false)?.to;
    let (link, port) = (1..=SERVERS)
        .find(|number| server(*number, site.two_armed, to.is_ipv6()) == to)
        .map_or((0, Port::Gateway), |number| {
            (site.two_armed.into(), Port::Server(number))
        });
    Some((
        link,
        packet::frame(port.mac(), Port::Director(link).mac(), packet),
    ))
}

/// Whether a packet is for the director itself, so that a socket of its own answers.
#[must_use]
pub(super) fn is_taken(site: &Site, frame: &[u8]) -> bool {
    let outer = read::ip(frame.get(14..).unwrap_or_default(), false);
    outer.is_some_and(|outer| is_own(site, outer.to))
}

/// The director's addresses one by one.
#[must_use]
pub(super) fn addresses(site: &Site) -> Vec<IpAddr> {
    let links = if site.two_armed { 0..=1 } else { 0..=0 };
    let own = links.flat_map(|link| [director(link, false), director(link, true)]);
    own.chain([VIP.into(), VIP6.into()]).collect()
}

fn is_own(site: &Site, address: IpAddr) -> bool {
    addresses(site).contains(&address) || site.local.iter().any(|prefix| holds(prefix, address))
}

fn holds(prefix: &str, address: IpAddr) -> bool {
    let (base, bits) = prefix.split_once('/').unwrap_or((prefix, "32"));
    match (base.parse(), bits.parse::<u32>(), address) {
        (Ok(IpAddr::V4(base)), Ok(bits @ 0..=32), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(base) & mask == u32::from(address) & mask
        }
        _ => false,
    }
}

fn forwarded(site: &Site, outer: &Outer<'_>, packet: &[u8]) -> Option<Vec<u8>> {
    let (at, ttl) = if outer.to.is_ipv4() {
        (8, packet[8])
    } else {
        (7, packet[7])
    };
    if ttl <= 1 {
        let link = out(site, packet_to(outer, packet)?.as_slice()).map_or(0, |(link, _)| link);
        let kind = if outer.to.is_ipv4() { (11, 0) } else { (3, 0) };
        return Some(error(
            director(link, outer.to.is_ipv6()),
            outer,
            packet,
            kind,
        ));
    }
    let mut packet = packet.to_vec();
    packet[at] -= 1;
    if outer.to.is_ipv4() {
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    Some(packet)
}

/// An empty packet back to the sender, to learn the way there.
fn packet_to(outer: &Outer<'_>, packet: &[u8]) -> Option<Vec<u8>> {
    let header = reply_header(outer.to, outer, packet, 0)?;
    Some(packet::ip(&header, 59, &[]))
}

fn reply_header(from: IpAddr, outer: &Outer<'_>, packet: &[u8], tos: u8) -> Option<Header> {
    (!packet.is_empty()).then_some(Header {
        from,
        to: outer.from,
        ttl: 64,
        tos,
        id: OWN_ID,
        df: false,
    })
}

fn local(outer: &Outer<'_>, packet: &[u8]) -> Option<Vec<u8>> {
    if outer.offset > 0 || outer.more {
        return None;
    }
    let is_v6 = outer.to.is_ipv6();
    let body = outer.body;
    let is_sound = || {
        let pseudo = pseudo_header(outer.from, outer.to, outer.protocol, body.len());
        checksum(&[&pseudo, body].concat()) == 0
    };
    match outer.protocol {
        6 => is_sound().then(|| reset(outer, packet)).flatten(),
        17 => {
            let has_none = body.get(6..8) == Some(&[0, 0]) && !is_v6;
            let kind = if is_v6 { (1, 4) } else { (3, 3) };
            (has_none || is_sound()).then(|| error(outer.to, outer, packet, kind))
        }
        1 if body.first() == Some(&8) => (checksum(body) == 0)
            .then(|| pong(outer, packet, 0))
            .flatten(),
        58 if body.first() == Some(&128) => is_sound().then(|| pong(outer, packet, 129)).flatten(),
        1 | 58 => None,
        _ if is_v6 => Some(error(outer.to, outer, packet, (4, 1))),
        _ => Some(error(outer.to, outer, packet, (3, 2))),
    }
}

/// The answer to a segment for a port that nobody listens on (RFC 9293 section 3.10.7.1).
fn reset(outer: &Outer<'_>, packet: &[u8]) -> Option<Vec<u8>> {
    let body = outer.body;
    let long = |at: usize| Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let port = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
    let flags = *body.get(13)?;
    if flags & 0x04 != 0 {
        return None;
    }
    let (sequence, acknowledged, answer) = if flags & 0x10 != 0 {
        (long(8)?, 0, 0x04)
    } else {
        let data = body.len() as u32 - u32::from(body.get(12)? >> 4) * 4;
        let length = data + u32::from(flags & 1) + u32::from(flags >> 1 & 1);
        (0, long(4)?.wrapping_add(length), 0x14)
    };
    let header = Header {
        df: outer.to.is_ipv4(),
        id: if outer.to.is_ipv4() { 0 } else { OWN_ID },
        ..reply_header(outer.to, outer, packet, 0)?
    };
    let mut segment = packet::tcp(&header, (port(2)?, port(0)?), answer, &[], Checksum::Right);
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    segment[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    segment[14..18].fill(0);
    let pseudo = pseudo_header(header.from, header.to, 6, segment.len());
    let sum = checksum(&[&pseudo, &*segment].concat());
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    Some(packet::ip(&header, 6, &segment))
}

fn pong(outer: &Outer<'_>, packet: &[u8], kind: u8) -> Option<Vec<u8>> {
    let header = reply_header(outer.to, outer, packet, 0)?;
    let word = u32::from_be_bytes(outer.body.get(4..8)?.try_into().ok()?);
    let message = packet::icmp(
        &header,
        (kind, 0),
        word,
        outer.body.get(8..)?,
        Checksum::Right,
    );
    Some(packet::ip(&header, outer.protocol, &message))
}

/// An ICMP error about a packet: as much of it as fits into 576 bytes, or 1280 for IPv6.
fn error(from: IpAddr, outer: &Outer<'_>, packet: &[u8], kind: (u8, u8)) -> Vec<u8> {
    let is_v6 = from.is_ipv6();
    let most = if is_v6 { 1280 - 48 } else { 576 - 28 };
    let (protocol, tos) = if is_v6 { (58, 0) } else { (1, CONTROL) };
    let header = Header {
        from,
        to: outer.from,
        ttl: 64,
        tos,
        id: OWN_ID,
        df: false,
    };
    // The pointer of a parameter problem: the next header field.
    let word = if kind == (4, 1) && is_v6 { 6 } else { 0 };
    let quote = &packet[..packet.len().min(most)];
    packet::ip(
        &header,
        protocol,
        &packet::icmp(&header, kind, word, quote, Checksum::Right),
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::parse::parse;
    use super::super::super::read::{Sent, line};
    use super::super::super::scenario::Step;
    use super::super::super::traffic::{Sending, Traffic};
    use super::*;

    /// What comes back for each packet.
    fn answers(text: &str) -> Vec<String> {
        let (scenario, _) = parse(text).unwrap();
        let mut traffic = Traffic::of(&scenario);
        let mut lines = Vec::new();
        for step in &scenario.steps {
            let Step::Packet {
                flow,
                from,
                content,
            } = step
            else {
                continue;
            };
            let Sending::Frames(frames, packet) = traffic.send(*flow, *from, content) else {
                continue;
            };
            let out = answer(&scenario.site, &frames[0].1);
            lines.push(match out.first() {
                Some((_, frame)) => line(frame, &Sent(&packet)),
                None => "nothing".to_owned(),
            });
        }
        lines
    }

    #[test]
    fn a_closed_port_resets_and_an_unbound_one_is_unreachable() {
        let text = "site one-armed local 10.9.0.0/16\n\
            flow k tcp 172.16.0.1:1000 > 10.0.0.100:80\nk > syn\nk > ack\nk > rst\nk > syn checksum bad\n\
            flow u udp 172.16.0.1:1000 > 10.9.3.4:53\nu > data 9\n\
            flow e echo 172.16.0.1 > 10.0.0.1\ne > data 4\n\
            flow f udp 172.16.0.1:1000 > 10.0.0.13:53\nf > data 9\nf > data 9 ttl 1\n";
        let quoted = "[ 172.16.0.1:1000 > 10.9.3.4:53 udp data 9 ttl 64 ]";
        let expired = "[ 172.16.0.1:1000 > 10.0.0.13:53 udp data 9 ttl 1 ]";
        let expected = [
            "d0>c1 10.0.0.100:80 > 172.16.0.1:1000 tcp rst ack seq 00000000 ack 00010101 window 0 ttl 64 df id 0".to_owned(),
            "d0>c1 10.0.0.100:80 > 172.16.0.1:1000 tcp rst seq 00028000 ack 00000000 window 0 ttl 64 df id 0".to_owned(),
            "nothing".to_owned(),
            "nothing".to_owned(),
            format!("d0>c1 10.9.3.4 > 172.16.0.1 icmp 3/3 quoting 37 {quoted} ttl 64 tos 0xc0 id new"),
            "d0>c1 10.0.0.1 > 172.16.0.1 icmp 0/0 data 4 ttl 64 id new".to_owned(),
            "d0>r3 172.16.0.1:1000 > 10.0.0.13:53 udp data 9 ttl 63".to_owned(),
            format!("d0>c1 10.0.0.1 > 172.16.0.1 icmp 11/0 quoting 37 {expired} ttl 64 tos 0xc0 id new"),
        ];
        assert_eq!(answers(text), expected);
    }
}
