//! The short way, of packets that have nothing about them that most packets have not.
//!
//! Such a packet is of IPv4 without options, whole, a TCP segment with ACK alone or a datagram with a checksum; its connection
//! lies in the way that it wanted, lives, and stays in its state; where it leaves by is known, and it fits. Of all else this
//! decides nothing, but hands it to [`find`](super::find), which decides of every packet, of these the same. The short way is
//! short because it carries nothing along that only others need.

use super::crossing::{Crossing, Origin};
use super::family::{Family, V4};
use super::out::{leave_by, unwrappable};
use super::progress::tally_of;
use super::verdict::{Stage, Verdict};
use crate::conn::{self, Controller, Entry, Entry4, Hit, Hop, Peer, Want};
use crate::env::{Env, PORTS, state};
use crate::event::Event;
use crate::forward::fit::is_expiring;
use crate::forward::masquerade::{self, Readdress};
use crate::forward::tunnel::{self, Inner};
use crate::forward::{Age, direct};
use crate::generation::{Method, NO_GENERATION, RootWords, TIMEOUT_UDP, live};
use crate::packet::Packet;
use crate::state::{State, TCP, UDP};
use crate::wire::{ETHERNET, Head4, Header4, IPV4, OUTER4, Ports, TcpFlags, high, low};
use lvsx_platform::{load16_at as at16, load32_at as at32};

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
    let (header, ports) = match plain(packet, env) {
        Plain::Usual(header, ports) => (header, ports),
        Plain::First(header, ports) => return Err(first(env, root, line, &header, &ports)),
        Plain::Not => return Err(ELSE),
    };
    let client = (header.source, ports.source);
    let virt = (header.destination, ports.destination);
    let want = Want::<Entry4>::new(env.geometry(), header.protocol, client, virt, Peer::Virtual);
    let hit = conn::find_at_home(env, &want).ok_or(ELSE)?;
    let (id, method, server) = (hit.entry.id(), hit.entry.method() & 7, hit.entry.dest());
    let total = u32::from(header.total);
    let is_tunnel = method == Method::Tunnel as u8;
    let own = if is_tunnel {
        own_end(env, id).ok_or(ELSE)?
    } else {
        0
    };
    let hop = hop(&hit, Peer::Virtual, epoch).ok_or(ELSE)?;
    let port = env.port(hop.port()).ok_or(ELSE)?;
    let most = live::port::sure(port).wrapping_sub(if is_tunnel { OUTER4 as u32 } else { 0 });
    if total > most || !root.is_available(env, id) {
        return Err(ELSE);
    }
    if !is_tunnel && method != Method::Masquerade as u8 && method != Method::DirectRouting as u8 {
        return Err(ELSE);
    }
    stay(env, root, &hit, Peer::Virtual, header.protocol).ok_or(ELSE)?;
    tally_of(env, id, Peer::Virtual, total);
    if method == Method::Masquerade as u8 {
        let change = Readdress::to_server(&header, &ports, server);
        masquerade::readdress_summed(packet, &header, &change, Age::Older).ok_or(MALFORMED)?;
    } else if is_tunnel {
        let inner = Inner::of4(&header, &ports, root.settings().pmtu_disc);
        tunnel::to_server(packet, &inner, own, server.0).map_err(unwrappable)?;
    } else {
        direct::to_server(packet).ok_or(MALFORMED)?;
    }
    leave_by(packet, port, hop)
}

