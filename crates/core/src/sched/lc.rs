//! `lc`, least connection: the destination with the least 256 x active + inactive, weights (but 0) ignored.
//!
//! Stateless; the first in list order wins a tie. Source: Linux 6.1, observed.

use super::Service;
use crate::env::Tables;

/// Place of the least loaded destination. `None`: none takes new connections.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> Option<u32> {
    let count = service.count;
    let mut best = (count, u32::MAX);
    tables.scan(count, |place| {
        let Some(candidate) = service.candidate(tables, place) else {
            return false;
        };
        let overhead = candidate.overhead();
        if candidate.takes_new && (best.0 == count || overhead < best.1) {
            best = (place, overhead);
        }
        true
    });
    if best.0 == count { None } else { Some(best.0) }
}
