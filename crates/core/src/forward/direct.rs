//! Direct routing: nothing changes but the time to live; the next hop is the server itself.

use super::Rewrite;
use crate::packet::Packet;

/// Prepares a packet for a server on the same segment.
#[inline(always)]
pub fn to_server<P: Packet>(packet: &mut P) -> Option<()> {
    Rewrite::of(packet)?.age(0);
    Some(())
}
