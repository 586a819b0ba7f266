//! ICMP errors about packets that the director sent on: they go to the end that sent these, as if there were no director.
//!
//! An error may come from any router, and one from the servers' side goes to a client: neither address need be the
//! director's. So each ICMP packet is looked at, and what it quotes says whose it is (Linux 6.1 IPVS):
//!
//! - from the client's side, quoting what a virtual address sent: to the server, by the connection's forwarding method;
//! - from the servers' side, quoting what a client sent: to the client, from the virtual address if the connection is
//!   masqueraded, else as it came;
//! - about the outside of one of the director's tunnels over IPv4: made one about the client's packet inside, to the client.
//!
//! They are counted as packets of the connection, but change neither its state nor its timer. Errors about nothing that is
//! known here pass; with `schedule_icmp`, one about what a virtual address sent opens a connection as a packet of the client
//! would, which lives for three seconds if nothing follows.

use super::crossing::{Crossing, Origin, Quoted, forget_place, keep_tunnel};
use super::family::{Family, V4, V6};
use super::hop::{Way, epoch, find_hop};
use super::limits::{allow4, allow6};
use super::local::delivered;
use super::out::{Bound, bound, keep_bound, leave, mtu};
use super::progress::tally_of;
use super::verdict::{Stage, Verdict};
use super::{header, is_handed_here};
use crate::conn::{self, Entry, Entry4, Hit, Peer, Want};
use crate::env::Env;
use crate::event::Event;
use crate::forward::Age;
use crate::forward::fit::{Fit, is_expiring};
use crate::forward::refusal::{Refusal, answer_length4, answer_length6, convert4};
use crate::forward::related::{Relation4, Relation6, relate, relate6};
use crate::generation::{Method, RootLine, live};
use crate::packet::Packet;
use crate::state::{TCP, UDP};
use crate::wire::icmp::{self, GRE, IPV4_IN_IP, Icmp, Quote4, Quote6};
use crate::wire::{ETHERNET, Head4, Header4, Header6};

/// What ICMP errors of a family quote, and how they are rewritten and limited.
pub(super) trait Quoting: Family {
    /// The packet that an error quotes.
    type Quote: Copy;

    fn is_error(message: &Icmp) -> bool;
    /// Whether a fragment of an error is dropped; else it passes.
    fn drops_fragment(header: &Self::Header) -> bool;
    fn quote<P: Packet>(packet: &P, header: &Self::Header) -> Option<Self::Quote>;
    fn protocol_of(quote: &Self::Quote) -> u8;
    /// Whether its transport header is quoted whole.
    fn is_whole(header: &Self::Header, quote: &Self::Quote) -> bool;
    /// Source and destination of the quoted packet.
    fn ends_of(quote: &Self::Quote) -> QuotedEnds<Self>;
    /// Whether what is quoted may be a tunnel packet of the director's.
    fn may_be_outside(header: &Self::Header, quote: &Self::Quote) -> bool;
    fn is_sound<P: Packet>(packet: &P, header: &Self::Header) -> Option<bool>;
    /// Rewrites an error: [`Peer::Virtual`] one from the client's side. `new` takes the far end's place.
    fn relate<P: Packet>(
        packet: &mut P,
        header: &Self::Header,
        quote: &Self::Quote,
        side: Peer,
        new: (Self::Address, u16),
        age: Age,
    ) -> Option<()>;
    /// Total length of the error about a packet of `total` bytes.
    fn answer_length(total: u32) -> u32;
    /// Whether this refusal may be sent to an address now.
    fn allows<E: Env>(env: &E, root: &RootLine, refusal: Refusal, to: Self::Address) -> bool;
}

/// Both ends of a quoted packet: raw addresses and ports, the source first.
type QuotedEnds<F> = ((<F as Family>::Address, u16), (<F as Family>::Address, u16));

impl Quoting for V4 {
    type Quote = Quote4;

    #[inline(always)]
    fn is_error(message: &Icmp) -> bool {
        message.is_error4()
    }

    #[inline(always)]
    fn drops_fragment(_header: &Header4) -> bool {
        false
    }

    #[inline(always)]
    fn quote<P: Packet>(packet: &P, header: &Header4) -> Option<Quote4> {
        Quote4::of_error(packet, header)
    }

    #[inline(always)]
    fn protocol_of(quote: &Quote4) -> u8 {
        quote.protocol
    }

    #[inline(always)]
    fn is_whole(header: &Header4, quote: &Quote4) -> bool {
        let end = ETHERNET + usize::from(header.total);
        quote.transport + transport_length(quote.protocol) <= end
    }

