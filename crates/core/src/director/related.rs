//! ICMP errors about packets that the director sent on: they go to the end that sent these, as if there were no director.
//!
//! An error may come from any router, and one from the servers' side goes to a client: neither address need be the
//! director's. So each ICMP packet is looked at, and what it quotes says whose it is (Linux 6.1 IPVS):
//!
//! - from the client's side, quoting what a virtual address sent: to the server, by the connection's forwarding method;
//! - from the servers' side, quoting what a client sent: to the client, from the virtual address if the connection is
//!   masqueraded, else as it came;
//! - about the outside of one of the director's tunnels over IPv4: made one about the client's packet inside, to the client
//!   ([`convert`](super::convert)).
//!
//! Where this host is the client, what is quoted may have gone from one virtual address to another or to a server: such an
//! error is looked at as one from the servers' side first, then as one from the client's, as IPVS's two hooks do. A stage looks
//! once, and is its own next one.
//!
//! They are counted as packets of the connection, but change neither its state nor its timer. Errors about nothing that is
//! known here pass; with `schedule_icmp`, one about what a virtual address sent opens a connection as a packet of the client
//! would, which lives for three seconds if nothing follows; and one that quotes no ports is dropped, whomever it is about.

use super::crossing::{Crossing, Origin, Quoted, keep_tunnel};
use super::family::Family;
use super::hop::{Way, epoch, find_hop};
use super::local::delivered;
use super::out::{Bound, bound, keep_bound, leave, mtu};
use super::progress::tally_of;
use super::quoting::Quoting;
use super::verdict::{Stage, Verdict};
use super::{header, is_handed_here};
use crate::conn::{self, Entry, Hit, Peer, Want};
use crate::env::Env;
use crate::event::Event;
use crate::forward::Age;
use crate::forward::fit::{Fit, is_expiring};
use crate::generation::{Method, RootLine};
use crate::packet::Packet;
use crate::state::{TCP, UDP};
use crate::wire::icmp::Icmp;

/// An ICMP packet: if it is an error about a packet of a connection, it goes where that one came from. The quoted packet went
/// the other way, so its ends are looked for exchanged.
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
    let Some(quote) = F::quote(packet, &header) else {
        return Err(
            if root.settings.schedule_icmp && F::lacks_ports(packet, &header) {
                Verdict::drop(Event::DropMalformed)
            } else {
                aside
            },
        );
    };
    let missed = if F::may_be_outside(&header, &quote) {
        Verdict::next(Stage::Convert)
    } else {
        aside
    };
    let protocol = F::protocol_of(&quote);
    if protocol != TCP && protocol != UDP {
        return Err(missed);
    }
    let (source, destination) = F::ends_of(&quote);
    let ends = (source.0, destination.0);
    let look = Look::of::<F, E>(env, &root, ends, crossing.side).ok_or(missed)?;
    let (client, peer) = match look.side {
        Peer::Virtual => (destination, source),
        Peer::Server => (source, destination),
    };
    let want = Want::<F::Entry>::new(F::Entry::geometry(env), protocol, client, peer, look.side);
    let is_scheduled = look.side == Peer::Virtual && root.settings.schedule_icmp && !is_own;
    let crossing = Crossing {
        picked: 0,
        hash: want.hash(),
        side: look.next,
        origin: if is_scheduled {
            Origin::Related
        } else {
            crossing.origin
        },
        ..crossing
    };
    crossing.keep(env);
    if is_scheduled || F::IS_WIDE {
        Quoted::<F> {
            client,
            virt: peer,
            protocol,
            is_whole: F::is_whole(&header, &quote),
            side: look.side,
        }
        .keep(env);
    }
    let unknown = if !look.is_last() || missed.stage() != Stage::Convert {
        look.unknown::<F>(crossing.origin)
    } else {
        missed
    };
    let hit = if F::IS_WIDE {
        conn::find_in_sets(env, &want)
    } else {
        conn::find(env, &want)
    };
    let Some(hit) = hit else {
        // Wide addresses leave BPF's stack no room for the overflow area.
        return Err(if F::IS_WIDE && conn::overflow_reach(env, &want) != 0 {
            Verdict::next(Stage::Elsewhere6)
        } else {
            unknown
        });
    };
    let to = F::ends(&header).1;
    carried::<F, P, E>(
        packet,
        env,
        crossing,
        &hit,
        look.side,
        (client.0, to),
        unknown,
    )
}

