//! The hand: a timer that removes expired connections slice by slice, whether or not the director lives.
//!
//! The timer lives in a pinned map, so it goes on when its starter dies. Each firing looks at one part in 32 of the
//! table, of a very large one at one in 128, so the whole is seen in half a second or in two; of each set it reads one
//! cache line. A firing that finds much to end breaks off, and the next one comes soon: packets of that CPU wait for some two
//! milliseconds at most. While `drop_entry` is in force it ends others before their time too.

use crate::maps;
use crate::world::{World, now, own_count};
use aya_ebpf::bindings::TC_ACT_OK;
use aya_ebpf::helpers::generated::{bpf_timer_init, bpf_timer_set_callback, bpf_timer_start};
use core::ffi::c_void;
use lvsx_core::conn;
use lvsx_core::env::{Env, Tables, state};
use lvsx_core::event::Event;
use lvsx_core::generation::defence::Defences;
use lvsx_core::tick::Tick;

/// Nanoseconds between firings.
const PERIOD: u64 = 16_000_000;

/// The same behind a firing that broke off.
const PAUSE: u64 = 1_000_000;

/// Sets looked at and entries ended after which a firing breaks off: either takes less than 100 ns.
const MOST: u64 = 16_384;

/// Sets of a very large table: of millions of connections.
const MANY_SETS: u32 = 1 << 18;

/// Firings in which the whole table is seen.
const SLICES: u32 = 32;

/// The same of a very large one.
const MANY_SLICES: u32 = 128;

/// Entries in a set.
const WAYS: u32 = conn::WAYS as u32;

const CLOCK_MONOTONIC: u64 = 1;

/// Starts the timer, or hands a running one to this program. 0, or the kernel's error.
#[inline(always)]
pub(crate) fn start() -> i32 {
    let Some(hand) = maps::HAND.get_ptr_mut(0) else {
        return -1;
    };
    // SAFETY: the map's value begins with the timer. A timer that is initialised already says EBUSY and stays so.
    unsafe {
        let timer = &raw mut (*hand).timer;
        bpf_timer_init(timer, maps::pointer(&maps::HAND), CLOCK_MONOTONIC);
        let answer = bpf_timer_set_callback(timer, move_on as *mut c_void);
        if answer != 0 {
            return answer as i32;
        }
        let answer = bpf_timer_start(timer, PERIOD, 0);
        if answer != 0 {
            return answer as i32;
        }
    }
    TC_ACT_OK
}

extern "C" fn move_on(_map: *mut c_void, _key: *mut c_void, hand: *mut maps::HandTimer) -> i64 {
    let world = World {
        context: core::ptr::null_mut(),
    };
    let geometry = world.geometry();
    let total = geometry.sets.wrapping_add(geometry.overflow);
    let is_large = total >= MANY_SETS;
    let slices = if is_large { MANY_SLICES } else { SLICES };
    let mut period = PERIOD;
    let tick = now(&world);
    if let Some(line) = world.state(state::HAND) {
        let from = line[state::HAND_AT].peek() as u32;
        let at = |step: u32| {
            let index = from.wrapping_add(step);
            if index >= total {
                index.wrapping_sub(total)
            } else {
                index
            }
        };
        let count = total / slices + 1;
        let seen = sweep(&world, count, at, tick);
        if seen < count {
            period = PAUSE;
        }
        if Defences::in_force(&world).drop_entry {
            world.scan(seen.wrapping_mul(WAYS), |step| {
                if conn::is_thinned(world.random(), is_large) {
                    let index = at(step / WAYS);
                    conn::thin_way::<conn::Entry4, _>(&world, index, step % WAYS, tick);
                    conn::thin_way::<conn::Entry6, _>(&world, index, step % WAYS, tick);
                }
                true
            });
        }
        line[state::HAND_AT].poke(u64::from(at(seen)));
        line[state::HAND_TICK].poke(u64::from(tick.0));
    }
    // SAFETY: the value that the kernel passes begins with the timer.
    unsafe { bpf_timer_start(&raw mut (*hand).timer, period, 0) };
    0
}

/// Ends what is over in `count` sets, or in those up to which there was much to do. The number of sets seen.
#[inline(always)]
fn sweep(world: &World, count: u32, at: impl Fn(u32) -> u32, tick: Tick) -> u32 {
    let mut seen = 0;
    // Told by the count of this CPU: the verifier would walk each sum that a number of its own could come to.
    let before = own_count(Event::Expired);
    world.scan(count, |step| {
        let index = at(step);
        conn::sweep_set::<conn::Entry4, _>(world, index, tick);
        conn::sweep_set::<conn::Entry6, _>(world, index, tick);
        seen = step.wrapping_add(1);
        let ended = own_count(Event::Expired).wrapping_sub(before);
        ended.wrapping_add(seen.into()) < MOST
    });
    seen
}
