//! The library that `lvsx run` has loaded into programs which know only the kernel's IPVS (`LD_PRELOAD`). It stands before a
//! few functions of the C library, passes everything on as it is, and carries to lvsd:
//!
//! - datagrams to the generic-netlink family `IPVS`: the question for its id, and those with the id that lvsd answers, which
//!   no kernel gives out. A socket is touched when it sends the first of them, so routes, addresses and other families stay
//!   what they were. (`hooks`, `message`)
//! - opening `/proc/net/ip_vs*`: a file in memory with lvsd's text. (`files`, `proc`) Looking whether it is there. (`looks`)
//! - waiting without limit for an answer that is overdue: ends, since nobody may be left to give it. (`waits`)
//! - the old socket options of IPVS: refused as a kernel without IPVS does, where this network namespace is lvsd's.
//!
//! Which director: that of the network namespace of the program's own socket, so a program that changes namespaces is
//! followed. Without one there, the kernel is asked as if this library were not there. By which way: the datagram goes to
//! lvsd's netlink port instead of port 0, and the socket remains what it is; where the kernel does not let the program do
//! that, for want of `CAP_NET_ADMIN`, the socket is replaced by one to lvsd's Unix socket, if that lets it in. (`lvsd`)
//!
//! The program must never suffer: no allocation, no panic, no lock, nothing but C functions that are safe after `fork`;
//! waiting is bounded.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    not(lvsx_preload),
    allow(
        dead_code,
        reason = "the functions before those of the C library are roots of the loaded library alone"
    )
)]

mod c;
mod files;
mod hooks;
mod looks;
mod lvsd;
pub mod message;
mod proc;
mod socket;
mod waits;

/// Nothing here can panic; the mark shows in the library if a change made it possible (`lvsx run` has a test for it).
#[cfg(lvsx_preload)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    static MARK: &core::ffi::CStr = c"lvsx-preload: a panic is reachable";
    // SAFETY: a text with its end, and a function that takes none.
    unsafe {
        c::perror(MARK.as_ptr());
        c::abort()
    }
}
