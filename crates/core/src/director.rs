//! What happens to a packet, top to bottom.
//!
//! ```text
//! ours? -> parse -> find the connection -> (miss: find the service -> pick -> open) -> state and timer -> count -> rewrite -> out
//! ```
//!
//! [`fast`] is the program that every packet meets: an established packet looks up no service. What it cannot finish in
//! the connection's two sets it hands to [`open`], which does the whole way again and more: connections of the overflow
//! area, and first packets. Each reads the generation once, so each decision belongs to one configuration.
//!
//! A step gives the next thing or a named reason to stop ([`Stop`]); "not ours" is no error, and a full table never looks
//! like a bad packet. Packets are counted before they are sent, as in the kernel.

use crate::conn::{self, Hit, Hop, NewEntry4, Opened, Peer, Want4};
use crate::env::{Env, PORT_PROBES, PORTS, Route, state as shared};
use crate::event::Event;
use crate::forward::{self, tunnel::Unwrappable};
use crate::generation::{Method, RootLine, ServiceKey, TIMEOUT_UDP, live};
use crate::packet::Packet;
use crate::sched::{self, Service};
use crate::state::{State, TCP, UDP, tcp};
use crate::tick::Tick;
use crate::wire::{self, Header4, Ports};
use lvsx_platform::{Line, load16, load32};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it came.
    Pass(Event),
    /// It ends here.
    Drop(Event),
    /// It leaves by this interface, its link-layer header written.
    Out {
        /// Interface index.
        interface: u32,
    },
    /// It leaves by this interface, and the kernel finds the next hop's link-layer address. Only where the hook can;
    /// elsewhere it ends here and the director is told.
    OutUnresolved {
        /// Interface index.
        interface: u32,
        /// Raw IPv4 address of the next hop.
        gateway: u32,
    },
    /// The program for connections that are not in their sets goes on with it.
    Open,
}

/// Why a packet goes no further on this way.
enum Stop {
    Pass(Event),
    Drop(Event),
    Open,
}

use Stop::{Drop, Pass};

/// A packet that concerns the director, as far as it was read.
struct Flow {
    header: Header4,
    ports: Ports,
    want: Want4,
}

/// Every packet's way. Never opens a connection.
#[inline(always)]
pub fn fast<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, fast_way(packet, env))
}

/// The way of packets whose connection is not in its sets.
#[inline(always)]
pub fn open<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, open_way(packet, env))
}

/// The one place that counts what became of a packet.
#[inline(always)]
fn conclude<E: Env>(env: &E, way: Result<Verdict, Stop>) -> Verdict {
    let (verdict, event) = match way {
        Ok(verdict @ Verdict::OutUnresolved { .. }) => (verdict, Event::ForwardedUnresolved),
        Ok(verdict) => (verdict, Event::Forwarded),
        Err(Pass(event)) => (Verdict::Pass(event), event),
        Err(Drop(event)) => (Verdict::Drop(event), event),
        Err(Stop::Open) => return Verdict::Open,
    };
    env.count(event);
    verdict
}

#[inline(always)]
fn fast_way<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Verdict, Stop> {
    let root = RootLine::current(env).ok_or(Pass(Event::PassNotOurs))?;
    let flow = classify(packet, env, &root)?;
    let now = env.now();
    let hit = conn::find_in_sets(env, &flow.want).ok_or(Stop::Open)?;
    established(packet, env, &root, &flow, hit, now)
}

#[inline(always)]
fn open_way<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Verdict, Stop> {
    let root = RootLine::current(env).ok_or(Pass(Event::PassNotOurs))?;
    let flow = classify(packet, env, &root)?;
    let now = env.now();
    let known = conn::find(env, &flow.want);
    let hit = match known {
        Some(hit) if !gives_way(env, &root, &flow, &hit, now) => hit,
        _ => schedule(env, &root, &flow, now)?,
    };
    established(packet, env, &root, &flow, hit, now)
}

