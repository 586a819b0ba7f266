//! What happens to a packet, top to bottom.
//!
//! ```text
//! ours? -> parse -> find the connection -> (miss: find the service -> pick -> open) -> state and timer -> count -> rewrite -> out
//! ```
//!
//! Five stages, which are five programs that call each other as their last act, because a BPF program has half a
//! kilobyte of stack and each must stay small enough for the verifier:
//!
//! - [`fast`], which every packet meets: connections in their two sets. An established packet looks up no service.
//! - [`overflow`]: the same for connections of the overflow area, if there are any of the flow's hash.
//! - [`open`]: first packets. Finds the service and picks a destination.
//! - [`bind`]: opens the connection to that destination.
//! - [`first`]: as `fast`, for the connection just opened.
//!
//! The generation is read once, by `fast`; the others are told which it was, so each verdict belongs to one configuration.
//! That and the line of the picked destination are all that crosses from one stage to the next (`Crossing`); each parses
//! the packet anew. Lines are reused only after a grace period, so they outlive all stages of a packet.
//!
//! A step gives the next thing or a named reason to stop (`Stop`); "not ours" is no error, and a full table never looks
//! like a bad packet. Packets are counted before they are sent, as in the kernel.

mod crossing;
mod hop;
mod progress;
mod verdict;

pub use hop::port_of;
pub use verdict::{Action, MOST_STAGES, Stage, Verdict};

use crate::conn::{self, Hit, NewEntry4, Opened, Peer, Want4};
use crate::env::Env;
use crate::event::Event;
use crate::forward::{self, masquerade::Readdress, tunnel::Unwrappable};
use crate::generation::{DestinationLine, Method, RootLine, ServiceKey, live};
use crate::packet::Packet;
use crate::sched::{self, Request, Service};
use crate::state::{State, TCP, UDP, tcp};
use crate::tick::Tick;
use crate::wire::{self, Head4, Header4, Ports};
use crossing::Crossing;
use hop::{Found, epoch, find_hop};
use progress::{advance, tally, timeout, view};
use verdict::Stop::{self, Drop, Next, Pass};
use verdict::{Out, conclude};

/// A packet that concerns the director, as far as it was read.
struct Flow {
    header: Header4,
    ports: Ports,
    want: Want4,
}

/// Every packet's stage: connections in their two sets.
#[inline(always)]
pub fn fast<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, fast_stage(packet, env))
}

/// The stage of connections in the overflow area.
#[inline(always)]
pub fn overflow<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, overflow_stage(packet, env))
}

/// The stage of first packets.
#[inline(always)]
pub fn open<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, open_stage(packet, env))
}

/// The stage that opens the connection a first packet was scheduled to.
#[inline(always)]
pub fn bind<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, bind_stage(packet, env))
}

/// The stage of a connection just opened.
#[inline(always)]
pub fn first<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, first_stage(packet, env))
}

/// All stages one after another, for planes without tail calls.
pub fn handle<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    let mut stage = Stage::Fast;
    for _ in 0..MOST_STAGES {
        let verdict = match stage {
            Stage::Fast => fast(packet, env),
            Stage::Open => open(packet, env),
            Stage::Overflow => overflow(packet, env),
            Stage::Bind => bind(packet, env),
            Stage::First => first(packet, env),
        };
        if verdict.action != Action::Next {
            return verdict;
        }
        stage = verdict.stage;
    }
    env.count(Event::DropTailCall);
    Verdict {
        action: Action::Drop,
        event: Event::DropTailCall,
        interface: 0,
        gateway: 0,
        stage,
    }
}

#[inline(always)]
fn fast_stage<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Out, Stop> {
    let line = RootLine::in_force(env).ok_or(Pass(Event::PassNotOurs))?;
    let root = RootLine::at(env, line).ok_or(Pass(Event::PassNotOurs))?;
    let way = in_sets(packet, env, &root);
    if let Err(Next(_)) = way {
        Crossing {
            root: line,
            picked: 0,
        }
        .keep(env);
    }
    way
}

#[inline(always)]
fn first_stage<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Out, Stop> {
    let root = Crossing::of(env).root(env)?;
    in_sets(packet, env, &root)
}

#[inline(always)]
fn in_sets<P: Packet, E: Env>(packet: &mut P, env: &E, root: &RootLine) -> Result<Out, Stop> {
    let flow = classify(packet, env, root)?;
    let now = env.now();
    match conn::find_in_sets(env, &flow.want) {
        Some(hit) => established(packet, env, root, &flow, hit, now),
        None if conn::overflow_reach(env, &flow.want) != 0 => Err(Next(Stage::Overflow)),
        None => Err(Next(Stage::Open)),
    }
}

#[inline(always)]
fn overflow_stage<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Out, Stop> {
    let root = Crossing::of(env).root(env)?;
    let flow = classify(packet, env, &root)?;
    let now = env.now();
    match conn::find_in_overflow(env, &flow.want) {
        Some(hit) => established(packet, env, &root, &flow, hit, now),
        None => Err(Next(Stage::Open)),
    }
}

