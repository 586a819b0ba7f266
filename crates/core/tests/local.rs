//! Servers on the director itself, and its own requests.

mod common;

use common::*;
use lvsx_core::conn::{self, Entry4, Opened, Peer, Want};
use lvsx_core::director::{Action, Verdict, handle, handle_own, let_leave};
use lvsx_core::env::{Env, Tables};
use lvsx_core::event::Event;
use lvsx_core::generation::SchedulerKind::RoundRobin;
use lvsx_core::host::{Frame, World, raw4};

/// A destination on the director itself.
fn own(method: u8) -> [Server; 1] {
    [Server {
        address: OWN,
        port: 8080,
        method,
        ..server(49, 1)
    }]
}

/// What a socket of this host sends, as it leaves.
fn leave(build: &Build, world: &World) -> (Verdict, Vec<u8>) {
    let mut frame = build.frame();
    let verdict = handle_own(&mut frame, world);
    (verdict, frame.bytes)
}

fn is_sound(bytes: &[u8]) -> bool {
    let (wanted, found) = transport_checksums(&bytes[14..]);
    checksum(&[&bytes[14..34]]) == 0 && wanted == found
}

#[test]
fn a_local_server_gets_its_clients_packets_and_its_replies_are_the_virtual_ones() {
    for (protocol, payload) in [(6, 10), (17, 10), (6, 47_104), (6, 65_000)] {
        let world = world(RoundRobin, &own(0));
        let request = Build {
            protocol,
            ..to_vip(1, SYN)
        };
        let (verdict, bytes) = request.run(&world);
        assert_eq!(verdict.event(), Event::PassLocal);
        assert_eq!((address(&bytes, 16), bytes[14 + 8]), (OWN, 64));
        assert_eq!(bytes[36..38], 8080u16.to_be_bytes());
        assert!(is_sound(&bytes));

        let answer = Build {
            protocol,
            payload,
            ..reply((OWN, 8080), 1, SYN | ACK)
        };
        let (verdict, bytes) = leave(&answer, &world);
        assert_eq!(verdict.event(), Event::PassLocal, "{answer:?}");
        assert_eq!((address(&bytes, 12), bytes[14 + 8]), (VIP, 64));
        assert_eq!(bytes[34..36], 80u16.to_be_bytes());
        assert!(is_sound(&bytes));
    }
}

#[test]
fn a_super_frame_longer_than_its_length_field_says_is_translated() {
    let world = world(RoundRobin, &own(0));
    to_vip(1, SYN).run(&world);
    let answer = Build {
        payload: 30_000,
        ..reply((OWN, 8080), 1, ACK)
    };
    let mut frame = answer.frame();
    frame.bytes.resize(14 + 90_000, 0);
    frame.bytes[16..18].fill(0);
    let sum = checksum(&[&frame.bytes[14..24], &[0, 0], &frame.bytes[26..34]]);
    frame.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    let verdict = handle_own(&mut frame, &world);
    assert_eq!(verdict.event(), Event::PassLocal);
    assert_eq!(address(&frame.bytes, 12), VIP);
    assert_eq!(checksum(&[&frame.bytes[14..34]]), 0);
}

#[test]
fn other_methods_leave_a_packet_as_it_is_and_count_both_ways() {
    for method in [2, 3] {
        let world = world(RoundRobin, &own(method));
        for (flags, back) in [(SYN, SYN | ACK), (ACK, ACK)] {
            let request = to_vip(1, flags);
            let (verdict, bytes) = request.run(&world);
            assert_eq!(verdict.event(), Event::PassLocal);
            assert_eq!(bytes, request.frame().bytes);
            let answer = reply((VIP, 80), 1, back);
            let (verdict, bytes) = leave(&answer, &world);
            assert_eq!(verdict.event(), Event::PassLocal);
            assert_eq!(bytes, answer.frame().bytes);
        }
        assert_eq!(world.memory.counts(0), (1, 0));
        let tally = &world.memory.tallies[0];
        assert_eq!((tally[1].peek(), tally[3].peek()), (2, 2));
    }
}

#[test]
fn what_sockets_send_otherwise_leaves_as_it_is() {
    let world = world(RoundRobin, &own(0));
    for from in [(OWN, 8080), (VIP, 80), ([192, 168, 1, 1], 80)] {
        let other = reply(from, 7, ACK);
        let (verdict, bytes) = leave(&other, &world);
        assert_eq!(verdict.action(), Action::Pass);
        assert_eq!(bytes, other.frame().bytes);
    }
}

/// A packet on `lo`.
fn by_lo(build: &Build) -> Frame {
    let mut frame = build.frame();
    frame.bytes[..12].fill(0);
    Frame {
        interface: 1,
        ..frame
    }
}

