//! The maps as the core's environment.

use crate::maps;
use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH,
    BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup,
};
use aya_ebpf::helpers::generated::{
    bpf_fib_lookup as fib_lookup, bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_jiffies64,
    bpf_ktime_get_ns,
};
use core::ffi::c_void;
use core::mem::{MaybeUninit, size_of};
use lvsx_core::conn::{Entry4, Entry6, Set};
use lvsx_core::env::{Env, Gateway, Geometry, Route, Scratch, Tables, state};
use lvsx_core::event::{EVENT_LINES, Event};
use lvsx_core::generation::live;
use lvsx_core::tick::Tick;
use lvsx_platform::{Line, Word, hide};

/// The world of a program that runs on a packet: its context is needed to ask for routes.
pub(crate) struct World {
    pub(crate) context: *mut c_void,
}

/// The element of a map of raw words as shared words.
macro_rules! element {
    ($map:expr, $index:expr, $type:ty) => {
        match $map.get_ptr($index) {
            // SAFETY: the map's value has the size and alignment of the type, which is made of words: `Word` is a
            // transparent cell of a u64, and every bit pattern is a valid one.
            Some(pointer) => Some(unsafe { &*pointer.cast::<$type>() }),
            None => None,
        }
    };
}

impl Tables for World {
    #[inline(always)]
    fn config(&self, index: u32) -> Option<&Line> {
        element!(maps::CONFIG, index, Line)
    }

    #[inline(always)]
    fn state(&self, index: u32) -> Option<&Line> {
        element!(maps::STATE, index, Line)
    }

    #[inline(always)]
    fn set4(&self, index: u32) -> Option<&Set<Entry4>> {
        element!(maps::CONNS4, index, Set<Entry4>)
    }

    #[inline(always)]
    fn geometry(&self) -> Geometry {
        Geometry {
            sets: maps::sets(),
            overflow: maps::overflow(),
            seed: maps::seed(),
        }
    }

    #[inline(always)]
    fn set6(&self, index: u32) -> Option<&Set<Entry6>> {
        element!(maps::CONNS6, index, Set<Entry6>)
    }

    #[inline(always)]
    fn tunnel(&self, id: u32) -> Option<&Line> {
        element!(maps::TUNNELS, id, Line)
    }

    #[inline(always)]
    fn destination(&self, id: u32) -> Option<&Line> {
        element!(maps::DESTS, id, Line)
    }

    #[inline(always)]
    fn service(&self, id: u32) -> Option<&Line> {
        element!(maps::SERVICES, id, Line)
    }

    #[inline(always)]
    fn tally(&self, id: u32) -> Option<&Line> {
        element!(
            maps::TALLIES,
            cpu().wrapping_mul(maps::destinations()).wrapping_add(id),
            Line
        )
    }

    #[inline(always)]
    fn packets_in(&self, id: u32) -> u64 {
        let mut packets = 0u64;
        scan_with(ROWS, &mut |row: u32| {
            let index = row.wrapping_mul(maps::destinations()).wrapping_add(id);
            let Some(line) = element!(maps::TALLIES, index, Line) else {
                return false;
            };
            packets = packets.wrapping_add(line[live::tally::PACKETS_IN].peek());
            true
        });
        packets
    }

    #[inline(always)]
    fn count_number(&self, number: u32) {
        if let Some(word) = own_event(number) {
            // Only this CPU writes its lines.
            word.poke(word.peek().wrapping_add(1));
        }
    }

    #[inline(always)]
    fn cache(&self, index: u32) -> Option<&Line> {
        element!(maps::CACHE, index, Line)
    }

    #[inline(always)]
    fn scan(&self, count: u32, mut look: impl FnMut(u32) -> bool) {
        scan_with(count, &mut look);
    }
}

/// More tallies than a destination has: one a CPU, and the director's own.
const ROWS: u32 = 1 << 14;

