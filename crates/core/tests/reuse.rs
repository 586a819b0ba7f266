//! Connections that give way to a SYN of their flow: they end with it, whatever becomes of it.

mod common;

use common::*;
use lvsx_core::director::Action;
use lvsx_core::event::Event;
use lvsx_core::generation::SchedulerKind::RoundRobin;
use lvsx_core::generation::live::destination::{COUNTS, WEIGHT};
use lvsx_core::host::World;

const SERVER: [u8; 4] = [192, 168, 1, 46];

/// Active connections << 32 + inactive ones of the first server.
fn counts(world: &World) -> u64 {
    world.memory.destinations[0][COUNTS].load()
}

/// Sends a client's packet from a port of its.
fn send(world: &World, port: u16, flags: u8) -> (Action, Event) {
    let (verdict, _) = to_vip(port, flags).run(world);
    (verdict.action(), verdict.event())
}

/// A world with one server, where the connection from port 1 is over (CLOSE).
fn over(upper: u32) -> World {
    let servers = [Server {
        upper,
        ..server(46, 1)
    }];
    let world = world(RoundRobin, &servers);
    set(&world, 1, |settings| settings.conn_reuse_mode = 1);
    world.memory.destinations[0][WEIGHT].store(1);
    assert_eq!(send(&world, 1, SYN).0, Action::Out);
    assert_eq!(
        reply((SERVER, 80), 1, SYN | ACK).run(&world).0.action(),
        Action::Out
    );
    assert_eq!(send(&world, 1, ACK).0, Action::Out);
    assert_eq!(send(&world, 1, RST).0, Action::Out);
    assert_eq!(counts(&world), 1, "it is inactive");
    world
}

#[test]
fn it_is_counted_no_more_where_the_syn_opens_nothing() {
    let world = over(0);
    let (action, event) = send(&world, 1, SYN | RST);
    assert_eq!((action, event), (Action::Pass, Event::PassNotOpening));
    assert_eq!(counts(&world), 0);
    assert_eq!(world.memory.counted(Event::Reused), 1);
}

#[test]
fn it_is_counted_no_more_where_no_server_takes_the_syn() {
    let world = over(0);
    configure(&world, RoundRobin, &[server(46, 0)], 2);
    set(&world, 2, |settings| settings.conn_reuse_mode = 1);
    world.memory.destinations[0][WEIGHT].store(0);
    send(&world, 1, SYN);
    assert_eq!(world.memory.counted(Event::DropNoDestination), 1);
    assert_eq!(counts(&world), 0);
}

#[test]
fn a_full_server_refuses_the_syn_and_has_room_for_the_next() {
    let world = over(1);
    // The scheduler still counts what gives way to it.
    send(&world, 1, SYN);
    assert_eq!(world.memory.counted(Event::DropNoDestination), 1);
    assert_eq!(send(&world, 2, SYN).0, Action::Out);
    assert_eq!(counts(&world), 1 << 32);
}

#[test]
fn what_opens_again_is_counted_once() {
    let world = over(0);
    assert_eq!(send(&world, 1, SYN).0, Action::Out);
    assert_eq!(counts(&world), 1 << 32);
    // Nothing is left over for the next packet that opens nothing.
    assert_eq!(send(&world, 3, RST).0, Action::Pass);
    assert_eq!(counts(&world), 1 << 32);
}
