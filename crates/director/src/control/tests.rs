//! The director over plain memory: answers of the operations, what packets then see, what a restart finds.

use super::*;
use crate::addresses::{AddressKind, LocalRoute};
use crate::generation::{Readers, table_key};
use crate::tables::Capacity;
use lvsx_core::env::{Env, Route};
use lvsx_core::generation::{RootLine, live::tally};
use lvsx_core::host::raw4;
use lvsx_core::sched;
use lvsx_core::tick::{Tick, TickRate};
use lvsx_ipvs::{
    DestinationKey, DestinationSettings, Director, Family, FlagChange, ForwardingMethod, Netmask,
    ServiceFlags, ServiceSettings, SyncDaemon, SyncRole, Timeouts, Tunnel, TunnelType,
};
use std::net::Ipv6Addr;

mod schedules;

const CLOCK: Clock = Clock {
    rate: TickRate { hz: 250, shift: 4 },
    jiffies: 0,
    monotonic: 0,
};

fn capacity() -> Capacity {
    Capacity {
        config: 4096,
        destinations: 64,
        services: 16,
        ..Capacity::rated(64, 7, 2)
    }
}

fn director() -> Control {
    let tables = Arc::new(Tables::plain(capacity()));
    let generations = Generations::none(&tables, Readers::Nobody);
    let ledger = Ledger::plain(&tables.capacity);
    Control::new(tables, generations, ledger, CLOCK, true).expect("an empty configuration fits")
}

/// The same director after its death: only what is shared is left.
fn restarted(control: Control) -> Control {
    let tables = control.tables.clone();
    let generations =
        Generations::in_force(&tables, Readers::Nobody).expect("what was written is sound");
    Control::new(tables, generations, control.ledger, CLOCK, true).expect("what was there fits")
}

fn service() -> ServiceKey {
    ServiceKey::Address {
        protocol: 6,
        addr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        port: 80,
    }
}

fn settings(scheduler: &str) -> ServiceSettings {
    ServiceSettings {
        scheduler: (scheduler != "none").then(|| scheduler.to_owned()),
        engine: None,
        flags: FlagChange::exactly(ServiceFlags::default()),
        timeout: 0,
        netmask: Netmask::V4(Ipv4Addr::BROADCAST),
    }
}

fn server(number: u8) -> DestinationKey {
    DestinationKey {
        addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)),
        port: 80,
    }
}

fn weight(weight: u32) -> DestinationSettings {
    DestinationSettings {
        method: ForwardingMethod::Masquerade,
        weight,
        upper_threshold: 0,
        lower_threshold: 0,
        tunnel: Tunnel::default(),
    }
}

/// A director with a service of this scheduler and destinations 1, 2, ... of these weights, added in this order.
fn serving(scheduler: &str, weights: &[u32]) -> Control {
    let mut control = director();
    control
        .new_service(&service(), &settings(scheduler))
        .expect("a new service");
    for (number, value) in (1..).zip(weights) {
        control
            .new_destination(&service(), &server(number), &weight(*value))
            .expect("a new destination");
    }
    control
}

fn id(control: &Control, number: u8) -> u32 {
    let (_, service) = control
        .config()
        .service(&service())
        .expect("the service is there");
    service
        .destination(&server(number))
        .expect("the destination is there")
        .1
        .id
}

/// The world as programs would see it, as far as schedulers look.
impl Env for Tables {
    fn now(&self) -> Tick {
        CLOCK.now()
    }

    fn random(&self) -> u32 {
        0x5eed
    }

    fn port(&self, _number: u32) -> Option<&Line> {
        None
    }

    fn remember(&self, _word: u64) {}

    fn recall(&self) -> u64 {
        0
    }

    fn route4(&self, _ingress: u32, _to: u32) -> Route {
        Route::None
    }
}

/// The next pick of the scheduler in force, by the number of the server; counted as an active connection if `is_kept`.
fn pick(control: &Control, is_kept: bool) -> Option<u8> {
    let tables = &*control.tables;
    let root = RootLine::current(tables)?;
    let block = root.service(tables, table_key(&service())?)?;
    let service = sched::Service::read(tables, &root, block)?;
    let (client, vip) = ([10, 1, 0, 1], [192, 0, 2, 1]);
    let request = sched::Request::ipv4(raw4(client), 40000u16.to_be(), raw4(vip));
    let place =
        Some(sched::pick(tables, &service, &request)).filter(|place| *place != sched::NO_PLACE)?;
    let line = service.destination(tables, place)?;
    if is_kept {
        tables.destinations[line.id as usize][COUNTS].add(1 << 32);
    }
    Some((line.address[0].to_ne_bytes())[3])
}

