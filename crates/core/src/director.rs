//! What happens to a packet, top to bottom.
//!
//! ```text
//! ours? -> parse -> find the connection -> (miss: find the service -> pick -> open) -> state and timer -> count -> rewrite -> out
//! ```
//!
//! A few stages, which are programs that call each other as their last act, because a BPF program has half a
//! kilobyte of stack and each must stay small enough for the verifier. Each exists once for either address family:
//!
//! - [`fast`], which every packet meets: sends on what is of an IPv4 connection and has nothing about it that most packets have
//!   not; all else goes on in [`find`], as if it came there first.
//! - [`syn`]: connections' first packets, where they are SYNs of IPv4 and nothing about their service, their flow and their
//!   server is other than usual; all else goes on in [`find`], [`open`] or [`bind`].
//! - [`find`]: connections in their two sets. An established packet looks up no service. IPv6 packets go on in [`find6`].
//! - [`overflow`]: looks for connections in the overflow area, if there are any of the flow's home; [`found`] goes on with
//!   one, and [`on`] sends it. IPv6 is always sent there: its addresses fill the stack.
//! - [`open`]: first packets. Finds the service and picks a destination.
//! - [`template`]: the client's template, for services that are persistent; [`keep`] opens one, [`join`] the connection.
//! - [`bind`]: opens the connection to that destination; of IPv4 it sends the packet on, too.
//! - [`send`]: sends a connection's first packet on.
//! - [`encapsulate`]: wraps packets into tunnels but plain IPv4 in IPv4, which the others wrap themselves.
//! - [`refuse`]: answers a packet with an ICMP error.
//! - [`own`]: what sockets of this host send, where it leaves; [`answer`] finds the connection that a packet of theirs, or one
//!   for them, is a reply of; [`local`] rewrites what goes to this host's own stack or comes from there.
//! - [`relate`]: ICMP errors about packets of connections, which [`carry`] sends on; [`convert`]: those about packets of the
//!   director's own tunnels; [`elsewhere6`]: those about IPv6 connections in the overflow area.
//! - [`tell`]: what comes from a masqueraded server's port and belongs to no connection, with `nat_icmp_send`.
//! - [`raise`]: fragments, which the director's daemon puts together; [`cut`]: packets that it fragments.
//!
//! The generation is read once, by [`fast`] or [`find`]; the others are told which it was, so each verdict belongs to one configuration.
//! That, the flow's hash and the line of the picked destination are what crosses from one stage to the next
//! (`Crossing`); each reads the packet's headers anew. Lines are reused only after a grace period, so they outlive all
//! stages of a packet.
//!
//! A step gives the next thing or the packet's end ([`Verdict`]); "not ours" is no error, and a full table never looks
//! like a bad packet. Packets are counted before they are sent, as in the kernel.

mod convert;
mod crossing;
mod family;
mod fast;
mod first;
mod fragment;
mod hop;
mod limits;
mod local;
mod out;
mod outwards;
mod path;
mod persistence;
mod plain;
mod progress;
mod quoting;
mod related;
mod stages;
mod stray;
mod syn;
mod verdict;

pub use crossing::{Begun, begun, gateway};
pub use fragment::{Datagram, let_leave, tell_late};
pub use hop::port_of;
pub use path::{least_path_mtu, path_mtu};
pub use stages::*;
pub use verdict::{Action, MOST_STAGES, Stage, Verdict};

use crate::conn::{self, Controller, Entry, Hit, Hop, Peer, Want};
use crate::env::Env;
use crate::event::Event;
use crate::forward::fit::is_expiring;
use crate::generation::{Method, RootLine, live};
use crate::packet::Packet;
use crate::state::{TCP, UDP};
use crate::wire::{self, Ports};
use crossing::{Crossing, Origin, Quoted, keep_over, keep_set, set};
use family::{Family, V4, V6};
use hop::{epoch, port_of as port};
use out::{Bound, keep_bound, send_on};
use progress::{advance, tally};

