//! `lblcr`, locality-based least connection with replication: connections to an address stay with its set of servers.
//!
//! The least loaded server of the set for its weight takes the connection, unless it is busy as [`lblc`] has
//! it; then the least loaded of the whole service does and joins the set. A set that has not changed for `lblcr_expiration`
//! loses its most loaded server. Source: Linux 6.1, observed.
//!
//! A set holds at most [`SERVERS`] servers; one more is used and not kept. A server that does not belong to the service any
//! more stays in the set but is never its most loaded one.

use super::cache::{self, Entry, Key, NOBODY, SERVERS};
use super::least::Best;
use super::{NO_PLACE, Request, Service, lblc, place_or_none, wlc};
use crate::env::{Env, Tables};
use crate::generation::TIMEOUT_LBLCR;

/// Place of the least loaded server of the address's set, else of the service. `None`: none takes new connections.
#[inline(always)]
pub fn pick<E: Env>(env: &E, service: &Service, request: &Request) -> Option<u32> {
    let key = Key::new(env, service, request);
    let lifetime = service.timeout(env, TIMEOUT_LBLCR);
    let mut entry = Entry::default();
    let is_found = cache::find(env, &key, lifetime, &mut entry) != 0;
    if is_found {
        let seen = Seen(look(env, service, &entry));
        if seen.has_two() && entry.changed().after(lifetime).is_before(env.now()) {
            cache::put(env, &entry, seen.most(), NOBODY);
            // The entry is another now.
            cache::find(env, &key, lifetime, &mut entry);
        }
        if let Some(server) = service.candidate(env, seen.least())
            && seen.least() < service.count
            && !lblc::is_busy(env, service, &server)
        {
            return Some(seen.least());
        }
    }
    let place = wlc::pick_of_all(env, service);
    if place == NO_PLACE {
        return None;
    }
    let id = service.candidate(env, place)?.id;
    if !is_found {
        cache::create(env, &key, id);
        return Some(place);
    }
    let room = room_for(env, &entry, id);
    if room < SERVERS {
        cache::put(env, &entry, room, id);
    }
    Some(place)
}

/// What a look at an address's set tells, as the one number that a BPF function can return: the place in the service's list
/// of the least loaded server (32 bits), the place in the set of the most loaded one if there are two or more.
#[derive(Clone, Copy)]
struct Seen(u64);

impl Seen {
    /// `NO_PLACE` if no server of the set takes new connections.
    #[inline(always)]
    fn least(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    fn has_two(self) -> bool {
        self.most() < SERVERS
    }

    /// [`SERVERS`] if no server may leave.
    #[inline(always)]
    fn most(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Walks through the set, oldest server first: a [`Seen`]. Not inlined, for BPF's stack.
#[inline(never)]
fn look<T: Tables>(tables: &T, service: &Service, entry: &Entry) -> u64 {
    let mut set = Set {
        has_one: false,
        has_two: false,
        least: Best::none(service.count),
        most: Most {
            place: SERVERS,
            load: 0,
            weight: 0,
        },
    };
    tables.scan(entry.end().min(SERVERS), |place| {
        let id = entry.server(tables, place);
        if id != NOBODY {
            set.meet(tables, service, id, place);
        }
        true
    });
    let most = if set.has_two { set.most.place } else { SERVERS };
    u64::from(place_or_none(set.least.place())) | u64::from(most) << 32
}

/// What a walk has met so far.
struct Set {
    /// Whether there is a server, and a second one; those that left the service count.
    has_one: bool,
    has_two: bool,
    least: Best,
    most: Most,
}

/// The server with the greatest load for its weight.
struct Most {
    place: u32,
    load: u32,
    /// 0 while there is none.
    weight: u32,
}

impl Set {
    /// Takes note of a server and its load.
    #[inline(always)]
    fn meet<T: Tables>(&mut self, tables: &T, service: &Service, id: u32, place: u32) {
        self.has_two |= self.has_one;
        self.has_one = true;
        let at = service.place_near(tables, id);
        if at >= service.count {
            return;
        }
        let Some(server) = service.candidate(tables, at) else {
            return;
        };
        let (load, weight) = (server.overhead(), server.weight);
        // From the oldest on, while the kernel goes from the newest on: the later of equals counts.
        if server.takes_new() {
            self.least.consider_later(at, load, weight);
        }
        let ours = u64::from(load) * u64::from(self.most.weight);
        if weight != 0 && ours >= u64::from(self.most.load) * u64::from(weight) {
            self.most = Most {
                place,
                load,
                weight,
            };
        }
    }
}

/// The place that a server takes when it joins the set: behind all others or, if there is no room, one that another left.
/// [`SERVERS`]: it is in the set, or the set is full. Not inlined, for BPF's stack.
#[inline(never)]
fn room_for<E: Env>(env: &E, entry: &Entry, id: u32) -> u32 {
    let (mut is_in, mut gap) = (false, SERVERS);
    env.scan(entry.end().min(SERVERS), |place| {
        let server = entry.server(env, place);
        if server == NOBODY {
            gap = place;
        }
        is_in = server == id;
        !is_in
    });
    if is_in {
        SERVERS
    } else if entry.end() < SERVERS {
        entry.end()
    } else {
        gap
    }
}

#[cfg(test)]
mod tests;
