//! Next hops: where a packet leaves by.

use super::crossing::keep_gateway;
use super::family::Family;
use super::verdict::Verdict;
use crate::conn::{Hop, Peer};
use crate::env::{Env, Gateway, PORT_PROBES, PORTS, Route, state as shared};
use crate::event::Event;
use crate::generation::live::tunnel;
use crate::generation::{RootLine, live};
use crate::packet::Packet;
use lvsx_platform::{Line, hide};

#[inline(always)]
pub(super) fn epoch<E: Env>(env: &E) -> u16 {
    env.state(shared::READ)
        .map_or(0, |line| line[shared::EPOCH].load() as u16)
}

/// A next hop, or an interface alone where the kernel has to resolve the next hop ([`super::gateway`]).
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) hop: Hop,
    pub(super) interface: u32,
}

impl Way {
    /// To this host's own stack.
    pub(super) const LOCAL: Self = Self {
        hop: Hop::LOCAL,
        interface: 0,
    };

    /// To this host's own stack if the address is one of this host, as to which programs are told no route; else it ends in
    /// the drop counted as `event`. Seen by [`settled`](Self::settled), where a stage has room for it.
    #[inline(always)]
    fn perhaps_local(event: Event) -> Self {
        Self {
            hop: Hop::LOCAL,
            interface: event as u32,
        }
    }

    /// Whether it is known to be what it says, and may be kept.
    #[inline(always)]
    pub(super) fn is_certain(self) -> bool {
        self.hop.is_known() && self.interface == 0
    }

    /// What becomes of a packet for `to` on a way to this host's own stack.
    #[inline(always)]
    pub(super) fn settled<F: Family, E: Env>(
        self,
        env: &E,
        root: &RootLine,
        to: F::Address,
    ) -> Result<(), Verdict> {
        if self.interface == 0 || F::concern(root, env, to).is_local {
            return Ok(());
        }
        Err(if self.interface == Event::DropForwardingOff as u32 {
            Verdict::drop(Event::DropForwardingOff)
        } else {
            Verdict::drop(Event::DropNoRoute)
        })
    }
}

/// The next hop towards `to`: to a destination what the director publishes, else what the kernel says. One that does not
/// forward does not answer programs, though IPVS needs no forwarding towards destinations: then the way that the director
/// publishes is the kernel's to resolve.
#[inline(always)]
pub(super) fn find_hop<F: Family, P: Packet, E: Env>(
    packet: &P,
    env: &E,
    side: Peer,
    id: u32,
    to: F::Address,
) -> Result<Way, Verdict> {
    let published = if side == Peer::Virtual {
        published(env, id)
    } else {
        Hop(0)
    };
    if published.is_known() {
        return Ok(Way {
            hop: published,
            interface: 0,
        });
    }
    let refusal = if side == Peer::Virtual && leads_to_other_family::<F, E>(env, id) {
        Event::DropNoNeighbour
    } else {
        match F::route(env, packet.interface(), to) {
            Route::To { interface, address } => {
                let (number, _) =
                    port_of(env, interface).ok_or(Verdict::drop(Event::DropUnknownPort))?;
                return Ok(Way {
                    hop: Hop::new(address, number),
                    interface: 0,
                });
            }
            Route::Unresolved { interface, gateway } => {
                keep_gateway(env, gateway)?;
                return Ok(Way {
                    hop: Hop(0),
                    interface,
                });
            }
            Route::ForwardingOff => Event::DropForwardingOff,
            Route::None => Event::DropNoRoute,
        }
    };
    if side == Peer::Virtual
        && let Some(way) = published_way(env, id)
    {
        return Ok(way);
    }
    if refusal != Event::DropNoNeighbour {
        return Ok(Way::perhaps_local(refusal));
    }
    Err(Verdict::drop(refusal))
}

/// The way to a destination that the director publishes, for the kernel to resolve. `None`: it knows none, or is just
/// changing it.
#[inline(always)]
fn published_way<E: Env>(env: &E, id: u32) -> Option<Way> {
    let line = env.tunnel(id)?;
    let word = line[tunnel::WAY].load();
    let gateway = Gateway {
        family: (word >> 32) as u8,
        address: [
            line[tunnel::GATEWAY].load(),
            line[tunnel::GATEWAY + 1].load(),
        ],
    };
    let interface = word as u32;
    if interface == 0 || line[tunnel::WAY].load() != word {
        return None;
    }
    keep_gateway(env, gateway).ok()?;
    Some(Way {
        hop: Hop(0),
        interface,
    })
}

/// The next hop to a destination that the director publishes; perhaps not known. To be read after the route epoch: the
/// director publishes hops before it moves the epoch.
#[inline(always)]
pub(super) fn published<E: Env>(env: &E, id: u32) -> Hop {
    Hop(env
        .destination(id)
        .map_or(0, |line| line[live::destination::HOP].peek()))
}

/// Whether a destination's address is not of the packet's family, as a tunnel's may be: no entry holds it then, and the
/// kernel cannot be asked the way.
#[inline(always)]
fn leads_to_other_family<F: Family, E: Env>(env: &E, id: u32) -> bool {
    let family = env
        .tunnel(id)
        .map_or(0, |line| (line[live::tunnel::SHAPE].peek() >> 32) as u8);
    family != 0 && family != F::NUMBER
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
