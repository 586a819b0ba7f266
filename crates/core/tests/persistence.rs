//! Persistent services and one-packet scheduling: where a client's connections go, and what lives on how long.

mod common;

use common::*;
use lvsx_core::conn::{Control, sweep_set};
use lvsx_core::director::Action;
use lvsx_core::generation::SchedulerKind::RoundRobin;
use lvsx_core::generation::live::destination::{COUNTS, TEMPLATES};
use lvsx_core::host::{World, raw4};
use lvsx_core::tick::Tick;
use proptest::prelude::*;
use std::collections::BTreeMap;

const UDP: u8 = 17;
/// About a second, in ticks.
const SECOND: u32 = 16;

/// Servers of round robin, persistent for `seconds` by a client's first 24 bits.
fn persistent(seconds: u32) -> World {
    let world = world(RoundRobin, &servers());
    keep(&world, 1, seconds);
    world
}

fn servers() -> [Server; 3] {
    [server(46, 1), server(47, 1), server(48, 1)]
}

fn keep(world: &World, number: u64, seconds: u32) {
    reshape(world, number, |service| {
        service.flags = 1;
        service.timeout = seconds;
        service.netmask = raw4([255, 255, 255, 0]);
    });
}

/// Sends a client's packet; the last byte of the server's address that it went to.
fn send(world: &World, client: [u8; 4], port: u16, protocol: u8) -> u8 {
    let build = Build {
        from: (client, port),
        protocol,
        ..to_vip(port, SYN)
    };
    let (verdict, bytes) = build.run(world);
    assert_eq!(verdict.action(), Action::Out, "{verdict:?}");
    address(&bytes, 16)[3]
}

/// Of the destination whose address ends in `last`: active connections << 32 + inactive ones, templates.
fn counts(world: &World, last: u8) -> (u64, u64) {
    let line = &world.memory.destinations[usize::from(last - 46)];
    (line[COUNTS].load(), line[TEMPLATES].load())
}

fn sweep(world: &World) {
    for index in 0..world.memory.sets.len() as u32 {
        sweep_set::<lvsx_core::conn::Entry4, _>(&world.memory, index, world.now);
    }
}

#[test]
fn clients_of_a_network_keep_their_server() {
    let world = persistent(300);
    let first = send(&world, [10, 0, 0, 1], 1000, 6);
    assert_eq!(send(&world, [10, 0, 0, 200], 2000, 6), first);
    assert_eq!(send(&world, [10, 0, 0, 1], 1001, 6), first);
    assert_eq!(counts(&world, first), (3 << 32, 1));
    let second = send(&world, [10, 0, 1, 1], 1000, 6);
    assert_ne!(second, first);
    // TCP's and UDP's templates are two.
    let third = send(&world, [10, 0, 0, 1], 1000, UDP);
    assert_eq!(send(&world, [10, 0, 0, 2], 1000, UDP), third);
    assert_eq!(counts(&world, third), (2, 1));
}

#[test]
fn a_server_that_answers_at_once_assures_the_template() {
    let world = persistent(300);
    let last = send(&world, CLIENT, 1000, UDP);
    let is_assured = || {
        let words = world.memory.sets.iter().flat_map(|set| &set.control);
        let controls = words.map(|word| Control(word.load()));
        let mut templates = controls.filter(|it| it.is_template());
        templates.next().expect("there is one").is_assured()
    };
    assert!(!is_assured());
    let answer = Build {
        protocol: UDP,
        ..reply(([192, 168, 1, last], 80), 1000, 0)
    };
    assert_eq!(answer.run(&world).0.action(), Action::Out);
    assert!(is_assured());
}

#[test]
fn a_removed_server_loses_its_clients_and_its_templates_are_never_found_again() {
    let world = persistent(300);
    let gone = send(&world, [10, 0, 0, 1], 1000, 6);
    assert_eq!(gone, 48, "round robin begins with the newest");
    configure(&world, RoundRobin, &servers()[..2], 2);
    keep(&world, 2, 300);
    let next = send(&world, [10, 0, 0, 1], 1001, 6);
    assert_ne!(next, gone);
    assert_eq!(counts(&world, gone).1, 1, "it dies by its timer");
    configure(&world, RoundRobin, &servers(), 3);
    keep(&world, 3, 300);
    assert_eq!(send(&world, [10, 0, 0, 1], 1002, 6), next);
}

#[test]
fn a_template_that_controls_connections_lives_on_by_a_minute() {
    let mut world = persistent(100);
    let first = send(&world, [10, 0, 0, 1], 1000, UDP);
    for second in 1..=400 {
        world.now = Tick(world.now.0 + SECOND);
        sweep(&world);
        // Its connection lives for 300 s, the template by minutes after its first 100 s.
        let lives = counts(&world, first).1 == 1;
        assert!(lives || second > 300, "ended after {second} s");
        assert!(!lives || second < 345, "alive after {second} s");
    }
    assert_eq!(counts(&world, first), (0, 0));
}

#[test]
fn a_template_lives_on_whose_last_connection_was_over_a_second_after_it() {
    // The hand meets both at once, in whichever order they lie.
    for clients in 1..=20 {
        let mut world = persistent(299);
        let first = send(&world, [10, 0, clients, 1], 1000, UDP);
        world.now = Tick(world.now.0 + RATE.ticks(301));
        sweep(&world);
        sweep(&world);
        assert_eq!(counts(&world, first), (0, 1), "client {clients}");
        world.now = Tick(world.now.0 + RATE.ticks(60));
        sweep(&world);
        assert_eq!(counts(&world, first), (0, 0), "client {clients}");
    }
    // Of two that were over at once, none outlives the other.
    let mut world = persistent(300);
    let first = send(&world, [10, 0, 0, 1], 1000, UDP);
    world.now = Tick(world.now.0 + RATE.ticks(301));
    sweep(&world);
    sweep(&world);
    assert_eq!(counts(&world, first), (0, 0));
}

