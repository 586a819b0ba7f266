//! `lc`, least connection: the destination with the least 256 x active + inactive, weights (but 0) ignored.
//!
//! Stateless; the first in list order wins a tie. Source: Linux 6.1, observed.

use super::Service;
use super::least::Best;
use crate::env::Tables;

/// Place of the least loaded destination. `None`: none takes new connections.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> Option<u32> {
    let mut best = Best::none(service.count);
    tables.scan(service.count, |place| {
        let Some(candidate) = service.candidate(tables, place) else {
            return false;
        };
        if candidate.takes_new() {
            best.consider(place, candidate.overhead(), 1);
        }
        true
    });
    best.place()
}