/// A packet that concerns the director, as far as it was read.
struct Flow<F: Family> {
    header: F::Header,
    ports: Ports,
    want: Want<F::Entry>,
}

#[inline(always)]
fn find_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let line = if F::NUMBER == V4::NUMBER {
        RootLine::in_force(env).ok_or(Verdict::pass(Event::PassNotOurs))?
    } else {
        Crossing::of(env)?.root
    };
    let root = RootLine::at(env, line).ok_or(Verdict::pass(Event::PassNotOurs))?;
    let flow: Flow<F> = match classify(packet, env, &root) {
        Err(verdict) if verdict.action() == Action::Next => {
            Crossing {
                root: line,
                picked: 0,
                hash: 0,
                // How an ICMP error is looked at first.
                side: Peer::Server,
                origin: Origin::Outside,
            }
            .keep(env);
            return Err(verdict);
        }
        flow => flow?,
    };
    let rest = if F::IS_WIDE { Rest::Apart } else { Rest::Here };
    let next = match conn::find_in_sets(env, &flow.want) {
        Some(hit) if root.settings.drop_entry != 0 => {
            keep_set(env, hit.index);
            F::FOUND
        }
        Some(hit) => match established(packet, env, &root, &flow, hit, rest) {
            Err(verdict) if verdict.action() == Action::Next => verdict.stage(),
            way => return way,
        },
        None if conn::overflow_reach(env, &flow.want) != 0 => F::OVERFLOW,
        None if F::IS_WIDE
            && (local::may_answer::<F>(&flow.header, &flow.ports)
                || root.settings.nat_icmp_send) =>
        {
            F::ANSWER
        }
        None => F::OPEN,
    };
    if (next == F::OPEN || next == F::ANSWER) && flow.want.side() == Peer::Server {
        // The root is read again, because its words have no room on BPF's stack until here.
        let Some(again) = RootLine::at(env, line) else {
            return Err(Verdict::drop(Event::DropInconsistent));
        };
        let verdict = stray::unclaimed::<F>(&again, Origin::Outside);
        if verdict.action() == Action::Next {
            Crossing {
                root: line,
                picked: 0,
                hash: flow.want.hash(),
                side: Peer::Server,
                origin: Origin::Outside,
            }
            .keep(env);
        }
        return Err(verdict);
    }
    Crossing {
        root: line,
        picked: 0,
        hash: flow.want.hash(),
        side: flow.want.side(),
        origin: Origin::Outside,
    }
    .keep(env);
    Err(Verdict::next(next))
}

/// Finds the flow's entry in the overflow area.
#[inline(always)]
fn overflow_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let (flow, crossing) = again::<F, P, E>(packet, env)?;
    Err(match conn::overflow_set(env, &flow.want) {
        Some(index) => {
            keep_set(env, index);
            Verdict::next(F::FOUND)
        }
        None if crossing.side == Peer::Server => {
            stray::unclaimed::<F>(&crossing.root(env)?, crossing.origin)
        }
        None => Verdict::next(F::OPEN),
    })
}

/// A packet whose entry was found, in the overflow area or by a stage that leaves the rest to this one.
#[inline(always)]
fn found_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let (flow, crossing) = again::<F, P, E>(packet, env)?;
    let root = crossing.root(env)?;
    let rest = if crossing.origin == Origin::Own {
        Rest::Own
    } else {
        Rest::Apart
    };
    let way = match conn::find_at(env, &flow.want, set(env)?) {
        Some(hit) => {
            count_for_defence(&root, &flow, &hit);
            established(packet, env, &root, &flow, hit, rest)
        }
        None => Err(Verdict::next(F::OPEN)),
    };
    match way {
        Err(verdict) if verdict == Verdict::next(F::OPEN) && crossing.side == Peer::Server => {
            Err(stray::unclaimed::<F>(&root, crossing.origin))
        }
        way => way,
    }
}

