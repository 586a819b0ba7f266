//! The connection table under every order of steps that a randomised scheduler finds: two openers of one flow, a packet
//! that advances it, a sweep that ends it. Built only with `--cfg shuttle`, which puts shuttle's atomics into the words;
//! `cargo xtask test` does so.
#![cfg(shuttle)]

use lvsx_core::conn::{self, Control, Entry, Entry4, Hop, NewEntry, Opened, Peer, WAYS, Want};
use lvsx_core::env::Tables;
use lvsx_core::generation::live;
use lvsx_core::host::Memory;
use lvsx_core::state::State;
use lvsx_core::tick::Tick;
use shuttle::sync::Arc;
use shuttle::thread;

const VIRT: (u32, u16) = (1, 80);

fn want(memory: &Memory, client: u32) -> Want<Entry4> {
    Want::new(memory.geometry, 6, (client, 1), VIRT, Peer::Virtual)
}

fn open(memory: &Memory, client: u32, id: u32, deadline: u32, now: u32) -> Opened {
    let new = NewEntry {
        dest: (100 + id, 80),
        id,
        method: 0,
        mark: 0,
        input_only: false,
        hop: Hop(0),
        epoch: 0,
        state: State::SYN_RECV,
        deadline: Tick(deadline),
    };
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

/// Counters equal a recount, and no flow has two entries.
fn check(memory: &Memory) {
    let mut counts = [(0, 0); 4];
    let mut clients = Vec::new();
    for set in &memory.sets {
        for way in 0..WAYS {
            let control = Control(set.control[way].load());
            if control.is_live() {
                let entry = &set.entry[way];
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
            }
        }
    }
    for (id, count) in counts.into_iter().enumerate() {
        assert_eq!(memory.counts(id as u32), count, "destination {id}");
    }
}

fn explore(
    iterations: usize,
    scenario: impl Fn(Arc<Memory>) -> Vec<thread::JoinHandle<()>> + Send + Sync + 'static,
) {
    shuttle::check_random(
        move || {
            let memory = Arc::new(Memory::new(1, 2, 1, 4));
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
