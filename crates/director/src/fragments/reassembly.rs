//! Putting datagrams together of fragments. Pure: time is an argument, and what it keeps is bounded.
//!
//! As Linux 6.1 does for IPVS (`ip_fragment.c`, `inet_fragment.c`, `nf_conntrack_reasm.c`): in any order; a part that is there
//! already is left out; one that overlaps others ends the datagram (RFC 5722, for IPv4 too); so do two ends, a part without
//! data, a torn part of IPv6; 30 s for IPv4, 60 s for IPv6 after the first fragment; ECN as RFC 3168 section 5.3 has it; DF
//! set again if the longest fragment had it. Beyond [`ROOM`] fragments are refused, as the kernel does above its high
//! threshold (4 MiB).

use super::piece::{FRAGMENT_HEADER, Name, Piece};
use lvsx_core::event::Event;
use lvsx_core::host::Frame;
use lvsx_core::packet::Packet;
use lvsx_core::wire::ETHERNET;
use lvsx_core::wire::checksum::fold;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Bytes kept, bookkeeping included.
pub const ROOM: usize = 4 << 20;
/// Parts of a datagram.
pub const PARTS: usize = 1024;
/// What a fragment takes beside its bytes.
pub(super) const OVERHEAD: usize = 256;
/// How long a datagram of IPv4 may take.
const PATIENCE4: Duration = Duration::from_secs(30);
/// How long one of IPv6 may take.
const PATIENCE6: Duration = Duration::from_secs(60);
/// The longest IP packet (without IPv6's fixed header).
const LONGEST: usize = 65_535;

/// A datagram put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The packet, behind the link-layer header of its first fragment.
    pub frame: Frame,
    /// Length of its longest fragment, IP header included.
    pub longest: u32,
    /// Lengths of the fragments' data.
    pub parts: Vec<u32>,
    /// The fragments, as they came, in their order in the datagram.
    pub fragments: Vec<Frame>,
}

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It waits for others.
    Kept,
    /// It was the last one missing.
    Whole(Box<Whole>),
    /// So many fragments were given up, for that reason.
    GivenUp(Event, u64),
}

/// Datagrams that were not complete in time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Late {
    /// How many fragments of them were there.
    pub fragments: u64,
    /// The first ones, where they came: their senders are told.
    pub firsts: Vec<Frame>,
}

/// Datagrams that are not complete.
#[derive(Default)]
pub struct Reassembly {
    queues: HashMap<Name, Queue>,
    /// When which datagram is given up.
    deadlines: BTreeMap<Deadline, Name>,
    begun: u64,
    bytes: usize,
}

/// A moment, and the number of a datagram, because several may have the same moment.
type Deadline = (Instant, u64);

/// A datagram that is not complete.
struct Queue {
    deadline: Deadline,
    /// By their offsets.
    parts: BTreeMap<u32, Part>,
    /// Where the datagram ends, as far as is known.
    end: u32,
    is_end_known: bool,
    held: u32,
    bytes: usize,
    longest: u32,
    longest_unfragmentable: u32,
    /// One bit a value of ECN.
    ecn: u8,
}

struct Part {
    piece: Piece,
    frame: Frame,
}

