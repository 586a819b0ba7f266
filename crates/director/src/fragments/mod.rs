//! Fragments, and packets that have to become fragments: what the programs hand over.
//!
//! [`reassembly`] puts datagrams together; [`World`] has the programs' own stages decide on them, over the tables that are
//! shared with the programs; [`mod@cut`] makes fragments of what leaves. No I/O: [`Fragments`] answers with what is to be done.
//!
//! A datagram that is the director's leaves in fragments no longer than those it came in, inside a tunnel too; one that is
//! not goes on to the host's own stack in the fragments that came. What sockets of this host send goes on its way in fragments
//! again, whether it is the director's or not.

pub mod cut;
pub mod packet;
pub mod piece;
pub mod reassembly;
#[cfg(test)]
mod tests;
pub mod world;

use crate::clock::Clock;
use crate::links::facts::Hop;
use crate::tables::Tables;
use cut::Measure;
use lvsx_core::director::{
    Action, Begun, Verdict, gateway, handle, handle_own, let_leave, path_mtu, port_of, tell_late,
};
use lvsx_core::env::{Env, Tables as _};
use lvsx_core::event::Event;
use lvsx_core::generation::live;
use lvsx_core::host::Frame;
use lvsx_core::packet::Packet;
use lvsx_core::wire::ETHERNET;
use lvsx_platform::Line;
use packet::Joined;
use piece::{Name, Piece, header4};
use reassembly::{Arrival, Reassembly, Whole};
use std::net::IpAddr;
use std::time::{Duration, Instant};
pub use world::{Ways, World};

/// Index of `lo`.
const LOOPBACK: u32 = 1;
/// Datagrams that wait for the link-layer address of their next hop.
const WAITING: usize = 256;
/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(3);

/// A packet that a program handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A fragment, as it came in.
    Fragment(Frame),
    /// A packet longer than its way, as it is to leave by the interface of the frame.
    Long(Frame, Begun),
    /// A fragment that a socket of this host sent, on its way out by the interface of the frame.
    Own(Frame),
}

