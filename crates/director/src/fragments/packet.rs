//! A datagram put together, as decisions see it.

use lvsx_core::host::Frame;
use lvsx_core::packet::{Packet, Room};

/// A packet that came in fragments.
pub struct Joined {
    /// It.
    pub frame: Frame,
    /// Length of the longest fragment; 0 once it is another packet.
    longest: u32,
    /// Lengths of the fragments' data.
    pub parts: Vec<u32>,
}

impl Joined {
    /// A packet that did not come in fragments.
    #[must_use]
    pub fn whole(frame: Frame) -> Self {
        Self {
            frame,
            longest: 0,
            parts: Vec::new(),
        }
    }

    /// A packet of fragments of these lengths: the longest one, its IP header included; their data.
    #[must_use]
    pub fn of(frame: Frame, longest: u32, parts: Vec<u32>) -> Self {
        Self {
            frame,
            longest,
            parts,
        }
    }
}

impl Packet for Joined {
    const RESOLVES: bool = true;

    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.frame.bytes(offset)
    }

    fn bytes_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.frame.bytes_mut(offset)
    }

    fn reveal(&mut self, length: u32) {
        self.frame.reveal(length);
    }

    fn len(&self) -> u32 {
        self.frame.len()
    }

    fn is_aggregate(&self) -> bool {
        false
    }

    fn longest_fragment(&self) -> u32 {
        self.longest
    }

    fn interface(&self) -> u32 {
        self.frame.interface
    }

    fn push(&mut self, length: u32, room: Room) -> bool {
        self.frame.push(length, room)
    }

    fn pop(&mut self, length: u32) -> bool {
        self.frame.pop(length)
    }

    fn cut(&mut self, length: u32) -> bool {
        // It becomes an ICMP error, which goes whole.
        self.longest = 0;
        self.parts.clear();
        self.frame.cut(length)
    }

    fn adjust_checksum(&mut self, offset: usize, address: u32, port: u32, udp: bool) -> Option<()> {
        self.frame.adjust_checksum(offset, address, port, udp)
    }

    fn is_partial(&mut self, offset: usize) -> bool {
        self.frame.is_partial(offset)
    }

    fn shift_sum(&mut self, change: u32) {
        self.frame.shift_sum(change);
    }

    fn sum(&self, offset: usize, length: u32) -> Option<u32> {
        self.frame.sum(offset, length)
    }
}