/// A packet that [`classify`] saw before, and what the stages before found out about it.
#[inline(always)]
fn again<F: Family, P: Packet, E: Env>(
    packet: &P,
    env: &E,
) -> Result<(Flow<F>, Crossing), Verdict> {
    read_again(reread::<F, P>(packet)?, env, Crossing::of(env)?)
}

/// [`again`] for a client's packet, or what an ICMP error is scheduled as: all that open connections.
#[inline(always)]
fn clients_again<F: Family, P: Packet, E: Env>(
    packet: &P,
    env: &E,
) -> Result<(Flow<F>, Crossing), Verdict> {
    let crossing = Crossing {
        side: Peer::Virtual,
        ..Crossing::of(env)?
    };
    let headers = opening::<F, P, E>(packet, env, crossing.origin)?;
    read_again(headers, env, crossing)
}

/// The headers of a packet that opens a connection.
#[inline(always)]
fn opening<F: Family, P: Packet, E: Env>(
    packet: &P,
    env: &E,
    origin: Origin,
) -> Result<(F::Header, Ports), Verdict> {
    if origin == Origin::Related {
        return Ok(Quoted::<F>::kept(env)?.headers());
    }
    reread::<F, P>(packet)
}

#[inline(always)]
fn read_again<F: Family, E: Env>(
    (header, ports): (F::Header, Ports),
    env: &E,
    crossing: Crossing,
) -> Result<(Flow<F>, Crossing), Verdict> {
    let (source, destination) = F::ends(&header);
    let ends = ((source, ports.source), (destination, ports.destination));
    let (client, peer) = match crossing.side {
        Peer::Virtual => ends,
        Peer::Server => (ends.1, ends.0),
    };
    let geometry = F::Entry::geometry(env);
    let protocol = F::protocol(&header);
    let want = Want::again(
        geometry,
        protocol,
        client,
        peer,
        crossing.side,
        crossing.hash,
    );
    let flow = Flow {
        header,
        ports,
        want,
    };
    Ok((flow, crossing))
}

/// The headers of a packet that [`classify`] saw before.
#[inline(always)]
fn reread<F: Family, P: Packet>(packet: &P) -> Result<(F::Header, Ports), Verdict> {
    let header = header::<F, P>(packet)?;
    let ports = ports::<F, P>(packet, &header)?;
    Ok((header, ports))
}

/// Its IP header.
#[inline(always)]
fn header<F: Family, P: Packet>(packet: &P) -> Result<F::Header, Verdict> {
    let malformed = Verdict::drop(Event::DropMalformed);
    let head = F::head(packet).ok_or(malformed)?;
    F::parse(&head, packet).ok_or(malformed)
}

/// Its ports.
#[inline(always)]
fn ports<F: Family, P: Packet>(packet: &P, header: &F::Header) -> Result<Ports, Verdict> {
    Ports::read(
        packet,
        F::protocol(header),
        F::transport(header),
        F::payload(header),
    )
    .ok_or(Verdict::drop(Event::DropMalformed))
}

/// Counts a client's packet where `drop_entry` may ask how many there were: while it may, `fast` leaves all to [`found`].
#[inline(always)]
fn count_for_defence<F: Family>(root: &RootLine, flow: &Flow<F>, hit: &Hit<'_, F::Entry>) {
    if root.settings.drop_entry != 0 && flow.want.side() == Peer::Virtual {
        conn::count_packet(hit.entry);
    }
}

