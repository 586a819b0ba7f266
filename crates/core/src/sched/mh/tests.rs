//! Tables and clients against what a kernel gave, and against a naive filling.

use super::super::testing::*;
use super::*;
use crate::generation::SchedulerKind;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::string::String;
use std::vec::Vec;

/// Servers 10.2.0.1:80, .2, ... with these latest weights, in the order of their adding.
fn claimants(weights: &[u32]) -> Vec<Claimant> {
    let address = |number: usize| 0x0a02_0001 + number as u32;
    (0..weights.len())
        .rev()
        .map(|number| Claimant::new(address(number), 80, weights[number]))
        .collect()
}

fn filled(weights: &[u32]) -> [Option<u16>; SLOTS] {
    let mut slots = [None; SLOTS];
    fill(&mut claimants(weights), &mut slots);
    slots
}

/// Slots of each server, in the order of their adding.
fn counts(weights: &[u32]) -> Vec<usize> {
    let slots = filled(weights);
    let places = (0..weights.len() as u16).rev();
    places
        .map(|place| slots.iter().filter(|slot| **slot == Some(place)).count())
        .collect()
}

#[test]
fn orders_of_claims_are_those_observed() {
    let seen: Vec<_> = claimants(&[1, 1, 1])
        .iter()
        .rev()
        .map(|claimant| (claimant.position, claimant.skip))
        .collect();
    assert_eq!(seen, [(2866, 3185), (2949, 1114), (3844, 1906)]);
}

#[test]
fn slots_are_those_observed() {
    let slots = filled(&[1, 1, 1]);
    let first: String = slots[..32]
        .iter()
        .map(|place| letter(place.map(u32::from), 3))
        .collect();
    assert_eq!(first, "BCBAAAAACBCBCBCBCAAAACBCBCBCBCBA");
    assert_eq!(counts(&[1, 1, 1]), [1364, 1364, 1365]);
    assert_eq!(counts(&[1, 2, 3]), [682, 1364, 2047]);
    assert_eq!(counts(&[1, 30, 1000]), [63, 63, 3967]);
    assert_eq!(counts(&[0, 5, 0]), [0, SLOTS, 0]);
    assert_eq!(filled(&[0, 0]), [None; SLOTS]);
    assert_eq!(filled(&[]), [None; SLOTS]);
}

#[test]
fn clients_reach_the_servers_observed() {
    let mut scene = Scene::new(SchedulerKind::Maglev, &[1, 1, 1]);
    let clients = [[10, 1, 0, 1], [10, 1, 0, 2], [192, 0, 2, 7]];
    let slots =
        |port| clients.map(|client| slot_of(request(client, port, [0; 4]).client_key(true)));
    assert_eq!(slots(0), [2470, 1900, 1589]);
    assert_eq!(slots(40000)[..2], [1519, 1528]);
    let picks = |scene: &Scene| clients.map(|client| scene.pick(&request(client, 40000, [0; 4])));
    assert_eq!(picks(&scene), ['A', 'B', 'C']);
    scene.flags(HEEDS_PORT);
    let table = filled(&[1, 1, 1]);
    let expected = slots(40000).map(|slot| letter(table[slot as usize].map(u32::from), 3));
    assert_eq!(picks(&scene), expected);
}

#[test]
fn fallback_hashes_anew_at_each_step() {
    let mut scene = Scene::new(SchedulerKind::Maglev, &[1, 1, 1]);
    let client = request([10, 1, 0, 1], 40000, [0; 4]);
    scene.overload('A');
    assert_eq!(scene.pick(&client), '-');
    scene.flags(FALLBACK);
    let table = filled(&[1, 1, 1]);
    let expected = (0..MODULUS)
        .map(|step| slot_of(0x0a01_0001 + (2470 + step) % MODULUS))
        .map(|slot| letter(table[slot as usize].map(u32::from), 3))
        .find(|letter| *letter != 'A');
    assert_eq!(Some(scene.pick(&client)), expected);
    scene.overload('B');
    scene.overload('C');
    assert_eq!(scene.pick(&client), '-');
}

#[test]
fn a_thousand_destinations_all_own_slots() {
    let owners: BTreeSet<_> = filled(&[1; 1000]).into_iter().collect();
    assert_eq!(owners.len(), 1000);
    assert!(!owners.contains(&None));
}

#[test]
fn of_too_many_destinations_the_oldest_own_the_slots() {
    let slots = filled(&[1; SLOTS + 2]);
    assert_eq!(slots.iter().min(), Some(&Some(2)));
    assert_eq!(slots.iter().collect::<BTreeSet<_>>().len(), SLOTS);
}

proptest! {
    /// Against claiming from lists of preference written out.
    #[test]
    fn slots_are_claimed_as_by_hand(weights in prop::collection::vec(0..200u32, 1..12)) {
        let divisor = weights.iter().copied().fold(0, super::super::wrr::gcd);
        let most = weights.iter().max().unwrap().checked_div(divisor).unwrap_or(0);
        let shift = (0..32).find(|shift| most >> shift < 64).unwrap();
        let mut wishes: Vec<_> = claimants(&weights)
            .iter()
            .map(|it| {
                let order: Vec<u32> = (0..MODULUS).map(|step| (it.position + step * it.skip) % MODULUS).collect();
                (order.into_iter(), it.weight)
            })
            .collect();
        let mut expected = [None; SLOTS];
        let mut free = if divisor == 0 { 0 } else { SLOTS };
        while free > 0 {
            for (place, (wishes, weight)) in wishes.iter_mut().enumerate() {
                let turns = match *weight { 0 => 0, weight => ((weight / divisor) >> shift).max(1) };
                for _ in 0..turns {
                    if free > 0 {
                        let slot = wishes.find(|slot| expected[*slot as usize].is_none()).unwrap();
                        expected[slot as usize] = Some(place as u16);
                        free -= 1;
                    }
                }
            }
        }
        prop_assert_eq!(filled(&weights), expected);
    }
}
