//! XDP: a packet as a frame in the driver's buffer.

use crate::window::window;
use crate::world::World;
use crate::{maps, redirect, tail_call, take};
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_meta, bpf_xdp_adjust_tail,
    bpf_xdp_load_bytes,
};
use aya_ebpf::programs::XdpContext;
use core::mem::size_of;
use lvsx_core::director::{Action, Verdict, gateway};
use lvsx_core::env::Tables;
use lvsx_core::event::Event;
use lvsx_core::packet::{Packet, Room};
use lvsx_core::wire::checksum::{add, correct};
use lvsx_core::wire::{word16, word32};
use lvsx_platform::{hide, store16, store32};

/// The most bytes made room for, or taken away, in front.
const MOST_ROOM: u32 = 127;

/// What XDP writes beside a frame that the tc program behind it takes to this host's own stack.
pub(crate) const KNOWN_BEHIND_XDP: u32 = 0x6c76_7378;

/// A frame under XDP.
pub(crate) struct Frame {
    context: *mut xdp_md,
    interface: u32,
}

/// The packet and the world of a program run. Context fields but the packet's ends are read here, once.
#[inline(always)]
pub(crate) fn view(context: &XdpContext) -> (Frame, World) {
    // SAFETY: the kernel's context is valid while the program runs.
    let interface = unsafe { (*context.ctx).ingress_ifindex };
    (
        Frame {
            context: context.ctx,
            interface,
        },
        World {
            context: context.ctx.cast(),
        },
    )
}

/// What the verdict means here.
#[inline(always)]
pub(crate) fn carry_out(frame: &Frame, world: &World, verdict: Verdict) -> u32 {
    match verdict.action() {
        Action::Pass => XDP_PASS,
        Action::Drop => XDP_DROP,
        Action::Out if verdict.interface() == frame.interface && !verdict.is_held_back() => XDP_TX,
        Action::Out => redirect(verdict.interface()) as u32,
        Action::OutUnresolved => {
            let gateway = gateway(world);
            let hop = maps::UnresolvedHop {
                interface: verdict.interface(),
                family: gateway.family.into(),
                address: gateway.address,
            };
            // A full ring means that the director knows already.
            let _ = maps::UNRESOLVED.output(hop, 0);
            XDP_DROP
        }
        Action::Local => {
            if frame.mark() {
                return XDP_PASS;
            }
            world.count(Event::DropNoMetadata);
            XDP_DROP
        }
        Action::Next => {
            tail_call(
                frame.context.cast(),
                maps::pointer(&maps::JUMP_XDP),
                verdict.stage(),
            );
            world.count(Event::DropTailCall);
            XDP_DROP
        }
        // Stages that end so have carried it out: `hand_over`.
        Action::Raise | Action::Cut => XDP_DROP,
    }
}

/// What the verdict of a stage means that may hand the packet to the director.
#[inline(always)]
pub(crate) fn hand_over(frame: &Frame, world: &World, verdict: Verdict) -> u32 {
    if take::hand_over(world, verdict, frame.interface, frame.len()) {
        return XDP_PASS;
    }
    carry_out(frame, world, verdict)
}

impl Frame {
    #[inline(always)]
    fn ends(&self) -> (usize, usize) {
        // SAFETY: the kernel's context is valid while the program runs.
        unsafe {
            (
                (*self.context).data as usize,
                (*self.context).data_end as usize,
            )
        }
    }

    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<*mut [u8; N]> {
        let (data, end) = self.ends();
        window(data, end, offset)
    }

    /// Writes [`KNOWN_BEHIND_XDP`] in front of the frame, where the tc program behind finds it. `false`: the driver has no
    /// room there.
    #[inline(always)]
    fn mark(&self) -> bool {
        // SAFETY: the context is the program's own.
        if unsafe { bpf_xdp_adjust_meta(self.context, -(size_of::<u32>() as i32)) } != 0 {
            return false;
        }
        // SAFETY: the kernel's context is valid while the program runs.
        let (beside, data) = unsafe {
            (
                (*self.context).data_meta as usize,
                (*self.context).data as usize,
            )
        };
        if beside + size_of::<u32>() > data {
            return false;
        }
        // SAFETY: the word lies beside the packet, as was seen just now.
        unsafe { *(beside as *mut u32) = KNOWN_BEHIND_XDP };
        true
    }