/// Finds the service and picks a destination for a packet of no connection.
#[inline(always)]
fn open_stage<P: Packet, E: Env>(packet: &P, env: &E) -> Result<Out, Stop> {
    let crossing = Crossing::of(env);
    let root = crossing.root(env)?;
    let flow = classify(packet, env, &root)?;
    if flow.want.side() == Peer::Server {
        return Err(Pass(Event::PassNoConnection));
    }
    let key = ServiceKey::ipv4(
        flow.header.protocol,
        flow.header.destination,
        flow.ports.destination,
    );
    let block = root.service(env, key).ok_or(Pass(Event::PassNoService))?;
    let flags = flow.ports.flags;
    if flow.header.protocol == TCP && (flags.rst() || !flags.syn()) {
        return Err(Pass(Event::PassNotOpening));
    }
    if flow.ports.source == FTP_DATA {
        return Err(Pass(Event::PassFtpData));
    }
    let service = Service::read(env, &root, block).ok_or(Drop(Event::DropInconsistent))?;
    let request = Request::ipv4(
        flow.header.source,
        flow.ports.source,
        flow.header.destination,
    );
    match sched::pick(env, &service, &request) {
        sched::NO_PLACE => Err(Drop(Event::DropNoDestination)),
        place => {
            let picked = service.first.wrapping_add(place);
            Crossing { picked, ..crossing }.keep(env);
            Err(Next(Stage::Bind))
        }
    }
}

/// Opens the connection to the destination picked by [`open_stage`]. Its state and timer are then those after this packet,
/// so that what the packet does to them again in its next stage changes nothing.
#[inline(always)]
fn bind_stage<P: Packet, E: Env>(packet: &P, env: &E) -> Result<Out, Stop> {
    let crossing = Crossing::of(env);
    let root = crossing.root(env)?;
    let flow = classify(packet, env, &root)?;
    let now = env.now();
    let line = env
        .config(crossing.picked)
        .ok_or(Drop(Event::DropInconsistent))?;
    let picked = DestinationLine::decode(line);
    let new = first_entry(env, &root, &flow, &picked, now);
    match conn::open(env, &flow.want, &new, now) {
        Opened::Contended => Err(Drop(Event::DropContended)),
        Opened::Full => Err(Drop(Event::DropTableFull)),
        Opened::Exists => Err(Next(Stage::First)),
        Opened::New => {
            if let Some(line) = env.tally(picked.id) {
                line[live::tally::CONNECTIONS]
                    .poke(line[live::tally::CONNECTIONS].peek().wrapping_add(1));
            }
            Err(Next(Stage::First))
        }
    }
}

/// The entry that a first packet to `picked` opens.
#[inline(always)]
fn first_entry<E: Env>(
    env: &E,
    root: &RootLine,
    flow: &Flow,
    picked: &DestinationLine,
    now: Tick,
) -> NewEntry4 {
    let input_only = picked.method & 7 != Method::Masquerade as u8;
    let state = if flow.header.protocol == TCP {
        tcp::next(
            view(flow.want.side(), input_only),
            flow.ports.flags,
            State::NONE,
        )
    } else {
        State::NONE
    };
    NewEntry4 {
        virt: (flow.header.destination, flow.ports.destination),
        dest: (
            picked.address[0] as u32,
            if picked.port == 0 {
                flow.ports.destination
            } else {
                picked.port
            },
        ),
        id: picked.id,
        method: picked.method,
        mark: 0,
        input_only,
        state,
        deadline: now.after(timeout(env, root, flow, state)),
    }
}

/// Whether the packet concerns the director, and what it looks for.
#[inline(always)]
fn classify<P: Packet, E: Env>(packet: &P, env: &E, root: &RootLine) -> Result<Flow, Stop> {
    let head = Head4::of(packet).ok_or(Pass(Event::PassNotIp))?;
    if head.kind() != wire::IPV4 {
        return Err(Pass(Event::PassNotIp));
    }
    let (source, destination) = (head.source(), head.destination());
    let side = if root.concern(env, destination).is_virtual {
        Peer::Virtual
    } else if root.concern(env, source).is_server {
        Peer::Server
    } else {
        return Err(Pass(Event::PassNotOurs));
    };
    let link = head.link_destination();
    let ours = port_of(env, packet.interface())
        .is_some_and(|(_, port)| port[live::port::ADDRESS].peek() == link);
    if !ours {
        return Err(Pass(Event::PassForeignMac));
    }
    let header = Header4::parse(&head, packet.len()).map_err(|_| malformed(side))?;
    if header.protocol != TCP && header.protocol != UDP {
        return Err(Pass(Event::PassProtocol));
    }
    if header.is_fragment {
        return Err(match side {
            Peer::Virtual => Drop(Event::DropFragment),
            Peer::Server => Pass(Event::PassNoConnection),
        });
    }
    let ports = Ports::read(packet, header.protocol, header.transport, header.payload())
        .ok_or(malformed(side))?;
    let (client, peer) = match side {
        Peer::Virtual => ((source, ports.source), (destination, ports.destination)),
        Peer::Server => ((destination, ports.destination), (source, ports.source)),
    };
    let want = Want4::new(env.geometry4(), header.protocol, client, peer, side);
    Ok(Flow {
        header,
        ports,
        want,
    })
}

