//! What happens to a packet, top to bottom.
//!
//! ```text
//! ours? -> parse -> find the connection -> (miss: find the service -> pick -> open) -> state and timer -> count -> rewrite -> out
//! ```
//!
//! Four stages, which are four programs that call each other as their last act, because a BPF program has half a
//! kilobyte of stack and each must stay small enough for the verifier:
//!
//! - [`fast`], which every packet meets: connections in their two sets. An established packet looks up no service.
//! - [`overflow`]: the same for connections of the overflow area, if there are any of the flow's home.
//! - [`open`]: first packets. Finds the service and picks a destination.
//! - [`bind`]: opens the connection to that destination and sends the packet on.
//!
//! The generation is read once, by `fast`; the others are told which it was, so each verdict belongs to one configuration.
//! That, the flow's hash and the line of the picked destination are all that crosses from one stage to the next
//! (`Crossing`); each reads the packet's headers anew. Lines are reused only after a grace period, so they outlive all
//! stages of a packet.
//!
//! A step gives the next thing or the packet's end ([`Verdict`]); "not ours" is no error, and a full table never looks
//! like a bad packet. Packets are counted before they are sent, as in the kernel.

mod crossing;
mod hop;
mod progress;
mod verdict;

pub use hop::{gateway, port_of};
pub use verdict::{Action, MOST_STAGES, Stage, Verdict};

use crate::conn::{self, Entry, Entry4, Hit, Hop, NewEntry, Opened, Peer, Want};
use crate::env::Env;
use crate::event::Event;
use crate::forward::{self, masquerade::Readdress, tunnel::Unwrappable};
use crate::generation::{DestinationLine, Method, RootLine, ServiceKey, live};
use crate::packet::Packet;
use crate::sched::{self, Service};
use crate::state::{State, TCP, UDP, tcp};
use crate::tick::Tick;
use crate::wire::{self, Head4, Header4, Ports};
use crossing::Crossing;
use hop::{Found, epoch, find_hop};
use lvsx_platform::Line;
use progress::{advance, tally, timeout, view};
use verdict::conclude;

/// A packet that concerns the director, as far as it was read.
struct Flow {
    header: Header4,
    ports: Ports,
    want: Want<Entry4>,
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

/// The stage that opens the connection a first packet was scheduled to and sends the packet on. Two functions beside this
/// one, each of which reads the headers, because the stack of either alone fits BPF's half kilobyte.
#[inline(always)]
pub fn bind<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    match enter(packet, env) {
        Opened::New => send_first(packet, env),
        Opened::Contended => conclude(env, Err(Verdict::drop(Event::DropContended))),
        Opened::Full => conclude(env, Err(Verdict::drop(Event::DropTableFull))),
        // Another CPU was quicker: the packet is one of that connection.
        Opened::Exists => Verdict::next(Stage::Fast),
    }
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
        };
        if verdict.action() != Action::Next {
            return verdict;
        }
        stage = verdict.stage();
    }
    conclude(env, Err(Verdict::drop(Event::DropTailCall)))
}

#[inline(always)]
fn fast_stage<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Verdict, Verdict> {
    let line = RootLine::in_force(env).ok_or(Verdict::pass(Event::PassNotOurs))?;
    let root = RootLine::at(env, line).ok_or(Verdict::pass(Event::PassNotOurs))?;
    let flow = classify(packet, env, &root)?;
    let now = env.now();
    let next = match conn::find_in_sets(env, &flow.want) {
        Some(hit) => match established(packet, env, &root, &flow, hit, now) {
            Err(verdict) if verdict.action() == Action::Next => verdict.stage(),
            way => return way,
        },
        None if conn::overflow_reach(env, &flow.want) != 0 => Stage::Overflow,
        None => Stage::Open,
    };
    if next == Stage::Open && flow.want.side() == Peer::Server {
        return Err(Verdict::pass(Event::PassNoConnection));
    }
    Crossing {
        root: line,
        picked: 0,
        hash: flow.want.hash(),
    }
    .keep(env);
    Err(Verdict::next(next))
}

