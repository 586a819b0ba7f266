//! Entries: what both families have in common, and the IPv4 entry, eight words in one cache line.

use super::hop::LOW48;
use super::want::mix;
use super::{Controller, Hop, Hops, Set, Want};
use crate::env::{Geometry, Tables, state};
use crate::generation::Method;
use crate::state::State;
use crate::tick::Tick;
use core::fmt::Debug;
use lvsx_platform::{Word, bits};

/// An entry of either family's table.
pub trait Entry: Sized {
    /// A raw address.
    type Address: Copy + PartialEq + Debug;
    /// An end of a flow as it is compared: address, port, and in a key the protocol.
    type End: Copy + PartialEq + Debug;

    /// Word of [`state::CONNECTIONS`] that counts the entries in the overflow area of the family's table.
    const OVERFLOW: usize;

    /// The key of a flow: protocol, client's address and port.
    fn key(protocol: u8, client: (Self::Address, u16)) -> Self::End;
    /// The other end of a flow.
    fn peer(end: (Self::Address, u16)) -> Self::End;
    /// The hash of a key.
    fn hash(key: &Self::End, seed: u64) -> u64;
    /// The key of the flow whose entry this is.
    fn own_key(&self) -> Self::End;
    /// 0 if this is the flow's entry: key and other end match. Free of branches.
    fn differs(&self, want: &Want<Self>) -> u64;
    /// Written by the owner of a claim.
    fn write(&self, want: &Want<Self>, new: &NewEntry<Self>, generation: u8);
    /// Protocol number.
    fn protocol(&self) -> u8;
    /// The client's end: raw address and port.
    fn client(&self) -> (Self::Address, u16);
    /// The virtual end: raw address and port.
    fn virt(&self) -> (Self::Address, u16);
    /// The server's end: raw address and port.
    fn dest(&self) -> (Self::Address, u16);
    /// Id of the destination.
    fn id(&self) -> u32;
    /// Forwarding method, by its IPVS number.
    fn method(&self) -> u8;
    /// The next hops.
    fn hops(&self) -> &Hops;
    /// Of a connection the template that controls it ([`Controller`]); of a template what it controls
    /// ([`Controls`](super::Controls)).
    fn controller(&self) -> &Word;
    /// Of a template: the ticks it lives without new connections.
    fn timeout(&self) -> u32;
    /// Of a connection: the client's packets, as far as they were counted ([`count_packet`](super::count_packet)).
    fn packets(&self) -> &Word;
    /// Set `index` of the family's table: the main sets, then the overflow area.
    fn set<T: Tables>(tables: &T, index: u32) -> Option<&Set<Self>>;
    /// How the family's table is laid out.
    fn geometry<T: Tables>(tables: &T) -> Geometry;
}

/// What an opener writes into the entry it claimed, beside the ends of the flow that it looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEntry<E: Entry> {
    /// The server's end: raw address and port.
    pub dest: (E::Address, u16),
    /// Destination id, below 2^20.
    pub id: u32,
    /// Forwarding method, by its IPVS number.
    pub method: u8,
    /// Whether only the client's packets are expected here (`NOOUTPUT`): all methods but masquerade.
    pub input_only: bool,
    /// The next hop towards the server, if it is known.
    pub hop: Hop,
    /// The route epoch it was found in.
    pub epoch: u16,
    /// Its first state.
    pub state: State,
    /// Its first deadline.
    pub deadline: Tick,
    /// Of a connection the template that controls it.
    pub controller: Controller,
    /// Of a template: the ticks it lives without new connections. Of a connection: the client's packets so far.
    pub timeout: u32,
}