/// Whether the packet concerns the director, and what it looks for.
#[inline(always)]
fn classify<P: Packet, E: Env>(packet: &P, env: &E, root: &RootLine) -> Result<Flow, Stop> {
    let link = packet.bytes::<14>(0).ok_or(Pass(Event::PassNotIp))?;
    if load16(&[link[12], link[13]]) != wire::IPV4 {
        return Err(Pass(Event::PassNotIp));
    }
    let (source, destination) = Header4::addresses(packet).ok_or(Pass(Event::PassNotIp))?;
    let side = if root.concern(env, destination).is_virtual {
        Peer::Virtual
    } else if root.concern(env, source).is_server {
        Peer::Server
    } else {
        return Err(Pass(Event::PassNotOurs));
    };
    let mac = u64::from(load32(&[link[0], link[1], link[2], link[3]])) | u64::from(load16(&[link[4], link[5]])) << 32;
    let ours = port_of(env, packet.interface()).is_some_and(|(_, port)| port[live::port::ADDRESS].peek() == mac);
    if !ours {
        return Err(Pass(Event::PassForeignMac));
    }
    let header = Header4::read(packet).map_err(|_| malformed(side))?;
    if header.protocol != TCP && header.protocol != UDP {
        return Err(Pass(Event::PassProtocol));
    }
    if header.is_fragment {
        return Err(match side {
            Peer::Virtual => Drop(Event::DropFragment),
            Peer::Server => Pass(Event::PassNoConnection),
        });
    }
    let ports = Ports::read(packet, header.protocol, header.transport, header.payload()).ok_or(malformed(side))?;
    let (client, peer) = match side {
        Peer::Virtual => ((source, ports.source), (destination, ports.destination)),
        Peer::Server => ((destination, ports.destination), (source, ports.source)),
    };
    let want = Want4::new(env.geometry4(), header.protocol, client, peer, side);
    Ok(Flow { header, ports, want })
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
) -> Result<Verdict, Stop> {
    if hit.control.is_expired(now) || reopens(root, flow, &hit) {
        return Err(Stop::Open);
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
    let hop = entry.hop(flow.want.side, epoch, generation);
    advance(env, root, flow, &hit, id, now).ok_or(Stop::Open)?;
    tally(env, flow, id);
    if flow.header.ttl <= 1 {
        return Err(Drop(Event::DropTtlExceeded));
    }
    let next = match (flow.want.side, method) {
        (Peer::Server, _) => flow.header.destination,
        (Peer::Virtual, _) => dest.0,
    };
    match (flow.want.side, method) {
        (Peer::Server, Method::Masquerade) => {
            forward::masquerade::to_client(packet, &flow.header, &flow.ports, virt).ok_or(Drop(Event::DropMalformed))?;
        }
        (Peer::Virtual, Method::Masquerade) => {
            forward::masquerade::to_server(packet, &flow.header, &flow.ports, dest).ok_or(Drop(Event::DropMalformed))?;
        }
        (Peer::Virtual, Method::DirectRouting) => {
            forward::direct::to_server(packet).ok_or(Drop(Event::DropMalformed))?;
        }
        (Peer::Virtual, Method::Tunnel) => {
            let own = env.destination(id).map_or(0, |line| line[live::destination::SOURCE].peek() as u32);
            if own == 0 {
                return Err(Drop(Event::DropNoRoute));
            }
            forward::tunnel::to_server(packet, &flow.header, own, dest.0).map_err(|why| match why {
                Unwrappable::NoHeadroom => Drop(Event::DropNoHeadroom),
                Unwrappable::Malformed => Drop(Event::DropMalformed),
            })?;
        }
        _ => return Err(Pass(Event::PassNoConnection)),
    }
    let hop = match hop {
        Some(hop) => hop,
        None => match find_hop(packet, env, next)? {
            Found::Hop(hop) => {
                entry.keep_hop(flow.want.side, hop, epoch, generation);
                hop
            }
            Found::Unresolved(verdict) => return Ok(verdict),
        },
    };
    let port = env.port(hop.port()).ok_or(Drop(Event::DropInconsistent))?;
    forward::link(packet, hop.address(), port[live::port::ADDRESS].peek()).ok_or(Drop(Event::DropMalformed))?;
    Ok(Verdict::Out { interface: port[live::port::INTERFACE].peek() as u32 })
}

/// Whether the packet is a SYN that begins a connection anew on the entry of one that is over: IPVS's
/// `conn_reuse_mode` 1, its default.
#[inline(always)]
fn reopens(root: &RootLine, flow: &Flow, hit: &Hit<'_>) -> bool {
    root.settings.conn_reuse_mode != 0
        && flow.want.side == Peer::Virtual
        && flow.header.protocol == TCP
        && flow.ports.flags.syn()
        && hit.control.state().is_closed()
}

/// Whether the entry found is to be opened anew for this packet; ends it if so.
#[inline(always)]
fn gives_way<E: Env>(env: &E, root: &RootLine, flow: &Flow, hit: &Hit<'_>, now: Tick) -> bool {
    let expired = hit.control.is_expired(now);
    if !expired && !reopens(root, flow, hit) {
        return false;
    }
    if conn::remove(env, hit.set, hit.index, hit.way, hit.control) {
        env.count(if expired { Event::Expired } else { Event::Reused });
    }
    true
}

/// Opens a connection for a first packet: service, destination, entry. The state and the timer of the entry are those
/// before the packet's own effect.
#[inline(always)]
fn schedule<'a, E: Env>(env: &'a E, root: &RootLine, flow: &Flow, now: Tick) -> Result<Hit<'a>, Stop> {
    if flow.want.side == Peer::Server {
        return Err(Pass(Event::PassNoConnection));
    }
    let flags = flow.ports.flags;
    let key = ServiceKey::ipv4(flow.header.protocol, flow.header.destination, flow.ports.destination);
    let block = root.service(env, key).ok_or(Pass(Event::PassNoService))?;
    if flow.header.protocol == TCP && (flags.rst() || !flags.syn()) {
        return Err(Pass(Event::PassNotOpening));
    }
    if flow.ports.source == FTP_DATA {
        return Err(Pass(Event::PassFtpData));
    }
    let service = Service::read(env, block).ok_or(Drop(Event::DropInconsistent))?;
    let place = sched::pick(env, &service).ok_or(Drop(Event::DropNoDestination))?;
    let picked = service.destination(env, place).ok_or(Drop(Event::DropInconsistent))?;
    let port = if picked.port == 0 { flow.ports.destination } else { picked.port };
    let new = NewEntry4 {
        virt: (flow.header.destination, flow.ports.destination),
        dest: (picked.address[0] as u32, port),
        id: picked.id,
        method: picked.method,
        mark: 0,
    };
    let input_only = picked.method & 7 != Method::Masquerade as u8;
    let state = if flow.header.protocol == TCP {
        tcp::next(view(flow.want.side, input_only), flags, State::NONE)
    } else {
        State::NONE
    };
    let deadline = now.after(timeout(env, root, flow, state));
    match conn::open(env, &flow.want, &new, input_only, state, deadline, now) {
        Opened::New(hit) => {
            if let Some(line) = env.tally(picked.id) {
                line[live::tally::CONNECTIONS].poke(line[live::tally::CONNECTIONS].peek().wrapping_add(1));
            }
            Ok(hit)
        }
        Opened::Exists(hit) => Ok(hit),
        Opened::Contended => Err(Drop(Event::DropContended)),
        Opened::Full => Err(Drop(Event::DropTableFull)),
    }
}

