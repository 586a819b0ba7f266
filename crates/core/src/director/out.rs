//! Sending a packet on: next hop, length, forwarding method, link-layer header.

use super::crossing::{
    BOUND, Crossing, NO_DESTINATION, Origin, SINGLE, answerer, keep_leaving, keep_refusal,
    keep_refused, keep_transport, keep_tunnel, line, refusal, refused_of, tunnel,
};
use super::family::{Family, V4};
use super::hop::{Way, find_hop, port_of};
use super::local::is_by_lo;
use super::path::{mtu_to, path_mtu};
use super::progress::tally_of;
use super::quoting::Quoting;
use super::verdict::{Action, Stage, Verdict};
use super::{Flow, again, header, ports};
use crate::conn::{Hop, Peer};
use crate::env::Env;
use crate::event::Event;
use crate::forward::checksum_at;
use crate::forward::fit::{Fit, is_expiring, limit};
use crate::forward::refusal::Refusal;
use crate::forward::tunnel::{Tunnel, Unwrappable, wrap4, wrap6};
use crate::forward::{self, Age};
use crate::generation::{Method, RootLine, live};
use crate::packet::Packet;
use crate::wire::{FIXED6, OUTER4, Ports};
use lvsx_platform::{Line, hide};

/// What a connection says of a packet.
pub(super) struct Bound<F: Family> {
    /// Id of the destination.
    pub(super) id: u32,
    /// Forwarding method, by its IPVS number.
    pub(super) method: u8,
    /// What takes the place of the far end: the server's end for a client's packet, the virtual one for a server's.
    pub(super) far: (F::Address, u16),
    /// Which way the packet goes: [`Peer::Virtual`] to the server, [`Peer::Server`] to the client.
    pub(super) side: Peer,
}

impl<F: Family> Bound<F> {
    /// In whose tally an ICMP error about the packet is counted: the kernel finds the connection of one that it sends by the
    /// client's and the virtual end, which masqueraded ones are not found by.
    #[inline(always)]
    fn counted(&self) -> u32 {
        if self.method & 7 == Method::Masquerade as u8 {
            NO_DESTINATION
        } else {
            self.id
        }
    }

    /// The way out: the hop that is kept, if it is known, else the kernel's answer.
    #[inline(always)]
    pub(super) fn way<P: Packet, E: Env>(
        &self,
        packet: &P,
        env: &E,
        flow: &Flow<F>,
        kept: Hop,
    ) -> Result<Way, Verdict> {
        if kept.is_known() || self.method & 7 == Method::Local as u8 {
            return Ok(Way {
                hop: kept,
                interface: 0,
            });
        }
        let towards = match self.side {
            Peer::Virtual => self.far.0,
            Peer::Server => F::ends(&flow.header).1,
        };
        find_hop::<F, P, E>(packet, env, self.side, self.id, towards)
    }
}

/// The stage that sends a packet on this way.
#[inline(always)]
pub(super) fn next_stage<F: Family>(way: Way) -> Stage {
    if way.hop.is_local() { F::LOCAL } else { F::ON }
}

/// Keeps what an entry said, and the way out, for [`on_stage`].
#[inline(always)]
pub(super) fn keep_bound<F: Family, E: Env>(env: &E, bound: &Bound<F>, way: Way) {
    keep_destination(env, bound);
    if let Ok(scratch) = line(env) {
        scratch[BOUND + 3].poke(way.hop.0);
        scratch[BOUND + 4].poke(way.interface.into());
    }
}

/// Keeps where a packet goes whose way out is not known yet.
#[inline(always)]
pub(super) fn keep_destination<F: Family, E: Env>(env: &E, bound: &Bound<F>) {
    if let Ok(scratch) = line(env) {
        let [first, second] = F::words(bound.far.0);
        scratch[BOUND].poke(
            u64::from(bound.id) | u64::from(bound.far.1) << 32 | u64::from(bound.method) << 48,
        );
        scratch[BOUND + 1].poke(first);
        scratch[BOUND + 2].poke(second);
    }
}

/// What [`keep_bound`] kept, of a packet from `side`.
#[inline(always)]
pub(super) fn bound<F: Family, E: Env>(env: &E, side: Peer) -> Result<(Bound<F>, Way), Verdict> {
    let scratch = line(env)?;
    let word = scratch[BOUND].peek();
    let address = [scratch[BOUND + 1].peek(), scratch[BOUND + 2].peek()];
    let bound = Bound {
        id: word as u32,
        method: (word >> 48) as u8,
        far: (F::address(address), (word >> 32) as u16),
        side,
    };
    let way = Way {
        hop: Hop(scratch[BOUND + 3].peek()),
        interface: scratch[BOUND + 4].peek() as u32,
    };
    Ok((bound, way))
}

