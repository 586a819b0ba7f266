//! Fragments, and packets that have to become fragments: the director's daemon takes them from here.
//!
//! As in the kernel, decisions are made on whole datagrams. A fragment for the director is handed to lvsd, which puts its
//! datagram together, takes it through the same stages as any packet ([`super::handle`]) and sends it on in fragments no
//! longer than those that came (Linux 6.1: `ip_defrag` before IPVS, `ip_fragment` behind it). A datagram that turns out to be
//! the host's own is given back to its stack fragment by fragment; so that these pass, its name is kept for a moment
//! ([`Datagram`]).
//!
//! While no lvsd runs, or it has more to read than it can, fragments to a virtual address end here. Those from a real server
//! go on untranslated, as its other packets do that are of no connection: most that lvsd does not see are not its own.
//!
//! Of a datagram that is not complete in time the sender is told, if its first fragment came ([`tell_late`]).
//!
//! A packet that may be fragmented and is longer than its way is handed to lvsd when all else is done to it.

use super::crossing::{Begun, Crossing, Origin, keep_begun, leaving};
use super::family::Family;
use super::out::out_by;
use super::quoting::Quoting;
use super::verdict::{Verdict, conclude};
use super::{V4, V6, header};
use crate::conn::mix;
use crate::env::{Env, state};
use crate::event::Event;
use crate::forward::refusal::Refusal;
use crate::generation::RootLine;
use crate::packet::Packet;
use crate::tick::Tick;
use crate::wire::{ETHERNET, Header4, Header6, IPV4, IPV6, word16};
use lvsx_platform::{Word, hide};

/// Ticks for which the fragments of a datagram pass that is not the director's: half a second.
const PASSING: u64 = 8;

/// What a datagram's fragments have in common: a hash of addresses, protocol and identification, not to be foreseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram(u64);

impl Datagram {
    /// Of an IPv4 fragment. `seed`: the tables' secret.
    #[inline(always)]
    #[must_use]
    pub fn of4(header: &Header4, seed: u64) -> Self {
        let ends = u64::from(header.source) << 32 | u64::from(header.destination);
        let name = u64::from(header.identification) << 8 | u64::from(header.protocol);
        Self(mix(mix(ends, seed) ^ name, seed))
    }

    /// Of an IPv6 fragment.
    #[inline(always)]
    #[must_use]
    pub fn of6(header: &Header6, seed: u64) -> Self {
        let source = mix(header.source[0] ^ mix(header.source[1], seed), seed);
        let destination = header.destination[1] ^ mix(header.destination[0] ^ source, seed);
        let name = u64::from(header.fragment.identification) << 8;
        Self(mix(mix(destination, seed) ^ name, seed))
    }

    /// Lets its fragments pass from now on, for half a second.
    pub fn let_pass<E: Env>(self, env: &E) {
        if let Some(word) = self.place(env) {
            word.store(self.0 & !0xffff | u64::from(env.now().0 & 0xffff));
        }
    }

    /// Whether they pass.
    #[inline(always)]
    fn passes<E: Env>(self, env: &E) -> bool {
        let Some(word) = self.place(env).map(Word::peek) else {
            return false;
        };
        let Tick(now) = env.now();
        (word ^ self.0) >> 16 == 0 && u64::from(now).wrapping_sub(word) & 0xffff <= PASSING
    }

    #[inline(always)]
    fn place<E: Env>(self, env: &E) -> Option<&Word> {
        let line = state::STRANGERS + (self.0 >> 3) as u32 % state::STRANGER_LINES;
        env.state(line)?.get((self.0 & 7) as usize)
    }
}

/// A fragment, which concerns the director as far as its addresses tell.
#[inline(always)]
pub(super) fn raise_stage<F: Fragmented, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let crossing = Crossing::of(env)?;
    let root = crossing.root(env)?;
    let header = header::<F, P>(packet)?;
    if F::datagram(&header, env.geometry().seed).passes(env) {
        return Err(Verdict::pass(Event::PassFragment));
    }
    let is_for_service = F::concern(&root, env, F::ends(&header).1).is_virtual;
    let is_own = crossing.origin == Origin::Own;
    Ok(Verdict::raise(!is_for_service, is_own))
}

