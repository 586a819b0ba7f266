//! `nq`, never queue: the first destination without an active connection; if there is none, as `sed`.
//!
//! Stateless. Source: Linux 6.1, observed.

use super::Service;
use super::least::Best;
use super::sed::delay;
use crate::env::Tables;

/// Place of the first idle destination in list order, whatever its weight, else that of the shortest delay. `None`: none
/// takes new connections.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> Option<u32> {
    let mut best = Best::none(service.count);
    tables.scan(service.count, |place| {
        let Some(candidate) = service.candidate(tables, place) else {
            return false;
        };
        if !candidate.takes_new() {
            return true;
        }
        if candidate.active() == 0 {
            best.take(place, 0, candidate.weight);
            return false;
        }
        best.consider(place, delay(&candidate), candidate.weight);
        true
    });
    best.place()
}