    /// Copies the link-layer header from one offset to another.
    #[inline(always)]
    fn move_link(&mut self, from: usize, to: usize) -> bool {
        let Some(link) = self.bytes::<14>(from) else {
            return false;
        };
        let words = [word32(link, 0), word32(link, 4), word32(link, 8)];
        let kind = word16(link, 12);
        let Some(link) = self.bytes_mut::<14>(to) else {
            return false;
        };
        let (slots, rest) = link.as_chunks_mut::<4>();
        if let ([a, b, c], Some(last)) = (slots, rest.first_chunk_mut::<2>()) {
            store32(a, words[0]);
            store32(b, words[1]);
            store32(c, words[2]);
            store16(last, kind);
        }
        true
    }
}

impl Packet for Frame {
    const RESOLVES: bool = false;

    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        // SAFETY: `at` saw that the bytes lie in the packet; helpers that move it take `&mut self`.
        self.at(offset).map(|bytes| unsafe { &*bytes })
    }

    #[inline(always)]
    fn bytes_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        // SAFETY: as in `bytes`.
        self.at(offset).map(|bytes| unsafe { &mut *bytes })
    }

    #[inline(always)]
    fn reveal(&mut self, _length: u32) {}

    #[inline(always)]
    fn len(&self) -> u32 {
        let (data, end) = self.ends();
        end.wrapping_sub(data) as u32
    }

    #[inline(always)]
    fn is_aggregate(&self) -> bool {
        false
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.interface
    }

    #[inline(always)]
    fn push(&mut self, length: u32, _room: Room) -> bool {
        if length > MOST_ROOM {
            return false;
        }
        // SAFETY: the context is the program's own.
        if unsafe { bpf_xdp_adjust_head(self.context, -(length as i32)) } != 0 {
            return false;
        }
        self.move_link(length as usize, 0)
    }

    #[inline(always)]
    fn pop(&mut self, length: u32) -> bool {
        if length > MOST_ROOM || self.len() < length + 34 || !self.move_link(0, length as usize) {
            return false;
        }
        // SAFETY: the context is the program's own.
        unsafe { bpf_xdp_adjust_head(self.context, length as i32) == 0 }
    }

    #[inline(always)]
    fn cut(&mut self, length: u32) -> bool {
        let whole = self.len();
        if length > whole {
            return false;
        }
        // SAFETY: the context is the program's own.
        unsafe { bpf_xdp_adjust_tail(self.context, length.wrapping_sub(whole) as i32) == 0 }
    }

    #[inline(always)]
    fn adjust_checksum(&mut self, offset: usize, address: u32, port: u32, udp: bool) -> Option<()> {
        correct(self.bytes_mut::<2>(offset)?, add(address, port), udp);
        Some(())
    }

    #[inline(always)]
    fn is_partial(&mut self, _offset: usize) -> bool {
        // A frame cannot carry the mark.
        false
    }

    #[inline(always)]
    fn shift_sum(&mut self, _change: u32) {}

    #[inline(always)]
    fn sum(&self, offset: usize, length: u32) -> Option<u32> {
        let context = self.context;
        sum_of(offset as u32, length, |from, to, count| {
            // SAFETY: the buffer holds `count` bytes; the context is the program's own.
            unsafe { bpf_xdp_load_bytes(context, from, to.cast(), count) == 0 }
        })
    }
}

/// Bytes summed at a time.
const CHUNK: u32 = 512;

/// One's-complement sum over a part of a packet, chunk by chunk through a buffer. `load` copies bytes of the packet.
#[inline(always)]
pub(crate) fn sum_of(
    offset: u32,
    length: u32,
    load: impl Fn(u32, *mut u8, u32) -> bool,
) -> Option<u32> {
    let world = World {
        context: core::ptr::null_mut(),
    };
    let mut sum = 0u32;
    let mut failed = false;
    world.scan(length.div_ceil(CHUNK), |chunk| {
        let done = chunk * CHUNK;
        let left = length.wrapping_sub(done);
        let count = if left > CHUNK { CHUNK } else { left };
        // From 1 to the chunk, in arithmetic that Linux 6.1's verifier follows.
        let count = ((hide(u64::from(count)).wrapping_sub(1) & u64::from(CHUNK - 1)) + 1) as u32;
        let Some(buffer) = maps::BUFFER.get_ptr_mut(0) else {
            return false;
        };
        let mut word = 0;
        while word < 64 {
            // SAFETY: the buffer is this CPU's and 64 words long; volatile keeps the stores from becoming a call.
            unsafe { buffer.cast::<u64>().add(word).write_volatile(0) };
            word += 1;
        }
        if !load(offset.wrapping_add(done), buffer.cast(), count) {
            failed = true;
            return false;
        }
        // SAFETY: the buffer is 512 bytes long.
        sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, buffer.cast(), CHUNK, sum) } as u32;
        true
    });
    if failed { None } else { Some(sum) }
}
