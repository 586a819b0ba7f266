//! The same packets through the core on the host and through its programs in the kernel, in both hooks: verdicts and
//! bytes are equal, packet by packet, state by state.

mod support;

#[path = "../../core/tests/common/mod.rs"]
mod common;

use common::{ACK, Build, CLIENT, FIN, RST, SYN, Server, VIP, address, mac, reply, server, to_vip};
use lvsx_core::director::{Action, handle};
use lvsx_core::env::state;
use lvsx_core::event::Event;
use lvsx_core::generation::SchedulerKind;
use lvsx_core::generation::live;
use lvsx_core::host::{Frame, World};
use lvsx_director::loader::{Pins, Plane};
use lvsx_director::tables::Tables;
use lvsx_platform::Line;

/// Test runs come in by `lo`.
const LOOPBACK: u32 = 1;

/// A program's answer in a hook: pass, drop, out.
type Answers = [u32; 3];

const HOOKS: [(&str, Answers); 2] = [("fast_xdp", [2, 1, 4]), ("fast_tc", [u32::MAX, 2, 7])];

fn copy(from: &[Line], to: &[Line]) {
    for (from, to) in from.iter().zip(to) {
        for (from, to) in from.iter().zip(to) {
            to.store(from.load());
        }
    }
}

/// Gives the kernel's tables the configuration of the world, which came in by `lo` too.
fn mirror(world: &World, tables: &Tables) {
    let lines = |from: &[Line], to: &[Line]| copy(from, &to[..from.len().min(to.len())]);
    lines(&world.memory.config, &tables.config);
    lines(&world.memory.destinations, &tables.destinations);
    lines(&world.memory.tunnels, &tables.tunnels);
    lines(&world.memory.ports, &tables.ports);
    lines(&world.memory.tunnels, &tables.tunnels);
    copy(&world.memory.state[..1], &tables.state[..1]);
    // Nothing is known of paths.
    let paths = state::PATHS as usize..(state::PATHS + state::PATH_LINES) as usize;
    copy(&world.memory.state[paths.clone()], &tables.state[paths]);
}

/// A host with the hosts of the vectors as neighbours.
fn network() {
    for command in [
        "link add v0 type veth peer name v1",
        "link set v0 up",
        "link set v1 up",
        "addr add 192.168.1.49/24 dev v0",
        "route add 198.51.100.0/24 dev v0",
    ] {
        support::ip(command);
    }
    for (host, link) in [
        ([198, 51, 100, 7], common::CLIENT_MAC),
        ([192, 168, 1, 46], mac(46)),
        ([192, 168, 1, 47], mac(47)),
    ] {
        let [a, b, c, d] = host;
        let link: Vec<String> = link.iter().map(|byte| format!("{byte:02x}")).collect();
        support::ip(&format!(
            "neigh add {a}.{b}.{c}.{d} lladdr {} dev v0 nud permanent",
            link.join(":")
        ));
    }
    for name in ["all", "lo"] {
        // The thread's own: /proc/sys/net follows whoever opens it.
        let path = format!("/proc/sys/net/ipv4/conf/{name}/forwarding");
        std::fs::write(path, "1").expect("forwarding is switched on in the test's own namespace");
    }
}

/// The world as the kernel sees it: everything leaves by v0, whose address is the director's.
fn world(method: u8) -> World {
    use lvsx_core::env::{PORTS, Route};
    let servers = [46, 47].map(|last| Server {
        method,
        ..server(last, 1)
    });
    let mut world = common::world(SchedulerKind::RoundRobin, &servers);
    let v0 = nix::net::if_::if_nametoindex("v0").expect("v0 is there");
    for index in [LOOPBACK, v0] {
        let port = &world.memory.ports[(index % PORTS) as usize];
        port[live::port::ADDRESS].store(common::raw_mac(common::DIRECTOR_MAC));
        port[live::port::INTERFACE].store(u64::from(index) | 1500 << 32);
    }
    for (_, route) in &mut world.routes {
        if let Route::To { interface, .. } = route {
            *interface = v0;
        }
    }
    world
}

/// Bytes broken in some way.
type Damage = fn(&mut Vec<u8>);