/// Turns the first fragment of a datagram that was not complete in time into the error that its sender is told by, if it may be
/// told now: [`Action::Out`](super::Action::Out), to where it came from. As Linux 6.1: from the address that it was for, if that
/// is this host's; else from `near`, this host's address towards the sender (two raw words, zeros: unknown), and what is quoted of
/// IPv4 was forwarded already.
pub fn tell_late<P: Packet, E: Env>(packet: &mut P, env: &E, near: [u64; 2]) -> Verdict {
    let told = match packet.bytes::<2>(ETHERNET - 2).map(|kind| word16(kind, 0)) {
        Some(IPV4) => late(packet, env, near, V4),
        Some(IPV6) => late(packet, env, near, V6),
        _ => Err(Verdict::drop(Event::DropUnanswered)),
    };
    conclude(env, told)
}

fn late<F: Quoting, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    near: [u64; 2],
    _family: F,
) -> Result<Verdict, Verdict> {
    let unanswered = Verdict::drop(Event::DropUnanswered);
    let root = RootLine::current(env).ok_or(unanswered)?;
    let header = header::<F, P>(packet)?;
    let (sender, to) = F::ends(&header);
    let concern = F::concern(&root, env, to);
    let is_ours = concern.is_virtual || concern.is_local || F::is_in_prefix(&root, env, to);
    let from = if is_ours { to } else { F::address(near) };
    if F::words(from) == [0; 2] {
        return Err(unanswered);
    }
    if !F::allows(env, &root, Refusal::ReassemblyTime, sender) {
        return Err(Verdict::drop(Event::DropAnswerLimited));
    }
    if !is_ours && F::NUMBER == V4::NUMBER {
        F::direct(packet).ok_or(unanswered)?;
    }
    let interface = packet.interface();
    F::refuse(packet, &header, Refusal::ReassemblyTime, 0, from).ok_or(unanswered)?;
    Ok(out_by(env, interface))
}

/// Lets the fragments of a datagram leave for half a second, if [`super::own`] would take them for those of a socket: `packet` is
/// one of them, which lvsd sends.
pub fn let_leave<P: Packet, E: Env>(packet: &P, env: &E) {
    match packet.bytes::<2>(ETHERNET - 2).map(|kind| word16(kind, 0)) {
        Some(IPV4) => leaves(packet, env, V4),
        Some(IPV6) => leaves(packet, env, V6),
        _ => {}
    }
}

fn leaves<F: Fragmented, P: Packet, E: Env>(packet: &P, env: &E, _family: F) {
    if let (Some(root), Ok(header)) = (RootLine::current(env), header::<F, P>(packet)) {
        let from = F::concern(&root, env, F::ends(&header).0);
        if from.is_virtual || from.is_server {
            F::datagram(&header, env.geometry().seed).let_pass(env);
        }
    }
}

/// A packet that is ready to leave but for its length.
#[inline(always)]
pub(super) fn cut_stage<P: Packet, E: Env>(packet: &mut P, env: &E) -> Result<Verdict, Verdict> {
    let (interface, from_end, checksum) = leaving(env)?;
    let start = (hide(packet.len().into()) as u32).wrapping_sub(from_end);
    let place = start.wrapping_add(checksum);
    let is_begun = checksum != 0 && packet.is_partial(place as usize);
    keep_begun(
        env,
        if is_begun {
            Begun { start, place }
        } else {
            Begun::default()
        },
    );
    Ok(Verdict::cut(interface))
}

/// A family whose datagrams have names.
pub(super) trait Fragmented: Family {
    fn datagram(header: &Self::Header, seed: u64) -> Datagram;
}

impl Fragmented for V4 {
    #[inline(always)]
    fn datagram(header: &Header4, seed: u64) -> Datagram {
        Datagram::of4(header, seed)
    }
}

impl Fragmented for V6 {
    #[inline(always)]
    fn datagram(header: &Header6, seed: u64) -> Datagram {
        Datagram::of6(header, seed)
    }
}