/// What a server sends is the network's until a connection claims it; what comes for a virtual address is ours.
#[inline(always)]
fn malformed(side: Peer) -> Stop {
    match side {
        Peer::Virtual => Drop(Event::DropMalformed),
        Peer::Server => Pass(Event::PassNoConnection),
    }
}

/// A packet of a connection that was found: availability, state, timer, tally, rewriting, way out.
#[inline(always)]
fn established<P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    root: &RootLine,
    flow: &Flow,
    hit: Hit<'_>,
    now: Tick,
) -> Result<Out, Stop> {
    let expired = hit.control.is_expired(now);
    if expired || begins_anew(root, flow) && hit.control.state().is_closed() {
        if hit.end(env) {
            env.count(if expired {
                Event::Expired
            } else {
                Event::Reused
            });
        }
        return Err(Next(Stage::Open));
    }
    let entry = hit.entry();
    let id = entry.id();
    if !root.is_available(env, id) {
        return Err(Drop(Event::DropDestinationRemoved));
    }
    let method = Method::from_number(entry.method()).ok_or(Drop(Event::DropInconsistent))?;
    let (virt, dest) = (entry.virt(), entry.dest());
    let generation = hit.control.generation();
    let epoch = epoch(env);
    let hop = entry.hop(flow.want.side(), epoch, generation);
    advance(env, root, flow, &hit, id, now).ok_or(Next(Stage::Open))?;
    tally(env, flow, id);
    if flow.header.ttl <= 1 {
        return Err(Drop(Event::DropTtlExceeded));
    }
    match (method, flow.want.side()) {
        (Method::Masquerade, side) => {
            let change = match side {
                Peer::Virtual => Readdress::to_server(&flow.header, &flow.ports, dest),
                Peer::Server => Readdress::to_client(&flow.header, &flow.ports, virt),
            };
            forward::masquerade::readdress(packet, &flow.header, &change)
                .ok_or(Drop(Event::DropMalformed))?;
        }
        (Method::DirectRouting, Peer::Virtual) => {
            forward::direct::to_server(packet).ok_or(Drop(Event::DropMalformed))?;
        }
        (Method::Tunnel, Peer::Virtual) => {
            let own = env
                .destination(id)
                .map_or(0, |line| line[live::destination::SOURCE].peek() as u32);
            if own == 0 {
                return Err(Drop(Event::DropNoRoute));
            }
            forward::tunnel::to_server(packet, &flow.header, own, dest.0).map_err(
                |why| match why {
                    Unwrappable::NoHeadroom => Drop(Event::DropNoHeadroom),
                    Unwrappable::Malformed => Drop(Event::DropMalformed),
                },
            )?;
        }
        _ => return Err(Pass(Event::PassNoConnection)),
    }
    let next = match flow.want.side() {
        Peer::Server => flow.header.destination,
        Peer::Virtual => dest.0,
    };
    let hop = match hop {
        Some(hop) => hop,
        None => match find_hop(packet, env, flow.want.side(), id, next)? {
            Found::Hop(hop) => {
                entry.keep_hop(flow.want.side(), hop, epoch, generation);
                hop
            }
            Found::Unresolved(out) => return Ok(out),
        },
    };
    let port = env.port(hop.port()).ok_or(Drop(Event::DropInconsistent))?;
    let interface = port[live::port::INTERFACE].peek();
    let tunnel = if method == Method::Tunnel {
        wire::OUTER4 as u32
    } else {
        0
    };
    if u32::from(flow.header.total) + tunnel > (interface >> 32) as u32 && !packet.is_aggregate() {
        return Err(Drop(Event::DropTooBig));
    }
    forward::link(packet, hop.address(), port[live::port::ADDRESS].peek())
        .ok_or(Drop(Event::DropMalformed))?;
    Ok(Out {
        interface: interface as u32,
        gateway: 0,
    })
}

/// Whether the packet is a SYN that may begin a connection anew on the entry of one that is closed: IPVS's
/// `conn_reuse_mode` 1, its default.
#[inline(always)]
fn begins_anew(root: &RootLine, flow: &Flow) -> bool {
    root.settings.conn_reuse_mode != 0
        && flow.want.side() == Peer::Virtual
        && flow.header.protocol == TCP
        && flow.ports.flags.syn()
}

/// Client port 20, raw: IPVS never schedules it.
const FTP_DATA: u16 = 20u16.to_be();
