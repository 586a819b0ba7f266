//! A packet's way through the director, method by method, byte by byte.

mod common;

use common::*;
use lvsx_core::director::Action;
use lvsx_core::event::Event;
use lvsx_core::generation::SchedulerKind::{self, RoundRobin};
use lvsx_core::generation::live;
use lvsx_core::tick::Tick;

#[test]
fn masquerading_readdresses_both_ways_and_keeps_every_checksum_right() {
    let world = world(RoundRobin, &by(0));
    for (protocol, checksum, options) in [
        (6, true, 0),
        (17, true, 0),
        (17, false, 0),
        (6, true, 8),
        (17, false, 40),
    ] {
        for payload in [0, 1, 7, 1400] {
            let port = 40_000 + payload as u16;
            let out = Build {
                protocol,
                checksum,
                options,
                payload,
                ..to_vip(port, SYN)
            };
            let (verdict, bytes) = out.run(&world);
            assert_eq!(verdict.action(), Action::Out, "{out:?}");
            assert_eq!(verdict.interface(), INTERFACE);
            let chosen = address(&bytes, 16);
            assert_eq!(bytes[..6], mac(chosen[3]));
            assert_eq!(bytes[6..12], DIRECTOR_MAC);
            assert_eq!(bytes[14 + 8], 63, "time to live");
            assert_eq!(
                common::checksum(&[&bytes[14..34 + options]]),
                0,
                "header checksum"
            );
            let (wanted, found) = transport_checksums(&bytes[14..]);
            assert_eq!(wanted, found, "{out:?}");

            let back = Build {
                protocol,
                checksum,
                options,
                payload,
                ..reply((chosen, 80), port, SYN | ACK)
            };
            let (verdict, bytes) = back.run(&world);
            assert_eq!(verdict.action(), Action::Out, "{back:?}");
            assert_eq!(address(&bytes, 12), VIP);
            assert_eq!(bytes[..6], CLIENT_MAC);
            let (wanted, found) = transport_checksums(&bytes[14..]);
            assert_eq!(wanted, found, "{back:?}");
        }
    }
}

#[test]
fn masquerading_to_another_port_changes_it_both_ways() {
    let world = world(
        RoundRobin,
        &[Server {
            port: 8080,
            ..server(46, 1)
        }],
    );
    let (_, bytes) = to_vip(1234, SYN).run(&world);
    assert_eq!(bytes[36..38], 8080u16.to_be_bytes());
    let (wanted, found) = transport_checksums(&bytes[14..]);
    assert_eq!(wanted, found);
    let (verdict, bytes) = reply(([192, 168, 1, 46], 8080), 1234, SYN | ACK).run(&world);
    assert_eq!(verdict.action(), Action::Out);
    assert_eq!(bytes[34..36], 80u16.to_be_bytes());
}

#[test]
fn direct_routing_changes_link_addresses_and_age_alone() {
    let world = world(RoundRobin, &by(3));
    let build = to_vip(1234, SYN);
    let (verdict, bytes) = build.run(&world);
    assert_eq!(verdict.action(), Action::Out);
    let mut expected = Build { ttl: 63, ..build }.frame().bytes;
    expected[..6].copy_from_slice(&mac(47));
    expected[6..12].copy_from_slice(&DIRECTOR_MAC);
    assert_eq!(bytes, expected);
}

#[test]
fn tunnelling_puts_a_header_in_front() {
    for (tos, outer_tos) in [(0, 0), (0x2e << 2, 0x2e << 2), (3, 2)] {
        let world = world(RoundRobin, &by(2));
        let build = Build {
            tos,
            ..to_vip(1234, SYN)
        };
        let (verdict, bytes) = build.run(&world);
        assert_eq!(verdict.action(), Action::Out);
        assert_eq!(bytes[..6], mac(47));
        let outer = &bytes[14..34];
        assert_eq!(common::checksum(&[outer]), 0);
        assert_eq!(outer[1], outer_tos);
        assert_eq!(
            u16::from_be_bytes([outer[2], outer[3]]) as usize,
            bytes.len() - 14
        );
        assert_eq!(outer[4..6], [0, 0], "identification 0 with DF");
        assert_eq!(outer[6], 0x40, "DF as inside");
        assert_eq!((outer[8], outer[9]), (63, 4));
        assert_eq!(outer[12..16], OWN);
        assert_eq!(outer[16..20], [192, 168, 1, 47]);
        assert_eq!(bytes[34..], Build { ttl: 63, ..build }.packet());
    }
}

