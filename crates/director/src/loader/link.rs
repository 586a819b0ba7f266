//! Ending a pinned link at once.
//!
//! Removing its pin ends a link too, but some time later: the kernel frees the pin's file after a grace period (Linux 6.9), and
//! until then the program cannot be attached there again.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Commands of `bpf(2)`, from `linux/bpf.h`.
const OBJ_GET: libc::c_long = 7;
const LINK_DETACH: libc::c_long = 34;

/// Detaches the link and removes its pin. One that is not there any more is as well.
pub(super) fn end(pin: &Path) {
    if let Ok(link) = open(pin) {
        // Refused where its interface is gone: nothing is attached then.
        let _ = bpf(LINK_DETACH, [link.as_raw_fd().cast_unsigned().into(), 0]);
    }
    let _ = fs::remove_file(pin);
}

fn open(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let fd = bpf(OBJ_GET, [path.as_ptr() as u64, 0])?;
    // SAFETY: the kernel has just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Both commands take their arguments in the first words; those that are not given are 0.
fn bpf(command: libc::c_long, words: [u64; 2]) -> io::Result<i32> {
    // SAFETY: the kernel reads as many bytes as it is told, of an array that outlives the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, words.as_ptr(), size_of_val(&words)) };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer as i32),
    }
}