/// Packets in order; what a server answers goes to whichever server got the flow.
fn vectors(port: u16) -> Vec<(String, Frame)> {
    let mut vectors = Vec::new();
    let mut add = |name: &str, build: Build| vectors.push((name.to_owned(), build.frame()));
    for (number, options) in [0, 4, 40].into_iter().enumerate() {
        for payload in [0, 1, 333, 1200] {
            let port = port + 100 * number as u16 + (payload % 97) as u16;
            let tcp = Build {
                options,
                payload,
                ..to_vip(port, SYN)
            };
            add("SYN", tcp);
            add("ACK", Build { flags: ACK, ..tcp });
            add("FIN", Build { flags: FIN, ..tcp });
            add("RST", Build { flags: RST, ..tcp });
            add("SYN again", tcp);
            for checksum in [true, false] {
                add(
                    "UDP",
                    Build {
                        protocol: 17,
                        checksum,
                        ..tcp
                    },
                );
            }
            for last in [46, 47] {
                let from = ([192, 168, 1, last], 80);
                let back = Build {
                    options,
                    payload,
                    ..reply(from, port, SYN | ACK)
                };
                add("SYN+ACK of a server", back);
                add("FIN of a server", Build { flags: FIN, ..back });
                for checksum in [true, false] {
                    add(
                        "UDP of a server",
                        Build {
                            protocol: 17,
                            checksum,
                            ..back
                        },
                    );
                }
            }
        }
    }
    for (name, build) in [
        (
            "ECN CE",
            Build {
                tos: 3,
                ..to_vip(port + 1, SYN)
            },
        ),
        (
            "TTL 1",
            Build {
                ttl: 1,
                ..to_vip(port + 2, SYN)
            },
        ),
        ("port 20", to_vip(20, SYN)),
        (
            "other port",
            Build {
                to: (VIP, 81),
                ..to_vip(port + 3, SYN)
            },
        ),
        (
            "ICMP",
            Build {
                protocol: 1,
                ..to_vip(port + 4, 0)
            },
        ),
        (
            "not ours",
            Build {
                to: ([192, 168, 1, 99], 80),
                ..to_vip(port + 5, SYN)
            },
        ),
        ("no connection", to_vip(port + 6, ACK)),
    ] {
        add(name, build);
    }
    vectors.extend(errors(port));
    let damages: [(&str, Damage); 8] = [
        ("cut in the TCP header", |bytes| {
            bytes.truncate(14 + 20 + 12)
        }),
        ("cut in the IP header", |bytes| bytes.truncate(14 + 12)),
        ("too long a datagram", |bytes| bytes[17] = 200),
        ("version 5", |bytes| bytes[14] = 0x55),
        ("short header", |bytes| bytes[14] = 0x44),
        ("long header", |bytes| bytes[14] = 0x4f),
        ("fragment", |bytes| bytes[20] = 0x20),
        ("foreign link address", |bytes| bytes[5] = 0x77),
    ];
    for (name, damage) in damages {
        let mut frame = to_vip(port + 7, SYN).frame();
        damage(&mut frame.bytes);
        vectors.push((name.to_owned(), frame));
    }
    vectors
}

/// ICMP errors about flows of [`vectors`] and others, from either side and about the outside of tunnels.
fn errors(port: u16) -> Vec<(String, Frame)> {
    let mut errors = Vec::new();
    let router = [203, 0, 113, 9];
    for (number, payload) in [(0, 0), (0, 1200), (1, 333)] {
        let port = port + 100 * number + (payload % 97) as u16;
        for protocol in [6, 17] {
            let flow = Build {
                protocol,
                payload,
                ..to_vip(port, ACK)
            };
            let back = Build {
                from: (VIP, 80),
                to: flow.from,
                ..flow
            };
            for length in [20, 23, 24, 28, 64, 512] {
                let cut = |build: Build| {
                    let mut packet = build.packet();
                    packet.truncate(length);
                    packet
                };
                let mut add = |name: &str, from, to, kind, code, quoted: &[u8]| {
                    let mut frame = common::icmp_error(from, to, kind, code, 1234, quoted);
                    errors.push((format!("{name}, {length} quoted"), frame.clone()));
                    frame.bytes[37] ^= 0x40;
                    errors.push((format!("{name}, {length} quoted, damaged"), frame));
                };
                for kind in [3, 8, 11, 12] {
                    add("error of a client", CLIENT, VIP, kind, 0, &cut(back));
                    add(
                        "error on the way to a client",
                        router,
                        VIP,
                        kind,
                        1,
                        &cut(back),
                    );
                    for last in [46, 47] {
                        let to_server = Build {
                            to: ([192, 168, 1, last], 80),
                            ..flow
                        };
                        let server = to_server.to.0;
                        add(
                            "error of a server",
                            server,
                            CLIENT,
                            kind,
                            3,
                            &cut(to_server),
                        );
                        add(
                            "error to a server",
                            router,
                            CLIENT,
                            kind,
                            4,
                            &cut(to_server),
                        );
                        add(
                            "error past the director",
                            server,
                            CLIENT,
                            kind,
                            3,
                            &cut(flow),
                        );
                    }
                }
                for last in [46, 47] {
                    let server = [192, 168, 1, last];
                    let mut tunnel = Build {
                        from: (common::OWN, 0),
                        to: (server, 0),
                        protocol: 4,
                        payload: 0,
                        ..flow
                    }
                    .packet();
                    tunnel.truncate(20);
                    tunnel.extend(cut(flow));
                    for (kind, code) in [(3, 1), (3, 4), (11, 0)] {
                        add(
                            "error about a tunnel",
                            server,
                            common::OWN,
                            kind,
                            code,
                            &tunnel,
                        );
                    }
                }
            }
        }
    }
    errors
}