/// A packet of a connection, on its way.
#[inline(always)]
pub(super) fn on_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let (flow, crossing) = again::<F, P, E>(packet, env)?;
    let root = crossing.root(env)?;
    let (bound, way) = bound(env, crossing.side)?;
    send_on(packet, env, &root, &flow, &bound, way)
}

/// Sends the packet on by its connection's forwarding method.
#[inline(always)]
pub(super) fn send_on<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    root: &RootLine,
    flow: &Flow<F>,
    bound: &Bound<F>,
    way: Way,
) -> Result<Verdict, Verdict> {
    let method = Method::from_number(bound.method).ok_or(Verdict::drop(Event::DropInconsistent))?;
    if method == Method::Local {
        return Err(Verdict::pass(Event::PassLocal));
    }
    keep_refused(env, bound.counted());
    if is_expiring(F::ttl(&flow.header)) {
        return Err(refused::<F, E>(env, bound.side, Refusal::TimeExceeded, 0));
    }
    let mut overhead = 0;
    let mut own = 0;
    if method == Method::Tunnel {
        let line = env
            .tunnel(bound.id)
            .ok_or(Verdict::drop(Event::DropInconsistent))?;
        if F::NUMBER != V4::NUMBER || line[live::tunnel::SHAPE].peek() != live::tunnel::PLAIN {
            keep_tunnel(env, bound.id, way);
            return Err(Verdict::next(F::ENCAPSULATE));
        }
        own = line[live::tunnel::SOURCE].peek() as u32;
        overhead = OUTER4 as u32;
    }
    let heeds_df = overhead == 0 || root.settings.pmtu_disc;
    let most = longest_of(env, bound, method, way)?.wrapping_sub(overhead);
    let is_long = check_fit::<F, P, E>(packet, env, flow, bound.side, most, heeds_df)?;
    let malformed = Verdict::drop(Event::DropMalformed);
    match (method, bound.side) {
        (Method::Masquerade, side) => {
            let (header, ports) = (&flow.header, &flow.ports);
            F::readdress(packet, header, ports, side, bound.far, Age::Older).ok_or(malformed)?;
        }
        (Method::DirectRouting, Peer::Virtual) => {
            F::direct(packet).ok_or(malformed)?;
        }
        (Method::Tunnel, Peer::Virtual) => {
            let [server, _] = F::words(bound.far.0);
            let inner = F::inner(packet, &flow.header, &flow.ports, root.settings.pmtu_disc);
            if own == 0 {
                return Err(Verdict::drop(Event::DropNoRoute));
            }
            forward::tunnel::to_server(packet, &inner, own, server as u32).map_err(unwrappable)?;
        }
        _ => return Err(Verdict::pass(Event::PassNoConnection)),
    }
    if is_long {
        return leave_cut(packet, env, way);
    }
    leave(packet, env, way)
}

/// Whether the packet has to be fragmented to fit its way; one that must not is refused or dropped.
#[inline(always)]
fn check_fit<F: Family, P: Packet, E: Env>(
    packet: &P,
    env: &E,
    flow: &Flow<F>,
    side: Peer,
    most: u32,
    heeds_df: bool,
) -> Result<bool, Verdict> {
    match F::fit(packet, &flow.header, most, heeds_df) {
        Fit::Fits => Ok(false),
        Fit::TooBig => Err(refused::<F, E>(env, side, Refusal::TooBig, most)),
        Fit::Fragments => {
            keep_place::<F, P, E>(packet, env, &flow.header);
            Ok(true)
        }
    }
}

/// The longest packet, outer headers included, that goes on: by what was learned of the path, where that counts.
#[inline(always)]
fn longest_of<F: Family, E: Env>(
    env: &E,
    bound: &Bound<F>,
    method: Method,
    way: Way,
) -> Result<u32, Verdict> {
    if F::NUMBER != V4::NUMBER || bound.side == Peer::Server || method == Method::DirectRouting {
        return mtu(env, way);
    }
    let [server, _] = F::words(bound.far.0);
    Ok(mtu_to(env, way, server as u32))
}

