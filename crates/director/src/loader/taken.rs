//! What the director needs for packets that programs hand to it: the buffers they come in, the ways as programs see them,
//! and the door back to the host's stack.

use super::{Plane, missing};
use crate::fragments::{Taken, Ways};
use anyhow::{Context, Result, anyhow};
use aya::maps::MapData;
use aya::maps::perf::{PerfEvent, PerfEventArray, PerfEventArrayBuffer};
use aya::programs::{SchedClassifier, TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::util::online_cpus;
use lvsx_core::env::{Gateway, Route};
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, RawFd};

/// Pages of each CPU's buffer: room for more than a hundred full frames.
const PAGES: usize = 64;

/// A CPU's buffer of packets that were handed over there.
pub struct Buffer(PerfEventArrayBuffer<MapData>);

impl Buffer {
    /// At most so many packets, in the order of their coming, and whether that was all.
    pub fn read(&mut self, most: usize) -> (Vec<Taken>, bool) {
        let mut taken = Vec::new();
        let read = self.0.try_fold(0, |count, event| {
            if let PerfEvent::Sample { head, tail } = event {
                taken.extend(Taken::of(&[head, tail].concat()));
            }
            if count + 1 < most {
                ControlFlow::Continue(count + 1)
            } else {
                ControlFlow::Break(())
            }
        });
        (taken, read.is_continue())
    }
}

impl AsRawFd for Buffer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Plane {
    /// The buffers of all CPUs. Once. While they are open, programs find the director there.
    ///
    /// # Errors
    /// The kernel refuses them.
    pub fn taken(&mut self) -> Result<Vec<Buffer>> {
        let map = self
            .ebpf
            .take_map("TAKEN")
            .ok_or_else(|| missing("TAKEN"))?;
        let mut buffers = PerfEventArray::try_from(map)?;
        let cpus = online_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
        let open = |cpu| buffers.open(cpu, Some(PAGES)).map(Buffer);
        cpus.into_iter()
            .map(open)
            .collect::<Result<_, _>>()
            .context("a buffer for packets")
    }

    /// Lets a frame go on to the host's stack, as if it came in by `interface`.
    ///
    /// # Errors
    /// It is longer than a page has room for; the interface is gone.
    pub fn give_back(&self, interface: u32, frame: &[u8]) -> Result<()> {
        let program = self.ebpf.program("give_back");
        let program: &Xdp = program.ok_or_else(|| missing("give_back"))?.try_into()?;
        // `struct xdp_md`: begin, end, metadata, interface and queue it came in by, interface it leaves by.
        let context = [0, u32::try_from(frame.len())?, 0, interface, 0, 0];
        let context = context.map(u32::to_ne_bytes);
        program.test_run(TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(context.as_flattened()),
            attrs: TestRunAttrs::new().xdp_live_frames(1),
            ..Default::default()
        })?;
        Ok(())
    }

    fn ask_way(&self, family: u8, ingress: u32, to: [u64; 2]) -> Result<Route> {
        let program = self.ebpf.program("route");
        let program: &SchedClassifier = program.ok_or_else(|| missing("route"))?.try_into()?;
        let mut question = [0; 64];
        question[..4].copy_from_slice(&u32::from(family).to_ne_bytes());
        question[4..8].copy_from_slice(&ingress.to_ne_bytes());
        question[8..24].copy_from_slice(to.map(u64::to_ne_bytes).as_flattened());
        let mut answer = [0; 64];
        program.test_run(TestRunOptions {
            data_in: Some(&question),
            data_out: Some(&mut answer),
            ..Default::default()
        })?;
        let (words, _) = answer.as_chunks::<8>();
        let word = |at: usize| words.get(at).map_or(0, |word| u64::from_ne_bytes(*word));
        let interface = (word(0) >> 32) as u32;
        let family = (word(0) >> 8) as u8;
        Ok(match word(0) as u8 {
            0 => Route::To {
                interface,
                address: word(1),
            },
            1 => Route::Unresolved {
                interface,
                gateway: Gateway {
                    family,
                    address: [word(1), word(2)],
                },
            },
            2 => Route::ForwardingOff,
            _ => Route::None,
        })
    }
}

impl Ways for Plane {
    fn way(&self, family: u8, ingress: u32, to: [u64; 2]) -> Route {
        self.ask_way(family, ingress, to).unwrap_or_else(|error| {
            tracing::warn!("asking for a way: {error:#}");
            Route::None
        })
    }
}
