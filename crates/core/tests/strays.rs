//! Packets of masqueraded servers that belong to no connection, with `nat_icmp_send`.

mod common;

use common::*;
use lvsx_core::director::{Action, handle_own};
use lvsx_core::event::Event;
use lvsx_core::generation::{SchedulerKind, live};
use lvsx_core::host::World;

const SERVER: [u8; 4] = [192, 168, 1, 46];

/// A world with a masqueraded server at port 8000.
fn masquerading() -> World {
    let servers = [Server {
        port: 8000,
        ..server(46, 1)
    }];
    let world = world(SchedulerKind::RoundRobin, &servers);
    list_servers(&world, 1, &servers);
    set(&world, 1, |settings| settings.nat_icmp_send = true);
    world
}

fn stray(flags: u8) -> Build {
    reply((SERVER, 8000), 40_000, flags)
}

#[test]
fn the_server_is_told_that_nobody_knows_its_connection() {
    let world = masquerading();
    let sent = stray(ACK);
    let (verdict, bytes) = sent.run(&world);
    assert_eq!(
        (verdict.action(), verdict.interface()),
        (Action::Out, INTERFACE)
    );
    assert_eq!(world.memory.counted(Event::DropNoConnection), 1);
    assert_eq!(bytes[..12], [mac(46), DIRECTOR_MAC].concat());
    assert_eq!((address(&bytes, 12), address(&bytes, 16)), (OWN, SERVER));
    assert_eq!(bytes[34..36], [3, 3]);
    // It was as good as forwarded: a hop less to live.
    let quoted = Build { ttl: 63, ..sent };
    assert_eq!(bytes[42..], quoted.packet());
    assert_eq!(checksum(&[&bytes[14..34]]), 0);
    assert_eq!(checksum(&[&bytes[34..]]), 0);
    let tally = &world.memory.tallies[0];
    assert!(
        (0..5).all(|word| tally[word].load() == 0),
        "nothing is counted"
    );
}

#[test]
fn a_packet_for_the_director_itself_is_answered_by_the_address_it_was_for() {
    let world = masquerading();
    for (to, flags) in [(VIP, ACK), (VIP, SYN)] {
        let sent = Build {
            to: (to, 80),
            ..stray(flags)
        };
        let (verdict, bytes) = sent.run(&world);
        assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
        assert_eq!((address(&bytes, 12), address(&bytes, 16)), (to, SERVER));
        assert_eq!(bytes[42..], sent.packet());
    }
}

#[test]
fn whatever_is_not_a_servers_end_goes_its_way() {
    let world = masquerading();
    let pass = |build: Build| {
        let before = build.packet();
        let (verdict, bytes) = build.run(&world);
        assert_eq!(bytes[14..], before, "{build:?}");
        verdict.event()
    };
    assert_eq!(pass(stray(RST)), Event::PassNoConnection);
    assert_eq!(pass(stray(RST | ACK)), Event::PassNoConnection);
    let other = reply((SERVER, 8001), 40_000, ACK);
    assert_eq!(pass(other), Event::PassNoConnection);
    let udp = Build {
        protocol: 17,
        ..stray(0)
    };
    assert_eq!(pass(udp), Event::PassNoConnection);
    let nowhere = Build {
        to: ([203, 0, 113, 77], 40_000),
        ..stray(ACK)
    };
    assert_eq!(pass(nowhere), Event::PassNoConnection);
    let long = Build {
        payload: 1500,
        ..stray(ACK)
    };
    assert_eq!(pass(long), Event::PassNoConnection);
    let (verdict, _) = Build {
        to: (VIP, 80),
        ..reply((SERVER, 8001), 40_000, SYN)
    }
    .run(&world);
    assert_eq!(
        verdict.action(),
        Action::Out,
        "a server may be a client: {verdict:?}"
    );
}

#[test]
fn a_socket_of_this_host_is_told_at_its_own_address() {
    let servers = [Server {
        address: OWN,
        port: 8000,
        ..server(49, 1)
    }];
    let world = world(SchedulerKind::RoundRobin, &servers);
    list_servers(&world, 1, &servers);
    set(&world, 1, |settings| settings.nat_icmp_send = true);
    let sent = reply((OWN, 8000), 40_000, ACK);
    let mut frame = sent.frame();
    let verdict = handle_own(&mut frame, &world);
    assert_eq!(verdict.action(), Action::Local, "{verdict:?}");
    assert_eq!(address(&frame.bytes, 12), OWN);
    assert_eq!(address(&frame.bytes, 16), OWN);
    assert_eq!(frame.bytes[42..], sent.packet(), "not forwarded yet");
    assert_eq!(world.memory.counted(Event::DropNoConnection), 1);
    let other = reply((OWN, 8001), 40_000, ACK);
    let verdict = handle_own(&mut other.frame(), &world);
    assert_eq!(verdict.event(), Event::PassNotOurs);
}

#[test]
fn a_packet_of_a_connection_is_none_and_without_the_setting_all_pass() {
    let world = masquerading();
    to_vip(40_000, SYN).run(&world);
    let (verdict, bytes) = stray(SYN | ACK).run(&world);
    assert_eq!(verdict.action(), Action::Out);
    assert_eq!(address(&bytes, 12), VIP);
    let (verdict, _) = reply((SERVER, 8000), 40_001, ACK).run(&world);
    assert_eq!(
        world.memory.counted(Event::DropNoConnection),
        1,
        "{verdict:?}"
    );
    set(&world, 1, |settings| settings.nat_icmp_send = false);
    let (verdict, _) = reply((SERVER, 8000), 40_001, ACK).run(&world);
    assert_eq!(verdict.event(), Event::PassNoConnection);
}

#[test]
fn without_an_address_to_answer_from_it_is_dropped() {
    let world = masquerading();
    world.memory.tunnels[0][live::tunnel::SOURCE].store(0);
    let (verdict, _) = stray(ACK).run(&world);
    assert_eq!(verdict.event(), Event::DropUnanswered);
}
