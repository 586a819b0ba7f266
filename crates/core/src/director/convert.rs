//! ICMP errors about the outside of the director's tunnels: each becomes one about the client's packet inside.
//!
//! As Linux 6.1 IPVS: over IPv4 alone, and only where the error quotes enough to find the connection. The client's error comes
//! from the virtual address; the path MTU it tells is what the tunnel leaves of what the destination knew ([`path`](super::path)).

use super::crossing::{Crossing, Origin, forget, forget_place};
use super::family::{Family, V4};
use super::hop::{Way, epoch, find_hop};
use super::limits::allow4;
use super::out::leave;
use super::path::learn;
use super::progress::tally_of;
use super::related::REVEALED;
use super::verdict::{Stage, Verdict};
use crate::conn::{self, Entry, Entry4, Hit, Hop, Peer, Want};
use crate::env::Env;
use crate::event::Event;
use crate::forward::refusal::{answer_length4, convert4};
use crate::generation::{Method, live};
use crate::packet::Packet;
use crate::state::{TCP, UDP};
use crate::wire::icmp::{self, IPV4_IN_IP, Icmp, Quote4};
use crate::wire::{ETHERNET, Head4, Header4, OUTER4};

/// An ICMP error about the outside of a tunnel packet: becomes one about the client's packet inside, from the virtual
/// address.
#[inline(always)]
pub(super) fn convert_stage<P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
) -> Result<Verdict, Verdict> {
    packet.reveal(REVEALED);
    let crossing = Crossing::of(env)?;
    let root = crossing.root(env)?;
    let unknown = if crossing.origin == Origin::Related {
        Verdict::next(Stage::Open)
    } else {
        Verdict::pass(Event::PassNoConnection)
    };
    let head = Head4::of(packet).ok_or(unknown)?;
    let header = V4::parse(&head, packet).ok_or(unknown)?;
    let message = Icmp::read(packet, header.transport, header.payload()).ok_or(unknown)?;
    let outside = Quote4::of_error(packet, &header).ok_or(unknown)?;
    let inside = outside.inside(packet, &header).ok_or(unknown)?;
    let inside = Quote4::at(packet, &header, forget_place(env, inside.at)).ok_or(unknown)?;
    let hit = tunnelled(env, &header, &outside, &inside).ok_or(unknown)?;
    let id = hit.entry.id();
    // An error about a server that was removed is the host's own.
    if !root.is_available(env, id) {
        return Err(unknown);
    }
    let outwards = hit
        .entry
        .hops()
        .find(Peer::Virtual, epoch(env), hit.control.generation());
    let kept = hit
        .entry
        .hops()
        .find(Peer::Server, epoch(env), hit.control.generation());
    if !hit.holds() {
        return Err(unknown);
    }
    if !icmp::is_sound4(packet, &header).ok_or(unknown)? {
        return Err(Verdict::drop(Event::DropIcmpChecksum));
    }
    let mut message = message;
    if message.kind == 3 && message.code == 4 {
        let told = message.rest & 0xffff;
        let (limits, server) = (root.path_limits(env), (id, outside.destination));
        let known = learn(env, limits, server, told, outwards);
        // One way to the verifier, whatever was known.
        let known = forget(env, known.into()) as u32;
        // A client that does not ask for the path's MTU is not told.
        if !inside.dont_fragment {
            return Err(Verdict::drop(Event::DropUnanswered));
        }
        message.rest = inner_mtu(known);
    }
    let client = inside.source;
    let way = if kept.is_known() {
        Way {
            hop: kept,
            interface: 0,
        }
    } else {
        find_hop::<V4, P, E>(packet, env, Peer::Server, id, client)?
    };
    // One way to the verifier, wherever it was found: Linux 6.1's would walk all that follows once for each.
    let way = Way {
        hop: Hop(forget(env, way.hop.0)),
        interface: forget(env, way.interface.into()) as u32,
    };
    let skipped = inside.at.wrapping_sub(ETHERNET) as u32;
    let quoted = u32::from(header.total).wrapping_sub(skipped);
    // The kernel counts twice: what was quoted, and what it sends.
    tally_of(env, id, Peer::Server, quoted);
    if !allow4(env, &root, message.kind, message.code, client) {
        return Err(Verdict::drop(Event::DropAnswerLimited));
    }
    convert4(packet, &header, &inside, &message).ok_or(Verdict::drop(Event::DropUnanswered))?;
    tally_of(env, id, Peer::Server, answer_length4(quoted));
    if way.hop.is_local() {
        // Seen here at last, where no more ways depend on it.
        way.settled::<V4, E>(env, &root, client)?;
        return Ok(Verdict::local());
    }
    leave(packet, env, way)
}

/// The connection of the client's packet `inside`, if the packet `outside` is as its tunnel makes them.
#[inline(always)]
fn tunnelled<'a, E: Env>(
    env: &'a E,
    header: &Header4,
    outside: &Quote4,
    inside: &Quote4,
) -> Option<Hit<'a, Entry4>> {
    if inside.protocol != TCP && inside.protocol != UDP {
        return None;
    }
    let want = Want::<Entry4>::new(
        Entry4::geometry(env),
        inside.protocol,
        (inside.source, inside.source_port),
        (inside.destination, inside.destination_port),
        Peer::Virtual,
    );
    let hit = conn::find(env, &want)?;
    if hit.control.is_expired(env.now()) || hit.entry.method() & 7 != Method::Tunnel as u8 {
        return None;
    }
    let line = env.tunnel(hit.entry.id())?;
    let shape = line[live::tunnel::SHAPE].peek();
    let (kind, port) = (shape as u8, (shape >> 16) as u16);
    let is_of_kind = match outside.protocol {
        IPV4_IN_IP => kind == 0,
        UDP => kind == 1 && port == outside.destination_port,
        _ => kind == 2,
    };
    let source = line[live::tunnel::SOURCE].peek() as u32;
    let server = line[live::tunnel::SERVER].peek() as u32;
    let is_its_tunnel = (shape >> 32) as u8 == V4::NUMBER
        && is_of_kind
        && outside.source == source
        && outside.destination == server
        && header.destination == source;
    is_its_tunnel.then_some(hit)
}

/// What a path MTU outside leaves inside, whatever the kind of the tunnel, as the client is told; as it is where that would be
/// less than 68.
#[inline(always)]
fn inner_mtu(mtu: u32) -> u32 {
    const OUTER: u32 = OUTER4 as u32;
    if mtu > 68 + OUTER { mtu - OUTER } else { mtu }
}
