//! The connection table under every order of steps that a randomised scheduler finds: two openers of one flow, or of two
//! that want the same way; a packet that advances it, a sweep that ends it. Built only with `--cfg shuttle`, which puts
//! shuttle's atomics into the words; `cargo xtask test` does so.
#![cfg(shuttle)]

use lvsx_core::conn::{
    self, Control, Controller, Controls, Entry, Entry4, Hop, NewEntry, Opened, Peer, WAYS, Want,
};
use lvsx_core::env::{Tables, state};
use lvsx_core::event::Event;
use lvsx_core::generation::{RootLine, TIMEOUT_SCALE, TIMEOUTS, live};
use lvsx_core::host::Memory;
use lvsx_core::state::State;
use lvsx_core::tick::Tick;
use shuttle::sync::Arc;
use shuttle::thread;

const VIRT: (u32, u16) = (1, 80);

/// Main sets: with two of them, each is the other's second. The overflow area is one set more.
const SETS: u32 = 2;

fn want(memory: &Memory, client: u32) -> Want<Entry4> {
    Want::new(memory.geometry, 6, (client, 1), VIRT, Peer::Virtual)
}

fn new(id: u32, state: State, deadline: u32) -> NewEntry<Entry4> {
    NewEntry {
        dest: (100 + id, 80),
        id,
        method: 0,
        input_only: false,
        hop: Hop(0),
        epoch: 0,
        state,
        deadline: Tick(deadline),
        controller: Controller::NONE,
        timeout: 0,
    }
}

fn open(memory: &Memory, client: u32, id: u32, deadline: u32, now: u32) -> Opened {
    let new = new(id, State::SYN_RECV, deadline);
    conn::open(memory, &want(memory, client), &new, Tick(now))
}

/// What a packet does to an entry it found: FIN_WAIT, inactive. Reads the entry before, as a packet does.
fn advance(memory: &Memory, client: u32) {
    let Some(hit) = conn::find(memory, &want(memory, client)) else {
        return;
    };
    let id = hit.entry.id();
    let next = hit.control.advanced(State::FIN_WAIT, false, Tick(50));
    if hit.word.compare_exchange(hit.control.0, next.0).is_ok() {
        assert_eq!(
            hit.entry.client().0,
            client,
            "an entry of another life was taken for this one's"
        );
        if hit.control.is_active()
            && let Some(line) = memory.destination(id)
        {
            line[live::destination::COUNTS].add(1u64.wrapping_sub(1 << 32));
        }
    }
}

/// Counters equal a recount, those in the heads too; no flow has two entries, and no lock is left.
fn check(memory: &Memory) {
    let mut counts = [(0, 0); 4];
    let mut clients = Vec::new();
    let mut templates = 0;
    let mut heads = [(0, 0, 0); SETS as usize];
    for (index, set) in (0..).zip(&memory.sets) {
        for way in 0..WAYS {
            let control = Control(set.control[way].load());
            if control.is_template() {
                templates += 1;
                let life = Controller::at(index, way as u64, control);
                let controlled = Controls(set.entry[way].controller().load()).count();
                assert_eq!(controlled, controlled_by(memory, life), "controlled");
            }
            if control.is_live() {
                let entry = &set.entry[way];
                let controller = Controller(entry.controller().load());
                assert!(
                    !controller.is_some() || controller.find::<Entry4, _>(memory).is_some(),
                    "a template ended before a connection that it controls"
                );
                let count = &mut counts[entry.id() as usize];
                if control.is_active() {
                    count.0 += 1
                } else {
                    count.1 += 1
                }
                assert!(
                    !clients.contains(&entry.client()),
                    "two entries of one flow"
                );
                clients.push(entry.client());
                let home = want(memory, entry.client().0).home;
                let head = &mut heads[home as usize];
                if index >= SETS {
                    *head = (head.0, head.1 + 1, 1);
                } else if index != home {
                    head.0 += 1;
                }
            }
        }
    }
    let lines = memory.destinations.iter();
    let counted: u64 = lines
        .map(|line| line[live::destination::TEMPLATES].load())
        .sum();
    assert_eq!(counted, templates, "templates");
    for (set, head) in memory.sets.iter().zip(heads) {
        let word = set.head.load();
        assert_eq!(word >> 63, 0, "a lock is left");
        let found = (word >> 32 & 0xffff, word >> 16 & 0xffff, word & 0xffff);
        assert_eq!(found, head, "flows of a home that live elsewhere");
    }
    let overflowed: u64 = heads.iter().map(|head| head.1).sum();
    let counted = memory.state[state::CONNECTIONS as usize][state::OVERFLOW4].load();
    assert_eq!(counted, overflowed, "flows of the overflow area");
    for (id, count) in counts.into_iter().enumerate() {
        assert_eq!(memory.counts(id as u32), count, "destination {id}");
    }
}

