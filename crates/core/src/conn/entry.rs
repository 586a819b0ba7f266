//! An IPv4 entry: eight words, one cache line.

use crate::conn::Control;
use crate::env::{Geometry, STRIPES};
use crate::generation::Method;
use crate::state::State;
use crate::tick::Tick;
use lvsx_platform::{Word, bits, hide};

/// Entries in a set.
pub const WAYS: usize = 8;

/// A set of the IPv4 table: 576 bytes.
#[repr(C)]
pub struct Set4 {
    /// The control words: one cache line.
    pub control: [Word; WAYS],
    /// The entries.
    pub entry: [Entry4; WAYS],
}

/// An IPv4 entry.
///
/// | word | holds |
/// |---|---|
/// | key | client address, client port << 32, protocol << 48 |
/// | virt | virtual address, virtual port << 32, destination port << 48 |
/// | dest | destination address, destination id << 32 (20 bits), method << 52 |
/// | hops | next hop to the server, next hop to the client: see [`Hop`] |
/// | epochs | route epoch of either hop: server's 16 bits, client's << 16; generation << 56 |
/// | mark | firewall mark by which it was scheduled |
/// | controller | persistence template it belongs to; 0 for none |
///
/// Addresses and ports are raw.
#[repr(C)]
pub struct Entry4 {
    key: Word,
    virt: Word,
    dest: Word,
    hops: [Word; 2],
    epochs: Word,
    mark: Word,
    controller: Word,
}

/// A packet's other end, by which an entry with its key is told from others of the same client port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A packet from the client: its destination, the virtual address and port.
    Virtual,
    /// A packet from a server: its source.
    Server,
}

/// What a packet looks for; computed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want4 {
    /// The entry's key word.
    pub key: u64,
    /// The other end: raw address, raw port << 32.
    pub peer: u64,
    /// 1 if the packet comes from a server, 0 if from a client.
    from_server: u32,
    /// Tag and phase of the control word looked for.
    pub(crate) look: u64,
    /// The set looked at first.
    pub first: u32,
    /// The other candidate.
    pub second: u32,
    /// Spreads over stripes, ways and the overflow area.
    spread: u32,
}

const LOW48: u64 = (1 << 48) - 1;

impl Want4 {
    /// What to look for: client's raw address and port, protocol, the other end's raw address and port.
    #[inline(always)]
    #[must_use]
    pub fn new(
        geometry: Geometry,
        protocol: u8,
        client: (u32, u16),
        peer: (u32, u16),
        side: Peer,
    ) -> Self {
        let key = u64::from(client.0) | u64::from(client.1) << 32 | u64::from(protocol) << 48;
        let mut x = (key ^ geometry.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^= x >> 32;
        x = x.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let y = (x ^ x >> 29).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
        let first = range(x >> 32, geometry.sets);
        let mut second = range(y >> 32, geometry.sets);
        if second == first {
            second = if first == 0 {
                geometry.sets.saturating_sub(1)
            } else {
                first - 1
            };
        }
        Self {
            key,
            peer: u64::from(peer.0) | u64::from(peer.1) << 32,
            from_server: u32::from(side == Peer::Server),
            look: Control::wanted(y as u16),
            first,
            second,
            spread: (y >> 8) as u32,
        }
    }

    /// Which other end `peer` is.
    #[inline(always)]
    #[must_use]
    pub fn side(&self) -> Peer {
        if self.from_server == 0 {
            Peer::Virtual
        } else {
            Peer::Server
        }
    }

    /// The stripe that the flow shares with others of its hash.
    #[inline(always)]
    #[must_use]
    pub fn stripe(&self) -> u32 {
        self.spread & (STRIPES - 1)
    }

    /// The way it takes if that is free, and is looked for in first: its control word and its entry are then fetched at the
    /// same time, where else the one tells the place of the other.
    #[inline(always)]
    #[must_use]
    pub(super) fn way(&self) -> usize {
        (self.spread >> STRIPES.trailing_zeros()) as usize & (WAYS - 1)
    }

    /// The tag of the flow's control word.
    #[inline(always)]
    #[must_use]
    pub fn tag(&self) -> u16 {
        (self.look >> 16) as u16
    }

    /// The `step`th set of the overflow area that the flow may lie in.
    #[inline(always)]
    #[must_use]
    pub fn overflow(&self, geometry: Geometry, step: u32) -> u32 {
        let start = range(u64::from(self.spread), geometry.overflow);
        let mut place = start.wrapping_add(step);
        if place >= geometry.overflow {
            place = place.wrapping_sub(geometry.overflow);
        }
        geometry.sets.wrapping_add(place)
    }
}

/// `x` of 32 bits scaled to 0..`n`.
#[inline(always)]
fn range(x: u64, n: u32) -> u32 {
    (((x & 0xffff_ffff) * u64::from(n)) >> 32) as u32
}

/// Where a packet goes next: link-layer address (48 bits, raw), port number (8), generation of the entry (8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Hop(pub u64);

impl Hop {
    /// A hop by port `number` to a raw link-layer address.
    #[inline(always)]
    #[must_use]
    pub fn new(address: u64, number: u32) -> Self {
        Self(address & LOW48 | u64::from(number & 0xff) << 48)
    }

    /// The raw link-layer address.
    #[inline(always)]
    #[must_use]
    pub fn address(self) -> u64 {
        self.0 & LOW48
    }

