//! Sequences observed on a kernel (Linux 6.1), and what becomes of entries.

use super::super::testing::*;
use crate::generation::SchedulerKind;
use crate::tick::Tick;

const ADDRESS: [u8; 4] = [10, 9, 0, 1];

fn scene(weights: &[u32]) -> Scene {
    Scene::new(SchedulerKind::Locality, weights)
}

#[test]
fn an_address_stays_with_its_server_until_that_is_busy() {
    assert_eq!(scene(&[4, 4]).open(10, ADDRESS), "BBBBBAAAAA");
    assert_eq!(scene(&[1, 1]).open(5, ADDRESS), "BBAAA");
}

#[test]
fn each_address_has_its_own_server() {
    let scene = scene(&[100, 100]);
    let one = scene.open(1, ADDRESS);
    let other = scene.open(1, [10, 9, 0, 2]);
    assert_eq!((one.as_str(), other.as_str()), ("B", "A"));
    for _ in 0..3 {
        assert_eq!(scene.open(1, ADDRESS), "B");
        assert_eq!(scene.open(1, [10, 9, 0, 2]), "A");
    }
}

#[test]
fn an_overloaded_server_keeps_its_addresses_a_quiesced_one_does_not() {
    let mut scene = scene(&[10, 10]);
    assert_eq!(scene.open(1, ADDRESS), "B");
    scene.overload('B');
    assert_eq!(scene.open(1, ADDRESS), "B");
    scene.weights(&[10, 0]);
    assert_eq!(scene.open(1, ADDRESS), "A");
    scene.weights(&[10, 10]);
    assert_eq!(scene.open(1, ADDRESS), "A");
}

#[test]
fn a_server_that_left_is_replaced() {
    let mut scene = scene(&[10, 10, 10]);
    assert_eq!(scene.open(1, ADDRESS), "C");
    scene.weights(&[10, 10]);
    assert_eq!(scene.open(2, ADDRESS), "BB");
}

#[test]
fn nobody_is_picked_when_nobody_takes_new_connections() {
    let mut scene = scene(&[10, 10]);
    assert_eq!(scene.open(1, ADDRESS), "B");
    scene.weights(&[0, 0]);
    assert_eq!(scene.open(2, ADDRESS), "--");
}

#[test]
fn what_was_cached_for_another_service_of_the_id_is_forgotten() {
    let scene = scene(&[10, 10]);
    assert_eq!(scene.open(2, ADDRESS), "BB");
    scene.renew_cache();
    assert_eq!(scene.open(2, ADDRESS), "AA");
}

/// The director drops what has expired; without it, an entry is none half an hour later.
#[test]
fn an_entry_that_nobody_used_for_long_is_none() {
    for (later, expected) in [
        (LIFETIME, "B"),
        (LIFETIME + 33_750, "B"),
        (LIFETIME + 33_751, "A"),
    ] {
        let mut scene = scene(&[10, 10]);
        assert_eq!(scene.open(2, ADDRESS), "BB");
        scene.world.now = Tick(1_000_000 + later);
        assert_eq!(scene.open(1, ADDRESS), expected, "{later} ticks later");
    }
}
