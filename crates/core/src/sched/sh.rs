//! `sh`, source hashing: the client's address decides, with `sh-port` its port, too.
//!
//! 256 slots are dealt out in list order, as many in a row as a destination's weight says but at least one; so a quiesced
//! one keeps a slot a round, and its clients are served only with `sh-fallback`. Source: Linux 6.1, observed.

use super::request::hash32;
use super::{FALLBACK, HEEDS_PORT, Request, Service};
use crate::env::Tables;

/// Slots are numbered by this many bits.
const BITS: u32 = 8;
/// Number of slots.
pub const SLOTS: usize = 1 << BITS;

/// Deals the slots out: the places of the destinations of these weights, which are in list order. Without destinations, none.
#[must_use]
pub fn deal(weights: &[u32]) -> [Option<u16>; SLOTS] {
    let mut slots = [None; SLOTS];
    let turns = weights
        .iter()
        .enumerate()
        .cycle()
        .flat_map(|(place, weight)| core::iter::repeat_n(place, (*weight).max(1) as usize));
    for (slot, place) in slots.iter_mut().zip(turns) {
        *slot = u16::try_from(place).ok();
    }
    slots
}

/// Place of the destination that owns the client's slot or, with `sh-fallback`, that of the next one that is of use. `None`:
/// none takes new connections.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service, request: &Request) -> Option<u32> {
    let key = request.client_key(service.flags & HEEDS_PORT != 0);
    let slot = hash32(key, BITS);
    let owner = service.slot(tables, slot)?;
    let picked = service.usable(tables, owner);
    if picked.is_some() || service.flags & FALLBACK == 0 {
        return picked;
    }
    let mut found = service.count;
    tables.scan(SLOTS as u32, |step| {
        // The slot is hashed to twice: the search begins at its double.
        let next = slot.wrapping_mul(2).wrapping_add(step) % SLOTS as u32;
        let Some(owner) = service.slot(tables, next) else {
            return false;
        };
        match service.usable(tables, owner) {
            Some(place) => {
                found = place;
                false
            }
            None => true,
        }
    });
    if found == service.count {
        None
    } else {
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::generation::SchedulerKind;
    use proptest::prelude::*;
    use std::string::String;
    use std::vec::Vec;

    fn letters(slots: &[Option<u16>], count: u32) -> String {
        slots
            .iter()
            .map(|place| letter(place.map(u32::from), count))
            .collect()
    }

    #[test]
    fn slots_go_by_weight_and_a_quiesced_destination_keeps_one_a_round() {
        // A1, B2, C3: the list is C, B, A.
        let slots = letters(&deal(&[3, 2, 1]), 3);
        assert_eq!(slots, "CCCBBA".repeat(43)[..256]);
        assert!(letters(&deal(&[3, 0, 1]), 3).starts_with("CCCBACCCBA"));
        assert_eq!(letters(&deal(&[1000, 1]), 2), "B".repeat(256));
        assert_eq!(letters(&deal(&[]), 0), "-".repeat(256));
    }

    #[test]
    fn clients_reach_the_servers_observed() {
        let mut scene = Scene::new(SchedulerKind::SourceHash, &[1, 2, 3]);
        let clients = [[10, 1, 0, 1], [10, 1, 0, 2], [192, 0, 2, 7]];
        let slots = |port| {
            clients.map(|client| hash32(request(client, port, [0; 4]).client_key(true), BITS))
        };
        assert_eq!(slots(0), [174, 15, 125]);
        assert_eq!(slots(40000), [82, 179, 33]);
        let picks =
            |scene: &Scene| clients.map(|client| scene.pick(&request(client, 40000, [0; 4])));
        assert_eq!(picks(&scene), ['C', 'B', 'A']);
        scene.flags(HEEDS_PORT);
        let table = deal(&[3, 2, 1]);
        let expected = [82, 179, 33].map(|slot: usize| letter(table[slot].map(u32::from), 3));
        assert_eq!(picks(&scene), expected);
    }

    #[test]
    fn fallback_goes_on_from_twice_the_slot() {
        let mut scene = Scene::new(SchedulerKind::SourceHash, &[1, 2, 3]);
        let client = request([10, 1, 0, 1], 1, [0; 4]);
        scene.overload('C');
        assert_eq!(scene.pick(&client), '-');
        scene.flags(FALLBACK);
        let table = deal(&[3, 2, 1]);
        let expected = (0..256)
            .map(|step| letter(table[(2 * 174 + step) % 256].map(u32::from), 3))
            .find(|letter| *letter != 'C');
        assert_eq!(Some(scene.pick(&client)), expected);
        scene.overload('B');
        scene.overload('A');
        assert_eq!(scene.pick(&client), '-');
    }

    proptest! {
        /// Against dealing slot by slot.
        #[test]
        fn slots_are_dealt_as_by_hand(weights in prop::collection::vec(0..400u32, 1..300)) {
            let (mut place, mut left) = (0, weights[0].max(1));
            let mut expected = Vec::new();
            for _ in 0..SLOTS {
                if left == 0 {
                    place = (place + 1) % weights.len();
                    left = weights[place].max(1);
                }
                expected.push(Some(place as u16));
                left -= 1;
            }
            prop_assert_eq!(deal(&weights).to_vec(), expected);
        }
    }
}
