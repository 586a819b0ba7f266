//! Path MTUs of tunnels through the director: what errors teach, whom it concerns, when it is over.

mod common;

use common::*;
use lvsx_core::director::{Action, Verdict, handle, least_path_mtu, path_mtu};
use lvsx_core::env::state;
use lvsx_core::event::Event;
use lvsx_core::generation::SchedulerKind::RoundRobin;
use lvsx_core::generation::live;
use lvsx_core::host::{World, raw4};

const SERVER: [u8; 4] = [192, 168, 1, 46];
const PORT: u16 = 40_000;
/// How long a path MTU holds, in ticks.
const KEPT: u32 = 9375;

/// A world with one tunnelled server and a connection to it.
fn connected() -> World {
    let world = world(
        RoundRobin,
        &[Server {
            method: 2,
            ..server(46, 1)
        }],
    );
    for flags in [SYN, ACK] {
        let (verdict, _) = to_vip(PORT, flags).run(&world);
        assert_eq!(verdict.action(), Action::Out);
    }
    world
}

/// A packet of the client's of so many bytes, which must not be fragmented.
fn send(world: &World, total: usize) -> (Verdict, Vec<u8>) {
    let packet = Build {
        payload: total - 40,
        ..to_vip(PORT, ACK)
    };
    packet.run(world)
}

/// What the client is told of a packet too long; `None`: it went.
fn refused(world: &World, total: usize) -> Option<u16> {
    let (verdict, bytes) = send(world, total);
    assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
    (icmp(&bytes) == Some((3, 4))).then(|| u16::from_be_bytes([bytes[40], bytes[41]]))
}

/// An error about the tunnel's packet that tells `mtu`; what the client is told.
fn tell(world: &World, mtu: u32) -> u16 {
    let inside = to_vip(PORT, ACK).packet();
    let outer = Build {
        from: (OWN, 0),
        to: (SERVER, 0),
        protocol: 4,
        ..to_vip(0, 0)
    };
    let quoted = [&outer.packet()[..20], &inside].concat();
    let mut frame = icmp_error([203, 0, 113, 9], OWN, 3, 4, mtu, &quoted);
    let verdict = handle(&mut frame, world);
    assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
    u16::from_be_bytes([frame.bytes[40], frame.bytes[41]])
}

#[test]
fn the_first_error_tells_what_was_known_and_the_next_packet_meets_what_was_learned() {
    let world = connected();
    assert_eq!(refused(&world, 1480), None);
    assert_eq!([1300, 1200, 1300].map(|mtu| tell(&world, mtu)), [1480; 3]);
    assert_eq!(refused(&world, 1181), Some(1180));
    assert_eq!(refused(&world, 1180), None);
    assert_eq!(
        [1250, 1100, 1200].map(|mtu| tell(&world, mtu)),
        [1180, 1080, 1080]
    );
    assert_eq!(refused(&world, 1081), Some(1080));
    assert_eq!(world.memory.counted(Event::DropTooBig), 2);
}

#[test]
fn what_is_no_less_teaches_nothing_and_too_little_locks() {
    let mut world = connected();
    assert_eq!(tell(&world, 9000), 1480);
    assert_eq!(least_path_mtu(&world.memory, world.now), None);
    assert_eq!(tell(&world, 68), 1480);
    assert_eq!(refused(&world, 533), Some(532));
    assert_eq!(tell(&world, 552), 532);
    world.now = world.now.after(KEPT - 1);
    assert_eq!(
        refused(&world, 533),
        Some(532),
        "locked, nothing was renewed"
    );
    world.now = world.now.after(1);
    assert_eq!(refused(&world, 1480), None);
}

#[test]
fn a_path_is_over_unless_it_is_told_again_in_its_second_half() {
    let mut world = connected();
    tell(&world, 1300);
    assert_eq!(refused(&world, 1480), Some(1280));
    world.now = world.now.after(KEPT / 2 + 10);
    assert_eq!(tell(&world, 1300), 1280);
    world.now = world.now.after(KEPT - 1);
    // The connection ended meanwhile: another one.
    assert_eq!(to_vip(PORT, SYN).run(&world).0.action(), Action::Out);
    assert_eq!(refused(&world, 1480), Some(1280));
    world.now = world.now.after(1);
    let server = raw4(SERVER);
    assert_eq!(path_mtu(&world, server, 1500), 1500);
    assert_eq!(refused(&world, 1480), None);
    assert_eq!(tell(&world, 1200), 1480);
    assert_eq!(path_mtu(&world, server, 1500), 1200);
    assert_eq!(path_mtu(&world, server, 1100), 1100);
}

#[test]
fn masquerading_heeds_it_and_direct_routing_does_not() {
    for (method, wanted) in [(0, Some(1300)), (3, None)] {
        let world = connected();
        tell(&world, 1300);
        let servers = [Server {
            method,
            ..server(46, 1)
        }];
        configure(&world, RoundRobin, &servers, 2);
        let (verdict, _) = to_vip(PORT + 1, SYN).run(&world);
        assert_eq!(verdict.action(), Action::Out);
        let packet = Build {
            payload: 1400,
            ..to_vip(PORT + 1, ACK)
        };
        let (verdict, bytes) = packet.run(&world);
        assert_eq!(verdict.action(), Action::Out);
        let told = (icmp(&bytes) == Some((3, 4))).then(|| [bytes[40], bytes[41]]);
        assert_eq!(told.map(u16::from_be_bytes), wanted, "method {method}");
    }
}

#[test]
fn a_port_knows_the_least_and_an_address_gets_the_place_of_another() {
    let world = connected();
    tell(&world, 1300);
    let port = &world.memory.ports[INTERFACE as usize];
    assert_eq!(!(port[live::port::LEARNED].load() as u32), 1300);
    assert_eq!(least_path_mtu(&world.memory, world.now), Some(1300));
    // Both places of its line are others' now, of whatever address.
    for line in &world.memory.state[state::PATHS as usize..] {
        for at in [0, 4] {
            let word = line[at].load();
            line[at].store(word ^ 0xff);
        }
    }
    assert_eq!(refused(&world, 1480), None);
    assert_eq!(tell(&world, 1200), 1480);
    assert_eq!(refused(&world, 1480), Some(1180));
}
