//! ICMP errors through the director: whose they are, where they go, what is counted, and how many are sent.

mod common;

use common::*;
use lvsx_core::director::{Action, Verdict, handle};
use lvsx_core::env::{Route, state};
use lvsx_core::event::Event;
use lvsx_core::generation::{Details, IcmpLimits, SchedulerKind, live};
use lvsx_core::host::{Frame, World, raw4};
use lvsx_core::tick::Tick;

const ROUTER: [u8; 4] = [203, 0, 113, 9];
const SERVER: [u8; 4] = [192, 168, 1, 46];
const PORT: u16 = 40_000;

/// A world with one server, port 8000 where that is rewritten, and an established connection of the client's to it. What
/// reached the server last, from its IP header on, is what errors quote.
fn connected(method: u8) -> (World, Vec<u8>) {
    let world = world(
        SchedulerKind::RoundRobin,
        &[Server {
            method,
            port: if method == 0 { 8000 } else { 80 },
            ..server(46, 1)
        }],
    );
    let (verdict, _) = to_vip(PORT, SYN).run(&world);
    assert_eq!(verdict.action(), Action::Out);
    let (verdict, frame) = to_vip(PORT, ACK).run(&world);
    assert_eq!(verdict.action(), Action::Out);
    (world, frame[14..].to_vec())
}

/// What the virtual end sent to the client.
fn from_virtual() -> Vec<u8> {
    Build {
        from: (VIP, 80),
        to: (CLIENT, PORT),
        ..to_vip(0, ACK)
    }
    .packet()
}

fn run(world: &World, frame: &Frame) -> (Verdict, Vec<u8>) {
    let mut frame = frame.clone();
    let verdict = handle(&mut frame, world);
    (verdict, frame.bytes)
}

/// Packets and bytes in, packets and bytes out, of destination 0.
fn tally(world: &World) -> [u64; 4] {
    [1, 2, 3, 4].map(|word| world.memory.tallies[0][word].load())
}

/// Whether an IPv4 packet with an ICMP message sums up.
fn is_sound(frame: &[u8]) -> bool {
    checksum(&[&frame[14..34]]) == 0 && checksum(&[&frame[34..]]) == 0
}

#[test]
fn a_routers_error_reaches_the_client_from_the_virtual_address() {
    let (world, sent) = connected(0);
    let before = tally(&world);
    for from in [ROUTER, SERVER] {
        let frame = icmp_error(from, CLIENT, 3, 4, 1400, &sent[..48]);
        let (verdict, bytes) = run(&world, &frame);
        assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
        let quoted = Build {
            ttl: 63,
            ..to_vip(PORT, ACK)
        };
        let mut expected = icmp_error(VIP, CLIENT, 3, 4, 1400, &quoted.packet()[..48]);
        // The quoted transport checksum stays as it was quoted.
        assert_eq!(bytes[..6], CLIENT_MAC);
        assert_eq!(bytes[6..12], DIRECTOR_MAC);
        assert_eq!(bytes[22], 63);
        assert!(is_sound(&bytes));
        assert_eq!(address(&bytes, 12), VIP);
        assert_eq!(bytes[42..66], expected.bytes.split_off(42)[..24]);
        assert_eq!(checksum(&[&bytes[42..62]]), 0);
    }
    let [inside, inside_bytes, outside, outside_bytes] = before;
    let counted = [inside, inside_bytes, outside + 2, outside_bytes + 2 * 76];
    assert_eq!(tally(&world), counted);
}

#[test]
fn a_clients_error_reaches_the_server() {
    let (world, _) = connected(0);
    let before = tally(&world);
    for from in [CLIENT, ROUTER] {
        let frame = icmp_error(from, VIP, 11, 0, 0, &from_virtual());
        let (verdict, bytes) = run(&world, &frame);
        assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
        assert_eq!(bytes[..6], mac(46));
        assert!(is_sound(&bytes));
        assert_eq!((address(&bytes, 12), address(&bytes, 16)), (from, SERVER));
        let quote = &bytes[42..];
        assert_eq!((&quote[12..16], &quote[16..20]), (&SERVER[..], &CLIENT[..]));
        assert_eq!(quote[20..22], 8000u16.to_be_bytes());
        assert_eq!(quote[22..24], PORT.to_be_bytes());
    }
    let length = 28 + from_virtual().len() as u64;
    assert_eq!(tally(&world)[0], before[0] + 2);
    assert_eq!(tally(&world)[1], before[1] + 2 * length);
    assert_eq!(tally(&world)[2..], before[2..]);
}

