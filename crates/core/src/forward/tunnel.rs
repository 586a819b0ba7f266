//! IP in IP (RFC 2003): an outer header to the server in front of the packet, which stays as it is but for its age.

use super::Rewrite;
use crate::packet::{Carrier, Packet, Room};
use crate::wire::{ETHERNET, Header4, OUTER4, outer4};
use lvsx_platform::store32;

/// Protocol number of IPv4 in IPv4.
pub const IPIP: u8 = 4;

/// Why a packet could not be wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwrappable {
    /// The frame has no room in front.
    NoHeadroom,
    /// The headers read before are not there any more.
    Malformed,
}

/// Wraps `packet`, whose header is `inner`, for the server at raw address `server`; `source` is the director's own.
#[inline(always)]
pub fn to_server<P: Packet>(
    packet: &mut P,
    inner: &Header4,
    source: u32,
    server: u32,
) -> Result<(), Unwrappable> {
    Rewrite::of(packet).ok_or(Unwrappable::Malformed)?.age(0);
    if !packet.push(OUTER4 as u32, Room::ipv4(Carrier::Ip)) {
        return Err(Unwrappable::NoHeadroom);
    }
    let words = outer4(inner, inner.ttl.wrapping_sub(1), source, server, IPIP);
    let bytes = packet
        .bytes_mut::<OUTER4>(ETHERNET)
        .ok_or(Unwrappable::Malformed)?;
    let (slots, _) = bytes.as_chunks_mut::<4>();
    if let [a, b, c, d, e] = slots {
        store32(a, words[0]);
        store32(b, words[1]);
        store32(c, words[2]);
        store32(d, words[3]);
        store32(e, words[4]);
    }
    Ok(())
}
