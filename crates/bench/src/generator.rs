//! The BPF side, loaded: packets for a program under test, and the time that they take.

use crate::order::WORDS;
use crate::traffic::{Flows, Traffic};
use anyhow::{Context, Result, anyhow};
use aya::Ebpf;
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, TestRun, TestRunOptions, Xdp};
use std::path::Path;

/// The answer of a program that sends the frame back.
pub(crate) const TX: u32 = 3;
/// That of one that sends it elsewhere.
pub(crate) const REDIRECT: u32 = 4;
/// That of one that leaves it to the host.
pub(crate) const PASS: u32 = 2;

/// The generator and the baselines.
pub(crate) struct Generator {
    ebpf: Ebpf,
    order: Array<MapData, [u32; WORDS]>,
    under_test: ProgramArray<MapData>,
}

/// What a run gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed {
    /// Nanoseconds a packet, the generator's with them.
    pub(crate) nanoseconds: f64,
    /// The answer to the last packet.
    pub(crate) answer: u32,
}

impl Generator {
    /// Loads the object.
    ///
    /// # Errors
    /// The file is not there, or the kernel refuses it.
    pub(crate) fn load(object: &Path) -> Result<Self> {
        let mut ebpf =
            Ebpf::load_file(object).with_context(|| format!("loading {}", object.display()))?;
        for (name, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program.load().with_context(|| name.to_owned())?;
        }
        let mut map = |name: &str| {
            ebpf.take_map(name)
                .ok_or_else(|| anyhow!("the object has no map {name}"))
        };
        let (order, under_test) = (map("ORDER")?, map("UNDER_TEST")?);
        Ok(Self {
            ebpf,
            order: order.try_into()?,
            under_test: under_test.try_into()?,
        })
    }

    /// Puts a program of the object under test.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn aim_at_baseline(&mut self, name: &str) -> Result<()> {
        let program = self
            .ebpf
            .program(name)
            .ok_or_else(|| anyhow!("no program {name}"))?;
        Ok(self.under_test.set(0, program.fd()?, 0)?)
    }

    /// Puts another's program under test.
    ///
    /// # Errors
    /// The kernel refuses: it is no XDP program.
    pub(crate) fn aim(&mut self, program: &ProgramFd) -> Result<()> {
        Ok(self.under_test.set(0, program, 0)?)
    }

    /// Sends `packets` of these flows.
    ///
    /// # Errors
    /// The kernel refuses the run.
    pub(crate) fn run(&mut self, traffic: &Traffic, flows: Flows, packets: u32) -> Result<Timed> {
        self.order.set(0, traffic.order(flows), 0)?;
        let name = traffic.program();
        let program: &Xdp = self
            .ebpf
            .program(name)
            .ok_or_else(|| anyhow!("no program {name}"))?
            .try_into()?;
        let result = program.test_run(TestRunOptions {
            data_in: Some(&[0; 128]),
            repeat: packets,
            ..Default::default()
        })?;
        Ok(Timed {
            nanoseconds: result.duration.as_nanos() as f64,
            answer: result.return_value,
        })
    }
}
