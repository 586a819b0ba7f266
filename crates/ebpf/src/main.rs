//! The data plane's programs: a few lines each over the core, once for XDP and once for tc.
//!
//! | program | hook | does |
//! |---|---|---|
//! | `fast_xdp`, `fast_tc` | every packet in | connections in their sets; hands the rest on |
//! | `open_xdp`, `open_tc` | tail call | first packets: service and destination |
//! | `bind_xdp`, `bind_tc` | tail call | first packets: the connection's entry, and out |
//! | `overflow_xdp`, `overflow_tc` | tail call | connections in the overflow area |
//! | `start_hand` | test run | starts the timer that removes expired connections |
//! | `clock` | test run | tells jiffies, nanoseconds and tick |
//! | `decap_tc` | a real server's interface | takes the outer header off IP-in-IP packets |
//!
//! Names of maps, programs and globals are the interface to whoever loads them (crate `director`, crate `host`).
#![no_std]
#![no_main]

mod decap;
mod hand;
mod maps;
mod tc;
mod window;
mod world;
mod xdp;

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_tail_call};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use core::ffi::c_void;
use lvsx_core::director::{self, Stage};

/// A program of either hook for a stage of the core's.
macro_rules! stages {
    ($($stage:ident: $xdp:ident, $tc:ident;)*) => {$(
        #[xdp]
        fn $xdp(context: XdpContext) -> u32 {
            let (mut packet, world) = xdp::view(&context);
            let verdict = director::$stage(&mut packet, &world);
            xdp::carry_out(&packet, &world, verdict)
        }

        #[classifier]
        fn $tc(context: TcContext) -> i32 {
            let (mut packet, world) = tc::view(&context);
            let verdict = director::$stage(&mut packet, &world);
            tc::carry_out(&packet, &world, verdict)
        }
    )*};
}

stages! {
    fast: fast_xdp, fast_tc;
    open: open_xdp, open_tc;
    overflow: overflow_xdp, overflow_tc;
    bind: bind_xdp, bind_tc;
}

#[classifier]
fn start_hand(_context: TcContext) -> i32 {
    hand::start()
}

#[classifier]
fn clock(context: TcContext) -> i32 {
    tc::tell_time(&context);
    TC_ACT_OK
}

#[classifier]
fn decap_tc(context: TcContext) -> i32 {
    decap::unwrap(&context);
    TC_ACT_UNSPEC
}

/// Sends a packet out by an interface. Both hooks.
#[inline(always)]
fn redirect(interface: u32) -> i64 {
    // SAFETY: a helper that takes numbers.
    unsafe { bpf_redirect(interface, 0) }
}

/// Goes on in another stage's program; returns only if that fails. Both hooks. The index stands written out in each call,
/// because the kernel makes a direct jump of a constant one.
#[inline(always)]
fn tail_call(context: *mut c_void, programs: *mut c_void, stage: Stage) {
    // SAFETY: both pointers are the kernel's.
    unsafe {
        match stage {
            Stage::Fast => bpf_tail_call(context, programs, Stage::Fast as u32),
            Stage::Open => bpf_tail_call(context, programs, Stage::Open as u32),
            Stage::Overflow => bpf_tail_call(context, programs, Stage::Overflow as u32),
            Stage::Bind => bpf_tail_call(context, programs, Stage::Bind as u32),
        }
    };
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Were a panic reachable, this endless loop would be refused by the verifier: so none is.
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
