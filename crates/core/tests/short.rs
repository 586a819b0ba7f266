//! The short way decides as the long one: the same packets through two worlds, one of which has no short way.

mod common;

use common::*;
use lvsx_core::conn::{Control, Entry, Hop, Peer};
use lvsx_core::director::{Action, Stage, fast, find, handle, handle_from, syn};
use lvsx_core::env::state;
use lvsx_core::event::Event;
use lvsx_core::generation::SchedulerKind::{self, PowerOfTwo, RoundRobin};
use lvsx_core::generation::live;
use lvsx_core::host::{Frame, World};
use lvsx_core::tick::Tick;
use proptest::prelude::*;

/// What happens: mostly packets.
#[derive(Clone, Copy, Debug)]
enum Step {
    Packet(Build),
    Pause(u32),
    /// The route epoch moves.
    Reroute,
    /// The first destination leaves its service, or comes back.
    Configure(bool),
    /// A setting changes: `drop_entry`'s mode, `expire_nodest_conn` or `nat_icmp_send`.
    Set(u8, bool),
    /// What is in force of the defences: the bits of their word, and one of so many first packets is dropped.
    Defend(u8, u8),
    /// The director publishes the next hop to a destination, or that it does not know it.
    Publish(usize, Hop),
    /// The longest packet that leaves.
    Narrow(u16),
    /// A router tells what the path to a tunnelled server takes.
    Told(u16, usize, u16),
}

/// The way to either server.
const HOP: Hop = Hop(0x0202 | (INTERFACE as u64) << 48);

const SERVERS: [[u8; 4]; 2] = [[192, 168, 1, 46], [192, 168, 1, 47]];

fn build() -> impl Strategy<Value = Build> {
    let ends = (
        prop_oneof![3 => 0u16..4, 1 => 0u16..40],
        0usize..2,
        prop_oneof![6 => Just(0u8), 5 => Just(1u8), 1 => Just(2u8)],
    );
    let flags = prop_oneof![
        2 => Just(SYN), 12 => Just(ACK), 1 => Just(FIN), 1 => Just(RST), 1 => Just(SYN | ACK), 1 => any::<u8>()
    ];
    let protocol = prop_oneof![8 => Just(6u8), 3 => Just(17u8), 1 => any::<u8>()];
    let ttl = prop_oneof![12 => Just(64u8), 1 => 0u8..4];
    let payload = prop_oneof![6 => Just(10usize), 1 => Just(0usize), 1 => 1400usize..1470];
    let shape = (
        prop_oneof![9 => Just(true), 1 => Just(false)],
        prop_oneof![9 => Just(0usize), 1 => Just(8usize)],
    );
    (ends, flags, protocol, ttl, payload, shape, any::<u8>()).prop_map(
        |((client, server, way), flags, protocol, ttl, payload, (checksum, options), tos)| {
            let port = 1000 + client;
            let build = match way {
                0 => to_vip(port, flags),
                1 => reply((SERVERS[server], 80), port, flags),
                _ => reply((VIP, 80), port, flags),
            };
            Build {
                protocol,
                ttl,
                payload,
                checksum,
                options,
                tos,
                ..build
            }
        },
    )
}

fn hop() -> impl Strategy<Value = Hop> {
    prop_oneof![4 => Just(HOP), 1 => Just(Hop(0)), 1 => Just(Hop::LOCAL), 1 => Just(Hop::new(7, 200))]
}