/// `bpf_loop` with its count as 64 bits. Bindings declare 32, of which the compiler leaves the upper half undefined; but
/// the verifier inlines the helper as a loop over the whole register (Linux 6.18), which then is "too many".
type BpfLoop =
    unsafe extern "C" fn(count: u64, step: *mut c_void, look: *mut c_void, flags: u64) -> i64;

/// Number of the helper `bpf_loop`.
const BPF_LOOP: usize = 181;

#[inline(always)]
fn scan_with<F: FnMut(u32) -> bool>(count: u32, look: &mut F) {
    // SAFETY: BPF calls helpers by number; this one takes these arguments. The callback takes what `step` takes, and
    // `look` outlives the loop.
    unsafe {
        let bpf_loop = core::mem::transmute::<usize, BpfLoop>(BPF_LOOP);
        bpf_loop(
            hide(u64::from(count)),
            step::<F> as *mut c_void,
            core::ptr::from_mut(look).cast(),
            0,
        );
    }
}

extern "C" fn step<F: FnMut(u32) -> bool>(index: u32, look: *mut c_void) -> i64 {
    // SAFETY: `scan_with` passes a pointer to an F that nobody else uses meanwhile.
    let look = unsafe { &mut *look.cast::<F>() };
    // A truth read from memory is any byte to the verifier; the answer must be 0 or 1.
    (hide(u64::from(!look(index))) & 1) as i64
}

#[inline(always)]
fn cpu() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_smp_processor_id() }
}

/// This CPU's count of the event of this number.
#[inline(always)]
fn own_event(number: u32) -> Option<&'static Word> {
    let index = cpu().wrapping_mul(EVENT_LINES).wrapping_add(number / 8);
    element!(maps::EVENTS, index, Line).map(|line| &line[(number % 8) as usize])
}

/// How often this CPU counted `event`.
#[inline(always)]
pub(crate) fn own_count(event: Event) -> u64 {
    own_event(event as u32).map_or(0, Word::peek)
}

/// The present tick.
#[inline(always)]
pub(crate) fn now(world: &World) -> Tick {
    // SAFETY: a helper without arguments.
    let jiffies = unsafe { bpf_jiffies64() };
    let tick = Tick((jiffies >> (maps::tick_shift() & 31)) as u32);
    if maps::virtual_time() == 0 {
        return tick;
    }
    tick.after(
        world
            .state(state::READ)
            .map_or(0, |line| line[state::CLOCK_OFFSET].peek() as u32),
    )
}

impl Env for World {
    #[inline(always)]
    fn now(&self) -> Tick {
        now(self)
    }

    #[inline(always)]
    fn milliseconds(&self) -> u32 {
        // SAFETY: a helper without arguments.
        let nanoseconds = unsafe { bpf_ktime_get_ns() };
        (nanoseconds / 1_000_000) as u32
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn port(&self, number: u32) -> Option<&Line> {
        element!(maps::PORTS, number, Line)
    }

    #[inline(always)]
    fn scratch(&self) -> Option<&Scratch> {
        element!(maps::CROSSING, 0, Scratch)
    }

    #[inline(always)]
    fn route4(&self, ingress: u32, to: u32) -> Route {
        let mut lookup = FibLookup::towards4(ingress, to);
        self.route(&mut lookup)
    }

    #[inline(always)]
    fn route6(&self, ingress: u32, to: [u64; 2]) -> Route {
        let mut lookup = FibLookup::towards6(ingress, to);
        self.route(&mut lookup)
    }
}

/// A way as the program `route` tells it.
pub(crate) struct Told {
    /// 0 to a link-layer address, 1 to a next hop that is not resolved, of address family << 8, 2 forwarding is off, 3 no way.
    pub(crate) kind: u64,
    pub(crate) interface: u32,
    /// The link-layer address, or the next hop's raw address.
    pub(crate) hop: [u64; 2],
}

impl Told {
    #[inline(always)]
    fn of(route: Route) -> Self {
        let (kind, interface, hop) = match route {
            Route::To { interface, address } => (0, interface, [address, 0]),
            Route::Unresolved { interface, gateway } => {
                let family = u64::from(gateway.family) << 8;
                (1 | family, interface, gateway.address)
            }
            Route::ForwardingOff => (2, 0, [0; 2]),
            Route::None => (3, 0, [0; 2]),
        };
        Self {
            kind,
            interface,
            hop,
        }
    }
}

impl World {
    #[inline(always)]
    pub(crate) fn told4(&self, ingress: u32, to: u32) -> Told {
        Told::of(self.route4(ingress, to))
    }

