//! The short way of a connection's first packet: of a plain SYN of IPv4 whose flow has no entry, for a service that is found by
//! its end alone and is neither persistent nor under a defence; whose entry has room at home, and whose server the director
//! knows the way to. Of all else this decides nothing, but hands it to who decides of every packet: to [`find`](super::find) if
//! the flow may be known, to [`open`](super::open) before a destination is picked, to [`bind`](super::bind) after that.

use super::crossing::{Crossing, Origin, end_over, keep_picked, root};
use super::family::{Family, V4};
use super::first::{FTP_DATA, unserved};
use super::hop::{epoch, published};
use super::outwards::Outwards;
use super::persistence::PERSISTENT;
use super::plain;
use super::progress::{tally_first, view};
use super::verdict::{Stage, Verdict};
use crate::conn::{self, Controller, Entry4, NewEntry, Opened, Peer, UNCOUNTED, Want};
use crate::env::Env;
use crate::event::Event;
use crate::generation::defence::Defences;
use crate::generation::{DestinationLine, Method, RootWords, ServiceKey, ServiceLine};
use crate::packet::Packet;
use crate::sched::{self, Service};
use crate::state::{State, TCP, tcp};
use crate::wire::{Header4, Ports, TcpFlags};

/// A destination is picked, and kept.
const PICKED: Verdict = Verdict::next(Stage::Bind);

const INCONSISTENT: Verdict = Verdict::drop(Event::DropInconsistent);
const MALFORMED: Verdict = Verdict::drop(Event::DropMalformed);

/// A SYN's way, if it is the short one.
#[inline(always)]
pub(super) fn syn_stage<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Verdict, Verdict> {
    let line = root(env)?;
    let (header, ports) = plain::again(packet).ok_or(MALFORMED)?;
    let hash = touch_home(env, &header, &ports);
    // Its home is fetched while a service is looked for.
    let root = RootWords::at(env, line).ok_or(INCONSISTENT)?;
    Crossing {
        root: line,
        picked: usual_service(env, root, &header, &ports),
        hash,
        side: Peer::Virtual,
        origin: Origin::Outside,
    }
    .keep(env);
    // Functions of their own, one after another on BPF's stack.
    let way = choose_apart(packet, env);
    if way != PICKED {
        return Err(way);
    }
    Err(open_apart(packet, env))
}

#[inline(never)]
fn choose_apart<P: Packet, E: Env>(packet: &P, env: &E) -> Verdict {
    let (Ok(way) | Err(way)) = choose(packet, env);
    way
}

#[inline(never)]
fn open_apart<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    let (Ok(way) | Err(way)) = open(packet, env);
    way
}

/// Finds the service of a SYN whose flow has no entry, and picks its destination.
#[inline(always)]
fn choose<P: Packet, E: Env>(packet: &P, env: &E) -> Result<Verdict, Verdict> {
    let crossing = Crossing::of(env)?;
    let root = RootWords::at(env, crossing.root).ok_or(INCONSISTENT)?;
    let (header, ports) = plain::again(packet).ok_or(MALFORMED)?;
    if !conn::is_absent(env, &wanted(env, &header, &ports, crossing.hash)) {
        return Err(Verdict::next(Stage::Find));
    }
    if crossing.picked == NO_SERVICE {
        return Err(Verdict::next(Stage::Open));
    }
    let service = Service::read(env, root.timeouts(), crossing.picked).ok_or(INCONSISTENT)?;
    let place = sched::pick(env, &service, &V4::request(&header, ports.source));
    if place == sched::NO_PLACE {
        end_over::<V4, E>(env);
        return Err(unserved::<V4, E>(env));
    }
    keep_picked(env, service.first.wrapping_add(place));
    Ok(PICKED)
}

/// Opens the connection to the destination picked, and sends its packet on.
#[inline(always)]
fn open<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Verdict, Verdict> {
    let bind = Verdict::next(Stage::Bind);
    let crossing = Crossing::of(env)?;
    let root = RootWords::at(env, crossing.root).ok_or(INCONSISTENT)?;
    let (header, ports) = plain::again(packet).ok_or(MALFORMED)?;
    // The epoch first: the director publishes hops before it moves the epoch.
    let epoch = epoch(env);
    let line = env.config(crossing.picked).ok_or(INCONSISTENT)?;
    let destination = DestinationLine::decode(line);
    let (id, method) = (destination.id, destination.method);
    let port = if destination.port == 0 {
        ports.destination
    } else {
        destination.port
    };
    let server = (destination.address[0] as u32, port);
    let hop = published(env, id);
    if !hop.is_known() || hop.is_local() {
        return Err(bind);
    }
    let outwards = Outwards::of(env, id, method, server, hop).ok_or(bind)?;
    let total = u32::from(header.total);
    if total > outwards.most() {
        return Err(bind);
    }
    let input_only = method & 7 != Method::Masquerade as u8;
    let now = env.now();
    let begun = tcp::next(view(Peer::Virtual, input_only), SYN, State::NONE);
    let new = NewEntry {
        dest: server,
        id,
        method,
        input_only,
        hop,
        epoch,
        state: begun,
        deadline: now.after(root.timeout(env, begun.0.into())),
        controller: Controller::NONE,
        timeout: UNCOUNTED,
    };
    let want = wanted(env, &header, &ports, crossing.hash);
    if conn::open_at_home(env, &want, &new, now) != Opened::New {
        return Err(bind);
    }
    tally_first(env, id, total);
    outwards.send(packet, root, &header, &ports)
}

/// Begins to fetch what is to be worked on, and waits for none of it. The hash of what the packet looks for.
#[inline(always)]
fn touch_home<E: Env>(env: &E, header: &Header4, ports: &Ports) -> u64 {
    let client = (header.source, ports.source);
    let virt = (header.destination, ports.destination);
    let want = Want::<Entry4>::new(env.geometry(), TCP, client, virt, Peer::Virtual);
    conn::touch(env, &want);
    want.hash()
}

/// What the packet looks for.
#[inline(always)]
fn wanted<E: Env>(env: &E, header: &Header4, ports: &Ports, hash: u64) -> Want<Entry4> {
    let client = (header.source, ports.source);
    let virt = (header.destination, ports.destination);
    Want::again(env.geometry(), TCP, client, virt, Peer::Virtual, hash)
}

/// The block of the service at the packet's destination, if nothing else than that end decides and it schedules as most do; or
/// [`NO_SERVICE`]. A number, of which both halves are known: what an empty option holds, BPF's verifier refuses to see kept.
#[inline(always)]
pub(super) fn usual_service<E: Env>(
    env: &E,
    root: RootWords<'_>,
    header: &Header4,
    ports: &Ports,
) -> u32 {
    let (kinds, settings) = (root.kinds(), root.settings());
    let is_guarded = settings.drop_entry != 0
        || settings.secure_tcp != 0
        || Defences::in_force(env) != Defences::default();
    if is_guarded || kinds.marked && kinds.mark_rules || ports.source == FTP_DATA {
        return NO_SERVICE;
    }
    let key = ServiceKey::ipv4(TCP, header.destination, ports.destination);
    let Some(block) = root.service(env, key) else {
        return NO_SERVICE;
    };
    match env.config(block).map(ServiceLine::decode) {
        Some(service) if service.flags & PERSISTENT == 0 => block,
        _ => NO_SERVICE,
    }
}

/// In place of a block: not a service as most are.
const NO_SERVICE: u32 = 0;

/// The flags of a SYN, as far as the state table looks at them.
const SYN: TcpFlags = TcpFlags(0x02);