#[test]
fn a_request_of_the_director_goes_to_a_server_and_its_reply_to_the_stack() {
    for protocol in [6, 17] {
        let world = world(RoundRobin, &[server(46, 1)]);
        world.memory.ports[1][0].store(1 | 65_536 << 32);
        let request = Build {
            from: (VIP, 40_000),
            protocol,
            ..to_vip(40_000, SYN)
        };
        let mut frame = by_lo(&request);
        let verdict = handle_own(&mut frame, &world);
        assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
        assert_eq!(address(&frame.bytes, 16), [192, 168, 1, 46]);

        for flags in [SYN | ACK, ACK] {
            let answer = Build {
                to: (VIP, 40_000),
                protocol,
                ..reply(([192, 168, 1, 46], 80), 40_000, flags)
            };
            let (verdict, bytes) = answer.run(&world);
            assert_eq!(verdict.action(), Action::Local, "{verdict:?}");
            assert_eq!(address(&bytes, 12), VIP);
            assert!(is_sound(&bytes));
        }
        let stranger = Build {
            to: (VIP, 40_001),
            protocol,
            ..reply(([192, 168, 1, 46], 80), 40_001, SYN | ACK)
        };
        assert_eq!(stranger.run(&world).0.event(), Event::PassNoService);
    }
}

#[test]
fn a_server_at_a_loopback_address_is_masqueraded_to_for_the_director_alone() {
    let world = world(
        RoundRobin,
        &[Server {
            address: [127, 0, 0, 1],
            ..server(1, 1)
        }],
    );
    world.memory.ports[1][0].store(1 | 65_536 << 32);
    assert_eq!(to_vip(1, SYN).run(&world).0.event(), Event::DropNoRoute);
    let request = Build {
        from: (VIP, 2),
        ..to_vip(2, SYN)
    };
    let mut frame = by_lo(&request);
    assert_eq!(handle_own(&mut frame, &world).event(), Event::PassLocal);
    assert_eq!(address(&frame.bytes, 16), [127, 0, 0, 1]);
}

/// What a server answers to a closed port: about `build` as it came to `server`.
fn unreachable(server: ([u8; 4], u16), build: &Build) -> Frame {
    let quoted = Build {
        to: server,
        protocol: 17,
        ttl: 63,
        ..*build
    };
    icmp_error(server.0, build.from.0, 3, 3, 0, &quoted.packet())
}

#[test]
fn an_error_about_an_own_request_bears_the_virtual_address_and_goes_to_the_stack() {
    for from in [VIP, OWN] {
        let world = world(RoundRobin, &[server(46, 1)]);
        world.memory.ports[1][0].store(1 | 65_536 << 32);
        let request = Build {
            from: (from, 40_000),
            protocol: 17,
            ..to_vip(40_000, 0)
        };
        let verdict = handle_own(&mut by_lo(&request), &world);
        assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
        let mut error = unreachable(([192, 168, 1, 46], 80), &request);
        let verdict = handle(&mut error, &world);
        assert_eq!(verdict.action(), Action::Local, "{verdict:?}");
        assert_eq!(address(&error.bytes, 12), VIP);
        assert_eq!(address(&error.bytes, 42 + 2), VIP, "the quoted destination");
        assert_eq!(world.memory.tallies[0][3].peek(), 1);

        // What a virtual address sent to a client that is a server too is looked at from the client's side next.
        let stranger = Build {
            from: (VIP, 80),
            ..request
        };
        let mut error = unreachable(([192, 168, 1, 46], 9), &stranger);
        let verdict = handle(&mut error, &world);
        assert_eq!(verdict.event(), Event::PassNoConnection);
    }
}

#[test]
fn an_error_about_a_request_to_a_local_server_bears_the_virtual_address() {
    let world = world(RoundRobin, &own(0));
    world.memory.ports[1][0].store(1 | 65_536 << 32);
    let request = Build {
        from: (VIP, 40_000),
        protocol: 17,
        ..to_vip(40_000, 0)
    };
    let verdict = handle_own(&mut by_lo(&request), &world);
    assert_eq!(verdict.event(), Event::PassLocal);
    let mut error = unreachable((OWN, 8080), &request);
    error.bytes[..12].fill(0);
    let verdict = handle_own(&mut error, &world);
    assert_eq!(verdict.event(), Event::PassLocal);
    assert_eq!(address(&error.bytes, 12), VIP);
    assert_eq!(address(&error.bytes, 44), VIP, "the quoted destination");
}

