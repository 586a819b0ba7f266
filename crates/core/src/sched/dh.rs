//! `dh`, destination hashing: the address that the packet is for decides, weights (but 0) and loads do not.
//!
//! The kernel deals the destinations out to 256 slots in turn and deals anew when one is added or removed; so the slot's
//! number tells the place, and no table is kept. Source: Linux 6.1, observed.

use super::request::hash32;
use super::{Request, Service};
use crate::env::Tables;

/// Slots are numbered by this many bits.
const BITS: u32 = 8;

/// Place of the destination that owns the address's slot. `None`: it does not take new connections; no other is tried.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service, request: &Request) -> Option<u32> {
    let place = owner(hash32(request.destination, BITS), service.count)?;
    service.usable(tables, place)
}

/// Place of the destination that owns a slot, of `count`.
#[inline(always)]
fn owner(slot: u32, count: u32) -> Option<u32> {
    slot.checked_rem(count)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::generation::SchedulerKind;

    /// As many destinations as there are slots, and more, own what the kernel's table would give them.
    #[test]
    fn slots_are_dealt_out_in_list_order() {
        let dealt: std::string::String = (0..12).map(|slot| letter(owner(slot, 3), 3)).collect();
        assert_eq!(dealt, "CBACBACBACBA");
        assert_eq!(owner(255, 300), Some(255));
        assert_eq!(owner(255, 0), None);
    }

    #[test]
    fn the_address_decides_and_nobody_stands_in() {
        let world = Scene::new(SchedulerKind::DestinationHash, &[1, 5, 1]);
        // hash32(10.2.0.1) = 0x0a020001 x 0x61c88647 >> 24.
        let slot = (0x0a02_0001u32).wrapping_mul(0x61c8_8647) >> 24;
        let owner = letter(Some(slot % 3), 3);
        let request = request([10, 1, 0, 1], 1, [10, 2, 0, 1]);
        assert_eq!(world.pick(&request), owner);
        world.overload(owner);
        assert_eq!(world.pick(&request), '-');
    }
}