/// Picks as letters: server 1 is A; `-` for none.
fn picks(control: &Control, count: usize, is_kept: bool) -> String {
    (0..count)
        .map(|_| pick(control, is_kept).map_or('-', |number| char::from(b'A' + number - 1)))
        .collect()
}

fn set_weight(control: &mut Control, number: u8, value: u32) {
    control
        .set_destination(&service(), &server(number), &weight(value))
        .expect("the destination is there");
}

#[test]
fn rr_goes_on_behind_a_removed_destination() {
    let mut control = serving("rr", &[1, 1, 1]);
    assert_eq!(picks(&control, 7, false), "CBACBAC");
    set_weight(&mut control, 2, 0);
    assert_eq!(picks(&control, 4, false), "ACAC");
    set_weight(&mut control, 2, 1);
    assert_eq!(picks(&control, 4, false), "BACB");
    control
        .delete_destination(&service(), &server(1))
        .expect("it is there");
    assert_eq!(picks(&control, 4, false), "CBCB");
    control
        .new_destination(&service(), &server(1), &weight(1))
        .expect("it is new again");
    assert_eq!(picks(&control, 6, false), "ACBACB");
    control
        .delete_destination(&service(), &server(2))
        .expect("it is there");
    assert_eq!(picks(&control, 3, false), "ACA");
}

#[test]
fn wrr_takes_changes_as_the_kernel_does() {
    let mut control = serving("wrr", &[4, 3, 2]);
    assert_eq!(picks(&control, 18, false), "CBAABACBACBAABACBA");
    set_weight(&mut control, 1, 1);
    assert_eq!(picks(&control, 8, false), "CBCBABCB");
    set_weight(&mut control, 2, 0);
    assert_eq!(picks(&control, 4, false), "CCAC");
    control
        .new_destination(&service(), &server(4), &weight(6))
        .expect("it is new");
    assert_eq!(picks(&control, 14, false), "DCDCADDDDDCDCA");
}

#[test]
fn a_restart_goes_on_where_the_schedulers_were() {
    for (scheduler, before, after) in [
        ("rr", "CBAC", "BACB"),
        ("wrr", "CBAA", "BACB"),
        ("wlc", "CBAC", "BCCB"),
    ] {
        let control = serving(
            scheduler,
            if scheduler == "wrr" {
                &[4, 3, 2]
            } else {
                &[1, 2, 3]
            },
        );
        assert_eq!(picks(&control, 4, true), before, "{scheduler}");
        let control = restarted(control);
        assert_eq!(picks(&control, 4, true), after, "{scheduler}");
    }
}

#[test]
fn a_service_without_a_scheduler_and_one_whose_scheduler_changes() {
    let mut control = serving("none", &[1, 1]);
    assert_eq!(picks(&control, 2, false), "--");
    assert_eq!(
        control.service(&service()).expect("it is there").scheduler,
        None
    );
    control
        .set_service(&service(), &settings("rr"))
        .expect("it is there");
    assert_eq!(picks(&control, 3, false), "BAB");
    control
        .set_service(&service(), &settings("wrr"))
        .expect("it is there");
    assert_eq!(picks(&control, 3, false), "BAB");
}

#[test]
fn services_are_refused_in_the_kernels_order() {
    let mut control = serving("rr", &[]);
    let unknown = ServiceSettings {
        netmask: Netmask::V6(0),
        ..settings("fast")
    };
    assert_eq!(
        control.new_service(&service(), &unknown),
        Err(Errno::EEXIST)
    );
    let other = ServiceKey::Address {
        protocol: 17,
        addr: IpAddr::V6(Ipv6Addr::LOCALHOST),
        port: 53,
    };
    assert_eq!(control.new_service(&other, &unknown), Err(Errno::ENOENT));
    let engine = ServiceSettings {
        engine: Some("sip".into()),
        ..settings("rr")
    };
    assert_eq!(control.new_service(&other, &engine), Err(Errno::ENOENT));
    let prefix = ServiceSettings {
        netmask: Netmask::V6(129),
        ..settings("rr")
    };
    assert_eq!(control.new_service(&other, &prefix), Err(Errno::EINVAL));
    assert_eq!(control.set_service(&other, &unknown), Err(Errno::ESRCH));
    assert_eq!(control.delete_service(&other), Err(Errno::ESRCH));
    assert_eq!(control.zero(Some(&other)), Err(Errno::ESRCH));
    assert_eq!(control.service(&other), Err(Errno::ESRCH));
    assert_eq!(control.destinations(&other), Err(Errno::ESRCH));
    assert_eq!(control.services().len(), 1);
}

