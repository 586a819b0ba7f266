//! The data plane's programs: a few lines each over the core, once for XDP and once for tc.
//!
//! | program | hook | does |
//! |---|---|---|
//! | `fast_xdp`, `fast_tc` | every packet in | packets of connections as most are; hands the rest on |
//! | `syn_xdp`, `syn_tc` | tail call | connections' first packets as most are; hands the rest on |
//! | `find_xdp`, `find_tc` | tail call | connections in their sets; hands the rest on |
//! | `open_xdp`, `open_tc` | tail call | first packets: service and destination |
//! | `bind_xdp`, `bind_tc` | tail call | first packets: the connection's entry |
//! | `send_xdp`, `send_tc` | tail call | first packets: out |
//! | `overflow_xdp`, `overflow_tc` | tail call | connections in the overflow area; hands them to `found` |
//! | `found_xdp`, `found_tc` | tail call | packets of these connections |
//! | `encapsulate_xdp`, `encapsulate_tc` | tail call | packets of tunnels other than IPv4 in IPv4 |
//! | `refuse_xdp`, `refuse_tc` | tail call | ICMP errors to clients |
//! | `relate_xdp`, `relate_tc` | tail call | ICMP errors about packets of connections |
//! | `carry_xdp`, `carry_tc` | tail call | these errors, on their way |
//! | `convert_xdp`, `convert_tc` | tail call | ICMP errors about packets of the director's tunnels |
//! | `elsewhere6_xdp`, `elsewhere6_tc` | tail call | ICMP errors about IPv6 connections in the overflow area |
//! | `find6_xdp`, ... | tail call | the same stages for IPv6 |
//! | `raise_xdp`, `raise_tc` | tail call | fragments, handed to the director |
//! | `cut_xdp`, `cut_tc` | tail call | packets longer than their way, handed to the director |
//! | `give_back` | test run | XDP: lets frames that the director held go on to the host's stack |
//! | `route` | test run | tells the way to an address |
//! | `answer_xdp`, `answer_tc` | tail call | replies of or for sockets of this host: their connections |
//! | `local_xdp`, `local_tc` | tail call | packets to or from this host's own stack |
//! | `tell_xdp`, `tell_tc` | tail call | packets of masqueraded servers that belong to no connection |
//! | `own_tc` | tc egress | what sockets of this host send |
//! | `behind_tc` | tc ingress behind XDP | replies for sockets of this host, which XDP marked |
//! | `start_hand` | test run | starts the timer that removes expired connections |
//! | `clock` | test run | tells jiffies, nanoseconds and tick |
//! | `decap_tc` | a real server's interface | takes the outer headers off packets in tunnels |
//!
//! Names of maps, programs and globals are the interface to whoever loads them (crate `director`, crate `host`).
#![no_std]
#![no_main]

mod decap;
mod hand;
mod maps;
mod take;
mod tc;
mod window;
mod world;
mod xdp;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_tail_call};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use core::ffi::c_void;
use lvsx_core::director::{self, Stage};

/// A program of either hook for a stage of the core's.
macro_rules! stages {
    ($end:ident: $($stage:ident: $xdp:ident, $tc:ident;)*) => {$(
        #[xdp]
        fn $xdp(context: XdpContext) -> u32 {
            let (mut packet, world) = xdp::view(&context);
            let verdict = director::$stage(&mut packet, &world);
            xdp::$end(&packet, &world, verdict)
        }

        #[classifier]
        fn $tc(context: TcContext) -> i32 {
            let (mut packet, world) = tc::view(&context);
            let verdict = director::$stage(&mut packet, &world);
            tc::$end(&packet, &world, verdict)
        }
    )*};
}

stages! {
    carry_out:
    fast: fast_xdp, fast_tc;
    syn: syn_xdp, syn_tc;
    find: find_xdp, find_tc;
    open: open_xdp, open_tc;
    overflow: overflow_xdp, overflow_tc;
    bind: bind_xdp, bind_tc;
    send: send_xdp, send_tc;
    found: found_xdp, found_tc;
    encapsulate: encapsulate_xdp, encapsulate_tc;
    refuse: refuse_xdp, refuse_tc;
    find6: find6_xdp, find6_tc;
    open6: open6_xdp, open6_tc;
    overflow6: overflow6_xdp, overflow6_tc;
    bind6: bind6_xdp, bind6_tc;
    send6: send6_xdp, send6_tc;
    found6: found6_xdp, found6_tc;
    on: on_xdp, on_tc;
    on6: on6_xdp, on6_tc;
    encapsulate6: encapsulate6_xdp, encapsulate6_tc;
    refuse6: refuse6_xdp, refuse6_tc;
    relate: relate_xdp, relate_tc;
    relate6: relate6_xdp, relate6_tc;
    convert: convert_xdp, convert_tc;
    carry: carry_xdp, carry_tc;
    carry6: carry6_xdp, carry6_tc;
    template: template_xdp, template_tc;
    template6: template6_xdp, template6_tc;
    keep: keep_xdp, keep_tc;
    keep6: keep6_xdp, keep6_tc;
    join: join_xdp, join_tc;
    join6: join6_xdp, join6_tc;
    answer: answer_xdp, answer_tc;
    answer6: answer6_xdp, answer6_tc;
    local: local_xdp, local_tc;
    local6: local6_xdp, local6_tc;
    tell: tell_xdp, tell_tc;
    tell6: tell6_xdp, tell6_tc;
    elsewhere6: elsewhere6_xdp, elsewhere6_tc;
}