#[test]
fn programs_and_host_give_the_same_verdicts_and_bytes() {
    support::in_namespace(|space| {
        network();
        let pins = Pins::of(&space.run_dir, lvsx_ipvs::cookie().expect("a cookie"));
        pins.prepare(&space.run_dir).expect("a bpffs");
        pins.make().expect("folders");
        let plane = Plane::load(pins, 10_000, true).expect("the data plane loads");
        let (mut compared, mut related) = (0, 0);
        for (round, method) in [0, 2, 3].into_iter().enumerate() {
            for (hook, (program, answers)) in HOOKS.into_iter().enumerate() {
                // Ports of its own for each run: the kernel's table keeps the connections of the one before.
                let first = 10_000 + 4_000 * (round * 2 + hook) as u16;
                let world = world(method);
                plane.tables.services[1][0].store(0);
                mirror(&world, &plane.tables);
                for (name, frame) in vectors(first) {
                    // The kernel's tc test run refuses IPv4 frames shorter than their header (EINVAL).
                    if program == "fast_tc" && frame.bytes.len() < 34 {
                        continue;
                    }
                    let action = compare(&world, &plane, program, answers, method, &name, frame);
                    compared += 1;
                    related += u32::from(name.starts_with("error") && action == Action::Out);
                }
            }
        }
        println!("{compared} packets compared, {related} of them errors that went on");
        assert!(related > 500);
        for event in [Event::DropTailCall, Event::DropInconsistent] {
            assert_eq!(plane.tables.counted(event), 0, "{}", event.name());
        }
    });
}

/// The answer of an XDP program that sends a frame back.
const XDP_TX: u32 = 3;

fn compare(
    world: &World,
    plane: &Plane,
    program: &str,
    answers: Answers,
    method: u8,
    name: &str,
    mut frame: Frame,
) -> Action {
    frame.interface = LOOPBACK;
    let input = frame.bytes.clone();
    let verdict = handle(&mut frame, world);
    let what = format!(
        "{name}, method {method}, {program}, from {:?}",
        input.get(26..30).map(|_| address(&input, 12))
    );
    let mut output = vec![0; 4096];
    let (answer, length) = plane
        .test_run(program, &input, &mut output, 1)
        .unwrap_or_else(|error| panic!("{what}: {error:#}"));
    let wanted = match verdict.action() {
        Action::Pass => answers[0],
        Action::Drop => answers[1],
        // XDP sends back by the interface that a frame came in by without a redirect.
        Action::Out if verdict.interface() == LOOPBACK && program == "fast_xdp" => XDP_TX,
        Action::Out | Action::OutUnresolved => answers[2],
        // No director is there to take it.
        Action::Raise if verdict.otherwise() == Event::PassFragment => answers[0],
        Action::Raise | Action::Cut => answers[1],
        Action::Local => panic!("{what}: no socket of this host asked"),
        Action::Next => panic!("{what}: a stage is no end"),
    };
    assert_eq!(answer, wanted, "{what}: {verdict:?}");
    if answer != answers[1] {
        assert_eq!(output[..length], frame.bytes, "{what}: {verdict:?}");
    }
    verdict.action()
}

#[test]
fn in_a_crowded_table_the_programs_find_every_connection_they_open() {
    support::in_namespace(|space| {
        network();
        let pins = Pins::of(&space.run_dir, lvsx_ipvs::cookie().expect("a cookie"));
        pins.prepare(&space.run_dir).expect("a bpffs");
        pins.make().expect("folders");
        let plane = Plane::load(pins, 500, true).expect("the data plane loads");
        mirror(&world(3), &plane.tables);
        for (program, out) in [("fast_xdp", 4), ("fast_tc", 7)] {
            for number in 0..2_000u16 {
                let [high, low] = number.to_be_bytes();
                let from = ([10, out as u8, high, low], 1234);
                let frame = Build {
                    from,
                    ..to_vip(1, SYN)
                }
                .frame();
                let answer = plane.test_run(program, &frame.bytes, &mut [0; 256], 1);
                assert_eq!(answer.expect("it runs").0, out, "{program}, {from:?}");
            }
        }
        let counted = |event| plane.tables.counted(event);
        assert!(counted(Event::Overflowed) > 0, "the overflow area was used");
        assert!(
            counted(Event::EvictedEmbryonic) > 0,
            "the table was beyond its rating"
        );
        assert_eq!(counted(Event::Opened), 4_000);
        assert_eq!(counted(Event::DropTailCall), 0);
    });
}