impl Reassembly {
    /// Bytes kept, bookkeeping included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a fragment that came in at `now`. Cost: logarithmic in its datagram's parts; linear for the last one.
    pub fn take(&mut self, frame: Frame, now: Instant) -> Arrival {
        let Some(piece) = Piece::of(&frame) else {
            return Arrival::GivenUp(Event::DropMalformed, 1);
        };
        let bytes = frame.bytes.len() + OVERHEAD;
        if self.bytes + bytes > ROOM {
            return Arrival::GivenUp(Event::DropFragmentRoom, 1);
        }
        let begun = &mut self.begun;
        let deadlines = &mut self.deadlines;
        let queue = self.queues.entry(piece.name).or_insert_with(|| {
            *begun += 1;
            let patience = match piece.name {
                Name::V4(..) => PATIENCE4,
                Name::V6(..) => PATIENCE6,
            };
            let deadline = (now + patience, *begun);
            deadlines.insert(deadline, piece.name);
            Queue::new(deadline)
        });
        let before = queue.bytes;
        let added = queue.add(piece, frame, bytes);
        self.bytes += queue.bytes - before;
        match added {
            Ok(()) if queue.is_complete() => match self.end(piece.name) {
                Some(queue) => queue.join(),
                None => Arrival::Kept,
            },
            Ok(()) => Arrival::Kept,
            Err(Refused::Part(why)) => Arrival::GivenUp(why, 1),
            Err(Refused::Datagram(why)) => {
                let parts = self.end(piece.name).map_or(0, |queue| queue.parts.len());
                Arrival::GivenUp(why, 1 + parts as u64)
            }
        }
    }

    /// Gives up the datagrams whose time is over.
    pub fn expire(&mut self, now: Instant) -> Late {
        let mut late = Late::default();
        while let Some((&(deadline, _), &name)) = self.deadlines.first_key_value() {
            if deadline > now {
                break;
            }
            if let Some(mut queue) = self.end(name) {
                late.fragments += queue.parts.len() as u64;
                late.firsts
                    .extend(queue.parts.remove(&0).map(|part| part.frame));
            }
        }
        late
    }

    fn end(&mut self, name: Name) -> Option<Queue> {
        let queue = self.queues.remove(&name)?;
        self.deadlines.remove(&queue.deadline);
        self.bytes -= queue.bytes;
        Some(queue)
    }
}

/// Why a fragment was not taken.
enum Refused {
    /// It alone is left out.
    Part(Event),
    /// Its datagram is given up.
    Datagram(Event),
}

impl Queue {
    fn new(deadline: Deadline) -> Self {
        Self {
            deadline,
            parts: BTreeMap::new(),
            end: 0,
            is_end_known: false,
            held: 0,
            bytes: 0,
            longest: 0,
            longest_unfragmentable: 0,
            ecn: 0,
        }
    }

    fn add(&mut self, mut piece: Piece, frame: Frame, bytes: usize) -> Result<(), Refused> {
        let broken = Refused::Datagram(Event::DropFragmentBroken);
        if piece.more && !piece.end.is_multiple_of(8) {
            if piece.link.is_some() {
                return Err(broken);
            }
            piece.end -= piece.end % 8;
        }
        let contradicts = if piece.more {
            piece.end > self.end && self.is_end_known
        } else {
            piece.end < self.end || self.is_end_known && piece.end != self.end
        };
        if contradicts || piece.end <= piece.offset || piece.end as usize > LONGEST {
            return Err(broken);
        }
        if self.covers(&piece) {
            return Err(Refused::Part(Event::DropFragmentOverlap));
        }
        if self.touches(&piece) {
            return Err(Refused::Datagram(Event::DropFragmentOverlap));
        }
        if self.parts.len() >= PARTS {
            return Err(Refused::Datagram(Event::DropFragmentRoom));
        }
        self.end = self.end.max(piece.end);
        self.is_end_known |= !piece.more;
        self.held += piece.held();
        self.bytes += bytes;
        self.longest = self.longest.max(piece.length);
        if piece.dont_fragment {
            self.longest_unfragmentable = self.longest_unfragmentable.max(piece.length);
        }
        self.ecn |= 1 << piece.ecn;
        self.parts.insert(piece.offset, Part { piece, frame });
        Ok(())
    }

    /// Whether all of the piece is there already.
    fn covers(&self, piece: &Piece) -> bool {
        let mut reached = piece.offset;
        while reached < piece.end {
            match self.parts.range(..=reached).next_back() {
                Some((_, part)) if part.piece.end > reached => reached = part.piece.end,
                _ => return false,
            }
        }
        true
    }

