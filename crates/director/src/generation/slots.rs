//! The hash tables of sh and mh: laid out with the service's block, read by packets slot by slot.
//!
//! dh needs none: the slot's number tells the place.

use crate::config::{DestinationConfig, ServiceConfig};
use lvsx_core::generation::{SLOTS, SchedulerKind, encode_slots};
use lvsx_core::sched::{fold4, fold6, mh, sh};
use std::net::IpAddr;

/// Lines of a service's hash table; none if its scheduler has none.
pub(super) fn slot_lines(service: &ServiceConfig) -> Vec<[u64; 8]> {
    let destinations = &service.destinations;
    let slots = match service.scheduler {
        SchedulerKind::SourceHash => {
            let weights: Vec<u32> = destinations.iter().map(|it| it.settings.weight).collect();
            sh::deal(&weights).to_vec()
        }
        SchedulerKind::Maglev => {
            let mut claimants: Vec<mh::Claimant> = destinations.iter().map(claimant).collect();
            let mut slots = [None; mh::SLOTS];
            mh::fill(&mut claimants, &mut slots);
            slots.to_vec()
        }
        _ => Vec::new(),
    };
    slots.chunks(SLOTS as usize).map(encode_slots).collect()
}

/// Number of lines that [`slot_lines`] gives.
pub(super) fn slot_line_count(scheduler: SchedulerKind) -> u32 {
    let slots = match scheduler {
        SchedulerKind::SourceHash => sh::SLOTS as u32,
        SchedulerKind::Maglev => mh::SLOTS as u32,
        _ => 0,
    };
    slots.div_ceil(SLOTS)
}

fn claimant(destination: &DestinationConfig) -> mh::Claimant {
    let word = |bytes: &[u8]| {
        bytes
            .first_chunk()
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    };
    let address = match destination.key.addr {
        IpAddr::V4(address) => fold4(super::raw_address(address)),
        IpAddr::V6(address) => {
            let octets = address.octets();
            fold6([word(&octets[..8]), word(&octets[8..])])
        }
    };
    mh::Claimant::new(address, destination.key.port, destination.last_weight)
}