/// All but the one that goes by chance.
fn scheduler() -> impl Strategy<Value = SchedulerKind> {
    prop::sample::select(SchedulerKind::ALL.as_slice())
        .prop_filter("by chance", |&kind| kind != PowerOfTwo)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => build().prop_map(Step::Packet),
        2 => prop_oneof![0u32..3, 0u32..20_000].prop_map(Step::Pause),
        1 => Just(Step::Reroute),
        1 => any::<bool>().prop_map(Step::Configure),
        1 => (0u8..3, any::<bool>()).prop_map(|(setting, on)| Step::Set(setting, on)),
        1 => (0u8..4, 0u8..3).prop_map(|(bits, rate)| Step::Defend(bits, rate)),
        2 => (0usize..2, hop()).prop_map(|(server, hop)| Step::Publish(server, hop)),
        1 => prop_oneof![Just(1500u16), 1400u16..1500].prop_map(Step::Narrow),
        2 => (0u16..4, 0usize..2, 1400u16..1520).prop_map(|(client, server, mtu)| Step::Told(client, server, mtu)),
    ]
}

/// Publishes the next hop to a destination.
fn publish(world: &World, server: usize, hop: Hop) {
    world.memory.destinations[server][live::destination::HOP].store(hop.0);
}

/// All that packets write but for what one stage keeps for the next.
fn written(world: &World) -> Vec<u64> {
    let memory = &world.memory;
    let sets = memory.sets.iter().flat_map(|set| {
        let ways = set.control.iter().zip(&set.entry);
        let ways = ways.flat_map(|(control, entry)| {
            let control = Control(control.load());
            let hops = [Peer::Virtual, Peer::Server].map(|side| {
                let epochs = 1..=3;
                let hops =
                    epochs.map(|epoch| entry.hops().find(side, epoch, control.generation()).0);
                hops.fold(0, u64::wrapping_add)
            });
            let (key, controller) = (entry.own_key(), entry.controller().load());
            [control.0, key, controller, hops[0], hops[1]]
        });
        ways.chain([set.head.load()]).collect::<Vec<_>>()
    });
    let lines = [&memory.destinations, &memory.tallies, &memory.services]
        .into_iter()
        .flatten()
        .flatten();
    let events = memory.events.iter();
    sets.chain(lines.chain(events).map(|word| word.load()))
        .collect()
}

/// An error about a tunnel's packet to a server.
fn told(client: u16, server: usize, mtu: u16) -> Frame {
    let outer = Build {
        from: (OWN, 0),
        to: (SERVERS[server], 0),
        protocol: 4,
        ..to_vip(0, 0)
    };
    let inside = to_vip(1000 + client, ACK).packet();
    let quoted = [&outer.packet()[..20], &inside].concat();
    icmp_error([203, 0, 113, 9], OWN, 3, 4, mtu.into(), &quoted)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn decides_as_the_long_way(scheduler in scheduler(), methods in [0u8..4, 0u8..4], weights in [0u32..3, 1u32..4], upper in 0u32..6, steps in prop::collection::vec(step(), 1..120)) {
        let mut servers: Vec<Server> = [46, 47].into_iter().zip(methods).zip(weights)
            .map(|((last, method), weight)| Server { method, upper, ..server(last, weight) }).collect();
        let mut worlds = [world(scheduler, &servers), world(scheduler, &servers)];
        worlds.iter().for_each(|world| (0..2).for_each(|server| publish(world, server, HOP)));
        let (mut number, mut epoch) = (1, 1);
        for step in steps {
            match step {
                Step::Packet(build) => {
                    let [short, long] = &worlds;
                    let (mut frame, mut other) = (build.frame(), build.frame());
                    let first = fast(&mut frame, short);
                    let verdict = handle_from(first, &mut frame, short);
                    let wanted = handle_from(find(&mut other, long), &mut other, long);
                    prop_assert_eq!(verdict, wanted, "{:?}", build);
                    prop_assert_eq!(frame.bytes, other.bytes, "{:?}", build);
                    prop_assert!(written(short) == written(long), "{:?}", build);
                }
                Step::Pause(ticks) => worlds.iter_mut().for_each(|world| world.now = world.now.after(ticks)),
                Step::Reroute => {
                    epoch = epoch % 3 + 1;
                    worlds.iter().for_each(|world| world.memory.state[0][state::EPOCH].store(epoch));
                }
                Step::Configure(is_removed) => {
                    servers[0].is_removed = is_removed;
                    number += 1;
                    worlds.iter().for_each(|world| configure(world, scheduler, &servers, number));
                }
                Step::Set(setting, on) => worlds.iter().for_each(|world| set(world, number, |settings| match setting {
                    0 => settings.drop_entry = u8::from(on),
                    1 => settings.expire_nodest_conn = on,
                    _ => settings.nat_icmp_send = on,
                })),
                Step::Defend(bits, rate) => {
                    let word = u64::from(bits) | u64::from(rate) << 32;
                    worlds.iter().for_each(|world| world.memory.state[0][state::DEFENCE].store(word));
                }
                Step::Told(client, server, mtu) => worlds.iter().for_each(|world| {
                    handle(&mut told(client, server, mtu), world);
                }),
                Step::Publish(server, hop) => worlds.iter().for_each(|world| publish(world, server, hop)),
                Step::Narrow(mtu) => worlds.iter().for_each(|world| {
                    let word = u64::from(INTERFACE) | u64::from(mtu) << 32;
                    world.memory.ports[INTERFACE as usize][live::port::INTERFACE].store(word);
                }),
            }
        }
    }
}

