//! Where lvsd is: the files of a network namespace's director, as `lvsx_ipvs::namespace` names them.

use crate::c::{self, c_char, c_int, real};
use core::sync::atomic::{AtomicUsize, Ordering};

/// The folder of all namespaces' folders, and the variable that replaces it.
const RUN_DIR: &[u8] = b"/run/lvsx";
const RUN_DIR_VARIABLE: &[u8] = b"LVSX_RUN_DIR=";
/// lvsd's files in a namespace's folder: the number of its netlink port, its Unix socket.
const PORT: &[u8] = b"/port\0";
const SOCKET: &[u8] = b"/director.sock\0";
/// lvsd's netlink port, unless somebody had taken it before.
pub(crate) const FIRST_PORT: u32 = 0x125 << 22;
/// What fits into the address of a Unix socket.
const PATH_MAX: usize = 108;

/// The folder named by the environment that the program began with; programs clear theirs.
static NAMED: NamedFolder = NamedFolder {
    length: AtomicUsize::new(0),
    bytes: [const { core::sync::atomic::AtomicU8::new(0) }; PATH_MAX],
};

struct NamedFolder {
    length: AtomicUsize,
    bytes: [core::sync::atomic::AtomicU8; PATH_MAX],
}

/// Called by the loader before the program begins.
#[cfg(lvsx_preload)]
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) = begin;

/// # Safety
/// `variables` is a list of texts that ends with a null pointer.
unsafe extern "C" fn begin(_: c_int, _: *const *const c_char, variables: *const *const c_char) {
    let mut at = variables;
    // SAFETY: each step stays in the list, which ends with a null pointer.
    while !at.is_null() && unsafe { !(*at).is_null() } {
        // SAFETY: texts of the environment end with a NUL.
        let text = unsafe { core::ffi::CStr::from_ptr(*at) }.to_bytes();
        if let Some(folder) = text.strip_prefix(RUN_DIR_VARIABLE)
            && folder.len() <= NAMED.bytes.len()
        {
            for (to, from) in NAMED.bytes.iter().zip(folder) {
                to.store(*from, Ordering::Relaxed);
            }
            NAMED.length.store(folder.len(), Ordering::Relaxed);
        }
        // SAFETY: the end is not reached.
        at = unsafe { at.add(1) };
    }
}

/// A path that is being put together.
struct Path {
    bytes: [u8; PATH_MAX],
    length: usize,
}

impl Path {
    fn push(&mut self, part: &[u8]) -> Option<()> {
        let end = self.length.checked_add(part.len())?;
        self.bytes.get_mut(self.length..end)?.copy_from_slice(part);
        self.length = end;
        Some(())
    }

    fn push_number(&mut self, number: u64) -> Option<()> {
        if number >= 10 {
            self.push_number(number / 10)?;
        }
        self.push(&[b'0' + (number % 10) as u8])
    }

    /// A file of the director of the network namespace that `socket` belongs to.
    fn of(socket: c_int, file: &[u8]) -> Option<Self> {
        let (mut cookie, mut length) = (0u64, size_of::<u64>() as u32);
        // SAFETY: pointer and length describe `cookie`.
        let done = unsafe {
            real::getsockopt(
                socket,
                c::SOL_SOCKET,
                c::SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut length,
            )
        };
        if done != 0 {
            return None;
        }
        let mut path = Self {
            bytes: [0; PATH_MAX],
            length: 0,
        };
        match NAMED.length.load(Ordering::Relaxed) {
            0 => path.push(RUN_DIR)?,
            length => {
                for byte in NAMED.bytes.get(..length)? {
                    path.push(&[byte.load(Ordering::Relaxed)])?;
                }
            }
        }
        path.push(b"/")?;
        path.push_number(cookie)?;
        path.push(file)?;
        Some(path)
    }
}

/// The netlink port of the director of the network namespace that `socket` belongs to. `None`: there is no director. Read
/// anew each time: a director that was started again may have another one. Where its folder is not for us, it is taken to be
/// the first: whether we may ask there is for the kernel to say, and without our rights nobody could answer in its place.
pub(crate) fn port(socket: c_int) -> Option<u32> {
    let path = Path::of(socket, PORT)?;
    let mut text = [0u8; 16];
    // SAFETY: the path ends with a NUL, pointer and length describe `text`, the descriptor is our own.
    let length = unsafe {
        let file = real::open(path.bytes.as_ptr().cast(), c::O_CLOEXEC, 0);
        if file < 0 {
            return (c::errno() == c::EACCES).then_some(FIRST_PORT);
        }
        let length = c::read(file, text.as_mut_ptr().cast(), text.len());
        real::close(file);
        length
    };
    let text = text.get(..usize::try_from(length).ok()?)?;
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let number = digits.fold(0u32, |number, digit| {
        number
            .wrapping_mul(10)
            .wrapping_add(u32::from(digit - b'0'))
    });
    (number != 0).then_some(number)
}

/// The address of the Unix socket of the director of the network namespace that `socket` belongs to.
pub(crate) fn address(socket: c_int) -> Option<c::SockaddrUn> {
    let path = Path::of(socket, SOCKET)?.bytes;
    Some(c::SockaddrUn {
        family: c::AF_UNIX as u16,
        path,
    })
}
