//! The locality cache of lblc and lblcr: which servers the connections to an address were given lately.
//!
//! One table for all services. An entry, four lines, holds an address of a service and up to 78 servers; it lies in one of
//! 16 places from the one its key hashes to.
//!
//! | word | holds |
//! |---|---|
//! | 0 | control: phase (2 bits: free, being written, live), then a number that each writing moves |
//! | 1 | service id, age of the service's cache << 32 |
//! | 2, 3 | the address: 16 bytes raw, an IPv4 address in the first four |
//! | 4 | tick of the last use, tick of the last change to the servers << 32 |
//! | 5 | places in use |
//! | 6-31 | servers, three a word: id + 1 in 20 bits, 0 for one that left; oldest first |
//!
//! A writer takes an entry by moving its control word and gives it back by another move; a reader that finds the word
//! moved after reading has found nothing. Nobody waits: who loses a race does without the cache, and of two entries of one
//! address made at the same time the one that look-ups find stays. Only programs write, so none is left half written; the
//! director frees whole entries by one move of the control word. When all 16 places are taken, the entry that was used
//! longest ago gives way.
//!
//! The kernel's tables have no bound between two runs of their timers; this one holds [`ENTRIES`] of all services together.

use super::{Request, Service};
use crate::env::{Env, Tables};
use crate::generation::{live, spread};
use crate::tick::Tick;
use lvsx_platform::{Line, Word, fence};

/// Entries. A power of two.
pub const ENTRIES: u32 = 32_768;

/// Lines of an entry.
const ENTRY_LINES: u32 = 4;

/// Lines of the table.
pub const LINES: u32 = ENTRIES * ENTRY_LINES;

/// Places that an entry may lie in.
const WINDOW: u32 = 16;

/// Servers in an entry.
pub const SERVERS: u32 = 78;

const CONTROL: usize = 0;
const OWNER: usize = 1;
const ADDRESS: usize = 2;
const TIMES: usize = 4;
const END: usize = 5;
/// Word of the entry at which the servers begin.
const FIRST: u32 = 6;

const PHASE: u64 = 3;
const FREE: u64 = 0;
/// Somebody writes it.
const WRITTEN: u64 = 1;
const LIVE: u64 = 2;
/// What a writing adds to the control word.
const MOVE: u64 = 4;

/// No server. A plain number, because BPF's verifier refuses to see half an `Option` copied.
pub const NOBODY: u32 = u32::MAX;

const ID_BITS: u32 = 20;
const ID: u64 = (1 << ID_BITS) - 1;

/// What an entry is looked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    owner: u64,
    address: [u64; 2],
    start: u32,
}

impl Key {
    /// Of the servers that `service` keeps for the address of `request`.
    #[inline(always)]
    #[must_use]
    pub fn new<T: Tables>(tables: &T, service: &Service, request: &Request) -> Self {
        let age = tables
            .service(service.id)
            .map_or(0, |line| line[live::service::CACHE_AGE].peek());
        let owner = u64::from(service.id) | age << 32;
        let mixed = request.address[0] ^ request.address[1].rotate_left(32) ^ owner.rotate_left(17);
        Self {
            owner,
            address: request.address,
            start: spread(mixed, tables.geometry().seed),
        }
    }

    #[inline(always)]
    fn index(&self, step: u32) -> u32 {
        self.start.wrapping_add(step) & (ENTRIES - 1)
    }

    /// Whether a live entry that begins with `line` is the one looked for.
    #[inline(always)]
    fn fits(&self, line: &Line) -> bool {
        line[CONTROL].load() & PHASE == LIVE && self.is_in(line)
    }

    /// Whether `line` holds this key.
    #[inline(always)]
    fn is_in(&self, line: &Line) -> bool {
        line[OWNER].peek() == self.owner
            && line[ADDRESS].peek() == self.address[0]
            && line[ADDRESS + 1].peek() == self.address[1]
    }
}

/// The first line of entry `index`. `None`: there is no such entry.
#[inline(always)]
fn head<T: Tables>(tables: &T, index: u32) -> Option<&Line> {
    tables.cache(index.wrapping_mul(ENTRY_LINES))
}

/// An entry as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Entry {
    index: u32,
    end: u32,
    control: u64,
    times: u64,
}

impl Entry {
    /// When its servers changed last.
    #[inline(always)]
    #[must_use]
    pub fn changed(&self) -> Tick {
        Tick((self.times >> 32) as u32)
    }

    /// When it was used last, before it was found.
    #[inline(always)]
    #[must_use]
    pub fn used(&self) -> Tick {
        Tick(self.times as u32)
    }

