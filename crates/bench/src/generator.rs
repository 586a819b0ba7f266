//! The BPF side, loaded: packets for a program under test, and the time that they take.

use crate::order::{INTERFACE, WORDS};
use crate::traffic::{Flows, Traffic};
use anyhow::{Context, Result, anyhow};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::xdp::XdpMode;
use aya::programs::{Program, ProgramFd, TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use std::path::Path;

/// The answer of a program that sends the frame back.
pub(crate) const TX: u32 = 3;
/// That of one that sends it elsewhere.
pub(crate) const REDIRECT: u32 = 4;
/// That of one that leaves it to the host.
pub(crate) const PASS: u32 = 2;
/// Frames that leave at once, as a card's driver hands them over.
const BATCH: u32 = 64;
/// Tables of the baselines.
const TABLES: [&str; 3] = ["FLOWS", "FLOWS6", "RECENT"];
/// What sends packets of clients by an interface, and where they end.
const ON_VETH: [&str; 4] = ["from_clients", "send", "sink", "sink_tc"];

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
        Self::load_with(object, &mut EbpfLoader::new(), |_| true)
    }

    /// Loads the object with tables so small that its baselines serve nobody: for packets alone.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn load_small(object: &Path) -> Result<Self> {
        Self::load_with(object, &mut small(), |_| true)
    }

    /// Loads what sends packets of clients and what takes them, in a form that every machine's kernel takes.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn load_on_veth(object: &Path) -> Result<Self> {
        let mut loader = small();
        loader.override_global("EVEN", &1u32, true);
        Self::load_with(object, &mut loader, |name| ON_VETH.contains(&name))
    }

    fn load_with(
        object: &Path,
        loader: &mut EbpfLoader<'_>,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let mut ebpf = loader
            .load_file(object)
            .with_context(|| format!("loading {}", object.display()))?;
        for (name, program) in ebpf.programs_mut().filter(|(name, _)| is_wanted(name)) {
            match program {
                Program::SchedClassifier(program) => program.load(),
                program => TryInto::<&mut Xdp>::try_into(program)?.load(),
            }
            .with_context(|| name.to_owned())?;
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

    /// A program of the object, of either kind.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn program(&mut self, name: &str) -> Result<&mut Program> {
        self.ebpf
            .program_mut(name)
            .ok_or_else(|| anyhow!("no program {name}"))
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

    /// Has an interface of the calling thread's network namespace, by which no frame comes, hold the program that makes these packets.
    /// For one that nobody holds the kernel rewrites, at both ends of each run, the jump that calls XDP programs, and waits each time
    /// until no CPU is in the old one: some 10 ms, which short runs would spend waiting.
    ///
    /// # Errors
    /// There is no such interface, or it holds a program.
    pub(crate) fn hold(&mut self, traffic: &Traffic, interface: &str) -> Result<()> {
        let program: &mut Xdp = self.program(traffic.program())?.try_into()?;
        program
            .attach(interface, XdpMode::Skb)
            .with_context(|| format!("a program held by {interface}"))?;
        Ok(())
    }

    /// Has the program under test see `packets` of these flows.
    ///
    /// # Errors
    /// The kernel refuses the run.
    pub(crate) fn run(&mut self, traffic: &Traffic, flows: Flows, packets: u32) -> Result<Timed> {
        self.order.set(0, traffic.order(flows), 0)?;
        self.go_on(traffic, packets)
    }

    /// As many more packets of the flows that the last run had, from where it ended.
    ///
    /// # Errors
    /// The kernel refuses the run.
    pub(crate) fn go_on(&mut self, traffic: &Traffic, packets: u32) -> Result<Timed> {
        let options = TestRunOptions {
            data_in: Some(&[0; 128]),
            repeat: packets,
            ..Default::default()
        };
        let result = self.generating(traffic)?.test_run(options)?;
        Ok(Timed {
            nanoseconds: result.duration.as_nanos() as f64,
            answer: result.return_value,
        })
    }

    /// Sends packets of these flows by an interface of the calling thread's network namespace; more of them follow with
    /// [`Self::send_on`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn send(
        &mut self,
        traffic: &Traffic,
        flows: Flows,
        interface: u32,
        packets: u32,
    ) -> Result<()> {
        self.aim_at_baseline("send")?;
        let mut order = traffic.order(flows);
        order[INTERFACE] = interface;
        self.order.set(0, order, 0)?;
        self.send_on(traffic, packets)
    }

    /// Sends as many more.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn send_on(&mut self, traffic: &Traffic, packets: u32) -> Result<()> {
        let options = TestRunOptions {
            data_in: Some(&[0; 60]),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..Default::default()
        };
        self.generating(traffic)?.test_run(options)?;
        Ok(())
    }

    fn generating(&self, traffic: &Traffic) -> Result<&Xdp> {
        let name = traffic.program();
        let program = self
            .ebpf
            .program(name)
            .ok_or_else(|| anyhow!("no program {name}"))?;
        Ok(program.try_into()?)
    }
}

/// A loader with tables so small that baselines serve nobody.
fn small<'a>() -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    for table in TABLES {
        loader.map_max_entries(table, 64);
    }
    loader
}
