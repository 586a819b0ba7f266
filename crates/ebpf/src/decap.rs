//! A real server's end of an IP-in-IP tunnel (RFC 2003), for kernels without the ipip module.
//!
//! The outer header goes, the packet inside goes on to the stack as if it had come so. Only packets addressed to this
//! host, unfragmented, without options in the outer header, and with a whole IPv4 header inside.

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::helpers::generated::bpf_skb_adjust_room;
use aya_ebpf::programs::TcContext;
use lvsx_core::forward::tunnel::IPIP;
use lvsx_core::packet::Packet;
use lvsx_core::wire::{ETHERNET, Head4, Header4, IPV4, OUTER4};

/// `PACKET_HOST`: addressed to this host's link-layer address.
const TO_THIS_HOST: u32 = 0;

/// Takes the outer header off, if there is one to take off. What is not for us stays as it is.
#[inline(always)]
pub(crate) fn unwrap(context: &TcContext) {
    // SAFETY: the kernel's context is valid while the program runs.
    if unsafe { (*context.skb.skb).pkt_type } != TO_THIS_HOST {
        return;
    }
    let (packet, _) = crate::tc::view(context);
    let Some(head) = Head4::of(&packet) else {
        return;
    };
    if head.kind() != IPV4 {
        return;
    }
    let Ok(outer) = Header4::parse(&head, packet.len()) else {
        return;
    };
    if outer.protocol != IPIP || outer.is_fragment || outer.transport != ETHERNET + OUTER4 {
        return;
    }
    match packet.bytes::<20>(outer.transport) {
        Some(inner) if inner[0] >> 4 == 4 && inner[0] & 0xf >= 5 => {}
        _ => return,
    }
    // SAFETY: the context is the program's own. Failing leaves the packet as it was.
    unsafe { bpf_skb_adjust_room(context.skb.skb, -(OUTER4 as i32), BPF_ADJ_ROOM_MAC, 0) };
}