/// Keeps where the transport header of a packet to be fragmented lies, before anything is put in front of it.
#[inline(always)]
fn keep_place<F: Family, P: Packet, E: Env>(packet: &P, env: &E, header: &F::Header) {
    // Hidden, because the length is a difference of pointers in XDP, from which nothing more may be taken.
    let length = hide(packet.len().into()) as u32;
    let from_end = length.wrapping_sub(F::transport(header) as u32);
    let checksum = checksum_at(F::protocol(header), 0, F::is_fragment(header));
    keep_transport(env, from_end, checksum);
}

/// The longest packet that the way takes.
#[inline(always)]
pub(super) fn mtu<E: Env>(env: &E, way: Way) -> Result<u32, Verdict> {
    if !way.hop.is_known() {
        return Ok(longest(env, way.interface) as u32);
    }
    let port = env
        .port(way.hop.port())
        .ok_or(Verdict::drop(Event::DropInconsistent))?;
    Ok((port[live::port::INTERFACE].peek() >> 32) as u32)
}

/// The longest packet that an interface takes; no limit of one that the director does not know. Apart, for BPF's stack.
#[inline(never)]
fn longest<E: Env>(env: &E, interface: u32) -> u64 {
    port_of(env, interface).map_or(u32::MAX.into(), |(_, port)| {
        port[live::port::INTERFACE].peek() >> 32
    })
}

/// A packet that ends here; its sender is told if it is the client.
#[inline(always)]
fn refused<F: Family, E: Env>(env: &E, side: Peer, refusal: Refusal, mtu: u32) -> Verdict {
    let event = match refusal {
        Refusal::TooBig => Event::DropTooBig,
        _ => Event::DropTtlExceeded,
    };
    if side == Peer::Server {
        return Verdict::drop(event);
    }
    env.count(event);
    keep_refusal(env, refusal, mtu);
    Verdict::next(F::REFUSE)
}

/// The link-layer header, and out.
#[inline(always)]
pub(super) fn leave<P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    way: Way,
) -> Result<Verdict, Verdict> {
    if !way.hop.is_known() {
        return Ok(Verdict::out_unresolved(way.interface, P::RESOLVES));
    }
    let port = env
        .port(way.hop.port())
        .ok_or(Verdict::drop(Event::DropInconsistent))?;
    leave_by(packet, port, way.hop)
}

/// The link-layer header, and out by a port.
#[inline(always)]
pub(super) fn leave_by<P: Packet>(
    packet: &mut P,
    port: &Line,
    hop: Hop,
) -> Result<Verdict, Verdict> {
    forward::link(packet, hop.address(), port[live::port::ADDRESS].peek())
        .ok_or(Verdict::drop(Event::DropMalformed))?;
    let interface = port[live::port::INTERFACE].peek() as u32;
    Ok(Verdict::out(interface, live::port::holds_back(port)))
}

/// Out by an interface, the link-layer header written.
#[inline(always)]
pub(super) fn out_by<E: Env>(env: &E, interface: u32) -> Verdict {
    let holds_back = port_of(env, interface).is_none_or(|(_, port)| live::port::holds_back(port));
    Verdict::out(interface, holds_back)
}

/// The link-layer header, and out by way of the director, which fragments it.
#[inline(always)]
fn leave_cut<P: Packet, E: Env>(packet: &mut P, env: &E, way: Way) -> Result<Verdict, Verdict> {
    let verdict = leave(packet, env, way)?;
    if verdict.action() == Action::OutUnresolved {
        // The director can wait with what it put together itself; nothing else can.
        return if packet.longest_fragment() == 0 {
            Err(Verdict::drop(Event::DropNoNeighbour))
        } else {
            Ok(verdict)
        };
    }
    keep_leaving(env, verdict.interface());
    Err(Verdict::next(Stage::Cut))
}

#[inline(always)]
pub(super) fn unwrappable(why: Unwrappable) -> Verdict {
    match why {
        Unwrappable::NoHeadroom => Verdict::drop(Event::DropNoHeadroom),
        Unwrappable::Malformed => Verdict::drop(Event::DropMalformed),
    }
}

