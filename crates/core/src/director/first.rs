//! First packets: which service they are for, which destination serves them, and their connection's entry.

use super::crossing::{
    BY_TEMPLATE, Crossing, Origin, Quoted, SINGLE, WITHOUT_TEMPLATE, end_over, forget, keep_picked,
    keep_refusal, keep_service, service,
};
use super::family::Family;
use super::hop::{epoch, published};
use super::local::may_answer;
use super::out::{Bound, bound, keep_bound, next_stage, send_on};
use super::persistence::{PERSISTENT, is_one_packet};
use super::progress::{count_connection, tally, timeout, view};
use super::verdict::{Action, Verdict};
use super::{Flow, clients_again, opening};
use crate::conn::{self, Controller, Hop, NewEntry, Opened, Peer, Want};
use crate::env::Env;
use crate::event::Event;
use crate::forward::refusal::Refusal;
use crate::generation::{DestinationLine, Method, RootLine, defence::Defences};
use crate::generation::{Ends, ServiceLine};
use crate::packet::Packet;
use crate::sched::{self, Request, Service};
use crate::state::{State, TCP, tcp};
use crate::tick::Tick;
use crate::wire::Ports;
use lvsx_platform::Line;

/// Finds the service and picks a destination for a client's packet of no connection. Of a persistent service, the client's
/// template is looked for in between.
#[inline(always)]
pub(super) fn open_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let (Ok(way) | Err(way)) = open_way::<F, P, E>(packet, env);
    if way.action() != Action::Next || way == Verdict::next(F::REFUSE) {
        end_over::<F, E>(env);
    }
    Err(way)
}

/// What becomes of such a packet.
#[inline(always)]
fn open_way<F: Family, P: Packet, E: Env>(packet: &P, env: &E) -> Result<Verdict, Verdict> {
    let crossing = Crossing::of(env)?;
    let root = crossing.root(env)?;
    let (header, ports) = opening::<F, P, E>(packet, env, crossing.origin)?;
    let is_related = crossing.origin == Origin::Related;
    let flags = ports.flags;
    if !F::IS_WIDE
        && crossing.origin == Origin::Outside
        && (may_answer::<F>(&header, &ports) || root.settings.nat_icmp_send)
        && F::concern(&root, env, F::ends(&header).0).may_answer_own()
    {
        // Perhaps the reply to a request of the director itself, whose source was a virtual address. Wide addresses leave
        // no room for a look at the filter here: `fast` hands theirs on.
        Crossing {
            origin: Origin::Asked,
            ..crossing
        }
        .keep(env);
        return Err(Verdict::next(F::ANSWER));
    }
    if F::protocol(&header) == TCP && (flags.rst() || !flags.syn() && !root.settings.sloppy_tcp) {
        return Err(Verdict::pass(Event::PassNotOpening));
    }
    let is_new = crossing.picked != WITHOUT_TEMPLATE;
    let block = if is_new {
        serving::<F, P, E>(packet, env, &root, &header, &ports, is_related)
            .ok_or(Verdict::pass(Event::PassNoService))?
    } else {
        service(env)?
    };
    let head = ServiceLine::decode(
        env.config(block)
            .ok_or(Verdict::drop(Event::DropInconsistent))?,
    );
    if is_new && Defences::in_force(env).drops(env) {
        return Err(Verdict::drop(Event::DropDefence));
    }
    if ports.source == FTP_DATA {
        return Err(Verdict::pass(Event::PassFtpData));
    }
    let is_persistent = head.flags & PERSISTENT != 0;
    if is_persistent && is_new {
        keep_service(env, block);
        return Err(Verdict::next(F::TEMPLATE));
    }
    let is_elsewhere = !is_persistent && head.mark == 0 && head.port != ports.destination;
    let picked = if is_elsewhere {
        sched::NO_PLACE
    } else {
        let service = Service::read(env, root.timeouts, block)
            .ok_or(Verdict::drop(Event::DropInconsistent))?;
        let request = if is_related {
            related_request::<F, E>(env)?
        } else {
            F::request(&header, ports.source)
        };
        sched::pick(env, &service, &request)
    };
    if picked == sched::NO_PLACE {
        if head.port == FTP && ports.destination != FTP {
            return Err(Verdict::pass(Event::PassFtpData));
        }
        if is_related {
            // An error is never answered.
            return Err(Verdict::drop(Event::DropNoDestination));
        }
        return Err(unserved::<F, E>(env));
    }
    let picked = block.wrapping_add(1).wrapping_add(picked);
    keep_picked(env, picked);
    if is_persistent {
        return Err(Verdict::next(F::KEEP));
    }
    if is_one_packet(&head, F::protocol(&header)) {
        keep_picked(env, picked | SINGLE);
        if let Some(line) = env.config(picked) {
            conn::pass_by(env, DestinationLine::decode(line).id);
        }
        return Err(Verdict::next(F::SEND));
    }
    Err(Verdict::next(F::BIND))
}

