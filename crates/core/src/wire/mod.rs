//! Headers on the wire: offsets, parsing, checksums.

pub mod checksum;
pub mod icmp;
mod ipv4;
mod ipv6;
mod outer;

use lvsx_platform::{load16, load32, load64};

pub use ipv4::{Head4, Header4, Malformed4};
pub(crate) use ipv6::Chain;
pub use ipv6::{EXTENSIONS, FIXED6, Fragment6, Head6, Header6, Malformed6};
pub use outer::{OUTER4, Outer, outer4, outer6};

/// Length of an Ethernet header.
pub const ETHERNET: usize = 14;

/// EtherType of IPv4, raw.
pub const IPV4: u16 = 0x0800u16.to_be();

/// EtherType of IPv6, raw.
pub const IPV6: u16 = 0x86ddu16.to_be();

/// The flags byte of a TCP header (RFC 9293 section 3.1). Empty for other protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    #[inline(always)]
    #[must_use]
    pub fn fin(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// Synchronises sequence numbers.
    #[inline(always)]
    #[must_use]
    pub fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }

    /// Resets the connection.
    #[inline(always)]
    #[must_use]
    pub fn rst(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// The acknowledgement number counts.
    #[inline(always)]
    #[must_use]
    pub fn ack(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// Whether of these four SYN alone is set, as in the first segment of a connection.
    #[inline(always)]
    #[must_use]
    pub fn is_syn_alone(self) -> bool {
        self.0 & 0x17 == 0x02
    }

    /// Whether of these four ACK alone is set.
    #[inline(always)]
    #[must_use]
    pub fn is_ack_alone(self) -> bool {
        self.0 & 0x17 == 0x10
    }
}

/// What the director reads of a TCP or UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ports {
    /// Raw source port.
    pub source: u16,
    /// Raw destination port.
    pub destination: u16,
    /// TCP flags.
    pub flags: TcpFlags,
}

impl Ports {
    /// Reads a TCP (20 bytes at least) or UDP (8 bytes) header at `offset`, within `length` bytes of transport.
    ///
    /// `None`: the header does not fit the packet, or its own length field contradicts it.
    #[inline(always)]
    pub fn read<P: crate::packet::Packet>(
        packet: &P,
        protocol: u8,
        offset: usize,
        length: u32,
    ) -> Option<Self> {
        Self::read_up_to(packet, protocol, offset, length, length)
    }

    /// The same of a datagram's first fragment: its UDP length is the whole datagram's, beyond the `length` bytes here.
    #[inline(always)]
    pub fn read_first<P: crate::packet::Packet>(
        packet: &P,
        protocol: u8,
        offset: usize,
        length: u32,
    ) -> Option<Self> {
        Self::read_up_to(packet, protocol, offset, length, 0xffff)
    }

    /// Reads a header within `length` bytes of transport, of a UDP datagram of `most` bytes at most.
    #[inline(always)]
    fn read_up_to<P: crate::packet::Packet>(
        packet: &P,
        protocol: u8,
        offset: usize,
        length: u32,
        most: u32,
    ) -> Option<Self> {
        if protocol == crate::state::TCP {
            if length < 20 {
                return None;
            }
            let bytes = packet.bytes::<20>(offset)?;
            let ports = word32(bytes, 0);
            let data_offset = u32::from(bytes[12] >> 4) * 4;
            if data_offset < 20 || data_offset > length {
                return None;
            }
            return Some(Self {
                source: low(ports),
                destination: high(ports),
                flags: TcpFlags(bytes[13]),
            });
        }
        if length < 8 {
            return None;
        }
        let bytes = packet.bytes::<8>(offset)?;
        let ports = word32(bytes, 0);
        let claimed = u32::from(u16::from_be(word16(bytes, 4)));
        if claimed < 8 || claimed > most {
            return None;
        }
        Some(Self {
            source: low(ports),
            destination: high(ports),
            flags: TcpFlags::default(),
        })
    }
}

/// The half of a raw 32-bit word that came first on the wire.
#[inline(always)]
pub(crate) fn low(word: u32) -> u16 {
    if cfg!(target_endian = "little") {
        word as u16
    } else {
        (word >> 16) as u16
    }
}

/// The half of a raw 32-bit word that came second on the wire.
#[inline(always)]
pub(crate) fn high(word: u32) -> u16 {
    if cfg!(target_endian = "little") {
        (word >> 16) as u16
    } else {
        word as u16
    }
}

/// Two raw bytes at `at` of an array; 0 beyond it. Loaded as one word: bytes put together on the stack and loaded from
/// there would stall the processor's store buffer.
#[inline(always)]
#[must_use]
pub fn word16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
        Some(word) => load16(word),
        None => 0,
    }
}

/// Four raw bytes at `at` of an array; 0 beyond it.
#[inline(always)]
#[must_use]
pub fn word32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        Some(word) => load32(word),
        None => 0,
    }
}

/// Eight raw bytes at `at` of an array; 0 beyond it.
#[inline(always)]
#[must_use]
pub fn word64<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(word) => load64(word),
        None => 0,
    }
}
