//! Generations change under running programs: every packet meets one configuration, whole.

mod support;

use lvsx_core::conn::Hop;
use lvsx_core::env::PORTS;
use lvsx_core::event::Event;
use lvsx_core::generation::{SchedulerKind, live};
use lvsx_director::concerns::{self, Ours};
use lvsx_director::config::{Config, DestinationConfig, ServiceConfig};
use lvsx_director::generation::Generations;
use lvsx_director::loader::{Hooks, Pins, Plane, Time};
use lvsx_director::tables::Tables;
use lvsx_ipvs::{
    DestinationKey, DestinationSettings, ForwardingMethod, Netmask, ServiceFlags, ServiceKey,
    Tunnel,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use support::Space;

const FLIPS: u32 = 10_000;
const SERVERS: u32 = 200;
const VIP: [u8; 4] = [192, 0, 2, 1];
/// Link-layer address of the interface that test runs come in by.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const LOOPBACK: u32 = 1;

/// A service with 200 servers of its own: addresses 10.`number`.0.0 on, ports 8000 + `number`.
fn configuration(number: u8) -> Config {
    let key = ServiceKey::Address {
        protocol: 6,
        addr: IpAddr::V4(VIP.into()),
        port: 80,
    };
    let destinations = (0..SERVERS).map(|server| DestinationConfig {
        id: u32::from(number) * SERVERS + server,
        key: DestinationKey {
            addr: IpAddr::V4(Ipv4Addr::new(10, number, 0, server as u8)),
            port: 8000 + u16::from(number),
        },
        settings: DestinationSettings {
            method: ForwardingMethod::Masquerade,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: Tunnel::default(),
        },
        last_weight: 1,
    });
    let service = ServiceConfig {
        key,
        scheduler: SchedulerKind::RoundRobin,
        flags: ServiceFlags::default(),
        timeout: 0,
        netmask: Netmask::V4(Ipv4Addr::BROADCAST),
        destinations: destinations.collect(),
    };
    Config {
        services: BTreeMap::from([(0, Arc::new(service))]),
        timeouts: [2; 16],
        ..Config::default()
    }
}

/// A SYN from client number `client` to the virtual service.
fn syn(client: u32) -> Vec<u8> {
    let mut frame = vec![0; 14 + 20 + 20];
    frame[..6].copy_from_slice(&MAC);
    frame[12..14].copy_from_slice(&[8, 0]);
    let header = &mut frame[14..34];
    header[..4].copy_from_slice(&[0x45, 0, 0, 40]);
    header[8..10].copy_from_slice(&[64, 6]);
    header[12..16].copy_from_slice(&[172, 16, (client >> 24) as u8, (client >> 16) as u8]);
    header[16..20].copy_from_slice(&VIP);
    let sum: u32 = header
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let segment = &mut frame[34..];
    segment[..2].copy_from_slice(&(client as u16).to_be_bytes());
    segment[2..4].copy_from_slice(&80u16.to_be_bytes());
    segment[12..14].copy_from_slice(&[0x50, 0x02]);
    frame
}

/// The server that a SYN was sent to: the second byte of its address, and its port.
fn chosen(frame: &[u8]) -> (u8, u16) {
    (frame[14 + 17], u16::from_be_bytes([frame[36], frame[37]]))
}

fn flip(tables: &Tables, mut generations: Generations) {
    let configurations = [configuration(1), configuration(2)];
    for number in 0..FLIPS as usize {
        let config = configurations[number % 2].clone();
        let concerns = concerns::of(&config, Ours::EVERYTHING);
        generations
            .publish(tables, config, concerns)
            .expect("the arena holds it");
    }
}

fn let_the_test_packets_in(tables: &Tables) {
    let line = &tables.ports[(LOOPBACK % PORTS) as usize];
    let [a, b, c, d, e, f] = MAC;
    line[1].store(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]));
    line[0].store(u64::from(LOOPBACK) | 1500 << 32);
    tables.state[0][lvsx_core::env::state::EPOCH].store(1);
    let hop = Hop::new(0x0000_0100_0002, LOOPBACK % PORTS);
    for line in tables.destinations.iter() {
        line[live::destination::HOP].store(hop.0);
    }
}