/// A client's packet for a service of which no destination takes a new connection.
#[inline(always)]
pub(super) fn unserved<F: Family, E: Env>(env: &E) -> Verdict {
    env.count(Event::DropNoDestination);
    keep_refusal(env, Refusal::PortUnreachable, 0);
    Verdict::next(F::REFUSE)
}

/// The block of the service that the packet is for: by its mark, its ends, as FTP data, or by a service of all ports, in the
/// kernel's order.
#[inline(always)]
fn serving<F: Family, P: Packet, E: Env>(
    packet: &P,
    env: &E,
    root: &RootLine,
    header: &F::Header,
    ports: &Ports,
    is_related: bool,
) -> Option<u32> {
    let (_, destination) = F::ends(header);
    let protocol = F::protocol(header);
    if root.kinds.marked && root.kinds.mark_rules {
        // Rules mark an ICMP error as what it is.
        let (header, ports) = if is_related {
            (super::header::<F, P>(packet).ok()?, Ports::default())
        } else {
            (*header, *ports)
        };
        let (source, destination) = F::ends(&header);
        let ends = Ends {
            family: F::NUMBER,
            protocol: F::protocol(&header),
            source_port: ports.source,
            destination_port: ports.destination,
            interface: packet.interface(),
            source: F::words(source),
            destination: F::words(destination),
        };
        let mark = root.mark_of(env, &ends);
        if let Some(block) = root.marked(env, F::NUMBER, mark) {
            return Some(block);
        }
    }
    let exact = F::service(root, env, protocol, destination, ports.destination);
    if exact.is_some() {
        return exact;
    }
    let port = u16::from_be(ports.destination);
    if root.kinds.ftp && protocol == TCP && (port == 20 || port >= FIRST_UNPRIVILEGED) {
        let ftp = F::service(root, env, protocol, destination, FTP);
        if ftp.is_some() {
            return ftp;
        }
    }
    if root.kinds.any_port {
        return F::service(root, env, protocol, destination, 0);
    }
    None
}

/// What a scheduler knows of an ICMP error that it picks for. Those by destination go by the quoted packet's, which is the
/// client (Linux 6.1).
#[inline(always)]
fn related_request<F: Family, E: Env>(env: &E) -> Result<Request, Verdict> {
    let quoted = Quoted::<F>::kept(env)?;
    let (client, port) = quoted.client;
    let header = F::bare(client, client, quoted.protocol);
    Ok(F::request(&header, if quoted.is_whole { port } else { 0 }))
}

/// Opens the connection to the destination picked by [`open_stage`]. Its state and timer are from the start those after its
/// first packet.
#[inline(always)]
pub(super) fn bind_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    family: F,
) -> Result<Verdict, Verdict> {
    if F::IS_WIDE {
        return Err(bind_way::<F, P, E>(packet, env));
    }
    let way = bind_apart::<F, P, E>(packet, env);
    if way == Verdict::next(F::SEND) {
        return Err(send_apart(packet, env, family));
    }
    Err(way)
}