    /// Places in use: no server lies at this one or behind it.
    #[inline(always)]
    #[must_use]
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Id of the server at `place`. [`NOBODY`]: it left, or the entry was written since it was found.
    #[inline(always)]
    #[must_use]
    pub fn server<T: Tables>(&self, tables: &T, place: u32) -> u32 {
        let (Some(line), Some(word)) = (head(tables, self.index), self.word(tables, place)) else {
            return NOBODY;
        };
        let number = word.peek() >> shift(place) & ID;
        fence();
        if line[CONTROL].load() != self.control {
            return NOBODY;
        }
        (number as u32).wrapping_sub(1)
    }

    /// The word that holds the server at `place`.
    #[inline(always)]
    fn word<'a, T: Tables>(&self, tables: &'a T, place: u32) -> Option<&'a Word> {
        let word = FIRST.wrapping_add(place / 3);
        let line = tables.cache(
            self.index
                .wrapping_mul(ENTRY_LINES)
                .wrapping_add(word / 8 % ENTRY_LINES),
        )?;
        Some(&line[word as usize % 8])
    }

    /// Takes over what stands in `line`, the first of entry `index`. All of it belongs together if the control word is still
    /// the same afterwards.
    #[inline(always)]
    fn read(&mut self, line: &Line, index: u32) {
        self.index = index;
        self.control = line[CONTROL].load();
        self.times = line[TIMES].peek();
        self.end = line[END].peek() as u32;
        fence();
    }

    #[inline(always)]
    fn is_live(&self) -> bool {
        self.control & PHASE == LIVE
    }
}

#[inline(always)]
fn shift(place: u32) -> u32 {
    place % 3 * ID_BITS
}

/// Finds the entry of `key`, writes down that it is used, and puts it into `entry`. 0: there is none.
///
/// An entry not used for `lifetime` ticks and half an hour is none: that long at most the director leaves one alone, if it
/// lives. Not inlined, for BPF's stack.
#[inline(never)]
pub fn find<E: Env>(env: &E, key: &Key, lifetime: u32, entry: &mut Entry) -> u32 {
    let found = first_of(env, key);
    let Some(line) = head(env, found) else {
        return 0;
    };
    entry.read(line, found);
    // What was read is this key's if the line holds the key and its control word has not moved.
    if !entry.is_live() || !key.is_in(line) || line[CONTROL].load() != entry.control {
        return 0;
    }
    let now = env.now();
    let idle = now.left(entry.used());
    if idle > 0 && idle as u32 > lifetime.saturating_add(HALF_AN_HOUR) {
        return 0;
    }
    if idle != 0 {
        // Another use, or another life of the entry: its time of use is as good as ours.
        let used = entry.times >> 32 << 32 | u64::from(now.0);
        let _ = line[TIMES].compare_exchange(entry.times, used);
    }
    1
}

/// Ticks: half an hour at the fastest clock, 45 minutes at the slowest.
const HALF_AN_HOUR: u32 = 33_750;

/// The entry that look-ups find. [`ENTRIES`]: there is none.
#[inline(always)]
fn first_of<E: Env>(env: &E, key: &Key) -> u32 {
    let mut found = ENTRIES;
    env.scan(WINDOW, |step| {
        let index = key.index(step);
        match head(env, index) {
            Some(line) if key.fits(line) => {
                found = index;
                false
            }
            Some(_) => true,
            None => false,
        }
    });
    found
}

/// Puts a server at `place` of an entry that was found, or takes the one there out ([`NOBODY`]); a change, now. Lost if
/// somebody else wrote the entry meanwhile. Not inlined, for BPF's stack; 0.
#[inline(never)]
pub fn put<E: Env>(env: &E, entry: &Entry, place: u32, server: u32) -> u32 {
    let (Some(line), Some(word)) = (head(env, entry.index), entry.word(env, place)) else {
        return 0;
    };
    let free = moved(entry.control);
    if line[CONTROL]
        .compare_exchange(entry.control, free | WRITTEN)
        .is_err()
    {
        return 0;
    }
    let now = u64::from(env.now().0);
    line[TIMES].poke(now | now << 32);
    let number = u64::from(server.wrapping_add(1)) & ID;
    word.poke(word.peek() & !(ID << shift(place)) | number << shift(place));
    if place >= entry.end {
        line[END].poke(u64::from(place) + 1);
    }
    line[CONTROL].store(free | LIVE);
    0
}

/// The control word that follows, but for its phase.
#[inline(always)]
fn moved(control: u64) -> u64 {
    (control & !PHASE).wrapping_add(MOVE)
}

/// Keeps one server for a key that has no entry.
#[inline(always)]
pub fn create<E: Env>(env: &E, key: &Key, id: u32) {
    let index = write_new(env, key, id);
    settle(env, key, index);
}