#[test]
fn destinations_are_refused_in_the_kernels_order() {
    let mut control = serving("rr", &[1]);
    let network = [
        ([10, 0, 0, 255], AddressKind::Broadcast),
        ([10, 0, 0, 9], AddressKind::Local),
    ];
    let route = |(prefix, kind): ([u8; 4], _)| LocalRoute {
        prefix: prefix.into(),
        length: 32,
        kind,
        interface: 2,
    };
    control
        .set_locals(LocalTable(network.map(route).to_vec()))
        .expect("it fits");
    let nowhere = ServiceKey::Mark {
        family: Family::V4,
        mark: 1,
    };
    let at = |address: [u8; 4]| DestinationKey {
        addr: IpAddr::V4(address.into()),
        port: 80,
    };
    assert_eq!(
        control.new_destination(&nowhere, &at([224, 0, 0, 1]), &weight(1)),
        Err(Errno::ESRCH)
    );
    assert_eq!(
        control.set_destination(&nowhere, &server(1), &weight(1)),
        Err(Errno::ESRCH)
    );
    assert_eq!(
        control.delete_destination(&nowhere, &server(1)),
        Err(Errno::ESRCH)
    );
    assert_eq!(
        control.new_destination(&service(), &server(1), &weight(1)),
        Err(Errno::EEXIST)
    );
    assert_eq!(
        control.set_destination(&service(), &server(2), &weight(1)),
        Err(Errno::ENOENT)
    );
    assert_eq!(
        control.delete_destination(&service(), &server(2)),
        Err(Errno::ENOENT)
    );
    for address in [
        [224, 0, 0, 1],
        [255, 255, 255, 255],
        [0, 0, 0, 0],
        [10, 0, 0, 255],
    ] {
        let result = control.new_destination(&service(), &at(address), &weight(1));
        assert_eq!(result, Err(Errno::EINVAL), "{address:?}");
    }
    assert_eq!(
        control.new_destination(&service(), &at([10, 0, 0, 9]), &weight(1)),
        Ok(())
    );
    assert_eq!(
        control.destinations(&service()).expect("it is there").len(),
        2
    );
}

#[test]
fn what_is_not_offered_is_refused_whole() {
    let mut control = serving("rr", &[1]);
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let generation = control.generation();
    let flags = |flags| ServiceSettings {
        flags: FlagChange::exactly(flags),
        ..settings("rr")
    };
    let address = |protocol, addr| ServiceKey::Address {
        protocol,
        addr,
        port: 53,
    };
    let other = address(17, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));
    let services = [
        (
            ServiceKey::Mark {
                family: Family::V4,
                mark: 1,
            },
            settings("rr"),
        ),
        (
            address(6, v6),
            ServiceSettings {
                netmask: Netmask::V6(128),
                ..settings("rr")
            },
        ),
        (other, flags(ServiceFlags::PERSISTENT)),
        (other, flags(ServiceFlags::ONE_PACKET)),
    ];
    for (key, settings) in services {
        assert_eq!(
            control.new_service(&key, &settings),
            Err(Errno::EOPNOTSUPP),
            "{key:?}"
        );
    }
    assert_eq!(
        control.set_service(&service(), &flags(ServiceFlags::PERSISTENT)),
        Err(Errno::EOPNOTSUPP)
    );
    let gue = DestinationSettings {
        method: ForwardingMethod::Tunnel,
        tunnel: Tunnel {
            kind: TunnelType::Gue,
            port: 6080,
            flags: 0,
        },
        ..weight(1)
    };
    assert_eq!(
        control.new_destination(&service(), &server(2), &gue),
        Err(Errno::EOPNOTSUPP)
    );
    assert_eq!(
        control.set_destination(&service(), &server(1), &gue),
        Err(Errno::EOPNOTSUPP)
    );
    let v6 = DestinationKey { addr: v6, port: 80 };
    assert_eq!(
        control.new_destination(&service(), &v6, &weight(1)),
        Err(Errno::EOPNOTSUPP)
    );
    let daemon = SyncDaemon {
        role: SyncRole::Master,
        interface: "eth0".into(),
        sync_id: 0,
        max_length: 0,
        group: None,
        port: 0,
        ttl: 0,
    };
    assert_eq!(control.new_daemon(&daemon), Err(Errno::EOPNOTSUPP));
    assert_eq!(control.delete_daemon(SyncRole::Master), Err(Errno::ESRCH));
    assert_eq!(control.generation(), generation);
}

