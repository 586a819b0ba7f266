//! The programs in the kernel, loaded once and run on the packets of one scenario after another (`BPF_PROG_TEST_RUN`): what
//! costs is the kernel's verifier, for seconds.

use std::cell::RefCell;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use lvsx_core::director::Action;
use lvsx_director::clock::Clock;
use lvsx_director::fragments::Taken;
use lvsx_director::loader::{Apart, Buffer, Hooks, Plane, Time};
use lvsx_director::tables::Tables;

/// Connections that the tables are rated for.
pub(super) const CONNECTIONS: u32 = 10_000;
/// Longest frame.
const LONGEST: usize = 1 << 16;

/// Where packets come in: a program and its answers.
struct Entrance {
    program: &'static str,
    pass: u32,
    drop: u32,
    /// The frame leaves.
    out: &'static [u32],
}

/// The entrances of the two hooks. `TC_ACT_UNSPEC`, `TC_ACT_SHOT`, `TC_ACT_REDIRECT`; `XDP_PASS`, `XDP_DROP`, `XDP_TX` and
/// `XDP_REDIRECT`.
const ENTRANCES: [Entrance; 2] = [
    Entrance {
        program: "fast_tc",
        pass: u32::MAX,
        drop: 2,
        out: &[7],
    },
    Entrance {
        program: "fast_xdp",
        pass: 2,
        drop: 1,
        out: &[3, 4],
    },
];
/// The program that meets what sockets send, and what it answers.
const OWN: (&str, u32) = ("own_tc", u32::MAX);

/// Programs with tables of their own.
pub(super) struct Programs {
    plane: Plane,
    entrance: &'static Entrance,
    buffers: RefCell<Vec<Buffer>>,
    /// Behind the others, which need it.
    _apart: Apart,
}

impl Programs {
    /// How many kinds there are.
    pub(super) const KINDS: usize = ENTRANCES.len();

    /// Loads them, with the packets coming in by tc (0) or XDP (1).
    ///
    /// # Errors
    /// The caller is not root, or the kernel refuses them.
    pub(super) fn load(kind: usize) -> Result<Self> {
        let (pins, apart) = Apart::make()?;
        let mut plane = Plane::load_in(pins, CONNECTIONS, true, Time::Virtual, Hooks::Both)?;
        let buffers = RefCell::new(plane.taken()?);
        Ok(Self {
            plane,
            entrance: &ENTRANCES[kind % Self::KINDS],
            buffers,
            _apart: apart,
        })
    }

    /// The tables as they were when they were new, and the clock.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub(super) fn begin_anew(&self) -> Result<(Arc<Tables>, Clock)> {
        self.plane.tables.clear();
        self.taken();
        Ok((self.plane.tables.clone(), self.plane.read_clock()?))
    }

    /// What becomes of a frame that comes in, the frame as it then is, and what was handed to the director.
    ///
    /// # Errors
    /// The kernel refuses the run; an answer that there is not.
    pub(super) fn come_in(&self, frame: &[u8]) -> Result<(Action, Vec<u8>, Vec<Taken>)> {
        let entrance = self.entrance;
        let (answer, bytes) = self.run(entrance.program, frame)?;
        let action = match answer {
            pass if pass == entrance.pass => Action::Pass,
            drop if drop == entrance.drop => Action::Drop,
            out if entrance.out.contains(&out) => Action::Out,
            _ => bail!("{} answers {answer}", entrance.program),
        };
        Ok((action, bytes, self.taken()))
    }

    /// A frame that a socket of the director sends, as it leaves.
    ///
    /// # Errors
    /// The kernel refuses the run; the frame does not leave.
    pub(super) fn leave(&self, frame: &[u8]) -> Result<Vec<u8>> {
        let (program, pass) = OWN;
        match self.run(program, frame)? {
            (answer, bytes) if answer == pass => Ok(bytes),
            (answer, _) => bail!("{program} answers {answer}"),
        }
    }

    fn run(&self, program: &str, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        let mut output = vec![0; LONGEST];
        let (answer, length) = self
            .plane
            .test_run(program, frame, &mut output, 1)
            .with_context(|| program.to_owned())?;
        output.truncate(length);
        Ok((answer, output))
    }

    /// What waits in the director's buffers.
    fn taken(&self) -> Vec<Taken> {
        let mut buffers = self.buffers.borrow_mut();
        let all = buffers.iter_mut();
        all.flat_map(|buffer| buffer.read(usize::MAX).0).collect()
    }
}