/// Client port 20, raw: IPVS never schedules it.
const FTP_DATA: u16 = 20u16.to_be();

/// Tries to move an entry's state when other packets of the flow move it too.
const ADVANCE_TRIES: u64 = 4;

/// The packet's effect on state, activity and timer. Writes nothing when nothing changes, which within one tick is the
/// rule. `None`: the entry's life ended meanwhile.
#[inline(always)]
fn advance<E: Env>(env: &E, root: &RootLine, flow: &Flow, hit: &Hit<'_>, id: u32, now: Tick) -> Option<()> {
    let mut control = hit.control;
    let mut tries = 0;
    while lvsx_platform::hide(tries) < ADVANCE_TRIES {
        let side = flow.want.side;
        let (state, active) = if flow.header.protocol == TCP {
            let state = tcp::next(view(side, control.is_input_only()), flow.ports.flags, control.state());
            // Only a change of state moves the activity.
            let moved = state != control.state();
            (state, if moved { state.is_active() } else { control.is_active() })
        } else {
            (control.state(), control.is_active())
        };
        let deadline = now.after(timeout(env, root, flow, state));
        let mut wanted = control.advanced(state, active, deadline);
        if side == Peer::Server {
            wanted = wanted.with_output();
        }
        if wanted == control {
            return hit.holds().then_some(());
        }
        match hit.word().compare_exchange(control.0, wanted.0) {
            Ok(()) => {
                if active != control.is_active()
                    && let Some(line) = env.destination(id)
                {
                    let change = live::weight_of(active).wrapping_sub(live::weight_of(control.is_active()));
                    line[live::destination::COUNTS].add(change);
                }
                return Some(());
            }
            Err(found) => {
                if !conn::Control(found).is_same_life(control) {
                    return None;
                }
                control = conn::Control(found);
            }
        }
        tries += 1;
    }
    // Others of the flow moved it in between each time; theirs stands.
    Some(())
}