    #[inline(always)]
    fn ends_of(quote: &Quote4) -> QuotedEnds<Self> {
        (
            (quote.source, quote.source_port),
            (quote.destination, quote.destination_port),
        )
    }

    #[inline(always)]
    fn may_be_outside(header: &Header4, quote: &Quote4) -> bool {
        header.destination == quote.source && matches!(quote.protocol, IPV4_IN_IP | GRE | UDP)
    }

    #[inline(always)]
    fn is_sound<P: Packet>(packet: &P, header: &Header4) -> Option<bool> {
        icmp::is_sound4(packet, header)
    }

    #[inline(always)]
    fn relate<P: Packet>(
        packet: &mut P,
        header: &Header4,
        quote: &Quote4,
        side: Peer,
        new: (u32, u16),
        age: Age,
    ) -> Option<()> {
        let change = match side {
            Peer::Virtual => Relation4::to_server(header, quote, new),
            Peer::Server => Relation4::to_client(header, quote, new),
        };
        relate(packet, header, &change, age)
    }

    #[inline(always)]
    fn answer_length(total: u32) -> u32 {
        answer_length4(total)
    }

    #[inline(always)]
    fn allows<E: Env>(env: &E, root: &RootLine, refusal: Refusal, to: u32) -> bool {
        let message = refusal.message4(0);
        allow4(env, root, message.kind, message.code, to)
    }
}

impl Quoting for V6 {
    type Quote = Quote6;

    #[inline(always)]
    fn is_error(message: &Icmp) -> bool {
        message.is_error6()
    }

    #[inline(always)]
    fn drops_fragment(header: &Header6) -> bool {
        header.fragment.offset == 0
    }

    #[inline(always)]
    fn quote<P: Packet>(packet: &P, header: &Header6) -> Option<Quote6> {
        Quote6::of_error(packet, header)
    }

    #[inline(always)]
    fn protocol_of(quote: &Quote6) -> u8 {
        quote.protocol
    }

    #[inline(always)]
    fn is_whole(header: &Header6, quote: &Quote6) -> bool {
        let end = ETHERNET + header.total as usize;
        quote.transport + transport_length(quote.protocol) <= end
    }

    #[inline(always)]
    fn ends_of(quote: &Quote6) -> QuotedEnds<Self> {
        (
            (quote.source, quote.source_port),
            (quote.destination, quote.destination_port),
        )
    }

    #[inline(always)]
    fn may_be_outside(_header: &Header6, _quote: &Quote6) -> bool {
        false
    }

    #[inline(always)]
    fn is_sound<P: Packet>(packet: &P, header: &Header6) -> Option<bool> {
        icmp::is_sound6(packet, header)
    }

    #[inline(always)]
    fn relate<P: Packet>(
        packet: &mut P,
        header: &Header6,
        quote: &Quote6,
        side: Peer,
        new: ([u64; 2], u16),
        age: Age,
    ) -> Option<()> {
        let change = match side {
            Peer::Virtual => Relation6::to_server(header, quote, new),
            Peer::Server => Relation6::to_client(header, quote, new),
        };
        relate6(packet, header, &change, age)
    }

    #[inline(always)]
    fn answer_length(total: u32) -> u32 {
        answer_length6(total)
    }

    #[inline(always)]
    fn allows<E: Env>(env: &E, root: &RootLine, refusal: Refusal, to: [u64; 2]) -> bool {
        allow6(env, root, refusal.message6(0).kind, to)
    }
}

/// Bytes of a TCP or UDP header.
#[inline(always)]
fn transport_length(protocol: u8) -> usize {
    if protocol == TCP { 20 } else { 8 }
}

/// An ICMP packet: if it is an error about a packet of a connection, it goes where that one came from.
#[inline(always)]
pub(super) fn relate_stage<F: Quoting, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    packet.reveal(REVEALED);
    let crossing = Crossing::of(env)?;
    let root = crossing.root(env)?;
    let is_own = crossing.origin == Origin::Own;
    let (header, aside) = error::<F, P, E>(packet, env, &root, is_own)?;
    let quote = F::quote(packet, &header).ok_or(aside)?;
    let missed = if F::may_be_outside(&header, &quote) {
        Verdict::next(Stage::Convert)
    } else {
        aside
    };
    let (bound, way) = connection::<F, P, E>(packet, env, &root, &header, &quote, missed, is_own)?;
    keep_bound(env, &bound, way);
    Crossing {
        side: bound.side,
        ..crossing
    }
    .keep(env);
    Err(Verdict::next(F::CARRY))
}

