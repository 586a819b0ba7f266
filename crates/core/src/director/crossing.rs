//! What one stage tells the next.

use super::family::Family;
use super::hop::Way;
use super::verdict::Verdict;
use crate::conn::{self, Controller, Hop, Peer};
use crate::env::{Env, Gateway, Scratch};
use crate::event::Event;
use crate::forward::refusal::Refusal;
use crate::generation::{Method, RootLine};
use crate::wire::{Ports, TcpFlags};

/// What crosses from one stage to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crossing {
    /// Line of the root of the generation that the packet met.
    pub(super) root: u32,
    /// Line of the destination picked for it; of a persistent service [`BY_TEMPLATE`] or [`WITHOUT_TEMPLATE`]. With [`SINGLE`]
    /// in it of a one-packet service.
    pub(super) picked: u32,
    /// Hash of the flow.
    pub(super) hash: u64,
    /// Whose packet it is: [`Peer::Virtual`] the client's.
    pub(super) side: Peer,
    /// Where the packet comes from, and what was looked for.
    pub(super) origin: Origin,
}

/// Where a packet comes from, as far as the stages treat it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Origin {
    /// From outside.
    Outside = 0,
    /// From outside to a virtual address, and looked for as a server's reply too: the director itself may be the client.
    Asked = 1,
    /// From a socket of this host.
    Own = 2,
    /// From outside: an ICMP error about what a virtual address sent, which is scheduled as if the client had sent a packet.
    Related = 3,
}

/// Word of the scratch: root and picked destination.
const LINES: usize = 0;
/// Word of the scratch: hash of the flow.
const HASH: usize = 1;
/// Words of the scratch: the next hop that the kernel has to resolve.
const GATEWAY: usize = 2;
/// Word of the scratch: why the packet is refused, and the MTU that its sender is told << 32.
const REFUSAL: usize = 4;
/// Word of the scratch: destination of a packet to be wrapped, and the interface it leaves by << 32 where the kernel has to
/// resolve the next hop.
const DESTINATION: usize = 5;
/// Word of the scratch: its next hop.
const HOP: usize = 6;
/// Word of the scratch: address family of the next hop that the kernel has to resolve.
const FAMILY: usize = 7;
/// Word of the scratch: whether the packet is a server's, and its origin << 8.
const SIDE: usize = 8;
/// Word of the scratch: the set of the overflow area that holds the flow's entry.
const SET: usize = 9;
/// Words of the scratch: what an entry said of the packet.
pub(super) const BOUND: usize = 10;

/// Words of the scratch: the address that a masqueraded server is answered from, whose packet belongs to no connection.
const ANSWERER: usize = BOUND + 1;

/// Word of the scratch: destination of the connection whose packet is refused.
const REFUSED: usize = 15;

/// Word of the scratch: line of the block of the packet's service, if that is persistent.
const SERVICE: usize = 16;

/// Word of the scratch: the template that controls the packet's new connection.
const CONTROLLER: usize = 17;

/// In place of a picked destination's line: a template says where the packet goes.
pub(super) const BY_TEMPLATE: u32 = 0;

/// In place of a picked destination's line: the client has no template that serves.
pub(super) const WITHOUT_TEMPLATE: u32 = u32::MAX;

/// Beside a picked destination's line: the packet's service is a one-packet one, so no table holds its connection.
pub(super) const SINGLE: u32 = 1 << 31;

/// Keeps the picked destination, and what else crosses as it is.
#[inline(always)]
pub(super) fn keep_picked<E: Env>(env: &E, picked: u32) {
    if let Some(line) = env.scratch() {
        let root = line[LINES].peek() & 0xffff_ffff;
        line[LINES].poke(root | u64::from(picked) << 32);
    }
}

/// Keeps which root the packet met, for a stage that finds out all else.
#[inline(always)]
pub(super) fn keep_root<E: Env>(env: &E, root: u32) {
    if let Some(line) = env.scratch() {
        line[LINES].poke(root.into());
    }
}

#[inline(always)]
pub(super) fn root<E: Env>(env: &E) -> Result<u32, Verdict> {
    Ok(line(env)?[LINES].peek() as u32)
}

/// Keeps which service, a persistent one, the packet is for: the line of its block.
#[inline(always)]
pub(super) fn keep_service<E: Env>(env: &E, block: u32) {
    if let Some(line) = env.scratch() {
        line[SERVICE].poke(block.into());
    }
}

