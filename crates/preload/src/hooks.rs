//! The functions of the C library about sockets that this one stands before.

use crate::c::{self, Msghdr, SockaddrNl, c_int, c_uint, c_void, fail, real};
use crate::socket::{self, Way};
use crate::{lvsd, message};
use core::{ptr, slice};

/// How long lvsd may take to come back where it was just now.
const PATIENCE_MS: c_int = 5000;
/// Between two tries whether it is back.
const AGAIN_MS: c_int = 50;
/// Numbers of the old interface of IPVS (`IP_VS_BASE_CTL` in `linux/ip_vs.h`).
const OLD_OPTIONS: core::ops::Range<c_int> = 1152..1216;

/// Where a datagram goes.
#[derive(Clone, Copy)]
enum To {
    /// Where the program sends it.
    There,
    /// To lvsd's port.
    Port(u32),
    /// Where the socket is connected to, which is lvsd.
    Peer,
}

/// Sends a datagram that begins with `begin`, by `put`, which knows the rest of it.
///
/// # Safety
/// `name` is null or points to `name_length` bytes.
unsafe fn send_with(
    fd: c_int,
    begin: &[u8],
    name: *const c_void,
    name_length: c_uint,
    flags: c_int,
    mut put: impl FnMut(To) -> isize,
) -> isize {
    let way = socket::way(fd);
    if let Way::Unix(_) = way {
        socket::set_waiting(fd, message::has_an_end(begin));
        return put(To::Peer);
    }
    // SAFETY: as the caller says.
    let is_for_the_kernel = name.is_null() || unsafe { is_port_zero(name, name_length) };
    if !message::is_for_ipvs(begin) || !is_for_the_kernel || !socket::is_generic_netlink(fd) {
        return put(To::There);
    }
    let mut left = if socket::may_wait(fd, flags) {
        PATIENCE_MS
    } else {
        0
    };
    loop {
        let Some(port) = lvsd::port(fd) else {
            return put(To::There);
        };
        // Before it is sent: the answer may be there at once.
        socket::remember(fd, Way::Netlink(port));
        socket::set_waiting(fd, message::has_an_end(begin));
        let sent = put(To::Port(port));
        if sent >= 0 {
            return sent;
        }
        socket::forget(fd);
        match c::errno() {
            // lvsd is being started again, or has died: its forwarding goes on, and the kernel must not answer for it.
            c::ECONNREFUSED if left > 0 => {
                socket::sleep(AGAIN_MS.into());
                left -= AGAIN_MS;
            }
            c::EPERM => {
                if !lvsd::address(fd).is_some_and(|address| socket::replace(fd, &address)) {
                    fail(c::EPERM);
                    return -1;
                }
                socket::set_waiting(fd, message::has_an_end(begin));
                return put(To::Peer);
            }
            _ => return sent,
        }
    }
}

/// # Safety
/// `name` points to `length` bytes.
unsafe fn is_port_zero(name: *const c_void, length: c_uint) -> bool {
    if length < SockaddrNl::LENGTH {
        return false;
    }
    // SAFETY: it is as long as that, and may begin anywhere.
    let name = unsafe { name.cast::<SockaddrNl>().read_unaligned() };
    c_int::from(name.family) == c::AF_NETLINK && name.port == 0 && name.groups == 0
}

/// Where a message was put, as receivers are told.
struct Received {
    length: isize,
    /// The sender, where it was asked for.
    from: *mut c_void,
    from_length: c_uint,
    /// What came, as far as there was room.
    begin: *const u8,
    room: usize,
}

/// Receives by `take`, and has what lvsd sent look as if it came from the kernel.
///
/// # Safety
/// What `take` gives points to what it says.
unsafe fn receive_with(fd: c_int, flags: c_int, mut take: impl FnMut() -> Received) -> Received {
    let way = socket::way(fd);
    if way == Way::None {
        return take();
    }
    loop {
        if let Some(left) = socket::left(fd)
            // A call that does not wait tells, too, what its program was told to be overdue.
            && (left == 0 || socket::may_wait(fd, flags))
            && !socket::wait(fd, left)
        {
            socket::set_waiting(fd, false);
            return failed(c::ETIMEDOUT);
        }
        let received = take();
        if received.length < 0 {
            return received;
        }
        let tells_sender = !received.from.is_null() && received.from_length >= SockaddrNl::LENGTH;
        let from = received.from.cast::<SockaddrNl>();
        match way {
            // lvsd hung up. A netlink socket says that nobody is at the port.
            Way::Unix(_) if received.length == 0 => return failed(c::ECONNREFUSED),
            // SAFETY: there is room for as much, and it may begin anywhere.
            Way::Unix(_) if tells_sender => unsafe { from.write_unaligned(SockaddrNl::of(0)) },
            Way::Netlink(port) if tells_sender => {
                // SAFETY: it is as long as that, and may begin anywhere.
                let sender = unsafe { from.read_unaligned() };
                if sender.port == port {
                    // SAFETY: as before.
                    unsafe { from.write_unaligned(SockaddrNl { port: 0, ..sender }) };
                } else if sender.port != 0 {
                    // Neither lvsd nor the kernel: an answer that somebody made up.
                    if flags & c::MSG_PEEK != 0 {
                        // SAFETY: nothing is written where there is no room.
                        unsafe { real::recv(fd, ptr::null_mut(), 0, c::MSG_DONTWAIT) };
                    }
                    continue;
                }
            }
            _ => {}
        }
        let length = received.room.min(received.length.cast_unsigned());
        if flags & c::MSG_PEEK == 0 && length > 0 && !received.begin.is_null() {
            // SAFETY: so much of it was written.
            let datagram = unsafe { slice::from_raw_parts(received.begin, length) };
            match message::is_the_end(datagram) {
                true => socket::set_waiting(fd, false),
                false => socket::moved(fd),
            }
        }
        return received;
    }
}

