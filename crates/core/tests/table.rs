//! The connection table: its rating, its agreement with a naive model, and four threads at once.

use lvsx_core::conn::{
    self, Control, Entry, Entry4, Entry6, Hop, NewEntry, Opened, Peer, Phase, WAYS, Want,
};
use lvsx_core::env::{Tables, state};
use lvsx_core::event::Event;
use lvsx_core::host::Memory;
use lvsx_core::state::State;
use lvsx_core::tick::Tick;
use proptest::prelude::*;
use std::collections::HashMap;

const SERVERS: u32 = 16;

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn want(memory: &Memory, client: (u32, u16), virt: (u32, u16)) -> Want<Entry4> {
    Want::new(memory.geometry, 6, client, virt, Peer::Virtual)
}

fn entry(id: u32, state: State, deadline: Tick) -> NewEntry<Entry4> {
    NewEntry {
        dest: (100 + id, 80),
        id,
        method: 0,
        input_only: false,
        hop: Hop(0),
        epoch: 0,
        state,
        deadline,
        controller: conn::Controller::NONE,
        timeout: 0,
    }
}

/// Active and inactive entries of each destination, by looking at all of them.
fn recount(memory: &Memory) -> Vec<(u32, u32)> {
    let mut counts = vec![(0, 0); SERVERS as usize];
    for set in &memory.sets {
        for way in 0..WAYS {
            let control = Control(set.control[way].load());
            assert_ne!(control.phase(), Phase::Claimed, "nobody is opening now");
            if control.is_live() {
                let count = &mut counts[set.entry[way].id() as usize];
                if control.is_active() {
                    count.0 += 1
                } else {
                    count.1 += 1
                }
            }
        }
    }
    counts
}

/// No lock is left, and each head counts the flows of its home that live in their second set and in the overflow area; its
/// reach is 0 while none lives there.
fn check_heads(memory: &Memory) {
    let main = memory.geometry.sets;
    let mut elsewhere = vec![(0, 0); main as usize];
    for (index, set) in (0..).zip(&memory.sets) {
        for (word, entry) in set.control.iter().zip(&set.entry) {
            let home = want(memory, entry.client(), entry.virt()).home;
            if !Control(word.load()).is_live() || home == index {
                continue;
            }
            let counts = &mut elsewhere[home as usize];
            *(if index < main {
                &mut counts.0
            } else {
                &mut counts.1
            }) += 1;
        }
    }
    for (set, counts) in memory.sets.iter().zip(&elsewhere) {
        let head = set.head.load();
        assert_eq!(head >> 63, 0, "a lock is left");
        assert_eq!((head >> 32 & 0xffff, head >> 16 & 0xffff), *counts);
        assert_eq!(head & 0xffff == 0, counts.1 == 0, "reach");
    }
    let overflowed: u64 = elsewhere.iter().map(|counts| counts.1).sum();
    let counted = &memory.state[state::CONNECTIONS as usize][state::OVERFLOW4];
    assert_eq!(counted.load(), overflowed);
}

fn counters(memory: &Memory) -> Vec<(u32, u32)> {
    (0..SERVERS).map(|id| memory.counts(id)).collect()
}

#[test]
fn filled_to_its_rating_no_insert_fails_and_nothing_is_evicted() {
    // As the director lays it out: 85 % of the main ways, overflow one set in 16.
    let rated = 100_000;
    let sets = (rated as f64 / 0.85 / WAYS as f64).ceil() as u32;
    let memory = Memory::new(1, sets, (sets / 16).max(64), SERVERS);
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let mut flows = Vec::new();
    for number in 0..rated {
        let bits = random(&mut seed);
        let client = (bits as u32, (bits >> 32) as u16);
        let virt = (7, number as u16);
        let new = entry(number % SERVERS, State::ESTABLISHED, Tick(1000));
        assert_eq!(
            conn::open(&memory, &want(&memory, client, virt), &new, Tick(1)),
            Opened::New
        );
        flows.push((client, virt));
    }
    assert_eq!(memory.counted(Event::EvictedEmbryonic), 0);
    assert_eq!(memory.counted(Event::Opened), u64::from(rated));
    for (client, virt) in flows {
        assert!(conn::find(&memory, &want(&memory, client, virt)).is_some());
    }
    let overflowed = memory.state(state::CONNECTIONS).unwrap()[state::OVERFLOW4].load();
    println!("{rated} flows in {sets} sets, {overflowed} of them in the overflow area");
    assert_eq!(recount(&memory), counters(&memory));
    check_heads(&memory);
}