#[inline(always)]
pub(super) fn service<E: Env>(env: &E) -> Result<u32, Verdict> {
    Ok(line(env)?[SERVICE].peek() as u32)
}

/// Keeps which template controls the packet's new connection, which it was counted in.
#[inline(always)]
pub(super) fn keep_controller<E: Env>(env: &E, controller: Controller) {
    if let Some(line) = env.scratch() {
        line[CONTROLLER].poke(controller.0);
    }
}

#[inline(always)]
pub(super) fn controller<E: Env>(env: &E) -> Result<Controller, Verdict> {
    Ok(Controller(line(env)?[CONTROLLER].peek()))
}

/// Keeps which connection gave way to the packet: if that opens none, it ends all the same.
#[inline(always)]
pub(super) fn keep_over<E: Env>(env: &E, over: Controller) {
    if let Some(line) = env.scratch() {
        line[OVER].poke(over.0);
    }
}

/// Ends the connection that gave way to a packet which opened none. What was kept for a packet before is over as well. If that
/// is answered, the answer is counted in the tally of the connection's destination, unless it was masqueraded: the kernel finds
/// it by what the answer quotes.
#[inline(always)]
pub(super) fn end_over<F: Family, E: Env>(env: &E) {
    let Some(line) = env.scratch() else { return };
    let over = Controller(line[OVER].peek());
    let mut id = NO_DESTINATION;
    if over.is_some() {
        line[OVER].poke(Controller::NONE.0);
        let was = conn::end_over::<F::Entry, E>(env, over, env.now().0);
        if was != conn::NOTHING_OVER && (was >> 32) as u8 & 7 != Method::Masquerade as u8 {
            id = was as u32;
        }
    }
    keep_refused(env, id);
}

/// Word of the scratch: the interface by which a packet to be fragmented leaves, and how far from its end its transport header
/// begins << 32.
const CUT: usize = 18;
/// Word of the scratch: where in that header its checksum lies, 0 if there is none.
const CUT_CHECKSUM: usize = 19;

/// Words of the scratch: the ends of the flow that an ICMP error is about: the client's address, the other one, and
/// client's port, other port << 16, protocol << 32, whether the transport header was quoted whole << 40, the side << 41.
const QUOTED: usize = 20;

/// Word of the scratch: the connection that gave way to the packet.
const OVER: usize = 25;

/// No destination.
pub(super) const NO_DESTINATION: u32 = u32::MAX;

impl Crossing {
    #[inline(always)]
    pub(super) fn keep<E: Env>(self, env: &E) {
        if let Some(scratch) = env.scratch() {
            scratch[LINES].poke(u64::from(self.root) | u64::from(self.picked) << 32);
            scratch[HASH].poke(self.hash);
            scratch[SIDE].poke(u64::from(self.side == Peer::Server) | (self.origin as u64) << 8);
        }
    }

    #[inline(always)]
    pub(super) fn of<E: Env>(env: &E) -> Result<Self, Verdict> {
        let scratch = line(env)?;
        let (lines, side) = (scratch[LINES].peek(), scratch[SIDE].peek());
        Ok(Self {
            root: lines as u32,
            picked: (lines >> 32) as u32,
            hash: scratch[HASH].peek(),
            side: if side & 1 == 0 {
                Peer::Virtual
            } else {
                Peer::Server
            },
            origin: match (side >> 8) as u8 {
                1 => Origin::Asked,
                2 => Origin::Own,
                3 => Origin::Related,
                _ => Origin::Outside,
            },
        })
    }

    #[inline(always)]
    pub(super) fn root<E: Env>(&self, env: &E) -> Result<RootLine, Verdict> {
        RootLine::at(env, self.root).ok_or(Verdict::drop(Event::DropInconsistent))
    }
}

#[inline(always)]
pub(super) fn line<E: Env>(env: &E) -> Result<&Scratch, Verdict> {
    env.scratch().ok_or(Verdict::drop(Event::DropInconsistent))
}

/// The next hop of a packet that ended in [`super::Action::OutUnresolved`].
#[inline(always)]
pub fn gateway<E: Env>(env: &E) -> Gateway {
    let word = |at: usize| env.scratch().map_or(0, |line| line[at].peek());
    Gateway {
        family: word(FAMILY) as u8,
        address: [word(GATEWAY), word(GATEWAY + 1)],
    }
}