    /// Whether some of the piece is there already.
    fn touches(&self, piece: &Piece) -> bool {
        let before = self.parts.range(..piece.end).next_back();
        before.is_some_and(|(_, part)| part.piece.end > piece.offset)
    }

    fn is_complete(&self) -> bool {
        self.is_end_known && self.held == self.end
    }

    /// The datagram of all parts.
    fn join(self) -> Arrival {
        let count = self.parts.len() as u64;
        match self.joined() {
            Some(whole) => Arrival::Whole(Box::new(whole)),
            None => Arrival::GivenUp(Event::DropFragmentBroken, count),
        }
    }

    fn joined(self) -> Option<Whole> {
        let congestion = congestion(self.ecn)?;
        let (_, first) = self.parts.first_key_value()?;
        let link = first.piece.link;
        let data = match link {
            None => first.piece.data,
            Some(_) => first.piece.data - FRAGMENT_HEADER,
        };
        let mut frame = Frame {
            bytes: first.frame.bytes.get(..data)?.to_vec(),
            interface: first.frame.interface,
        };
        for part in self.parts.values() {
            let begin = part.piece.data;
            let end = begin + part.piece.held() as usize;
            frame.bytes.extend(part.frame.bytes.get(begin..end)?);
        }
        let total = frame.bytes.len() - ETHERNET;
        match link {
            None => {
                let unfragmentable = self.longest_unfragmentable == self.longest;
                finish4(&mut frame, total, unfragmentable, congestion)?;
            }
            Some((named_at, protocol)) => {
                *frame.bytes.get_mut(named_at)? = protocol;
                finish6(&mut frame, total, congestion)?;
            }
        }
        Some(Whole {
            frame,
            longest: self.longest,
            parts: self.parts.values().map(|it| it.piece.held()).collect(),
            fragments: self.parts.into_values().map(|part| part.frame).collect(),
        })
    }
}

/// Bits of [`Queue::ecn`].
const NOT_CAPABLE: u8 = 1;
const CONGESTED: u8 = 1 << 3;

/// What is added to the ECN of the first fragment (RFC 3168 section 5.3): congestion that any met. `None`: some could have
/// told of it and others could not, which no honest sender makes.
fn congestion(seen: u8) -> Option<u8> {
    if seen & NOT_CAPABLE != 0 && seen != NOT_CAPABLE {
        return None;
    }
    let is_mixed = seen & CONGESTED != 0 && seen != CONGESTED;
    Some(if is_mixed { 3 } else { 0 })
}

/// Makes an IPv4 header one of a whole packet of `total` bytes.
fn finish4(frame: &mut Frame, total: usize, unfragmentable: bool, congestion: u8) -> Option<()> {
    let total = u16::try_from(total).ok()?;
    let header = usize::from(frame.bytes.get(ETHERNET)? & 0xf) * 4;
    let bytes = frame.bytes_mut::<12>(ETHERNET)?;
    bytes[1] |= congestion;
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    bytes[6..8].copy_from_slice(&[u8::from(unfragmentable) << 6, 0]);
    seal4(frame, header)
}

/// Writes the checksum of an IPv4 header of so many bytes.
pub(super) fn seal4(frame: &mut Frame, header: usize) -> Option<()> {
    frame.bytes_mut::<2>(ETHERNET + 10)?.fill(0);
    let sum = !fold(u64::from(frame.sum(ETHERNET, header as u32)?));
    *frame.bytes_mut::<2>(ETHERNET + 10)? = sum.to_ne_bytes();
    Some(())
}

/// Makes an IPv6 header one of a packet of `total` bytes.
fn finish6(frame: &mut Frame, total: usize, congestion: u8) -> Option<()> {
    let payload = u16::try_from(total.checked_sub(40)?).ok()?;
    let bytes = frame.bytes_mut::<6>(ETHERNET)?;
    bytes[1] |= congestion << 4;
    bytes[4..6].copy_from_slice(&payload.to_be_bytes());
    Some(())
}