/// Whether the packet concerns the director, and what it looks for.
#[inline(always)]
fn classify<F: Family, P: Packet, E: Env>(
    packet: &P,
    env: &E,
    root: &RootLine,
) -> Result<Flow<F>, Verdict> {
    let Some(head) = F::head(packet) else {
        return Err(Verdict::pass(Event::PassNotIp));
    };
    if F::kind(&head) != F::KIND {
        return Err(
            if F::NUMBER == V4::NUMBER && F::kind(&head) == wire::IPV6 && root.filter6.base != 0 {
                Verdict::next(Stage::Find6)
            } else {
                Verdict::pass(Event::PassNotIp)
            },
        );
    }
    let (source, destination) = F::addresses(&head);
    let to = F::concern(root, env, destination);
    let side = if to.is_virtual {
        Peer::Virtual
    } else if F::concern(root, env, source).may_answer(to) {
        Peer::Server
    } else if F::is_in_prefix(root, env, destination) {
        Peer::Virtual
    } else if F::next(&head) == F::ICMP {
        // An error may come from any router, and go to a client.
        return Err(Verdict::next(F::RELATE));
    } else {
        return Err(Verdict::pass(Event::PassNotOurs));
    };
    if !is_handed_here::<F, P, E>(packet, env, &head) {
        return Err(Verdict::pass(Event::PassForeignMac));
    }
    let header = F::parse(&head, packet).ok_or(malformed(side))?;
    let protocol = F::protocol(&header);
    if protocol != TCP && protocol != UDP {
        return Err(if protocol == F::ICMP {
            Verdict::next(F::RELATE)
        } else if lacks_chunk::<F>(&header) {
            malformed(side)
        } else {
            Verdict::pass(Event::PassProtocol)
        });
    }
    if F::is_reassembled(&header) {
        return Err(Verdict::next(F::RAISE));
    }
    if side == Peer::Server && is_expiring(F::ttl(&header)) {
        return Err(Verdict::pass(Event::PassTtlExceeded));
    }
    let ports = Ports::read(packet, protocol, F::transport(&header), F::payload(&header))
        .ok_or(malformed(side))?;
    let (client, peer) = match side {
        Peer::Virtual => ((source, ports.source), (destination, ports.destination)),
        Peer::Server => ((destination, ports.destination), (source, ports.source)),
    };
    let want = Want::new(F::Entry::geometry(env), protocol, client, peer, side);
    Ok(Flow {
        header,
        ports,
        want,
    })
}

/// Whether the frame is addressed to the interface that it came in by.
#[inline(always)]
fn is_handed_here<F: Family, P: Packet, E: Env>(packet: &P, env: &E, head: &F::Head<'_>) -> bool {
    let link = F::link_destination(head);
    port(env, packet.interface()).is_some_and(|(_, port)| port[live::port::ADDRESS].peek() == link)
}

/// What a server sends is the network's until a connection claims it; what comes for a virtual address is ours.
#[inline(always)]
fn malformed(side: Peer) -> Verdict {
    match side {
        Peer::Virtual => Verdict::drop(Event::DropMalformed),
        Peer::Server => Verdict::pass(Event::PassNoConnection),
    }
}

/// Whether it is an SCTP packet too short for a chunk's header: IPVS (Linux 6.1), which reads the first chunk of packets
/// that open connections, drops these, and passes on others that no service is for.
#[inline(always)]
fn lacks_chunk<F: Family>(header: &F::Header) -> bool {
    F::protocol(header) == SCTP && !F::is_fragment(header) && F::payload(header) < SCTP_LEAST
}

/// Protocol number of SCTP.
const SCTP: u8 = 132;
/// Bytes of its common header and a chunk's (RFC 9260 section 3).
const SCTP_LEAST: u32 = 12 + 4;

/// Where a packet is rewritten and sent: where its entry was found, or in a stage of its own.
#[derive(Clone, Copy)]
enum Rest {
    Here,
    Apart,
    /// Apart too: a socket of this host sent it, and it is on its way already.
    Own,
}

/// Bit of a destination's id that says that it was removed: it has no tally then.
const REMOVED: u32 = 31;

