//! Packets of masqueraded servers that belong to no connection.
//!
//! They pass untranslated. With `nat_icmp_send` those that come from a server's very end (address, port and protocol of a
//! masqueraded destination) end here, and the server is told: port unreachable, from the address that the director sends to it
//! from, or from the one they were for if that is the director's. Resets are not answered. The stack judges first: what it would
//! not forward is left to it, and what is quoted bears the time to live after its forwarding (Linux 6.1 IPVS).
//! A socket of this host is told at once, from its own address or the one it sent to if that is this host's too.

use super::crossing::{Crossing, Origin, keep_answerer, keep_refusal};
use super::family::Family;
use super::hop::port_of;
use super::local::unanswered;
use super::reread;
use super::verdict::Verdict;
use crate::conn::Peer;
use crate::env::{Env, Route};
use crate::event::Event;
use crate::forward::fit::Fit;
use crate::forward::refusal::Refusal;
use crate::generation::{RootLine, live};
use crate::packet::Packet;
use crate::state::TCP;

/// What becomes of a server's packet of no connection.
#[inline(always)]
pub(super) fn unclaimed<F: Family>(root: &RootLine, origin: Origin) -> Verdict {
    if root.settings.nat_icmp_send && origin != Origin::Own {
        Verdict::next(F::TELL)
    } else {
        Verdict::pass(Event::PassNoConnection)
    }
}

/// A packet of no connection, perhaps from a server's end; one for a virtual address may open a connection.
#[inline(always)]
pub(super) fn tell_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let crossing = Crossing::of(env)?;
    let root = crossing.root(env)?;
    let (header, ports) = reread::<F, P>(packet)?;
    let passed = Verdict::pass(Event::PassNoConnection);
    let (source, destination) = F::ends(&header);
    let is_own = crossing.origin == Origin::Own;
    let to = F::concern(&root, env, destination);
    let aside = if is_own || crossing.side == Peer::Virtual {
        unanswered::<F>(is_own, to.is_virtual)
    } else {
        passed
    };
    let protocol = F::protocol(&header);
    if protocol == TCP && ports.flags.rst() {
        return Err(aside);
    }
    let id = root
        .server(env, F::NUMBER, protocol, F::words(source), ports.source)
        .ok_or(aside)?;
    let is_ours = crossing.side == Peer::Virtual || to.is_local;
    let answerer = if is_ours {
        F::words(destination)
    } else if is_own {
        F::words(source)
    } else {
        let (Route::To { interface, .. } | Route::Unresolved { interface, .. }) =
            F::route(env, packet.interface(), destination)
        else {
            return Err(passed);
        };
        let (_, port) = port_of(env, interface).ok_or(passed)?;
        let most = (port[live::port::INTERFACE].peek() >> 32) as u32;
        if F::fit(packet, &header, most, true) == Fit::TooBig {
            return Err(passed);
        }
        F::direct(packet).ok_or(Verdict::drop(Event::DropMalformed))?;
        let tunnel = env
            .tunnel(id)
            .ok_or(Verdict::drop(Event::DropInconsistent))?;
        [live::tunnel::SOURCE, live::tunnel::SOURCE + 1].map(|word| tunnel[word].peek())
    };
    env.count(Event::DropNoConnection);
    keep_answerer(env, answerer);
    keep_refusal(env, Refusal::NoConnection, 0);
    Err(Verdict::next(F::REFUSE))
}
