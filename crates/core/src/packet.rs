//! The window through which decisions see a packet.

/// A packet: its headers byte by byte, room in front, checksums the way its hook keeps them.
pub trait Packet {
    /// `N` bytes from `offset` of the frame, or `None` beyond its end (or beyond what the hook can show).
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// The same, to write.
    fn bytes_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;

    /// Length of the whole frame in bytes, link-layer header included.
    fn len(&self) -> u32;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a super-frame that the kernel cuts to size before it leaves (GSO).
    fn is_aggregate(&self) -> bool;

    /// Index of the interface it came in by.
    fn interface(&self) -> u32;

    /// Makes room for a 20-byte IPv4 header behind the link-layer header, which is moved in front of it. The room's
    /// content is unspecified. `false`: no room, nothing changed.
    fn push_ipv4(&mut self) -> bool;

    /// Corrects the TCP or UDP checksum at `offset` for a changed address and port: `address` and `port` are the
    /// one's-complement differences (RFC 1624: `!old + new`). A hook that keeps partial checksums (tc) corrects these
    /// rightly too. `udp`: a result of 0 is written as 0xffff.
    fn adjust_checksum(&mut self, offset: usize, address: u32, port: u32, udp: bool) -> Option<()>;

    /// One's-complement sum over `length` bytes from `offset`, for a UDP datagram sent without checksum. `None` when the
    /// hook cannot, or the frame is shorter.
    fn sum(&self, offset: usize, length: u32) -> Option<u32>;
}
