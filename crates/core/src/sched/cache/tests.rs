//! Entries: lists of servers, eviction, and writers that race.

use super::super::testing::*;
use super::*;
use crate::generation::SchedulerKind;
use proptest::prelude::*;
use std::vec::Vec;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Servers put into places and taken out again, against a plain list.
    #[test]
    fn an_entry_keeps_servers_by_place(ops in prop::collection::vec((0..SERVERS, prop_oneof![0..0xf_fffeu32, Just(NOBODY)]), 0..100)) {
        let scene = Scene::new(SchedulerKind::LocalityReplication, &[1]);
        let key = key(&scene, 7);
        create(&scene.world, &key, 42);
        let mut model = [NOBODY; SERVERS as usize];
        model[0] = 42;
        let mut end = 1;
        for (place, server) in ops {
            let entry = find(&scene, &key).expect("kept");
            put(&scene.world, &entry, place, server);
            model[place as usize] = server;
            end = end.max(place + 1);
            let entry = find(&scene, &key).expect("kept");
            prop_assert_eq!(entry.end(), end);
            for (place, server) in (0..).zip(model) {
                prop_assert_eq!(entry.server(&scene.world, place), server);
            }
        }
    }
}

fn key(scene: &Scene, address: u32) -> Key {
    Key::new(
        &scene.world,
        &scene.service(),
        &Request::ipv4(0, 0, address),
    )
}

fn find(scene: &Scene, key: &Key) -> Option<Entry> {
    let mut entry = Entry::default();
    (super::find(&scene.world, key, LIFETIME, &mut entry) != 0).then_some(entry)
}

#[test]
fn half_a_table_of_addresses_is_kept_whole() {
    let scene = Scene::new(SchedulerKind::Locality, &[1]);
    for address in 0..ENTRIES / 2 {
        create(&scene.world, &key(&scene, address), address % 1000);
    }
    let kept = (0..ENTRIES / 2).filter(|address| {
        find(&scene, &key(&scene, *address))
            .is_some_and(|it| it.server(&scene.world, 0) == address % 1000)
    });
    assert!(kept.count() as u32 > ENTRIES / 2 - 10);
}

#[test]
fn a_full_table_lets_the_entry_go_that_was_used_longest_ago() {
    let mut scene = Scene::new(SchedulerKind::Locality, &[1]);
    let first = key(&scene, 7);
    create(&scene.world, &first, 7);
    for address in 100..ENTRIES * 2 {
        scene.world.now = scene.world.now.after(u32::from(address % 100 == 0));
        create(&scene.world, &key(&scene, address), 1);
        if address % 64 == 0 {
            assert!(find(&scene, &first).is_some(), "it is in use");
        }
    }
    assert!(find(&scene, &key(&scene, 100)).is_none());
    assert!(find(&scene, &key(&scene, ENTRIES * 2 - 1)).is_some());
}

#[test]
fn an_entry_that_somebody_writes_is_none_and_is_not_written_twice() {
    let scene = Scene::new(SchedulerKind::Locality, &[1]);
    let key = key(&scene, 7);
    create(&scene.world, &key, 7);
    let entry = find(&scene, &key).expect("kept");
    let control = &scene.world.memory.cache[(entry.index * ENTRY_LINES) as usize][CONTROL];
    let before = control.load();
    control.store(before & !PHASE | WRITTEN);
    assert_eq!(find(&scene, &key), None);
    put(&scene.world, &entry, 0, 8);
    control.store(before);
    assert_eq!(find(&scene, &key).expect("kept").server(&scene.world, 0), 7);
    put(&scene.world, &entry, 0, 8);
    put(&scene.world, &entry, 0, 9);
    assert_eq!(
        find(&scene, &key).expect("kept").server(&scene.world, 0),
        8,
        "only the first writer wrote"
    );
}

#[test]
fn ipv6_addresses_count_whole() {
    let scene = Scene::new(SchedulerKind::Locality, &[1]);
    let of = |address| {
        Key::new(
            &scene.world,
            &scene.service(),
            &Request::ipv6([0; 2], 0, address),
        )
    };
    // Both fold to the same number.
    let (one, other) = (of([1, 2]), of([2, 1]));
    create(&scene.world, &one, 1);
    create(&scene.world, &other, 2);
    assert_eq!(find(&scene, &one).expect("kept").server(&scene.world, 0), 1);
    assert_eq!(
        find(&scene, &other).expect("kept").server(&scene.world, 0),
        2
    );
}

#[test]
fn the_director_sees_an_entry_and_frees_it() {
    let scene = Scene::new(SchedulerKind::Locality, &[1]);
    let key = key(&scene, 7);
    create(&scene.world, &key, 7);
    let seen: Vec<Seen> = (0..ENTRIES)
        .filter_map(|line| Seen::at(&scene.world, line))
        .collect();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].service, seen[0].address), (3, [7, 0]));
    assert_eq!(seen[0].servers(&scene.world).collect::<Vec<_>>(), [7]);
    let entry = find(&scene, &key).expect("kept");
    put(&scene.world, &entry, 0, 8);
    assert!(!seen[0].free(&scene.world), "it was written since");
    let seen = Seen::at(&scene.world, entry.index).expect("kept");
    assert!(seen.free(&scene.world));
    assert_eq!(find(&scene, &key), None);
}
