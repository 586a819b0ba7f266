//! What a packet looks for in the table.

use super::template::Controls;
use super::{Control, Entry, WAYS};
use crate::env::Geometry;

/// A packet's other end, by which an entry with its key is told from others of the same client port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A packet from the client: its destination, the virtual address and port.
    Virtual,
    /// A packet from a server: its source.
    Server,
}

/// What a packet looks for; computed once.
#[derive(Debug, PartialEq, Eq)]
pub struct Want<E: Entry> {
    /// The entry's key: protocol, client's address and port.
    pub key: E::End,
    /// The other end.
    pub peer: E::End,
    /// 1 if the packet comes from a server, 0 if from a client, [`TEMPLATE`] for a template.
    pub(super) from_server: u32,
    /// Hash of the key.
    hash: u64,
    /// The set where the flow is at home.
    pub home: u32,
}

impl<E: Entry> Clone for Want<E> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: Entry> Copy for Want<E> {}

impl<E: Entry> Want<E> {
    /// What to look for: protocol, client's raw address and port, the other end's.
    #[inline(always)]
    #[must_use]
    pub fn new(
        geometry: Geometry,
        protocol: u8,
        client: (E::Address, u16),
        peer: (E::Address, u16),
        side: Peer,
    ) -> Self {
        let hash = E::hash(&E::key(protocol, client), geometry.seed);
        Self::again(geometry, protocol, client, peer, side, hash)
    }

    /// The same from a [`hash`](Self::hash) kept before.
    #[inline(always)]
    #[must_use]
    pub fn again(
        geometry: Geometry,
        protocol: u8,
        client: (E::Address, u16),
        peer: (E::Address, u16),
        side: Peer,
        hash: u64,
    ) -> Self {
        Self {
            key: E::key(protocol, client),
            peer: E::peer(peer),
            from_server: u32::from(side == Peer::Server),
            hash,
            home: home(hash, geometry),
        }
    }

    /// What to look for to find a client's template: protocol (0 for services by mark), the client's network, and the virtual
    /// end.
    #[inline(always)]
    #[must_use]
    pub fn template(
        geometry: Geometry,
        protocol: u8,
        client: E::Address,
        virt: (E::Address, u16),
    ) -> Self {
        let key = E::key(protocol, (client, 0));
        let hash = E::hash(&key, geometry.seed);
        Self {
            key,
            peer: E::peer(virt),
            from_server: TEMPLATE,
            hash,
            home: home(hash, geometry),
        }
    }

    /// Looks for nothing yet.
    #[inline(always)]
    #[must_use]
    pub fn none(nowhere: (E::Address, u16)) -> Self {
        Self {
            key: E::key(0, nowhere),
            peer: E::peer(nowhere),
            from_server: 0,
            hash: 0,
            home: NOWHERE,
        }
    }

    /// Whether it looks for nothing.
    #[inline(always)]
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.home == NOWHERE
    }

    /// Which other end `peer` is.
    #[inline(always)]
    #[must_use]
    pub fn side(&self) -> Peer {
        if self.from_server & 1 == 0 {
            Peer::Virtual
        } else {
            Peer::Server
        }
    }

    /// Hash of the key.
    #[inline(always)]
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The tag of the flow's control word.
    #[inline(always)]
    #[must_use]
    pub fn tag(&self) -> u16 {
        self.hash as u16
    }

    /// Tag and phase of the control word looked for.
    #[inline(always)]
    pub(super) fn look(&self) -> u64 {
        // A template's phase has one bit more.
        Control::wanted(self.tag()) | u64::from(self.from_server >> 1)
    }

    /// What the entry opened for it controls at first: nothing if it is a template, else 0.
    #[inline(always)]
    pub(super) fn controls(&self, generation: u8) -> Controls {
        Controls(Controls::none(generation).0 & u64::from(self.from_server >> 1).wrapping_neg())
    }

    /// The way it takes if that is free, and is looked for in first: its control word and its entry are then fetched at the
    /// same time, where else the one tells the place of the other.
    #[inline(always)]
    #[must_use]
    pub(super) fn way(&self) -> usize {
        (((self.hash >> 16 & 0xffff) * WAYS as u64) >> 16) as usize
    }

    /// The flow's other candidate set.
    #[inline(always)]
    #[must_use]
    pub fn second(&self, geometry: Geometry) -> u32 {
        let second = range(again(self.hash) >> 32, geometry.sets);
        if second != self.home {
            return second;
        }
        if second == 0 {
            geometry.sets.saturating_sub(1)
        } else {
            second - 1
        }
    }

    /// The `step`th set of the overflow area that the flow may lie in.
    #[inline(always)]
    #[must_use]
    pub fn overflow(&self, geometry: Geometry, step: u32) -> u32 {
        let start = range(again(self.hash), geometry.overflow);
        let mut place = start.wrapping_add(step);
        if place >= geometry.overflow {
            place = place.wrapping_sub(geometry.overflow);
        }
        geometry.sets.wrapping_add(place)
    }
}

/// Of `from_server`: a template is looked for, by its virtual end.
const TEMPLATE: u32 = 2;

/// Home of nothing.
const NOWHERE: u32 = u32::MAX;

/// The set where flows of this hash are at home.
#[inline(always)]
pub(super) fn home(hash: u64, geometry: Geometry) -> u32 {
    range(hash >> 32, geometry.sets)
}

/// A second hash.
#[inline(always)]
fn again(hash: u64) -> u64 {
    (hash ^ hash >> 29).wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
}

/// `x` of 32 bits scaled to 0..`n`.
#[inline(always)]
fn range(x: u64, n: u32) -> u32 {
    (((x & 0xffff_ffff) * u64::from(n)) >> 32) as u32
}

/// Mixes two words into a hash all of whose bits are good.
#[inline(always)]
pub(crate) fn mix(key: u64, seed: u64) -> u64 {
    let mut x = (key ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x ^= x >> 32;
    x = x.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    x ^ x >> 32
}
