//! This host's own part: servers that are the director itself, and its own requests to its virtual addresses.
//!
//! The kernel's IPVS sees these in its hooks of the local stack (Linux 6.1, `LOCAL_IN` and `LOCAL_OUT`). Here
//!
//! - a client's packet to a local server is rewritten, if at all, and passes to the stack ([`local_stage`]);
//! - what sockets of this host send is met where it leaves ([`own_stage`]): a local server's reply gets its virtual source and
//!   passes on; a request to a virtual address, which leaves by `lo`, goes the way of any client's;
//! - the reply to such a request comes in to a virtual address or another one of this host. The first is looked for when no
//!   service opened a connection by it ([`answer_stage`]). Once it bears the virtual source it is taken to the stack past the
//!   check of that ([`super::Action::Local`]). A server that answers past the director sends its reply from the virtual address:
//!   the stack refuses it as its own, as with IPVS, unless the request was led there ([`conn::lead`]).
//!
//! The time to live stays in each case, and no MTU is asked. IPVS sees datagrams of sockets before the stack cuts them. Here
//! they are met in fragments, which go to lvsd as others do ([`super::raise`]).

use super::crossing::{Crossing, Origin, keep_set};
use super::family::{Family, V4};
use super::out::bound;
use super::verdict::{Stage, Verdict};
use super::{again, malformed};
use crate::conn::{self, Entry, Peer, Want};
use crate::env::Env;
use crate::event::Event;
use crate::forward::Age;
use crate::generation::{Method, RootLine};
use crate::packet::Packet;
use crate::state::{TCP, UDP};
use crate::wire::{self, Ports};

/// A packet that a socket of this host sent, where it leaves.
#[inline(always)]
pub(super) fn own_stage<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Verdict, Verdict> {
    let line = RootLine::in_force(env).ok_or(Verdict::pass(Event::PassNotOurs))?;
    Crossing {
        root: line,
        picked: 0,
        hash: 0,
        side: Peer::Server,
        origin: Origin::Own,
    }
    .keep(env);
    let head = V4::head(packet).ok_or(Verdict::pass(Event::PassNotIp))?;
    match V4::kind(&head) {
        wire::IPV4 => answer_stage(packet, env, V4),
        wire::IPV6 => Err(Verdict::next(Stage::Answer6)),
        _ => Err(Verdict::pass(Event::PassNotIp)),
    }
}

/// Looks for the connection that a packet is a server's reply of: one that a socket of this host sent, or one to a virtual
/// address that opens no connection.
#[inline(always)]
pub(super) fn answer_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let crossing = Crossing::of(env)?;
    let root = crossing.root(env)?;
    let head = F::head(packet).ok_or(Verdict::pass(Event::PassNotIp))?;
    let (source, destination) = F::addresses(&head);
    let is_own = crossing.origin == Origin::Own;
    if is_own && F::next(&head) == F::ICMP {
        return Err(Verdict::next(F::RELATE));
    }
    let from = F::concern(&root, env, source);
    let is_request =
        is_own && F::link_destination(&head) == 0 && F::concern(&root, env, destination).is_virtual;
    if from.is_server || from.is_virtual || is_request {
        let header = F::parse(&head, packet).ok_or(malformed(Peer::Server))?;
        let protocol = F::protocol(&header);
        if is_own && F::is_fragment(&header) {
            return Err(Verdict::next(F::RAISE));
        }
        if (protocol == TCP || protocol == UDP) && !F::is_fragment(&header) {
            let (transport, payload) = (F::transport(&header), F::payload(&header));
            let ports =
                Ports::read(packet, protocol, transport, payload).ok_or(malformed(Peer::Server))?;
            let want = Want::<F::Entry>::new(
                F::Entry::geometry(env),
                protocol,
                (destination, ports.destination),
                (source, ports.source),
                Peer::Server,
            );
            // Wide addresses leave BPF's stack no room for the overflow area.
            let hit = if F::IS_WIDE {
                conn::find_in_sets(env, &want)
            } else {
                conn::find(env, &want)
            };
            if let Some(hit) = hit {
                keep_set(env, hit.index);
                Crossing {
                    hash: want.hash(),
                    side: Peer::Server,
                    ..crossing
                }
                .keep(env);
                return Err(Verdict::next(F::FOUND));
            }
        }
    }
    Err(if from.is_server && root.settings.nat_icmp_send {
        Verdict::next(F::TELL)
    } else {
        unanswered::<F>(is_own, is_request)
    })
}

/// What becomes of a packet that is nobody's reply. `is_request`: this host sent it to a virtual address.
#[inline(always)]
pub(super) fn unanswered<F: Family>(is_own: bool, is_request: bool) -> Verdict {
    if !is_own {
        Verdict::next(F::OPEN)
    } else if is_request {
        Verdict::next(F::FIND)
    } else {
        Verdict::pass(Event::PassNotOurs)
    }
}

/// Whether a packet may be a server's reply: any but a plain SYN.
#[inline(always)]
pub(super) fn may_answer<F: Family>(header: &F::Header, ports: &Ports) -> bool {
    F::protocol(header) != TCP || ports.flags.ack() || !ports.flags.syn()
}

/// A packet of a connection for this host's own stack, or of a socket of this host on its way.
#[inline(always)]
pub(super) fn local_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let (flow, crossing) = again::<F, P, E>(packet, env)?;
    let (bound, way) = bound::<F, E>(env, crossing.side)?;
    let to = match bound.side {
        Peer::Virtual => bound.far.0,
        Peer::Server => F::ends(&flow.header).1,
    };
    way.settled::<F, E>(env, &crossing.root(env)?, to)?;
    if bound.method & 7 == Method::Masquerade as u8 {
        if bound.side == Peer::Virtual && F::is_loopback(bound.far.0) && !is_by_lo::<F, P>(packet) {
            return Err(Verdict::drop(Event::DropNoRoute));
        }
        let (header, ports) = (&flow.header, &flow.ports);
        F::readdress(packet, header, ports, bound.side, bound.far, Age::Same)
            .ok_or(Verdict::drop(Event::DropMalformed))?;
    }
    delivered(crossing, bound.side)
}

/// How a packet that is rewritten goes to the stack, or from there on its way.
#[inline(always)]
pub(super) fn delivered(crossing: Crossing, side: Peer) -> Result<Verdict, Verdict> {
    if side == Peer::Server && crossing.origin != Origin::Own {
        return Ok(Verdict::local());
    }
    Err(Verdict::pass(Event::PassLocal))
}

/// Whether a packet is on `lo`, where nobody has a link-layer address.
#[inline(always)]
pub(super) fn is_by_lo<F: Family, P: Packet>(packet: &P) -> bool {
    F::head(packet).is_some_and(|head| F::link_destination(&head) == 0)
}