/// An error about a packet whose connection may live in the overflow area.
#[inline(always)]
pub(super) fn elsewhere_stage<F: Quoting, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let crossing = Crossing::of(env)?;
    let quoted = Quoted::<F>::kept(env)?;
    let look = Look {
        side: quoted.side,
        next: crossing.side,
    };
    let want = Want::again(
        F::Entry::geometry(env),
        quoted.protocol,
        quoted.client,
        quoted.virt,
        look.side,
        crossing.hash,
    );
    let unknown = look.unknown::<F>(crossing.origin);
    let hit = conn::find_in_overflow(env, &want).ok_or(unknown)?;
    let head = F::head(packet).ok_or(Verdict::drop(Event::DropMalformed))?;
    let ends = (quoted.client.0, F::addresses(&head).1);
    carried::<F, P, E>(packet, env, crossing, &hit, look.side, ends, unknown)
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

/// From which side an error is looked at.
#[derive(Clone, Copy)]
struct Look {
    /// [`Peer::Server`]: as one from the servers' side, about what a client sent.
    side: Peer,
    /// From which side next, if nothing is found; the same: it was the last look.
    next: Peer,
}

impl Look {
    /// At an error that quotes a packet between these ends. `side`: [`Peer::Server`] for the first look. `None`: the ends are
    /// nobody's here.
    #[inline(always)]
    fn of<F: Family, E: Env>(
        env: &E,
        root: &RootLine,
        (source, destination): (F::Address, F::Address),
        side: Peer,
    ) -> Option<Self> {
        let is_of_virtual = F::concern(root, env, source).is_virtual;
        let to = F::concern(root, env, destination);
        let is_of_client = side == Peer::Server && (to.is_server || to.is_virtual);
        let (side, next) = if is_of_client && is_of_virtual {
            (Peer::Server, Peer::Virtual)
        } else if is_of_client {
            (Peer::Server, Peer::Server)
        } else if is_of_virtual || F::is_in_prefix(root, env, source) {
            (Peer::Virtual, Peer::Virtual)
        } else if F::is_in_prefix(root, env, destination) {
            (Peer::Server, Peer::Server)
        } else {
            return None;
        };
        Some(Self { side, next })
    }

    #[inline(always)]
    fn is_last(self) -> bool {
        self.side == self.next
    }

    /// What becomes of an error about no connection.
    #[inline(always)]
    fn unknown<F: Family>(self, origin: Origin) -> Verdict {
        if !self.is_last() {
            Verdict::next(F::RELATE)
        } else if origin == Origin::Related {
            Verdict::next(F::OPEN)
        } else {
            Verdict::pass(Event::PassNoConnection)
        }
    }
}

/// Keeps which connection an error is about and where it goes, for [`carry_stage`]. `ends`: the connection's client, and whom
/// the error is for.
#[inline(always)]
fn carried<F: Quoting, P: Packet, E: Env>(
    packet: &P,
    env: &E,
    crossing: Crossing,
    hit: &Hit<'_, F::Entry>,
    side: Peer,
    (client, to): (F::Address, F::Address),
    unknown: Verdict,
) -> Result<Verdict, Verdict> {
    if hit.control.is_expired(env.now()) {
        return Err(unknown);
    }
    let (far, towards) = match side {
        Peer::Virtual => (hit.entry.dest(), hit.entry.dest().0),
        Peer::Server => (hit.entry.virt(), to),
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
    let is_own = crossing.origin == Origin::Own;
    let is_kept = kept.is_known() && (side == Peer::Virtual || towards == client);
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
    keep_bound::<F, E>(env, &bound, way);
    Crossing { side, ..crossing }.keep(env);
    Err(Verdict::next(F::CARRY))
}

/// Bytes of the frame that are looked at: two IPv4 headers with options, one of IPv6 with extensions and one quoted.
pub(super) const REVEALED: u32 = 256;
