//! A real server's end of a tunnel, for kernels without the modules of tunnels: IP in IP (RFC 2003, RFC 2473, RFC 4213),
//! GRE (RFC 2784) and GUE version 0 (draft-ietf-intarea-gue) on its own port, IPv4 and IPv6 inside and outside in any mixture.
//!
//! The outer headers go, the packet inside goes on to the stack as if it had come so. Only packets sent to this host's
//! link-layer address, unfragmented, without options or extensions in the outer header, and with a whole IP header inside.
//! Checksums of GRE and of the outer UDP are not looked at: the packet inside has its own. GUE with private options (remote
//! checksum) passes as it is.

use aya_ebpf::bindings::{BPF_F_INGRESS, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::programs::TcContext;
use lvsx_core::packet::Packet;
use lvsx_core::wire::{
    ETHERNET, FIXED6, Head4, Head6, Header4, Header6, IPV4, IPV6, OUTER4, word16,
};
use lvsx_platform::store16;

/// `PACKET_HOST`: addressed to this host's link-layer address.
const TO_THIS_HOST: u32 = 0;

const IPV4_INSIDE: u8 = 4;
const IPV6_INSIDE: u8 = 41;
const UDP: u8 = 17;
const GRE: u8 = 47;

/// GUE's port (IANA), raw.
const GUE_PORT: u16 = 6080u16.to_be();
const UDP_HEADER: usize = 8;

/// Takes the outer headers off, if there are some to take off, and says what becomes of the packet. What is not for us
/// stays as it is.
#[inline(always)]
pub(crate) fn unwrap(context: &TcContext) -> i32 {
    // SAFETY: the kernel's context is valid while the program runs.
    if unsafe { (*context.skb.skb).pkt_type } != TO_THIS_HOST {
        return TC_ACT_UNSPEC;
    }
    let (mut packet, _) = crate::tc::view(context);
    let Some(head) = Head4::of(&packet) else {
        return TC_ACT_UNSPEC;
    };
    let outside = head.kind();
    let Some((length, inside)) = wrapping(&packet, &head) else {
        return TC_ACT_UNSPEC;
    };
    if !packet.pop(length) || inside == outside {
        return TC_ACT_UNSPEC;
    }
    // The kernel still takes it for a packet of the outer family: it comes in once more, by what its header says now.
    let Some(kind) = packet.bytes_mut::<2>(ETHERNET - 2) else {
        return TC_ACT_UNSPEC;
    };
    store16(kind, inside);
    // SAFETY: a helper that takes numbers.
    unsafe { bpf_redirect(packet.interface(), u64::from(BPF_F_INGRESS)) as i32 }
}

/// Length of the outer headers, and the raw EtherType of the packet inside.
#[inline(always)]
fn wrapping<P: Packet>(packet: &P, head: &Head4<'_>) -> Option<(u32, u16)> {
    let (transport, protocol) = match head.kind() {
        IPV4 => {
            let outer = Header4::parse(head, packet.len()).ok()?;
            if outer.is_fragment || outer.transport != ETHERNET + OUTER4 {
                return None;
            }
            (ETHERNET + OUTER4, outer.protocol)
        }
        IPV6 => {
            let outer = Header6::parse(&Head6::of(packet)?, packet.len()).ok()?;
            (ETHERNET + FIXED6, outer.protocol)
        }
        _ => return None,
    };
    let (header, inside) = match protocol {
        IPV4_INSIDE => (0, IPV4),
        IPV6_INSIDE => (0, IPV6),
        GRE => gre(packet, transport)?,
        UDP => gue(packet, transport)?,
        _ => return None,
    };
    let inner = transport + header;
    let sound = match (inside, packet.bytes::<20>(inner)?[0]) {
        (IPV4, first) => first >> 4 == 4 && first & 0xf >= 5,
        (IPV6, first) => first >> 4 == 6,
        _ => false,
    };
    sound.then_some(((inner - ETHERNET) as u32, inside))
}

/// Length of a GRE header, with or without its checksum, and the raw EtherType behind it.
#[inline(always)]
fn gre<P: Packet>(packet: &P, at: usize) -> Option<(usize, u16)> {
    const CHECKSUM: u16 = 0x8000u16.to_be();
    let header = packet.bytes::<4>(at)?;
    let length = match word16(header, 0) {
        0 => 4,
        CHECKSUM => 8,
        _ => return None,
    };
    Some((length, word16(header, 2)))
}

/// Length of UDP and GUE headers, and the raw EtherType of the packet behind them.
#[inline(always)]
fn gue<P: Packet>(packet: &P, at: usize) -> Option<(usize, u16)> {
    let header = packet.bytes::<12>(at)?;
    // Version 0, data, no options, no flags.
    if word16(header, 2) != GUE_PORT || header[UDP_HEADER] != 0 || word16(header, 10) != 0 {
        return None;
    }
    match header[UDP_HEADER + 1] {
        IPV4_INSIDE => Some((UDP_HEADER + 4, IPV4)),
        IPV6_INSIDE => Some((UDP_HEADER + 4, IPV6)),
        _ => None,
    }
}
