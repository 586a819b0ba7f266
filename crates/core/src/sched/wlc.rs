//! `wlc`, weighted least connection: what `ipvsadm -A` uses when no scheduler is named.
//!
//! The least (256 x active + inactive) per unit of weight, compared by cross multiplication; the first in
//! list order wins a tie. Source: Linux 6.1, observed.

use super::least::least;
use super::{Candidate, Service, groups, place_or_none};
use crate::env::Tables;

/// Place of the destination with the least load for its weight, or `NO_PLACE` when none takes new connections. Cost: each
/// destination of a short list; of a longer one a destination of each [group](groups), and all of those in which something moved.
#[inline(never)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> u32 {
    if service.count <= groups::GROUP {
        return pick_of_all(tables, service);
    }
    place_or_none(groups::least(tables, service))
}

/// The same by a look at each destination: also for lblc and lblcr, which ask seldom and leave BPF's stack no room for groups.
#[inline(never)]
pub(super) fn pick_of_all<T: Tables>(tables: &T, service: &Service) -> u32 {
    place_or_none(least(tables, service, Candidate::overhead))
}