/// An error about a packet of a connection, on its way.
#[inline(always)]
pub(super) fn carry_stage<F: Quoting, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    packet.reveal(REVEALED);
    let crossing = Crossing::of(env)?;
    let malformed = Verdict::drop(Event::DropMalformed);
    let header = header::<F, P>(packet)?;
    let (bound, way) = bound::<F, E>(env, crossing.side)?;
    let method = Method::from_number(bound.method).ok_or(Verdict::drop(Event::DropInconsistent))?;
    let masquerades = method == Method::Masquerade;
    let is_local = way.hop.is_local();
    let expires = !is_local && is_expiring(F::ttl(&header));
    if expires && bound.side == Peer::Server {
        // The routing's to judge, before it counts; an error is never answered.
        return Err(Verdict::drop(Event::DropTtlExceeded));
    }
    if masquerades && !F::is_sound(packet, &header).ok_or(malformed)? {
        return Err(Verdict::drop(Event::DropIcmpChecksum));
    }
    let root = crossing.root(env)?;
    if root.is_available(env, bound.id) {
        tally_of(env, bound.id, bound.side, F::total(&header));
    }
    if method == Method::Local {
        return Err(Verdict::pass(Event::PassLocal));
    }
    if !masquerades && bound.side == Peer::Server {
        return Err(Verdict::pass(Event::PassNoConnection));
    }
    if expires {
        return Err(Verdict::drop(Event::DropTtlExceeded));
    }
    if is_local {
        let to = match bound.side {
            Peer::Virtual => bound.far.0,
            Peer::Server => F::ends(&header).1,
        };
        way.settled::<F, E>(env, &root, to)?;
        if masquerades {
            let quote = F::quote(packet, &header).ok_or(malformed)?;
            F::relate(packet, &header, &quote, bound.side, bound.far, Age::Same)
                .ok_or(malformed)?;
        }
        return delivered(crossing, bound.side);
    }
    match method {
        Method::Tunnel => {
            keep_tunnel(env, bound.id, way);
            return Err(Verdict::next(F::ENCAPSULATE));
        }
        Method::Masquerade | Method::DirectRouting => {}
        Method::Local | Method::Bypass => return Err(Verdict::pass(Event::PassNoConnection)),
    }
    if F::fit(packet, &header, mtu(env, way)?, false) != Fit::Fits {
        return Err(Verdict::drop(Event::DropTooBig));
    }
    if masquerades {
        let quote = F::quote(packet, &header).ok_or(malformed)?;
        F::relate(packet, &header, &quote, bound.side, bound.far, Age::Older).ok_or(malformed)?;
    } else {
        F::direct(packet).ok_or(malformed)?;
    }
    leave(packet, env, way)
}

/// The header of an ICMP error that was handed to this host, and what becomes of one about nothing that is known here.
#[inline(always)]
fn error<F: Quoting, P: Packet, E: Env>(
    packet: &P,
    env: &E,
    root: &RootLine,
    is_own: bool,
) -> Result<(F::Header, Verdict), Verdict> {
    let not_ours = Verdict::pass(Event::PassNotOurs);
    let head = F::head(packet).ok_or(not_ours)?;
    if !is_own && !is_handed_here::<F, P, E>(packet, env, &head) {
        return Err(Verdict::pass(Event::PassForeignMac));
    }
    let header = F::parse(&head, packet).ok_or(not_ours)?;
    let to = F::ends(&header).1;
    let aside = if F::concern(root, env, to).is_virtual || F::is_in_prefix(root, env, to) {
        Verdict::pass(Event::PassProtocol)
    } else {
        not_ours
    };
    let message = Icmp::read(packet, F::transport(&header), F::payload(&header)).ok_or(aside)?;
    if F::protocol(&header) != F::ICMP || !F::is_error(&message) {
        return Err(aside);
    }
    if F::is_fragment(&header) {
        return Err(if F::drops_fragment(&header) {
            Verdict::drop(Event::DropFragment)
        } else {
            aside
        });
    }
    Ok((header, aside))
}

