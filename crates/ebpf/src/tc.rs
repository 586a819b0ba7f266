//! tc ingress: a packet as the kernel's buffer, whole even when it is a super-frame (GSO), its checksums perhaps partial.

use crate::window::window;
use crate::world::{World, now};
use crate::xdp::{KNOWN_BEHIND_XDP, sum_of};
use crate::{maps, redirect, tail_call, take};
use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::bindings::{
    __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_redir_neigh,
};
use aya_ebpf::helpers::generated::{
    bpf_csum_update, bpf_jiffies64, bpf_ktime_get_ns, bpf_l4_csum_replace, bpf_redirect_neigh,
    bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_pull_data,
};
use aya_ebpf::programs::TcContext;
use core::mem::size_of;
use lvsx_core::director::{Action, Verdict, gateway};
use lvsx_core::env::{Gateway, Tables};
use lvsx_core::event::Event;
use lvsx_core::packet::{Packet, Room};
use lvsx_core::wire::{ETHERNET, word32, word64};
use lvsx_platform::{load16, store16, store32, store64};

/// Headers that must lie in the buffer's linear part: Ethernet, IPv4 with options, TCP.
const HEADERS: u32 = 14 + 60 + 20;

/// A packet under tc.
pub(crate) struct Buffer {
    context: *mut __sk_buff,
    interface: u32,
    length: u32,
}

/// The packet and the world of a program run. Context fields but the packet's ends are read here, once.
#[inline(always)]
pub(crate) fn view(context: &TcContext) -> (Buffer, World) {
    let skb = context.skb.skb;
    // SAFETY: the kernel's context is valid while the program runs.
    let (interface, length) = unsafe { ((*skb).ifindex, (*skb).len) };
    pull(skb, length, HEADERS);
    (
        Buffer {
            context: skb,
            interface,
            length,
        },
        World {
            context: skb.cast(),
        },
    )
}

