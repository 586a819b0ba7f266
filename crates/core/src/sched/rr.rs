//! `rr`, round robin: each destination in turn, whatever its weight (but 0).
//!
//! The cursor is the id of the last pick plus one, 0 before the first. The search begins behind it and ends with it;
//! without a pick it stays. Source: Linux 6.1, observed.

use super::Service;
use crate::env::Tables;
use lvsx_platform::hide;

/// Tries to move the cursor when other CPUs move it too; the last one's pick stands all the same.
const TRIES: u64 = 2;

/// Place of the next destination in turn. `None`: none takes new connections.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service) -> Option<u32> {
    let cursor = &tables.service(service.id)?[0];
    let count = service.count;
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
        let mut turn = Turn {
            place: start,
            id: NOBODY,
        };
        // As a rule the first one takes it; then no loop is set up.
        if turn.advance(tables, service) {
            tables.scan(count, |_| turn.advance(tables, service));
        }
        if turn.id == NOBODY {
            return None;
        }
        picked = Some(turn.place);
        if cursor
            .compare_exchange(last, u64::from(turn.id) + 1)
            .is_ok()
        {
            break;
        }
    }
    picked
}

/// A search: the place looked at next or found, and who was found there.
struct Turn {
    place: u32,
    id: u32,
}

const NOBODY: u32 = u32::MAX;

impl Turn {
    /// One destination. `false`: the search is over.
    #[inline(always)]
    fn advance<T: Tables>(&mut self, tables: &T, service: &Service) -> bool {
        if self.place >= service.count {
            self.place = 0;
        }
        let Some(candidate) = service.candidate(tables, self.place) else {
            return false;
        };
        if candidate.takes_new() {
            self.id = candidate.id;
            return false;
        }
        self.place = self.place.wrapping_add(1);
        true
    }
}