#[test]
fn many_flows_of_one_client_port_go_to_the_overflow_area_and_none_is_lost() {
    let memory = Memory::new(1, 1000, 80, SERVERS);
    let client = (0x0a00_0001, 5000);
    for port in 0..500u16 {
        let virt = (9, port);
        let new = entry(u32::from(port) % SERVERS, State::ESTABLISHED, Tick(1000));
        assert_eq!(
            conn::open(&memory, &want(&memory, client, virt), &new, Tick(1)),
            Opened::New,
            "{port}"
        );
    }
    for port in 0..500u16 {
        let hit = conn::find(&memory, &want(&memory, client, (9, port))).expect("found");
        assert_eq!(hit.entry.virt(), (9, port));
    }
    for port in 0..500u16 {
        let hit = conn::find(&memory, &want(&memory, client, (9, port))).expect("found");
        assert!(conn::remove(&memory, &hit));
    }
    let wanted = want(&memory, client, (9, 0));
    assert_eq!(
        conn::overflow_reach(&memory, &wanted),
        0,
        "an empty overflow area costs nothing"
    );
    assert!(counters(&memory).iter().all(|count| *count == (0, 0)));
    check_heads(&memory);
}

#[test]
fn each_family_has_an_overflow_area_of_its_own() {
    let memory = Memory::new(1, 8, 4, SERVERS);
    let flow = |port| {
        let (client, virt) = ([1, 2], [3, 4]);
        Want::<Entry6>::new(
            memory.geometry,
            6,
            (client, 5000),
            (virt, port),
            Peer::Virtual,
        )
    };
    for port in 0..20 {
        let new = NewEntry::<Entry6> {
            dest: ([5, 6], 80),
            id: 0,
            method: 0,
            input_only: false,
            hop: Hop(0),
            epoch: 0,
            state: State::ESTABLISHED,
            deadline: Tick(1000),
            controller: conn::Controller::NONE,
            timeout: 0,
        };
        assert_eq!(conn::open(&memory, &flow(port), &new, Tick(1)), Opened::New);
    }
    let areas = &memory.state[state::CONNECTIONS as usize];
    let entries = || {
        [
            areas[state::OVERFLOW4].load(),
            areas[state::OVERFLOW6].load(),
        ]
    };
    assert_eq!(entries(), [0, 6], "two sets of seven, and the rest");
    for port in 0..20 {
        let wanted = flow(port);
        let hit = conn::find(&memory, &wanted).expect("found");
        assert_eq!(hit.entry.virt(), ([3, 4], port));
        assert!(conn::remove(&memory, &hit));
    }
    assert_eq!(entries(), [0, 0]);
}

#[test]
fn beyond_the_rating_unanswered_connections_go_first_and_answered_ones_stay() {
    let memory = Memory::new(1, 4, 1, SERVERS);
    let mut seed = 77;
    let mut open = |state| {
        let bits = random(&mut seed);
        let (client, virt) = ((bits as u32, (bits >> 32) as u16), (1, 80));
        (
            client,
            conn::open(
                &memory,
                &want(&memory, client, virt),
                &entry(0, state, Tick(1000)),
                Tick(1),
            ),
        )
    };
    let mut answered = Vec::new();
    for _ in 0..16 {
        let (client, opened) = open(State::ESTABLISHED);
        assert_eq!(opened, Opened::New);
        answered.push(client);
    }
    for _ in 0..1000 {
        open(State::SYN_RECV);
    }
    assert!(memory.counted(Event::EvictedEmbryonic) > 0);
    for client in answered {
        assert!(conn::find(&memory, &want(&memory, client, (1, 80))).is_some());
    }
    assert_eq!(recount(&memory), counters(&memory));
    check_heads(&memory);
    while open(State::ESTABLISHED).1 != Opened::Full {}
    assert_eq!(recount(&memory), counters(&memory));
    check_heads(&memory);
}

