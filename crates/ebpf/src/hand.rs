//! The hand: a timer that removes expired connections slice by slice, whether or not the director lives.
//!
//! The timer lives in a pinned map, so it goes on when its starter dies. Each firing looks at one part in 32 of the
//! table, so the whole is seen in half a second, a very large one in two; of each set it reads one
//! cache line. While `drop_entry` is in force it ends others before their time too.

use crate::maps;
use crate::world::{World, now};
use aya_ebpf::bindings::TC_ACT_OK;
use aya_ebpf::helpers::generated::{bpf_timer_init, bpf_timer_set_callback, bpf_timer_start};
use core::ffi::c_void;
use lvsx_core::conn;
use lvsx_core::env::{Env, Tables, state};
use lvsx_core::generation::defence::Defences;

/// Nanoseconds between firings.
const PERIOD: u64 = 16_000_000;

/// The same where the table is very large.
const LONG_PERIOD: u64 = 64_000_000;

/// Sets of a very large table: of millions of connections.
const MANY_SETS: u32 = 1 << 18;

/// Firings in which the whole table is seen.
const SLICES: u32 = 32;

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
    let period = if is_large { LONG_PERIOD } else { PERIOD };
    let tick = now(&world);
    if let Some(line) = world.state(state::HAND) {
        let from = line[state::HAND_AT].peek() as u32;
        let count = total / SLICES + 1;
        world.scan(count, |step| {
            let mut index = from.wrapping_add(step);
            if index >= total {
                index = index.wrapping_sub(total);
            }
            conn::sweep_set::<conn::Entry4, _>(&world, index, tick);
            conn::sweep_set::<conn::Entry6, _>(&world, index, tick);
            true
        });
        if Defences::in_force(&world).drop_entry {
            world.scan(count.wrapping_mul(WAYS), |step| {
                if conn::is_thinned(world.random(), is_large) {
                    let mut index = from.wrapping_add(step / WAYS);
                    if index >= total {
                        index = index.wrapping_sub(total);
                    }
                    conn::thin_way::<conn::Entry4, _>(&world, index, step % WAYS, tick);
                    conn::thin_way::<conn::Entry6, _>(&world, index, step % WAYS, tick);
                }
                true
            });
        }
        let mut next = from.wrapping_add(count);
        if next >= total {
            next = next.wrapping_sub(total);
        }
        line[state::HAND_AT].poke(u64::from(next));
        line[state::HAND_TICK].poke(u64::from(tick.0));
    }
    // SAFETY: the value that the kernel passes begins with the timer.
    unsafe { bpf_timer_start(&raw mut (*hand).timer, period, 0) };
    0
}
