//! The maps and the read-only globals. All shared memory is in array maps that user space maps too.
//!
//! Numbers of entries given here are small: whoever loads the object sets the real ones.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, bpf_timer};
use aya_ebpf::btf_maps::{Array, PerCpuArray, PerfEventByteArray, ProgramArray, RingBuf};
use aya_ebpf::macros::btf_map;

const MMAP: usize = BPF_F_MMAPABLE as usize;

/// A line of eight words, as the map's value.
pub(crate) type RawLine = [u64; 8];

/// A set of the IPv4 connection table, as the map's value: head, seven control words, seven entries of eight words.
pub(crate) type RawSet4 = [u64; 64];

/// A set of the IPv6 connection table: head, seven control words, seven entries of sixteen words.
pub(crate) type RawSet6 = [u64; 120];

#[btf_map]
pub(crate) static CONFIG: Array<RawLine, 8, MMAP> = Array::new();
#[btf_map]
pub(crate) static STATE: Array<RawLine, 4, MMAP> = Array::new();
#[btf_map]
pub(crate) static CONNS4: Array<RawSet4, 8, MMAP> = Array::new();
#[btf_map]
pub(crate) static CONNS6: Array<RawSet6, 8, MMAP> = Array::new();
#[btf_map]
pub(crate) static TUNNELS: Array<RawLine, 8, MMAP> = Array::new();
#[btf_map]
pub(crate) static DESTS: Array<RawLine, 8, MMAP> = Array::new();
#[btf_map]
pub(crate) static SERVICES: Array<RawLine, 8, MMAP> = Array::new();
#[btf_map]
pub(crate) static TALLIES: Array<RawLine, 8, MMAP> = Array::new();
#[btf_map]
pub(crate) static EVENTS: Array<RawLine, 8, MMAP> = Array::new();
#[btf_map]
pub(crate) static PORTS: Array<RawLine, 256, MMAP> = Array::new();
#[btf_map]
pub(crate) static CACHE: Array<RawLine, 131072, MMAP> = Array::new();

/// The timer of the hand.
#[repr(C)]
pub(crate) struct HandTimer {
    pub(crate) timer: bpf_timer,
}

#[btf_map]
pub(crate) static HAND: Array<HandTimer, 1> = Array::new();

/// A next hop whose link-layer address the director should ask for: interface index, address family, raw address.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct UnresolvedHop {
    pub(crate) interface: u32,
    pub(crate) family: u32,
    pub(crate) address: [u64; 2],
}

#[btf_map]
pub(crate) static UNRESOLVED: RingBuf<UnresolvedHop, 65536> = RingBuf::new();

/// What stands before a packet handed to the director: what is to be done, the interface, the begun checksum.
#[repr(C)]
pub(crate) struct Taken {
    /// 0: a fragment that came in by the interface. 1: a packet to be fragmented, which leaves by it. 2: a fragment that a socket
    /// of this host sent, which leaves by it.
    pub(crate) kind: u32,
    pub(crate) interface: u32,
    pub(crate) length: u32,
    /// Where what the begun checksum covers begins << 16, where it lies; 0: there is none.
    pub(crate) begun: u32,
}

/// Packets handed to the director, behind what is said of them.
#[btf_map]
pub(crate) static TAKEN: PerfEventByteArray = PerfEventByteArray::new();

#[btf_map]
pub(crate) static JUMP_XDP: ProgramArray<64> = ProgramArray::new();
#[btf_map]
pub(crate) static JUMP_TC: ProgramArray<64> = ProgramArray::new();

/// Bytes of a packet while their sum is taken.
#[btf_map]
pub(crate) static BUFFER: PerCpuArray<[u64; 64], 1> = PerCpuArray::new();

/// What one stage keeps for the next of the packet in hand.
#[btf_map]
pub(crate) static CROSSING: PerCpuArray<[u64; 32], 1> = PerCpuArray::new();

/// A map as helpers take it.
#[inline(always)]
pub(crate) fn pointer<T>(map: &'static T) -> *mut core::ffi::c_void {
    core::ptr::from_ref(map).cast_mut().cast()
}

macro_rules! globals {
    ($($(#[$doc:meta])* $name:ident, $read:ident: $type:ty;)*) => {$(
        #[unsafe(no_mangle)]
        static $name: $type = 0;

        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $read() -> $type {
            // SAFETY: a valid static; volatile because the loader sets it after compilation.
            unsafe { core::ptr::read_volatile(&raw const $name) }
        }
    )*};
}

globals! {
    /// Main sets of either connection table.
    SETS, sets: u32;
    /// Sets of its overflow area.
    OVERFLOW, overflow: u32;
    /// Secret that spreads the hashes of both.
    SEED, seed: u64;
    /// Destinations a CPU's tallies hold.
    DESTINATIONS, destinations: u32;
    /// Shift from jiffies to ticks.
    TICK_SHIFT, tick_shift: u32;
    /// Not 0: the clock is moved by the offset in the shared state. For tests.
    VIRTUAL_TIME, virtual_time: u32;
}