/// The connection of the quoted packet, which went the other way: so its ends are looked for exchanged.
#[inline(always)]
fn connection<F: Quoting, P: Packet, E: Env>(
    packet: &P,
    env: &E,
    root: &RootLine,
    header: &F::Header,
    quote: &F::Quote,
    missed: Verdict,
    is_own: bool,
) -> Result<(Bound<F>, Way), Verdict> {
    let protocol = F::protocol_of(quote);
    if protocol != TCP && protocol != UDP {
        return Err(missed);
    }
    let (source, destination) = F::ends_of(quote);
    let (side, client, peer) = if F::concern(root, env, source.0).is_virtual {
        (Peer::Virtual, destination, source)
    } else {
        let concern = F::concern(root, env, destination.0);
        if concern.is_server || concern.is_virtual {
            (Peer::Server, source, destination)
        } else if F::is_in_prefix(root, env, source.0) {
            (Peer::Virtual, destination, source)
        } else if F::is_in_prefix(root, env, destination.0) {
            (Peer::Server, source, destination)
        } else {
            return Err(missed);
        }
    };
    let want = Want::<F::Entry>::new(F::Entry::geometry(env), protocol, client, peer, side);
    let is_scheduled = side == Peer::Virtual && root.settings.schedule_icmp && !is_own;
    if is_scheduled {
        Quoted::<F> {
            client,
            virt: peer,
            protocol,
            is_whole: F::is_whole(header, quote),
        }
        .keep(env);
        Crossing {
            picked: 0,
            hash: want.hash(),
            side,
            origin: Origin::Related,
            ..Crossing::of(env)?
        }
        .keep(env);
    }
    let unknown = if missed.stage() == Stage::Convert {
        missed
    } else if is_scheduled {
        Verdict::next(F::OPEN)
    } else {
        Verdict::pass(Event::PassNoConnection)
    };
    // Wide addresses leave BPF's stack no room for the overflow area: errors about its IPv6 connections pass.
    let hit = if F::IS_WIDE {
        conn::find_in_sets(env, &want)
    } else {
        conn::find(env, &want)
    };
    let hit = hit.ok_or(unknown)?;
    if hit.control.is_expired(env.now()) {
        return Err(unknown);
    }
    let (far, towards) = match side {
        Peer::Virtual => (hit.entry.dest(), hit.entry.dest().0),
        Peer::Server => (hit.entry.virt(), F::ends(header).1),
    };
    let (id, method) = (hit.entry.id(), hit.entry.method());
    // What is kept leads to the client, and not to whoever else the error is for.
    let kept = hit
        .entry
        .hops()
        .find(side, epoch(env), hit.control.generation());
    if !hit.holds() {
        return Err(unknown);
    }
    let is_kept = kept.is_known() && (side == Peer::Virtual || towards == client.0);
    // What goes on as it came needs no way of ours.
    let masquerades = method & 7 == Method::Masquerade as u8;
    let is_passed =
        side == Peer::Server && (is_own || !masquerades) || method & 7 == Method::Local as u8;
    let way = if is_own && side == Peer::Server {
        Way::LOCAL
    } else if is_kept || is_passed {
        Way {
            hop: kept,
            interface: 0,
        }
    } else {
        find_hop::<F, P, E>(packet, env, side, id, towards)?
    };
    let bound = Bound {
        id,
        method,
        far,
        side,
    };
    Ok((bound, way))
}

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
        // A client that does not ask for the path's MTU is not told.
        if !inside.dont_fragment {
            return Err(Verdict::drop(Event::DropUnanswered));
        }
        message.rest = inner_mtu(message.rest & 0xffff, inside.at.wrapping_sub(outside.at));
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
    if way.hop.is_local() {
        return Err(Verdict::drop(Event::DropNoRoute));
    }
    let skipped = inside.at.wrapping_sub(ETHERNET) as u32;
    let quoted = u32::from(header.total).wrapping_sub(skipped);
    let is_available = root.is_available(env, id);
    if is_available {
        // The kernel counts twice: what was quoted, and what it sends.
        tally_of(env, id, Peer::Server, quoted);
    }
    if !allow4(env, &root, message.kind, message.code, client) {
        return Err(Verdict::drop(Event::DropAnswerLimited));
    }
    convert4(packet, &header, &inside, &message).ok_or(Verdict::drop(Event::DropUnanswered))?;
    if is_available {
        tally_of(env, id, Peer::Server, answer_length4(quoted));
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

/// What a path MTU outside leaves inside, behind `overhead` bytes; as it is where that would be less than 68.
#[inline(always)]
fn inner_mtu(mtu: u32, overhead: usize) -> u32 {
    let overhead = overhead as u32 & 0xff;
    if mtu > 68 + overhead {
        mtu - overhead
    } else {
        mtu
    }
}

/// Bytes of the frame that are looked at: two IPv4 headers with options, one of IPv6 with extensions and one quoted.
const REVEALED: u32 = 256;
