//! Forwarding: what is rewritten before a packet leaves, one file a method.

pub mod direct;
pub mod fit;
pub mod masquerade;
pub mod masquerade6;
mod own;
pub mod refusal;
pub mod related;
pub mod tunnel;

pub(crate) use own::checksum_at;

use crate::packet::Packet;
use crate::wire::checksum::{add, change16, corrected};
use crate::wire::{ETHERNET, FIXED6, word16};
use lvsx_platform::{store16, store32, store64};

/// What becomes of a packet's time to live (hop limit) when it is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Age {
    /// It stays: the packet goes to this host's own stack, or comes from there.
    Same = 0,
    /// One less: the packet is forwarded.
    Older = 1,
}

/// A fixed IPv4 header, to rewrite.
struct Rewrite<'a>(&'a mut [u8; 20]);

/// Offset of time to live, protocol and checksum in it: one word.
const AGE: usize = 8;
/// Offset of the source address in it.
const SOURCE: usize = 12;
/// Offset of the destination address in it.
const DESTINATION: usize = 16;

impl<'a> Rewrite<'a> {
    #[inline(always)]
    fn of<P: Packet>(packet: &'a mut P) -> Option<Self> {
        packet.bytes_mut(ETHERNET).map(Self)
    }

    #[inline(always)]
    fn store(&mut self, at: usize, word: u32) {
        if let Some(bytes) = self
            .0
            .get_mut(at..)
            .and_then(|rest| rest.first_chunk_mut::<4>())
        {
            store32(bytes, word);
        }
    }

    /// Lowers the time to live by one and corrects the checksum for that and for `change` (RFC 1624). The caller has seen
    /// that it is above 1.
    #[inline(always)]
    fn age(&mut self, change: u32) {
        self.age_by(Age::Older, change);
    }

    /// As [`age`](Self::age), if it gets older.
    #[inline(always)]
    fn age_by(&mut self, age: Age, change: u32) {
        let old = word16(self.0, AGE);
        // The time to live is the first byte on the wire, the protocol the second.
        let new = u16::from_be(old).wrapping_sub((age as u16) << 8).to_be();
        let checksum = corrected(word16(self.0, AGE + 2), add(change16(old, new), change));
        let aged = if cfg!(target_endian = "little") {
            u32::from(new) | u32::from(checksum) << 16
        } else {
            u32::from(new) << 16 | u32::from(checksum)
        };
        self.store(AGE, aged);
    }
}

/// A fixed IPv6 header, to rewrite.
struct Rewrite6<'a>(&'a mut [u8; FIXED6]);

/// Offset of next header and hop limit in it.
const AGE6: usize = 6;
/// Offset of the source address in it.
const SOURCE6: usize = 8;
/// Offset of the destination address in it.
const DESTINATION6: usize = 24;

impl<'a> Rewrite6<'a> {
    /// The header at `offset` of the frame.
    #[inline(always)]
    fn at<P: Packet>(packet: &'a mut P, offset: usize) -> Option<Self> {
        packet.bytes_mut(offset).map(Self)
    }

    /// Writes an address.
    #[inline(always)]
    fn store(&mut self, at: usize, address: [u64; 2]) {
        if let Some(bytes) = self
            .0
            .get_mut(at..)
            .and_then(|rest| rest.first_chunk_mut::<16>())
            && let ([first, second], _) = bytes.as_chunks_mut::<8>()
        {
            store64(first, address[0]);
            store64(second, address[1]);
        }
    }

    /// Lowers the hop limit by one; the change of the header's sum. The caller has seen that it is above 1.
    #[inline(always)]
    fn age(&mut self) -> u32 {
        self.age_by(Age::Older)
    }

    /// As [`age`](Self::age), if it gets older.
    #[inline(always)]
    fn age_by(&mut self, age: Age) -> u32 {
        let old = word16(self.0, AGE6);
        // The hop limit is the second byte on the wire, behind the next header's number.
        let new = u16::from_be(old);
        let new = (new & 0xff00 | new.wrapping_sub(age as u16) & 0xff).to_be();
        if let Some(bytes) = self
            .0
            .get_mut(AGE6..)
            .and_then(|rest| rest.first_chunk_mut::<2>())
        {
            store16(bytes, new);
        }
        change16(old, new)
    }
}

/// Writes the link-layer addresses, raw.
#[inline(always)]
pub fn link<P: Packet>(packet: &mut P, destination: u64, source: u64) -> Option<()> {
    let (words, _) = packet.bytes_mut::<12>(0)?.as_chunks_mut::<4>();
    if let [first, second, third] = words {
        store32(first, destination as u32);
        store32(
            second,
            (destination >> 32) as u32 & 0xffff | (source as u32) << 16,
        );
        store32(third, (source >> 16) as u32);
    }
    Some(())
}