/// [`bind_way`] in a function of its own, whose stack is free again when the packet is sent.
#[inline(never)]
fn bind_apart<F: Family, P: Packet, E: Env>(packet: &P, env: &E) -> Verdict {
    bind_way::<F, P, E>(packet, env)
}

/// Opens the connection; what is to be done with its packet then.
#[inline(always)]
fn bind_way<F: Family, P: Packet, E: Env>(packet: &P, env: &E) -> Verdict {
    let mut opening = Opening::<F>::none();
    if F::IS_WIDE {
        prepare_apart(packet, env, &mut opening);
    } else {
        prepare(packet, env, &mut opening);
    }
    opening.new.timeout = first_count(env) as u32;
    let Opening { want, new } = &opening;
    if want.is_none() {
        return Verdict::drop(Event::DropInconsistent);
    }
    let opened = conn::open(env, want, new, env.now());
    after_opening::<F, E>(env, opened)
}

/// The client's packets that a new connection begins with, for `drop_entry`: the one that opens it, none if that is an ICMP
/// error. In a function of its own for BPF's stack.
#[inline(never)]
pub(super) fn first_count<E: Env>(env: &E) -> u64 {
    let mut count = conn::UNCOUNTED;
    if let Ok(crossing) = Crossing::of(env)
        && let Ok(root) = crossing.root(env)
        && root.settings.drop_entry != 0
    {
        count = u32::from(crossing.origin != Origin::Related);
    }
    forget(env, count.into())
}

/// What becomes of a first packet whose connection was to be opened.
#[inline(always)]
pub(super) fn after_opening<F: Family, E: Env>(env: &E, opened: Opened) -> Verdict {
    match opened {
        Opened::New => Verdict::next(F::SEND),
        Opened::Contended => Verdict::drop(Event::DropContended),
        Opened::Full => Verdict::drop(Event::DropTableFull),
        // Another CPU was quicker: the packet is one of that connection.
        Opened::Exists => match Crossing::of(env) {
            Ok(crossing) if crossing.origin == Origin::Related => Verdict::next(F::RELATE),
            _ => Verdict::next(F::FIND),
        },
    }
}

/// An entry about to be opened.
pub(super) struct Opening<F: Family> {
    pub(super) want: Want<F::Entry>,
    pub(super) new: NewEntry<F::Entry>,
}

impl<F: Family> Opening<F> {
    #[inline(always)]
    pub(super) fn none() -> Self {
        let nowhere = (F::address([0; 2]), 0);
        Self {
            want: Want::none(nowhere),
            new: NewEntry {
                dest: nowhere,
                id: 0,
                method: 0,
                input_only: false,
                hop: Hop(0),
                epoch: 0,
                state: State::NONE,
                deadline: Tick(0),
                controller: Controller::NONE,
                timeout: 0,
            },
        }
    }
}

impl<F: Family> Opening<F> {
    /// A first packet's connection to the destination of `bound`, which no template controls. One that an ICMP error opens is
    /// in no state.
    #[inline(always)]
    pub(super) fn connection<E: Env>(
        env: &E,
        root: &RootLine,
        flow: &Flow<F>,
        bound: &Bound<F>,
        origin: Origin,
    ) -> Self {
        let now = env.now();
        // The epoch first: the director publishes hops before it moves the epoch.
        let epoch = epoch(env);
        let input_only = bound.method & 7 != Method::Masquerade as u8;
        let protocol = F::protocol(&flow.header);
        let state = if protocol == TCP {
            let secure = root.settings.secure_tcp != 0 && Defences::in_force(env).secure_tcp;
            let view = view(Peer::Virtual, input_only);
            tcp::next_by(secure, view, flow.ports.flags, State::NONE)
        } else {
            State::NONE
        };
        let deadline = now.after(timeout(env, root, protocol, state));
        let (state, deadline) = if origin == Origin::Related {
            (State::NONE, now.after(root.ticks(env, FIRST_TIMEOUT)))
        } else {
            (state, deadline)
        };
        let known = forget(env, u64::from(state.0) | u64::from(input_only) << 8);
        let (state, input_only) = (State(known as u8), known >> 8 & 1 != 0);
        Self {
            want: flow.want,
            new: NewEntry {
                dest: bound.far,
                id: bound.id,
                method: bound.method,
                input_only,
                hop: published(env, bound.id),
                epoch,
                state,
                deadline,
                controller: Controller::NONE,
                timeout: 0,
            },
        }
    }
}

