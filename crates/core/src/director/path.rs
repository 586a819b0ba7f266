//! Path MTUs of tunnels: learned from ICMP errors about their packets (fragmentation needed), kept by the server's address.
//!
//! As Linux 6.1, whose routes to such servers keep exceptions:
//!
//! - a path takes what was told last, if that is no more than it took before; never less than `min_pmtu`, and where less was
//!   told, nothing is learned any more until it is over (`mtu_expires`). The same told again renews it in its second half;
//! - what is learned holds for all that is sent to that address over IPv4: tunnels of any kind and service, and masquerading.
//!   Direct routing goes by the link alone;
//! - a destination knows what its route took when it last sent a packet. So the first error tells the client what was known
//!   before, and so do those that come before the next packet.
//!
//! Paths lie two in a line of the shared state, four words each: the server's raw address + MTU << 32 + flags << 48; the tick
//! it is over in + the id of the destination whose error was the first << 32; how many packets that one had got by then. An
//! address beyond takes the place of one that is over sooner. A port knows the least of what its paths take
//! ([`live::port::sure`]), so that a packet no longer than that is not looked up here.
//!
//! Differs: of several destinations with one address only the one of the first error knows the MTU before for a while; direct
//! routing is never limited, where the kernel limits a destination whose route was looked up since.

use super::hop::{Way, port_of, published};
use crate::conn::Hop;
use crate::env::{Env, PORTS, Tables, state};
use crate::generation::{PathLimits, live, spread};
use crate::tick::Tick;
use lvsx_platform::{Line, Word};

/// Flag: something is kept here.
const IN_USE: u64 = 1 << 48;
/// Flag: less than `min_pmtu` was told.
const LOCKED: u64 = 1 << 49;
/// Words of a path.
const WORDS: usize = 4;

/// The longest packet that the path to raw IPv4 address `server` takes, on a link that takes `mtu` bytes.
#[inline(always)]
pub fn path_mtu<E: Env>(env: &E, server: u32, mtu: u32) -> u32 {
    learned(env, server).min(u64::from(mtu)) as u32
}

/// The longest packet that `way` takes to raw IPv4 address `server`; no limit of an interface that the director does not know.
#[inline(always)]
pub(super) fn mtu_to<E: Env>(env: &E, way: Way, server: u32) -> u32 {
    match port_by(env, way) {
        Some(port) if live::port::sure(port) == live::port::mtu(port) => live::port::mtu(port),
        Some(port) => path_mtu(env, server, live::port::mtu(port)),
        None => u32::MAX,
    }
}

/// What was learned of the path to `server`; no limit if nothing was. Apart, for BPF's stack.
#[inline(never)]
fn learned<E: Env>(env: &E, server: u32) -> u64 {
    let Some(line) = line_of(env, server) else {
        return u64::MAX;
    };
    let now = env.now();
    for at in [0, WORDS] {
        if let Some(path) = Path::at(line, at, now)
            && path.server == server
        {
            return path.mtu.into();
        }
    }
    u64::MAX
}

/// An error about a packet of destination `id` to raw IPv4 address `server` told `told` bytes; the connection keeps the hop
/// `kept`. Returns what the destination knew its path to take, which is what the client is told; `told` where the director does
/// not know the way.
#[inline(always)]
pub(super) fn learn<E: Env>(
    env: &E,
    limits: PathLimits,
    (id, server): (u32, u32),
    told: u32,
    kept: Hop,
) -> u32 {
    // In several functions, because together they are too much for BPF's stack.
    let port = port_towards(env, id, kept);
    let link = link_of(env, port);
    if link == 0 {
        return told;
    }
    let packets = packets_in(env, id);
    let said = pair(server, told);
    let known = keep(env, said, pair(id, link as u32), packets, limits.word());
    lower(env, port, known >> 32);
    known as u32
}

#[inline(always)]
fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// The number of the port by which packets to destination `id` leave: that of the hop that a connection keeps, or else what the
/// director publishes; [`PORTS`] if it is not known.
#[inline(never)]
fn port_towards<E: Env>(env: &E, id: u32, kept: Hop) -> u64 {
    let hop = if kept.is_known() {
        kept
    } else {
        published(env, id)
    };
    if hop.is_known() {
        return hop.port().into();
    }
    let interface = env
        .tunnel(id)
        .map_or(0, |line| line[live::tunnel::WAY].peek() as u32);
    port_of(env, interface)
        .map_or(PORTS, |(number, _)| number)
        .into()
}

