//! What this library needs of the C library, in glibc's layout on 64-bit Linux.
//!
//! [`real`] has the functions that [`hooks`](crate::hooks), [`waits`](crate::waits), [`files`](crate::files) and [`looks`](crate::looks)
//! stand before: looked up behind this library
//! (`dlsym(RTLD_NEXT)`), since a plain call would come back here.

pub(crate) use core::ffi::{c_char, c_int, c_long, c_short, c_uint, c_ulong, c_void};

pub(crate) const AF_UNIX: c_int = 1;
pub(crate) const AF_NETLINK: c_int = 16;
pub(crate) const NETLINK_GENERIC: c_int = 16;
pub(crate) const SOCK_RAW: c_int = 3;
pub(crate) const SOCK_SEQPACKET: c_int = 5;
pub(crate) const SOCK_CLOEXEC: c_int = 0o2_000_000;
pub(crate) const SOL_IP: c_int = 0;
pub(crate) const SOL_SOCKET: c_int = 1;
pub(crate) const SOL_NETLINK: c_int = 270;
pub(crate) const SO_RCVTIMEO: c_int = 20;
pub(crate) const SO_SNDTIMEO: c_int = 21;
pub(crate) const SO_PROTOCOL: c_int = 38;
pub(crate) const SO_DOMAIN: c_int = 39;
pub(crate) const SO_NETNS_COOKIE: c_int = 71;
pub(crate) const MSG_PEEK: c_int = 0x2;
pub(crate) const MSG_DONTWAIT: c_int = 0x40;
pub(crate) const MSG_NOSIGNAL: c_int = 0x4000;
pub(crate) const EPOLLIN: c_uint = 1;
pub(crate) const EPOLL_CTL_ADD: c_int = 1;
pub(crate) const EPOLL_CTL_DEL: c_int = 2;
pub(crate) const EPOLL_CTL_MOD: c_int = 3;
pub(crate) const POLLIN: c_short = 1;
pub(crate) const F_GETFD: c_int = 1;
pub(crate) const F_GETFL: c_int = 3;
pub(crate) const F_SETFL: c_int = 4;
pub(crate) const FD_CLOEXEC: c_int = 1;
pub(crate) const O_NONBLOCK: c_int = 0o4000;
pub(crate) const O_CLOEXEC: c_int = 0o2_000_000;
pub(crate) const O_CREAT: c_int = 0o100;
/// Its own bit, without `O_DIRECTORY`, which belongs to it.
pub(crate) const O_TMPFILE: c_int = 0o20_000_000;
pub(crate) const O_ACCMODE: c_int = 3;
pub(crate) const MFD_CLOEXEC: c_uint = 1;
pub(crate) const CLOCK_MONOTONIC: c_int = 1;
pub(crate) const SEEK_SET: c_int = 0;

pub(crate) const EPERM: c_int = 1;
pub(crate) const EACCES: c_int = 13;
pub(crate) const EIO: c_int = 5;
pub(crate) const ENOSYS: c_int = 38;
pub(crate) const ENOPROTOOPT: c_int = 92;
pub(crate) const ETIMEDOUT: c_int = 110;
pub(crate) const ECONNREFUSED: c_int = 111;

/// `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Iovec {
    pub(crate) base: *mut c_void,
    pub(crate) length: usize,
}

/// `struct msghdr`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Msghdr {
    pub(crate) name: *mut c_void,
    pub(crate) name_length: c_uint,
    pub(crate) pieces: *mut Iovec,
    pub(crate) piece_count: usize,
    pub(crate) control: *mut c_void,
    pub(crate) control_length: usize,
    pub(crate) flags: c_int,
}

/// `struct sockaddr_nl`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct SockaddrNl {
    pub(crate) family: u16,
    pub(crate) pad: u16,
    pub(crate) port: u32,
    pub(crate) groups: u32,
}

impl SockaddrNl {
    /// Its length as the kernel gives it.
    pub(crate) const LENGTH: c_uint = size_of::<Self>() as c_uint;

    /// The address of a port.
    pub(crate) const fn of(port: u32) -> Self {
        Self {
            family: AF_NETLINK as u16,
            pad: 0,
            port,
            groups: 0,
        }
    }
}

/// `struct sockaddr_un`.
#[repr(C)]
pub(crate) struct SockaddrUn {
    pub(crate) family: u16,
    pub(crate) path: [u8; 108],
}

/// `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Pollfd {
    pub(crate) fd: c_int,
    pub(crate) events: c_short,
    pub(crate) revents: c_short,
}

/// `struct epoll_event`, which is packed on x86-64 alone.
#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
#[derive(Clone, Copy)]
pub(crate) struct EpollEvent {
    pub(crate) events: u32,
    pub(crate) data: u64,
}

/// `struct timespec`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Timespec {
    pub(crate) seconds: c_long,
    pub(crate) nanoseconds: c_long,
}

/// `struct timeval`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Timeval {
    pub(crate) seconds: c_long,
    pub(crate) microseconds: c_long,
}

unsafe extern "C" {
    #[cfg(lvsx_preload)]
    pub(crate) fn abort() -> !;
    #[cfg(lvsx_preload)]
    pub(crate) fn perror(text: *const c_char);
    pub(crate) fn __errno_location() -> *mut c_int;
    pub(crate) fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    pub(crate) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    pub(crate) fn connect(fd: c_int, address: *const SockaddrUn, length: c_uint) -> c_int;
    pub(crate) fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    pub(crate) fn nanosleep(time: *const Timespec, left: *mut Timespec) -> c_int;
    pub(crate) fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int;
    pub(crate) fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    pub(crate) fn read(fd: c_int, buffer: *mut c_void, length: usize) -> isize;
    pub(crate) fn write(fd: c_int, buffer: *const c_void, length: usize) -> isize;
    pub(crate) fn lseek(fd: c_int, offset: c_long, from: c_int) -> c_long;
    pub(crate) fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    pub(crate) fn fdopen(fd: c_int, mode: *const c_char) -> *mut c_void;
}