/// Moves the first `wanted` bytes of a packet of `length` into the buffer's linear part, if they are not there.
#[inline(always)]
fn pull(skb: *mut __sk_buff, length: u32, wanted: u32) {
    // SAFETY: the kernel's context is valid while the program runs.
    let (data, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    let linear = (end - data) as u32;
    let wanted = if length < wanted { length } else { wanted };
    if linear < wanted {
        // SAFETY: the context is the program's own. Failing leaves the packet as it was, and what is missing is seen as
        // missing.
        unsafe { bpf_skb_pull_data(skb, wanted) };
    }
}

/// What the verdict means here.
#[inline(always)]
pub(crate) fn carry_out(buffer: &Buffer, world: &World, verdict: Verdict) -> i32 {
    match verdict.action() {
        // Other programs on the interface still see what passes.
        Action::Pass => TC_ACT_UNSPEC,
        Action::Drop => TC_ACT_SHOT,
        Action::Out => redirect(verdict.interface()) as i32,
        Action::OutUnresolved => redirect_by_neighbour(verdict.interface(), gateway(world)),
        Action::Local => take_to_stack(buffer.context),
        Action::Next => {
            tail_call(
                buffer.context.cast(),
                maps::pointer(&maps::JUMP_TC),
                verdict.stage(),
            );
            world.count(Event::DropTailCall);
            TC_ACT_SHOT
        }
        // Stages that end so have carried it out: `hand_over`.
        Action::Raise | Action::Cut => TC_ACT_SHOT,
    }
}

/// What the verdict of a stage means that may hand the packet to the director.
#[inline(always)]
pub(crate) fn hand_over(buffer: &Buffer, world: &World, verdict: Verdict) -> i32 {
    if take::hand_over(world, verdict, buffer.interface, buffer.length) {
        return TC_ACT_UNSPEC;
    }
    if verdict.is_own() {
        // It ends here, and the stack sends the datagram's other fragments, which it would not after a drop.
        return redirect(NOWHERE) as i32;
    }
    carry_out(buffer, world, verdict)
}

/// The index of no interface.
const NOWHERE: u32 = 0;

/// Reads an address family (4 bytes), an interface that a packet came in by (4) and a raw address (16), and writes the way to
/// that address in their place: its kind, the interface it leaves by, the next hop.
#[inline(always)]
pub(crate) fn tell_route(context: &TcContext) {
    let (mut packet, world) = view(context);
    let Some(question) = packet.bytes::<24>(0) else {
        return;
    };
    let (family, ingress) = (word32(question, 0), word32(question, 4));
    let to = [word64(question, 8), word64(question, 16)];
    let answer = if family == AF_INET {
        world.told4(ingress, to[0] as u32)
    } else {
        world.told6(ingress, to)
    };
    if let Some(bytes) = packet.bytes_mut::<8>(0) {
        store64(bytes, answer.kind | u64::from(answer.interface) << 32);
    }
    if let Some(bytes) = packet.bytes_mut::<8>(8) {
        store64(bytes, answer.hop[0]);
    }
    if let Some(bytes) = packet.bytes_mut::<8>(16) {
        store64(bytes, answer.hop[1]);
    }
}

const AF_INET: u32 = 2;

/// Sends a packet out by way of the kernel's neighbour table, which resolves the next hop and queues meanwhile.
#[inline(always)]
fn redirect_by_neighbour(interface: u32, gateway: Gateway) -> i32 {
    let mut hop: [u32; 5] = [
        gateway.family.into(),
        gateway.address[0] as u32,
        (gateway.address[0] >> 32) as u32,
        gateway.address[1] as u32,
        (gateway.address[1] >> 32) as u32,
    ];
    // SAFETY: `struct bpf_redir_neigh` is these five words.
    let answer = unsafe {
        bpf_redirect_neigh(
            interface,
            hop.as_mut_ptr().cast::<bpf_redir_neigh>(),
            size_of::<bpf_redir_neigh>() as i32,
            0,
        )
    };
    answer as i32
}

/// Whether a packet on its way out came in from elsewhere: it has been seen then.
#[inline(always)]
pub(crate) fn came_in(context: &TcContext) -> bool {
    // SAFETY: the kernel's context is valid while the program runs.
    unsafe { (*context.skb.skb).ingress_ifindex != 0 }
}

/// A packet behind XDP: to this host's own stack, if [`KNOWN_BEHIND_XDP`] stands in front of it.
#[inline(always)]
pub(crate) fn take_in(context: &TcContext) -> i32 {
    let skb = context.skb.skb;
    // SAFETY: the kernel's context is valid while the program runs.
    let (beside, data) = unsafe { ((*skb).data_meta as usize, (*skb).data as usize) };
    if beside + size_of::<u32>() > data {
        return TC_ACT_UNSPEC;
    }
    // SAFETY: the word lies beside the packet, as was seen just now.
    if unsafe { *(beside as *const u32) } != KNOWN_BEHIND_XDP {
        return TC_ACT_UNSPEC;
    }
    take_to_stack(skb)
}

/// Takes a packet to this host's own stack by `lo`, routed as if it had been sent here: so it passes the check of its source,
/// which is an address of this host.
#[inline(always)]
fn take_to_stack(skb: *mut __sk_buff) -> i32 {
    // What hardware summed up of the whole packet counts the link-layer header from here on: that is taken out.
    let context = skb;
    let link = sum_of(0, ETHERNET as u32, |from, to, count| {
        // SAFETY: the buffer holds `count` bytes; the context is the program's own.
        unsafe { bpf_skb_load_bytes(context.cast(), from, to.cast(), count) == 0 }
    });
    if let Some(link) = link {
        // SAFETY: the context is the program's own. Where there is no such sum, nothing happens.
        unsafe { bpf_csum_update(skb, !link) };
    }
    // SAFETY: no next hop is named: the kernel finds it for the packet's own destination.
    let answer = unsafe { bpf_redirect_neigh(LOOPBACK, core::ptr::null_mut(), 0, 0) };
    answer as i32
}

/// Index of `lo` in every network namespace.
const LOOPBACK: u32 = 1;

/// Writes jiffies, nanoseconds and tick into the first 20 bytes.
#[inline(always)]
pub(crate) fn tell_time(context: &TcContext) {
    let (mut packet, world) = view(context);
    // SAFETY: helpers without arguments.
    let (jiffies, nanoseconds) = unsafe { (bpf_jiffies64(), bpf_ktime_get_ns()) };
    if let Some(bytes) = packet.bytes_mut::<8>(0) {
        store64(bytes, jiffies);
    }
    if let Some(bytes) = packet.bytes_mut::<8>(8) {
        store64(bytes, nanoseconds);
    }
    let tick = now(&world);
    if let Some(bytes) = packet.bytes_mut::<4>(16) {
        store32(bytes, tick.0);
    }
}

impl Buffer {
    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<*mut [u8; N]> {
        // SAFETY: the kernel's context is valid while the program runs.
        let (data, end) = unsafe {
            (
                (*self.context).data as usize,
                (*self.context).data_end as usize,
            )
        };
        window(data, end, offset)
    }

    /// Adds bytes behind the link-layer header, or takes some away there.
    #[inline(always)]
    fn resize(&mut self, change: i32, flags: u64) -> bool {
        // SAFETY: the context is the program's own.
        if unsafe { bpf_skb_adjust_room(self.context, change, BPF_ADJ_ROOM_MAC, flags) } != 0 {
            return false;
        }
        self.length = self.length.wrapping_add_signed(change);
        true
    }
}

impl Packet for Buffer {
    const RESOLVES: bool = true;

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
    fn reveal(&mut self, length: u32) {
        pull(self.context, self.length, length);
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn is_aggregate(&self) -> bool {
        // SAFETY: the kernel's context is valid while the program runs.
        unsafe { (*self.context).gso_size != 0 }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.interface
    }

    #[inline(always)]
    fn push(&mut self, length: u32, room: Room) -> bool {
        self.resize(length as i32, room.flags())
    }

    #[inline(always)]
    fn pop(&mut self, length: u32) -> bool {
        self.resize(-(length as i32), 0)
    }

    #[inline(always)]
    fn cut(&mut self, length: u32) -> bool {
        // The kernel drops the state of a super-frame with any change of the tail, and the sum of the packet that hardware
        // gave (`CHECKSUM_COMPLETE`) only when the tail grows: so it grows by a byte and loses it again.
        // SAFETY: the context is the program's own.
        let done = length <= self.length
            && unsafe {
                bpf_skb_change_tail(self.context, length, 0) == 0
                    && bpf_skb_change_tail(self.context, length + 1, 0) == 0
                    && bpf_skb_change_tail(self.context, length, 0) == 0
            };
        if done {
            self.length = length;
        }
        done
    }

    #[inline(always)]
    fn adjust_checksum(&mut self, offset: usize, address: u32, port: u32, udp: bool) -> Option<()> {
        // Size 0: the value is a difference. A partial checksum covers the addresses only, which the first call says.
        let mangled = if udp {
            u64::from(BPF_F_MARK_MANGLED_0)
        } else {
            0
        };
        let pseudo = u64::from(BPF_F_PSEUDO_HDR) | mangled;
        // SAFETY: the context is the program's own; the kernel checks the offset.
        let failed = unsafe {
            bpf_l4_csum_replace(self.context, offset as u32, 0, u64::from(address), pseudo) != 0
                || port != 0
                    && bpf_l4_csum_replace(self.context, offset as u32, 0, u64::from(port), mangled)
                        != 0
        };
        if failed { None } else { Some(()) }
    }

    #[inline(always)]
    fn is_partial(&mut self, offset: usize) -> bool {
        // No field tells, but the kernel corrects a begun checksum for changes of the pseudo header alone: so one that a
        // change of data leaves as it was is one.
        let Some(before) = self.bytes::<2>(offset).map(load16) else {
            return false;
        };
        // SAFETY: the context is the program's own; the kernel checks the offset. Size 0: the value is a difference.
        if unsafe { bpf_l4_csum_replace(self.context, offset as u32, 0, 1, 0) } != 0 {
            return false;
        }
        match self.bytes_mut::<2>(offset) {
            Some(field) if load16(field) != before => {
                store16(field, before);
                false
            }
            Some(_) => true,
            None => false,
        }
    }

    #[inline(always)]
    fn shift_sum(&mut self, change: u32) {
        // SAFETY: the context is the program's own. It fails where no such sum is kept, which is as well.
        unsafe { bpf_csum_update(self.context, change) };
    }

    #[inline(always)]
    fn sum(&self, offset: usize, length: u32) -> Option<u32> {
        let context = self.context;
        sum_of(offset as u32, length, |from, to, count| {
            // SAFETY: the buffer holds `count` bytes; the context is the program's own.
            unsafe { bpf_skb_load_bytes(context.cast(), from, to.cast(), count) == 0 }
        })
    }
}