/// What a port takes; 0 if there is none.
#[inline(never)]
fn link_of<E: Env>(env: &E, port: u64) -> u64 {
    env.port(port as u32).map_or(0, live::port::mtu).into()
}

#[inline(never)]
fn lower<E: Env>(env: &E, port: u64, mtu: u64) -> u64 {
    if let Some(port) = env.port(port as u32) {
        live::port::lower(port, mtu as u32);
    }
    0
}

#[inline(never)]
fn packets_in<E: Env>(env: &E, id: u32) -> u64 {
    env.packets_in(id)
}

/// Keeps what was `said`: the server's address, and what it was told << 32; of a packet of `sender`: id of the destination +
/// what its link takes << 32, which has got so many `packets`. Returns what the destination knew + what the path takes << 32.
#[inline(never)]
fn keep<E: Env>(env: &E, said: u64, sender: u64, packets: u64, limits: u64) -> u64 {
    let (server, told) = (said as u32, (said >> 32) as u32);
    let (id, link) = (sender as u32, (sender >> 32) as u32);
    let Some(line) = line_of(env, server) else {
        return pair(told, link);
    };
    let now = env.now();
    let at = place(line, server, now);
    let [word, deadline, count] = [0, 1, 2].map(|part| &line[at + part]);
    let before = Path::read(word, deadline, now).filter(|path| path.server == server);
    let Some(old) = before else {
        if let Some(path) = Path::unknown(server, link, now).told(told, limits, now) {
            count.poke(packets);
            deadline.poke(pair(path.until.0, id));
            word.store(path.word());
            return pair(link, path.mtu);
        }
        return pair(link, link);
    };
    let first = (deadline.peek() >> 32) as u32;
    let is_known = first != id || count.peek() != packets;
    let path = old.told(told, limits, now).unwrap_or(old);
    deadline.poke(pair(path.until.0, first));
    word.store(path.word());
    let known = if is_known { path.mtu.min(link) } else { link };
    pair(known, path.mtu)
}

/// The least that a path takes of which something was learned; `None`: nothing was, or it is over.
pub fn least_path_mtu<T: Tables>(tables: &T, now: Tick) -> Option<u32> {
    let lines = (0..state::PATH_LINES).filter_map(|line| tables.state(state::PATHS + line));
    let paths = lines.flat_map(|line| [0, WORDS].map(|at| Path::at(line, at, now)));
    paths.flatten().map(|path| path.mtu).min()
}

/// What was learned of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Path {
    /// Raw address of the server.
    server: u32,
    /// What it takes.
    mtu: u32,
    /// Nothing more is learned.
    is_locked: bool,
    /// The moment it is over.
    until: Tick,
}

impl Path {
    /// The path of which nothing was learned, on a link that takes `link` bytes: as one that is over now.
    #[inline(always)]
    fn unknown(server: u32, link: u32, now: Tick) -> Self {
        Self {
            server,
            mtu: link,
            is_locked: false,
            until: now,
        }
    }

    /// The path at a place of a line; `None` if nothing is kept there, or it is over.
    #[inline(always)]
    fn at(line: &Line, at: usize, now: Tick) -> Option<Self> {
        Self::read(&line[at], &line[at + 1], now)
    }

    /// The path of these two words.
    #[inline(always)]
    fn read(word: &Word, deadline: &Word, now: Tick) -> Option<Self> {
        let word = word.load();
        let until = Tick(deadline.peek() as u32);
        (word & IN_USE != 0 && now.is_before(until)).then_some(Self {
            server: word as u32,
            mtu: (word >> 32) as u32 & 0xffff,
            is_locked: word & LOCKED != 0,
            until,
        })
    }

    /// Its first word.
    #[inline(always)]
    fn word(self) -> u64 {
        let flags = if self.is_locked {
            IN_USE | LOCKED
        } else {
            IN_USE
        };
        u64::from(self.server) | u64::from(self.mtu & 0xffff) << 32 | flags
    }

    /// What an error teaches that told `told` bytes; `None`: nothing.
    #[inline(always)]
    fn told(self, told: u32, limits: u64, now: Tick) -> Option<Self> {
        let limits = PathLimits::of(limits);
        let (mtu, is_locked) = lesser(self.mtu, told, limits.least)?;
        let is_young = self.until.left(now) > (limits.kept / 2) as i32;
        if self.is_locked || mtu == self.mtu && !is_locked && is_young {
            return None;
        }
        Some(Self {
            mtu,
            is_locked,
            until: now.after(limits.kept),
            ..self
        })
    }
}