/// Connections that a template controls.
fn controlled_by(memory: &Memory, template: Controller) -> u32 {
    let sets = memory.sets.iter();
    let ways = sets.flat_map(|set| (0..WAYS).map(move |way| (set, way)));
    ways.filter(|(set, way)| {
        Control(set.control[*way].load()).is_live()
            && set.entry[*way].controller().load() == template.0
    })
    .count() as u32
}

fn explore(
    iterations: usize,
    scenario: impl Fn(Arc<Memory>) -> Vec<thread::JoinHandle<()>> + Send + Sync + 'static,
) {
    shuttle::check_random(
        move || {
            let memory = Arc::new(Memory::new(4, SETS, 1, 4));
            configure(&memory);
            for handle in scenario(memory.clone()) {
                handle.join().unwrap();
            }
            check(&memory);
        },
        iterations,
    );
}

#[test]
fn two_openers_of_one_flow_leave_one_entry() {
    explore(10_000, |memory| {
        (0..2)
            .map(|id| {
                let memory = memory.clone();
                thread::spawn(move || {
                    open(&memory, 7, id, 10, 1);
                })
            })
            .collect()
    });
}

#[test]
fn opening_advancing_and_sweeping_one_flow_keep_the_counts() {
    explore(10_000, |memory| {
        let (a, b, c) = (memory.clone(), memory.clone(), memory);
        vec![
            thread::spawn(move || {
                open(&a, 7, 0, 3, 1);
                // The same flow again, after its time.
                open(&a, 7, 1, 30, 5);
            }),
            thread::spawn(move || {
                advance(&b, 7);
                advance(&b, 7);
            }),
            thread::spawn(move || {
                for set in 0..3 {
                    conn::sweep_set::<Entry4, _>(&*c, set, Tick(5));
                }
            }),
        ]
    });
}

#[test]
fn a_recycled_slot_is_never_taken_for_its_former_flow() {
    explore(10_000, |memory| {
        let (a, b, c) = (memory.clone(), memory.clone(), memory);
        vec![
            thread::spawn(move || {
                open(&a, 7, 0, 3, 1);
            }),
            thread::spawn(move || advance(&b, 7)),
            thread::spawn(move || {
                // Ends flow 7 and puts other flows where it may have been.
                for set in 0..3 {
                    conn::sweep_set::<Entry4, _>(&*c, set, Tick(5));
                }
                for client in 20..26 {
                    open(&c, client, 2, 30, 5);
                }
            }),
        ]
    });
}

/// Clients at home in set `home`.
fn at_home(memory: &Memory, home: u32) -> impl Iterator<Item = u32> {
    (100..).filter(move |client| want(memory, *client).home == home)
}

/// Fills the main sets with answered connections at home there, up to `used` ways each.
fn fill(memory: &Memory, used: [usize; SETS as usize]) {
    for (home, used) in (0..).zip(used) {
        for (way, client) in (0..used).zip(at_home(memory, home)) {
            let claim = Control(0).claimed(Tick(1));
            let set = &memory.sets[home as usize];
            set.entry[way].write(
                &want(memory, client),
                &new(3, State::ESTABLISHED, 100),
                claim.generation(),
            );
            let tag = want(memory, client).tag();
            let control =
                claim.published(Control::wanted(tag), false, State::ESTABLISHED, Tick(100));
            set.control[way].store(control.0);
            memory.destinations[3][live::destination::COUNTS].add(1 << 32);
        }
    }
}