#[test]
fn a_wrong_checksum_is_dropped_only_where_it_would_be_rewritten() {
    for (method, action) in [(0, Action::Drop), (2, Action::Out), (3, Action::Out)] {
        let (world, _) = connected(method);
        let mut frame = icmp_error(CLIENT, VIP, 3, 1, 0, &from_virtual());
        frame.bytes[36] ^= 1;
        let before = tally(&world);
        let (verdict, _) = run(&world, &frame);
        assert_eq!(verdict.action(), action, "method {method}: {verdict:?}");
        let is_counted = u64::from(action == Action::Out);
        assert_eq!(tally(&world)[0], before[0] + is_counted);
    }
}

#[test]
fn direct_routing_and_tunnels_carry_a_clients_error_as_it_is() {
    let frame = icmp_error(ROUTER, VIP, 3, 3, 0, &from_virtual());
    let (world, _) = connected(3);
    let (verdict, bytes) = run(&world, &frame);
    assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
    assert_eq!(bytes[..6], mac(46));
    assert_eq!(bytes[22], 63);
    assert_eq!(bytes[26..], frame.bytes[26..]);
    let (world, _) = connected(2);
    let (verdict, bytes) = run(&world, &frame);
    assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
    assert_eq!((address(&bytes, 12), address(&bytes, 16)), (OWN, SERVER));
    assert_eq!(bytes[23], 4);
    assert_eq!(bytes[34 + 12..], frame.bytes[14 + 12..]);
}

#[test]
fn a_servers_error_past_the_director_is_counted_and_passes() {
    for method in [2, 3] {
        let (world, _) = connected(method);
        let sent = to_vip(PORT, ACK).packet();
        let before = tally(&world);
        let frame = icmp_error(SERVER, CLIENT, 3, 1, 0, &sent[..28]);
        let (verdict, bytes) = run(&world, &frame);
        assert_eq!(verdict.action(), Action::Pass, "{verdict:?}");
        assert_eq!(bytes, frame.bytes);
        assert_eq!(tally(&world)[2], before[2] + 1);
        assert_eq!(tally(&world)[3], before[3] + 56);
    }
}

#[test]
fn an_error_about_our_tunnel_becomes_one_about_the_clients_packet() {
    for (df, kind, code, rest, told) in [
        (true, 3, 4, 1000, Some(1480)),
        (true, 3, 4, 88, Some(1480)),
        (false, 3, 4, 1000, None),
        (false, 11, 0, 0, Some(0)),
        (true, 3, 1, 0, Some(0)),
    ] {
        let (world, mut sent) = connected(2);
        assert_eq!((sent[9], &sent[12..16]), (4, &OWN[..]));
        let inside = 20;
        sent[inside + 6] = if df { 0x40 } else { 0 };
        let frame = icmp_error(SERVER, OWN, kind, code, rest, &sent[..48]);
        let before = tally(&world);
        let (verdict, bytes) = run(&world, &frame);
        let Some(told) = told else {
            assert_eq!(verdict.action(), Action::Drop, "{verdict:?}");
            assert_eq!(tally(&world), before);
            continue;
        };
        assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
        assert_eq!(bytes[..6], CLIENT_MAC);
        assert!(is_sound(&bytes));
        assert_eq!((address(&bytes, 12), address(&bytes, 16)), (VIP, CLIENT));
        assert_eq!((bytes[15], bytes[22]), (0xc0, 64));
        assert_eq!(bytes[34..36], [kind, code]);
        assert_eq!(bytes[38..42], u32::to_be_bytes(told));
        assert_eq!(bytes[42..], sent[inside..48]);
        assert_eq!(tally(&world)[2], before[2] + 2);
        assert_eq!(tally(&world)[3], before[3] + 28 + 56);
    }
}

#[test]
fn what_refuses_a_packet_is_counted_where_a_table_holds_its_connection() {
    for flags in [0, 4] {
        for method in [2, 3] {
            let world = world(
                SchedulerKind::RoundRobin,
                &[Server {
                    method,
                    ..server(46, 1)
                }],
            );
            reshape(&world, 1, |service| service.flags = flags);
            let (verdict, bytes) = Build {
                protocol: 17,
                ttl: 1,
                ..to_vip(PORT, 0)
            }
            .run(&world);
            assert_eq!((verdict.action(), bytes[34]), (Action::Out, 11));
            // One-packet connections are in no table.
            assert_eq!(tally(&world)[0], 1);
            assert_eq!(tally(&world)[2], u64::from(flags == 0));
        }
    }
}

#[test]
fn an_error_about_a_removed_servers_tunnel_passes() {
    let (world, sent) = connected(2);
    let removed = Server {
        method: 2,
        is_removed: true,
        ..server(46, 1)
    };
    configure(&world, SchedulerKind::RoundRobin, &[removed], 2);
    let frame = icmp_error(SERVER, OWN, 3, 1, 0, &sent);
    assert_eq!(run(&world, &frame).0.action(), Action::Pass);
}