#[test]
fn what_is_not_ours_passes_untouched() {
    let world = world(RoundRobin, &by(0));
    let foreign = [
        (
            Build {
                to: ([192, 168, 1, 41], 80),
                ..to_vip(1, SYN)
            },
            Event::PassNotOurs,
        ),
        (
            Build {
                to: (VIP, 81),
                ..to_vip(1, SYN)
            },
            Event::PassNoService,
        ),
        (to_vip(1, ACK), Event::PassNotOpening),
        (to_vip(1, SYN | RST), Event::PassNotOpening),
        (to_vip(20, SYN), Event::PassFtpData),
        (
            reply(([192, 168, 1, 46], 80), 1, ACK),
            Event::PassNoConnection,
        ),
        (
            Build {
                protocol: 17,
                ..to_vip(1, 0)
            },
            Event::Forwarded,
        ),
    ];
    for (build, event) in foreign {
        let (verdict, bytes) = build.run(&world);
        assert_eq!(verdict.event(), event, "{build:?}");
        if verdict.action() == Action::Pass {
            assert_eq!(bytes, build.frame().bytes);
        }
    }
    let mut other_mac = to_vip(1, SYN).frame();
    other_mac.bytes[5] = 0x99;
    let kept = other_mac.clone();
    assert_eq!(
        lvsx_core::director::handle(&mut other_mac, &world).event(),
        Event::PassForeignMac
    );
    assert_eq!(other_mac, kept);
}

#[test]
fn malformed_packets_for_a_virtual_address_are_named_and_dropped() {
    let world = world(RoundRobin, &by(0));
    let whole = to_vip(1, SYN).frame();
    type Damage = fn(&mut Vec<u8>);
    let broken: [(&str, Damage, Event); 6] = [
        (
            "a TCP header cut short",
            |bytes| bytes.truncate(14 + 20 + 12),
            Event::DropMalformed,
        ),
        (
            "a total length beyond the frame",
            |bytes| bytes[17] = 200,
            Event::DropMalformed,
        ),
        (
            "a header length of 4 words",
            |bytes| bytes[14] = 0x44,
            Event::DropMalformed,
        ),
        (
            "a header longer than the datagram",
            |bytes| bytes[14] = 0x4f,
            Event::DropMalformed,
        ),
        (
            "a TCP data offset of 4 words",
            |bytes| bytes[46] = 0x40,
            Event::DropMalformed,
        ),
        (
            "a TCP data offset beyond the segment",
            |bytes| bytes[46] = 0xf0,
            Event::DropMalformed,
        ),
    ];
    for (what, damage, event) in broken {
        let mut frame = whole.clone();
        damage(&mut frame.bytes);
        assert_eq!(
            lvsx_core::director::handle(&mut frame, &world).event(),
            event,
            "{what}"
        );
    }
    assert_eq!(world.memory.counted(Event::DropMalformed), 6);
}

#[test]
fn no_frame_however_short_or_random_does_harm() {
    let world = world(RoundRobin, &by(2));
    let whole = to_vip(1, SYN).frame();
    for length in 0..whole.bytes.len() {
        let mut frame = whole.clone();
        frame.bytes.truncate(length);
        let _ = lvsx_core::director::handle(&mut frame, &world);
    }
    let mut random = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..200_000 {
        let mut frame = whole.clone();
        for _ in 0..4 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = 12 + random as usize % (frame.bytes.len() - 12);
            frame.bytes[at] = (random >> 32) as u8;
        }
        let _ = lvsx_core::director::handle(&mut frame, &world);
    }
}

#[test]
fn connections_move_between_active_and_inactive_and_end_in_time() {
    let mut world = world(RoundRobin, &[server(46, 1)]);
    let servers_end = ([192, 168, 1, 46], 80);
    to_vip(1, SYN).run(&world);
    assert_eq!(world.memory.counts(0), (1, 0));
    reply(servers_end, 1, SYN | ACK).run(&world);
    to_vip(1, ACK).run(&world);
    assert_eq!(world.memory.counts(0), (1, 0));
    to_vip(1, FIN).run(&world);
    assert_eq!(world.memory.counts(0), (0, 1));
    reply(servers_end, 1, FIN).run(&world);
    assert_eq!(world.memory.counts(0), (0, 1));
    // TIME_WAIT lasts 120 s.
    world.now = Tick(1000 + RATE.ticks(119));
    for set in 0..72 {
        lvsx_core::conn::sweep_set::<lvsx_core::conn::Entry4, _>(&world.memory, set, world.now);
    }
    assert_eq!(world.memory.counts(0), (0, 1));
    world.now = Tick(1000 + RATE.ticks(121));
    for set in 0..72 {
        lvsx_core::conn::sweep_set::<lvsx_core::conn::Entry4, _>(&world.memory, set, world.now);
    }
    assert_eq!(world.memory.counts(0), (0, 0));
}

#[test]
fn a_syn_on_a_closed_connection_is_scheduled_anew() {
    let world = world(RoundRobin, &by(0));
    let (_, bytes) = to_vip(1, SYN).run(&world);
    assert_eq!(address(&bytes, 16)[3], 47);
    to_vip(1, RST).run(&world);
    // SYN_RECV and a reset of the client leave SYN_RECV; the server's reset closes.
    reply(([192, 168, 1, 47], 80), 1, RST).run(&world);
    let (_, bytes) = to_vip(1, SYN).run(&world);
    assert_eq!(address(&bytes, 16)[3], 46);
    assert_eq!(world.memory.counted(Event::Reused), 1);
    assert_eq!(
        (world.memory.counts(0), world.memory.counts(1)),
        ((1, 0), (0, 0))
    );
}

