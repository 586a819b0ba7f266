//! Where packets leave by: next hops, route epochs, packets out of time, and those too long for their way.

mod common;

use common::*;
use lvsx_core::conn::Hop;
use lvsx_core::director::Action;
use lvsx_core::env::PORTS;
use lvsx_core::event::Event;
use lvsx_core::generation::SchedulerKind::RoundRobin;
use lvsx_core::generation::live;
use lvsx_core::host::raw4;

#[test]
fn a_published_hop_leads_the_clients_packets_to_the_server_and_none_back() {
    let mut world = world(RoundRobin, &[server(46, 1)]);
    // The kernel is not asked for the way to the server: it would not know one.
    world.routes.retain(|(to, _)| *to == raw4(CLIENT));
    let hop = Hop::new(raw_mac(mac(0x77)), INTERFACE % PORTS);
    world.memory.destinations[0][live::destination::HOP].store(hop.0);
    for flags in [SYN, ACK] {
        let (verdict, bytes) = to_vip(1234, flags).run(&world);
        assert_eq!(verdict.action(), Action::Out);
        assert_eq!(bytes[..6], mac(0x77));
        let (verdict, bytes) = reply(([192, 168, 1, 46], 80), 1234, flags | ACK).run(&world);
        assert_eq!(verdict.action(), Action::Out);
        assert_eq!(bytes[..6], CLIENT_MAC);
    }
}

#[test]
fn a_packet_out_of_time_is_counted_and_its_sender_told() {
    let world = world(RoundRobin, &by(0));
    let (verdict, bytes) = Build {
        ttl: 1,
        ..to_vip(1, SYN)
    }
    .run(&world);
    assert_eq!(verdict.action(), Action::Out);
    assert_eq!(icmp(&bytes), Some((11, 0)));
    assert_eq!(world.memory.counted(Event::DropTtlExceeded), 1);
    let packets: u64 = (0..2)
        .map(|id| world.memory.tallies[id][live::tally::PACKETS_IN].load())
        .sum();
    assert_eq!(packets, 1, "statistics come before sending");
}

#[test]
fn a_servers_packet_out_of_time_is_the_stacks_to_answer() {
    let world = world(RoundRobin, &[server(46, 1)]);
    to_vip(1, SYN).run(&world);
    let late = Build {
        ttl: 1,
        ..reply(([192, 168, 1, 46], 80), 1, SYN | ACK)
    };
    let (verdict, bytes) = late.run(&world);
    assert_eq!(verdict.event(), Event::PassTtlExceeded);
    assert_eq!(verdict.action(), Action::Pass);
    assert_eq!(bytes, late.frame().bytes);
    let counted = world.memory.tallies[0][live::tally::PACKETS_OUT].load();
    assert_eq!(counted, 0, "the kernel asks before IPVS sees it");
}

#[test]
fn an_unresolved_neighbour_is_left_to_the_hook_and_an_unknown_route_is_a_drop() {
    use lvsx_core::env::{Gateway, Route};
    let mut world = world(RoundRobin, &by(3));
    let gateway = Gateway {
        family: 2,
        address: [raw4([192, 168, 1, 1]).into(), 0],
    };
    world
        .routes
        .retain(|(to, _)| *to != raw4([192, 168, 1, 46]) && *to != raw4([192, 168, 1, 47]));
    world.routes.push((
        raw4([192, 168, 1, 47]),
        Route::Unresolved {
            interface: 9,
            gateway,
        },
    ));
    let (verdict, _) = to_vip(1, SYN).run(&world);
    assert_eq!(
        (
            verdict.action(),
            verdict.interface(),
            lvsx_core::director::gateway(&world)
        ),
        (Action::OutUnresolved, 9, gateway)
    );
    let (verdict, _) = to_vip(2, SYN).run(&world);
    assert_eq!(verdict.event(), Event::DropNoRoute);
}

#[test]
fn a_new_route_epoch_asks_again_for_the_next_hop() {
    use lvsx_core::env::{Route, state};
    use lvsx_core::host::raw4;
    let mut world = world(RoundRobin, &[server(46, 1)]);
    to_vip(1, SYN).run(&world);
    to_vip(1, ACK).run(&world);
    let moved = Route::To {
        interface: INTERFACE,
        address: raw_mac(mac(99)),
    };
    for route in &mut world.routes {
        if route.0 == raw4([192, 168, 1, 46]) {
            route.1 = moved;
        }
    }
    let (_, bytes) = to_vip(1, ACK).run(&world);
    assert_eq!(bytes[..6], mac(46), "kept within the epoch");
    world.memory.state[0][state::EPOCH].store(2);
    let (_, bytes) = to_vip(1, ACK).run(&world);
    assert_eq!(bytes[..6], mac(99));
}

