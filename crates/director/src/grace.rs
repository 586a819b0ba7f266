//! The grace period: waiting until every packet that could have seen something is done.

use std::time::Duration;

/// Longer than any packet's way through the programs, which run with preemption or interrupts off.
const LONG_ENOUGH: Duration = Duration::from_millis(200);

/// Returns when every program run that had begun before the call has ended: `membarrier(2)`, which waits for RCU (some
/// 20 ms); where the kernel does not offer it (CPUs in `nohz_full`), a pause of 200 ms.
pub fn wait() {
    // SAFETY: no pointer is passed.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        std::thread::sleep(LONG_ENOUGH);
    }
}
