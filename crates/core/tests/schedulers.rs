//! Schedulers against the sequences observed on a kernel (Linux 6.1): servers A, B, C are added in this order.

mod common;

use common::*;
use lvsx_core::env::Route;
use lvsx_core::generation::{SchedulerKind, live};
use lvsx_core::host::{World, raw4};
use lvsx_core::sched::wrr;

/// Sends SYNs from new ports and names the servers they went to; `-` for none. Each connection then closes, or stays.
fn picks(world: &World, first_port: u16, count: u16, protocol: u8) -> String {
    (0..count)
        .map(|step| {
            let (_, bytes) = Build {
                protocol,
                ..to_vip(first_port + step, SYN)
            }
            .run(world);
            if bytes[23] == 1 {
                '-'
            } else {
                (b'A' + address(&bytes, 16)[3] - 46) as char
            }
        })
        .collect()
}

fn servers(weights: &[u32]) -> Vec<Server> {
    (46..)
        .zip(weights)
        .map(|(last, weight)| server(last, *weight))
        .collect()
}

/// An empty service, routes to whoever may be added.
fn empty(scheduler: SchedulerKind) -> World {
    let mut world = world(scheduler, &[]);
    for last in 46..60 {
        let hop = Route::To {
            interface: INTERFACE,
            address: raw_mac(mac(last)),
        };
        world.routes.push((raw4([192, 168, 1, last]), hop));
    }
    world
}

/// A new generation, and what the director does to wrr's cursor at each.
fn reconfigure(world: &World, scheduler: SchedulerKind, weights: &[u32], number: u64) {
    configure(world, scheduler, &servers(weights), number);
    if scheduler == SchedulerKind::WeightedRoundRobin {
        let (max, step) = wrr::steps(weights.iter().copied());
        let cursor = &world.memory.services[1][0];
        cursor.store(wrr::reset(cursor.load(), max, step));
    }
}

#[test]
fn rr_takes_the_newest_first_and_goes_round() {
    let world = world(SchedulerKind::RoundRobin, &servers(&[1, 1, 1]));
    assert_eq!(picks(&world, 1000, 7, 6), "CBACBAC");
    configure(&world, SchedulerKind::RoundRobin, &servers(&[1, 0, 1]), 2);
    assert_eq!(picks(&world, 1100, 4, 6), "ACAC");
    configure(&world, SchedulerKind::RoundRobin, &servers(&[1, 1, 1]), 3);
    assert_eq!(picks(&world, 1200, 4, 6), "BACB");
}

#[test]
fn wrr_begins_with_the_level_the_first_server_left() {
    let weights = [4, 3, 2];
    let world = empty(SchedulerKind::WeightedRoundRobin);
    for count in 1..=3 {
        reconfigure(
            &world,
            SchedulerKind::WeightedRoundRobin,
            &weights[..count],
            count as u64 + 1,
        );
    }
    assert_eq!(picks(&world, 1000, 18, 6), "CBAABACBACBAABACBA");
    reconfigure(&world, SchedulerKind::WeightedRoundRobin, &[1, 3, 2], 5);
    assert_eq!(picks(&world, 1100, 8, 6), "CBCBABCB");
    reconfigure(&world, SchedulerKind::WeightedRoundRobin, &[1, 0, 2], 6);
    assert_eq!(picks(&world, 1200, 4, 6), "CCAC");
    reconfigure(&world, SchedulerKind::WeightedRoundRobin, &[1, 0, 2, 6], 7);
    assert_eq!(picks(&world, 1300, 14, 6), "DCDCADDDDDCDCA");
}

#[test]
fn wrr_uses_the_greatest_common_divisor() {
    let world = empty(SchedulerKind::WeightedRoundRobin);
    for count in 1..=3 {
        reconfigure(
            &world,
            SchedulerKind::WeightedRoundRobin,
            &[10, 5, 20][..count],
            count as u64 + 1,
        );
    }
    assert_eq!(picks(&world, 1000, 14, 6), "CBACCCACBACCCA");
}

#[test]
fn lc_ignores_weights() {
    let world = world(SchedulerKind::LeastConnection, &servers(&[1, 2, 3]));
    assert_eq!(picks(&world, 1000, 6, 6), "CBACBA");
}

#[test]
fn wlc_gives_by_weight_for_tcp_and_udp_alike() {
    for protocol in [6, 17] {
        let world = world(SchedulerKind::WeightedLeastConnection, &servers(&[1, 2, 3]));
        assert_eq!(picks(&world, 1000, 12, protocol), "CBACBCCBACBC");
    }
}