stages! {
    hand_over:
    raise: raise_xdp, raise_tc;
    raise6: raise6_xdp, raise6_tc;
    cut: cut_xdp, cut_tc;
}

#[xdp]
fn give_back(_context: XdpContext) -> u32 {
    XDP_PASS
}

#[classifier]
fn route(context: TcContext) -> i32 {
    tc::tell_route(&context);
    TC_ACT_OK
}

#[classifier]
fn own_tc(context: TcContext) -> i32 {
    if tc::came_in(&context) {
        return TC_ACT_UNSPEC;
    }
    let (mut packet, world) = tc::view(&context);
    let verdict = director::own(&mut packet, &world);
    tc::carry_out(&packet, &world, verdict)
}

#[classifier]
fn behind_tc(context: TcContext) -> i32 {
    tc::take_in(&context)
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
    decap::unwrap(&context)
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
            Stage::Find => bpf_tail_call(context, programs, Stage::Find as u32),
            Stage::Open => bpf_tail_call(context, programs, Stage::Open as u32),
            Stage::Overflow => bpf_tail_call(context, programs, Stage::Overflow as u32),
            Stage::Bind => bpf_tail_call(context, programs, Stage::Bind as u32),
            Stage::Send => bpf_tail_call(context, programs, Stage::Send as u32),
            Stage::Found => bpf_tail_call(context, programs, Stage::Found as u32),
            Stage::Encapsulate => bpf_tail_call(context, programs, Stage::Encapsulate as u32),
            Stage::Refuse => bpf_tail_call(context, programs, Stage::Refuse as u32),
            Stage::Find6 => bpf_tail_call(context, programs, Stage::Find6 as u32),
            Stage::Open6 => bpf_tail_call(context, programs, Stage::Open6 as u32),
            Stage::Overflow6 => bpf_tail_call(context, programs, Stage::Overflow6 as u32),
            Stage::Bind6 => bpf_tail_call(context, programs, Stage::Bind6 as u32),
            Stage::Send6 => bpf_tail_call(context, programs, Stage::Send6 as u32),
            Stage::Found6 => bpf_tail_call(context, programs, Stage::Found6 as u32),
            Stage::On => bpf_tail_call(context, programs, Stage::On as u32),
            Stage::On6 => bpf_tail_call(context, programs, Stage::On6 as u32),
            Stage::Encapsulate6 => bpf_tail_call(context, programs, Stage::Encapsulate6 as u32),
            Stage::Refuse6 => bpf_tail_call(context, programs, Stage::Refuse6 as u32),
            Stage::Relate => bpf_tail_call(context, programs, Stage::Relate as u32),
            Stage::Relate6 => bpf_tail_call(context, programs, Stage::Relate6 as u32),
            Stage::Convert => bpf_tail_call(context, programs, Stage::Convert as u32),
            Stage::Carry => bpf_tail_call(context, programs, Stage::Carry as u32),
            Stage::Carry6 => bpf_tail_call(context, programs, Stage::Carry6 as u32),
            Stage::Template => bpf_tail_call(context, programs, Stage::Template as u32),
            Stage::Template6 => bpf_tail_call(context, programs, Stage::Template6 as u32),
            Stage::Keep => bpf_tail_call(context, programs, Stage::Keep as u32),
            Stage::Keep6 => bpf_tail_call(context, programs, Stage::Keep6 as u32),
            Stage::Join => bpf_tail_call(context, programs, Stage::Join as u32),
            Stage::Join6 => bpf_tail_call(context, programs, Stage::Join6 as u32),
            Stage::Raise => bpf_tail_call(context, programs, Stage::Raise as u32),
            Stage::Raise6 => bpf_tail_call(context, programs, Stage::Raise6 as u32),
            Stage::Cut => bpf_tail_call(context, programs, Stage::Cut as u32),
            Stage::Answer => bpf_tail_call(context, programs, Stage::Answer as u32),
            Stage::Answer6 => bpf_tail_call(context, programs, Stage::Answer6 as u32),
            Stage::Local => bpf_tail_call(context, programs, Stage::Local as u32),
            Stage::Local6 => bpf_tail_call(context, programs, Stage::Local6 as u32),
            Stage::Tell => bpf_tail_call(context, programs, Stage::Tell as u32),
            Stage::Tell6 => bpf_tail_call(context, programs, Stage::Tell6 as u32),
            Stage::Elsewhere6 => bpf_tail_call(context, programs, Stage::Elsewhere6 as u32),
            Stage::Syn => bpf_tail_call(context, programs, Stage::Syn as u32),
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
