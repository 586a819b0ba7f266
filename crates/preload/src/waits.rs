//! The functions of the C library that wait for descriptors. Whoever asked lvsd by netlink and waits without limit would wait for
//! ever if lvsd dies before it answers: nothing comes at a netlink socket then. So a socket whose answer is overdue is told to
//! be readable, and reading it tells `ETIMEDOUT`.
//!
//! While no answer is to come, which is always in programs that ask nothing, all of this is the C library's alone. What another
//! thread asks while one waits already does not shorten that wait.

use crate::c::{self, EpollEvent, Pollfd, Timespec, Timeval, c_int, c_ulong, c_void, real};
use crate::socket;
use core::slice;

/// Bits of a word in the sets of `select`.
const BITS: c_int = c_ulong::BITS as c_int;

/// The shorter of what the program gave itself (negative: no limit) and what is left for an answer; `None` where the program's
/// own limit comes first.
const fn bound(milliseconds: c_int, left: c_int) -> Option<c_int> {
    match milliseconds {
        0.. if milliseconds <= left => None,
        _ => Some(left),
    }
}

/// Waits by `wait`, and tells of the socket whose answer is overdue by then where nothing else is to be told.
///
/// # Safety
/// `fds` is null or points to `count` structures.
unsafe fn poll_with(
    fds: *mut Pollfd,
    count: c_ulong,
    milliseconds: c_int,
    mut wait: impl FnMut(Option<c_int>) -> c_int,
) -> c_int {
    if !socket::is_any_waiting() || fds.is_null() {
        return wait(None);
    }
    let mut first: Option<(usize, c_int)> = None;
    for place in 0..count as usize {
        // SAFETY: as the caller says.
        let asked = unsafe { *fds.add(place) };
        if asked.events & c::POLLIN != 0
            && let Some(left) = socket::left(asked.fd)
            && first.is_none_or(|(_, least)| left < least)
        {
            first = Some((place, left));
        }
    }
    let Some((place, left)) = first else {
        return wait(None);
    };
    let Some(left) = bound(milliseconds, left) else {
        return wait(None);
    };
    let ready = wait(Some(left));
    if ready == 0 {
        // SAFETY: it is one of them.
        unsafe { (*fds.add(place)).revents = c::POLLIN };
        return 1;
    }
    ready
}

/// `poll(2)`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn poll(
    fds: *mut Pollfd,
    count: c_ulong,
    milliseconds: c_int,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe {
        poll_with(fds, count, milliseconds, |left| {
            real::poll(fds, count, left.unwrap_or(milliseconds))
        })
    }
}

/// `ppoll(2)`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn ppoll(
    fds: *mut Pollfd,
    count: c_ulong,
    time: *const Timespec,
    signals: *const c_void,
) -> c_int {
    // SAFETY: the caller's own arguments, or a time that lives here.
    unsafe {
        let milliseconds = time.as_ref().map_or(-1, |time| {
            let whole = time.seconds.saturating_mul(1000);
            milliseconds(whole.saturating_add(time.nanoseconds / 1_000_000))
        });
        poll_with(fds, count, milliseconds, |left| match left {
            Some(left) => {
                let time = Timespec {
                    seconds: (left / 1000).into(),
                    nanoseconds: i64::from(left % 1000) * 1_000_000,
                };
                real::ppoll(fds, count, &raw const time, signals)
            }
            None => real::ppoll(fds, count, time, signals),
        })
    }
}

/// A limit of the program's as `poll` has them. One that is negative is none of ours to judge.
fn milliseconds(limit: i64) -> c_int {
    c_int::try_from(limit.max(0)).unwrap_or(c_int::MAX)
}

/// `poll` of programs compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn __poll_chk(
    fds: *mut Pollfd,
    count: c_ulong,
    milliseconds: c_int,
    room: usize,
) -> c_int {
    let count = count.min((room / size_of::<Pollfd>()) as c_ulong);
    // SAFETY: the caller's own arguments.
    unsafe { poll(fds, count, milliseconds) }
}

/// `ppoll` of programs compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn __ppoll_chk(
    fds: *mut Pollfd,
    count: c_ulong,
    time: *const Timespec,
    signals: *const c_void,
    room: usize,
) -> c_int {
    let count = count.min((room / size_of::<Pollfd>()) as c_ulong);
    // SAFETY: the caller's own arguments.
    unsafe { ppoll(fds, count, time, signals) }
}