#[test]
fn wlc_counts_an_active_connection_as_256_inactive_ones() {
    let world = world(SchedulerKind::WeightedLeastConnection, &servers(&[1, 2, 3]));
    let mut seen = String::new();
    for step in 0..12 {
        seen += &picks(&world, 1000 + step, 1, 6);
        if step < 4 {
            // As observed: the first four connections go to FIN_WAIT at once.
            let last = seen.as_bytes()[step as usize] - b'A';
            let counts = &world.memory.destinations[usize::from(last)][live::destination::COUNTS];
            counts.add(1u64.wrapping_sub(1 << 32));
        }
    }
    assert_eq!(seen, "CBACBCACBCBC");
}

#[test]
fn connections_that_stay_are_dealt_as_observed() {
    for (scheduler, weights, expected) in [
        (
            SchedulerKind::ShortestExpectedDelay,
            [1, 2, 3],
            "CBCCBACBCCBA",
        ),
        (SchedulerKind::NeverQueue, [1, 2, 3], "CBACCBCBCCBA"),
        (SchedulerKind::Failover, [1, 2, 3], "CCCCCCCCCCCC"),
        (SchedulerKind::Overflow, [1, 2, 3], "CCCCBBBAA---"),
        (SchedulerKind::Overflow, [2, 2, 1], "BBBAAACC-"),
    ] {
        let world = world(scheduler, &servers(&weights));
        let count = expected.len() as u16;
        assert_eq!(picks(&world, 1000, count, 6), expected, "{scheduler:?}");
    }
}

/// Connections of UDP are never active.
#[test]
fn schedulers_of_active_connections_give_all_of_udp_to_one() {
    for (scheduler, expected) in [
        (SchedulerKind::ShortestExpectedDelay, "CCCC"),
        (SchedulerKind::NeverQueue, "CCCC"),
        (SchedulerKind::Overflow, "CCCC"),
    ] {
        let world = world(scheduler, &servers(&[1, 2, 3]));
        assert_eq!(picks(&world, 1000, 4, 17), expected, "{scheduler:?}");
    }
}

#[test]
fn nq_takes_whoever_became_idle() {
    let world = world(SchedulerKind::NeverQueue, &servers(&[1, 2, 3]));
    let mut seen = String::new();
    for step in 0..10 {
        seen += &picks(&world, 1000 + step, 1, 6);
        if step == 1 || step == 4 {
            // As observed: the second and the fifth go to FIN_WAIT at once.
            let last = seen.as_bytes()[step as usize] - b'A';
            let counts = &world.memory.destinations[usize::from(last)][live::destination::COUNTS];
            counts.add(1u64.wrapping_sub(1 << 32));
        }
    }
    assert_eq!(seen, "CBBACCCBCB");
}

#[test]
fn the_heaviest_that_takes_new_connections_takes_all() {
    let scheduler = SchedulerKind::Failover;
    let world = world(scheduler, &servers(&[3, 7, 7]));
    assert_eq!(picks(&world, 1000, 2, 6), "CC");
    configure(&world, scheduler, &servers(&[3, 7, 0]), 2);
    assert_eq!(picks(&world, 1100, 2, 6), "BB");
    configure(&world, scheduler, &servers(&[3, 0, 0]), 3);
    assert_eq!(picks(&world, 1200, 2, 6), "AA");
}

#[test]
fn nobody_is_picked_when_all_are_quiesced_and_the_cursor_stays() {
    for kind in [
        SchedulerKind::RoundRobin,
        SchedulerKind::LeastConnection,
        SchedulerKind::WeightedLeastConnection,
        SchedulerKind::ShortestExpectedDelay,
        SchedulerKind::NeverQueue,
        SchedulerKind::Failover,
        SchedulerKind::Overflow,
        SchedulerKind::PowerOfTwo,
        SchedulerKind::DestinationHash,
        SchedulerKind::SourceHash,
        SchedulerKind::Maglev,
        SchedulerKind::Locality,
        SchedulerKind::LocalityReplication,
    ] {
        let world = world(kind, &servers(&[0, 0]));
        assert_eq!(picks(&world, 1000, 2, 6), "--");
    }
    let world = empty(SchedulerKind::WeightedRoundRobin);
    reconfigure(&world, SchedulerKind::WeightedRoundRobin, &[0, 0], 3);
    assert_eq!(picks(&world, 1000, 2, 6), "--");
}