fn pins(space: &Space) -> Pins {
    let cookie = lvsx_ipvs::cookie().expect("a cookie");
    let pins = Pins::of(&space.run_dir, cookie);
    pins.prepare(&space.run_dir).expect("a bpffs");
    pins.make().expect("folders");
    pins
}

/// Until a successor has attached its own, packets begin in the programs before it, and go on in its stages.
#[test]
fn a_packet_that_began_before_a_successor_goes_on_in_its_stages() {
    support::in_namespace(|space| {
        let pins = pins(space);
        let load = || Plane::load_in(pins.clone(), 262_144, true, Time::Real, Hooks::Tc);
        let plane = load().expect("the data plane loads");
        let tables = plane.tables.clone();
        let_the_test_packets_in(&tables);
        let mut generations = plane.generations().expect("nothing is in force");
        let config = configuration(1);
        let concerns = concerns::of(&config, Ours::EVERYTHING);
        generations
            .publish(&tables, config, concerns)
            .expect("the arena holds it");
        let _successor = load().expect("a successor loads");
        for client in 100..200 {
            let mut output = [0; 256];
            let (_, length) = plane
                .test_run("fast_tc", &syn(client), &mut output, 1)
                .expect("the program runs");
            assert_eq!(chosen(&output[..length]), (1, 8001), "client {client}");
        }
        assert_eq!(tables.counted(Event::Opened), 100);
    });
}

fn no_verdict_lies_outside(program: &str) {
    support::in_namespace(|space| {
        let plane = Plane::load(pins(space), 262_144, true).expect("the data plane loads");
        let tables = plane.tables.clone();
        let_the_test_packets_in(&tables);

        let mut generations = plane.generations().expect("nothing is in force");
        let first = configuration(2);
        let concerns = concerns::of(&first, Ours::EVERYTHING);
        generations
            .publish(&tables, first, concerns)
            .expect("the arena holds it");

        let is_over = AtomicBool::new(false);
        let mut seen: BTreeMap<(u8, u16), u64> = BTreeMap::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                flip(&tables, generations);
                is_over.store(true, Ordering::Release);
            });
            let mut client = 0;
            while !is_over.load(Ordering::Acquire) {
                let mut output = [0; 256];
                client += 1;
                // Client port 20 is never scheduled, as in the kernel.
                if client as u16 == 20 {
                    continue;
                }
                let (_, length) = plane
                    .test_run(program, &syn(client), &mut output, 1)
                    .expect("the program runs");
                *seen.entry(chosen(&output[..length])).or_default() += 1;
            }
        });

        let events: Vec<(&str, u64)> = Event::ALL
            .iter()
            .map(|event| (event.name(), tables.counted(*event)))
            .filter(|(_, count)| *count > 0)
            .collect();
        eprintln!("{program}: {seen:?}; {events:?}");
        assert!(
            seen.values().sum::<u64>() > 1000,
            "programs ran beside the flips"
        );
        let inside = [(1, 8001), (2, 8002)];
        assert!(
            inside.iter().all(|verdict| seen.contains_key(verdict)),
            "both configurations were met"
        );
        assert!(
            seen.keys().all(|verdict| inside.contains(verdict)),
            "a verdict outside old and new: {seen:?}"
        );
        // Whatever else is counted is a mixture.
        let is_expected = |name: &str| {
            matches!(
                name,
                "drop-no-route"
                    | "drop-forwarding-off"
                    | "conn-opened"
                    | "conn-overflowed"
                    | "conn-evicted-embryonic"
                    | "conn-expired"
                    | "conn-reused"
            )
        };
        assert!(
            events.iter().all(|(name, _)| is_expected(name)),
            "{events:?}"
        );
    });
}

#[test]
fn ten_thousand_flips_beside_tc_runs() {
    no_verdict_lies_outside("fast_tc");
}

#[test]
fn ten_thousand_flips_beside_xdp_runs() {
    no_verdict_lies_outside("fast_xdp");
}
