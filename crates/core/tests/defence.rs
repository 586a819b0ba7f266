//! `drop_entry`: which connections end before their time, and how many of them.

mod common;

use common::*;
use lvsx_core::conn::{Entry4, WAYS, is_thinned, thin_way};
use lvsx_core::director::Action;
use lvsx_core::event::Event;
use lvsx_core::generation::SchedulerKind::RoundRobin;
use lvsx_core::generation::live::destination::{COUNTS, TEMPLATES};
use lvsx_core::host::{World, raw4};
use lvsx_core::tick::Tick;

const UDP: u8 = 17;
/// Ticks in which the hand sees the whole table: 2.048 s.
const ROUND: u32 = 32;
const SECONDS_A_ROUND: f64 = 2.048;

fn defended() -> World {
    let world = world(RoundRobin, &[server(46, 1)]);
    set(&world, 1, |settings| settings.drop_entry = 3);
    world
}

/// The client's packets on a flow, `count` of them.
fn send(world: &World, port: u16, protocol: u8, flags: &[u8]) {
    for flags in flags {
        let build = Build {
            protocol,
            ..to_vip(port, *flags)
        };
        let (verdict, _) = build.run(world);
        assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
    }
}

fn answer(world: &World, port: u16, flags: u8) {
    let (verdict, _) = reply(([192, 168, 1, 46], 80), port, flags).run(world);
    assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
}

fn rest(world: &mut World, seconds: u32) {
    world.now = Tick(world.now.0 + RATE.ticks(seconds));
}

/// A look at each entry that `chosen` chooses, which ends what is to end.
fn thin_some(world: &World, mut chosen: impl FnMut() -> bool) {
    for index in 0..world.memory.sets.len() as u32 {
        for way in 0..WAYS as u32 {
            if chosen() {
                thin_way::<Entry4, _>(&world.memory, index, way, world.now);
            }
        }
    }
}

fn thin(world: &World) {
    thin_some(world, || true);
}

/// Connections that are left, active and inactive.
fn left(world: &World) -> u64 {
    let counts = world.memory.destinations[0][COUNTS].load();
    (counts >> 32) + (counts & 0xffff_ffff)
}

/// Whether a flow that lived like this still lives after a look.
fn survives(live: impl FnOnce(&mut World)) -> bool {
    let mut world = defended();
    live(&mut world);
    assert_eq!(left(&world), 1);
    thin(&world);
    let survives = left(&world) == 1;
    assert_eq!(world.memory.counted(Event::Thinned), u64::from(!survives));
    survives
}

#[test]
fn what_nobody_answered_ends_and_what_is_over_stays() {
    assert!(!survives(|world| send(world, 1, 6, &[SYN])), "SYN_RECV");
    assert!(
        !survives(|world| {
            send(world, 1, 6, &[SYN]);
            answer(world, 1, SYN | ACK);
        }),
        "SYN_RECV still"
    );
    let closing = |world: &mut World| {
        send(world, 1, 6, &[SYN]);
        answer(world, 1, SYN | ACK);
        send(world, 1, 6, &[ACK, FIN]);
        rest(world, 61);
    };
    assert!(survives(closing), "FIN_WAIT");
}

#[test]
fn a_few_packets_and_a_minutes_rest_end_a_connection() {
    let udp = |packets: usize, seconds: u32| {
        survives(|world| {
            send(world, 1, UDP, &vec![0; packets]);
            rest(world, seconds);
        })
    };
    assert!(!udp(1, 61));
    assert!(!udp(8, 61));
    assert!(udp(9, 61));
    assert!(udp(40, 61));
    assert!(udp(1, 59));
    let established = |packets: usize, seconds: u32| {
        survives(|world| {
            send(world, 1, 6, &[SYN]);
            answer(world, 1, SYN | ACK);
            send(world, 1, 6, &vec![ACK; packets - 1]);
            answer(world, 1, ACK);
            rest(world, seconds);
        })
    };
    assert!(!established(2, 61));
    assert!(!established(8, 61));
    assert!(established(9, 61));
    assert!(established(2, 59));
}

#[test]
fn what_was_opened_before_the_mode_was_set_stays() {
    let mut world = world(RoundRobin, &[server(46, 1)]);
    send(&world, 1, UDP, &[0]);
    set(&world, 1, |settings| settings.drop_entry = 3);
    send(&world, 1, UDP, &[0]);
    rest(&mut world, 61);
    thin(&world);
    assert_eq!(left(&world), 1);
}

#[test]
fn of_those_with_n_packets_one_in_n_ends() {
    for packets in 1..=8 {
        let mut world = defended();
        for port in 1001..=1120 {
            send(&world, port, UDP, &vec![0; packets]);
        }
        rest(&mut world, 61);
        thin(&world);
        let ended = 120u64.div_ceil(packets as u64);
        assert_eq!(left(&world), 120 - ended, "{packets} packets");
    }
}

/// The share of connections that end, over many runs, is the kernel's: each second a 32nd of the table is looked at.
#[test]
fn as_many_end_in_a_time_as_in_the_kernel() {
    // xorshift64, by Marsaglia.
    let mut state = 7u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    };
    for packets in [1usize, 3, 8] {
        let (mut lived, mut all) = (0.0, 0.0);
        let rounds = 40;
        for _ in 0..25 {
            let mut world = defended();
            for port in 1001..=1250 {
                send(&world, port, UDP, &vec![0; packets]);
            }
            rest(&mut world, 61);
            for _ in 0..rounds {
                thin_some(&world, || is_thinned(random(), true));
                world.now = Tick(world.now.0 + ROUND);
            }
            lived += left(&world) as f64;
            all += 250.0;
        }
        // In the kernel a bucket is met `seconds / 32` times on average, and each n-th meeting ends one.
        let seconds = f64::from(rounds) * SECONDS_A_ROUND;
        let expected = (-seconds / 32.0 / packets as f64).exp();
        let share = lived / all;
        assert!(
            (share - expected).abs() < 0.03,
            "{packets} packets: {share:.3} lived, not {expected:.3}"
        );
    }
}

#[test]
fn templates_end_that_nobody_answered_or_that_an_ended_connection_leaves() {
    let persistent = || {
        let world = defended();
        reshape(&world, 1, |service| {
            service.flags = 1;
            service.timeout = 10_000;
            service.netmask = raw4([255; 4]);
        });
        world
    };
    let templates = |world: &World| world.memory.destinations[0][TEMPLATES].load();
    let mut world = persistent();
    send(&world, 1, 6, &[SYN]);
    assert_eq!((left(&world), templates(&world)), (1, 1));
    thin(&world);
    assert_eq!((left(&world), templates(&world)), (0, 0));

    // An established connection assures its template, which stays.
    send(&world, 2, 6, &[SYN]);
    answer(&world, 2, SYN | ACK);
    send(&world, 2, 6, &[ACK]);
    rest(&mut world, 61);
    thin(&world);
    assert_eq!((left(&world), templates(&world)), (0, 1));
}