/// Wraps a packet into its server's tunnel, whatever its kind and families, and sends it on.
#[inline(always)]
pub(super) fn encapsulate_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let root = Crossing::of(env)?.root(env)?;
    let (id, way) = tunnel(env)?;
    let header = header::<F, P>(packet)?;
    // Only errors come here of ICMP. They have no ports, and are answered by none.
    let is_error = F::protocol(&header) == F::ICMP;
    let ports = if is_error {
        Ports::default()
    } else {
        ports::<F, P>(packet, &header)?
    };
    let inconsistent = Verdict::drop(Event::DropInconsistent);
    let line = env.tunnel(id).ok_or(inconsistent)?;
    let shape = line[live::tunnel::SHAPE].peek();
    let tunnel = Tunnel::from_numbers(shape as u8, (shape >> 8) as u8, (shape >> 16) as u16)
        .ok_or(inconsistent)?;
    let is_ipv6_outside = (shape >> 32) as u8 != V4::NUMBER;
    let [source, source_low] = [
        line[live::tunnel::SOURCE].peek(),
        line[live::tunnel::SOURCE + 1].peek(),
    ];
    let [server, server_low] = [
        line[live::tunnel::SERVER].peek(),
        line[live::tunnel::SERVER + 1].peek(),
    ];
    if source | source_low == 0 {
        return Err(Verdict::drop(Event::DropNoRoute));
    }
    let port = if way.hop.is_known() {
        env.port(way.hop.port())
    } else {
        port_of(env, way.interface).map(|(_, port)| port)
    };
    let port = port.ok_or(inconsistent)?;
    let mtu = if is_ipv6_outside || live::port::sure(port) == live::port::mtu(port) {
        live::port::mtu(port)
    } else {
        path_mtu(env, server as u32, live::port::mtu(port))
    };
    let outer = if is_ipv6_outside { FIXED6 } else { OUTER4 } as u32;
    let overhead = outer + tunnel.length(packet.is_aggregate());
    let most = limit(mtu, overhead, is_ipv6_outside).ok_or(Verdict::drop(Event::DropTooBig))?;
    let heeds_df = root.settings.pmtu_disc;
    let fit = F::fit(packet, &header, most, heeds_df);
    match fit {
        Fit::Fits => {}
        Fit::Fragments => keep_place::<F, P, E>(packet, env, &header),
        Fit::TooBig if !is_error => {
            return Err(refused::<F, E>(env, Peer::Virtual, Refusal::TooBig, most));
        }
        _ => return Err(Verdict::drop(Event::DropTooBig)),
    }
    let inner = F::inner(packet, &header, &ports, heeds_df);
    if is_ipv6_outside {
        let (source, server) = ([source, source_low], [server, server_low]);
        wrap6(packet, &inner, &tunnel, source, server).map_err(unwrappable)?;
    } else {
        wrap4(packet, &inner, &tunnel, source as u32, server as u32).map_err(unwrappable)?;
    }
    if fit == Fit::Fragments {
        return leave_cut(packet, env, way);
    }
    leave(packet, env, way)
}

/// Turns a packet into the ICMP error that refuses it, and sends it back where it came from. It was counted as what refused
/// it.
#[inline(always)]
pub(super) fn refuse_stage<F: Quoting, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    packet.reveal(REVEALED);
    let (refusal, mtu) = refusal(env)?;
    let unanswered = Verdict::drop(Event::DropUnanswered);
    let head = F::head(packet).ok_or(unanswered)?;
    let header = F::parse(&head, packet).ok_or(unanswered)?;
    let interface = packet.interface();
    let crossing = Crossing::of(env)?;
    let root = crossing.root(env)?;
    if !F::allows(env, &root, refusal, F::ends(&header).0) {
        return Err(Verdict::drop(Event::DropAnswerLimited));
    }
    let is_by_lo = is_by_lo::<F, P>(packet);
    let is_own = crossing.origin == Origin::Own;
    let source = if refusal == Refusal::NoConnection {
        F::address(answerer(env)?)
    } else {
        F::ends(&header).1
    };
    if F::words(source) == [0; 2] {
        return Err(unanswered);
    }
    F::refuse(packet, &header, refusal, mtu, source).ok_or(unanswered)?;
    let id = refused_of(env, refusal);
    let is_kept = crossing.picked & SINGLE == 0;
    if is_kept && id != NO_DESTINATION && root.is_available(env, id) {
        tally_of(env, id, Peer::Server, F::answer_length(F::total(&header)));
    }
    if is_by_lo {
        // It is on its way to the stack already.
        return Err(Verdict::pass(Event::PassLocal));
    }
    if is_own {
        return Ok(Verdict::local());
    }
    Ok(out_by(env, interface))
}

/// Bytes of the frame that a refusal looks at.
const REVEALED: u32 = 256;
