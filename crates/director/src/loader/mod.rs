//! Getting the data plane into the kernel: maps with their sizes and pins, programs, the timer; and, beside one that lives
//! already, taking it over without a packet noticing.

mod apart;
mod attach;
mod link;
mod pins;
mod programs;
mod taken;
mod time;

pub use apart::Apart;
pub use attach::{AttachError, Attachments, Hook, Seat, Wanted, detach_all};
pub use pins::Pins;
pub use programs::Hooks;
pub use taken::Buffer;

use crate::clock::Clock;
use crate::generation::{Generations, Readers};
use crate::mapping::Shared;
use crate::tables::{Capacity, Tables};
use anyhow::{Context, Result, anyhow, bail};
use aya::maps::{Map, MapData, RingBuf};
use aya::programs::{ProgramFd, SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};
use lvsx_core::env::{self, Geometry, state};
use lvsx_core::sched::cache;
use lvsx_core::tick::TickRate;
use lvsx_platform::Line;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::sync::Arc;

/// The programs, compiled.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf/lvsx.bpf.o");

/// The oldest kernel that has everything the programs need.
const OLDEST: KernelVersion = KernelVersion::new(6, 1, 0);

/// The maps that are pinned: all but the buffer of sums, which no packet takes along. What crosses stages is one of them, because
/// packets that begin in the programs of a director before go on in the stages of its successor.
const PINNED: [&str; 17] = [
    "CONFIG",
    "STATE",
    "CONNS4",
    "CONNS6",
    "TUNNELS",
    "DESTS",
    "SERVICES",
    "TALLIES",
    "EVENTS",
    "PORTS",
    "CACHE",
    "HAND",
    "UNRESOLVED",
    "TAKEN",
    "JUMP_TC",
    "JUMP_XDP",
    "CROSSING",
];

/// Which time programs go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The kernel's.
    Real,
    /// The kernel's and the ticks of [`state::CLOCK_OFFSET`]: for tests that jump in time.
    Virtual,
}

/// The data plane in the kernel, as the director holds it.
pub struct Plane {
    ebpf: Ebpf,
    /// Its tables.
    pub tables: Arc<Tables>,
    /// Its clock, when it was loaded.
    pub clock: Clock,
    /// Whether it was in force already, or its configuration was.
    pub was_there: bool,
    pins: Pins,
}

impl Plane {
    /// Loads the data plane, or takes over the one that is pinned. `connections`: rating of a new table; `is_asked`: the
    /// operator asked for it.
    ///
    /// # Errors
    /// The kernel is too old, or refuses; pins cannot be used.
    pub fn load(pins: Pins, connections: u32, is_asked: bool) -> Result<Self> {
        Self::load_in(pins, connections, is_asked, Time::Real, Hooks::Both)
    }

