//! The timer's rules, minute by minute.

use super::*;
use crate::config::ServiceConfig;
use crate::tables::Capacity;
use lvsx_core::env::Tables as _;
use lvsx_core::generation::SchedulerKind;
use lvsx_ipvs::{Netmask, ServiceFlags, ServiceKey};
use lvsx_platform::Line;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const RATE: TickRate = TickRate { hz: 250, shift: 4 };
const ID: u32 = 3;

fn tables() -> Tables {
    Tables::plain(Capacity {
        config: 64,
        destinations: 64,
        services: 16,
        ..Capacity::rated(8, 7, 1)
    })
}

fn config(expiration: u32) -> Config {
    let mut config = Config::default();
    let service = ServiceConfig {
        key: ServiceKey::Address {
            protocol: 6,
            addr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            port: 80,
        },
        scheduler: SchedulerKind::Locality,
        flags: ServiceFlags::default(),
        timeout: 0,
        netmask: Netmask::V4(Ipv4Addr::BROADCAST),
        destinations: Vec::new(),
    };
    config.services.insert(ID, Arc::new(service));
    config.timeouts[TIMEOUT_LBLC] = RATE.ticks(expiration);
    config
}

/// Writes entry `index` as a program does: for an address, used last at `used`.
fn keep(tables: &Tables, index: u32, service: u32, address: u32, used: Tick) {
    let line: &Line = tables.cache(index * 4).expect("within the table");
    let values = [6, service.into(), address.into(), 0, used.0.into(), 1, 8];
    for (word, value) in line.iter().zip(values) {
        word.store(value);
    }
}

fn kept(tables: &Tables) -> usize {
    (0..ENTRIES)
        .filter(|index| Seen::at(tables, *index).is_some())
        .count()
}

#[test]
fn what_has_expired_goes_every_half_an_hour() {
    let (tables, config) = (tables(), config(600));
    let start = Tick(1_000_000);
    let minute = |minutes: u32| start.after(RATE.ticks(60 * minutes));
    keep(&tables, 1, ID, 1, start);
    keep(&tables, 2, ID, 2, minute(25));
    let mut localities = Localities::default();
    for minutes in 1..30 {
        localities.run(&tables, &config, RATE, minute(minutes));
        assert_eq!(kept(&tables), 2, "minute {minutes}");
    }
    localities.run(&tables, &config, RATE, minute(30));
    assert_eq!(kept(&tables), 1);
    for minutes in 31..60 {
        localities.run(&tables, &config, RATE, minute(minutes));
    }
    assert_eq!(kept(&tables), 1);
    localities.run(&tables, &config, RATE, minute(60));
    assert_eq!(kept(&tables), 0);
}

#[test]
fn a_full_service_loses_idle_entries_bucket_by_bucket() {
    let (tables, config) = (tables(), config(86_400));
    let now = Tick(1_000_000);
    let count = MOST as u32 + 300;
    for index in 0..count {
        let idle = if index % 2 == 0 { IDLE + 10 } else { 1 };
        let used = Tick(now.0 - RATE.ticks(idle));
        keep(
            &tables,
            index,
            ID,
            u32::from(Ipv4Addr::from(index)).to_be(),
            used,
        );
    }
    let mut localities = Localities::default();
    localities.run(&tables, &config, RATE, now);
    let dropped = count as usize - kept(&tables);
    assert!(
        (400..450).contains(&dropped),
        "the goal is 400, and a bucket is finished: {dropped}"
    );
    let rover = localities.timers[&ID].rover;
    assert!(rover > 0);
    localities.run(&tables, &config, RATE, now);
    assert_eq!(
        kept(&tables),
        count as usize - dropped,
        "there is room again"
    );
    assert_eq!(localities.timers[&ID].runs, 2);
}

#[test]
fn entries_of_a_service_that_is_gone_go_at_once() {
    let (tables, config) = (tables(), config(86_400));
    keep(&tables, 1, ID, 1, Tick(5));
    keep(&tables, 2, ID + 1, 1, Tick(5));
    Localities::default().run(&tables, &config, RATE, Tick(6));
    assert_eq!(kept(&tables), 1);
    assert_eq!(servers(&tables, &config), BTreeSet::from([7]));
    tables.services[ID as usize][live::service::CACHE_AGE].store(1);
    assert_eq!(servers(&tables, &config), BTreeSet::new());
    Localities::default().run(&tables, &config, RATE, Tick(6));
    assert_eq!(kept(&tables), 0);
}
