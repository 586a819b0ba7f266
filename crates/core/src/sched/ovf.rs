//! `ovf`, weighted overflow: the destination with the greatest weight until it has more active connections than its weight
//! says, then the next one.
//!
//! So each takes one connection more than its weight; with all of them full nobody is picked. Stateless; the first in list
//! order wins a tie. Source: Linux 6.1, observed.

use super::Service;
use super::fo::heaviest;
use crate::env::Tables;

/// Place of the heaviest destination that is not full. `None`: none takes new connections.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> Option<u32> {
    heaviest(tables, service, |candidate| {
        candidate.takes_new() && candidate.active() <= candidate.weight
    })
}