/// A server's packet. What servers that are not masqueraded send from a virtual address is seldom for the director.
#[inline(always)]
fn to_client<P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    root: RootWords<'_>,
    epoch: u16,
) -> Result<Verdict, Verdict> {
    let Plain::Usual(header, ports) = plain(packet, env) else {
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

/// A SYN, which most often opens a connection: its home is fetched while [`open`](super::open) looks for a service, and only then
/// asked whether it has the connection already.
#[inline(always)]
fn first<E: Env>(
    env: &E,
    root: RootWords<'_>,
    line: u32,
    header: &Header4,
    ports: &Ports,
) -> Verdict {
    if root.settings().nat_icmp_send {
        return ELSE;
    }
    let client = (header.source, ports.source);
    let virt = (header.destination, ports.destination);
    let want = Want::<Entry4>::new(env.geometry(), header.protocol, client, virt, Peer::Virtual);
    conn::touch(env, &want);
    Crossing {
        root: line,
        picked: 0,
        hash: want.hash(),
        side: Peer::Virtual,
        origin: Origin::Unsought,
    }
    .keep(env);
    Verdict::next(V4::OPEN)
}

/// What a look at the headers makes of a packet for this interface's link-layer address.
enum Plain {
    /// They are such as most have.
    Usual(Header4, Ports),
    /// They are such as most SYNs have.
    First(Header4, Ports),
    /// They are not.
    Not,
}

/// One look at the frame.
#[inline(always)]
fn plain<P: Packet, E: Env>(packet: &P, env: &E) -> Plain {
    let Some(bytes) = packet.bytes::<HEADERS>(0) else {
        return Plain::Not;
    };
    let interface = packet.interface();
    let Some(port) = env.port(interface & (PORTS - 1)) else {
        return Plain::Not;
    };
    let is_handed_here = port[live::port::INTERFACE].peek() as u32 == interface
        && port[live::port::ADDRESS].peek()
            == u64::from(at32::<0, _>(bytes)) | u64::from(at16::<4, _>(bytes)) << 32;
    let total = u16::from_be(at16::<{ ETHERNET + 2 }, _>(bytes));
    let fragment = u16::from_be(at16::<{ ETHERNET + 6 }, _>(bytes));
    let ttl = bytes[ETHERNET + 8];
    if !is_handed_here
        || bytes[ETHERNET] != 0x45
        || fragment & 0x3fff != 0
        || is_expiring(ttl)
        || u32::from(total) + ETHERNET as u32 > packet.len()
    {
        return Plain::Not;
    }
    let flags = TcpFlags(bytes[TRANSPORT + 13]);
    let protocol = bytes[ETHERNET + 9];
    let least = OUTER4 as u32
        + if protocol == TCP {
            let data = u32::from(bytes[TRANSPORT + 12] >> 4) * 4;
            if data < 20 || !flags.is_ack_alone() && !flags.is_syn_alone() {
                return Plain::Not;
            }
            data
        } else {
            let length = u32::from(u16::from_be(at16::<{ TRANSPORT + 4 }, _>(bytes)));
            let is_summed = at16::<{ TRANSPORT + 6 }, _>(bytes) != 0;
            if protocol != UDP || length < 8 || !is_summed {
                return Plain::Not;
            }
            length
        };
    if least > u32::from(total) {
        return Plain::Not;
    }
    let ends = at32::<TRANSPORT, _>(bytes);
    let ports = Ports {
        source: low(ends),
        destination: high(ends),
        flags,
    };
    let header = Header4 {
        source: at32::<{ ETHERNET + 12 }, _>(bytes),
        destination: at32::<{ ETHERNET + 16 }, _>(bytes),
        protocol,
        tos: bytes[ETHERNET + 1],
        ttl,
        total,
        identification: u16::from_be(at16::<{ ETHERNET + 4 }, _>(bytes)),
        transport: TRANSPORT,
        is_fragment: false,
        fragment_offset: 0,
        more_fragments: false,
        dont_fragment: fragment & 0x4000 != 0,
    };
    if protocol == TCP && flags.is_syn_alone() {
        return Plain::First(header, ports);
    }
    Plain::Usual(header, ports)
}

/// Where the transport header begins behind an IPv4 header without options.
const TRANSPORT: usize = ETHERNET + OUTER4;
/// The headers of a TCP segment.
const HEADERS: usize = TRANSPORT + 20;

/// The next hop that an entry keeps, if it leads out.
#[inline(always)]
fn hop(hit: &Hit<'_, Entry4>, side: Peer, epoch: u16) -> Option<Hop> {
    let generation = hit.control.generation();
    let hop = hit.entry.hops().known(side, epoch, generation)?;
    (hop.is_known() && !hop.is_local()).then_some(hop)
}

/// The director's own end of a tunnel, if that is IPv4 in IPv4.
#[inline(always)]
fn own_end<E: Env>(env: &E, id: u32) -> Option<u32> {
    let line = env.tunnel(id)?;
    let own = line[live::tunnel::SOURCE].peek() as u32;
    (line[live::tunnel::SHAPE].peek() == live::tunnel::PLAIN && own != 0).then_some(own)
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
