//! Next hops, as entries keep them.

use super::Peer;
use lvsx_platform::{Word, hide, is_constant};

pub(super) const LOW48: u64 = (1 << 48) - 1;

/// Where a packet goes next: link-layer address (48 bits, raw), port number (8), generation of the entry (8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Hop(pub u64);

impl Hop {
    /// This host's own stack: no interface sends to this link-layer address, that of everybody, as a next hop's.
    pub const LOCAL: Self = Self(LOW48);

    /// Whether it leads to this host's own stack.
    #[inline(always)]
    #[must_use]
    pub fn is_local(self) -> bool {
        self.address() == LOW48
    }

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

    /// Whether it leads anywhere.
    #[inline(always)]
    #[must_use]
    pub fn is_known(self) -> bool {
        self.address() != 0
    }
}

/// The next hops of an entry, of the client's packets and of the server's, each with the route epoch it was found in. The
/// side is everywhere the one that a packet comes from, as [`Peer`] names it.
///
/// All words carry the generation of the entry's life, so one kept too late, into the entry's next life, is not taken for
/// that life's: it costs one more look-up.
#[repr(C)]
pub struct Hops {
    hops: [Word; 2],
    /// Epochs: 16 bits of the client's packets, of the server's << 16; generation << 56.
    epochs: Word,
}

impl Hops {
    /// The next hop of packets from `side`; unknown if it was not found in this route `epoch`.
    #[inline(always)]
    pub fn find(&self, side: Peer, epoch: u16, generation: u8) -> Hop {
        self.known(side, epoch, generation).unwrap_or(Hop(0))
    }

    /// The same; `None` if it was not found in this epoch.
    #[inline(always)]
    pub fn known(&self, side: Peer, epoch: u16, generation: u8) -> Option<Hop> {
        let epochs = self.epochs.load();
        let hop = self.hops[index(side)].peek();
        let differs = (epochs >> 56 ^ u64::from(generation))
            | (hop >> 56 ^ u64::from(generation))
            | (epochs >> shift(side) & 0xffff ^ u64::from(epoch));
        (differs == 0).then_some(Hop(hop))
    }

    /// Keeps a next hop found in this route `epoch`.
    #[inline(always)]
    pub fn keep(&self, side: Peer, hop: Hop, epoch: u16, generation: u8) {
        let word = &self.hops[index(side)];
        let new = Self::word(hop, generation);
        if word.compare_exchange(word.peek(), new).is_err() {
            return;
        }
        let old = self.epochs.peek();
        let kept = if (old >> 56) as u8 == generation {
            old & !(0xffff << shift(side))
        } else {
            0
        };
        let new =
            kept & ((1 << 56) - 1) | u64::from(epoch) << shift(side) | u64::from(generation) << 56;
        // Losing the race costs one more look-up by the next packet.
        let _ = self.epochs.compare_exchange(old, new);
    }

    /// Begins a life with the next hop of the client's packets, perhaps not known. By the owner of a claim.
    #[inline(always)]
    pub(super) fn begin(&self, hop: Hop, epoch: u16, generation: u8) {
        self.hops[index(Peer::Virtual)].poke(Self::word(hop, generation));
        self.hops[index(Peer::Server)].poke(0);
        self.epochs
            .poke(u64::from(epoch) << shift(Peer::Virtual) | u64::from(generation) << 56);
    }

    #[inline(always)]
    fn word(hop: Hop, generation: u8) -> u64 {
        hop.0 & ((1 << 56) - 1) | u64::from(generation) << 56
    }

    #[cfg(not(target_arch = "bpf"))]
    pub(super) fn none() -> Self {
        Self {
            hops: [Word::new(0), Word::new(0)],
            epochs: Word::new(0),
        }
    }
}

#[inline(always)]
fn index(side: Peer) -> usize {
    let index: u64 = match side {
        Peer::Virtual => 0,
        Peer::Server => 1,
    };
    if is_constant(index) {
        return index as usize;
    }
    hide(index) as usize & 1
}

#[inline(always)]
fn shift(side: Peer) -> u32 {
    match side {
        Peer::Virtual => 0,
        Peer::Server => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_is_that_of_its_side_epoch_and_life_alone() {
        let hops = Hops::none();
        let (there, back) = (Hop::new(0x77, 3), Hop::new(0x88, 4));
        hops.begin(there, 9, 5);
        assert_eq!(hops.find(Peer::Virtual, 9, 5).address(), there.address());
        assert!(!hops.find(Peer::Server, 9, 5).is_known());
        assert!(!hops.find(Peer::Virtual, 10, 5).is_known());
        assert!(!hops.find(Peer::Virtual, 9, 6).is_known());
        hops.keep(Peer::Server, back, 10, 5);
        assert_eq!(hops.find(Peer::Server, 10, 5).address(), back.address());
        assert_eq!(hops.find(Peer::Virtual, 9, 5).port(), there.port());
        hops.begin(Hop::default(), 10, 6);
        assert!(!hops.find(Peer::Virtual, 10, 6).is_known());
    }
}
