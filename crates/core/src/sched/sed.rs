//! `sed`, shortest expected delay: the least (active connections + 1) per unit of weight.
//!
//! Connections that never become active, those of UDP above all, do not count: the greatest weight then takes them all.
//! Stateless; the first in list order wins a tie. Source: Linux 6.1, observed.

use super::least::least;
use super::{Candidate, Service};
use crate::env::Tables;

/// Place of the destination where one connection more waits least. `None`: none takes new connections.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> Option<u32> {
    least(tables, service, delay)
}

/// What a connection more would find: itself and the active ones.
#[inline(always)]
pub(super) fn delay(candidate: &Candidate) -> u32 {
    candidate.active().wrapping_add(1)
}
