//! Lists of all lengths while counts, flags, weights and the list itself move: always the choice of who looks at each.

use super::super::{NO_PLACE, SchedulerKind, place_or_none};
use super::*;
use crate::conn::pass_by;
use crate::generation::DestinationLine;
use crate::host::{Memory, World};
use crate::tick::Tick;
use proptest::prelude::*;
use std::vec::Vec;

/// Lines of two lists, by turns.
const LISTS: [u32; 2] = [8, 136];

/// What moves.
#[derive(Clone, Debug)]
enum Move {
    /// A connection opens at this destination, active or not.
    Opens(usize, bool),
    /// One ends there.
    Ends(usize, bool),
    /// One passes by, as it does there.
    Passes(usize),
    /// It is over its threshold, or not any more.
    Overloaded(usize, bool),
    /// The configuration changes: its weight.
    Weighs(usize, u32),
    /// So many of the list's first destinations go to its end.
    Turns(usize),
}

fn moves() -> impl Strategy<Value = Move> {
    let one = 0..100usize;
    prop_oneof![
        4 => (one.clone(), any::<bool>()).prop_map(|(at, active)| Move::Opens(at, active)),
        2 => (one.clone(), any::<bool>()).prop_map(|(at, active)| Move::Ends(at, active)),
        1 => one.clone().prop_map(Move::Passes),
        1 => (one.clone(), any::<bool>()).prop_map(|(at, over)| Move::Overloaded(at, over)),
        1 => (one.clone(), 0..4u32).prop_map(|(at, weight)| Move::Weighs(at, weight)),
        1 => one.prop_map(Move::Turns),
    ]
}

struct Scene {
    world: World,
    /// Ids and weights, in list order.
    list: Vec<(u32, u32)>,
    changes: usize,
}

impl Scene {
    fn new(count: usize) -> Self {
        let scene = Self {
            world: World {
                memory: Memory::new(512, 1, 1, 128),
                now: Tick(1000),
                routes: Vec::new(),
                routes6: Vec::new(),
                scratch: core::array::from_fn(|_| Word::new(0)),
            },
            list: (0..count as u32).rev().map(|id| (id, 1)).collect(),
            changes: 0,
        };
        scene.write();
        scene
    }

    fn live(&self, id: u32) -> &lvsx_platform::Line {
        &self.world.memory.destinations[id as usize]
    }

    /// Writes the list elsewhere than the one before, as the director does.
    fn write(&self) {
        let first = LISTS[self.changes % 2];
        for (place, (id, weight)) in (0..).zip(&self.list) {
            let line = DestinationLine {
                id: *id,
                weight: *weight,
                family: 2,
                method: 0,
                port: 0,
                tunnel_type: 0,
                tunnel_flags: 0,
                tunnel_port: 0,
                address: [0; 2],
                last_weight: 1,
                upper: 0,
                lower: 0,
                service: 0,
            };
            for (word, value) in self.world.memory.config[(first + place) as usize]
                .iter()
                .zip(line.encode())
            {
                word.store(value);
            }
            let head = self.list[(place / GROUP * GROUP) as usize].0;
            let place = live::place_word(place, Some(head));
            self.live(*id)[live::destination::PLACE].store(place);
        }
        for (id, _) in &self.list {
            live::forget_least(self.live(*id));
        }
    }

    fn service(&self) -> Service {
        Service {
            id: 0,
            scheduler: SchedulerKind::WeightedLeastConnection,
            flags: 0,
            first: LISTS[self.changes % 2],
            count: self.list.len() as u32,
            max_weight: 0,
            weight_step: 1,
            slot_lines: 0,
            timeouts: 0,
        }
    }

    fn pick(&self) -> u32 {
        place_or_none(least(&self.world, &self.service()))
    }

    fn naive(&self) -> u32 {
        let service = self.service();
        let mut best: Option<(u32, u64, u64)> = None;
        for place in 0..service.count {
            let candidate = service.candidate(&self.world, place).expect("it is there");
            let (load, weight) = (candidate.overhead().into(), candidate.weight.into());
            let is_lighter = best.is_none_or(|(_, least, of)| least * weight > load * of);
            if candidate.takes_new() && is_lighter {
                best = Some((place, load, weight));
            }
        }
        best.map_or(NO_PLACE, |(place, ..)| place)
    }

    fn counts(&self, id: u32, active: bool, times: u64) {
        let line = self.live(id);
        let weight = live::weight_of(active).wrapping_mul(times);
        line[live::destination::COUNTS].add(weight);
        live::moved(&self.world, line);
    }

    fn carry_out(&mut self, step: &Move) {
        let count = self.list.len();
        let at = |place: &usize| place % count;
        match step {
            Move::Opens(place, active) => self.counts(self.list[at(place)].0, *active, 1),
            Move::Ends(place, active) => {
                let id = self.list[at(place)].0;
                let counts = self.live(id)[live::destination::COUNTS].load();
                if counts >> if *active { 32 } else { 0 } & 0xffff_ffff != 0 {
                    self.counts(id, *active, 1u64.wrapping_neg());
                }
            }
            Move::Passes(place) => pass_by(&self.world, self.list[at(place)].0),
            Move::Overloaded(place, over) => {
                let line = self.live(self.list[at(place)].0);
                line[live::destination::FLAGS].store(u64::from(*over) * live::OVERLOADED);
                live::moved(&self.world, line);
            }
            Move::Weighs(place, weight) => {
                let place = at(place);
                self.list[place].1 = *weight;
                self.changes += 1;
                self.write();
            }
            Move::Turns(by) => {
                let by = at(by);
                self.list.rotate_left(by);
                self.changes += 1;
                self.write();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_choice_is_that_of_who_looks_at_each(
        count in 1..100usize,
        steps in prop::collection::vec((moves(), any::<bool>()), 1..120),
    ) {
        let mut scene = Scene::new(count);
        for (step, is_sought) in &steps {
            scene.carry_out(step);
            if *is_sought {
                let place = scene.pick();
                prop_assert_eq!(place, scene.naive(), "after {:?}", step);
            }
        }
    }
}

#[test]
fn what_a_search_found_is_not_kept_if_something_moved_since_it_began() {
    let scene = Scene::new(3);
    let word = word(&scene.world, &scene.service(), 0).expect("kept");
    let before = Kept(word.load());
    scene.counts(2, true, 1);
    let late = before.with(1, LISTS[0]);
    assert!(word.compare_exchange(before.0, late.0).is_err());
    // Nor is it believed where the word wins nevertheless.
    word.store(late.0);
    scene.counts(2, true, 1);
    assert_eq!(scene.pick(), 1);
}

#[test]
fn a_group_at_rest_is_not_looked_at_again() {
    let scene = Scene::new(64);
    assert_eq!(scene.pick(), 0);
    // Unsaid, so that nobody knows of it.
    scene.live(63)[live::destination::COUNTS].store(1 << 32);
    assert_eq!(scene.pick(), 32, "the first of the other group");
    scene.live(31)[live::destination::COUNTS].store(1 << 32);
    live::moved(&scene.world, scene.live(31));
    assert_eq!(scene.pick(), 33);
}