#[test]
fn an_error_about_another_hosts_tunnel_passes() {
    let (world, mut sent) = connected(2);
    let frame = icmp_error(SERVER, ROUTER, 3, 1, 0, &sent);
    assert_eq!(run(&world, &frame).0.action(), Action::Pass);
    sent[16..20].copy_from_slice(&ROUTER);
    let frame = icmp_error(SERVER, OWN, 3, 1, 0, &sent);
    assert_eq!(run(&world, &frame).0.action(), Action::Pass);
}

#[test]
fn other_icmp_passes_untouched() {
    let (world, sent) = connected(0);
    let quoting = |quoted: &[u8]| icmp_error(ROUTER, CLIENT, 3, 1, 0, quoted);
    let mut other_port = sent.clone();
    other_port[20..22].copy_from_slice(&[1, 1]);
    let mut later = sent.clone();
    later[7] = 1;
    let mut fragment = quoting(&sent);
    fragment.bytes[20] = 0x20;
    let mut foreign = quoting(&sent);
    foreign.bytes[5] = 0x77;
    for (name, frame) in [
        (
            "echo to the virtual address",
            icmp_error(CLIENT, VIP, 8, 0, 7, &sent),
        ),
        ("redirect", icmp_error(ROUTER, CLIENT, 5, 1, 0, &sent)),
        (
            "parameter problem",
            icmp_error(ROUTER, CLIENT, 12, 0, 0, &sent),
        ),
        ("another flow", quoting(&other_port)),
        ("a later fragment", quoting(&later)),
        ("too short", quoting(&sent[..22])),
        ("a fragment", fragment),
        ("another host's", foreign),
    ] {
        let before = tally(&world);
        let (verdict, bytes) = run(&world, &frame);
        assert_eq!(verdict.action(), Action::Pass, "{name}: {verdict:?}");
        assert_eq!(bytes, frame.bytes, "{name}");
        assert_eq!(tally(&world), before, "{name}");
    }
}

#[test]
fn an_error_that_ends_here_or_is_too_long_is_not_answered() {
    let (world, sent) = connected(0);
    let mut frame = icmp_error(ROUTER, CLIENT, 3, 1, 0, &sent);
    frame.bytes[22] = 1;
    let (verdict, _) = run(&world, &frame);
    assert_eq!(verdict.action(), Action::Drop);
    assert_eq!(verdict.event(), Event::DropTtlExceeded);
    let long = Build {
        payload: 1450,
        ..to_vip(PORT, ACK)
    };
    let (world, _) = connected(3);
    let quoted = Build {
        from: long.to,
        to: long.from,
        ..long
    };
    let frame = icmp_error(CLIENT, VIP, 3, 1, 0, &quoted.packet());
    let (verdict, _) = run(&world, &frame);
    assert_eq!(verdict.event(), Event::DropTooBig);
}

/// Sets the limits of a world whose generation is the first.
fn limit(world: &World, icmp: IcmpLimits) {
    let lines = Details {
        icmp,
        ..Details::default()
    }
    .encode();
    for (word, value) in world.memory.config[10].iter().zip(lines[0]) {
        word.store(value);
    }
}

#[test]
fn refusals_are_limited_by_host_and_counted() {
    let (mut world, _) = connected(3);
    limit(&world, IcmpLimits::default());
    let expiring = Build {
        ttl: 1,
        ..to_vip(PORT, ACK)
    };
    let answered = |world: &World| {
        (0..20)
            .filter(|_| expiring.run(world).0.action() == Action::Out)
            .count()
    };
    let before = tally(&world);
    assert_eq!(answered(&world), 6);
    assert_eq!(world.memory.counted(Event::DropAnswerLimited), 14);
    // The packets, and those answers of which the kernel finds the connection.
    let length = expiring.packet().len() as u64;
    assert_eq!(tally(&world)[0], before[0] + 20);
    assert_eq!(tally(&world)[2], before[2] + 6);
    assert_eq!(tally(&world)[3], before[3] + 6 * (28 + length));
    // Two seconds later: two more; another host has its own.
    world.now = Tick(world.now.0 + 32);
    assert_eq!(answered(&world), 2);
    let other = Build {
        from: (ROUTER, PORT),
        to: (VIP, 80),
        ..to_vip(PORT, SYN)
    };
    world.routes.push((raw4(ROUTER), Route::None));
    assert_eq!(other.run(&world).0.action(), Action::Out);
    let expiring = Build {
        ttl: 1,
        flags: ACK,
        ..other
    };
    assert_eq!(expiring.run(&world).0.action(), Action::Out);
}

