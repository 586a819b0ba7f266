//! Names of hosts and ports in place of the C library's, which would ask files and the network: quick, and the same on every
//! machine. No name is known; addresses that end in an odd byte have a long one, as do odd ports.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

/// "Name or service not known".
const NO_NAME: c_int = -2;
const NAME: &[u8] = b"a-name.of-more-letters-than.any-listing.has-columns.for.example.test\0";

#[repr(C)]
struct Service {
    name: *const c_char,
    aliases: *const *const c_char,
    port: c_int,
    protocol: *const c_char,
}

// SAFETY: it points to what lives for ever and never changes.
unsafe impl Sync for Service {}

static SERVICE: Service = Service {
    name: NAME.as_ptr().cast(),
    aliases: ptr::null(),
    port: 0,
    protocol: ptr::null(),
};

#[unsafe(no_mangle)]
extern "C" fn getaddrinfo(
    _: *const c_char,
    _: *const c_char,
    _: *const c_void,
    _: *mut *mut c_void,
) -> c_int {
    NO_NAME
}

/// # Safety
/// As of the C library's: the address and the buffer have the lengths that are said.
#[unsafe(no_mangle)]
unsafe extern "C" fn getnameinfo(
    addr: *const u8,
    addr_length: u32,
    host: *mut u8,
    host_length: u32,
    _: *mut c_char,
    _: u32,
    _: c_int,
) -> c_int {
    // SAFETY: the caller's word for the length of the address: 16 bytes of IPv4, whose address is in 4..8, 28 of IPv6, 8..24.
    let last = unsafe { *addr.add(if addr_length == 28 { 23 } else { 7 }) };
    if last % 2 == 0 || (host_length as usize) < NAME.len() {
        return NO_NAME;
    }
    // SAFETY: the buffer is long enough, and no part of the name.
    unsafe { ptr::copy_nonoverlapping(NAME.as_ptr(), host, NAME.len()) };
    0
}

#[unsafe(no_mangle)]
extern "C" fn getservbyname(_: *const c_char, _: *const c_char) -> *const c_void {
    ptr::null()
}

#[unsafe(no_mangle)]
extern "C" fn getservbyport(port: c_int, _: *const c_char) -> *const c_void {
    match u16::from_be(port as u16) % 2 {
        0 => ptr::null(),
        _ => (&raw const SERVICE).cast(),
    }
}
