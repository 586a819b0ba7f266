//! What is measured beside the director: each does one thing that a director cannot do without, with the kernel's own means.

use crate::frame::Frame;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_DIRECT, bpf_fib_lookup as FibLookup,
};
use aya_ebpf::btf_maps::{HashMap, LruHashMap};
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_xdp_adjust_head};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;
use core::mem::{size_of, zeroed};

/// What the maps hold at most.
const MOST: usize = 1 << 21;

/// A flow of IPv4.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Flow4 {
    source: u32,
    target: u32,
    ports: u32,
    protocol: u32,
}

/// A flow of IPv6.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Flow6 {
    ends: [u32; 8],
    ports: u32,
    protocol: u32,
}

/// Where a flow goes: what a connection entry holds at least.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Destination {
    address: u32,
    port: u32,
    hop: [u32; 2],
    used: u64,
}

#[btf_map]
static FLOWS: HashMap<Flow4, Destination, MOST> = HashMap::new();
#[btf_map]
static FLOWS6: HashMap<Flow6, Destination, MOST> = HashMap::new();
#[btf_map]
static RECENT: LruHashMap<Flow4, Destination, MOST> = LruHashMap::new();

const TCP: u32 = 6;
const ETHERTYPE: usize = 12;
const IPV4: usize = 14;
/// Behind the ports and what stands for the rest of the header.
const END4: usize = 54;
const END6: usize = 74;
const PORTS4: usize = 34;
const PORTS6: usize = 54;

/// From this host, to the next hop.
#[inline(always)]
fn forward(frame: Frame, hop: [u32; 2]) {
    let (here, rest) = (frame.word(0), frame.half(4));
    frame.put(6, here);
    frame.put_half(10, rest);
    frame.put(0, hop[0]);
    frame.put_half(4, hop[1] as u16);
}

/// The flow of a TCP packet that is whole and has no options.
#[inline(always)]
fn ipv4(context: &XdpContext) -> Option<(Frame, Flow4)> {
    let frame = Frame::of(context, END4)?;
    let shape = frame.word(IPV4);
    let is_fragment = frame.half(IPV4 + 6) & 0x3fff_u16.to_be() != 0;
    let protocol = frame.word(IPV4 + 8) >> 8 & 0xff;
    if frame.half(ETHERTYPE) != 0x0800_u16.to_be()
        || shape & 0xff != 0x45
        || is_fragment
        || protocol != TCP
    {
        return None;
    }
    let flow = Flow4 {
        source: frame.word(IPV4 + 12),
        target: frame.word(IPV4 + 16),
        ports: frame.word(PORTS4),
        protocol,
    };
    Some((frame, flow))
}

/// The first packet of a flow chooses, as a scheduler would.
#[inline(always)]
fn choose(source: u32) -> Destination {
    Destination {
        address: (0xc0a8_0001 + (source >> 24 & 7)).to_be(),
        port: u32::from(8080_u16.to_be()),
        hop: [0x0200_0002, 0x0900],
        used: 0,
    }
}

/// Sends back as it is.
#[inline(always)]
pub(crate) fn swap(context: &XdpContext) -> u32 {
    let Some(frame) = Frame::of(context, 14) else {
        return XDP_DROP;
    };
    let to = [frame.word(6), u32::from(frame.half(10))];
    forward(frame, to);
    XDP_TX
}

macro_rules! destination {
    ($map:ident, $flow:expr, $source:expr) => {{
        let flow = $flow;
        // SAFETY: one program at a time uses the map.
        match unsafe { $map.get(&flow) } {
            Some(found) => *found,
            None => {
                let chosen = choose($source);
                let _ = $map.insert(&flow, &chosen, 0);
                chosen
            }
        }
    }};
}

/// A hash lookup and new link-layer addresses.
#[inline(always)]
pub(crate) fn hash(context: &XdpContext) -> u32 {
    let Some((frame, flow)) = ipv4(context) else {
        return XDP_PASS;
    };
    let found = destination!(FLOWS, flow, flow.source);
    forward(frame, found.hop);
    XDP_TX
}

