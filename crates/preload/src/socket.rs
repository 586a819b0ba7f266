//! What is remembered of the program's sockets: a word for each of the first descriptors. Those beyond are carried too, by
//! netlink and without a bound on waiting.

use crate::c::{self, c_int, c_long, real};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Descriptors that are remembered.
const SOCKETS: usize = 4096;
/// Of a word: the netlink port in its low half, and above it these.
const NETLINK: u64 = 1 << 32;
const UNIX: u64 = 1 << 33;
const WAITING: u64 = 1 << 34;

static WORDS: [AtomicU64; SOCKETS] = [const { AtomicU64::new(0) }; SOCKETS];

/// When something of the answer came last, or the request was sent; in milliseconds of the clock that nobody sets.
static MOVED: [AtomicU64; SOCKETS] = [const { AtomicU64::new(0) }; SOCKETS];
/// Sockets of which the end of an answer is still to come.
static WAITING_NOW: AtomicUsize = AtomicUsize::new(0);
/// How long the next part of an answer may take.
const PATIENCE_MS: u64 = 5000;

/// Where a socket is waited for by epoll: the epoll descriptor above the events, and the program's word. Such a registration
/// is of the socket, not of its number, so one that is replaced must be registered again.
struct Registration {
    place: AtomicU64,
    data: AtomicU64,
}

static REGISTRATIONS: [Registration; SOCKETS] = [const {
    Registration {
        place: AtomicU64::new(0),
        data: AtomicU64::new(0),
    }
}; SOCKETS];

/// How a socket speaks to lvsd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Not at all.
    None,
    /// As the netlink socket that it is, to this port of lvsd's.
    Netlink(u32),
    /// A Unix socket has taken its place; its own port was this.
    Unix(u32),
}

fn word(fd: c_int) -> Option<&'static AtomicU64> {
    WORDS.get(usize::try_from(fd).ok()?)
}

/// How `fd` speaks to lvsd.
pub(crate) fn way(fd: c_int) -> Way {
    let Some(word) = word(fd) else {
        return Way::None;
    };
    let found = word.load(Ordering::Relaxed);
    match found & (NETLINK | UNIX) {
        // A descriptor that was closed behind our back may be something else by now.
        NETLINK if is_generic_netlink(fd) => Way::Netlink(found as u32),
        UNIX if option(fd, c::SO_DOMAIN) == Some(c::AF_UNIX) => Way::Unix(found as u32),
        0 => Way::None,
        _ => {
            put(word, 0);
            Way::None
        }
    }
}

