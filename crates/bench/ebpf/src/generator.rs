//! The packets: before each run of the program under test the frame is made anew, of the next flow.
//!
//! A test run repeats a program on the frame that the last repetition left: rewritten, or longer by an outer header. So
//! the generator is what is repeated, and it jumps into the program under test.

use crate::frame::Frame;
use crate::order::{
    ADDRESSES, CLIENTS, FIRST, FIRST_PORT, FLOW, FRAME, INTERFACE, IS_FRESH, LENGTH, MASK,
    NETWORK_SUM, PROTOCOL, TRANSPORT_SUM, WORDS,
};
use aya_ebpf::bindings::xdp_action::XDP_ABORTED;
use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_xdp_adjust_head};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;

#[btf_map]
static ORDER: Array<[u32; WORDS], 1> = Array::new();

/// The program under test, at index 0.
#[btf_map]
static UNDER_TEST: ProgramArray<1> = ProgramArray::new();

/// 1: the frame is written so that a kernel takes the programs which reads words at even places alone. Set before they are loaded.
#[unsafe(no_mangle)]
static EVEN: u32 = 0;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Where in a frame the client is told, as words behind the Ethernet header.
pub(crate) struct Shape {
    /// Words in all.
    pub(crate) words: usize,
    /// The last word of its address.
    pub(crate) address: usize,
    /// The first word of the transport header.
    pub(crate) transport: usize,
    /// Whether its port is the second of the two.
    pub(crate) is_receiver: bool,
    /// Whether the network header has a checksum.
    pub(crate) is_summed: bool,
}

/// Makes the frame and jumps.
#[inline(always)]
pub(crate) fn generate(context: &XdpContext, shape: &Shape) -> u32 {
    // Nothing else writes it while a test runs.
    let Some(order) = ORDER.get_ptr_mut(0) else {
        return XDP_ABORTED;
    };
    // SAFETY: the array has this entry, and one program at a time uses it.
    let order = unsafe { &mut *order };
    let length = order[LENGTH] as usize;
    let found = context.data_end() - context.data();
    if found != length {
        // SAFETY: the context is the kernel's.
        let moved = unsafe { bpf_xdp_adjust_head(context.ctx, found as i32 - length as i32) };
        if moved != 0 {
            return XDP_ABORTED;
        }
    }
    let Some(frame) = Frame::of(context, ETHERNET + 4 * shape.words) else {
        return XDP_ABORTED;
    };
    let flow = if order[IS_FRESH] != 0 {
        order[FLOW].wrapping_add(1)
    } else {
        // A full period whatever the power of two: Knuth's conditions hold.
        order[FLOW]
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223)
            & order[MASK]
    };
    order[FLOW] = flow;
    let flow = flow.wrapping_add(order[FIRST]);
    let address = (CLIENTS | flow & (ADDRESSES - 1)).to_be();
    let port = ((FIRST_PORT + flow / ADDRESSES) as u16).to_be();
    let client = (address & 0xffff) + (address >> 16);

    // One store for each load of the programs', so that none waits for two stores to reach the cache.
    // SAFETY: a valid static; volatile because the loader sets it after compilation.
    if unsafe { core::ptr::read_volatile(&raw const EVEN) } == 0 {
        frame.put(0, order[FRAME]);
    } else {
        frame.put_half(0, order[FRAME] as u16);
        frame.put_half(2, (order[FRAME] >> 16) as u16);
    }
    frame.put_half(4, order[FRAME + 1] as u16);
    frame.put(6, order[FRAME + 2]);
    frame.put_half(10, order[FRAME + 3] as u16);
    frame.put_half(12, order[FRAME + 4] as u16);
    let transport_sum = fold(order[TRANSPORT_SUM] + client + u32::from(port));
    let (summed, sum) = if order[PROTOCOL] == 6 {
        (shape.transport + 4, transport_sum)
    } else {
        (shape.transport + 1, transport_sum << 16)
    };
    for index in 0..shape.words {
        let mut word = order[FRAME + 5 + index];
        if index == shape.address {
            word = address;
        }
        if index == shape.transport {
            word |= u32::from(port) << if shape.is_receiver { 16 } else { 0 };
        }
        if index == 2 && shape.is_summed {
            word |= fold(order[NETWORK_SUM] + client) << 16;
        }
        if index == summed {
            word |= sum;
        }
        frame.put(ETHERNET + 4 * index, word);
    }
    // SAFETY: nothing here is to be dropped.
    unsafe { UNDER_TEST.tail_call(context, 0) };
    XDP_ABORTED
}

/// Sends the frame by the interface that was ordered.
#[inline(always)]
pub(crate) fn send() -> u32 {
    match ORDER.get(0) {
        // SAFETY: a helper that takes numbers.
        Some(order) => unsafe { bpf_redirect(order[INTERFACE], 0) as u32 },
        None => XDP_ABORTED,
    }
}

/// The checksum of a sum of 16-bit words.
#[inline(always)]
fn fold(sum: u32) -> u32 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !sum & 0xffff
}
