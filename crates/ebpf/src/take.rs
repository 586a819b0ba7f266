//! Handing packets to the director: into the perf buffer of this CPU, of which lvsd reads.
//!
//! The kernel copies the packet's bytes itself, wherever they lie. While no lvsd runs there is no buffer, and when it has more
//! than it can read the buffer is full: then the packet ends here, counted.

use crate::maps;
use crate::world::World;
use aya_ebpf::bindings::BPF_F_CURRENT_CPU;
use aya_ebpf::helpers::generated::bpf_perf_event_output;
use core::mem::size_of;
use lvsx_core::director::{Action, Verdict, begun};
use lvsx_core::env::Tables;
use lvsx_core::event::Event;

/// The longest frame that is handed over: a record's length has 16 bits.
const LONGEST: u32 = 60_000;

/// Hands the packet of such a verdict, which came in by `interface`, to the director and counts whether that succeeded.
/// Whether the packet goes on as it came because it did not.
#[inline(always)]
pub(crate) fn hand_over(world: &World, verdict: Verdict, interface: u32, length: u32) -> bool {
    let taken = match verdict.action() {
        Action::Raise => maps::Taken {
            kind: if verdict.is_own() { 2 } else { 0 },
            interface,
            length,
            begun: 0,
        },
        Action::Cut => {
            let begun = begun(world);
            maps::Taken {
                kind: 1,
                interface: verdict.interface(),
                length,
                begun: begun.start << 16 | begun.place & 0xffff,
            }
        }
        _ => return false,
    };
    let (done, failed) = if taken.kind != 1 {
        (Event::FragmentTaken, verdict.otherwise())
    } else {
        (Event::LongTaken, Event::DropUncut)
    };
    let is_taken = length <= LONGEST && output(world, &taken);
    world.count(if is_taken { done } else { failed });
    !is_taken && failed as u32 == Event::PassFragment as u32
}

#[inline(always)]
fn output(world: &World, taken: &maps::Taken) -> bool {
    let flags = u64::from(taken.length) << 32 | u64::from(BPF_F_CURRENT_CPU as u32);
    let record = core::ptr::from_ref(taken).cast_mut().cast();
    let size = size_of::<maps::Taken>() as u64;
    // SAFETY: the context is the program's own, and the record as long as said.
    let answer = unsafe {
        bpf_perf_event_output(
            world.context,
            maps::pointer(&maps::TAKEN),
            flags,
            record,
            size,
        )
    };
    answer == 0
}