#[test]
fn two_flows_that_want_the_last_way_both_find_room_and_neither_is_given_up() {
    explore(10_000, |memory| {
        // The last free way is home to one, the second set's to the other.
        fill(&memory, [7, 6]);
        (0..2)
            .map(|home| {
                let memory = memory.clone();
                thread::spawn(move || {
                    let client = at_home(&memory, home).nth(10).unwrap();
                    assert_eq!(open(&memory, client, home, 10, 1), Opened::New);
                    assert_eq!(memory.counted(Event::EvictedEmbryonic), 0);
                })
            })
            .collect()
    });
}

#[test]
fn flows_that_live_elsewhere_are_counted_while_others_open_and_end_them() {
    explore(10_000, |memory| {
        fill(&memory, [7, 5]);
        let (a, b, c) = (memory.clone(), memory.clone(), memory);
        vec![
            thread::spawn(move || {
                // Two in the second set, two in the overflow area, two that take the places of those whose time is over.
                for (client, now) in at_home(&a, 0).skip(10).zip([1, 1, 1, 1, 5, 5]) {
                    open(&a, client, 0, now + 2, now);
                }
            }),
            thread::spawn(move || {
                for (client, now) in at_home(&b, 1).skip(10).zip([1, 1, 5]) {
                    open(&b, client, 1, now + 2, now);
                }
            }),
            thread::spawn(move || {
                for set in 0..=SETS {
                    conn::sweep_set::<Entry4, _>(&*c, set, Tick(5));
                }
            }),
        ]
    });
}

#[test]
fn a_clock_read_a_moment_ago_breaks_no_lock() {
    explore(10_000, |memory| {
        [6, 5]
            .map(|now| {
                let memory = memory.clone();
                thread::spawn(move || {
                    open(&memory, 7, 0, 10, now);
                })
            })
            .into()
    });
}

/// A generation that knows how long [`conn::LINGER`] is: 7 ticks.
fn configure(memory: &Memory) {
    let mut timeouts = [0; TIMEOUTS];
    timeouts[TIMEOUT_SCALE] = 7 * (1 << 16) / conn::LINGER;
    let root = RootLine {
        timeouts: 1,
        ..RootLine::default()
    };
    for (line, words) in root.encode(0, &timeouts).into_iter().enumerate() {
        for (word, value) in memory.config[line].iter().zip(words) {
            word.store(value);
        }
    }
    memory.state[state::READ as usize][state::ROOT].store(1 << 32);
}

/// What is looked for to find the template of all clients.
fn network(memory: &Memory) -> Want<Entry4> {
    Want::template(memory.geometry, 6, 0, VIRT)
}

/// Opens the template to destination `id`.
fn keep(memory: &Memory, id: u32, deadline: u32) {
    let new = NewEntry {
        timeout: 3,
        ..new(id, State::NONE, deadline)
    };
    conn::open(memory, &network(memory), &new, Tick(1));
}

/// A new connection of the template, if that is found.
fn join(memory: &Memory, client: u32, now: u32) {
    let template = conn::find_template(memory, &network(memory), Tick(now));
    if !template.is_some() || !conn::control::<Entry4, _>(memory, template, Tick(now)) {
        return;
    }
    let new = NewEntry {
        controller: template,
        ..new(3, State::SYN_RECV, now + 1)
    };
    if conn::open(memory, &want(memory, client), &new, Tick(now)) != Opened::New {
        conn::release::<Entry4, _>(memory, template);
    }
}

#[test]
fn a_template_lives_as_long_as_its_connections_and_counts_each_once() {
    explore(20_000, |memory| {
        keep(&memory, 2, 4);
        let (a, b, c) = (memory.clone(), memory.clone(), memory);
        vec![
            thread::spawn(move || {
                join(&a, 7, 4);
                join(&a, 8, 6);
            }),
            thread::spawn(move || {
                join(&b, 7, 5);
                keep(&b, 1, 9);
            }),
            thread::spawn(move || {
                for now in [5, 7, 9] {
                    for set in 0..=SETS {
                        conn::sweep_set::<Entry4, _>(&*c, set, Tick(now));
                    }
                }
            }),
        ]
    });
}