fn failed(error: c_int) -> Received {
    fail(error);
    Received {
        length: -1,
        from: ptr::null_mut(),
        from_length: 0,
        begin: ptr::null(),
        room: 0,
    }
}

/// The bytes at a pointer that C programs may leave null.
///
/// # Safety
/// `at` is null or points to `length` bytes.
unsafe fn bytes<'a>(at: *const c_void, length: usize) -> &'a [u8] {
    if at.is_null() || length > isize::MAX.cast_unsigned() {
        return &[];
    }
    // SAFETY: as the caller says.
    unsafe { slice::from_raw_parts(at.cast(), length) }
}

/// `send(2)`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn send(
    fd: c_int,
    buffer: *const c_void,
    length: usize,
    flags: c_int,
) -> isize {
    // SAFETY: the caller's own arguments; to nobody named, as the kernel itself has it.
    unsafe { sendto(fd, buffer, length, flags, ptr::null(), 0) }
}

/// `sendto(2)`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn sendto(
    fd: c_int,
    buffer: *const c_void,
    length: usize,
    flags: c_int,
    name: *const c_void,
    name_length: c_uint,
) -> isize {
    // SAFETY: the caller's own arguments, and an address that lives here.
    unsafe {
        send_with(
            fd,
            bytes(buffer, length),
            name,
            name_length,
            flags,
            |to| match to {
                To::There => real::sendto(fd, buffer, length, flags, name, name_length),
                To::Port(port) => {
                    let name = SockaddrNl::of(port);
                    real::sendto(
                        fd,
                        buffer,
                        length,
                        flags,
                        (&raw const name).cast(),
                        SockaddrNl::LENGTH,
                    )
                }
                To::Peer => real::send(fd, buffer, length, flags | c::MSG_NOSIGNAL),
            },
        )
    }
}

/// `sendmsg(2)`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn sendmsg(fd: c_int, message: *const Msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's own arguments; copies of its header point to what its header points to, or to what lives here.
    unsafe {
        let Some(header) = message.as_ref() else {
            return real::sendmsg(fd, message, flags);
        };
        let begin = match header.pieces.as_ref() {
            Some(piece) if header.piece_count > 0 => bytes(piece.base, piece.length),
            _ => &[],
        };
        send_with(
            fd,
            begin,
            header.name,
            header.name_length,
            flags,
            |to| match to {
                To::There => real::sendmsg(fd, message, flags),
                To::Port(port) => {
                    let mut name = SockaddrNl::of(port);
                    let header = Msghdr {
                        name: (&raw mut name).cast(),
                        name_length: SockaddrNl::LENGTH,
                        ..*header
                    };
                    real::sendmsg(fd, &raw const header, flags)
                }
                To::Peer => {
                    let (nothing, none) = (ptr::null_mut(), 0);
                    let header = Msghdr {
                        name: nothing,
                        name_length: 0,
                        control: nothing,
                        control_length: none,
                        ..*header
                    };
                    real::sendmsg(fd, &raw const header, flags | c::MSG_NOSIGNAL)
                }
            },
        )
    }
}

/// `recv(2)`. Who sent it is asked all the same, since not everybody may.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn recv(
    fd: c_int,
    buffer: *mut c_void,
    length: usize,
    flags: c_int,
) -> isize {
    if socket::way(fd) == Way::None {
        // SAFETY: the caller's own arguments.
        return unsafe { real::recv(fd, buffer, length, flags) };
    }
    let mut name = SockaddrNl::default();
    let mut name_length = SockaddrNl::LENGTH;
    // SAFETY: the caller's own arguments, and an address that lives here.
    unsafe {
        recvfrom(
            fd,
            buffer,
            length,
            flags,
            (&raw mut name).cast(),
            &raw mut name_length,
        )
    }
}