/// Writes a new entry; which one, or [`ENTRIES`]. Not inlined, for BPF's stack.
#[inline(never)]
fn write_new<E: Env>(env: &E, key: &Key, id: u32) -> u32 {
    let now = env.now();
    let mut choice = Choice {
        index: ENTRIES,
        age: 0,
        control: 0,
    };
    env.scan(WINDOW, |step| choice.consider(env, key, step, now));
    let Some(line) = head(env, choice.index) else {
        return ENTRIES;
    };
    let free = moved(choice.control);
    if line[CONTROL]
        .compare_exchange(choice.control, free | WRITTEN)
        .is_err()
    {
        return ENTRIES;
    }
    let now = u64::from(now.0);
    line[OWNER].poke(key.owner);
    line[ADDRESS].poke(key.address[0]);
    line[ADDRESS + 1].poke(key.address[1]);
    line[TIMES].poke(now | now << 32);
    line[END].poke(1);
    line[FIRST as usize].poke((u64::from(id) + 1) & ID);
    line[FIRST as usize + 1].poke(0);
    let first = choice.index.wrapping_mul(ENTRY_LINES);
    for next in 1..ENTRY_LINES {
        if let Some(line) = env.cache(first.wrapping_add(next)) {
            line.iter().for_each(|word| word.poke(0));
        }
    }
    line[CONTROL].store(free | LIVE);
    choice.index
}

/// Somebody else may have made an entry of the key meanwhile: the one that look-ups find stays, the other is freed. Not
/// inlined, for BPF's stack; 0.
#[inline(never)]
fn settle<E: Env>(env: &E, key: &Key, index: u32) -> u32 {
    fence();
    if first_of(env, key) == index {
        return 0;
    }
    if let Some(line) = head(env, index) {
        let control = line[CONTROL].load();
        if control & PHASE == LIVE && key.is_in(line) {
            let _ = line[CONTROL].compare_exchange(control, control & !PHASE);
        }
    }
    0
}

/// The place that a new entry takes.
struct Choice {
    index: u32,
    age: u32,
    control: u64,
}

impl Choice {
    /// Considers one place of the window. `false`: none is better.
    #[inline(always)]
    fn consider<E: Env>(&mut self, env: &E, key: &Key, step: u32, now: Tick) -> bool {
        let index = key.index(step);
        let Some(line) = head(env, index) else {
            return false;
        };
        let control = line[CONTROL].load();
        let age = match control & PHASE {
            FREE => u32::MAX - 1,
            LIVE if key.is_in(line) => u32::MAX,
            LIVE => now.left(Tick(line[TIMES].peek() as u32)).max(0) as u32,
            _ => return true,
        };
        if self.index == ENTRIES || age > self.age {
            *self = Self {
                index,
                age,
                control,
            };
        }
        age != u32::MAX
    }
}

/// An entry as the director sees it.
#[cfg(not(target_arch = "bpf"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Id of the service.
    pub service: u32,
    /// Age of the service's cache when it was written.
    pub age: u32,
    /// The address: 16 bytes in two raw words.
    pub address: [u64; 2],
    entry: Entry,
}

#[cfg(not(target_arch = "bpf"))]
impl Seen {
    /// The entry number `index`, if it is one.
    #[must_use]
    pub fn at<T: Tables>(tables: &T, index: u32) -> Option<Self> {
        let line = head(tables, index)?;
        let mut entry = Entry::default();
        entry.read(line, index);
        let (owner, address) = (
            line[OWNER].peek(),
            [line[ADDRESS].peek(), line[ADDRESS + 1].peek()],
        );
        fence();
        (entry.is_live() && line[CONTROL].load() == entry.control).then_some(Self {
            service: owner as u32,
            age: (owner >> 32) as u32,
            address,
            entry,
        })
    }

    /// When it was used last.
    #[must_use]
    pub fn used(&self) -> Tick {
        self.entry.used()
    }

    /// Ids of its servers, oldest first; none of those that a writer moves meanwhile.
    pub fn servers<T: Tables>(self, tables: &T) -> impl Iterator<Item = u32> {
        let entry = self.entry;
        (0..entry.end.min(SERVERS))
            .map(move |place| entry.server(tables, place))
            .filter(|id| *id != NOBODY)
    }

    /// Frees it. `false`: somebody wrote it meanwhile, and it stays.
    pub fn free<T: Tables>(&self, tables: &T) -> bool {
        let control = self.entry.control;
        head(tables, self.entry.index).is_some_and(|line| {
            line[CONTROL]
                .compare_exchange(control, control & !PHASE)
                .is_ok()
        })
    }
}

#[cfg(test)]
mod tests;
