//! The IPv6 entry: sixteen words in two cache lines.

use super::hop::Hops;
use super::want::mix;
use super::{Entry, NewEntry, Set, Want};
use crate::env::{Geometry, Tables, state};
use crate::generation::Method;
use lvsx_platform::{Word, bits};

/// An IPv6 entry.
///
/// | word | holds |
/// |---|---|
/// | client, virt, dest | addresses, two words each |
/// | ports | client port, virtual port << 16, destination port << 32, protocol << 48 |
/// | binding | destination id (20 bits), method << 20 |
/// | hops | three words, see [`Hops`] |
/// | timeout | of a template the ticks it lives without new connections |
/// | controller | the template that controls it, 0 for none; of a template what it controls |
///
/// Addresses and ports are raw. The destination's address is an IPv4 one, in its first four bytes, for a tunnel over IPv4.
#[repr(C)]
pub struct Entry6 {
    client: [Word; 2],
    virt: [Word; 2],
    dest: [Word; 2],
    ports: Word,
    binding: Word,
    hops: Hops,
    timeout: Word,
    controller: Word,
    spare: [Word; 3],
}

/// Client port and protocol of the ports word.
const KEY: u64 = 0xffff_0000_0000_ffff;

impl Entry for Entry6 {
    type Address = [u64; 2];
    type End = [u64; 3];

    const OVERFLOW: usize = state::OVERFLOW6;

    #[inline(always)]
    fn key(protocol: u8, client: ([u64; 2], u16)) -> [u64; 3] {
        let [first, second] = client.0;
        [
            first,
            second,
            u64::from(client.1) | u64::from(protocol) << 48,
        ]
    }

    #[inline(always)]
    fn peer(end: ([u64; 2], u16)) -> [u64; 3] {
        let [first, second] = end.0;
        [first, second, u64::from(end.1)]
    }

    #[inline(always)]
    fn hash(key: &[u64; 3], seed: u64) -> u64 {
        let [first, second, ports] = *key;
        mix(mix(first, seed) ^ second, mix(ports, seed))
    }

    #[inline(always)]
    fn own_key(&self) -> [u64; 3] {
        [
            self.client[0].peek(),
            self.client[1].peek(),
            self.ports.peek() & KEY,
        ]
    }

    #[inline(always)]
    fn differs(&self, want: &Want<Self>) -> u64 {
        let ports = self.ports.peek();
        let [first, second, port] = want.key;
        let client = (self.client[0].peek() ^ first)
            | (self.client[1].peek() ^ second)
            | (ports & KEY ^ port);
        let [first, second, port] = want.peer;
        let by_virtual = (self.virt[0].peek() ^ first)
            | (self.virt[1].peek() ^ second)
            | (ports >> 16 & 0xffff ^ port);
        let by_server = (self.dest[0].peek() ^ first)
            | (self.dest[1].peek() ^ second)
            | (ports >> 32 & 0xffff ^ port);
        let masquerades = bits::is_zero(u64::from(self.method()) ^ Method::Masquerade as u64)
            & u64::from(want.from_server);
        client | bits::pick(masquerades, by_server, by_virtual)
    }

    #[inline(always)]
    fn write(&self, want: &Want<Self>, new: &NewEntry<Self>, generation: u8) {
        let ([first, second, port], virt) = (want.key, want.peer);
        self.client[0].poke(first);
        self.client[1].poke(second);
        self.virt[0].poke(virt[0]);
        self.virt[1].poke(virt[1]);
        self.dest[0].poke(new.dest.0[0]);
        self.dest[1].poke(new.dest.0[1]);
        self.ports
            .poke(port | virt[2] << 16 | u64::from(new.dest.1) << 32);
        self.binding
            .poke(u64::from(new.id & 0xf_ffff) | u64::from(new.method & 0xf) << 20);
        self.hops.begin(new.hop, new.epoch, generation);
        self.timeout.poke(new.timeout.into());
        self.controller
            .poke(new.controller.0 | want.controls(generation).0);
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        (self.ports.peek() >> 48) as u8
    }

    #[inline(always)]
    fn client(&self) -> ([u64; 2], u16) {
        let address = [self.client[0].peek(), self.client[1].peek()];
        (address, self.ports.peek() as u16)
    }

    #[inline(always)]
    fn virt(&self) -> ([u64; 2], u16) {
        let address = [self.virt[0].peek(), self.virt[1].peek()];
        (address, (self.ports.peek() >> 16) as u16)
    }

    #[inline(always)]
    fn dest(&self) -> ([u64; 2], u16) {
        let address = [self.dest[0].peek(), self.dest[1].peek()];
        (address, (self.ports.peek() >> 32) as u16)
    }

    #[inline(always)]
    fn id(&self) -> u32 {
        self.binding.peek() as u32 & 0xf_ffff
    }

    #[inline(always)]
    fn method(&self) -> u8 {
        (self.binding.peek() >> 20) as u8 & 0xf
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
        tables.set6(index)
    }

    #[inline(always)]
    fn geometry<T: Tables>(tables: &T) -> Geometry {
        tables.geometry()
    }
}

/// An empty set, for tables in plain memory.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
pub fn no_entry6() -> Set<Entry6> {
    fn words<const N: usize>() -> [Word; N] {
        core::array::from_fn(|_| Word::new(0))
    }
    Set {
        head: Word::new(0),
        control: words(),
        entry: core::array::from_fn(|_| Entry6 {
            client: words(),
            virt: words(),
            dest: words(),
            ports: Word::new(0),
            binding: Word::new(0),
            hops: Hops::none(),
            timeout: Word::new(0),
            controller: Word::new(0),
            spare: words(),
        }),
    }
}
