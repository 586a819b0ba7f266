//! The director's state for the operator, as JSON: `lvsx status` prints it.

use crate::connections;
use crate::control::Control;
use lvsx_core::env::state;
use lvsx_core::event::Event;
use lvsx_ipvs::{Director, ForwardingMethod, ServiceKey, Stats};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Where packets are served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Serving {
    /// `tc`, `xdp`.
    pub mode: &'static str,
    /// The interfaces whose packets are looked at.
    pub interfaces: Vec<Interface>,
    /// Why interfaces that should be served are not.
    pub problems: Vec<String>,
}

/// A served interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// How the program sits there: `tcx`, `clsact`, `xdp`.
    pub hook: &'static str,
}

/// The state, with everything counted since the tables were made.
#[must_use]
pub fn text(control: &Control, serving: &Serving) -> String {
    let (tables, clock) = (control.tables(), control.clock());
    let live = connections::count(tables, clock.now());
    let areas = &tables.state[state::CONNECTIONS as usize];
    let overflow = areas[state::OVERFLOW4].load() + areas[state::OVERFLOW6].load();
    let events: Map<String, Value> = Event::ALL
        .iter()
        .map(|event| (event.name().to_owned(), tables.counted(*event).into()))
        .collect();
    let state = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "layout": lvsx_core::LAYOUT,
        "pid": std::process::id(),
        "tick": {
            "hz": clock.rate.hz,
            "shift": clock.rate.shift,
            "milliseconds": f64::from(1u32 << clock.rate.shift) * 1000.0 / f64::from(clock.rate.hz),
        },
        "serving": serving,
        "generation": control.generation(),
        "services": services(control),
        "connections": {
            "live": live,
            "rated": tables.capacity.connections,
            "overflow": overflow,
        },
        "tables": { "bytes": tables.bytes(), "connection_bytes": tables.connection_bytes() },
        "total": counters(&control.total()),
        "events": events,
    });
    state.to_string()
}

fn services(control: &Control) -> Vec<Value> {
    let listed = control.services();
    let entries = listed.iter().map(|service| {
        let destinations: Vec<Value> = control
            .destinations(&service.key)
            .unwrap_or_default()
            .iter()
            .map(|destination| {
                json!({
                    "address": destination.key.addr,
                    "port": destination.key.port,
                    "method": method(destination.settings.method),
                    "weight": destination.settings.weight,
                    "active": destination.active,
                    "inactive": destination.inactive,
                    "stats": counters(&destination.stats),
                })
            })
            .collect();
        let identity = match service.key {
            ServiceKey::Address {
                protocol,
                addr,
                port,
            } => {
                json!({ "protocol": protocol_name(protocol), "address": addr, "port": port })
            }
            ServiceKey::Mark { mark, .. } => json!({ "mark": mark }),
        };
        json!({
            "key": identity,
            "scheduler": service.scheduler.as_deref().unwrap_or("none"),
            "stats": counters(&service.stats),
            "destinations": destinations,
        })
    });
    entries.collect()
}

/// The word that `ipvsadm -L` shows for a forwarding method.
fn method(method: ForwardingMethod) -> &'static str {
    match method {
        ForwardingMethod::Local => "Local",
        ForwardingMethod::Tunnel => "Tunnel",
        ForwardingMethod::DirectRouting => "Route",
        _ => "Masq",
    }
}

fn protocol_name(protocol: u16) -> String {
    match protocol {
        6 => "TCP".into(),
        17 => "UDP".into(),
        other => other.to_string(),
    }
}

fn counters(stats: &Stats) -> Value {
    json!({
        "connections": stats.connections,
        "in_packets": stats.in_packets,
        "out_packets": stats.out_packets,
        "in_bytes": stats.in_bytes,
        "out_bytes": stats.out_bytes,
    })
}
