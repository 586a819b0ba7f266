//! The ledger: where counting of each destination, service and of the whole began. A file of lines beside the socket,
//! mapped, so that it outlives the director as the tallies do.
//!
//! | line | holds |
//! |---|---|
//! | 0 | word 0 which tables it belongs to, word 1 the highest destination id ever used plus one |
//! | 1 | tallies of all destinations when the total was zeroed |
//! | 2 + 2 id | tally of destination id when it was zeroed; word 7: it counts for a service |
//! | 3 + 2 id | its tally when its service began to count it |
//! | 2 + 2 destinations + id | what removed destinations brought to service id |

use super::Counters;
use crate::config::ServiceConfig;
use crate::mapping::Shared;
use crate::tables::{Capacity, Tables};
use lvsx_platform::Line;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// First word of a ledger, before the tables' own number is mixed in.
const MAGIC: u64 = u64::from_be_bytes(*b"lvsxled1");
/// Word that says whether a destination counts for a service.
const COUNTS: usize = 7;
/// Word of the head line with the highest destination id ever used plus one.
const USED: usize = 1;

/// The ledger.
pub struct Ledger {
    lines: Shared<Line>,
    destinations: u32,
}

impl Ledger {
    fn lines_for(capacity: &Capacity) -> u32 {
        2 + 2 * capacity.destinations + capacity.services
    }

    /// A ledger in plain memory.
    #[must_use]
    pub fn plain(capacity: &Capacity) -> Self {
        Self {
            lines: Shared::plain(Self::lines_for(capacity)),
            destinations: capacity.destinations,
        }
    }

    /// The ledger at `path`, which is made if it is not there and begun anew if it belongs to other tables.
    ///
    /// # Errors
    /// Those of the file and of `mmap`.
    pub fn open(path: &Path, capacity: &Capacity) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        let lines = Self::lines_for(capacity);
        file.set_len(u64::from(lines) * size_of::<Line>() as u64)?;
        let lines: Shared<Line> = Shared::map(file.as_fd(), lines)?;
        let mine = MAGIC ^ capacity.geometry.seed;
        if lines[0][0].load() != mine {
            lines.iter().flatten().for_each(|word| word.poke(0));
            lines[0][0].store(mine);
        }
        Ok(Self {
            lines,
            destinations: capacity.destinations,
        })
    }

    fn zeroed(&self, id: u32) -> &Line {
        &self.lines[2 + 2 * id as usize]
    }

    fn counted_from(&self, id: u32) -> &Line {
        &self.lines[3 + 2 * id as usize]
    }

    fn retired(&self, service: u32) -> &Line {
        &self.lines[2 + 2 * self.destinations as usize + service as usize]
    }

    /// What destination `id` counted since it was zeroed.
    #[must_use]
    pub fn destination(&self, tables: &Tables, id: u32) -> Counters {
        Counters::tally(tables, id) - Counters::read(self.zeroed(id))
    }

    /// What a service counted since it was zeroed.
    #[must_use]
    pub fn service(&self, tables: &Tables, id: u32, service: &ServiceConfig) -> Counters {
        service
            .destinations
            .iter()
            .fold(Counters::read(self.retired(id)), |sum, destination| {
                sum + Counters::tally(tables, destination.id)
                    - Counters::read(self.counted_from(destination.id))
            })
    }

    /// What everything counted since it was zeroed.
    #[must_use]
    pub fn total(&self, tables: &Tables) -> Counters {
        self.all(|id| Counters::tally(tables, id)) - Counters::read(&self.lines[1])
    }

    /// What one CPU counted since the tables were made.
    #[must_use]
    pub fn total_of_cpu(&self, tables: &Tables, cpu: u32) -> Counters {
        self.all(|id| Counters::tally_of_cpu(tables, cpu, id))
    }

    fn all(&self, tally: impl Fn(u32) -> Counters) -> Counters {
        let used = (self.lines[0][USED].peek() as u32).min(self.destinations);
        (0..used)
            .map(tally)
            .fold(Counters::default(), std::ops::Add::add)
    }

    /// A new service of this id has counted nothing.
    pub fn begin_service(&self, id: u32) {
        Counters::default().write(self.retired(id));
    }

    /// From now on destination `id` counts for a service; `anew`: for itself, too, it begins at 0.
    pub fn join(&self, tables: &Tables, id: u32, anew: bool) {
        let now = Counters::tally(tables, id);
        if anew {
            now.write(self.zeroed(id));
        }
        now.write(self.counted_from(id));
        self.zeroed(id)[COUNTS].store(1);
        let used = &self.lines[0][USED];
        used.store(used.peek().max(u64::from(id) + 1));
    }

    /// Destination `id` has left its service, which keeps what it brought. Nothing happens a second time.
    pub fn leave(&self, tables: &Tables, service: u32, id: u32) {
        if self.zeroed(id)[COUNTS].peek() == 0 {
            return;
        }
        let brought = Counters::tally(tables, id) - Counters::read(self.counted_from(id));
        (Counters::read(self.retired(service)) + brought).write(self.retired(service));
        self.zeroed(id)[COUNTS].store(0);
    }

    /// Zeroes a service and its destinations.
    pub fn zero_service(&self, tables: &Tables, id: u32, service: &ServiceConfig) {
        self.begin_service(id);
        for destination in &service.destinations {
            self.join(tables, destination.id, true);
        }
    }

    /// Zeroes the total.
    pub fn zero_total(&self, tables: &Tables) {
        self.all(|id| Counters::tally(tables, id))
            .write(&self.lines[1]);
    }
}