#[test]
fn a_table_of_destinations_that_is_full_says_so_and_changes_nothing() {
    let mut control = serving("rr", &[]);
    for number in 0..64 {
        control
            .new_destination(&service(), &server(number + 1), &weight(1))
            .expect("there is room");
    }
    let generation = control.generation();
    assert_eq!(
        control.new_destination(&service(), &server(65), &weight(1)),
        Err(Errno::ENOMEM)
    );
    assert_eq!(control.generation(), generation);
}

#[test]
fn timeouts_are_those_that_were_set() {
    let mut control = director();
    assert_eq!(
        control.timeouts(),
        Timeouts {
            tcp: 900,
            tcp_fin: 120,
            udp: 300
        }
    );
    let most = i32::MAX as u32 / 250;
    assert_eq!(
        control.set_timeouts(&Timeouts {
            tcp: 7,
            tcp_fin: most + 1,
            udp: 0
        }),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        control.timeouts(),
        Timeouts {
            tcp: 900,
            tcp_fin: 120,
            udp: 300
        }
    );
    control
        .set_timeouts(&Timeouts {
            tcp: 7,
            tcp_fin: 0,
            udp: most,
        })
        .expect("in range");
    let control = restarted(control);
    assert_eq!(
        control.timeouts(),
        Timeouts {
            tcp: 7,
            tcp_fin: 120,
            udp: most
        }
    );
}

#[test]
fn an_edit_keeps_place_and_last_weight() {
    let mut control = serving("rr", &[1, 2, 3]);
    set_weight(&mut control, 2, 0);
    let listed = control.destinations(&service()).expect("it is there");
    let shown: Vec<_> = listed
        .iter()
        .map(|it| (it.key, it.settings.weight))
        .collect();
    assert_eq!(shown, [(server(3), 3), (server(2), 0), (server(1), 1)]);
    let (_, config) = control.config().service(&service()).expect("it is there");
    assert_eq!(
        config
            .destination(&server(2))
            .expect("it is there")
            .1
            .last_weight,
        2
    );
}

#[test]
fn thresholds_are_settled_on_an_edit() {
    let mut control = serving("rr", &[1]);
    let line =
        |control: &Control| control.tables.destinations[id(control, 1) as usize][FLAGS].peek();
    let with = |upper, lower| DestinationSettings {
        upper_threshold: upper,
        lower_threshold: lower,
        ..weight(1)
    };
    control.tables.destinations[id(&control, 1) as usize][COUNTS].store(5 << 32 | 3);
    let mut edit = |upper, lower| {
        control
            .set_destination(&service(), &server(1), &with(upper, lower))
            .expect("it is there");
        line(&control) & live::OVERLOADED != 0
    };
    assert!(edit(8, 0), "8 connections of 8");
    assert!(edit(10, 0), "8 of 10 is not below three quarters");
    assert!(!edit(11, 0), "8 of 11 is below three quarters");
    assert!(edit(8, 4));
    assert!(edit(20, 4), "not below the lower threshold");
    assert!(!edit(20, 9), "below the lower threshold");
    assert!(edit(2, 0));
    assert!(!edit(0, 0), "no threshold");
}

/// One connection and three packets each way, as programs count on a CPU.
fn count(control: &Control, number: u8, cpu: u32, times: u64) {
    let index = cpu * control.tables.capacity.destinations + id(control, number);
    let line = &control.tables.tallies[index as usize];
    line[tally::CONNECTIONS].add(times);
    line[tally::PACKETS_IN].add(3 * times);
    line[tally::BYTES_IN].add(300 * times);
    line[tally::PACKETS_OUT].add(3 * times);
    line[tally::BYTES_OUT].add(3000 * times);
}

