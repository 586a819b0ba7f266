//! What a frame says of the fragment in it (RFC 791 section 3.2, RFC 8200 section 4.5).

use lvsx_core::director::Datagram;
use lvsx_core::host::Frame;
use lvsx_core::wire::{ETHERNET, FIXED6, Head4, Header4, Header6, IPV4, IPV6};

/// What the fragments of a datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// Source, destination, protocol and identification.
    V4(u32, u32, u8, u16),
    /// Source, destination and identification.
    V6([u64; 2], [u64; 2], u32),
}

/// A fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Of which datagram.
    pub name: Name,
    /// Where its data lies in the datagram.
    pub offset: u32,
    /// Where it ends there.
    pub end: u32,
    /// Whether more follow.
    pub more: bool,
    /// Where its data begins in the frame.
    pub data: usize,
    /// Length of the packet, its IP header included.
    pub length: u32,
    /// Whether it must not be fragmented further.
    pub dont_fragment: bool,
    /// The two bits of ECN.
    pub ecn: u8,
    /// IPv6: where the number stands that names the fragment header, and what that one names. IPv4: nothing.
    pub link: Option<(usize, u8)>,
}

impl Piece {
    /// Reads the frame. `None`: there is no fragment in it.
    #[must_use]
    pub fn of(frame: &Frame) -> Option<Self> {
        match kind(&frame.bytes)? {
            IPV4 => Self::of4(&header4(frame)?),
            IPV6 => Self::of6(frame),
            _ => None,
        }
    }

    fn of4(header: &Header4) -> Option<Self> {
        let offset = u32::from(header.fragment_offset);
        header.is_fragment.then(|| Self {
            name: Name::V4(
                header.source,
                header.destination,
                header.protocol,
                header.identification,
            ),
            offset,
            end: offset + header.payload(),
            more: header.more_fragments,
            data: header.transport,
            length: header.total.into(),
            dont_fragment: header.dont_fragment,
            ecn: header.tos & 3,
            link: None,
        })
    }

    fn of6(frame: &Frame) -> Option<Self> {
        let header = Header6::read(frame).ok()?;
        if !header.fragment.present {
            return None;
        }
        let (named_at, fragment) = fragment_header(&frame.bytes)?;
        let data = fragment + FRAGMENT_HEADER;
        let offset = u32::from(header.fragment.offset);
        let held = (ETHERNET as u32 + header.total).checked_sub(data as u32)?;
        Some(Self {
            name: Name::V6(
                header.source,
                header.destination,
                header.fragment.identification,
            ),
            offset,
            end: offset + held,
            more: header.fragment.more,
            data,
            length: header.total,
            dont_fragment: false,
            ecn: header.tos & 3,
            link: Some((named_at, *frame.bytes.get(fragment)?)),
        })
    }

    /// Bytes of its data.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.end - self.offset
    }
}

/// Length of IPv6's fragment header.
pub const FRAGMENT_HEADER: usize = 8;
/// Its number.
pub const FRAGMENT: u8 = 44;

/// The raw EtherType of a frame.
#[must_use]
pub fn kind(frame: &[u8]) -> Option<u16> {
    let bytes = frame.get(12..14)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

/// The IPv4 header of a frame.
#[must_use]
pub fn header4(frame: &Frame) -> Option<Header4> {
    Header4::parse(&Head4::of(frame)?, u32::try_from(frame.bytes.len()).ok()?).ok()
}

/// How the data plane names the datagram of a fragment; `seed` is the tables' secret.
#[must_use]
pub fn datagram(frame: &Frame, seed: u64) -> Option<Datagram> {
    match kind(&frame.bytes)? {
        IPV4 => Some(Datagram::of4(&header4(frame)?, seed)),
        IPV6 => Some(Datagram::of6(&Header6::read(frame).ok()?, seed)),
        _ => None,
    }
}

/// Where the number stands that names an IPv6 packet's fragment header, and where that header begins.
fn fragment_header(frame: &[u8]) -> Option<(usize, usize)> {
    let (mut named_at, mut at) = (ETHERNET + 6, ETHERNET + FIXED6);
    while *frame.get(named_at)? != FRAGMENT {
        let length = usize::from(*frame.get(at + 1)?);
        let length = match *frame.get(named_at)? {
            0 | 43 | 60 => (length + 1) * 8,
            51 => (length + 2) * 4,
            _ => return None,
        };
        (named_at, at) = (at, at + length);
    }
    (at + FRAGMENT_HEADER <= frame.len()).then_some((named_at, at))
}
