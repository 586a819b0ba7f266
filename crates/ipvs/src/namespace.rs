//! Where the director of a network namespace keeps its sockets and files.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

/// Environment variable that replaces [`RUN_DIR`] for all programs.
pub const RUN_DIR_VARIABLE: &str = "LVSX_RUN_DIR";
/// Folder of all namespaces' folders.
pub const RUN_DIR: &str = "/run/lvsx";

/// `SO_NETNS_COOKIE`, Linux 5.14: the number of the socket's network namespace, never used twice.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The folder of all namespaces' folders: `LVSX_RUN_DIR`, else `/run/lvsx`.
#[must_use]
pub fn run_dir() -> PathBuf {
    match std::env::var_os(RUN_DIR_VARIABLE) {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => PathBuf::from(RUN_DIR),
    }
}

/// The cookie of the calling thread's network namespace.
///
/// # Errors
/// Those of `socket` and `getsockopt`; `ENOPROTOOPT` from a kernel older than 5.14.
pub fn cookie() -> io::Result<u64> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    cookie_of(socket.as_fd())
}

/// The cookie of a socket's network namespace.
///
/// # Errors
/// Those of `getsockopt`; `ENOPROTOOPT` from a kernel older than 5.14.
pub fn cookie_of(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: pointer and length describe `cookie`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cookie)
}

/// The folder of the calling thread's network namespace, `<run_dir>/<cookie in decimal>`.
///
/// # Errors
/// Those of [`cookie`].
pub fn namespace_dir() -> io::Result<PathBuf> {
    Ok(run_dir().join(cookie()?.to_string()))
}

/// The folder of the pins of the calling thread's network namespace, `<run_dir>/bpf/<cookie>`; in
/// it each layout version has its own.
///
/// # Errors
/// Those of [`cookie`].
pub fn pins_dir() -> io::Result<PathBuf> {
    Ok(run_dir().join("bpf").join(cookie()?.to_string()))
}

/// The folder of the health checks of the calling thread's network namespace, `<run_dir>/check/<cookie>`. It is root's, and
/// others may look into it.
///
/// # Errors
/// Those of [`cookie`].
pub fn check_dir() -> io::Result<PathBuf> {
    Ok(run_dir().join("check").join(cookie()?.to_string()))
}

/// The folder of what `lvsx realserver` set up in the calling thread's network namespace,
/// `<run_dir>/realserver/<cookie>`. It is no part of the director's own, which goes as a whole when a
/// director on the same machine ends.
///
/// # Errors
/// Those of [`cookie`].
pub fn register_dir() -> io::Result<PathBuf> {
    Ok(run_dir().join("realserver").join(cookie()?.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_stays_the_same() {
        let first = cookie().expect("SO_NETNS_COOKIE");
        assert_eq!(first, cookie().expect("SO_NETNS_COOKIE"));
        assert!(
            namespace_dir()
                .expect("a folder")
                .ends_with(first.to_string())
        );
    }
}