/// What a test does to the table.
#[derive(Clone, Debug)]
enum Act {
    Open {
        client: u8,
        port: u8,
        established: bool,
        lasts: u8,
    },
    Find {
        client: u8,
        port: u8,
    },
    Remove {
        client: u8,
        port: u8,
    },
    Wait(u8),
    Sweep,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..24u8, 0..12u8, any::<bool>(), 1..20u8)
            .prop_map(|(client, port, established, lasts)| Act::Open { client, port, established, lasts }),
        4 => (0..24u8, 0..12u8).prop_map(|(client, port)| Act::Find { client, port }),
        1 => (0..24u8, 0..12u8).prop_map(|(client, port)| Act::Remove { client, port }),
        2 => (1..6u8).prop_map(Act::Wait),
        1 => Just(Act::Sweep),
    ];
    prop::collection::vec(act, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn the_table_agrees_with_a_map(acts in acts()) {
        // Roomy enough that nothing is ever refused: at most 288 flows in 48 sets and 32 of overflow.
        let memory = Memory::new(1, 48, 32, SERVERS);
        let mut model: HashMap<(u8, u8), (u32, Tick)> = HashMap::new();
        let mut now = Tick(u32::MAX - 40);
        for act in acts {
            match act {
                Act::Open { client, port, established, lasts } => {
                    let id = u32::from(client ^ port) % SERVERS;
                    let state = if established { State::ESTABLISHED } else { State::SYN_RECV };
                    let deadline = now.after(u32::from(lasts));
                    let virt = (1, u16::from(port));
                    let wanted = want(&memory, (u32::from(client), 1), virt);
                    let opened = conn::open(&memory, &wanted, &entry(id, state, deadline), now);
                    let known = model.get(&(client, port)).is_some_and(|(_, ends)| !ends.is_before(now));
                    prop_assert_eq!(opened, if known { Opened::Exists } else { Opened::New });
                    if !known {
                        model.insert((client, port), (id, deadline));
                    }
                }
                Act::Find { client, port } => {
                    let found = conn::find(&memory, &want(&memory, (u32::from(client), 1), (1, u16::from(port))));
                    let found = found.filter(|hit| !hit.control.is_expired(now)).map(|hit| hit.entry.id());
                    let known = model.get(&(client, port)).filter(|(_, ends)| !ends.is_before(now)).map(|(id, _)| *id);
                    prop_assert_eq!(found, known);
                }
                Act::Remove { client, port } => {
                    if let Some(hit) = conn::find(&memory, &want(&memory, (u32::from(client), 1), (1, u16::from(port)))) {
                        prop_assert!(conn::remove(&memory, &hit));
                    }
                    model.remove(&(client, port));
                }
                Act::Wait(ticks) => now = now.after(u32::from(ticks)),
                Act::Sweep => {
                    for set in 0..80 {
                        conn::sweep_set::<Entry4, _>(&memory, set, now);
                    }
                    model.retain(|_, (_, ends)| !ends.is_before(now));
                    let live: u32 = recount(&memory).iter().map(|(active, inactive)| active + inactive).sum();
                    prop_assert_eq!(live as usize, model.len());
                }
            }
        }
        prop_assert_eq!(recount(&memory), counters(&memory));
        check_heads(&memory);
    }
}

#[test]
fn four_threads_on_the_same_flows_leave_exact_counters_and_no_twins() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let memory = Memory::new(1, 96, 16, SERVERS);
    let clock = AtomicU32::new(1);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (memory, clock) = (&memory, &clock);
            scope.spawn(move || {
                let mut seed = 0xabcd_ef01 + thread;
                for _ in 0..150_000 {
                    let bits = random(&mut seed);
                    let now = Tick(clock.load(Ordering::Relaxed));
                    // 512 flows of 64 client ports for 768 ways: crowded sets, recycled entries.
                    let client = (bits as u32 % 64, 1);
                    let virt = (1, (bits >> 8) as u16 % 8);
                    let wanted = want(memory, client, virt);
                    match bits >> 40 & 7 {
                        0..3 => {
                            let new =
                                entry((bits >> 50) as u32 % SERVERS, State::SYN_RECV, now.after(3));
                            let _ = conn::open(memory, &wanted, &new, now);
                        }
                        3..6 => {
                            if let Some(hit) = conn::find(memory, &wanted) {
                                let id = hit.entry.id();
                                let next =
                                    hit.control.advanced(State::FIN_WAIT, false, now.after(5));
                                if hit.word.compare_exchange(hit.control.0, next.0).is_ok()
                                    && hit.control.is_active()
                                {
                                    let line = memory.destination(id).unwrap();
                                    line[lvsx_core::generation::live::destination::COUNTS]
                                        .add(1u64.wrapping_sub(1 << 32));
                                }
                            }
                        }
                        6 => {
                            conn::sweep_set::<Entry4, _>(memory, (bits >> 20) as u32 % 112, now);
                        }
                        _ => {
                            clock.fetch_add(u32::from(bits & 0xff == 0), Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(recount(&memory), counters(&memory));
    check_heads(&memory);
    let mut flows = HashMap::new();
    for set in &memory.sets {
        for way in 0..WAYS {
            if Control(set.control[way].load()).is_live() {
                let key = (set.entry[way].client(), set.entry[way].virt());
                assert_eq!(flows.insert(key, ()), None, "two entries of one flow");
            }
        }
    }
}
