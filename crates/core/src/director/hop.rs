//! Next hops: where a packet leaves by.

use super::verdict::Verdict;
use crate::conn::{Hop, Peer};
use crate::env::{Env, PORT_PROBES, PORTS, Route, state as shared};
use crate::event::Event;
use crate::generation::live;
use crate::packet::Packet;
use lvsx_platform::{Line, hide};

#[inline(always)]
pub(super) fn epoch<E: Env>(env: &E) -> u16 {
    env.state(shared::READ)
        .map_or(0, |line| line[shared::EPOCH].load() as u16)
}

/// A next hop, or the way that needs none.
pub(super) enum Found {
    Hop(Hop),
    Unresolved(Verdict),
}

/// Asks the kernel for the next hop towards raw address `to`. A kernel that does not forward does not answer; towards a
/// destination the director's own knowledge serves then, as IPVS needs no forwarding for direct routing and tunnels.
#[inline(always)]
pub(super) fn find_hop<P: Packet, E: Env>(
    packet: &P,
    env: &E,
    side: Peer,
    id: u32,
    to: u32,
) -> Result<Found, Verdict> {
    match env.route4(packet.interface(), to) {
        Route::To { interface, address } => {
            let (number, _) =
                port_of(env, interface).ok_or(Verdict::drop(Event::DropUnknownPort))?;
            Ok(Found::Hop(Hop::new(address, number)))
        }
        Route::Unresolved { interface, gateway } => {
            let scratch = env
                .scratch()
                .ok_or(Verdict::drop(Event::DropInconsistent))?;
            scratch[GATEWAY].poke(gateway.into());
            Ok(Found::Unresolved(Verdict::out_unresolved(interface)))
        }
        Route::ForwardingOff => {
            let known = env
                .destination(id)
                .map_or(0, |line| line[live::destination::HOP].peek());
            if side == Peer::Virtual && known != 0 {
                return Ok(Found::Hop(Hop(known)));
            }
            Err(Verdict::drop(Event::DropForwardingOff))
        }
        Route::None => Err(Verdict::drop(Event::DropNoRoute)),
    }
}

/// Word of the scratch line: the next hop that the kernel has to resolve.
const GATEWAY: usize = 2;

/// Raw address of the next hop of a packet that ended in [`super::Action::OutUnresolved`].
#[inline(always)]
pub fn gateway<E: Env>(env: &E) -> u32 {
    env.scratch().map_or(0, |line| line[GATEWAY].peek() as u32)
}

/// The port of interface `index`, and its number.
#[inline(always)]
pub fn port_of<E: Env>(env: &E, index: u32) -> Option<(u32, &Line)> {
    let mut probe = 0;
    while hide(probe) < u64::from(PORT_PROBES) {
        let number = index.wrapping_add(probe as u32) & (PORTS - 1);
        let line = env.port(number)?;
        if line[live::port::INTERFACE].peek() as u32 == index {
            return Some((number, line));
        }
        probe += 1;
    }
    None
}
