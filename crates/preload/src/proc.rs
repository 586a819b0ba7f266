//! `/proc/net/ip_vs*`: lvsd's texts, as files in memory.

use crate::c::{self, SockaddrNl, c_char, c_int, c_void, fail, real};
use crate::message::{self, Part};
use crate::{lvsd, socket};
use core::ffi::CStr;
use core::ptr;

/// The folders that the files are in.
const FOLDERS: [&[u8]; 3] = [b"/proc/net/", b"/proc/self/net/", b"/proc/thread-self/net/"];
/// The files.
const FILES: [&[u8]; 6] = [
    b"ip_vs",
    b"ip_vs_app",
    b"ip_vs_conn",
    b"ip_vs_conn_sync",
    b"ip_vs_stats",
    b"ip_vs_stats_percpu",
];
/// Longest datagram of an answer; lvsd's have 8 KiB at most.
const DATAGRAM_MAX: usize = 16 << 10;
/// How long the next part may take.
const PATIENCE_MS: c_int = 5000;

/// The file of a path, if it is one of ours.
fn file(path: &[u8]) -> Option<&[u8]> {
    let name = FOLDERS
        .iter()
        .find_map(|folder| path.strip_prefix(*folder))?;
    FILES.contains(&name).then_some(name)
}

/// Whether a path is that of one of the files, and there is a director, who has it. The error of the last call stays.
///
/// # Safety
/// `path` is null or a text.
pub(crate) unsafe fn is_there(path: *const c_char) -> bool {
    // SAFETY: as the caller says; what is closed is our own.
    unsafe {
        if path.is_null() || file(CStr::from_ptr(path).to_bytes()).is_none() {
            return false;
        }
        let error = c::errno();
        let asking = asking();
        let is_there = asking >= 0 && lvsd::port(asking).is_some();
        if asking >= 0 {
            real::close(asking);
        }
        fail(error);
        is_there
    }
}

/// A socket to ask lvsd by, or -1.
fn asking() -> c_int {
    let kind = c::SOCK_RAW | c::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    unsafe { c::socket(c::AF_NETLINK, kind, c::NETLINK_GENERIC) }
}

/// Opens one of the files where there is a director. `None`: another file, or no director.
///
/// # Safety
/// `path` is null or a text.
pub(crate) unsafe fn open(path: *const c_char, flags: c_int) -> Option<c_int> {
    if path.is_null() || flags & c::O_ACCMODE != 0 {
        return None;
    }
    // SAFETY: as the caller says.
    let name = file(unsafe { CStr::from_ptr(path) }.to_bytes())?;
    // SAFETY: no pointers; what is closed is our own.
    unsafe {
        let asking = asking();
        if asking < 0 {
            return None;
        }
        let port = lvsd::port(asking);
        let opened = port.map(|port| text(asking, port, name, flags));
        let error = c::errno();
        real::close(asking);
        if opened == Some(-1) {
            fail(error);
        }
        opened
    }
}

/// As [`open`], for `fopen`.
///
/// # Safety
/// `path` and `mode` are null or texts.
pub(crate) unsafe fn fopen(path: *const c_char, mode: *const c_char) -> Option<*mut c_void> {
    // SAFETY: as the caller says.
    unsafe {
        // Reading, and nothing else: no `+` behind it.
        let is_read = mode.as_ref().is_some_and(|first| *first == b'r' as c_char);
        if !is_read || CStr::from_ptr(mode).to_bytes().contains(&b'+') {
            return None;
        }
        let closes = if CStr::from_ptr(mode).to_bytes().contains(&b'e') {
            c::O_CLOEXEC
        } else {
            0
        };
        Some(match open(path, closes)? {
            fd if fd < 0 => ptr::null_mut(),
            fd => c::fdopen(fd, c"r".as_ptr()),
        })
    }
}

/// Asks for the text and puts it into a file; its descriptor, or -1.
fn text(asking: c_int, port: u32, name: &[u8], flags: c_int) -> c_int {
    let Some((request, length)) = message::ask_for_text(name) else {
        return fail(c::EIO);
    };
    let to = SockaddrNl::of(port);
    let request = request.as_ptr().cast();
    // SAFETY: pointers and lengths describe what lives here.
    let sent = unsafe {
        real::sendto(
            asking,
            request,
            length,
            0,
            (&raw const to).cast(),
            SockaddrNl::LENGTH,
        )
    };
    if sent < 0 && c::errno() == c::EPERM {
        if !lvsd::address(asking).is_some_and(|address| socket::replace(asking, &address)) {
            return fail(c::EACCES);
        }
        // SAFETY: pointer and length describe the request.
        let sent = unsafe { real::send(asking, request, length, c::MSG_NOSIGNAL) };
        let opened = if sent < 0 {
            -1
        } else {
            receive(asking, 0, flags)
        };
        socket::forget(asking);
        return opened;
    }
    if sent < 0 {
        -1
    } else {
        receive(asking, port, flags)
    }
}

/// Receives the text from `port` (0: from whom the socket is connected to) into a file.
fn receive(asking: c_int, port: u32, flags: c_int) -> c_int {
    let closes = if flags & c::O_CLOEXEC != 0 {
        c::MFD_CLOEXEC
    } else {
        0
    };
    // SAFETY: a text with its end.
    let file = unsafe { c::memfd_create(c"ip_vs".as_ptr(), closes) };
    if file < 0 {
        return -1;
    }
    let error = copy(asking, port, file);
    // SAFETY: the descriptor is our own.
    unsafe {
        if error == 0 && c::lseek(file, 0, c::SEEK_SET) == 0 {
            return file;
        }
        real::close(file);
    }
    fail(if error == 0 { c::EIO } else { error })
}

/// Copies the text into `file`. 0, or the error.
fn copy(asking: c_int, port: u32, file: c_int) -> c_int {
    let mut buffer = [0u8; DATAGRAM_MAX];
    loop {
        if !socket::wait(asking, PATIENCE_MS) {
            return c::ETIMEDOUT;
        }
        let (mut from, mut from_length) = (SockaddrNl::default(), SockaddrNl::LENGTH);
        // SAFETY: pointers and lengths describe what lives here.
        let length = unsafe {
            let from = (&raw mut from).cast();
            real::recvfrom(
                asking,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                from,
                &raw mut from_length,
            )
        };
        let Some(datagram) = usize::try_from(length)
            .ok()
            .and_then(|length| buffer.get(..length))
        else {
            return c::errno();
        };
        if datagram.is_empty() {
            return c::ECONNREFUSED;
        }
        if port != 0 && from.port != port {
            continue;
        }
        for part in message::parts(datagram) {
            match part {
                Part::Text(text) if !write(file, text) => return c::EIO,
                Part::Text(_) => {}
                Part::End => return 0,
                Part::Refused(error) => return error,
            }
        }
    }
}

fn write(file: c_int, text: &[u8]) -> bool {
    // SAFETY: pointer and length describe the text. A file in memory takes it whole.
    unsafe { c::write(file, text.as_ptr().cast(), text.len()) == text.len().cast_signed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_paths() {
        assert_eq!(file(b"/proc/net/ip_vs"), Some(&b"ip_vs"[..]));
        assert_eq!(file(b"/proc/self/net/ip_vs_conn"), Some(&b"ip_vs_conn"[..]));
        for other in [
            &b"/proc/net/ip_vs_"[..],
            b"/proc/net/tcp",
            b"ip_vs",
            b"/proc/net//ip_vs",
            b"",
        ] {
            assert_eq!(file(other), None);
        }
    }
}