/// What a path takes that took `old` bytes and is said to take `told`, and whether that is less than `least`. `None`: no less.
#[inline(always)]
fn lesser(old: u32, told: u32, least: u32) -> Option<(u32, bool)> {
    if told > old {
        None
    } else if told < least {
        Some((old.min(least), true))
    } else {
        Some((told, false))
    }
}

/// The place of a line where the path to `server` lies or may be put: its own, one that is free or over, the one that is over
/// sooner.
#[inline(always)]
fn place(line: &Line, server: u32, now: Tick) -> usize {
    let [first, second] = [0, WORDS].map(|at| Path::at(line, at, now));
    let takes_second = match (first, second) {
        (Some(first), _) if first.server == server => false,
        (_, Some(second)) if second.server == server => true,
        (None, _) => false,
        (_, None) => true,
        (Some(first), Some(second)) => second.until.is_before(first.until),
    };
    if takes_second { WORDS } else { 0 }
}

#[inline(always)]
fn line_of<T: Tables>(tables: &T, server: u32) -> Option<&Line> {
    tables.state(state::PATHS + spread(server.into(), 0) % state::PATH_LINES)
}

/// The port that a way leads by.
#[inline(always)]
fn port_by<E: Env>(env: &E, way: Way) -> Option<&Line> {
    if way.hop.is_known() {
        env.port(way.hop.port())
    } else {
        port_of(env, way.interface).map(|(_, port)| port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: u64 = 1000 | 552 << 32;
    const NOW: Tick = Tick(u32::MAX - 500);

    fn first(told: u32) -> Option<Path> {
        Path::unknown(7, 1500, NOW).told(told, LIMITS, NOW)
    }

    #[test]
    fn no_more_than_before_and_no_less_than_the_least() {
        assert_eq!(first(1501), None);
        let told = |told| first(told).map(|path| (path.mtu, path.is_locked));
        assert_eq!(told(1500), Some((1500, false)));
        assert_eq!(told(552), Some((552, false)));
        assert_eq!(told(551), Some((552, true)));
        assert_eq!(told(0), Some((552, true)));
        let narrow = Path::unknown(7, 500, NOW).told(499, LIMITS, NOW);
        assert_eq!(narrow.map(|path| path.mtu), Some(500));
    }

    #[test]
    fn less_is_learned_and_the_same_renews_in_the_second_half() {
        let path = first(1300).expect("less");
        let at = |ticks| NOW.after(ticks);
        assert_eq!(path.until, at(1000));
        assert_eq!(path.told(1301, LIMITS, at(999)), None);
        assert_eq!(path.told(1300, LIMITS, at(499)), None);
        let renewed = path.told(1300, LIMITS, at(500)).expect("renewed");
        assert_eq!((renewed.mtu, renewed.until), (1300, at(1500)));
        let less = path.told(1200, LIMITS, at(1)).expect("less");
        assert_eq!((less.mtu, less.until), (1200, at(1001)));
    }

    #[test]
    fn a_locked_path_learns_nothing() {
        let path = first(100).expect("less");
        assert_eq!(path.told(552, LIMITS, NOW.after(900)), None);
        assert_eq!(path.told(60, LIMITS, NOW.after(900)), None);
    }

    #[test]
    fn a_line_keeps_two_paths_until_they_are_over() {
        let line: Line = core::array::from_fn(|_| Word::new(0));
        let keep = |server: u32, at: usize, until: Tick| {
            let path = Path {
                server,
                mtu: 1300,
                is_locked: false,
                until,
            };
            line[at].store(path.word());
            line[at + 1].store(until.0.into());
            assert_eq!(Path::at(&line, at, NOW), Some(path));
        };
        assert_eq!(place(&line, 7, NOW), 0);
        keep(7, 0, NOW.after(20));
        assert_eq!([7, 8].map(|server| place(&line, server, NOW)), [0, WORDS]);
        keep(8, WORDS, NOW.after(10));
        let places = |now| [7, 8, 9].map(|server| place(&line, server, now));
        assert_eq!(places(NOW), [0, WORDS, WORDS]);
        keep(8, WORDS, NOW.after(30));
        assert_eq!(places(NOW), [0, WORDS, 0]);
        assert_eq!(Path::at(&line, 0, NOW.after(20)), None);
        assert_eq!(place(&line, 9, NOW.after(20)), 0);
    }
}
