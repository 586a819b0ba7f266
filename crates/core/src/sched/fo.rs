//! `fo`, weighted failover: the destination with the greatest weight takes everything while it can.
//!
//! Stateless; the first in list order wins a tie. Source: Linux 6.1, observed.

use super::{Candidate, Service};
use crate::env::Tables;

/// Place of the heaviest destination. `None`: none takes new connections.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> Option<u32> {
    heaviest(tables, service, |candidate| candidate.takes_new())
}

/// Place of the heaviest destination of those that `suits` lets pass, the first in list order on a tie.
#[inline(always)]
pub(super) fn heaviest<T: Tables>(
    tables: &T,
    service: &Service,
    suits: impl Fn(&Candidate) -> bool,
) -> Option<u32> {
    let count = service.count;
    // (place, weight)
    let mut best = (count, 0);
    tables.scan(count, |place| {
        let Some(candidate) = service.candidate(tables, place) else {
            return false;
        };
        if candidate.weight > best.1 && suits(&candidate) {
            best = (place, candidate.weight);
        }
        true
    });
    if best.0 == count { None } else { Some(best.0) }
}
