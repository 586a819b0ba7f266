//! Direct routing: nothing changes but the time to live; the next hop is the server itself.

use super::{Rewrite, Rewrite6};
use crate::packet::Packet;
use crate::wire::ETHERNET;

/// Prepares an IPv4 packet for a server on the same segment.
#[inline(always)]
pub fn to_server<P: Packet>(packet: &mut P) -> Option<()> {
    Rewrite::of(packet)?.age(0);
    Some(())
}

/// The same for an IPv6 packet.
#[inline(always)]
pub fn to_server6<P: Packet>(packet: &mut P) -> Option<()> {
    let age = Rewrite6::at(packet, ETHERNET)?.age();
    packet.shift_sum(age);
    Some(())
}