fn connections(control: &Control) -> (u64, u64, Vec<u64>) {
    let of_service = control
        .service(&service())
        .expect("it is there")
        .stats
        .connections;
    let listed = control.destinations(&service()).expect("it is there");
    (
        control.total().connections,
        of_service,
        listed.iter().map(|it| it.stats.connections).collect(),
    )
}

#[test]
fn what_removed_destinations_brought_stays_with_the_service() {
    let mut control = serving("rr", &[1, 1]);
    count(&control, 1, 0, 2);
    count(&control, 2, 1, 3);
    assert_eq!(connections(&control), (5, 5, vec![3, 2]));
    control
        .delete_destination(&service(), &server(2))
        .expect("it is there");
    assert_eq!(connections(&control), (5, 5, vec![2]));
    let mut control = restarted(control);
    assert_eq!(connections(&control), (5, 5, vec![2]));
    control
        .new_destination(&service(), &server(2), &weight(1))
        .expect("it returns");
    count(&control, 2, 0, 10);
    assert_eq!(
        connections(&control),
        (15, 15, vec![13, 2]),
        "its statistics go on"
    );
    control.zero(Some(&service())).expect("it is there");
    assert_eq!(connections(&control), (15, 0, vec![0, 0]));
    count(&control, 1, 0, 1);
    let mut control = restarted(control);
    assert_eq!(connections(&control), (16, 1, vec![0, 1]));
    control.zero(None).expect("everything");
    assert_eq!(connections(&control), (0, 0, vec![0, 0]));
}

#[test]
fn a_destination_of_a_service_made_anew_returns_with_its_connections_but_counts_anew() {
    let mut control = serving("rr", &[1]);
    let before = id(&control, 1);
    control.tables.destinations[before as usize][COUNTS].store(2 << 32);
    count(&control, 1, 0, 2);
    control.delete_service(&service()).expect("it is there");
    let root = RootLine::current(&*control.tables).expect("in force");
    assert!(!root.is_available(&*control.tables, before));
    control
        .new_service(&service(), &settings("rr"))
        .expect("it is new again");
    control
        .new_destination(&service(), &server(1), &weight(1))
        .expect("it returns");
    assert_eq!(id(&control, 1), before);
    assert_eq!(
        control.destinations(&service()).expect("it is there")[0].active,
        2
    );
    assert_eq!(connections(&control), (2, 0, vec![0]));
}

#[test]
fn ids_with_connections_are_not_given_to_others_and_the_trash_waits_for_them() {
    let mut control = serving("rr", &[1]);
    let old = id(&control, 1);
    control.tables.destinations[old as usize][COUNTS].store(1);
    control
        .delete_destination(&service(), &server(1))
        .expect("it is there");
    control
        .new_destination(&service(), &server(2), &weight(1))
        .expect("it is new");
    assert_ne!(id(&control, 2), old);
    let begin = Instant::now();
    for minute in 0..5 {
        control.empty_trash(begin + Duration::from_secs(60 * minute));
    }
    assert_eq!(control.config().trash.len(), 1, "it has a connection");
    control.tables.destinations[old as usize][COUNTS].store(0);
    control.empty_trash(begin + Duration::from_secs(300));
    control.empty_trash(begin + Duration::from_secs(360));
    assert_eq!(
        control.config().trash.len(),
        1,
        "it has been idle for one minute"
    );
    control.empty_trash(begin + Duration::from_secs(420));
    assert_eq!(control.config().trash.len(), 0);
    control
        .new_destination(&service(), &server(3), &weight(1))
        .expect("it is new");
    assert_eq!(id(&control, 3), old);
    assert_eq!(connections(&control).2, [0, 0]);
}

#[test]
fn without_a_service_nothing_concerns_the_director() {
    let mut control = serving("rr", &[1]);
    let concern = |control: &Control, address: [u8; 4]| {
        let root = RootLine::current(&*control.tables).expect("in force");
        let concern = root.concern(&*control.tables, raw_address(address.into()));
        (concern.is_virtual, concern.is_server)
    };
    assert_eq!(concern(&control, [192, 0, 2, 1]), (true, false));
    assert_eq!(concern(&control, [10, 0, 0, 1]), (false, true));
    control.flush().expect("everything goes");
    assert_eq!(concern(&control, [192, 0, 2, 1]), (false, false));
    assert_eq!(concern(&control, [10, 0, 0, 1]), (false, false));
    assert!(control.services().is_empty());
}

