//! Headers of the director's own, written into room made in front of a packet, and the sum of what lies behind them.

use super::masquerade::{TCP_CHECKSUM, UDP_CHECKSUM};
use crate::packet::Packet;
use crate::state::{TCP, UDP};
use crate::wire::{ETHERNET, FIXED6, OUTER4};
use lvsx_platform::{load16, store16, store32, store64};

/// Writes an IPv4 header behind the link-layer header.
#[inline(always)]
pub(super) fn store4<P: Packet>(packet: &mut P, words: &[u32; 5]) -> Option<()> {
    let (slots, _) = packet.bytes_mut::<OUTER4>(ETHERNET)?.as_chunks_mut::<4>();
    if let [a, b, c, d, e] = slots {
        store32(a, words[0]);
        store32(b, words[1]);
        store32(c, words[2]);
        store32(d, words[3]);
        store32(e, words[4]);
    }
    Some(())
}

/// Writes an IPv6 header behind the link-layer header.
#[inline(always)]
pub(super) fn store6<P: Packet>(
    packet: &mut P,
    words: [u32; 2],
    source: [u64; 2],
    destination: [u64; 2],
) -> Option<()> {
    let bytes = packet.bytes_mut::<FIXED6>(ETHERNET)?;
    let (slots, _) = bytes.as_chunks_mut::<4>();
    if let [first, second, ..] = slots {
        store32(first, words[0]);
        store32(second, words[1]);
    }
    let (slots, _) = bytes.as_chunks_mut::<8>();
    if let [_, a, b, c, d] = slots {
        store64(a, source[0]);
        store64(b, source[1]);
        store64(c, destination[0]);
        store64(d, destination[1]);
    }
    Some(())
}

/// Writes the raw EtherType.
#[inline(always)]
pub(super) fn store_kind<P: Packet>(packet: &mut P, kind: u16) -> Option<()> {
    store16(packet.bytes_mut::<2>(12)?, kind);
    Some(())
}

/// Where the checksum of a whole TCP or UDP packet lies; 0 of anything else.
#[inline(always)]
pub(crate) fn checksum_at(protocol: u8, transport: usize, is_fragment: bool) -> usize {
    match protocol {
        TCP if !is_fragment => transport + TCP_CHECKSUM,
        UDP if !is_fragment => transport + UDP_CHECKSUM,
        _ => 0,
    }
}

/// Sum of the first `length` bytes behind the link-layer header, as they will leave. An unfinished transport checksum makes
/// its segment sum up to the complement of what it holds now (local checksum offload, as in Linux).
#[inline(always)]
pub(super) fn sum<P: Packet>(
    packet: &mut P,
    length: u32,
    transport: usize,
    checksum_at: usize,
) -> Option<u64> {
    if checksum_at != 0 && packet.is_partial(checksum_at) {
        let begun = load16(packet.bytes::<2>(checksum_at)?);
        let headers = packet.sum(ETHERNET, transport.checked_sub(ETHERNET)? as u32)?;
        return Some(u64::from(headers) + u64::from(!begun));
    }
    packet.sum(ETHERNET, length).map(u64::from)
}