#[test]
fn in_a_new_route_epoch_what_the_director_publishes_comes_first() {
    use lvsx_core::env::state;
    let world = world(RoundRobin, &[server(46, 1)]);
    to_vip(1, SYN).run(&world);
    let hop = Hop::new(raw_mac(mac(98)), INTERFACE);
    world.memory.destinations[0][live::destination::HOP].store(hop.0);
    world.memory.state[0][state::EPOCH].store(2);
    let (_, bytes) = to_vip(1, ACK).run(&world);
    assert_eq!(bytes[..6], mac(98));
}

#[test]
fn a_connection_by_a_tunnel_of_the_other_family_outlives_its_route_epoch() {
    use lvsx_core::env::{Route, state};
    let mut world = world(
        RoundRobin,
        &[Server {
            method: 2,
            ..server(46, 1)
        }],
    );
    let tunnel = &world.memory.tunnels[0];
    tunnel[live::tunnel::SHAPE].store(10 << 32);
    for word in [live::tunnel::SERVER, live::tunnel::SOURCE] {
        tunnel[word].store(u64::from_ne_bytes([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0]));
        tunnel[word + 1].store(word as u64);
    }
    // No address of such a server is the kernel's to route.
    for route in &mut world.routes {
        route.1 = Route::To {
            interface: INTERFACE,
            address: raw_mac(mac(99)),
        };
    }
    let unknown = to_vip(1, SYN).run(&world).0;
    assert_eq!(unknown.event(), Event::DropNoNeighbour);
    let tunnel = &world.memory.tunnels[0];
    tunnel[live::tunnel::WAY].store(u64::from(INTERFACE) | 10 << 32);
    let (unresolved, bytes) = to_vip(1, ACK).run(&world);
    assert_eq!(unresolved.action(), Action::OutUnresolved);
    assert_eq!(unresolved.interface(), INTERFACE);
    assert_eq!(bytes[12..15], [0x86, 0xdd, 0x60], "wrapped all the same");
    let publish = |last| {
        let hop = Hop::new(raw_mac(mac(last)), INTERFACE);
        world.memory.destinations[0][live::destination::HOP].store(hop.0);
    };
    for (epoch, last) in [(2, 46), (3, 47)] {
        publish(last);
        world.memory.state[0][state::EPOCH].store(epoch);
        let (verdict, bytes) = to_vip(1, ACK).run(&world);
        assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
        assert_eq!(bytes[..6], mac(last));
        assert_eq!(bytes[12..15], [0x86, 0xdd, 0x60], "IPv6 outside");
    }
}

#[test]
fn where_the_kernel_does_not_forward_the_directors_own_knowledge_of_servers_serves() {
    use lvsx_core::conn::Hop;
    use lvsx_core::env::Route;
    use lvsx_core::host::raw4;
    let mut world = world(
        RoundRobin,
        &[Server {
            method: 3,
            ..server(46, 1)
        }],
    );
    world.routes = vec![(raw4([192, 168, 1, 46]), Route::ForwardingOff)];
    assert_eq!(
        to_vip(1, SYN).run(&world).0.event(),
        Event::DropForwardingOff
    );
    // The way is known, the link-layer address is not.
    let tunnel = &world.memory.tunnels[0];
    let gateway = [u64::from(raw4([192, 168, 1, 46])), 0];
    tunnel[live::tunnel::GATEWAY].store(gateway[0]);
    tunnel[live::tunnel::WAY].store(u64::from(INTERFACE) | 2 << 32);
    let (verdict, _) = to_vip(1, SYN).run(&world);
    assert_eq!(verdict.action(), Action::OutUnresolved);
    assert_eq!(verdict.interface(), INTERFACE);
    assert_eq!(verdict.event(), Event::ForwardedUnresolved);
    let asked = lvsx_core::director::gateway(&world);
    assert_eq!((asked.family, asked.address), (2, gateway));
    // So are both.
    let hop = Hop::new(raw_mac(mac(46)), INTERFACE);
    world.memory.destinations[0][live::destination::HOP].store(hop.0);
    let (verdict, bytes) = to_vip(1, SYN).run(&world);
    assert_eq!(verdict.action(), Action::Out);
    assert_eq!(bytes[..6], mac(46));
}