#[test]
fn all_hosts_together_are_limited_but_for_fragmentation_needed() {
    let (mut world, sent) = connected(2);
    limit(
        &world,
        IcmpLimits {
            interval: 0,
            ..IcmpLimits::default()
        },
    );
    let converted = |world: &World, kind, code| {
        let frame = icmp_error(SERVER, OWN, kind, code, 1000, &sent);
        run(world, &frame).0.action() == Action::Out
    };
    let sent_on = (0..400).filter(|_| converted(&world, 11, 0)).count();
    // Fifty at once, each of which takes one on average.
    assert!((26..=150).contains(&sent_on), "{sent_on}");
    assert!(!converted(&world, 11, 0));
    assert!(converted(&world, 3, 4));
    // A tenth of a second later there are fifty again.
    world.now = Tick(world.now.0 + 2);
    assert!(converted(&world, 11, 0));
    assert_eq!(world.memory.state[state::ICMP as usize][1].load(), 0);
    assert!(world.memory.tallies[0][live::tally::PACKETS_OUT].load() > 0);
}

/// A client's error about what the virtual address sent to a flow that nobody knows.
fn about_nothing_known(protocol: u8, from: u16) -> Frame {
    let quoted = Build {
        from: (VIP, from),
        to: (CLIENT, PORT),
        protocol,
        ..to_vip(0, ACK)
    };
    icmp_error(CLIENT, VIP, 3, 3, 0, &quoted.packet()[..28])
}

#[test]
fn an_error_about_nothing_known_opens_a_connection_if_it_is_to_be_scheduled() {
    for protocol in [6, 17] {
        let mut world = world(SchedulerKind::RoundRobin, &[server(46, 1)]);
        let frame = about_nothing_known(protocol, 80);
        let (verdict, bytes) = run(&world, &frame);
        assert_eq!(verdict.action(), Action::Pass, "{verdict:?}");
        assert_eq!(bytes, frame.bytes);

        set(&world, 1, |settings| settings.schedule_icmp = true);
        let length = frame.bytes.len() as u64 - 14;
        // The second one is about a connection.
        for count in 1..=2 {
            let (verdict, bytes) = run(&world, &frame);
            assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
            assert_eq!(address(&bytes, 16), SERVER);
            assert!(is_sound(&bytes));
            assert_eq!(tally(&world), [count, count * length, 0, 0]);
            assert_eq!(world.memory.tallies[0][0].load(), 1);
            assert_eq!(world.memory.counts(0), (0, 1));
        }
        world.now = Tick(world.now.0 + RATE.ticks(3) + 2);
        let (verdict, _) = run(&world, &frame);
        assert_eq!(verdict.action(), Action::Out);
        assert_eq!(
            world.memory.tallies[0][0].load(),
            2,
            "its three seconds are over"
        );

        let other = about_nothing_known(protocol, 81);
        assert_eq!(run(&world, &other).0.event(), Event::PassNoService);
    }
}

#[test]
fn an_error_that_no_server_takes_ends_without_an_answer() {
    let world = world(SchedulerKind::RoundRobin, &[server(46, 0)]);
    set(&world, 1, |settings| settings.schedule_icmp = true);
    let (verdict, _) = run(&world, &about_nothing_known(6, 80));
    assert_eq!(verdict.action(), Action::Drop);
    assert_eq!(verdict.event(), Event::DropNoDestination);
}

#[test]
fn an_error_that_quotes_no_ports_ends_where_errors_are_scheduled() {
    let world = world(SchedulerKind::RoundRobin, &[server(46, 1)]);
    let told = |from: [u8; 4], protocol, length| {
        let sent = Build {
            from: (from, 80),
            to: (CLIENT, 1),
            protocol,
            ..to_vip(1, ACK)
        };
        let mut frame = icmp_error(CLIENT, from, 3, 1, 0, &sent.packet()[..length]);
        handle(&mut frame, &world).action()
    };
    assert_eq!(told(VIP, 6, 23), Action::Pass);
    set(&world, 1, |settings| settings.schedule_icmp = true);
    for protocol in [6, 17, 132] {
        assert_eq!(told(VIP, protocol, 23), Action::Drop);
        assert_eq!(told(VIP, protocol, 20), Action::Drop);
        assert_eq!(told([203, 0, 113, 9], protocol, 23), Action::Drop);
        assert_eq!(told([203, 0, 113, 9], protocol, 24), Action::Pass);
        assert_eq!(told(VIP, protocol, 19), Action::Pass, "it quotes no packet");
    }
    assert_eq!(told(VIP, 47, 23), Action::Pass, "it has no ports");
    assert_eq!(told(VIP, 6, 24), Action::Out);
}