#[inline(always)]
pub(super) fn keep_gateway<E: Env>(env: &E, gateway: Gateway) -> Result<(), Verdict> {
    let line = line(env)?;
    line[FAMILY].poke(gateway.family.into());
    line[GATEWAY].poke(gateway.address[0]);
    line[GATEWAY + 1].poke(gateway.address[1]);
    Ok(())
}

/// Why a packet is refused and what MTU its sender is told, for the stage that does it. The event it is counted as if it
/// cannot be answered.
#[inline(always)]
pub(super) fn keep_refusal<E: Env>(env: &E, refusal: Refusal, mtu: u32) {
    if let Some(line) = env.scratch() {
        line[REFUSAL].poke(refusal as u64 | u64::from(mtu) << 32);
    }
}

/// A place in the frame as it comes back from memory, see [`forget`].
#[inline(always)]
pub(super) fn forget_place<E: Env>(env: &E, place: usize) -> usize {
    forget(env, place as u64) as usize & 0x1ff
}

/// A number as it comes back from memory, where the verifier knows nothing of it: ways that differ in it alone are one to the
/// verifier from there on.
#[inline(always)]
pub(super) fn forget<E: Env>(env: &E, number: u64) -> u64 {
    let Some(line) = env.scratch() else {
        return number;
    };
    line[REFUSED].poke(number);
    line[REFUSED].peek()
}

/// In whose tally the answer to a refused packet is counted, or [`NO_DESTINATION`]. Not for [`Refusal::NoConnection`], which no
/// connection has.
#[inline(always)]
pub(super) fn keep_refused<E: Env>(env: &E, id: u32) {
    if let Some(line) = env.scratch() {
        line[REFUSED].poke(id.into());
    }
}

#[inline(always)]
pub(super) fn refused_of<E: Env>(env: &E, refusal: Refusal) -> u32 {
    match env.scratch() {
        Some(line) if refusal != Refusal::NoConnection => line[REFUSED].peek() as u32,
        _ => NO_DESTINATION,
    }
}

#[inline(always)]
pub(super) fn refusal<E: Env>(env: &E) -> Result<(Refusal, u32), Verdict> {
    let word = line(env)?[REFUSAL].peek();
    let refusal = match word as u8 {
        0 => Refusal::PortUnreachable,
        1 => Refusal::TooBig,
        2 => Refusal::TimeExceeded,
        _ => Refusal::NoConnection,
    };
    Ok((refusal, (word >> 32) as u32))
}

/// Keeps the address that a packet of no connection is answered from ([`Refusal::NoConnection`]), in two raw words.
#[inline(always)]
pub(super) fn keep_answerer<E: Env>(env: &E, address: [u64; 2]) {
    if let Some(line) = env.scratch() {
        line[ANSWERER].poke(address[0]);
        line[ANSWERER + 1].poke(address[1]);
    }
}

/// What that kept.
#[inline(always)]
pub(super) fn answerer<E: Env>(env: &E) -> Result<[u64; 2], Verdict> {
    let line = line(env)?;
    Ok([line[ANSWERER].peek(), line[ANSWERER + 1].peek()])
}

/// The flow of the packet that an ICMP error is about; what it is scheduled as.
#[derive(Clone, Copy)]
pub(super) struct Quoted<F: Family> {
    pub(super) client: (F::Address, u16),
    pub(super) virt: (F::Address, u16),
    pub(super) protocol: u8,
    /// Whether the transport header was quoted whole: schedulers by port see none otherwise.
    pub(super) is_whole: bool,
    /// From which side the error is looked at.
    pub(super) side: Peer,
}

impl<F: Family> Quoted<F> {
    /// Keeps it.
    #[inline(always)]
    pub(super) fn keep<E: Env>(&self, env: &E) {
        let Some(line) = env.scratch() else {
            return;
        };
        let (client, virt) = (F::words(self.client.0), F::words(self.virt.0));
        line[QUOTED].poke(client[0]);
        line[QUOTED + 1].poke(client[1]);
        line[QUOTED + 2].poke(virt[0]);
        line[QUOTED + 3].poke(virt[1]);
        line[QUOTED + 4].poke(
            u64::from(self.client.1)
                | u64::from(self.virt.1) << 16
                | u64::from(self.protocol) << 32
                | u64::from(self.is_whole) << 40
                | u64::from(self.side == Peer::Server) << 41,
        );
    }

