//! The hosts around the director: what they send in a step, given what reached them before.

use std::net::IpAddr;

use super::addresses::{Port, server};
use super::packet::{self, Header};
use super::read;
use super::scenario::{Content, Flow, IcmpError, Protocol, Scenario, Side};

/// A frame and the number of the director's link that it comes in by, or left by.
pub type OnLink = (u8, Vec<u8>);

/// What a step sends.
pub enum Sending {
    /// These frames, which are this packet or its pieces.
    Frames(Vec<OnLink>, Vec<u8>),
    /// Nothing passes the director, for this reason.
    Nothing(String),
}

/// All flows' hosts.
pub struct Traffic<'a> {
    scenario: &'a Scenario,
    /// Packets sent so far; the number of each is its identification.
    count: u16,
    flows: Vec<Heard>,
}

/// What was heard of a flow.
#[derive(Clone, Default)]
struct Heard {
    /// The packet that its server got last: which server, by which link, the packet.
    forward: Option<(u8, u8, Vec<u8>)>,
    /// The packet that its client got last.
    back: Option<Vec<u8>>,
}

impl<'a> Traffic<'a> {
    /// Hosts that have sent nothing yet.
    #[must_use]
    pub fn of(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            count: 0,
            flows: vec![Heard::default(); scenario.flows.len()],
        }
    }

    /// What `side` of flow number `index` sends.
    #[must_use]
    pub fn send(&mut self, index: usize, side: Side, content: &Content) -> Sending {
        self.count += 1;
        let flow = &self.scenario.flows[index];
        match (side, &content.icmp) {
            (Side::Client, None) => self.by_client(flow, content),
            (Side::Client, Some(error)) => self.error_of_client(index, content, error),
            (Side::Server, None) => self.by_server(index, content),
            (Side::Server, Some(error)) => self.error_of_server(index, content, error),
        }
    }

    /// Takes note of frames that came out of a step of flow number `index`.
    pub fn hear(&mut self, index: usize, frames: &[OnLink]) {
        for (link, frame) in frames {
            let Some(packet) = frame.get(14..) else {
                continue;
            };
            let port = frame[..6].try_into().ok().and_then(Port::of);
            let is_flow = read::ip(packet, false).is_some_and(|outer| {
                outer.offset == 0
                    && !(matches!(outer.protocol, 1 | 58)
                        && outer
                            .body
                            .first()
                            .is_some_and(|kind| !matches!(kind, 0 | 8 | 128 | 129)))
            });
            let heard = &mut self.flows[index];
            match port {
                Some(Port::Server(number)) if is_flow => {
                    heard.forward = Some((number, *link, packet.to_vec()))
                }
                Some(Port::Gateway) if is_flow => heard.back = Some(packet.to_vec()),
                _ => {}
            }
        }
    }

    fn header(&self, from: IpAddr, to: IpAddr, content: &Content) -> Header {
        Header {
            from,
            to,
            ttl: content.ttl,
            tos: content.tos,
            id: self.count,
            df: content.df,
        }
    }

    fn by_client(&self, flow: &Flow, content: &Content) -> Sending {
        let header = self.header(flow.client.ip(), flow.virtual_end.ip(), content);
        let ports = (flow.client.port(), flow.virtual_end.port());
        frames(&header, flow.protocol, ports, content, Port::Gateway, 0)
    }

    fn by_server(&self, index: usize, content: &Content) -> Sending {
        let flow = &self.scenario.flows[index];
        let Some((number, link, packet)) = &self.flows[index].forward else {
            return Sending::Nothing("no server".to_owned());
        };
        let (inner, tunnelled) = innermost(packet);
        let Some((from, to, ports)) = ends(inner) else {
            return Sending::Nothing("no server".to_owned());
        };
        if tunnelled || to == flow.virtual_end.ip() {
            return Sending::Nothing(format!("direct from r{number}"));
        }
        let header = self.header(to, from, content);
        frames(
            &header,
            flow.protocol,
            (ports.1, ports.0),
            content,
            Port::Server(*number),
            *link,
        )
    }

    fn error_of_client(&self, index: usize, content: &Content, error: &IcmpError) -> Sending {
        let flow = &self.scenario.flows[index];
        // Where the client got nothing yet, it complains of what it never got.
        let quoted = self.flows[index].back.clone().unwrap_or_else(|| {
            let made = Content::default();
            let header = self.header(flow.virtual_end.ip(), flow.client.ip(), &made);
            let ports = (flow.virtual_end.port(), flow.client.port());
            let (number, body) = body(
                &header,
                flow.protocol,
                ports,
                &Content {
                    flags: 0x10,
                    ..made
                },
            );
            packet::ip(&header, number, &body)
        });
        self.error(content, error, &quoted, error.from, Port::Gateway, 0)
    }

    fn error_of_server(&self, index: usize, content: &Content, error: &IcmpError) -> Sending {
        let flow = &self.scenario.flows[index];
        let Some((number, link, packet)) = &self.flows[index].forward else {
            return Sending::Nothing("no server".to_owned());
        };
        let (inner, tunnelled) = innermost(packet);
        let quoted = if error.outer { packet } else { inner };
        let is_virtual = ends(quoted).is_some_and(|(_, to, _)| to == flow.virtual_end.ip());
        let from = error.from.or_else(|| {
            // A server that answers for the virtual address complains from its own.
            (tunnelled || is_virtual)
                .then(|| server(*number, self.scenario.site.two_armed, flow.client.is_ipv6()))
        });
        self.error(content, error, quoted, from, Port::Server(*number), *link)
    }

    fn error(
        &self,
        content: &Content,
        error: &IcmpError,
        quoted: &[u8],
        from: Option<IpAddr>,
        port: Port,
        link: u8,
    ) -> Sending {
        let Some(outer) = read::ip(quoted, false) else {
            return Sending::Nothing("nothing to quote".to_owned());
        };
        let from = from
            .filter(|from| from.is_ipv4() == outer.from.is_ipv4())
            .unwrap_or(outer.to);
        let header = self.header(from, outer.from, content);
        let quote = &quoted[..quoted.len().min(error.quote)];
        let message = packet::icmp(
            &header,
            (error.kind, error.code),
            error.mtu,
            quote,
            content.checksum,
        );
        let protocol = if from.is_ipv4() { 1 } else { 58 };
        let packet = packet::ip(&header, protocol, &message);
        let frame = packet::frame(Port::Director(link).mac(), port.mac(), &packet);
        Sending::Frames(vec![(link, frame)], packet)
    }
}