    /// As [`Self::load`], in this time, with the programs of these hooks: half of them take half the time to load.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_in(
        pins: Pins,
        connections: u32,
        is_asked: bool,
        time: Time,
        hooks: Hooks,
    ) -> Result<Self> {
        check_kernel()?;
        // Beside tables of another layout ours are none in force, but the rest of a start that was broken off.
        let there = match pins.others()?.is_empty() {
            true => capacity_in_force(&pins)?,
            false => None,
        };
        let capacity = match there {
            Some(capacity) => capacity,
            None => {
                pins.begin_anew().context("removing unfinished pins")?;
                Capacity::rated(connections, random()?, possible_cpus()?)
            }
        };
        if is_asked && capacity.connections != connections {
            tracing::warn!(
                "the table in force is rated for {} connections and stays; for {connections} run \
                 `lvsd --stop-forwarding` first, which ends all connections",
                capacity.connections
            );
        }
        let rate = TickRate::of_hz(time::hz()?);
        let mut ebpf = load_object(&pins, &capacity, rate, time)?;
        let tables = Arc::new(map_tables(&ebpf, capacity)?);
        programs::load(&mut ebpf, hooks)?;
        let clock = time::read(&ebpf, rate)?;
        let plane = Self {
            ebpf,
            tables,
            clock,
            was_there: there.is_some(),
            pins,
        };
        plane.start_hand()?;
        write_meta(&plane.tables, rate);
        Ok(plane)
    }

    /// The generation in force, or none.
    ///
    /// # Errors
    /// What is in force is damaged.
    pub fn generations(&self) -> Result<Generations> {
        Generations::in_force(&self.tables, Readers::Programs)
            .context("run `lvsd --stop-forwarding`, which ends forwarding, and start again")
    }

    /// Ends what tables of other layouts forward, on all interfaces.
    ///
    /// # Errors
    /// Pins cannot be removed; interfaces cannot be listed.
    pub fn end_others(&self) -> Result<()> {
        self.pins
            .remove_others()
            .context("removing pins of another layout")?;
        detach_all()
    }

    /// A new reading of the clock.
    ///
    /// # Errors
    /// The kernel refuses the test run.
    pub fn read_clock(&self) -> Result<Clock> {
        time::read(&self.ebpf, self.clock.rate)
    }

    /// The records of next hops that packets could not resolve. Once.
    ///
    /// # Errors
    /// The map is not there.
    pub fn unresolved(&mut self) -> Result<RingBuf<MapData>> {
        let map = self
            .ebpf
            .take_map("UNRESOLVED")
            .ok_or_else(|| missing("UNRESOLVED"))?;
        Ok(RingBuf::try_from(map)?)
    }

    /// A program, to run it on a packet of one's own (`BPF_PROG_TEST_RUN`).
    ///
    /// # Errors
    /// No such program; the kernel refuses.
    pub fn test_run(
        &self,
        program: &str,
        packet: &[u8],
        output: &mut [u8],
        repeat: u32,
    ) -> Result<(u32, usize)> {
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(output),
            repeat,
            ..Default::default()
        };
        let program = self.ebpf.program(program).ok_or_else(|| missing(program))?;
        let result = match program {
            aya::programs::Program::Xdp(program) => program.test_run(options)?,
            aya::programs::Program::SchedClassifier(program) => program.test_run(options)?,
            _ => bail!("neither XDP nor tc"),
        };
        Ok((result.return_value, result.data_size_out as usize))
    }

    /// The program that every frame of an interface served by XDP meets first.
    ///
    /// # Errors
    /// It was not loaded.
    pub fn entrance(&self) -> Result<&ProgramFd> {
        const NAME: &str = "fast_xdp";
        let program = self.ebpf.program(NAME).ok_or_else(|| missing(NAME))?;
        Ok(program.fd()?)
    }

    /// Whether a link of ours is pinned for this hook of an interface.
    #[must_use]
    pub fn has_link(&self, hook: Hook, interface: u32) -> bool {
        self.pins.link(hook.name(), interface).exists()
    }

    fn start_hand(&self) -> Result<()> {
        let (answer, _) = self
            .test_run("start_hand", &[0; 64], &mut [0; 64], 1)
            .context("start_hand")?;
        match answer as i32 {
            0 => Ok(()),
            error => {
                bail!("the timer that removes expired connections does not start (error {error})")
            }
        }
    }

    fn classifier(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        let program = self.ebpf.program_mut(name).ok_or_else(|| missing(name))?;
        Ok(program.try_into()?)
    }

    fn xdp(&mut self) -> Result<&mut Xdp> {
        let program = self
            .ebpf
            .program_mut("fast_xdp")
            .ok_or_else(|| missing("fast_xdp"))?;
        Ok(program.try_into()?)
    }
}

fn missing(name: &str) -> anyhow::Error {
    anyhow!("the BPF object has no {name}")
}

fn check_kernel() -> Result<()> {
    let found =
        KernelVersion::current().map_err(|error| anyhow!("the kernel's version: {error}"))?;
    if found < OLDEST {
        bail!(
            "this kernel is too old: lvsd needs Linux 6.1 or newer, found {}",
            release()
        );
    }
    Ok(())
}

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "?".into(), |text| text.trim().to_owned())
}

/// The capacity of the tables that are pinned. `None`: there are none, or none that were finished.
fn capacity_in_force(pins: &Pins) -> Result<Option<Capacity>> {
    if !pins.are_there() {
        return Ok(None);
    }
    let path = pins.map("STATE");
    let map = MapData::from_pin(&path).with_context(|| path.display().to_string())?;
    // As far as that line alone: another layout's state may have fewer.
    let lines: Shared<Line> = Shared::map(map.fd().as_fd(), state::META + 1)
        .with_context(|| path.display().to_string())?;
    Ok(read_meta(&lines[state::META as usize]))
}