    /// What was kept.
    #[inline(always)]
    pub(super) fn kept<E: Env>(env: &E) -> Result<Self, Verdict> {
        let line = line(env)?;
        let word = line[QUOTED + 4].peek();
        let address = |at: usize| F::address([line[at].peek(), line[at + 1].peek()]);
        Ok(Self {
            client: (address(QUOTED), word as u16),
            virt: (address(QUOTED + 2), (word >> 16) as u16),
            protocol: (word >> 32) as u8,
            is_whole: word >> 40 & 1 != 0,
            side: if word >> 41 & 1 == 0 {
                Peer::Virtual
            } else {
                Peer::Server
            },
        })
    }

    /// The headers that the client's packet would have, as far as opening a connection goes: of TCP a SYN.
    #[inline(always)]
    pub(super) fn headers(&self) -> (F::Header, Ports) {
        let ports = Ports {
            source: self.client.1,
            destination: self.virt.1,
            flags: TcpFlags(0x02),
        };
        (F::bare(self.client.0, self.virt.0, self.protocol), ports)
    }
}

/// Whose tunnel a packet goes into and where it leaves by, for the stage that wraps it.
#[inline(always)]
pub(super) fn keep_tunnel<E: Env>(env: &E, id: u32, way: Way) {
    if let Some(line) = env.scratch() {
        line[DESTINATION].poke(u64::from(id) | u64::from(way.interface) << 32);
        line[HOP].poke(way.hop.0);
    }
}

#[inline(always)]
pub(super) fn tunnel<E: Env>(env: &E) -> Result<(u32, Way), Verdict> {
    let line = line(env)?;
    let word = line[DESTINATION].peek();
    let way = Way {
        hop: Hop(line[HOP].peek()),
        interface: (word >> 32) as u32,
    };
    Ok((word as u32, way))
}

/// The set of the overflow area where the flow's entry was found.
#[inline(always)]
pub(super) fn keep_set<E: Env>(env: &E, index: u32) {
    if let Some(line) = env.scratch() {
        line[SET].poke(index.into());
    }
}

#[inline(always)]
pub(super) fn set<E: Env>(env: &E) -> Result<u32, Verdict> {
    Ok(line(env)?[SET].peek() as u32)
}

/// Where the transport header of a packet to be fragmented begins, as a distance from the frame's end, and where in it its
/// checksum lies (0: nowhere).
#[inline(always)]
pub(super) fn keep_transport<E: Env>(env: &E, from_end: u32, checksum: usize) {
    if let Some(line) = env.scratch() {
        line[CUT].poke(u64::from(from_end) << 32);
        line[CUT_CHECKSUM].poke(checksum as u64);
    }
}

/// By which interface it leaves.
#[inline(always)]
pub(super) fn keep_leaving<E: Env>(env: &E, interface: u32) {
    if let Some(line) = env.scratch() {
        line[CUT].poke(line[CUT].peek() >> 32 << 32 | u64::from(interface));
    }
}

/// What these kept: interface, distance of the transport header from the frame's end, place of the checksum in it.
#[inline(always)]
pub(super) fn leaving<E: Env>(env: &E) -> Result<(u32, u32, u32), Verdict> {
    let line = line(env)?;
    let word = line[CUT].peek();
    Ok((
        word as u32,
        (word >> 32) as u32,
        line[CUT_CHECKSUM].peek() as u32,
    ))
}

/// Keeps where a begun checksum of a packet to be fragmented lies, or that there is none.
#[inline(always)]
pub(super) fn keep_begun<E: Env>(env: &E, begun: Begun) {
    if let Some(line) = env.scratch() {
        line[CUT_CHECKSUM].poke(u64::from(begun.start) | u64::from(begun.place) << 32);
    }
}

/// A checksum that is only begun, and which the kernel would finish when the packet leaves: see
/// [`Packet::is_partial`](crate::packet::Packet::is_partial).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// Where in the frame that begins which it covers.
    pub start: u32,
    /// Where in the frame it lies; 0: the packet has none.
    pub place: u32,
}

/// The begun checksum of a packet that ended in [`super::Action::Cut`].
#[inline(always)]
pub fn begun<E: Env>(env: &E) -> Begun {
    let word = env.scratch().map_or(0, |line| line[CUT_CHECKSUM].peek());
    Begun {
        start: word as u32,
        place: (word >> 32) as u32,
    }
}