#[inline(always)]
fn overflow_stage<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Verdict, Verdict> {
    let root = Crossing::of(env)?.root(env)?;
    let flow = classify(packet, env, &root)?;
    let now = env.now();
    let next = match conn::find_in_overflow(env, &flow.want) {
        Some(hit) => match established(packet, env, &root, &flow, hit, now) {
            Err(verdict) if verdict.action() == Action::Next => verdict.stage(),
            way => return way,
        },
        None => Stage::Open,
    };
    if flow.want.side() == Peer::Server {
        return Err(Verdict::pass(Event::PassNoConnection));
    }
    Err(Verdict::next(next))
}

/// Finds the service and picks a destination for a client's packet of no connection.
#[inline(always)]
fn open_stage<P: Packet, E: Env>(packet: &P, env: &E) -> Result<Verdict, Verdict> {
    let crossing = Crossing::of(env)?;
    let root = crossing.root(env)?;
    let (header, ports) = reread(packet)?;
    let key = ServiceKey::ipv4(header.protocol, header.destination, ports.destination);
    let block = root
        .service(env, key)
        .ok_or(Verdict::pass(Event::PassNoService))?;
    if header.protocol == TCP && (ports.flags.rst() || !ports.flags.syn()) {
        return Err(Verdict::pass(Event::PassNotOpening));
    }
    if ports.source == FTP_DATA {
        return Err(Verdict::pass(Event::PassFtpData));
    }
    let service = Service::read(env, block).ok_or(Verdict::drop(Event::DropInconsistent))?;
    match sched::pick(env, &service) {
        sched::NO_PLACE => Err(Verdict::drop(Event::DropNoDestination)),
        place => {
            let picked = service.first.wrapping_add(place);
            Crossing { picked, ..crossing }.keep(env);
            Err(Verdict::next(Stage::Bind))
        }
    }
}

/// The headers of a first packet, and what the stages before found out about it.
#[inline(always)]
fn reopen<P: Packet, E: Env>(packet: &P, env: &E) -> Result<(Flow, Crossing), Verdict> {
    let crossing = Crossing::of(env)?;
    let (header, ports) = reread(packet)?;
    let want = Want::again(
        env.geometry4(),
        header.protocol,
        (header.source, ports.source),
        (header.destination, ports.destination),
        crossing.hash,
    );
    let flow = Flow {
        header,
        ports,
        want,
    };
    Ok((flow, crossing))
}

/// Opens the flow's entry. Its state and timer are from the start those after its first packet.
#[inline(never)]
fn enter<P: Packet, E: Env>(packet: &P, env: &E) -> Opened {
    let Ok((flow, crossing)) = reopen(packet, env) else {
        return Opened::Full;
    };
    let flow = &flow;
    let now = env.now();
    // The epoch first: the director publishes hops before it moves the epoch.
    let epoch = epoch(env);
    let Some(line) = env.config(crossing.picked) else {
        return Opened::Full;
    };
    let bound = Bound::picked(env, flow, line);
    let input_only = bound.method & 7 != Method::Masquerade as u8;
    let state = if flow.header.protocol == TCP {
        tcp::next(
            view(Peer::Virtual, input_only),
            flow.ports.flags,
            State::NONE,
        )
    } else {
        State::NONE
    };
    let timeout = match crossing.root(env) {
        Ok(root) => timeout(env, &root, flow, state),
        Err(_) => 0,
    };
    let new = NewEntry {
        virt: bound.virt,
        dest: bound.dest,
        id: bound.id,
        method: bound.method,
        mark: 0,
        input_only,
        hop: bound.hop,
        epoch,
        state,
        deadline: now.after(timeout),
    };
    let opened = conn::open(env, &flow.want, &new, now);
    if opened == Opened::New {
        if let Some(line) = env.tally(new.id) {
            let connections = &line[live::tally::CONNECTIONS];
            connections.poke(connections.peek().wrapping_add(1));
        }
        tally(env, flow, new.id);
    }
    opened
}

/// Sends the first packet of a connection on.
#[inline(never)]
fn send_first<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, first_way(packet, env))
}