/// The same for IPv6.
#[inline(always)]
pub(crate) fn hash6(context: &XdpContext) -> u32 {
    let Some(frame) = Frame::of(context, END6) else {
        return XDP_PASS;
    };
    let protocol = frame.word(IPV4 + 4) >> 16 & 0xff;
    if frame.half(ETHERTYPE) != 0x86dd_u16.to_be() || protocol != TCP {
        return XDP_PASS;
    }
    let mut flow = Flow6 {
        ends: [0; 8],
        ports: frame.word(PORTS6),
        protocol,
    };
    for (index, word) in flow.ends.iter_mut().enumerate() {
        *word = frame.word(IPV4 + 8 + 4 * index);
    }
    let found = destination!(FLOWS6, flow, flow.ends[3]);
    forward(frame, found.hop);
    XDP_TX
}

/// A hash lookup and a route lookup.
#[inline(always)]
pub(crate) fn hash_fib(context: &XdpContext) -> u32 {
    let Some((frame, flow)) = ipv4(context) else {
        return XDP_PASS;
    };
    let found = destination!(FLOWS, flow, flow.source);
    // SAFETY: zeros are a value of this plain structure.
    let mut way: FibLookup = unsafe { zeroed() };
    way.family = 2;
    way.l4_protocol = TCP as u8;
    // SAFETY: writing a field of a union of plain numbers; the context is the kernel's.
    let answer = unsafe {
        way.__bindgen_anon_1.tot_len = 40;
        way.ifindex = (*context.ctx).ingress_ifindex;
        way.__bindgen_anon_3.ipv4_src = flow.source;
        way.__bindgen_anon_4.ipv4_dst = found.address;
        bpf_fib_lookup(
            context.ctx.cast(),
            &raw mut way,
            size_of::<FibLookup>() as i32,
            BPF_FIB_LOOKUP_DIRECT,
        )
    };
    if answer != i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
        return XDP_DROP;
    }
    forward(frame, found.hop);
    XDP_TX
}

/// A hash lookup and an outer IPv4 header.
#[inline(always)]
pub(crate) fn hash_ipip(context: &XdpContext) -> u32 {
    let Some((frame, flow)) = ipv4(context) else {
        return XDP_PASS;
    };
    let found = destination!(FLOWS, flow, flow.source);
    let inner = u16::from_be(frame.half(IPV4 + 2));
    let (here, rest) = (frame.word(0), frame.half(4));
    // SAFETY: the context is the kernel's.
    if unsafe { bpf_xdp_adjust_head(context.ctx, -20) } != 0 {
        return XDP_DROP;
    }
    let Some(frame) = Frame::of(context, IPV4 + 20) else {
        return XDP_DROP;
    };
    frame.put(0, found.hop[0]);
    frame.put_half(4, found.hop[1] as u16);
    frame.put(6, here);
    frame.put_half(10, rest);
    frame.put_half(ETHERTYPE, 0x0800_u16.to_be());
    let length = u32::from((inner + 20).to_be());
    let source = 0xac10_0001_u32.to_be();
    let words = [
        0x0045 | length << 16,
        0x0040_0000,
        64 | 4 << 8,
        source,
        found.address,
    ];
    let mut sum = 0;
    for word in words {
        sum += u64::from(word);
    }
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    frame.put(IPV4, words[0]);
    frame.put(IPV4 + 4, words[1]);
    frame.put(IPV4 + 8, words[2] | u32::from(!fold(sum)) << 16);
    frame.put(IPV4 + 12, words[3]);
    frame.put(IPV4 + 16, words[4]);
    XDP_TX
}

/// An entry in a table that drops the oldest, and the destination's address and port in place of the virtual ones.
#[inline(always)]
pub(crate) fn lru_nat(context: &XdpContext) -> u32 {
    let Some((frame, flow)) = ipv4(context) else {
        return XDP_PASS;
    };
    let found = destination!(RECENT, flow, flow.source);
    forward(frame, found.hop);
    let port = u64::from(found.port);
    let address = u64::from(!flow.target) + u64::from(found.address);
    let ports = u64::from(!(flow.ports >> 16) & 0xffff) + port;
    let network = u64::from(!frame.half(IPV4 + 10)) + address;
    let transport = u64::from(!frame.half(PORTS4 + 16)) + address + ports;
    frame.put_half(
        IPV4 + 10,
        !fold((network & 0xffff) + (network >> 16 & 0xffff) + (network >> 32)),
    );
    frame.put_half(
        PORTS4 + 16,
        !fold((transport & 0xffff) + (transport >> 16 & 0xffff) + (transport >> 32)),
    );
    frame.put(IPV4 + 16, found.address);
    frame.put(PORTS4, flow.ports & 0xffff | found.port << 16);
    XDP_TX
}

#[inline(always)]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}