/// An IPv4 entry.
///
/// | word | holds |
/// |---|---|
/// | key | client address, client port << 32, protocol << 48; the last byte is always 0, for [`touch`](Word::touch) |
/// | virt | virtual address, virtual port << 32, destination port << 48 |
/// | dest | destination address, destination id << 32 (20 bits), method << 52 |
/// | hops | three words, see [`Hops`] |
/// | timeout | of a template the ticks it lives without new connections; of a connection the client's packets, as far as counted |
/// | controller | the template that controls it, 0 for none; of a template what it controls |
///
/// Addresses and ports are raw.
#[repr(C)]
pub struct Entry4 {
    key: Word,
    virt: Word,
    dest: Word,
    hops: Hops,
    timeout: Word,
    controller: Word,
}

impl Entry4 {
    /// Begins to fetch it.
    #[inline(always)]
    pub(super) fn touch(&self) {
        self.key.touch::<7>();
    }
}

impl Entry for Entry4 {
    type Address = u32;
    type End = u64;

    const OVERFLOW: usize = state::OVERFLOW4;

    #[inline(always)]
    fn key(protocol: u8, client: (u32, u16)) -> u64 {
        Self::peer(client) | u64::from(protocol) << 48
    }

    #[inline(always)]
    fn peer(end: (u32, u16)) -> u64 {
        u64::from(end.0) | u64::from(end.1) << 32
    }

    #[inline(always)]
    fn hash(key: &u64, seed: u64) -> u64 {
        mix(*key, seed)
    }

    #[inline(always)]
    fn own_key(&self) -> u64 {
        self.key.peek()
    }

    #[inline(always)]
    fn differs(&self, want: &Want<Self>) -> u64 {
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

    #[inline(always)]
    fn write(&self, want: &Want<Self>, new: &NewEntry<Self>, generation: u8) {
        self.key.poke(want.key);
        self.virt
            .poke(want.peer & LOW48 | u64::from(new.dest.1) << 48);
        self.dest.poke(
            u64::from(new.dest.0)
                | u64::from(new.id & 0xf_ffff) << 32
                | u64::from(new.method & 0xf) << 52,
        );
        self.hops.begin(new.hop, new.epoch, generation);
        self.timeout.poke(new.timeout.into());
        self.controller
            .poke(new.controller.0 | want.controls(generation).0);
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        (self.key.peek() >> 48) as u8
    }

    #[inline(always)]
    fn client(&self) -> (u32, u16) {
        let key = self.key.peek();
        (key as u32, (key >> 32) as u16)
    }

    #[inline(always)]
    fn virt(&self) -> (u32, u16) {
        let virt = self.virt.peek();
        (virt as u32, (virt >> 32) as u16)
    }

    #[inline(always)]
    fn dest(&self) -> (u32, u16) {
        (self.dest.peek() as u32, (self.virt.peek() >> 48) as u16)
    }

    #[inline(always)]
    fn id(&self) -> u32 {
        (self.dest.peek() >> 32) as u32 & 0xf_ffff
    }

    #[inline(always)]
    fn method(&self) -> u8 {
        method_bits(self.dest.peek()) as u8
    }

    #[inline(always)]
    fn hops(&self) -> &Hops {
        &self.hops
    }

    #[inline(always)]
    fn controller(&self) -> &Word {
        &self.controller
    }

    #[inline(always)]
    fn timeout(&self) -> u32 {
        self.timeout.peek() as u32
    }

    #[inline(always)]
    fn packets(&self) -> &Word {
        &self.timeout
    }

    #[inline(always)]
    fn set<T: Tables>(tables: &T, index: u32) -> Option<&Set<Self>> {
        tables.set4(index)
    }

    #[inline(always)]
    fn geometry<T: Tables>(tables: &T) -> Geometry {
        tables.geometry()
    }
}

#[inline(always)]
fn method_bits(dest: u64) -> u64 {
    dest >> 52 & 0xf
}

/// An empty set, for tables in plain memory.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
pub fn no_entry4() -> Set<Entry4> {
    let word = || Word::new(0);
    Set {
        head: word(),
        control: core::array::from_fn(|_| word()),
        entry: core::array::from_fn(|_| Entry4 {
            key: word(),
            virt: word(),
            dest: word(),
            hops: Hops::none(),
            timeout: word(),
            controller: word(),
        }),
    }
}