#[test]
fn no_opener_takes_a_templates_place() {
    let mut world = persistent(10_000);
    let first = send(&world, [10, 0, 0, 1], 1000, UDP);
    world.now = Tick(world.now.0 + 350 * SECOND);
    sweep(&world);
    // More unanswered flows than there is room for.
    for client in 0..20u16 {
        for port in 0..250 {
            let build = Build {
                from: ([10, 1, 0, client as u8], 1000 + port),
                ..to_vip(0, SYN)
            };
            build.run(&world);
        }
    }
    assert_eq!(send(&world, [10, 0, 0, 9], 4000, UDP), first);
}

#[test]
fn each_udp_packet_of_a_one_packet_service_is_scheduled_on_its_own() {
    let world = world(RoundRobin, &servers());
    reshape(&world, 1, |service| service.flags = 4);
    let went: Vec<u8> = (0..6).map(|_| send(&world, CLIENT, 1000, UDP)).collect();
    assert_eq!(went, [48, 47, 46, 48, 47, 46]);
    assert!((46..49).all(|last| counts(&world, last) == (0, 0)));
    let entries = world.memory.sets.iter().flat_map(|set| &set.control);
    assert!(
        entries
            .map(|word| Control(word.load()))
            .all(Control::is_free)
    );
    // TCP is not concerned.
    let tcp = send(&world, CLIENT, 1000, 6);
    assert_eq!(send(&world, CLIENT, 1000, 6), tcp);
    assert_eq!(counts(&world, tcp), (1 << 32, 0));
}

#[test]
fn one_packet_scheduling_keeps_to_templates() {
    let world = persistent(300);
    reshape(&world, 1, |service| service.flags = 5);
    let first = send(&world, [10, 0, 0, 1], 1000, UDP);
    assert!((0..4).all(|port| send(&world, [10, 0, 0, 2], port, UDP) == first));
    assert_eq!(counts(&world, first), (0, 1));
}

/// What the kernel's rules say, with lists in place of tables (`net/netfilter/ipvs` of Linux 6.1: a template begins anew with
/// each new connection; one whose time is over while it controls some lives on for a minute, then and from then on).
#[derive(Default)]
struct Naive {
    /// By client and port: server and deadline.
    connections: BTreeMap<([u8; 4], u16), (u8, u32)>,
    /// By network: server, deadline, timeout.
    templates: BTreeMap<[u8; 3], (u8, u32, u32)>,
    picks: u8,
}

/// Ticks that the hand waits for connections to be counted out.
const PATIENCE: u32 = 40;

/// Ticks that make one end later than another.
const SLACK: u32 = 8;

impl Naive {
    fn settle(&mut self, now: u32, sought: Option<[u8; 3]>) {
        let templates = &mut self.templates;
        self.connections.retain(|(client, _), (_, end)| {
            if *end >= now {
                return true;
            }
            // One that it outlived prolonged its template.
            if let Some((_, deadline, timeout)) = templates.get_mut(&client[..3])
                && *deadline + SLACK < *end
            {
                *timeout = RATE.ticks(60);
                *deadline += RATE.ticks(60);
            }
            false
        });
        let controlled = |net: &[u8; 3]| {
            let mut clients = self.connections.keys();
            clients.any(|(client, _)| client[..3] == *net)
        };
        self.templates.retain(|net, (_, deadline, timeout)| {
            if *deadline >= now {
                return true;
            }
            if !controlled(net) {
                return false;
            }
            let patience = if sought == Some(*net) { 0 } else { PATIENCE };
            if *deadline + patience < now {
                *timeout = RATE.ticks(60);
                *deadline += RATE.ticks(60);
            }
            true
        });
    }

    fn packet(&mut self, client: [u8; 4], port: u16, seconds: u32, now: u32) -> u8 {
        let net = [client[0], client[1], client[2]];
        let udp = RATE.ticks(300);
        if let Some((server, deadline)) = self.connections.get_mut(&(client, port)) {
            *deadline = now + udp;
            return *server;
        }
        self.settle(now, Some(net));
        let picks = &mut self.picks;
        let template = self.templates.entry(net).or_insert_with(|| {
            *picks += 1;
            (48 - (*picks - 1) % 3, 0, RATE.ticks(seconds))
        });
        template.1 = now + template.2;
        self.connections
            .insert((client, port), (template.0, now + udp));
        template.0
    }
}

proptest! {
    #[test]
    fn clients_go_where_the_naive_rules_send_them(
        seconds in prop::sample::select(vec![1u32, 50, 290, 310, 700]),
        steps in prop::collection::vec((0u8..3, 0u8..2, 0u16..3, 1u32..170), 1..40),
    ) {
        let mut world = persistent(seconds);
        let mut naive = Naive::default();
        for (net, host, port, wait) in steps {
            let client = [10, 0, net, host];
            let went = send(&world, client, port, UDP);
            prop_assert_eq!(went, naive.packet(client, port, seconds, world.now.0));
            for _ in 0..wait {
                world.now = Tick(world.now.0 + SECOND);
                // Twice, for templates that were looked at before the last of their connections.
                sweep(&world);
                sweep(&world);
                naive.settle(world.now.0, None);
            }
            let templates: u64 = (46..49).map(|last| counts(&world, last).1).sum();
            prop_assert_eq!(templates, naive.templates.len() as u64);
        }
    }
}
