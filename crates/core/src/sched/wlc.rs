//! `wlc`, weighted least connection: what `ipvsadm -A` uses when no scheduler is named.
//!
//! The least (256 x active + inactive) per unit of weight, compared by cross multiplication. Stateless; the first in
//! list order wins a tie. Source: Linux 6.1, observed.

use super::Service;
use crate::env::Tables;

/// Place of the destination with the least load for its weight. `None`: none takes new connections.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> Option<u32> {
    let count = service.count;
    // (place, overhead, weight)
    let mut best = (count, 0u32, 0u32);
    tables.scan(count, |place| {
        let Some(candidate) = service.candidate(tables, place) else {
            return false;
        };
        let overhead = candidate.overhead();
        // best.overhead / best.weight > overhead / weight; below 2^32 x 2^31, so the product fits.
        let lighter = u64::from(best.1) * u64::from(candidate.weight)
            > u64::from(overhead) * u64::from(best.2);
        if candidate.takes_new && (best.0 == count || lighter) {
            best = (place, overhead, candidate.weight);
        }
        true
    });
    if best.0 == count { None } else { Some(best.0) }
}