/// `recvfrom(2)`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    length: usize,
    flags: c_int,
    from: *mut c_void,
    from_length: *mut c_uint,
) -> isize {
    // SAFETY: the caller's own arguments, of which the length of the address is read and written as the kernel does.
    unsafe {
        let room = if from_length.is_null() {
            0
        } else {
            *from_length
        };
        let received = receive_with(fd, flags, || {
            if !from_length.is_null() {
                *from_length = room;
            }
            let received = real::recvfrom(fd, buffer, length, flags, from, from_length);
            Received {
                length: received,
                from,
                from_length: room,
                begin: buffer.cast(),
                room: length,
            }
        });
        if received.length >= 0 && !from_length.is_null() && matches!(socket::way(fd), Way::Unix(_))
        {
            *from_length = SockaddrNl::LENGTH;
        }
        received.length
    }
}

/// `recvmsg(2)`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn recvmsg(fd: c_int, message: *mut Msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's own arguments, of which the header is read and written as the kernel does.
    unsafe {
        let Some(&before) = message.as_ref() else {
            return real::recvmsg(fd, message, flags);
        };
        let (begin, room) = match before.pieces.as_ref() {
            Some(piece) if before.piece_count > 0 => (piece.base.cast_const().cast(), piece.length),
            _ => (ptr::null(), 0),
        };
        let received = receive_with(fd, flags, || {
            *message = before;
            let received = real::recvmsg(fd, message, flags);
            Received {
                length: received,
                from: before.name,
                from_length: before.name_length,
                begin,
                room,
            }
        });
        if received.length >= 0 && !before.name.is_null() && matches!(socket::way(fd), Way::Unix(_))
        {
            (*message).name_length = SockaddrNl::LENGTH;
        }
        received.length
    }
}

/// `recv` of programs compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn __recv_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: usize,
    room: usize,
    flags: c_int,
) -> isize {
    // SAFETY: the caller's own arguments.
    unsafe { recv(fd, buffer, length.min(room), flags) }
}

/// `recvfrom` of programs compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: usize,
    room: usize,
    flags: c_int,
    from: *mut c_void,
    from_length: *mut c_uint,
) -> isize {
    // SAFETY: the caller's own arguments.
    unsafe { recvfrom(fd, buffer, length.min(room), flags, from, from_length) }
}

/// `getsockname(2)`: a replaced socket keeps its address.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn getsockname(
    fd: c_int,
    address: *mut c_void,
    length: *mut c_uint,
) -> c_int {
    // SAFETY: the caller's own arguments, written as the kernel does.
    unsafe {
        match socket::way(fd) {
            Way::Unix(port) if !address.is_null() && !length.is_null() => {
                let own = SockaddrNl::of(port);
                let room = (*length).min(SockaddrNl::LENGTH) as usize;
                ptr::copy_nonoverlapping((&raw const own).cast::<u8>(), address.cast(), room);
                *length = SockaddrNl::LENGTH;
                0
            }
            _ => real::getsockname(fd, address, length),
        }
    }
}

/// `setsockopt(2)`: options of netlink mean nothing to a replaced socket; the old interface of IPVS is not lvsd's.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: c_uint,
) -> c_int {
    if level == c::SOL_NETLINK && matches!(socket::way(fd), Way::Unix(_)) {
        return 0;
    }
    if is_old_interface(fd, level, name) {
        return fail(c::ENOPROTOOPT);
    }
    // SAFETY: the caller's own arguments.
    unsafe { real::setsockopt(fd, level, name, value, length) }
}

/// `getsockopt(2)`: the old interface of IPVS is not lvsd's.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut c_uint,
) -> c_int {
    if is_old_interface(fd, level, name) {
        return fail(c::ENOPROTOOPT);
    }
    // SAFETY: the caller's own arguments.
    unsafe { real::getsockopt(fd, level, name, value, length) }
}

fn is_old_interface(fd: c_int, level: c_int, name: c_int) -> bool {
    level == c::SOL_IP && OLD_OPTIONS.contains(&name) && lvsd::port(fd).is_some()
}

/// `epoll_ctl(2)`: what waits for a socket is told when that is replaced, or its answer is overdue.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn epoll_ctl(
    epoll: c_int,
    operation: c_int,
    fd: c_int,
    event: *mut c::EpollEvent,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe {
        let done = real::epoll_ctl(epoll, operation, fd, event);
        let is_wanted = matches!(operation, c::EPOLL_CTL_ADD | c::EPOLL_CTL_MOD);
        if done == 0 && is_wanted && !event.is_null() && socket::is_generic_netlink(fd) {
            socket::register(fd, epoll, *event);
        }
        if done == 0 && operation == c::EPOLL_CTL_DEL {
            socket::unregister(fd);
        }
        done
    }
}

/// `close(2)`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn close(fd: c_int) -> c_int {
    socket::closed(fd);
    // SAFETY: the caller's own argument.
    unsafe { real::close(fd) }
}
