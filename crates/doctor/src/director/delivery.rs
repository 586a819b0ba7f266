//! Do the servers take what the director sends them, and do their answers go the right way? Tried with
//! a first segment of TCP as a client's would arrive, an echo request where the service is not TCP.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use lvsx_host::{Network, Prefix};
use lvsx_ipvs::{Destination, ForwardingMethod, ServiceKey};

use super::Site;
use crate::Result;
use crate::segment::{Segment, failed};
use crate::wire::{Heard, Mac, Said, frame};

/// A client that is nobody's (TEST-NET-1, RFC 5737; discard-only, RFC 6666), by NAT: the answer to it shows the way back.
fn nobody(server: IpAddr) -> IpAddr {
    match server {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// Ports that the kernel does not give to connections of its own (above 60,999).
const FIRST_PORT: u16 = 61_100;
/// How long answers are awaited, each time after asking.
const PATIENCE: [Duration; 3] = [
    Duration::from_millis(150),
    Duration::from_millis(250),
    Duration::from_millis(350),
];
const SEQUENCE: u32 = 0x1a_2b_3c_4d;
const TCP: u16 = 6;

/// The ways to the servers, and what was heard on them.
pub(crate) struct Delivery {
    /// The segments that lead to servers or hold virtual addresses.
    pub(crate) segments: Vec<Segment>,
    /// A trip for each server of each service.
    pub(crate) trips: Vec<Trip>,
}

/// The way from the director to a server.
pub(crate) struct Trip {
    /// The service.
    pub(crate) service: ServiceKey,
    /// The server.
    pub(crate) destination: Destination,
    /// Its address.
    pub(crate) address: IpAddr,
    /// The segment, by its place among the segments.
    pub(crate) segment: usize,
    /// The next machine on the way: the server, or a router.
    pub(crate) hop: IpAddr,
    /// Who answered for the next machine.
    pub(crate) macs: Vec<Mac>,
    /// The answer to a packet from the director itself.
    pub(crate) plain: Option<Answer>,
    /// The answer to a packet as the director forwards it.
    pub(crate) forwarded: Option<Answer>,
    /// Whether an answer came with an unfinished checksum.
    pub(crate) unfinished: bool,
    /// The longest packet that the server expects from here, by the segment size it announced.
    pub(crate) expected_length: Option<usize>,
}

/// What a server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Somebody listens there, or the echo came back.
    Open,
    /// Nobody listens there.
    Closed,
}

/// A packet that was sent, and what would be its answer.
struct Question {
    trip: usize,
    forwarded: bool,
    frame: Vec<u8>,
    /// What takes a half-open connection back.
    reset: Option<Vec<u8>>,
    expects: Expected,
    answered: bool,
}

enum Expected {
    Segment(SocketAddr, SocketAddr),
    Echo(IpAddr, IpAddr, u16),
}

impl Delivery {
    /// Finds the ways to the servers, or to one alone, and asks the segments for the machines on them.
    ///
    /// # Errors
    /// When routes cannot be read, or packets cannot be sent.
    pub(crate) fn open(site: &Site, network: &Network, only: Option<IpAddr>) -> Result<Self> {
        let mut delivery = Self {
            segments: Vec::new(),
            trips: Vec::new(),
        };
        let wanted = |address: IpAddr| only.is_none_or(|only| only == address);
        for (service, destination) in site.destinations() {
            let address = destination.key.addr;
            if !wanted(address) {
                continue;
            }
            let Some((iface, gateway)) = network.way_to(address)? else {
                continue;
            };
            let Some(segment) = delivery.segment_of(site, &iface)? else {
                continue;
            };
            let hop = gateway.unwrap_or(address);
            delivery.trips.push(Trip {
                service: service.key,
                destination: destination.clone(),
                address,
                segment,
                hop,
                macs: Vec::new(),
                plain: None,
                forwarded: None,
                unfinished: false,
                expected_length: None,
            });
        }
        let mut routers = Vec::new();
        let everywhere = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        for family in everywhere {
            let way = network.way_out(lvsx_host::Destination::everything(family))?;
            routers.extend(way.and_then(|(_, router)| router));
        }
        delivery.ask_who_is_there(site, &routers)?;
        Ok(delivery)
    }

    /// The segment of an interface that is up; it is opened where it is new.
    fn segment_of(&mut self, site: &Site, iface: &str) -> Result<Option<usize>> {
        let known = |segment: &Segment| segment.wire.card.name == iface;
        if let Some(place) = self.segments.iter().position(known) {
            return Ok(Some(place));
        }
        let up = |card: &&lvsx_host::Card| card.name == iface && card.is_up;
        let Some(card) = site.cards.iter().find(up) else {
            return Ok(None);
        };
        self.segments.push(Segment::open(card, &site.addresses)?);
        Ok(Some(self.segments.len() - 1))
    }

    /// Asks each segment for the virtual addresses and the next machines of its trips; for routers
    /// too, so that they can be named if it is they who answer.
    fn ask_who_is_there(&mut self, site: &Site, routers: &[IpAddr]) -> Result<()> {
        let virtuals = site.virtual_addresses();
        let holding: Vec<_> = site
            .cards
            .iter()
            .filter(|card| {
                site.addresses.iter().any(|(iface, own)| {
                    *iface == card.name
                        && *own != Prefix::host(own.address)
                        && virtuals.iter().any(|address| own.holds(*address))
                })
            })
            .map(|card| card.name.clone())
            .collect();
        for iface in holding {
            self.segment_of(site, &iface)?;
        }
        for (place, segment) in self.segments.iter_mut().enumerate() {
            let mut addresses: BTreeSet<_> = virtuals.iter().copied().collect();
            let own = self.trips.iter().filter(|trip| trip.segment == place);
            addresses.extend(own.flat_map(|trip| [trip.hop, trip.address]));
            addresses.extend(routers.iter().filter(|router| segment.holds(**router)));
            segment.ask(&addresses)?;
        }
        for trip in &mut self.trips {
            trip.macs = self.segments[trip.segment].who_has(trip.hop);
        }
        Ok(())
    }

    /// Sends each server that answers ARP a packet of the director's own, and one as it forwards
    /// them, and hears the answers.
    ///
    /// # Errors
    /// When packets cannot be sent or heard.
    pub(crate) fn send(&mut self) -> Result<()> {
        for place in 0..self.segments.len() {
            let mut questions: Vec<Question> = (0..self.trips.len())
                .filter(|trip| self.trips[*trip].segment == place)
                .flat_map(|trip| self.questions(trip))
                .collect();
            self.exchange(place, &mut questions)?;
        }
        Ok(())
    }

    fn questions(&self, number: usize) -> Vec<Question> {
        let trip = &self.trips[number];
        let segment = &self.segments[trip.segment];
        let (Some(mac), Some(own)) = (trip.macs.first(), segment.own_towards(trip.hop)) else {
            return Vec::new();
        };
        let port = FIRST_PORT + 2 * (number as u16 % 2000);
        let framed = |packet: &[u8]| frame::ip_frame(segment.wire.card.mac, *mac, packet);
        let tunnel = &trip.destination.settings.tunnel;
        // The far end of a forwarded packet, the near end, and what is put around it.
        let (to, from, is_wrapped) = match (trip.destination.settings.method, trip.service) {
            (ForwardingMethod::Masquerade, _) => (trip.address, Some(nobody(trip.address)), false),
            // What is in a tunnel may be of the other family.
            (method, ServiceKey::Address { addr, .. }) => (
                addr,
                segment.own_towards(addr),
                method == ForwardingMethod::Tunnel,
            ),
            // A service by mark does not tell its addresses.
            (_, ServiceKey::Mark { .. }) => (trip.address, Some(own), false),
        };
        let wrapped = |packet: Vec<u8>| {
            if is_wrapped {
                let near = segment.own_towards(trip.address)?;
                frame::tunnelled(near, trip.address, tunnel, &packet)
            } else {
                Some(packet)
            }
        };
        let (own_port, virtual_port) = (trip.destination.key.port, port_of(trip));
        let ask = |forwarded: bool, to: IpAddr, to_port: u16, from: IpAddr, port: u16| {
            let (packet, reset, expects) = if is_tcp(trip) && to_port != 0 {
                let (near, far) = (SocketAddr::new(from, port), SocketAddr::new(to, to_port));
                (
                    frame::segment(near, far, frame::SYN, SEQUENCE)?,
                    frame::segment(near, far, frame::RST, SEQUENCE + 1),
                    Expected::Segment(far, near),
                )
            } else {
                (
                    frame::echo(from, to, port, 64)?,
                    None,
                    Expected::Echo(to, from, port),
                )
            };
            let (packet, reset) = if forwarded {
                (wrapped(packet)?, reset.and_then(&wrapped))
            } else {
                (packet, reset)
            };
            Some(Question {
                trip: number,
                forwarded,
                frame: framed(&packet),
                reset: reset.map(|reset| framed(&reset)),
                expects,
                answered: false,
            })
        };
        [
            ask(false, trip.address, own_port, own, port),
            from.and_then(|from| ask(true, to, virtual_port, from, port + 1)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn exchange(&mut self, place: usize, questions: &mut [Question]) -> Result<()> {
        let segment = &self.segments[place];
        let (wire, failed) = (&segment.wire, failed(&segment.wire.card));
        for patience in PATIENCE {
            if questions.iter().all(|question| question.answered) {
                break;
            }
            for question in questions.iter().filter(|question| !question.answered) {
                wire.send(&question.frame).map_err(&failed)?;
            }
            let trips = &mut self.trips;
            let heard = wire.hear(patience, |heard| {
                for question in questions.iter_mut().filter(|question| !question.answered) {
                    let Some(answer) = question.expects.answer(heard) else {
                        continue;
                    };
                    question.answered = true;
                    let trip = &mut trips[question.trip];
                    trip.unfinished |= heard.unfinished;
                    trip.expected_length = trip.expected_length.or(heard.expected_length());
                    let slot = if question.forwarded {
                        &mut trip.forwarded
                    } else {
                        &mut trip.plain
                    };
                    *slot = Some(answer);
                    if let (Answer::Open, Some(reset)) = (answer, &question.reset) {
                        // A half-open connection that stays ends by itself.
                        let _ = wire.send(reset);
                    }
                }
                questions.iter().all(|question| question.answered)
            });
            heard.map_err(&failed)?;
        }
        Ok(())
    }
}

impl Expected {
    fn answer(&self, heard: &Heard) -> Option<Answer> {
        match (self, &heard.said) {
            (
                Self::Segment(far, near),
                Said::Segment {
                    from, to, flags, ..
                },
            ) if from == far && to == near => Some(if flags & frame::RST != 0 {
                Answer::Closed
            } else {
                Answer::Open
            }),
            (Self::Echo(far, near, number), Said::Echo(from, to, heard))
                if (from, to, heard) == (far, near, number) =>
            {
                Some(Answer::Open)
            }
            _ => None,
        }
    }
}

fn is_tcp(trip: &Trip) -> bool {
    match trip.service {
        ServiceKey::Address { protocol, .. } => protocol == TCP,
        // Mostly it is.
        ServiceKey::Mark { .. } => true,
    }
}

/// The port of a forwarded packet: NAT rewrites it, the other methods leave the virtual one.
fn port_of(trip: &Trip) -> u16 {
    match (trip.destination.settings.method, trip.service) {
        (ForwardingMethod::Masquerade, _) | (_, ServiceKey::Mark { .. }) => {
            trip.destination.key.port
        }
        (_, ServiceKey::Address { port, .. }) => port,
    }
}