#[test]
fn an_address_is_ours_while_the_kernel_routes_it_as_local() {
    let tables = Arc::new(Tables::plain(capacity()));
    let generations = Generations::none(&tables, Readers::Nobody);
    let ledger = Ledger::plain(&tables.capacity);
    let mut control = Control::new(tables, generations, ledger, CLOCK, false).expect("it fits");
    control
        .new_service(&service(), &settings("rr"))
        .expect("it is new");
    let is_ours = |control: &Control| {
        let root = RootLine::current(&*control.tables).expect("in force");
        root.concern(&*control.tables, raw_address(Ipv4Addr::new(192, 0, 2, 1)))
            .is_virtual
    };
    assert!(!is_ours(&control));
    let prefix = Ipv4Addr::new(192, 0, 2, 1);
    let route = LocalRoute {
        prefix,
        length: 32,
        kind: AddressKind::Local,
        interface: 2,
    };
    control
        .set_locals(LocalTable(vec![route]))
        .expect("it fits");
    assert!(is_ours(&control));
    control.set_locals(LocalTable::default()).expect("it fits");
    assert!(!is_ours(&control));
}

#[test]
fn proc_files_read_as_a_kernel_writes_them() {
    let mut control = serving("rr", &[1]);
    control.tables.destinations[id(&control, 1) as usize][COUNTS].store(2 << 32 | 5);
    let tunnel = DestinationSettings {
        method: ForwardingMethod::Tunnel,
        ..weight(65_536)
    };
    control
        .new_destination(&service(), &server(2), &tunnel)
        .expect("it is new");
    let text = |name| {
        control
            .proc_text(name)
            .map(|text| String::from_utf8(text).expect("text"))
    };
    let expected = concat!(
        "IP Virtual Server version 1.2.1 (size=64)\n",
        "Prot LocalAddress:Port Scheduler Flags\n",
        "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n",
        "TCP  C0000201:0050 rr  \n",
        "  -> 0A000002:0050      Tunnel  65536  0          0         \n",
        "  -> 0A000001:0050      Masq    1      2          5         \n",
    );
    assert_eq!(text("ip_vs").as_deref(), Some(expected));
    assert_eq!(
        text("ip_vs_app").as_deref(),
        Some("prot port    usecnt name\n")
    );
    assert_eq!(text("ip_vs_nothing"), None);
}

#[test]
fn a_connection_is_listed_as_a_kernel_writes_it() {
    use lvsx_core::conn::{NewEntry4, Opened, Peer, Want4, open};
    use lvsx_core::env::Tables as _;
    use lvsx_core::state::{State, UDP};
    let mut control = director();
    control.set_clock(Clock {
        monotonic: crate::clock::monotonic(),
        ..CLOCK
    });
    let tables = control.tables.clone();
    let now = control.clock().now();
    let raw = |address: [u8; 4], port: u16| (raw_address(address.into()), port.to_be());
    let want = Want4::new(
        tables.geometry4(),
        UDP,
        raw([10, 1, 0, 1], 1002),
        raw([10, 0, 0, 1], 53),
        Peer::Virtual,
    );
    let new = NewEntry4 {
        virt: raw([10, 0, 0, 1], 53),
        dest: raw([10, 2, 0, 1], 53),
        id: 3,
        method: 0,
        mark: 0,
        input_only: false,
        state: State::NONE,
        deadline: now.after(CLOCK.rate.ticks(300)),
    };
    assert_eq!(open(&*tables, &want, &new, now), Opened::New);
    let text =
        String::from_utf8(control.proc_text("ip_vs_conn").expect("it is there")).expect("text");
    let (header, line) = text
        .trim_end_matches('\n')
        .split_once('\n')
        .expect("two lines");
    assert_eq!(
        header,
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData"
    );
    let line = line.replace("    300", "    299");
    assert_eq!(
        line,
        "UDP 0A010001 03EA 0A000001 0035 0A020001 0035 UDP             299"
    );
}

#[test]
fn the_status_is_json_that_names_every_event() {
    let control = serving("rr", &[1]);
    let status: serde_json::Value = serde_json::from_str(&control.status()).expect("JSON");
    let events = status["events"].as_object().expect("an object");
    assert_eq!(events.len(), lvsx_core::event::Event::ALL.len());
    assert_eq!(
        status["services"][0]["destinations"][0]["address"],
        "10.0.0.1"
    );
    assert_eq!(status["connections"]["rated"], 64);
}
