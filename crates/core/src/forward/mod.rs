//! Forwarding: what is rewritten before a packet leaves, one file a method.

pub mod direct;
pub mod masquerade;
pub mod tunnel;

use crate::packet::Packet;
use crate::wire::checksum::{add, change16, corrected};
use crate::wire::word16;
use lvsx_platform::store32;

/// Offsets in an IPv4 frame without options before them.
mod at {
    use crate::wire::ETHERNET;
    pub(super) const TTL: usize = ETHERNET + 8;
    pub(super) const SOURCE: usize = ETHERNET + 12;
    pub(super) const DESTINATION: usize = ETHERNET + 16;
}

/// Lowers the time to live by one and corrects the header checksum for that and for `change` (RFC 1624). The caller has
/// seen that it is above 1.
#[inline(always)]
fn age<P: Packet>(packet: &mut P, change: u32) -> Option<()> {
    let word = packet.bytes::<4>(at::TTL)?;
    // Time to live and protocol share a 16-bit word; the time to live is its first byte on the wire.
    let old = word16(word, 0);
    let new = u16::from_be(old).wrapping_sub(0x0100).to_be();
    let checksum = corrected(word16(word, 2), add(change16(old, new), change));
    let aged = if cfg!(target_endian = "little") {
        u32::from(new) | u32::from(checksum) << 16
    } else {
        u32::from(new) << 16 | u32::from(checksum)
    };
    store32(packet.bytes_mut::<4>(at::TTL)?, aged);
    Some(())
}

/// Writes the link-layer addresses, raw.
#[inline(always)]
pub fn link<P: Packet>(packet: &mut P, destination: u64, source: u64) -> Option<()> {
    let bytes = packet.bytes_mut::<4>(0)?;
    store32(bytes, destination as u32);
    let bytes = packet.bytes_mut::<4>(4)?;
    store32(
        bytes,
        (destination >> 32) as u32 & 0xffff | (source as u32) << 16,
    );
    let bytes = packet.bytes_mut::<4>(8)?;
    store32(bytes, (source >> 16) as u32);
    Some(())
}