    #[inline(always)]
    pub(crate) fn told6(&self, ingress: u32, to: [u64; 2]) -> Told {
        Told::of(self.route6(ingress, to))
    }

    #[inline(always)]
    fn route(&self, lookup: &mut FibLookup) -> Route {
        let size = size_of::<bpf_fib_lookup>() as i32;
        // SAFETY: the context is the program's own; the parameters are as large as said and initialised.
        let answer = unsafe { fib_lookup(self.context, lookup.pointer(), size, 0) };
        match answer as u32 {
            // Under tc the kernel also says whether the packet fits the way that it found.
            BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_FRAG_NEEDED => Route::To {
                interface: lookup.interface(),
                address: lookup.link_address(),
            },
            BPF_FIB_LKUP_RET_NO_NEIGH => Route::Unresolved {
                interface: lookup.interface(),
                gateway: lookup.gateway(),
            },
            BPF_FIB_LKUP_RET_FWD_DISABLED => Route::ForwardingOff,
            _ => Route::None,
        }
    }
}

/// `struct bpf_fib_lookup` (64 bytes) as words, because zeroing the struct itself compiles to a loop over bytes.
#[repr(C, align(8))]
struct FibLookup(MaybeUninit<[u64; 8]>);

const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;

impl FibLookup {
    #[inline(always)]
    fn towards4(ingress: u32, to: u32) -> Self {
        Self::towards(AF_INET, ingress, [u64::from(to), 0])
    }

    #[inline(always)]
    fn towards6(ingress: u32, to: [u64; 2]) -> Self {
        Self::towards(AF_INET6, ingress, to)
    }

    #[inline(always)]
    fn towards(family: u64, ingress: u32, to: [u64; 2]) -> Self {
        let mut lookup = Self(MaybeUninit::uninit());
        // byte 0 family, 8 interface, 32 destination
        lookup.write(0, family);
        lookup.write(1, u64::from(ingress));
        lookup.write(2, 0);
        lookup.write(3, 0);
        lookup.write(4, to[0]);
        lookup.write(5, to[1]);
        lookup.write(6, 0);
        lookup.write(7, 0);
        lookup
    }

    #[inline(always)]
    fn write(&mut self, word: usize, value: u64) {
        // SAFETY: within the eight words; volatile keeps the stores eight, not a call to memset.
        unsafe {
            self.0
                .as_mut_ptr()
                .cast::<u64>()
                .add(word)
                .write_volatile(value)
        }
    }

    #[inline(always)]
    fn read(&self, word: usize) -> u64 {
        // SAFETY: all eight words were written by `towards`.
        unsafe { self.0.as_ptr().cast::<u64>().add(word).read_volatile() }
    }

    #[inline(always)]
    fn pointer(&mut self) -> *mut bpf_fib_lookup {
        self.0.as_mut_ptr().cast()
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.read(1) as u32
    }

    /// The next hop, whose family the kernel writes too: an IPv4 route may lead by an IPv6 gateway.
    #[inline(always)]
    fn gateway(&self) -> Gateway {
        let family = self.read(0) as u8;
        // Behind an IPv4 address may lie what the lookup wrote or did not write.
        let is_wide = u64::from(family == AF_INET6 as u8).wrapping_neg();
        Gateway {
            family,
            address: [
                self.read(4) & (is_wide | 0xffff_ffff),
                self.read(5) & is_wide,
            ],
        }
    }

    /// Bytes 58 to 63: the next hop's link-layer address.
    #[inline(always)]
    fn link_address(&self) -> u64 {
        self.read(7) >> 16
    }
}