/// The error of the last call of this thread.
pub(crate) fn errno() -> c_int {
    // SAFETY: the C library's own pointer to this thread's number.
    unsafe { *__errno_location() }
}

/// Sets the error, and gives what a call returns then.
pub(crate) fn fail(error: c_int) -> c_int {
    // SAFETY: the C library's own pointer to this thread's number.
    unsafe { *__errno_location() = error };
    -1
}

/// Makes for each function one of the same name that calls the C library's, found once; where there is none, it fails with
/// `ENOSYS` and what stands behind `else`.
macro_rules! real {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty, else $otherwise:expr;)*) => {
        /// The C library's own.
        pub(crate) mod real {
            use super::*;
            use core::ptr;
            use core::sync::atomic::{AtomicPtr, Ordering};
            $(
                /// # Safety
                /// As the function of the C library of this name.
                pub(crate) unsafe fn $name($($argument: $type),*) -> $result {
                    static PLACE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
                    const NAME: &[u8] = concat!(stringify!($name), "\0").as_bytes();
                    let mut place = PLACE.load(Ordering::Relaxed);
                    if place.is_null() {
                        // RTLD_NEXT is the handle -1.
                        // SAFETY: the name ends with a NUL.
                        place = unsafe { dlsym(ptr::without_provenance_mut(usize::MAX), NAME.as_ptr().cast()) };
                        PLACE.store(place, Ordering::Relaxed);
                    }
                    if place.is_null() {
                        fail(ENOSYS);
                        return $otherwise;
                    }
                    // SAFETY: the C library's function of this name has this signature.
                    unsafe {
                        let function: unsafe extern "C" fn($($type),*) -> $result = core::mem::transmute(place);
                        function($($argument),*)
                    }
                }
            )*
        }
    };
}

real! {
    fn send(fd: c_int, buffer: *const c_void, length: usize, flags: c_int) -> isize, else -1;
    fn sendto(fd: c_int, buffer: *const c_void, length: usize, flags: c_int, to: *const c_void, to_length: c_uint) -> isize, else -1;
    fn sendmsg(fd: c_int, message: *const Msghdr, flags: c_int) -> isize, else -1;
    fn recv(fd: c_int, buffer: *mut c_void, length: usize, flags: c_int) -> isize, else -1;
    fn recvfrom(fd: c_int, buffer: *mut c_void, length: usize, flags: c_int, from: *mut c_void, from_length: *mut c_uint) -> isize, else -1;
    fn recvmsg(fd: c_int, message: *mut Msghdr, flags: c_int) -> isize, else -1;
    fn getsockname(fd: c_int, address: *mut c_void, length: *mut c_uint) -> c_int, else -1;
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut c_uint) -> c_int, else -1;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: c_uint) -> c_int, else -1;
    fn poll(fds: *mut Pollfd, count: c_ulong, milliseconds: c_int) -> c_int, else -1;
    fn ppoll(fds: *mut Pollfd, count: c_ulong, time: *const Timespec, signals: *const c_void) -> c_int, else -1;
    fn select(count: c_int, read: *mut c_ulong, write: *mut c_ulong, except: *mut c_ulong, time: *mut Timeval) -> c_int, else -1;
    fn epoll_wait(epoll: c_int, events: *mut EpollEvent, room: c_int, milliseconds: c_int) -> c_int, else -1;
    fn epoll_pwait(epoll: c_int, events: *mut EpollEvent, room: c_int, milliseconds: c_int, signals: *const c_void) -> c_int, else -1;
    fn epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut EpollEvent) -> c_int, else -1;
    fn close(fd: c_int) -> c_int, else -1;
    fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int, else -1;
    fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int, else -1;
    fn openat(folder: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int, else -1;
    fn openat64(folder: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int, else -1;
    fn fopen(path: *const c_char, mode: *const c_char) -> *mut c_void, else core::ptr::null_mut();
    fn fopen64(path: *const c_char, mode: *const c_char) -> *mut c_void, else core::ptr::null_mut();
    fn access(path: *const c_char, mode: c_int) -> c_int, else -1;
    fn faccessat(folder: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int, else -1;
    fn stat(path: *const c_char, found: *mut c_void) -> c_int, else -1;
    fn stat64(path: *const c_char, found: *mut c_void) -> c_int, else -1;
    fn lstat(path: *const c_char, found: *mut c_void) -> c_int, else -1;
    fn lstat64(path: *const c_char, found: *mut c_void) -> c_int, else -1;
    fn fstatat(folder: c_int, path: *const c_char, found: *mut c_void, flags: c_int) -> c_int, else -1;
    fn fstatat64(folder: c_int, path: *const c_char, found: *mut c_void, flags: c_int) -> c_int, else -1;
    fn statx(folder: c_int, path: *const c_char, flags: c_int, mask: c_uint, found: *mut c_void) -> c_int, else -1;
    fn __xstat(version: c_int, path: *const c_char, found: *mut c_void) -> c_int, else -1;
    fn __xstat64(version: c_int, path: *const c_char, found: *mut c_void) -> c_int, else -1;
    fn __lxstat(version: c_int, path: *const c_char, found: *mut c_void) -> c_int, else -1;
    fn __lxstat64(version: c_int, path: *const c_char, found: *mut c_void) -> c_int, else -1;
}
