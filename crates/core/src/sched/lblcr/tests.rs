//! Sets of servers: how they grow, shrink and choose.

use super::super::testing::*;
use super::*;
use crate::generation::SchedulerKind;
use crate::tick::Tick;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const ADDRESS: [u8; 4] = [10, 9, 0, 1];

fn scene(weights: &[u32]) -> Scene {
    Scene::new(SchedulerKind::LocalityReplication, weights)
}

/// Ids of the address's set, oldest first.
fn set(scene: &Scene) -> Vec<u32> {
    let service = scene.service();
    let key = Key::new(&scene.world, &service, &request([0; 4], 0, ADDRESS));
    let mut entry = Entry::default();
    if cache::find(&scene.world, &key, LIFETIME, &mut entry) == 0 {
        return Vec::new();
    }
    (0..entry.end())
        .map(|place| entry.server(&scene.world, place))
        .filter(|id| *id != NOBODY)
        .collect()
}

#[test]
fn a_busy_set_takes_another_server_in() {
    let scene = scene(&[4, 4]);
    // Up to 5 the set is B; then A joins, and the less loaded of both is taken, the newer one of equals.
    assert_eq!(scene.open(10, ADDRESS), "BBBBBAAAAA");
    assert_eq!(set(&scene), [1, 0]);
    assert_eq!(scene.open(4, ADDRESS), "ABAB");
}

#[test]
fn an_overloaded_server_of_the_set_is_passed_over() {
    let scene = scene(&[10, 10]);
    assert_eq!(scene.open(1, ADDRESS), "B");
    scene.overload('B');
    assert_eq!(scene.open(1, ADDRESS), "A");
    assert_eq!(set(&scene), [1, 0]);
}

#[test]
fn a_set_long_unchanged_loses_its_most_loaded_server() {
    let mut scene = scene(&[1, 1, 1]);
    assert_eq!(scene.open(5, ADDRESS), "CCBBA");
    assert_eq!(set(&scene), [2, 1, 0]);
    scene.counts('C', 0, 5);
    scene.counts('B', 1, 0);
    scene.counts('A', 0, 0);
    scene.world.now = Tick(1_000_000 + LIFETIME);
    assert_eq!(scene.open(1, ADDRESS), "A");
    assert_eq!(set(&scene).len(), 3, "not yet");
    scene.counts('A', 0, 0);
    scene.world.now = Tick(1_000_000 + LIFETIME + 1);
    assert_eq!(scene.open(1, ADDRESS), "A");
    assert_eq!(set(&scene), [2, 0]);
    assert_eq!(scene.open(1, ADDRESS), "C");
    assert_eq!(
        set(&scene).len(),
        2,
        "the next one leaves when the set has rested again"
    );
}

#[test]
fn the_last_server_of_a_set_never_leaves() {
    let mut scene = scene(&[10, 10]);
    assert_eq!(scene.open(1, ADDRESS), "B");
    scene.world.now = Tick(1_000_000 + LIFETIME + 1);
    assert_eq!(scene.open(1, ADDRESS), "B");
    assert_eq!(set(&scene), [1]);
}

/// The set as the kernel keeps it: a list, newest first, without a bound.
#[derive(Default)]
struct Model {
    set: Vec<u32>,
    changed: u32,
    used: u32,
}