fn frames(
    header: &Header,
    protocol: Protocol,
    ports: packet::Ports,
    content: &Content,
    port: Port,
    link: u8,
) -> Sending {
    let (number, body) = body(header, protocol, ports, content);
    let whole = packet::ip(header, number, &body);
    let pieces = match &content.fragments {
        None => vec![whole.clone()],
        Some(cut) => {
            let mut pieces = packet::fragments(header, number, &body, cut.size);
            if cut.reversed {
                pieces.reverse();
            }
            let is_sent = |index: &usize| cut.only.is_empty() || cut.only.contains(index);
            let numbered = pieces.into_iter().enumerate();
            numbered
                .filter(|(index, _)| is_sent(index))
                .map(|(_, piece)| piece)
                .collect()
        }
    };
    let frame = |packet: &Vec<u8>| packet::frame(Port::Director(link).mac(), port.mac(), packet);
    Sending::Frames(
        pieces.iter().map(|piece| (link, frame(piece))).collect(),
        whole,
    )
}

fn body(
    header: &Header,
    protocol: Protocol,
    ports: packet::Ports,
    content: &Content,
) -> (u8, Vec<u8>) {
    let data = packet::payload(header.id, content.data);
    let is_v6 = header.from.is_ipv6();
    let bytes = match protocol {
        Protocol::Tcp => packet::tcp(header, ports, content.flags, &data, content.checksum),
        Protocol::Udp => packet::udp(header, ports, &data, content.checksum),
        Protocol::Echo => {
            let kind = if is_v6 { 128 } else { 8 };
            let word = u32::from(header.id) << 16 | 1;
            packet::icmp(header, (kind, 0), word, &data, content.checksum)
        }
        Protocol::Other(_) => data,
    };
    (protocol.number(is_v6), bytes)
}

/// The packet inside a tunnel, and whether there was one.
fn innermost(packet: &[u8]) -> (&[u8], bool) {
    let inside = read::ip(packet, false).and_then(|outer| {
        let body = outer.body;
        match outer.protocol {
            4 | 41 => Some(body),
            47 => {
                let flags = *body.first()?;
                body.get(
                    4 + [0x80, 0x20, 0x10]
                        .into_iter()
                        .filter(|bit| flags & bit != 0)
                        .count()
                        * 4..,
                )
            }
            17 if body.get(2..4)? == 6080u16.to_be_bytes() => {
                body.get(12 + usize::from(*body.get(8)? & 31) * 4..)
            }
            _ => None,
        }
    });
    inside.map_or((packet, false), |inside| (inside, true))
}

/// Addresses and ports of a packet, source first.
fn ends(packet: &[u8]) -> Option<(IpAddr, IpAddr, packet::Ports)> {
    let outer = read::ip(packet, false)?;
    let port = |at: usize| {
        Some(u16::from_be_bytes(
            outer.body.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    Some((outer.from, outer.to, (port(0)?, port(2)?)))
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::super::scenario::Step;
    use super::*;

    const TEXT: &str =
        "site two-armed\nflow k tcp 172.16.0.1:1000 > 10.0.0.100:80\nk > syn\nk < syn ack\n";

    #[test]
    fn a_server_answers_what_reached_it() {
        let (scenario, _) = parse(TEXT).unwrap();
        let mut traffic = Traffic::of(&scenario);
        let mut sent = |step: &Step, heard: Option<OnLink>| {
            let Step::Packet {
                flow,
                from,
                content,
            } = step
            else {
                panic!()
            };
            traffic.flows[0].forward = heard.map(|(link, packet)| (3, link, packet));
            match traffic.send(*flow, *from, content) {
                Sending::Frames(frames, _) => Ok(frames),
                Sending::Nothing(why) => Err(why),
            }
        };
        let syn = sent(&scenario.steps[0], None).unwrap();
        assert_eq!(syn[0].0, 0);
        assert_eq!(sent(&scenario.steps[1], None), Err("no server".to_owned()));
        let as_sent = syn[0].1[14..].to_vec();
        assert_eq!(
            sent(&scenario.steps[1], Some((1, as_sent.clone()))),
            Err("direct from r3".to_owned())
        );
        let mut translated = as_sent;
        translated[16..20].copy_from_slice(&[10, 1, 0, 13]);
        let reply = sent(&scenario.steps[1], Some((1, translated))).unwrap();
        let (from, to, ports) = ends(&reply[0].1[14..]).unwrap();
        assert_eq!(
            (from.to_string(), to.to_string(), ports),
            ("10.1.0.13".into(), "172.16.0.1".into(), (80, 1000))
        );
        assert_eq!(
            (reply[0].0, &reply[0].1[6..12]),
            (1, &Port::Server(3).mac()[..])
        );
    }
}