#[inline(always)]
fn view(side: Peer, input_only: bool) -> tcp::View {
    match side {
        Peer::Server => tcp::View::Output,
        Peer::Virtual if input_only => tcp::View::InputOnly,
        Peer::Virtual => tcp::View::Input,
    }
}

#[inline(always)]
fn timeout<E: Env>(env: &E, root: &RootLine, flow: &Flow, state: State) -> u32 {
    let index = if flow.header.protocol == TCP { u32::from(state.0) } else { TIMEOUT_UDP as u32 };
    root.timeout(env, index)
}

/// Adds the packet to its destination's tally of this CPU, which no other CPU writes.
#[inline(always)]
fn tally<E: Env>(env: &E, flow: &Flow, id: u32) {
    let Some(line) = env.tally(id) else { return };
    let (packets, bytes) = match flow.want.side {
        Peer::Virtual => (live::tally::PACKETS_IN, live::tally::BYTES_IN),
        Peer::Server => (live::tally::PACKETS_OUT, live::tally::BYTES_OUT),
    };
    line[packets].poke(line[packets].peek().wrapping_add(1));
    line[bytes].poke(line[bytes].peek().wrapping_add(u64::from(flow.header.total)));
}

#[inline(always)]
fn epoch<E: Env>(env: &E) -> u16 {
    env.state(shared::READ).map_or(0, |line| line[shared::EPOCH].load() as u16)
}

/// A next hop, or the way that needs none.
enum Found {
    Hop(Hop),
    Unresolved(Verdict),
}

/// Asks the kernel for the next hop towards raw address `to`.
#[inline(always)]
fn find_hop<P: Packet, E: Env>(packet: &P, env: &E, to: u32) -> Result<Found, Stop> {
    match env.route4(packet.interface(), to) {
        Route::To { interface, address } => {
            let (number, _) = port_of(env, interface).ok_or(Drop(Event::DropUnknownPort))?;
            Ok(Found::Hop(Hop::new(address, number)))
        }
        Route::Unresolved { interface, gateway } => {
            Ok(Found::Unresolved(Verdict::OutUnresolved { interface, gateway }))
        }
        Route::ForwardingOff => Err(Drop(Event::DropForwardingOff)),
        Route::None => Err(Drop(Event::DropNoRoute)),
    }
}

/// The port of interface `index`, and its number.
#[inline(always)]
fn port_of<E: Env>(env: &E, index: u32) -> Option<(u32, &Line)> {
    let mut probe = 0;
    while probe < PORT_PROBES {
        let number = index.wrapping_add(probe) & (PORTS - 1);
        let line = env.port(number)?;
        if line[live::port::INTERFACE].peek() as u32 == index {
            return Some((number, line));
        }
        probe += 1;
    }
    None
}
