//! The short way, of packets that have nothing about them that most packets have not.
//!
//! Such a packet is of IPv4 without options, whole, a TCP segment with ACK alone or a datagram with a checksum; its connection
//! lies in the way that it wanted, lives, and stays in its state; where it leaves by is known, and it fits. Of all else this
//! decides nothing, but hands it to [`find`](super::find), which decides of every packet, of these the same. The short way is
//! short because it carries nothing along that only others need.

use super::crossing::keep_root;
use super::family::{Family, V4};
use super::out::leave_by;
use super::outwards::Outwards;
use super::plain::Plain;
use super::progress::tally_of;
use super::verdict::{Stage, Verdict};
use crate::conn::{self, Controller, Entry, Entry4, Hit, Hop, Peer, Want};
use crate::env::{Env, state};
use crate::event::Event;
use crate::forward::Age;
use crate::forward::masquerade::{self, Readdress};
use crate::generation::{Method, NO_GENERATION, RootWords, TIMEOUT_UDP, live};
use crate::packet::Packet;
use crate::state::{State, TCP, UDP};
use crate::wire::{Head4, IPV4};

/// All else.
const ELSE: Verdict = Verdict::next(Stage::Find);

/// Headers that were read are not there any more.
const MALFORMED: Verdict = Verdict::drop(Event::DropMalformed);

/// A packet's way, if it is the short one.
#[inline(always)]
pub(super) fn fast_stage<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Verdict, Verdict> {
    let not_ours = Verdict::pass(Event::PassNotOurs);
    let shared = env.state(state::READ).ok_or(not_ours)?;
    let word = shared[state::ROOT].load();
    if word == NO_GENERATION {
        return Err(not_ours);
    }
    let epoch = shared[state::EPOCH].load() as u16;
    let root = RootWords::at(env, word as u32).ok_or(not_ours)?;
    let head = Head4::of(packet).ok_or(ELSE)?;
    if head.kind() != IPV4 {
        return Err(ELSE);
    }
    let to = root.concern(env, head.destination());
    if to.is_virtual {
        return to_server(packet, env, root, word as u32, epoch);
    }
    if root.concern(env, head.source()).may_answer(to) {
        return to_client(packet, env, root, epoch);
    }
    Err(if root.kinds().prefixes || head.protocol() == V4::ICMP {
        ELSE
    } else {
        not_ours
    })
}

/// A client's packet.
#[inline(always)]
fn to_server<P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    root: RootWords<'_>,
    line: u32,
    epoch: u16,
) -> Result<Verdict, Verdict> {
    let (header, ports) = match Plain::of(packet, env) {
        Plain::Usual(header, ports) => (header, ports),
        Plain::First if root.settings().nat_icmp_send => return Err(ELSE),
        Plain::First => {
            keep_root(env, line);
            return Err(Verdict::next(Stage::Syn));
        }
        Plain::Not => return Err(ELSE),
    };
    let client = (header.source, ports.source);
    let virt = (header.destination, ports.destination);
    let want = Want::<Entry4>::new(env.geometry(), header.protocol, client, virt, Peer::Virtual);
    let hit = conn::find_at_home(env, &want).ok_or(ELSE)?;
    let (id, server) = (hit.entry.id(), hit.entry.dest());
    let total = u32::from(header.total);
    let hop = hop(&hit, Peer::Virtual, epoch).ok_or(ELSE)?;
    let outwards = Outwards::of(env, id, hit.entry.method(), server, hop).ok_or(ELSE)?;
    if total > outwards.most() || !root.is_available(env, id) {
        return Err(ELSE);
    }
    stay(env, root, &hit, Peer::Virtual, header.protocol).ok_or(ELSE)?;
    tally_of(env, id, Peer::Virtual, total);
    outwards.send(packet, root, &header, &ports)
}

/// A server's packet. What servers that are not masqueraded send from a virtual address is seldom for the director.
#[inline(always)]
fn to_client<P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    root: RootWords<'_>,
    epoch: u16,
) -> Result<Verdict, Verdict> {
    let Plain::Usual(header, ports) = Plain::of(packet, env) else {
        return Err(ELSE);
    };
    let client = (header.destination, ports.destination);
    let server = (header.source, ports.source);
    let want = Want::<Entry4>::new(
        env.geometry(),
        header.protocol,
        client,
        server,
        Peer::Server,
    );
    let hit = conn::find_at_home(env, &want).ok_or(ELSE)?;
    let (id, virt) = (hit.entry.id(), hit.entry.virt());
    if hit.entry.method() & 7 != Method::Masquerade as u8 {
        return Err(ELSE);
    }
    let hop = hop(&hit, Peer::Server, epoch).ok_or(ELSE)?;
    let port = env.port(hop.port()).ok_or(ELSE)?;
    let total = u32::from(header.total);
    if total > live::port::mtu(port) || !root.is_available(env, id) {
        return Err(ELSE);
    }
    stay(env, root, &hit, Peer::Server, header.protocol).ok_or(ELSE)?;
    tally_of(env, id, Peer::Server, total);
    let change = Readdress::to_client(&header, &ports, virt);
    masquerade::readdress_summed(packet, &header, &change, Age::Older).ok_or(MALFORMED)?;
    leave_by(packet, port, hop)
}

/// The next hop that an entry keeps, if it leads out.
#[inline(always)]
fn hop(hit: &Hit<'_, Entry4>, side: Peer, epoch: u16) -> Option<Hop> {
    let generation = hit.control.generation();
    let hop = hit.entry.hops().known(side, epoch, generation)?;
    (hop.is_known() && !hop.is_local()).then_some(hop)
}

/// Keeps the connection for as long as its state allows, if the packet does no more to it than that: an ACK in ESTABLISHED, by
/// either table and from either side, or a datagram. `None`: it does more, or another packet came between.
#[inline(always)]
fn stay<E: Env>(
    env: &E,
    root: RootWords<'_>,
    hit: &Hit<'_, Entry4>,
    side: Peer,
    protocol: u8,
) -> Option<()> {
    let control = hit.control;
    let timeout = if protocol == TCP {
        if control.state() != State::ESTABLISHED {
            return None;
        }
        root.timeout(env, State::ESTABLISHED.0.into())
    } else {
        root.timeout(env, TIMEOUT_UDP as u32)
    };
    let now = env.now();
    if control.is_expired(now)
        || side == Peer::Server && control.is_input_only()
        || root.settings().drop_entry != 0
    {
        return None;
    }
    let kept = control.until(now.after(timeout));
    if kept == control {
        return hit.holds().then_some(());
    }
    // A server's datagram assures the template that controls its connection.
    if protocol == UDP
        && side == Peer::Server
        && Controller(hit.entry.controller().peek()) != Controller::NONE
    {
        return None;
    }
    hit.word.compare_exchange(control.0, kept.0).ok()
}
