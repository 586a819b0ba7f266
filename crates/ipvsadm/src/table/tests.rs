//! Tables against changes at random: the difference of two makes one of the other, lines say all.

use super::*;
use crate::file::Rules;
use lvsx_ipvs::{Family, Netmask, SyncRole, Tunnel, TunnelType};
use proptest::prelude::*;
use std::net::Ipv4Addr;

fn web(number: u8) -> ServiceKey {
    match number {
        0..6 => ServiceKey::Address {
            protocol: [6, 17, 132][usize::from(number % 3)],
            addr: [192, 0, 2, number / 3].into(),
            port: 80,
        },
        _ => ServiceKey::Mark {
            family: if number.is_multiple_of(2) {
                Family::V4
            } else {
                Family::V6
            },
            mark: number.into(),
        },
    }
}

fn settings(key: ServiceKey) -> impl Strategy<Value = ServiceSettings> {
    let mask = match key.family() {
        Family::V4 => prop_oneof![
            Just(Netmask::V4(Ipv4Addr::BROADCAST)),
            Just(Netmask::V4(Ipv4Addr::new(255, 255, 255, 0)))
        ]
        .boxed(),
        Family::V6 => (1u32..=128).prop_map(Netmask::V6).boxed(),
    };
    let scheduler = prop::sample::select(vec!["rr", "wlc", "sh", "mh"]);
    (scheduler, 0u32..900, any::<bool>(), mask).prop_map(|(scheduler, timeout, flag, netmask)| {
        let persistent = if timeout > 0 {
            ServiceFlags::PERSISTENT.0
        } else {
            0
        };
        let first = if flag { ServiceFlags::SCHEDULER_1.0 } else { 0 };
        ServiceSettings {
            scheduler: Some(scheduler.to_owned()),
            engine: None,
            flags: FlagChange::exactly(ServiceFlags(persistent | first)),
            timeout,
            netmask,
        }
    })
}

fn server() -> impl Strategy<Value = (DestinationKey, DestinationSettings)> {
    let tunnel = prop_oneof![
        Just(None),
        Just(Some(Tunnel::default())),
        Just(Some(Tunnel {
            kind: TunnelType::Gue,
            port: 6080,
            flags: Tunnel::CHECKSUM,
        })),
    ];
    (1u8..5, 0u32..9, 0u32..9, tunnel).prop_map(|(number, weight, lower, tunnel)| {
        let key = DestinationKey {
            addr: [10, 0, 0, number].into(),
            port: 80,
        };
        let settings = DestinationSettings {
            method: match tunnel {
                Some(_) => ForwardingMethod::Tunnel,
                None => ForwardingMethod::Masquerade,
            },
            weight,
            upper_threshold: lower * 2,
            lower_threshold: lower,
            tunnel: tunnel.unwrap_or_default(),
        };
        (key, settings)
    })
}

fn change() -> impl Strategy<Value = Request> {
    (0u8..8).prop_flat_map(|number| {
        let key = web(number);
        let port = move |(mut it, mut how): (DestinationKey, DestinationSettings)| {
            // A mark's TCP ports are those of no protocol; tunnels take IPv4 servers behind IPv6 marks.
            it.port = if matches!(key, ServiceKey::Mark { .. }) { 0 } else { 80 };
            if key.family() == Family::V6 {
                how.method = ForwardingMethod::Tunnel;
            }
            (it, how)
        };
        prop_oneof![
            3 => settings(key).prop_map(move |it| Request::NewService(key, it)),
            1 => settings(key).prop_map(move |it| Request::SetService(key, it)),
            1 => Just(Request::DeleteService(key)),
            5 => server().prop_map(port).prop_map(move |(it, how)| Request::NewDestination(key, it, how)),
            2 => server().prop_map(port).prop_map(move |(it, how)| Request::SetDestination(key, it, how)),
            1 => server().prop_map(port).prop_map(move |(it, _)| Request::DeleteDestination(key, it)),
            1 => (1u32..900).prop_map(|udp| Request::SetTimeouts(Timeouts { tcp: 9, tcp_fin: 0, udp })),
            1 => (0u32..9).prop_map(|it| Request::SetSetting("drop_packet".into(), it.to_string())),
            1 => (1u32..9).prop_map(|it| Request::EditMarks(format!("add mark {it} to 192.0.2.1"))),
            1 => Just(Request::NewDaemon(SyncDaemon {
                role: SyncRole::Backup,
                interface: "eth0".into(),
                sync_id: 3,
                max_length: 1472,
                group: Some([224, 0, 0, 81].into()),
                port: 8848,
                ttl: 1,
            })),
        ]
    })
}

/// What changes make of a table that begins with the kernel's timeouts, refused ones left out.
fn table(changes: &[Request]) -> Table {
    let mut table = Table::default().with_timeouts(Timeouts {
        tcp: 900,
        tcp_fin: 120,
        udp: 300,
    });
    for change in changes {
        let _ = table.take(change);
    }
    table
}

/// Order apart.
fn sorted(mut table: Table) -> Table {
    for stored in table.services.values_mut() {
        stored.destinations.sort_by_key(|(key, _)| *key);
    }
    table
}

proptest! {
    #[test]
    fn the_difference_makes_one_table_of_another(
        one in prop::collection::vec(change(), 0..40),
        other in prop::collection::vec(change(), 0..40),
    ) {
        let (one, mut other) = (table(&one), table(&other));
        // No change takes a setting back to what it was before it was first set.
        other.settings.extend(one.settings.clone());
        let mut made = one.clone();
        for change in one.difference(&other) {
            prop_assert_eq!(made.take(&change), Ok(()), "{:?}", change);
        }
        prop_assert_eq!(sorted(made), sorted(other.clone()));
        prop_assert_eq!(other.difference(&other), []);
    }

    #[test]
    fn lines_say_all_and_are_read_as_they_were_said(changes in prop::collection::vec(change(), 0..60)) {
        let table = table(&changes);
        let (text, left_out) = table.lines();
        prop_assert_eq!(left_out, Vec::<String>::new());
        let rules = Rules::read("saved", text.as_bytes());
        prop_assert_eq!(&rules.complaints, &[]);
        let mut read = Table::default();
        for change in rules.requests() {
            prop_assert_eq!(read.take(&change), Ok(()), "{}", text);
        }
        prop_assert_eq!(read, table);
    }
}
