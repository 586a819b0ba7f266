//! Reading the data plane's clock.

use super::missing;
use crate::clock::Clock;
use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use lvsx_core::tick::TickRate;

/// The kernel's timer frequency: the coarse clocks move once a jiffy, and their resolution says how long that is
/// (`clock_getres(2)`).
pub(super) fn hz() -> Result<u32> {
    let mut resolution = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec of our own.
    let result = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &mut resolution) };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("the length of a jiffy");
    }
    match resolution.tv_nsec {
        jiffy @ 1_000_000..=10_000_000 => Ok((1_000_000_000 + jiffy as u32 / 2) / jiffy as u32),
        jiffy => bail!("a jiffy of {jiffy} ns is not one that this version knows"),
    }
}

/// Jiffies and `CLOCK_MONOTONIC` of one moment, by a run of the `clock` program.
pub(super) fn read(ebpf: &Ebpf, rate: TickRate) -> Result<Clock> {
    let program: &SchedClassifier = ebpf
        .program("clock")
        .ok_or_else(|| missing("clock"))?
        .try_into()?;
    let mut output = [0; 64];
    let options = TestRunOptions {
        data_in: Some(&[0; 64]),
        data_out: Some(&mut output),
        ..Default::default()
    };
    program
        .test_run(options)
        .context("running the clock program")?;
    let word = |at: usize| {
        output[at..]
            .first_chunk()
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    };
    Ok(Clock {
        rate,
        jiffies: word(0),
        monotonic: word(8),
    })
}