/// | word | holds |
/// |---|---|
/// | 0 | seed |
/// | 1 | main sets, sets of the overflow area << 32 |
/// | 2 | destinations, services << 32 |
/// | 3 | hz, shift from jiffies to ticks << 32 |
/// | 4 | CPUs, layout << 32 |
/// | 5 | connections the table is rated for, lines of the arena << 32 |
fn write_meta(tables: &Tables, rate: TickRate) {
    let capacity = &tables.capacity;
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let line = &tables.state[state::META as usize];
    line[0].store(capacity.geometry.seed);
    line[1].store(pair(capacity.geometry.sets, capacity.geometry.overflow));
    line[2].store(pair(capacity.destinations, capacity.services));
    line[3].store(pair(rate.hz, rate.shift));
    line[5].store(pair(capacity.connections, capacity.config));
    // Last: it says that all is there.
    line[4].store(pair(capacity.cpus, lvsx_core::LAYOUT));
}

fn read_meta(line: &Line) -> Option<Capacity> {
    let pair = |word: usize| (line[word].load() as u32, (line[word].load() >> 32) as u32);
    let ((cpus, layout), (sets, overflow)) = (pair(4), pair(1));
    let ((destinations, services), (connections, config)) = (pair(2), pair(5));
    let geometry = Geometry {
        sets,
        overflow,
        seed: line[0].load(),
    };
    (layout == lvsx_core::LAYOUT).then_some(Capacity {
        config,
        destinations,
        services,
        connections,
        geometry,
        cpus,
    })
}

fn possible_cpus() -> Result<u32> {
    let cpus = aya::util::nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
    Ok(u32::try_from(cpus)?)
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn load_object(pins: &Pins, capacity: &Capacity, rate: TickRate, time: Time) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    let geometry = capacity.geometry;
    let entries = [
        ("CONFIG", capacity.config),
        ("STATE", state::LINES),
        ("CONNS4", capacity.sets()),
        ("CONNS6", capacity.sets()),
        ("TUNNELS", capacity.destinations),
        ("DESTS", capacity.destinations),
        ("SERVICES", capacity.services),
        ("TALLIES", capacity.tallies()),
        ("EVENTS", capacity.events()),
    ];
    for (name, count) in entries {
        loader.map_max_entries(name, count);
    }
    let globals = [
        ("SETS", &geometry.sets),
        ("OVERFLOW", &geometry.overflow),
        ("DESTINATIONS", &capacity.destinations),
        ("TICK_SHIFT", &rate.shift),
        ("VIRTUAL_TIME", &u32::from(time == Time::Virtual)),
    ];
    for (name, value) in globals {
        loader.override_global(name, value, true);
    }
    loader.override_global("SEED", &geometry.seed, true);
    for name in PINNED {
        loader.map_pin_path(name, pins.map(name));
    }
    loader
        .load(OBJECT)
        .map_err(explain)
        .context("loading the BPF object")
}

/// What the kernel's refusal means for who started lvsd.
fn explain(error: aya::EbpfError) -> anyhow::Error {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    let mut hint = None;
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            hint = match io.kind() {
                ErrorKind::PermissionDenied => Some(
                    "lvsd needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: run it as root, and not in a container without them",
                ),
                ErrorKind::Unsupported => Some("this kernel was built without BPF"),
                _ => match io.raw_os_error() {
                    Some(libc::ENOSYS) => Some("this kernel was built without BPF"),
                    Some(libc::ENOMEM | libc::E2BIG) => {
                        Some("not enough memory: try fewer --connections")
                    }
                    _ => None,
                },
            };
        }
        cause = inner.source();
    }
    let error = anyhow::Error::new(error);
    match hint {
        Some(hint) => error.context(hint),
        None => error,
    }
}

fn map_tables(ebpf: &Ebpf, capacity: Capacity) -> Result<Tables> {
    let fd = |name: &str| match ebpf.map(name) {
        Some(Map::Array(data)) => Ok(data.fd().as_fd()),
        _ => Err(missing(name)),
    };
    let lines = |name: &str, count: u32| -> Result<Shared<Line>> {
        Shared::map(fd(name)?, count).with_context(|| format!("mapping {name}"))
    };
    Ok(Tables {
        config: lines("CONFIG", capacity.config)?,
        state: lines("STATE", state::LINES)?,
        sets: Shared::map(fd("CONNS4")?, capacity.sets()).context("mapping CONNS4")?,
        sets6: Shared::map(fd("CONNS6")?, capacity.sets()).context("mapping CONNS6")?,
        tunnels: lines("TUNNELS", capacity.destinations)?,
        destinations: lines("DESTS", capacity.destinations)?,
        services: lines("SERVICES", capacity.services)?,
        tallies: lines("TALLIES", capacity.tallies())?,
        events: lines("EVENTS", capacity.events())?,
        ports: lines("PORTS", env::PORTS)?,
        cache: lines("CACHE", cache::LINES)?,
        capacity,
    })
}