#[test]
fn a_full_server_takes_no_more_and_takes_again_when_connections_end() {
    let mut world = world(
        RoundRobin,
        &[Server {
            upper: 2,
            ..server(46, 1)
        }],
    );
    for port in [1, 2] {
        assert_eq!(to_vip(port, SYN).run(&world).0.action(), Action::Out);
    }
    let (_, bytes) = to_vip(3, SYN).run(&world);
    assert_eq!(icmp(&bytes), Some((3, 3)), "port unreachable");
    assert_eq!(world.memory.counted(Event::DropNoDestination), 1);
    world.now = Tick(1000 + RATE.ticks(61));
    for set in 0..72 {
        lvsx_core::conn::sweep_set::<lvsx_core::conn::Entry4, _>(&world.memory, set, world.now);
    }
    assert_eq!(world.memory.counts(0), (0, 0));
    assert_eq!(to_vip(3, SYN).run(&world).0.action(), Action::Out);
}

#[test]
fn packets_of_a_removed_destination_are_dropped_and_go_on_when_it_is_back() {
    let world = world(RoundRobin, &by(0));
    to_vip(1, SYN).run(&world);
    configure(&world, RoundRobin, &by(0)[..1], 2);
    assert_eq!(
        to_vip(1, ACK).run(&world).0.event(),
        Event::DropDestinationRemoved
    );
    configure(&world, RoundRobin, &by(0), 3);
    assert_eq!(to_vip(1, ACK).run(&world).0.action(), Action::Out);
}

#[test]
fn replies_of_a_removed_destination_go_on_and_are_not_counted() {
    let world = world(RoundRobin, &by(0));
    // The newest comes first.
    let chosen = address(&to_vip(1, SYN).run(&world).1, 16);
    assert_eq!(chosen, [192, 168, 1, 47]);
    let [stays, goes] = by(0);
    let removed = Server {
        is_removed: true,
        ..goes
    };
    configure(&world, RoundRobin, &[stays, removed], 2);
    let tally = || {
        let line = &world.memory.tallies[1];
        (
            line[live::tally::PACKETS_IN].peek(),
            line[live::tally::PACKETS_OUT].peek(),
        )
    };
    let before = tally();
    let (verdict, bytes) = reply((chosen, 80), 1, SYN | ACK).run(&world);
    assert_eq!(verdict.action(), Action::Out);
    assert_eq!(address(&bytes, 12), VIP);
    assert_eq!(tally(), before);
    assert_eq!(
        to_vip(1, ACK).run(&world).0.event(),
        Event::DropDestinationRemoved
    );
}

#[test]
fn sctp_too_short_for_a_chunk_is_dropped_and_other_passes() {
    let world = world(RoundRobin, &by(0));
    for (payload, event) in [
        (4, Event::DropMalformed),
        (7, Event::DropMalformed),
        (8, Event::PassProtocol),
        (100, Event::PassProtocol),
    ] {
        // Its common header is taken for the eight bytes of UDP's.
        let packet = Build {
            protocol: 132,
            checksum: false,
            payload,
            ..to_vip(1, 0)
        };
        assert_eq!(packet.run(&world).0.event(), event, "{payload}");
        let elsewhere = Build {
            to: (CLIENT, 80),
            from: ([192, 168, 1, 46], 80),
            ..packet
        };
        assert_eq!(elsewhere.run(&world).0.action(), Action::Pass, "{payload}");
    }
}

#[test]
fn a_service_without_scheduler_takes_nothing() {
    let world = world(SchedulerKind::None, &by(0));
    let (_, bytes) = to_vip(1, SYN).run(&world);
    assert_eq!(icmp(&bytes), Some((3, 3)), "port unreachable");
    assert_eq!(world.memory.counted(Event::DropNoDestination), 1);
}

#[test]
fn in_a_crowded_table_every_opened_connection_is_found_by_its_next_packet() {
    let mut world = world(RoundRobin, &by(0));
    // 24 sets in all: 16 flows a set of candidates, far more flows than ways.
    world.memory = {
        let kept = lvsx_core::host::Memory::new(256, 16, 8, 64);
        for (line, old) in kept.ports.iter().zip(&world.memory.ports) {
            for (word, old) in line.iter().zip(old) {
                word.store(old.load());
            }
        }
        kept
    };
    configure(&world, RoundRobin, &by(0), 1);
    for last in 1..=30 {
        for port in 1000..2000 {
            let from = ([10, 0, 0, last], port);
            let (verdict, _) = Build {
                from,
                ..to_vip(port, SYN)
            }
            .run(&world);
            assert_eq!(verdict.action(), Action::Out, "{from:?}: {verdict:?}");
        }
    }
    assert_eq!(world.memory.counted(Event::DropTailCall), 0);
    assert!(world.memory.counted(Event::Overflowed) > 0);
}