impl Model {
    fn pick(&mut self, now: u32, weights: &[u32], counts: &[(u32, u32)]) -> Option<u32> {
        if now - self.used > LIFETIME + 33_750 {
            self.set.clear();
        }
        self.used = now;
        let load = |id: u32| u64::from(counts[id as usize].0 * 256 + counts[id as usize].1);
        let weight = |id: u32| {
            weights
                .get(id as usize)
                .map_or(0, |weight| u64::from(*weight))
        };
        let least = |ids: &mut dyn Iterator<Item = u32>| {
            ids.filter(|id| weight(*id) > 0).reduce(|best, id| {
                if load(best) * weight(id) > load(id) * weight(best) {
                    id
                } else {
                    best
                }
            })
        };
        let everybody = || (0..weights.len() as u32).rev();
        let least_of_set = least(&mut self.set.iter().copied());
        if self.set.len() > 1 && now > self.changed + LIFETIME {
            let most = self
                .set
                .iter()
                .copied()
                .filter(|id| weight(*id) > 0)
                .reduce(|most, id| {
                    if load(most) * weight(id) < load(id) * weight(most) {
                        id
                    } else {
                        most
                    }
                });
            if let Some(most) = most {
                self.set.retain(|id| *id != most);
                self.changed = now;
            }
        }
        let is_busy = |id: u32| {
            u64::from(counts[id as usize].0) > weight(id)
                && everybody().any(|other| u64::from(counts[other as usize].0) * 2 < weight(other))
        };
        if let Some(id) = least_of_set.filter(|id| !is_busy(*id)) {
            return Some(id);
        }
        let id = least(&mut everybody())?;
        if !self.set.contains(&id) {
            self.set.insert(0, id);
            self.changed = now;
        }
        Some(id)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Pick,
    Counts(u32, u32, u32),
    Wait(u32),
    Weights(Vec<u32>),
}

fn op(servers: u32) -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => Just(Op::Pick),
        4 => (0..servers, 0..4u32, 0..300u32).prop_map(|(id, active, inactive)| Op::Counts(id, active, inactive)),
        2 => (0..LIFETIME * 2).prop_map(Op::Wait),
        1 => prop::collection::vec(0..4u32, servers as usize).prop_map(Op::Weights),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a list.
    #[test]
    fn a_set_behaves_as_a_list((weights, ops) in (2..40u32).prop_flat_map(|servers| {
        (Just(vec![1u32; servers as usize]), prop::collection::vec(op(servers), 1..300))
    })) {
        let mut scene = scene(&weights);
        let (mut model, mut now, mut weights) = (Model::default(), 1_000_000, weights);
        let mut counts = vec![(0, 0); weights.len()];
        for op in ops {
            match op {
                Op::Pick => {
                    let expected = model.pick(now, &weights, &counts);
                    let place = crate::sched::pick(&scene.world, &scene.service(), &request([1; 4], 1, ADDRESS));
                    let picked = (place != NO_PLACE).then(|| weights.len() as u32 - 1 - place);
                    prop_assert_eq!(picked, expected);
                    if let Some(id) = picked {
                        counts[id as usize].0 += 1;
                        scene.live(id)[0].add(1 << 32);
                    }
                    let newest_first: Vec<u32> = set(&scene).into_iter().rev().collect();
                    prop_assert_eq!(&newest_first, &model.set);
                }
                Op::Counts(id, active, inactive) => {
                    counts[id as usize] = (active, inactive);
                    scene.live(id)[0].store(u64::from(active) << 32 | u64::from(inactive));
                }
                Op::Wait(ticks) => {
                    now += ticks;
                    scene.world.now = Tick(now);
                }
                Op::Weights(new) => {
                    scene.weights(&new);
                    weights = new;
                }
            }
        }
    }
}

/// The 22 servers that joined last are used and not kept; one that leaves makes room for one.
#[test]
fn of_a_hundred_servers_78_are_kept() {
    let scene = scene(&[1; 100]);
    scene.open(300, ADDRESS);
    assert_eq!(set(&scene), (22..100).rev().collect::<Vec<u32>>());
    let service = scene.service();
    let key = Key::new(&scene.world, &service, &request([0; 4], 0, ADDRESS));
    let mut entry = Entry::default();
    cache::find(&scene.world, &key, LIFETIME, &mut entry);
    cache::put(&scene.world, &entry, 5, NOBODY);
    for id in 0..100 {
        scene.live(id)[0].store(if id > 0 { 2 << 32 } else { 0 });
    }
    scene.open(1, ADDRESS);
    assert_eq!(set(&scene)[5], 0);
    assert_eq!(set(&scene).len(), 78);
}