#[inline(always)]
fn first_way<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Verdict, Verdict> {
    let (flow, crossing) = reopen(packet, env)?;
    let flow = &flow;
    let line = env
        .config(crossing.picked)
        .ok_or(Verdict::drop(Event::DropInconsistent))?;
    let bound = Bound::picked(env, flow, line);
    let towards = rewrite(packet, env, flow, &bound)?;
    let hop = if bound.hop.is_known() {
        bound.hop
    } else {
        match find_hop(packet, env, Peer::Virtual, bound.id, towards)? {
            Found::Hop(hop) => hop,
            Found::Unresolved(verdict) => return Ok(verdict),
        }
    };
    leave(packet, env, flow, bound.method, hop)
}

/// The headers of a packet that [`classify`] saw before.
#[inline(always)]
fn reread<P: Packet>(packet: &P) -> Result<(Header4, Ports), Verdict> {
    let head = Head4::of(packet).ok_or(Verdict::drop(Event::DropMalformed))?;
    let header =
        Header4::parse(&head, packet.len()).map_err(|_| Verdict::drop(Event::DropMalformed))?;
    let ports = Ports::read(packet, header.protocol, header.transport, header.payload())
        .ok_or(Verdict::drop(Event::DropMalformed))?;
    Ok((header, ports))
}

/// Whether the packet concerns the director, and what it looks for.
#[inline(always)]
fn classify<P: Packet, E: Env>(packet: &P, env: &E, root: &RootLine) -> Result<Flow, Verdict> {
    let head = Head4::of(packet).ok_or(Verdict::pass(Event::PassNotIp))?;
    if head.kind() != wire::IPV4 {
        return Err(Verdict::pass(Event::PassNotIp));
    }
    let (source, destination) = (head.source(), head.destination());
    let side = if root.concern(env, destination).is_virtual {
        Peer::Virtual
    } else if root.concern(env, source).is_server {
        Peer::Server
    } else {
        return Err(Verdict::pass(Event::PassNotOurs));
    };
    let link = head.link_destination();
    let ours = port_of(env, packet.interface())
        .is_some_and(|(_, port)| port[live::port::ADDRESS].peek() == link);
    if !ours {
        return Err(Verdict::pass(Event::PassForeignMac));
    }
    let header = Header4::parse(&head, packet.len()).map_err(|_| malformed(side))?;
    if header.protocol != TCP && header.protocol != UDP {
        return Err(Verdict::pass(Event::PassProtocol));
    }
    if header.is_fragment {
        return Err(match side {
            Peer::Virtual => Verdict::drop(Event::DropFragment),
            Peer::Server => Verdict::pass(Event::PassNoConnection),
        });
    }
    let ports = Ports::read(packet, header.protocol, header.transport, header.payload())
        .ok_or(malformed(side))?;
    let (client, peer) = match side {
        Peer::Virtual => ((source, ports.source), (destination, ports.destination)),
        Peer::Server => ((destination, ports.destination), (source, ports.source)),
    };
    let want = Want::new(env.geometry4(), header.protocol, client, peer, side);
    Ok(Flow {
        header,
        ports,
        want,
    })
}

/// What a server sends is the network's until a connection claims it; what comes for a virtual address is ours.
#[inline(always)]
fn malformed(side: Peer) -> Verdict {
    match side {
        Peer::Virtual => Verdict::drop(Event::DropMalformed),
        Peer::Server => Verdict::pass(Event::PassNoConnection),
    }
}

/// What a connection's entry says of its packets.
struct Bound {
    id: u32,
    method: u8,
    virt: (u32, u16),
    dest: (u32, u16),
    /// The next hop kept for this direction; unknown if there is none of this route epoch.
    hop: Hop,
}

impl Bound {
    /// What the entry of a first packet to the destination in `line` says.
    #[inline(always)]
    fn picked<E: Env>(env: &E, flow: &Flow, line: &Line) -> Self {
        let picked = DestinationLine::decode(line);
        let port = if picked.port == 0 {
            flow.ports.destination
        } else {
            picked.port
        };
        let hop = env
            .destination(picked.id)
            .map_or(0, |line| line[live::destination::HOP].peek());
        Self {
            id: picked.id,
            method: picked.method,
            virt: (flow.header.destination, flow.ports.destination),
            dest: (picked.address[0] as u32, port),
            hop: Hop(hop),
        }
    }
}