impl Taken {
    /// Reads a record: four words (kind, interface, length, begun checksum), then the frame, then padding. `None`: not one.
    #[must_use]
    pub fn of(record: &[u8]) -> Option<Self> {
        let (words, rest) = record.split_first_chunk::<16>()?;
        let (words, _) = words.as_chunks::<4>();
        let [kind, interface, length, begun] = words else {
            return None;
        };
        let frame = Frame {
            bytes: rest.get(..u32::from_ne_bytes(*length) as usize)?.to_vec(),
            interface: u32::from_ne_bytes(*interface),
        };
        let begun = u32::from_ne_bytes(*begun);
        let begun = Begun {
            start: begun >> 16,
            place: begun & 0xffff,
        };
        match u32::from_ne_bytes(*kind) {
            0 => Some(Self::Fragment(frame)),
            1 => Some(Self::Long(frame, begun)),
            2 => Some(Self::Own(frame)),
            _ => None,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// The frame is sent by its interface.
    Send(Frame),
    /// The frame goes to the host's stack, as if it came in by its interface.
    GiveBack(Frame),
    /// The packet in the frame goes to the host's stack, as if a socket of its own had sent it.
    Deliver(Frame),
    /// A packet waits until the link-layer address of this next hop is known.
    Resolve(Hop),
}

/// What is kept between packets.
#[derive(Default)]
pub struct Fragments {
    /// Of what came in.
    reassembly: Reassembly,
    /// Of what sockets of this host send.
    own: Reassembly,
    waiting: Vec<Waiting>,
}

struct Waiting {
    hop: Hop,
    packet: Joined,
    deadline: Instant,
}

impl Fragments {
    /// Takes what a program handed over at `now`; `clock` is the data plane's.
    pub fn take<W: Ways>(
        &mut self,
        taken: Taken,
        tables: &Tables,
        clock: Clock,
        ways: &W,
        now: Instant,
    ) -> Vec<Task> {
        let world = World::new(tables, clock, ways);
        match taken {
            Taken::Fragment(frame) => {
                let arrival = self.reassembly.take(frame, now);
                put_together(arrival, &world)
                    .map_or_else(Vec::new, |whole| self.decide(whole, &world, now))
            }
            Taken::Own(frame) => {
                let arrival = self.own.take(frame, now);
                put_together(arrival, &world)
                    .map_or_else(Vec::new, |whole| self.decide_own(whole, &world, now))
            }
            Taken::Long(mut frame, begun) => {
                if cut::finish(&mut frame, begun).is_none() {
                    world.count(Event::DropMalformed);
                    return Vec::new();
                }
                leave(Joined::whole(frame), &world)
            }
        }
    }

    /// Decides on a datagram as the programs do.
    fn decide<W: Ways>(&mut self, whole: Whole, world: &World<'_, W>, now: Instant) -> Vec<Task> {
        let mut packet = Joined::of(whole.frame, whole.longest, whole.parts);
        let verdict = handle(&mut packet, world);
        if verdict.action() != Action::Pass {
            return self.follow(verdict, packet, world, now);
        }
        // For a server on this host it may be another packet now.
        let fragments = if verdict.event() == Event::PassLocal {
            frames_back(&packet, world)
        } else {
            whole.fragments
        };
        if let Some(first) = fragments.first() {
            let_pass(first, world);
        }
        fragments.into_iter().map(Task::GiveBack).collect()
    }

    /// Decides on a datagram of a socket of this host as the programs do where one leaves.
    fn decide_own<W: Ways>(
        &mut self,
        whole: Whole,
        world: &World<'_, W>,
        now: Instant,
    ) -> Vec<Task> {
        let mut packet = Joined::of(whole.frame, whole.longest, whole.parts);
        let verdict = handle_own(&mut packet, world);
        match verdict.action() {
            // What leaves by `lo` comes in again, which only a packet can that the stack has routed.
            Action::Pass if packet.frame.interface == LOOPBACK => deliver(packet, world),
            Action::Pass => leave(packet, world),
            _ => self.follow(verdict, packet, world, now),
        }
    }

    /// Does what was decided of a datagram that does not pass.
    fn follow<W: Ways>(
        &mut self,
        verdict: Verdict,
        mut packet: Joined,
        world: &World<'_, W>,
        now: Instant,
    ) -> Vec<Task> {
        match verdict.action() {
            Action::Out | Action::Cut => {
                packet.frame.interface = verdict.interface();
                leave(packet, world)
            }
            Action::OutUnresolved => {
                packet.frame.interface = verdict.interface();
                self.wait(packet, world, now)
            }
            Action::Local => deliver(packet, world),
            Action::Pass | Action::Drop | Action::Next | Action::Raise => Vec::new(),
        }
    }

    fn wait<W: Ways>(&mut self, packet: Joined, world: &World<'_, W>, now: Instant) -> Vec<Task> {
        let to = gateway(world);
        let [first, second] = to.address.map(u64::to_ne_bytes);
        let address = if i32::from(to.family) == libc::AF_INET6 {
            let bytes: [u8; 16] =
                std::array::from_fn(|at| if at < 8 { first[at] } else { second[at - 8] });
            IpAddr::from(bytes)
        } else {
            IpAddr::from([first[0], first[1], first[2], first[3]])
        };
        if self.waiting.len() >= WAITING {
            world.count(Event::DropUnsent);
            return Vec::new();
        }
        let hop = Hop {
            interface: packet.frame.interface,
            address,
        };
        self.waiting.push(Waiting {
            hop,
            packet,
            deadline: now + PATIENCE,
        });
        vec![Task::Resolve(hop)]
    }

    /// What waited for `hop` goes, now that its raw link-layer address is known.
    pub fn resolved<W: Ways>(
        &mut self,
        hop: Hop,
        address: u64,
        tables: &Tables,
        clock: Clock,
        ways: &W,
    ) -> Vec<Task> {
        let mut tasks = Vec::new();
        for waiting in self.waiting.extract_if(.., |waiting| waiting.hop == hop) {
            let world = World::new(tables, clock, ways);
            let mut packet = waiting.packet;
            let own =
                port_of(&world, hop.interface).map(|(_, port)| port[live::port::ADDRESS].peek());
            match own.and_then(|own| set_link(&mut packet, address, own)) {
                Some(()) => tasks.extend(leave(packet, &world)),
                None => world.count(Event::DropUnsent),
            }
        }
        tasks
    }

    /// The next hops that packets wait for.
    pub fn awaited(&self) -> impl Iterator<Item = Hop> {
        self.waiting.iter().map(|waiting| waiting.hop)
    }

    /// Gives up what took too long. The senders of datagrams that were not complete are told, if their first fragments came.
    pub fn expire<W: Ways>(
        &mut self,
        tables: &Tables,
        clock: Clock,
        ways: &W,
        now: Instant,
    ) -> Vec<Task> {
        let world = World::new(tables, clock, ways);
        let late = self.reassembly.expire(now);
        let own = self.own.expire(now);
        count(
            &world,
            Event::DropFragmentLate,
            late.fragments + own.fragments,
        );
        for _ in self
            .waiting
            .extract_if(.., |waiting| waiting.deadline <= now)
        {
            tables.count(Event::DropUnsent);
        }
        let told = late
            .firsts
            .into_iter()
            .map(|first| tell(first, tables, &world));
        told.flatten().collect()
    }
}

/// Tells the sender of a first fragment that its datagram was not complete in time.
fn tell<W: Ways>(mut first: Frame, tables: &Tables, world: &World<'_, W>) -> Option<Task> {
    let near = near(&first, tables).unwrap_or_default();
    let verdict = tell_late(&mut first, world, near);
    first.interface = verdict.interface();
    (verdict.action() == Action::Out).then_some(Task::Send(first))
}

/// The address that this host sends to the fragment's sender from, if that is a destination.
fn near(fragment: &Frame, tables: &Tables) -> Option<[u64; 2]> {
    let sender = match Piece::of(fragment)?.name {
        Name::V4(sender, ..) => [u64::from(sender), 0],
        Name::V6(sender, ..) => sender,
    };
    let pair = |line: &Line, at: usize| [line[at].peek(), line[at + 1].peek()];
    let mut lines = tables.tunnels.iter();
    let line = lines.find(|line| pair(line, live::tunnel::SERVER) == sender)?;
    Some(pair(line, live::tunnel::SOURCE))
}

/// The datagram that a fragment was the last missing one of.
fn put_together<W: Ways>(arrival: Arrival, world: &World<'_, W>) -> Option<Whole> {
    match arrival {
        Arrival::Kept => None,
        Arrival::Whole(whole) => {
            world.count(Event::Reassembled);
            Some(*whole)
        }
        Arrival::GivenUp(why, fragments) => {
            count(world, why, fragments);
            None
        }
    }
}

/// Lets the fragments of a datagram pass: this is one of them.
fn let_pass<W: Ways>(fragment: &Frame, world: &World<'_, W>) {
    if let Some(name) = piece::datagram(fragment, world.geometry().seed) {
        name.let_pass(world);
    }
}

/// A packet leaves by its interface.
fn leave<W: Ways>(packet: Joined, world: &World<'_, W>) -> Vec<Task> {
    let frames = frames(&packet, world);
    if let [first, _, ..] = frames.as_slice() {
        let_leave(first, world);
    }
    frames.into_iter().map(Task::Send).collect()
}

/// A packet goes to the host's stack.
fn deliver<W: Ways>(packet: Joined, world: &World<'_, W>) -> Vec<Task> {
    let frames = frames_back(&packet, world);
    if let Some(first) = frames.first()
        && Piece::of(first).is_some()
    {
        let_pass(first, world);
    }
    frames.into_iter().map(Task::Deliver).collect()
}

/// The frames in which a packet leaves by its interface.
fn frames<W: Ways>(packet: &Joined, world: &World<'_, W>) -> Vec<Frame> {
    cut_by(packet, &measure(packet, world), world)
}

/// The frames in which a packet goes to the host's stack. One that came in fragments goes in fragments, which pass by their
/// name: whole it would be decided on again.
fn frames_back<W: Ways>(packet: &Joined, world: &World<'_, W>) -> Vec<Frame> {
    cut_by(packet, &measure(packet, world).never_whole(), world)
}

fn measure<'a, W: Ways>(packet: &'a Joined, world: &World<'_, W>) -> Measure<'a> {
    let link = port_of(world, packet.frame.interface).map_or(0, |(_, port)| {
        (port[live::port::INTERFACE].peek() >> 32) as u32
    });
    let mtu = match header4(&packet.frame) {
        Some(header) => path_mtu(world, header.destination, link),
        None => link,
    };
    match packet.longest_fragment() {
        0 => Measure::of(mtu),
        longest => Measure::like(mtu, longest, &packet.parts),
    }
}

fn cut_by<W: Ways>(packet: &Joined, measure: &Measure<'_>, world: &World<'_, W>) -> Vec<Frame> {
    cut::cut(&packet.frame, measure, world.random()).unwrap_or_else(|| {
        world.count(Event::DropTooBig);
        Vec::new()
    })
}

/// Writes the link-layer addresses: `to` and `from`, raw.
fn set_link(packet: &mut Joined, to: u64, from: u64) -> Option<()> {
    let link = packet.bytes_mut::<ETHERNET>(0)?;
    link[..6].copy_from_slice(&to.to_ne_bytes()[..6]);
    link[6..12].copy_from_slice(&from.to_ne_bytes()[..6]);
    Some(())
}

fn count<W: Ways>(world: &World<'_, W>, event: Event, times: u64) {
    for _ in 0..times {
        world.count(event);
    }
}
