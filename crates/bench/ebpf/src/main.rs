//! The BPF side of the benchmarks: a generator of packets, what is measured beside the director, and where packets end.
//!
//! Built when benchmarks are (`cargo xtask bench`); nothing that users run needs it.
#![no_std]
#![no_main]

mod baselines;
mod frame;
mod generator;
mod order;

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use generator::{Shape, generate};

/// Packets of clients and of servers, of either family.
macro_rules! generators {
    ($($name:ident: $words:literal, $address:literal, $transport:literal, $is_receiver:literal, $is_summed:literal;)*) => {$(
        #[xdp]
        fn $name(context: XdpContext) -> u32 {
            const SHAPE: Shape = Shape {
                words: $words,
                address: $address,
                transport: $transport,
                is_receiver: $is_receiver,
                is_summed: $is_summed,
            };
            generate(&context, &SHAPE)
        }
    )*};
}

generators! {
    from_clients: 10, 3, 5, false, true;
    from_servers: 10, 4, 5, true, true;
    from_clients6: 15, 5, 10, false, false;
    from_servers6: 15, 9, 10, true, false;
}

macro_rules! baselines {
    ($($name:ident)*) => {$(
        #[xdp]
        fn $name(context: XdpContext) -> u32 {
            baselines::$name(&context)
        }
    )*};
}

baselines! { swap hash hash6 hash_fib hash_ipip lru_nat }

/// What the generator itself costs.
#[xdp]
fn null(_context: XdpContext) -> u32 {
    XDP_TX
}

#[xdp]
fn pass(_context: XdpContext) -> u32 {
    XDP_PASS
}

/// Frames leave by an interface, in test runs with live frames.
#[xdp]
fn send(_context: XdpContext) -> u32 {
    generator::send()
}

/// Where frames end that came as XDP has them.
#[xdp]
fn sink(_context: XdpContext) -> u32 {
    XDP_DROP
}

/// Where packets end that came as the stack has them.
#[classifier]
fn sink_tc(_context: TcContext) -> i32 {
    TC_ACT_SHOT
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Were a panic reachable, this endless loop would be refused by the verifier: so none is.
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