/// Sets a word to one that does not wait.
fn put(word: &AtomicU64, value: u64) {
    if word.swap(value, Ordering::Relaxed) & WAITING != 0 {
        WAITING_NOW.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Remembers the way of `fd`. Whether there is room for it.
pub(crate) fn remember(fd: c_int, way: Way) -> bool {
    let value = match way {
        Way::None => 0,
        Way::Netlink(port) => NETLINK | u64::from(port),
        Way::Unix(port) => UNIX | u64::from(port),
    };
    word(fd).map(|word| put(word, value)).is_some()
}

/// Forgets the way of `fd`.
pub(crate) fn forget(fd: c_int) {
    if let Some(word) = word(fd)
        && word.load(Ordering::Relaxed) != 0
    {
        put(word, 0);
    }
}

/// Forgets all of `fd`, which is being closed.
pub(crate) fn closed(fd: c_int) {
    forget(fd);
    unregister(fd);
}

/// Forgets that epoll waits for `fd`.
pub(crate) fn unregister(fd: c_int) {
    if let Some(registration) = registration(fd)
        && registration.place.load(Ordering::Relaxed) != 0
    {
        registration.place.store(0, Ordering::Relaxed);
    }
}

fn registration(fd: c_int) -> Option<&'static Registration> {
    REGISTRATIONS.get(usize::try_from(fd).ok()?)
}

/// Remembers that `epoll` waits for `fd`, a socket of generic netlink.
pub(crate) fn register(fd: c_int, epoll: c_int, event: c::EpollEvent) {
    if let Some(registration) = registration(fd) {
        let place = u64::from(epoll.cast_unsigned()) << 32 | u64::from(event.events);
        registration.place.store(place, Ordering::Relaxed);
        registration.data.store(event.data, Ordering::Relaxed);
    }
}

/// Has epoll wait for the socket that took the place of `fd`, if it waited for that.
fn register_again(fd: c_int) {
    let Some(registration) = registration(fd) else {
        return;
    };
    let place = registration.place.swap(0, Ordering::Relaxed);
    if place != 0 {
        let mut event = c::EpollEvent {
            events: place as u32,
            data: registration.data.load(Ordering::Relaxed),
        };
        // SAFETY: one structure. Where the program has closed its epoll since, this fails, and nobody waits.
        unsafe { real::epoll_ctl((place >> 32) as c_int, c::EPOLL_CTL_ADD, fd, &raw mut event) };
    }
}

/// The first socket that this `epoll` waits for and whose answer is due, with the event that tells of it, and when.
pub(crate) fn first_registered(epoll: c_int) -> Option<(c_int, c::EpollEvent, c_int)> {
    let mut first: Option<(c_int, c::EpollEvent, c_int)> = None;
    for (fd, registration) in (0..).zip(&REGISTRATIONS) {
        let place = registration.place.load(Ordering::Relaxed);
        let is_wanted =
            place >> 32 == u64::from(epoll.cast_unsigned()) && place as u32 & c::EPOLLIN != 0;
        if is_wanted
            && let Some(left) = left(fd)
            && first.is_none_or(|(_, _, least)| left < least)
        {
            let event = c::EpollEvent {
                events: place as u32,
                data: registration.data.load(Ordering::Relaxed),
            };
            first = Some((fd, event, left));
        }
    }
    first
}

/// Remembers whether the end of an answer is still to come.
pub(crate) fn set_waiting(fd: c_int, is_waiting: bool) {
    let Some(word) = word(fd) else {
        return;
    };
    if is_waiting {
        moved(fd);
        if word.fetch_or(WAITING, Ordering::Relaxed) & WAITING == 0 {
            WAITING_NOW.fetch_add(1, Ordering::Relaxed);
        }
    } else if word.fetch_and(!WAITING, Ordering::Relaxed) & WAITING != 0 {
        WAITING_NOW.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the end of any answer is still to come.
pub(crate) fn is_any_waiting() -> bool {
    WAITING_NOW.load(Ordering::Relaxed) != 0
}

/// Remembers that a part of the answer came just now.
pub(crate) fn moved(fd: c_int) {
    if let Some(moved) = usize::try_from(fd).ok().and_then(|fd| MOVED.get(fd)) {
        moved.store(now(), Ordering::Relaxed);
    }
}

/// For how many milliseconds more the next part of an answer may be waited for; 0 if it is overdue. `None`: none is to come.
pub(crate) fn left(fd: c_int) -> Option<c_int> {
    let place = usize::try_from(fd).ok()?;
    if WORDS.get(place)?.load(Ordering::Relaxed) & WAITING == 0 {
        return None;
    }
    let since = now().wrapping_sub(MOVED.get(place)?.load(Ordering::Relaxed));
    Some(PATIENCE_MS.saturating_sub(since) as c_int)
}

/// Milliseconds of the clock that nobody sets.
pub(crate) fn now() -> u64 {
    let mut time = c::Timespec::default();
    // SAFETY: one structure.
    unsafe { c::clock_gettime(c::CLOCK_MONOTONIC, &raw mut time) };
    let milliseconds = time.nanoseconds / 1_000_000;
    (time.seconds.wrapping_mul(1000).wrapping_add(milliseconds)).cast_unsigned()
}

/// An option of `fd` that is a number.
pub(crate) fn option(fd: c_int, name: c_int) -> Option<c_int> {
    let (mut value, mut length) = (0, size_of::<c_int>() as u32);
    // SAFETY: pointer and length describe `value`.
    let done = unsafe {
        real::getsockopt(
            fd,
            c::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    (done == 0).then_some(value)
}

/// Whether `fd` is a socket of generic netlink.
pub(crate) fn is_generic_netlink(fd: c_int) -> bool {
    option(fd, c::SO_DOMAIN) == Some(c::AF_NETLINK)
        && option(fd, c::SO_PROTOCOL) == Some(c::NETLINK_GENERIC)
}

/// Whether a call on `fd` with these flags may wait.
pub(crate) fn may_wait(fd: c_int, flags: c_int) -> bool {
    // SAFETY: the command takes no argument.
    let status = unsafe { c::fcntl(fd, c::F_GETFL) };
    flags & c::MSG_DONTWAIT == 0 && status >= 0 && status & c::O_NONBLOCK == 0
}

/// Waits until `fd` has something to read. Whether it has within `milliseconds`, or the wait was broken off for a reason that
/// reading tells.
pub(crate) fn wait(fd: c_int, milliseconds: c_int) -> bool {
    let mut asked = c::Pollfd {
        fd,
        events: c::POLLIN,
        revents: 0,
    };
    // SAFETY: one structure.
    unsafe { real::poll(&raw mut asked, 1, milliseconds) != 0 }
}

/// Sleeps.
pub(crate) fn sleep(milliseconds: c_long) {
    let time = c::Timespec {
        seconds: 0,
        nanoseconds: milliseconds * 1_000_000,
    };
    // SAFETY: one structure; what is left of the time does not matter.
    unsafe { c::nanosleep(&raw const time, core::ptr::null_mut()) };
}

/// Puts a connection to lvsd's Unix socket in the place of the netlink socket `fd`, which keeps its number, its flags and
/// its time limits. Whether that was possible.
pub(crate) fn replace(fd: c_int, address: &c::SockaddrUn) -> bool {
    let mut own = c::SockaddrNl::default();
    let mut length = c::SockaddrNl::LENGTH;
    // SAFETY: pointers and lengths describe what lives here; the new descriptor is nobody else's.
    unsafe {
        if real::getsockname(fd, (&raw mut own).cast(), &raw mut length) != 0 {
            return false;
        }
        let new = c::socket(c::AF_UNIX, c::SOCK_SEQPACKET | c::SOCK_CLOEXEC, 0);
        if new < 0 {
            return false;
        }
        let is_connected = c::connect(new, address, size_of::<c::SockaddrUn>() as u32) == 0;
        let is_put = is_connected && put_in_place(new, fd) && remember(fd, Way::Unix(own.port));
        real::close(new);
        if is_put {
            register_again(fd);
        }
        is_put
    }
}

/// # Safety
/// `new` is a descriptor of our own, `fd` the program's.
unsafe fn put_in_place(new: c_int, fd: c_int) -> bool {
    if word(fd).is_none() {
        return false;
    }
    // SAFETY: pointers and lengths describe what lives here.
    unsafe {
        for name in [c::SO_RCVTIMEO, c::SO_SNDTIMEO] {
            let (mut limit, mut length) = (c::Timeval::default(), size_of::<c::Timeval>() as u32);
            let value = (&raw mut limit).cast();
            if real::getsockopt(fd, c::SOL_SOCKET, name, value, &raw mut length) == 0 {
                real::setsockopt(new, c::SOL_SOCKET, name, value, length);
            }
        }
        let status = c::fcntl(fd, c::F_GETFL);
        c::fcntl(new, c::F_SETFL, status & c::O_NONBLOCK);
        let is_closed_on_exec = c::fcntl(fd, c::F_GETFD) & c::FD_CLOEXEC != 0;
        c::dup3(new, fd, if is_closed_on_exec { c::O_CLOEXEC } else { 0 }) == fd
    }
}
