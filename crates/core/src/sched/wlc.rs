//! `wlc`, weighted least connection: what `ipvsadm -A` uses when no scheduler is named.
//!
//! The least (256 x active + inactive) per unit of weight, compared by cross multiplication. Stateless; the first in
//! list order wins a tie. Source: Linux 6.1, observed.

use super::least::least;
use super::{Candidate, Service, place_or_none};
use crate::env::Tables;

/// Place of the destination with the least load for its weight, or `NO_PLACE` when none takes new connections. In a frame of
/// its own, because lblc and lblcr ask, too.
#[inline(never)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> u32 {
    place_or_none(least(tables, service, Candidate::overhead))
}