/// A packet of a connection that was found: availability, state, timer, tally, rewriting, way out.
#[inline(always)]
fn established<P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    root: &RootLine,
    flow: &Flow,
    hit: Hit<'_, Entry4>,
    now: Tick,
) -> Result<Verdict, Verdict> {
    let expired = hit.control.is_expired(now);
    if expired || begins_anew(root, flow) && hit.control.state().is_closed() {
        if hit.end(env) {
            env.count(if expired {
                Event::Expired
            } else {
                Event::Reused
            });
        }
        return Err(Verdict::next(Stage::Open));
    }
    let entry = hit.entry;
    let side = flow.want.side();
    let generation = hit.control.generation();
    let epoch = epoch(env);
    let bound = Bound {
        id: entry.id(),
        method: entry.method(),
        virt: entry.virt(),
        dest: entry.dest(),
        hop: entry.hops().find(side, epoch, generation),
    };
    if !root.is_available(env, bound.id) {
        return Err(Verdict::drop(Event::DropDestinationRemoved));
    }
    advance(env, root, flow, &hit, bound.id, now).ok_or(Verdict::next(Stage::Open))?;
    tally(env, flow, bound.id);
    let towards = rewrite(packet, env, flow, &bound)?;
    let hop = if bound.hop.is_known() {
        bound.hop
    } else {
        match find_hop(packet, env, side, bound.id, towards)? {
            Found::Hop(hop) => {
                entry.hops().keep(side, hop, epoch, generation);
                hop
            }
            Found::Unresolved(verdict) => return Ok(verdict),
        }
    };
    leave(packet, env, flow, bound.method, hop)
}

/// Rewrites the packet as its connection's forwarding method says. The raw address it goes to next.
#[inline(always)]
fn rewrite<P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    flow: &Flow,
    bound: &Bound,
) -> Result<u32, Verdict> {
    if flow.header.ttl <= 1 {
        return Err(Verdict::drop(Event::DropTtlExceeded));
    }
    let method = Method::from_number(bound.method).ok_or(Verdict::drop(Event::DropInconsistent))?;
    let side = flow.want.side();
    match (method, side) {
        (Method::Masquerade, side) => {
            let change = match side {
                Peer::Virtual => Readdress::to_server(&flow.header, &flow.ports, bound.dest),
                Peer::Server => Readdress::to_client(&flow.header, &flow.ports, bound.virt),
            };
            forward::masquerade::readdress(packet, &flow.header, &change)
                .ok_or(Verdict::drop(Event::DropMalformed))?;
        }
        (Method::DirectRouting, Peer::Virtual) => {
            forward::direct::to_server(packet).ok_or(Verdict::drop(Event::DropMalformed))?;
        }
        (Method::Tunnel, Peer::Virtual) => {
            let own = env
                .destination(bound.id)
                .map_or(0, |line| line[live::destination::SOURCE].peek() as u32);
            if own == 0 {
                return Err(Verdict::drop(Event::DropNoRoute));
            }
            forward::tunnel::to_server(packet, &flow.header, own, bound.dest.0).map_err(|why| {
                match why {
                    Unwrappable::NoHeadroom => Verdict::drop(Event::DropNoHeadroom),
                    Unwrappable::Malformed => Verdict::drop(Event::DropMalformed),
                }
            })?;
        }
        _ => return Err(Verdict::pass(Event::PassNoConnection)),
    }
    Ok(match side {
        Peer::Server => flow.header.destination,
        Peer::Virtual => bound.dest.0,
    })
}

/// Sends the packet out by a next hop, if it fits that interface.
#[inline(always)]
fn leave<P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    flow: &Flow,
    method: u8,
    hop: Hop,
) -> Result<Verdict, Verdict> {
    let port = env
        .port(hop.port())
        .ok_or(Verdict::drop(Event::DropInconsistent))?;
    let interface = port[live::port::INTERFACE].peek();
    let tunnel = if method == Method::Tunnel as u8 {
        wire::OUTER4 as u32
    } else {
        0
    };
    if u32::from(flow.header.total) + tunnel > (interface >> 32) as u32 && !packet.is_aggregate() {
        return Err(Verdict::drop(Event::DropTooBig));
    }
    forward::link(packet, hop.address(), port[live::port::ADDRESS].peek())
        .ok_or(Verdict::drop(Event::DropMalformed))?;
    Ok(Verdict::out(interface as u32))
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
