//! The short way out, of a client's plain packet to its server.

use super::out::{leave_by, unwrappable};
use super::verdict::Verdict;
use crate::conn::Hop;
use crate::env::Env;
use crate::event::Event;
use crate::forward::masquerade::{self, Readdress};
use crate::forward::tunnel::{self, Inner};
use crate::forward::{Age, direct};
use crate::generation::{Method, RootWords, live};
use crate::packet::Packet;
use crate::wire::{Header4, OUTER4, Ports};
use lvsx_platform::Line;

/// How a packet reaches its server.
#[derive(Clone, Copy)]
pub(super) struct Outwards<'a> {
    method: u8,
    server: (u32, u16),
    /// The director's own end of the tunnel; 0 if there is none.
    own: u32,
    hop: Hop,
    port: &'a Line,
}

impl<'a> Outwards<'a> {
    /// The way to `server`, destination `id`, by a forwarding method and a next hop that is known and leads out. `None`: it is
    /// not by NAT, direct routing or a tunnel of IPv4 in IPv4, or the director does not know all of it.
    #[inline(always)]
    pub(super) fn of<E: Env>(
        env: &'a E,
        id: u32,
        method: u8,
        server: (u32, u16),
        hop: Hop,
    ) -> Option<Self> {
        let method = method & 7;
        let own = if method == Method::Tunnel as u8 {
            own_end(env, id)?
        } else {
            0
        };
        let port = env.port(hop.port())?;
        let is_short =
            own != 0 || method == Method::Masquerade as u8 || method == Method::DirectRouting as u8;
        is_short.then_some(Self {
            method,
            server,
            own,
            hop,
            port,
        })
    }

    /// The longest packet that goes this way for sure.
    #[inline(always)]
    pub(super) fn most(&self) -> u32 {
        let outer = if self.own == 0 { 0 } else { OUTER4 as u32 };
        live::port::sure(self.port).wrapping_sub(outer)
    }

    /// Sends a plain packet this way.
    #[inline(always)]
    pub(super) fn send<P: Packet>(
        self,
        packet: &mut P,
        root: RootWords<'_>,
        header: &Header4,
        ports: &Ports,
    ) -> Result<Verdict, Verdict> {
        let malformed = Verdict::drop(Event::DropMalformed);
        if self.method == Method::Masquerade as u8 {
            let change = Readdress::to_server(header, ports, self.server);
            masquerade::readdress_summed(packet, header, &change, Age::Older).ok_or(malformed)?;
        } else if self.own != 0 {
            let inner = Inner::of4(header, ports, root.settings().pmtu_disc);
            tunnel::to_server(packet, &inner, self.own, self.server.0).map_err(unwrappable)?;
        } else {
            direct::to_server(packet).ok_or(malformed)?;
        }
        leave_by(packet, self.port, self.hop)
    }
}

/// The director's own end of a tunnel, if that is IPv4 in IPv4.
#[inline(always)]
fn own_end<E: Env>(env: &E, id: u32) -> Option<u32> {
    let line = env.tunnel(id)?;
    let own = line[live::tunnel::SOURCE].peek() as u32;
    (line[live::tunnel::SHAPE].peek() == live::tunnel::PLAIN && own != 0).then_some(own)
}