#[test]
fn an_error_about_the_tunnel_of_an_own_request_goes_to_the_stack() {
    let servers = [Server {
        method: 2,
        ..server(46, 1)
    }];
    let world = world(RoundRobin, &servers);
    world.memory.ports[1][0].store(1 | 65_536 << 32);
    let request = Build {
        from: (VIP, 40_000),
        ..to_vip(40_000, SYN)
    };
    let mut sent = by_lo(&request);
    assert_eq!(handle_own(&mut sent, &world).action(), Action::Out);
    let mut error = icmp_error([192, 168, 1, 1], OWN, 3, 1, 0, &sent.bytes[14..]);
    let verdict = handle(&mut error, &world);
    assert_eq!(verdict.action(), Action::Local, "{verdict:?}");
    assert_eq!(address(&error.bytes, 12), VIP);
    assert_eq!(address(&error.bytes, 16), VIP);
    assert_eq!(error.bytes[42..], sent.bytes[34..]);
}

#[test]
fn fragments_that_sockets_send_go_to_lvsd_if_they_concern_the_director() {
    let world = world(RoundRobin, &own(0));
    let fragment = |build: &Build| {
        let mut frame = build.frame();
        frame.bytes[20] = 0x20;
        frame
    };
    let is_raised = |frame: &Frame| {
        let verdict = handle_own(&mut frame.clone(), &world);
        if verdict.action() == Action::Raise {
            assert!(verdict.is_own());
            return Some(verdict.otherwise());
        }
        assert_eq!(verdict.event(), Event::PassNotOurs);
        None
    };
    let answer = fragment(&reply((OWN, 8080), 40_000, ACK));
    assert_eq!(is_raised(&answer), Some(Event::PassFragment));
    let request = Build {
        from: ([192, 168, 1, 1], 40_000),
        ..to_vip(40_000, SYN)
    };
    let mut request = fragment(&request);
    assert_eq!(is_raised(&request), None, "it is on its way to a server");
    request.bytes[..12].fill(0);
    assert_eq!(is_raised(&request), Some(Event::DropFragment));
    let other = fragment(&reply(([192, 168, 1, 1], 80), 40_000, ACK));
    assert_eq!(is_raised(&other), None);
    // What lvsd sends itself leaves.
    let_leave(&answer, &world);
    let verdict = handle_own(&mut answer.clone(), &world);
    assert_eq!(verdict.event(), Event::PassFragment);
}

/// Leads a connection from `client` to the first server of `world`, which has `method`.
fn lead(world: &World, client: ([u8; 4], u16), method: u8) {
    let raw = |(octets, port): ([u8; 4], u16)| (raw4(octets), port.to_be());
    let want = Want::<Entry4>::new(
        world.geometry(),
        6,
        raw(client),
        raw((VIP, 80)),
        Peer::Virtual,
    );
    let now = world.now();
    let dest = raw(([192, 168, 1, 46], 80));
    assert_eq!(
        conn::lead(world, &want, dest, (0, method), now.after(50), now),
        Opened::New
    );
}

#[test]
fn a_led_request_goes_to_its_server_whatever_the_weight_and_the_reply_to_the_stack() {
    const DIRECT: u8 = 3;
    for own in [OWN, VIP] {
        let servers = [46, 47].map(|last| Server {
            method: DIRECT,
            ..server(last, u32::from(last == 47))
        });
        let world = world(RoundRobin, &servers);
        set(&world, 2, |settings| settings.expire_nodest_conn = true);
        world.memory.ports[1][0].store(1 | 65_536 << 32);
        let client = (own, 40_000);
        lead(&world, client, DIRECT);
        for (flags, back) in [(SYN, SYN | ACK), (ACK, ACK), (FIN, FIN)] {
            let request = Build {
                from: client,
                ..to_vip(40_000, flags)
            };
            let mut frame = by_lo(&request);
            let verdict = handle_own(&mut frame, &world);
            assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
            assert_eq!(frame.bytes[..6], mac(46));
            assert_eq!(address(&frame.bytes, 16), VIP);

            let answer = Build {
                to: client,
                ..reply((VIP, 80), 40_000, back)
            };
            let (verdict, bytes) = answer.run(&world);
            assert_eq!(verdict.action(), Action::Local, "{verdict:?}");
            assert_eq!(address(&bytes, 12), VIP);
        }
        assert_eq!(world.memory.counts(0), (0, 1));
    }
}

#[test]
fn what_a_direct_routing_server_answers_to_a_request_that_was_not_led_is_left_to_the_stack() {
    let world = world(
        RoundRobin,
        &[Server {
            method: 3,
            ..server(46, 1)
        }],
    );
    world.memory.ports[1][0].store(1 | 65_536 << 32);
    let request = Build {
        from: (OWN, 40_000),
        ..to_vip(40_000, SYN)
    };
    let verdict = handle_own(&mut by_lo(&request), &world);
    assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
    let answer = Build {
        to: (OWN, 40_000),
        ..reply((VIP, 80), 40_000, SYN | ACK)
    };
    let (verdict, _) = answer.run(&world);
    assert_eq!(verdict.event(), Event::PassNoConnection);
}
