//! Direct routing: nothing changes but the time to live; the next hop is the server itself.

use super::age;
use crate::packet::Packet;

/// Prepares a packet for a server on the same segment.
#[inline(always)]
pub fn to_server<P: Packet>(packet: &mut P) -> Option<()> {
    age(packet, 0)
}
