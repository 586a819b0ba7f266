//! The window through which decisions see a packet.

/// A packet: its headers byte by byte, room in front, checksums the way its hook keeps them.
pub trait Packet {
    /// Whether the hook can send to a next hop whose link-layer address is not known: the kernel resolves it meanwhile.
    const RESOLVES: bool;

    /// `N` bytes from `offset` of the frame, or `None` beyond its end (or beyond what the hook can show).
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// The same, to write.
    fn bytes_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;

    /// Makes the first `length` bytes of the frame visible, as far as it has them, where a hook shows fewer at first (tc).
    fn reveal(&mut self, length: u32);

    /// Length of the whole frame in bytes, link-layer header included.
    fn len(&self) -> u32;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a super-frame that the kernel cuts to size before it leaves (GSO).
    fn is_aggregate(&self) -> bool;

    /// Length of the longest fragment that it was put together of, its IP header included; 0: it came whole.
    #[inline(always)]
    fn longest_fragment(&self) -> u32 {
        0
    }

    /// Index of the interface it came in by.
    fn interface(&self) -> u32;

    /// Makes room for `length` bytes behind the link-layer header, which is moved in front of it. The room's content is
    /// unspecified; `room` says what the caller will write there. `false`: no room, nothing changed.
    fn push(&mut self, length: u32, room: Room) -> bool;

    /// Takes `length` bytes away behind the link-layer header, which is moved after them. At least 20 bytes must be left
    /// behind it. `false`: the hook refuses, nothing changed.
    fn pop(&mut self, length: u32) -> bool;

    /// Cuts the frame to `length` bytes and makes it an ordinary packet: no super-frame any more, and what hardware knew of
    /// its checksums is forgotten, but for a begun one ([`is_partial`](Self::is_partial)). `false`: it is shorter, or the
    /// hook refuses.
    fn cut(&mut self, length: u32) -> bool;

    /// Corrects the TCP or UDP checksum at `offset` for a changed address and port: `address` and `port` are the
    /// one's-complement differences (RFC 1624: `!old + new`), of any number of words. A hook that keeps partial checksums
    /// (tc) corrects these rightly too. It takes it that a header checksum makes up for the address, as in IPv4: for IPv6,
    /// where nothing does, `address` goes to [`shift_sum`](Self::shift_sum) as well. `udp`: a result of 0 is written as
    /// 0xffff.
    fn adjust_checksum(&mut self, offset: usize, address: u32, port: u32, udp: bool) -> Option<()>;

    /// Whether the TCP or UDP checksum at `offset` is only begun: it holds the sum of the pseudo header, and hardware or the
    /// kernel finishes it when the packet leaves (tc only). The segment will then sum up to the complement of what the field
    /// holds now, whatever its data is.
    fn is_partial(&mut self, offset: usize) -> bool;

    /// Bytes of the packet changed by `change` (a one's-complement difference) in sum, and no checksum in it makes up for
    /// that: a hook that keeps the sum of the whole packet (tc, `CHECKSUM_COMPLETE`) corrects it.
    fn shift_sum(&mut self, change: u32);

    /// One's-complement sum over `length` bytes from `offset`, as they lie in the frame. `None` when the hook cannot, or the
    /// frame is shorter.
    fn sum(&self, offset: usize, length: u32) -> Option<u32>;
}

/// What [`Packet::push`] makes room for. A hook that hands super-frames on must know it, so that they are cut rightly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room(u8);

impl Room {
    /// Headers that make another packet of it; nothing is carried inside another.
    pub const PLAIN: Self = Self(0);

    /// An outer IPv4 header, and what [`Carrier`] says behind it.
    #[inline(always)]
    #[must_use]
    pub fn ipv4(carrier: Carrier) -> Self {
        Self(0x02 | carrier as u8)
    }

    /// An outer IPv6 header, and what [`Carrier`] says behind it.
    #[inline(always)]
    #[must_use]
    pub fn ipv6(carrier: Carrier) -> Self {
        Self(0x04 | carrier as u8)
    }

    /// The same as flags of `bpf_skb_adjust_room` (`BPF_F_ADJ_ROOM_ENCAP_*`).
    #[inline(always)]
    #[must_use]
    pub fn flags(self) -> u64 {
        u64::from(self.0)
    }
}

/// What lies between a tunnel's outer IP header and the packet inside. Numbers: `BPF_F_ADJ_ROOM_ENCAP_L4_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Carrier {
    /// Nothing: IP in IP.
    Ip = 0,
    /// A GRE header.
    Gre = 0x08,
    /// A UDP header and what follows it.
    Udp = 0x10,
}
