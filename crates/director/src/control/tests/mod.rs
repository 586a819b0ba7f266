//! The director over plain memory: answers of the operations, what packets then see, what a restart finds.

mod edits;
mod families;
mod listings;
mod marks;
mod ours;
mod refusals;
mod schedulers;
mod schedules;
mod settings;
mod statistics;
mod wholes;

use super::*;
use crate::addresses::{AddressKind, LocalRoute};
use crate::generation::{Readers, raw_address, table_key};
use crate::tables::Capacity;
use lvsx_core::env::{Env, Route, Scratch};
use lvsx_core::generation::{RootLine, live::tally};
use lvsx_core::host::raw4;
use lvsx_core::sched;
use lvsx_core::tick::{Tick, TickRate};
use lvsx_ipvs::{
    DestinationKey, DestinationSettings, Director, Family, FlagChange, ForwardingMethod, Netmask,
    ServiceFlags, ServiceSettings, SyncDaemon, SyncRole, Timeouts, Tunnel, TunnelType,
};
use std::net::{Ipv4Addr, Ipv6Addr};

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

pub(crate) fn director() -> Control {
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

    fn milliseconds(&self) -> u32 {
        0
    }

    fn random(&self) -> u32 {
        0x5eed
    }

    fn port(&self, _number: u32) -> Option<&Line> {
        None
    }

    fn scratch(&self) -> Option<&Scratch> {
        None
    }

    fn route4(&self, _ingress: u32, _to: u32) -> Route {
        Route::None
    }

    fn route6(&self, _ingress: u32, _to: [u64; 2]) -> Route {
        Route::None
    }
}

/// The next pick of the scheduler in force, by the number of the server; counted as an active connection if `is_kept`.
fn pick(control: &Control, is_kept: bool) -> Option<u8> {
    let tables = &*control.tables;
    let root = RootLine::current(tables)?;
    let block = root.service(tables, table_key(&service(), root.seed)?)?;
    let service = sched::Service::read(tables, root.timeouts, block)?;
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
