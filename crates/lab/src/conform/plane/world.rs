//! The director's tables with a clock and routes: what decisions on this host see of the world.

use lvsx_core::conn::{Entry4, Entry6, Set};
use lvsx_core::env::{self, Env, Route, Scratch};
use lvsx_core::tick::Tick;
use lvsx_director::generation::{raw_address, raw_words};
use lvsx_director::tables::Tables;
use lvsx_platform::Line;
use std::net::IpAddr;

use super::super::addresses::{Mac, Port, SERVERS, server};
use super::super::scenario::Site;

/// The director's tables with a clock and routes, as decisions on this host see them.
pub(super) struct World<'a> {
    pub(super) tables: &'a Tables,
    pub(super) now: Tick,
    /// The last one is for all others.
    pub(super) routes: Vec<(u32, Route)>,
    /// Likewise.
    pub(super) routes6: Vec<([u64; 2], Route)>,
    pub(super) scratch: Scratch,
}

impl env::Tables for World<'_> {
    fn config(&self, index: u32) -> Option<&Line> {
        env::Tables::config(self.tables, index)
    }

    fn state(&self, index: u32) -> Option<&Line> {
        env::Tables::state(self.tables, index)
    }

    fn set4(&self, index: u32) -> Option<&Set<Entry4>> {
        self.tables.set4(index)
    }

    fn set6(&self, index: u32) -> Option<&Set<Entry6>> {
        self.tables.set6(index)
    }

    fn geometry(&self) -> env::Geometry {
        self.tables.geometry()
    }

    fn tunnel(&self, id: u32) -> Option<&Line> {
        self.tables.tunnel(id)
    }

    fn cache(&self, index: u32) -> Option<&Line> {
        env::Tables::cache(self.tables, index)
    }

    fn destination(&self, id: u32) -> Option<&Line> {
        self.tables.destination(id)
    }

    fn service(&self, id: u32) -> Option<&Line> {
        self.tables.service(id)
    }

    fn tally(&self, id: u32) -> Option<&Line> {
        self.tables.tally(id)
    }

    fn packets_in(&self, id: u32) -> u64 {
        self.tables.packets_in(id)
    }

    fn count_number(&self, number: u32) {
        self.tables.count_number(number);
    }

    fn scan(&self, count: u32, look: impl FnMut(u32) -> bool) {
        self.tables.scan(count, look);
    }
}

impl Env for World<'_> {
    fn now(&self) -> Tick {
        self.now
    }

    fn port(&self, number: u32) -> Option<&Line> {
        self.tables.ports.get(number as usize)
    }

    fn milliseconds(&self) -> u32 {
        // Ticks as on a kernel of 250 Hz.
        self.now.0.wrapping_mul(64)
    }

    fn random(&self) -> u32 {
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) as u32
    }

    fn scratch(&self) -> Option<&Scratch> {
        Some(&self.scratch)
    }

    fn route6(&self, _ingress: u32, to: [u64; 2]) -> Route {
        known(&self.routes6, to)
    }

    fn route4(&self, _ingress: u32, to: u32) -> Route {
        known(&self.routes, to)
    }
}

/// Next hops by raw IPv4 address; whoever is not among them is behind the gateway.
pub(super) fn routes(site: &Site, links: &[u32]) -> Vec<(u32, Route)> {
    let interface = links.get(usize::from(site.two_armed)).copied().unwrap_or(0);
    let hop = |number: u8| match server(number, site.two_armed, false) {
        IpAddr::V4(address) => Some((
            raw_address(address),
            Route::To {
                interface,
                address: raw(Port::Server(number).mac()),
            },
        )),
        IpAddr::V6(_) => None,
    };
    let gateway = Route::To {
        interface: links.first().copied().unwrap_or(0),
        address: raw(Port::Gateway.mac()),
    };
    (1..=SERVERS)
        .filter_map(hop)
        .chain([(0, gateway)])
        .collect()
}

/// The same of IPv6.
pub(super) fn routes6(site: &Site, links: &[u32]) -> Vec<([u64; 2], Route)> {
    let interface = links.get(usize::from(site.two_armed)).copied().unwrap_or(0);
    let hop = |number: u8| {
        let address = raw_words(server(number, site.two_armed, true));
        let route = Route::To {
            interface,
            address: raw(Port::Server(number).mac()),
        };
        (address, route)
    };
    let gateway = Route::To {
        interface: links.first().copied().unwrap_or(0),
        address: raw(Port::Gateway.mac()),
    };
    (1..=SERVERS).map(hop).chain([([0; 2], gateway)]).collect()
}

/// The way to an address among these, of which the last is for all others.
pub(super) fn known<A: PartialEq + Copy>(routes: &[(A, Route)], to: A) -> Route {
    let known = routes.iter().find(|(address, _)| *address == to);
    known
        .or(routes.last())
        .map_or(Route::None, |(_, route)| *route)
}

/// A link-layer address as tables hold it.
pub(super) fn raw(mac: Mac) -> u64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&mac);
    u64::from_ne_bytes(bytes)
}