    /// The port number.
    #[inline(always)]
    #[must_use]
    pub fn port(self) -> u32 {
        (self.0 >> 48) as u32 & 0xff
    }
}

/// What an opener writes into the entry it claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEntry4 {
    /// The virtual end: raw address and port.
    pub virt: (u32, u16),
    /// The server's end: raw address and port.
    pub dest: (u32, u16),
    /// Destination id, below 2^20.
    pub id: u32,
    /// Forwarding method, by its IPVS number.
    pub method: u8,
    /// Firewall mark.
    pub mark: u32,
    /// Whether only the client's packets are expected here (`NOOUTPUT`): all methods but masquerading.
    pub input_only: bool,
    /// Its first state.
    pub state: State,
    /// Its first deadline.
    pub deadline: Tick,
}

impl Entry4 {
    /// 0 if this is the flow's entry: key and other end match. Free of branches.
    #[inline(always)]
    pub(crate) fn differs(&self, want: &Want4) -> u64 {
        let (key, virt, dest) = (self.key.peek(), self.virt.peek(), self.dest.peek());
        let by_virtual = virt & LOW48;
        let by_server = (dest & 0xffff_ffff) | virt >> 48 << 32;
        // Servers that answer past the director are known by the virtual end (Linux 6.1).
        let masquerades = bits::is_zero(method_bits(dest) ^ Method::Masquerade as u64);
        let peer = bits::pick(
            masquerades & u64::from(want.from_server),
            by_server,
            by_virtual,
        );
        (key ^ want.key) | (peer ^ want.peer)
    }

    /// Written by the owner of a claim.
    #[inline(always)]
    pub(crate) fn write(&self, key: u64, new: &NewEntry4) {
        self.key.poke(key);
        self.virt.poke(
            u64::from(new.virt.0) | u64::from(new.virt.1) << 32 | u64::from(new.dest.1) << 48,
        );
        self.dest.poke(
            u64::from(new.dest.0)
                | u64::from(new.id & 0xf_ffff) << 32
                | u64::from(new.method & 0xf) << 52,
        );
        self.hops[0].poke(0);
        self.hops[1].poke(0);
        self.epochs.poke(0);
        self.mark.poke(u64::from(new.mark));
        self.controller.poke(0);
    }

    /// The stripe of its flow.
    #[inline(always)]
    pub(super) fn stripe(&self, geometry: Geometry) -> u32 {
        Want4::new(
            geometry,
            self.protocol(),
            self.client(),
            (0, 0),
            Peer::Virtual,
        )
        .stripe()
    }

    /// Protocol number.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        (self.key.peek() >> 48) as u8
    }

    /// The client's end: raw address and port.
    #[inline(always)]
    pub fn client(&self) -> (u32, u16) {
        let key = self.key.peek();
        (key as u32, (key >> 32) as u16)
    }

    /// The virtual end: raw address and port.
    #[inline(always)]
    pub fn virt(&self) -> (u32, u16) {
        let virt = self.virt.peek();
        (virt as u32, (virt >> 32) as u16)
    }

    /// The server's end: raw address and port.
    #[inline(always)]
    pub fn dest(&self) -> (u32, u16) {
        (self.dest.peek() as u32, (self.virt.peek() >> 48) as u16)
    }

    /// Id of the destination.
    #[inline(always)]
    pub fn id(&self) -> u32 {
        (self.dest.peek() >> 32) as u32 & 0xf_ffff
    }

    /// Forwarding method, by its IPVS number.
    #[inline(always)]
    pub fn method(&self) -> u8 {
        method_bits(self.dest.peek()) as u8
    }

    /// The next hop towards `side` if it was found in this route `epoch`.
    #[inline(always)]
    pub fn hop(&self, towards: Peer, epoch: u16, generation: u8) -> Option<Hop> {
        let epochs = self.epochs.load();
        if (epochs >> 56) as u8 != generation || (epochs >> shift(towards)) as u16 != epoch {
            return None;
        }
        let hop = self.hops[hide(index(towards)) as usize & 1].peek();
        if (hop >> 56) as u8 != generation || hop & LOW48 == 0 {
            return None;
        }
        Some(Hop(hop))
    }

    /// Keeps a next hop found in this route `epoch`. Both words carry the generation they belong to, so one kept too late,
    /// into the entry's next life, is not taken for that life's: it costs one more look-up.
    #[inline(always)]
    pub fn keep_hop(&self, towards: Peer, hop: Hop, epoch: u16, generation: u8) {
        let word = &self.hops[hide(index(towards)) as usize & 1];
        let new = hop.0 & ((1 << 56) - 1) | u64::from(generation) << 56;
        if word.compare_exchange(word.peek(), new).is_err() {
            return;
        }
        let old = self.epochs.peek();
        let kept = if (old >> 56) as u8 == generation {
            old & !(0xffff << shift(towards))
        } else {
            0
        };
        let new = kept & ((1 << 56) - 1)
            | u64::from(epoch) << shift(towards)
            | u64::from(generation) << 56;
        // Losing the race costs one more look-up by the next packet.
        let _ = self.epochs.compare_exchange(old, new);
    }
}

#[inline(always)]
fn method_bits(dest: u64) -> u64 {
    dest >> 52 & 0xf
}

#[inline(always)]
fn index(towards: Peer) -> u64 {
    match towards {
        Peer::Server => 0,
        Peer::Virtual => 1,
    }
}

#[inline(always)]
fn shift(towards: Peer) -> u32 {
    match towards {
        Peer::Server => 0,
        Peer::Virtual => 16,
    }
}

/// An empty set, for tables in plain memory.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
pub fn no_entry() -> Set4 {
    let word = || Word::new(0);
    Set4 {
        control: core::array::from_fn(|_| word()),
        entry: core::array::from_fn(|_| Entry4 {
            key: word(),
            virt: word(),
            dest: word(),
            hops: [word(), word()],
            epochs: word(),
            mark: word(),
            controller: word(),
        }),
    }
}