/// A packet of a connection that was found: availability, state, timer, tally, rewriting, way out.
#[inline(always)]
fn established<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    root: &RootLine,
    flow: &Flow<F>,
    hit: Hit<'_, F::Entry>,
    rest: Rest,
) -> Result<Verdict, Verdict> {
    let now = env.now();
    if hit.control.is_expired(now) {
        if hit.end(env) {
            env.count(Event::Expired);
        }
        return Err(Verdict::next(F::OPEN));
    }
    if begins_anew(flow) && gives_way(env, root, &hit) {
        // It ends once another is picked, or none: the kernel's timer runs after the scheduler, which still counts it.
        if hit.run_out(now) {
            env.count(Event::Reused);
            keep_over(env, Controller::of(&hit));
        }
        return Err(Verdict::next(F::OPEN));
    }
    let entry = hit.entry;
    let side = flow.want.side();
    if side == Peer::Server
        && !matches!(rest, Rest::Own)
        && entry.method() & 7 != Method::Masquerade as u8
        && !Controller(entry.controller().peek()).is_led()
    {
        // From a virtual address to one of this host's: the stack refuses its own addresses as sources, before IPVS sees them.
        return Err(Verdict::pass(Event::PassNoConnection));
    }
    let generation = hit.control.generation();
    let epoch = epoch(env);
    let mut bound = Bound {
        id: entry.id(),
        method: entry.method(),
        far: match side {
            Peer::Virtual => entry.dest(),
            Peer::Server => entry.virt(),
        },
        side,
    };
    let kept = if matches!(rest, Rest::Own) {
        Hop::LOCAL
    } else {
        entry.hops().find(side, epoch, generation)
    };
    // A removed destination's replies go on to its clients; only its clients' packets end here.
    let is_available = root.is_available(env, bound.id);
    if !is_available && side == Peer::Virtual {
        if !root.settings.expire_nodest_conn {
            return Err(Verdict::drop(Event::DropDestinationRemoved));
        }
        if hit.end(env) {
            env.count(Event::Expired);
        }
        return Err(Verdict::next(F::OPEN));
    }
    // One word for both: this is where BPF's stack is fullest.
    bound.id |= u32::from(!is_available) << REMOVED;
    let id = bound.id & ((1 << REMOVED) - 1);
    advance(env, root, flow, &hit, id, now).ok_or(Verdict::next(F::OPEN))?;
    tally(env, flow, bound.id);
    let way = bound.way(packet, env, flow, kept)?;
    if !kept.is_known() && way.is_certain() {
        entry.hops().keep(side, way.hop, epoch, generation);
    }
    let next = out::next_stage::<F>(way);
    // What is not resolved goes apart too: how long it may be takes a look at the interfaces.
    if !matches!(rest, Rest::Here) || next != F::ON || !way.hop.is_known() {
        keep_bound(env, &bound, way);
        return Err(Verdict::next(next));
    }
    send_on(packet, env, root, flow, &bound, way)
}

/// Whether the packet is a SYN that may begin a connection anew on the entry of another.
#[inline(always)]
fn begins_anew<F: Family>(flow: &Flow<F>) -> bool {
    flow.want.side() == Peer::Virtual && F::protocol(&flow.header) == TCP && flow.ports.flags.syn()
}

/// Whether an entry gives way to a SYN of its flow: by `expire_nodest_conn`, if its destination is quiesced; by
/// `conn_reuse_mode`, if its connection is over and no template controls it. One that is led does not.
#[inline(always)]
fn gives_way<T: Entry, E: Env>(env: &E, root: &RootLine, hit: &Hit<'_, T>) -> bool {
    let settings = &root.settings;
    let controller = Controller(hit.entry.controller().peek());
    !controller.is_led() && settings.expire_nodest_conn && live::is_quiesced(env, hit.entry.id())
        || settings.conn_reuse_mode != 0 && controller == Controller::NONE && is_over(root, hit)
}

/// Whether the connection of an entry is over as far as its reuse goes: in TIME_WAIT or CLOSE; with bit 1 of the mode in
/// FIN_WAIT too, if its server answers past the director.
#[inline(always)]
fn is_over<E: Entry>(root: &RootLine, hit: &Hit<'_, E>) -> bool {
    let control = hit.control;
    control.state().is_closed()
        || root.settings.conn_reuse_mode & 2 != 0
            && control.state() == crate::state::State::FIN_WAIT
            && control.is_input_only()
}