/// [`prepare`] in a function of its own, whose stack is free again when the entry is opened.
#[inline(never)]
fn prepare_apart<F: Family, P: Packet, E: Env>(packet: &P, env: &E, opening: &mut Opening<F>) {
    prepare(packet, env, opening);
}

/// What is looked for and written to open a first packet's connection.
#[inline(always)]
fn prepare<F: Family, P: Packet, E: Env>(packet: &P, env: &E, opening: &mut Opening<F>) {
    let Ok((flow, crossing)) = clients_again::<F, P, E>(packet, env) else {
        return;
    };
    let (Ok(root), Some(line)) = (crossing.root(env), env.config(crossing.picked)) else {
        return;
    };
    let bound = Bound::picked(&flow, line);
    *opening = Opening::connection(env, &root, &flow, &bound, crossing.origin);
}

/// [`send_stage`] in a function of its own, for the stage that opens: its stack is free again by then.
#[inline(never)]
fn send_apart<F: Family, P: Packet, E: Env>(packet: &mut P, env: &E, family: F) -> Verdict {
    let (Ok(verdict) | Err(verdict)) = send_stage(packet, env, family);
    verdict
}

/// Counts the connection that was opened and sends its first packet on. An ICMP error is counted by who carries it.
#[inline(always)]
pub(super) fn send_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let (flow, crossing) = clients_again::<F, P, E>(packet, env)?;
    let root = crossing.root(env)?;
    let picked = crossing.picked & !SINGLE;
    let bound = if picked == BY_TEMPLATE {
        bound(env, crossing.side)?.0
    } else {
        let line = env.config(picked);
        Bound::picked(&flow, line.ok_or(Verdict::drop(Event::DropInconsistent))?)
    };
    count_connection(env, bound.id);
    let is_related = crossing.origin == Origin::Related;
    if !is_related {
        tally(env, &flow, bound.id);
    }
    let way = bound.way(packet, env, &flow, published(env, bound.id))?;
    let next = if is_related {
        F::CARRY
    } else {
        next_stage::<F>(way)
    };
    if next != F::ON {
        keep_bound(env, &bound, way);
        return Err(Verdict::next(next));
    }
    send_on(packet, env, &root, &flow, &bound, way)
}

impl<F: Family> Bound<F> {
    /// What the entry of a first packet to the destination in `line` says.
    #[inline(always)]
    fn picked(flow: &Flow<F>, line: &Line) -> Self {
        let picked = DestinationLine::decode(line);
        let port = if picked.port == 0 {
            flow.ports.destination
        } else {
            picked.port
        };
        Self {
            id: picked.id,
            method: picked.method,
            far: (F::address(picked.address), port),
            side: Peer::Virtual,
        }
    }
}

/// Seconds that a connection lives whose state nothing moved: one that an ICMP error opened (Linux 6.1).
const FIRST_TIMEOUT: u32 = 3;

/// Client port 20, raw: IPVS never schedules it.
pub(super) const FTP_DATA: u16 = 20u16.to_be();

/// Port 21, raw: a service that its data connections belong to as well.
pub(super) const FTP: u16 = 21u16.to_be();

/// Ports from here are not privileged: data connections of a port-21 service go to these.
const FIRST_UNPRIVILEGED: u16 = 1024;
