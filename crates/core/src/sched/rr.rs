//! `rr`, round robin: each destination in turn, whatever its weight (but 0).
//!
//! The cursor is the id of the last pick plus one, 0 before the first. The search begins behind it and ends with it;
//! without a pick it stays. Source: Linux 6.1, observed.

use super::Service;
use crate::env::Tables;
use lvsx_platform::hide;

/// Tries to move the cursor when other CPUs move it too; the last one's pick stands all the same.
const TRIES: u64 = 8;

/// Place of the next destination in turn. `None`: none takes new connections.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> Option<u32> {
    let cursor = &tables.service(service.head.id)?[0];
    let count = service.head.destinations;
    let mut tries = 0;
    let mut picked = None;
    while hide(tries) < TRIES {
        tries += 1;
        let last = cursor.load();
        let start = match last as u32 {
            0 => 0,
            id => match service.place_of(tables, id.wrapping_sub(1)) {
                place if place == count => 0,
                place => place.wrapping_add(1),
            },
        };
        let mut found = (count, 0);
        tables.scan(count, |step| {
            let mut place = start.wrapping_add(step);
            if place >= count {
                place = place.wrapping_sub(count);
            }
            match service.candidate(tables, place) {
                Some(candidate) if candidate.takes_new => {
                    found = (place, candidate.id);
                    false
                }
                Some(_) => true,
                None => false,
            }
        });
        let (place, id) = found;
        if place == count {
            return None;
        }
        picked = Some(place);
        if cursor.compare_exchange(last, u64::from(id) + 1).is_ok() {
            break;
        }
    }
    picked
}