/// `select(2)`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn select(
    count: c_int,
    read: *mut c_ulong,
    write: *mut c_ulong,
    except: *mut c_ulong,
    time: *mut Timeval,
) -> c_int {
    // SAFETY: the caller's own arguments, of which the time is written as the kernel does.
    unsafe {
        let given = time.as_ref().copied();
        let limit = given.map_or(-1, |given| {
            let whole = given.seconds.saturating_mul(1000);
            milliseconds(whole.saturating_add(given.microseconds / 1000))
        });
        let due = match socket::is_any_waiting() && !read.is_null() && count > 0 {
            true => first_in(slice::from_raw_parts(read, words(count)), count),
            false => None,
        };
        let Some((fd, left)) = due.and_then(|(fd, left)| Some((fd, bound(limit, left)?))) else {
            return real::select(count, read, write, except, time);
        };
        let begin = socket::now();
        let mut shorter = Timeval {
            seconds: (left / 1000).into(),
            microseconds: i64::from(left % 1000) * 1000,
        };
        let ready = real::select(count, read, write, except, &raw mut shorter);
        if let Some(given) = given {
            let spent = socket::now().wrapping_sub(begin).cast_signed();
            let all = given
                .seconds
                .saturating_mul(1_000_000)
                .saturating_add(given.microseconds);
            let rest = all.saturating_sub(spent.saturating_mul(1000)).max(0);
            *time = Timeval {
                seconds: rest / 1_000_000,
                microseconds: rest % 1_000_000,
            };
        }
        if ready == 0 {
            // The kernel has emptied the sets.
            let word = read.add((fd / BITS) as usize);
            *word |= 1 << (fd % BITS);
            return 1;
        }
        ready
    }
}

/// Words of a set of so many descriptors.
const fn words(count: c_int) -> usize {
    (count.cast_unsigned() as usize).div_ceil(BITS as usize)
}

/// The socket in this set whose answer is due first, and when.
fn first_in(set: &[c_ulong], count: c_int) -> Option<(c_int, c_int)> {
    let mut first: Option<(c_int, c_int)> = None;
    for (begin, word) in (0..count).step_by(BITS as usize).zip(set) {
        let mut bits = *word;
        while bits != 0 {
            let fd = begin + bits.trailing_zeros().cast_signed();
            bits &= bits - 1;
            if fd < count
                && let Some(left) = socket::left(fd)
                && first.is_none_or(|(_, least)| left < least)
            {
                first = Some((fd, left));
            }
        }
    }
    first
}

/// Waits by `wait`, as [`poll_with`].
///
/// # Safety
/// `events` points to `room` structures.
unsafe fn epoll_with(
    epoll: c_int,
    events: *mut EpollEvent,
    room: c_int,
    milliseconds: c_int,
    mut wait: impl FnMut(c_int) -> c_int,
) -> c_int {
    if !socket::is_any_waiting() || events.is_null() || room <= 0 {
        return wait(milliseconds);
    }
    while let Some((fd, mut event, left)) = socket::first_registered(epoll) {
        let Some(left) = bound(milliseconds, left) else {
            break;
        };
        let ready = wait(left);
        if ready != 0 {
            return ready;
        }
        // What was closed behind our back is waited for no more.
        // SAFETY: one structure, with what is registered already.
        if unsafe { real::epoll_ctl(epoll, c::EPOLL_CTL_MOD, fd, &raw mut event) } != 0 {
            socket::unregister(fd);
            continue;
        }
        event.events = c::EPOLLIN;
        // SAFETY: there is room for one at least.
        unsafe { events.write_unaligned(event) };
        return 1;
    }
    wait(milliseconds)
}

/// `epoll_wait(2)`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn epoll_wait(
    epoll: c_int,
    events: *mut EpollEvent,
    room: c_int,
    milliseconds: c_int,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe {
        epoll_with(epoll, events, room, milliseconds, |limit| {
            real::epoll_wait(epoll, events, room, limit)
        })
    }
}

/// `epoll_pwait(2)`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn epoll_pwait(
    epoll: c_int,
    events: *mut EpollEvent,
    room: c_int,
    milliseconds: c_int,
    signals: *const c_void,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe {
        epoll_with(epoll, events, room, milliseconds, |limit| {
            real::epoll_pwait(epoll, events, room, limit, signals)
        })
    }
}