#[test]
fn the_sender_of_a_packet_too_long_for_its_way_out_is_told_the_limit() {
    for (method, payload, limit) in [
        (3, 1460, None),
        (3, 1461, Some(1500)),
        (2, 1440, None),
        (2, 1441, Some(1480)),
    ] {
        let world = world(RoundRobin, &by(method));
        let (_, bytes) = Build {
            payload,
            ..to_vip(1, SYN)
        }
        .run(&world);
        let told = icmp(&bytes).map(|kind| {
            assert_eq!(kind, (3, 4));
            u16::from_be_bytes([bytes[40], bytes[41]])
        });
        assert_eq!(told, limit, "method {method}, {payload} bytes");
        let counted = world.memory.counted(Event::DropTooBig);
        assert_eq!(counted, u64::from(limit.is_some()));
    }
}

#[test]
fn fragments_of_both_sides_are_the_directors_to_put_together() {
    let world = world(RoundRobin, &by(0));
    let from_server = reply(([192, 168, 1, 46], 80), 1, ACK);
    for build in [to_vip(1, SYN), from_server] {
        for place in [[0x20, 0], [0, 5], [0x20, 5]] {
            let mut frame = build.frame();
            frame.bytes[20..22].copy_from_slice(&place);
            let kept = frame.clone();
            let verdict = lvsx_core::director::handle(&mut frame, &world);
            assert_eq!(verdict.action(), Action::Raise, "{place:?}");
            assert_eq!(frame, kept);
        }
    }
    let total: u64 = Event::ALL
        .iter()
        .map(|event| world.memory.counted(*event))
        .sum();
    assert_eq!(total, 0, "whoever takes them counts");
}

#[test]
fn without_df_a_packet_too_long_for_its_way_is_ready_but_for_its_length() {
    use lvsx_core::director::{Begun, begun};
    // (method, bytes that fit, length of what is put in front)
    for (method, fits, outer) in [(0, 1460, 0), (3, 1460, 0), (2, 1440, 20)] {
        let world = world(RoundRobin, &by(method));
        let run = |payload| {
            let build = Build {
                payload,
                ..to_vip(1, SYN)
            };
            let mut frame = build.frame();
            frame.bytes[20] = 0;
            let verdict = lvsx_core::director::handle(&mut frame, &world);
            (verdict, frame.bytes)
        };
        let (verdict, _) = run(fits);
        assert_eq!(verdict.action(), Action::Out, "method {method}");
        let (verdict, bytes) = run(fits + 1);
        assert_eq!(verdict.action(), Action::Cut, "method {method}");
        assert_eq!(verdict.interface(), common::INTERFACE);
        assert_eq!(bytes.len(), 14 + outer + 40 + fits + 1);
        assert_eq!(bytes[..6], mac(47));
        assert_eq!(begun(&world), Begun::default());
        assert_eq!(world.memory.counted(Event::DropTooBig), 0);
        assert_eq!(world.memory.counted(Event::Opened), 1);
    }
}

#[test]
fn a_packet_too_long_for_a_way_that_is_not_resolved_is_told_of_or_counted() {
    use lvsx_core::env::{Gateway, Route};
    for (method, fits) in [(0, 1460), (3, 1460), (2, 1440)] {
        let mut world = world(RoundRobin, &by(method));
        for (_, route) in &mut world.routes {
            *route = Route::Unresolved {
                interface: common::INTERFACE,
                gateway: Gateway {
                    family: 2,
                    address: [0; 2],
                },
            };
        }
        let run = |payload, df: u8| {
            let build = Build {
                payload,
                ..to_vip(1, SYN)
            };
            let mut frame = build.frame();
            frame.bytes[20] = df;
            let verdict = lvsx_core::director::handle(&mut frame, &world);
            (verdict, frame.bytes)
        };
        let (verdict, _) = run(fits, 0);
        assert_eq!(verdict.action(), Action::OutUnresolved, "method {method}");
        let (verdict, _) = run(fits + 1, 0);
        assert_eq!(verdict.event(), Event::DropNoNeighbour, "method {method}");
        let (verdict, bytes) = run(fits + 1, 0x40);
        assert_eq!(verdict.action(), Action::Out, "method {method}");
        assert_eq!(icmp(&bytes), Some((3, 4)), "method {method}");
    }
}