#[test]
fn a_connection_opens_by_the_short_way() {
    for (method, is_short) in [(0, true), (1, false), (2, true), (3, true)] {
        let one = Server {
            method,
            ..server(46, 1)
        };
        let world = world(RoundRobin, &[one]);
        world.memory.tunnels[0][live::tunnel::SHAPE].store(live::tunnel::PLAIN);
        publish(&world, 0, HOP);
        let mut frame = to_vip(1234, SYN).frame();
        assert_eq!(fast(&mut frame, &world).stage(), Stage::Syn);
        let verdict = syn(&mut frame, &world);
        let way = (verdict.action() == Action::Out, verdict.stage());
        assert_eq!(way.0, is_short, "method {method}: {verdict:?}");
        assert!(is_short || way.1 == Stage::Bind, "{verdict:?}");
        let again = |flags| {
            let mut frame = to_vip(1234, flags).frame();
            let first = fast(&mut frame, &world);
            if first.action() == Action::Next && first.stage() == Stage::Syn {
                return syn(&mut frame, &world);
            }
            first
        };
        if is_short {
            assert_eq!(again(SYN).stage(), Stage::Find, "a SYN sent again");
            assert_eq!(again(RST).stage(), Stage::Find);
        }
    }
}

#[test]
fn goes_the_short_way_once_it_is_known() {
    for (method, protocol) in [(0, 6), (0, 17), (2, 6), (3, 6), (3, 17)] {
        let mut world = world(
            RoundRobin,
            &[Server {
                method,
                ..server(46, 1)
            }],
        );
        world.memory.tunnels[0][live::tunnel::SHAPE].store(live::tunnel::PLAIN);
        let packet = |flags| Build {
            protocol,
            payload: 20,
            ..to_vip(1234, flags)
        };
        let back = |flags| Build {
            protocol,
            payload: 20,
            ..reply((SERVERS[0], 80), 1234, flags)
        };
        let is_short =
            |world: &World, build: Build| fast(&mut build.frame(), world).action() == Action::Out;
        assert!(!is_short(&world, packet(SYN)));
        packet(SYN).run(&world);
        if method == 0 {
            back(SYN | ACK).run(&world);
        }
        packet(ACK).run(&world);
        for ticks in [0, 1, 30] {
            world.now = Tick(world.now.0 + ticks);
            assert!(
                is_short(&world, packet(ACK)),
                "method {method}, protocol {protocol}"
            );
            assert_eq!(is_short(&world, back(ACK)), method == 0);
        }
        assert_eq!(is_short(&world, packet(FIN)), protocol == 17);
        assert_eq!(world.memory.counted(Event::Expired), 0);
    }
}
