//! `lblc`, locality-based least connection: connections to an address stay with its server while that is not overloaded.
//!
//! For caches: a server sees few addresses, each again and again. An address without a server gets that of `wlc`, and so
//! does one whose server has more active connections than its weight while some destination has less than half of its own.
//! That the cached server is over its upper threshold is not looked at. Source: Linux 6.1, observed.

use super::cache::{self, Entry, Key, NOBODY};
use super::{Candidate, NO_PLACE, Request, Service, wlc};
use crate::env::{Env, Tables};
use crate::generation::TIMEOUT_LBLC;

/// Place of the address's server, else that of the least loaded one for its weight. `None`: none takes new connections.
#[inline(always)]
pub fn pick<E: Env>(env: &E, service: &Service, request: &Request) -> Option<u32> {
    let key = Key::new(env, service, request);
    let mut entry = Entry::default();
    let lifetime = service.timeout(env, TIMEOUT_LBLC);
    let is_found = cache::find(env, &key, lifetime, &mut entry) != 0;
    let cached = if is_found {
        entry.server(env, 0)
    } else {
        NOBODY
    };
    if cached != NOBODY {
        let place = service.find(env, cached);
        if place < service.count
            && let Some(server) = service.candidate(env, place)
            && server.weight != 0
            && !is_busy(env, service, &server)
        {
            return Some(place);
        }
    }
    let place = wlc::pick_of_all(env, service);
    if place == NO_PLACE {
        return None;
    }
    let id = service.candidate(env, place)?.id;
    if !is_found {
        cache::create(env, &key, id);
    } else if cached != id {
        cache::put(env, &entry, 0, id);
    }
    Some(place)
}

/// Whether a server has more active connections than its weight, while some destination of the service has less than half
/// of its own, whether or not it takes new connections.
#[inline(always)]
pub(super) fn is_busy<T: Tables>(tables: &T, service: &Service, server: &Candidate) -> bool {
    server.active() > server.weight && somebody_idles(tables, service) != 0
}

#[inline(never)]
fn somebody_idles<T: Tables>(tables: &T, service: &Service) -> u32 {
    let mut found = 0;
    tables.scan(service.count, |place| {
        let Some(other) = service.candidate(tables, place) else {
            return false;
        };
        if u64::from(other.active()) * 2 < u64::from(other.weight) {
            found = 1;
        }
        found == 0
    });
    found
}

#[cfg(test)]
mod tests;
