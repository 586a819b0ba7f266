//! CPU time: of the calling thread, of this process, of the kernel's softirq threads, of a director's processes.

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use std::fs;

/// Nanoseconds of CPU that the calling thread used, softirqs that ran on its time with them.
pub(super) fn of_thread() -> Result<f64> {
    nanoseconds(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// Nanoseconds of CPU that this process used.
pub(super) fn of_process() -> Result<f64> {
    nanoseconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn nanoseconds(clock: ClockId) -> Result<f64> {
    let time = clock_gettime(clock)?;
    Ok(time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64)
}

/// The kernel's threads for softirqs that nobody else's time was spent on.
pub(super) struct Softirqs(Vec<u32>);

impl Softirqs {
    /// Finds them.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub(super) fn find() -> Result<Self> {
        let is_one = |process: &u32| {
            fs::read_to_string(format!("/proc/{process}/comm"))
                .is_ok_and(|name| name.starts_with("ksoftirqd/"))
        };
        Ok(Self(processes()?.into_iter().filter(is_one).collect()))
    }

    /// Nanoseconds of CPU that they used.
    pub(super) fn time(&self) -> f64 {
        self.0
            .iter()
            .map(|process| of_task(&format!("/proc/{process}")))
            .sum()
    }
}

/// Nanoseconds of CPU that a process used, with the threads and children that live.
pub(super) fn of_family(process: u32) -> f64 {
    let Ok(all) = processes() else {
        return 0.0;
    };
    let is_child = |other: &u32| parent(*other) == Some(process);
    let family = all.into_iter().filter(is_child).chain([process]);
    family.map(of_threads).sum()
}

fn of_threads(process: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return 0.0;
    };
    threads
        .flatten()
        .map(|thread| of_task(&thread.path().to_string_lossy()))
        .sum()
}

/// The first figure of `schedstat`: time on a CPU. Nothing for who is no more.
fn of_task(folder: &str) -> f64 {
    let text = fs::read_to_string(format!("{folder}/schedstat")).unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0)
}

fn parent(process: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the name, which may hold anything: state, parent.
    text.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

fn processes() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("/proc")?.flatten();
    Ok(entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time_and_waiting_does_not() -> Result<()> {
        let begin = of_thread()?;
        std::thread::sleep(std::time::Duration::from_millis(20));
        let waited = of_thread()? - begin;
        let mut sum = 0u64;
        while of_thread()? - begin - waited < 2e6 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(waited < 10e6, "{waited} ns");
        assert!(of_process()? >= of_thread()? - begin);
        Ok(())
    }

    #[test]
    fn a_process_is_of_its_own_family() {
        assert!(of_family(std::process::id()) > 0.0);
        assert_eq!(of_family(u32::MAX), 0.0);
    }
}
