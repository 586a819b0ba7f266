//! The functions of the C library that open files, which this one stands before.

use crate::c::{self, c_char, c_int, c_uint, c_void, real};
use crate::proc;

/// Opens a file by `otherwise` unless it is one of ours. The mode counts only where a file may be made, and is noise else.
macro_rules! opener {
    ($(#[doc = $doc:literal] $name:ident($($folder:ident)?) as $real:ident;)*) => {
        $(
            #[doc = $doc]
            ///
            /// # Safety
            /// As there.
            #[cfg_attr(lvsx_preload, unsafe(no_mangle))]
            pub(crate) unsafe extern "C" fn $name($($folder: c_int,)? path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
                // SAFETY: the caller's own arguments.
                unsafe {
                    match proc::open(path, flags) {
                        Some(fd) => fd,
                        None => {
                            let makes = flags & (c::O_CREAT | c::O_TMPFILE) != 0;
                            real::$real($($folder,)? path, flags, if makes { mode } else { 0 })
                        }
                    }
                }
            }
        )*
    };
}

opener! {
    /// `open(2)`.
    open() as open;
    /// `open(2)`.
    open64() as open64;
    /// `openat(2)`; the files in question have absolute paths.
    openat(folder) as openat;
    /// `openat(2)`; the files in question have absolute paths.
    openat64(folder) as openat64;
}

/// `open` of programs compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn __open_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { open(path, flags, 0) }
}

/// `open64` of programs compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn __open64_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { open64(path, flags, 0) }
}

/// `fopen(3)`, which does not open by the functions above.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn fopen(path: *const c_char, mode: *const c_char) -> *mut c_void {
    // SAFETY: the caller's own arguments.
    unsafe { proc::fopen(path, mode).unwrap_or_else(|| real::fopen(path, mode)) }
}

/// `fopen(3)`.
///
/// # Safety
/// As there.
#[cfg_attr(lvsx_preload, unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut c_void {
    // SAFETY: the caller's own arguments.
    unsafe { proc::fopen(path, mode).unwrap_or_else(|| real::fopen64(path, mode)) }
}
