//! The functions of the C library that look at a file without opening it, which this one stands before: scripts test whether
//! `/proc/net/ip_vs` is there. Where there is a director it is, and what is looked at in its place is a file of the same folder
//! that every kernel has and that is like it: for all to read, for nobody to write, without a length.

use crate::c::{c_char, c_int, c_uint, c_void, real};
use crate::proc;

/// The file that the others are like.
const LIKE: *const c_char = c"/proc/net/dev".as_ptr();

/// Looks at a file as the C library does, or at the one that it is like. The path stands between both kinds of brackets.
macro_rules! looker {
    ($(fn $name:ident[$($before:ident: $kind:ty)?]($($after:ident: $type:ty),*);)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`.")]
            ///
            /// # Safety
            /// As there.
            #[cfg_attr(lvsx_preload, unsafe(no_mangle))]
            pub(crate) unsafe extern "C" fn $name($($before: $kind,)? path: *const c_char $(, $after: $type)*) -> c_int {
                // SAFETY: the caller's own arguments, or a path that lives here.
                unsafe {
                    let path = if proc::is_there(path) { LIKE } else { path };
                    real::$name($($before,)? path $(, $after)*)
                }
            }
        )*
    };
}

looker! {
    fn access[](mode: c_int);
    fn faccessat[folder: c_int](mode: c_int, flags: c_int);
    fn stat[](found: *mut c_void);
    fn stat64[](found: *mut c_void);
    fn lstat[](found: *mut c_void);
    fn lstat64[](found: *mut c_void);
    fn fstatat[folder: c_int](found: *mut c_void, flags: c_int);
    fn fstatat64[folder: c_int](found: *mut c_void, flags: c_int);
    fn statx[folder: c_int](flags: c_int, mask: c_uint, found: *mut c_void);
    fn __xstat[version: c_int](found: *mut c_void);
    fn __xstat64[version: c_int](found: *mut c_void);
    fn __lxstat[version: c_int](found: *mut c_void);
    fn __lxstat64[version: c_int](found: *mut c_void);
}
