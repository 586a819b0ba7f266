//! Getting the programs past the kernel's verifier, and the stages to where they find each other.

use super::missing;
use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::maps::ProgramArray;
use aya::programs::Program;
use lvsx_core::director::Stage;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The stages with their programs of either hook.
const STAGES: [(Stage, &str, &str); 41] = [
    (Stage::Fast, "fast_tc", "fast_xdp"),
    (Stage::Syn, "syn_tc", "syn_xdp"),
    (Stage::Find, "find_tc", "find_xdp"),
    (Stage::Open, "open_tc", "open_xdp"),
    (Stage::Overflow, "overflow_tc", "overflow_xdp"),
    (Stage::Bind, "bind_tc", "bind_xdp"),
    (Stage::Send, "send_tc", "send_xdp"),
    (Stage::Found, "found_tc", "found_xdp"),
    (Stage::Encapsulate, "encapsulate_tc", "encapsulate_xdp"),
    (Stage::Refuse, "refuse_tc", "refuse_xdp"),
    (Stage::Find6, "find6_tc", "find6_xdp"),
    (Stage::Open6, "open6_tc", "open6_xdp"),
    (Stage::Overflow6, "overflow6_tc", "overflow6_xdp"),
    (Stage::Bind6, "bind6_tc", "bind6_xdp"),
    (Stage::Send6, "send6_tc", "send6_xdp"),
    (Stage::Found6, "found6_tc", "found6_xdp"),
    (Stage::On, "on_tc", "on_xdp"),
    (Stage::On6, "on6_tc", "on6_xdp"),
    (Stage::Encapsulate6, "encapsulate6_tc", "encapsulate6_xdp"),
    (Stage::Refuse6, "refuse6_tc", "refuse6_xdp"),
    (Stage::Relate, "relate_tc", "relate_xdp"),
    (Stage::Relate6, "relate6_tc", "relate6_xdp"),
    (Stage::Convert, "convert_tc", "convert_xdp"),
    (Stage::Carry, "carry_tc", "carry_xdp"),
    (Stage::Carry6, "carry6_tc", "carry6_xdp"),
    (Stage::Template, "template_tc", "template_xdp"),
    (Stage::Template6, "template6_tc", "template6_xdp"),
    (Stage::Keep, "keep_tc", "keep_xdp"),
    (Stage::Keep6, "keep6_tc", "keep6_xdp"),
    (Stage::Join, "join_tc", "join_xdp"),
    (Stage::Join6, "join6_tc", "join6_xdp"),
    (Stage::Raise, "raise_tc", "raise_xdp"),
    (Stage::Raise6, "raise6_tc", "raise6_xdp"),
    (Stage::Cut, "cut_tc", "cut_xdp"),
    (Stage::Answer, "answer_tc", "answer_xdp"),
    (Stage::Answer6, "answer6_tc", "answer6_xdp"),
    (Stage::Local, "local_tc", "local_xdp"),
    (Stage::Local6, "local6_tc", "local6_xdp"),
    (Stage::Tell, "tell_tc", "tell_xdp"),
    (Stage::Tell6, "tell6_tc", "tell6_xdp"),
    (Stage::Elsewhere6, "elsewhere6_tc", "elsewhere6_xdp"),
];

/// Which front ends of the data plane are loaded. What was attached before stays until its attachment moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooks {
    /// That of tc.
    Tc,
    /// Those of XDP and tc: what sockets of this host send is met by tc in either mode.
    Both,
}

/// The programs that are no stages: those that look at packets of this host's own sockets, and those that the director runs
/// itself.
const OTHERS: [&str; 6] = [
    "own_tc",
    "behind_tc",
    "start_hand",
    "clock",
    "route",
    "give_back",
];

impl Hooks {
    /// The stages' programs of XDP, if they are loaded.
    fn of_xdp(self) -> impl Iterator<Item = (Stage, &'static str)> {
        let is_loaded = self == Self::Both;
        let stages = STAGES.iter().filter(move |_| is_loaded);
        stages.map(|(stage, _, xdp)| (*stage, *xdp))
    }
}

/// The stages' programs of tc.
fn of_tc() -> impl Iterator<Item = (Stage, &'static str)> {
    STAGES.iter().map(|(stage, tc, _)| (*stage, *tc))
}

/// Loads the programs of `hooks` and puts the stages where they find each other. Programs that run go on with
/// those before until their attachment moves.
///
/// The verifier takes seconds for all of them: they are shared out among as many threads as there are CPUs.
pub(super) fn load(ebpf: &mut Ebpf, hooks: Hooks) -> Result<()> {
    let stages = of_tc().chain(hooks.of_xdp());
    let names: Vec<&str> = stages.map(|(_, name)| name).chain(OTHERS).collect();
    if let Some(name) = names.iter().find(|name| ebpf.program(name).is_none()) {
        return Err(missing(name));
    }
    let wanted: Vec<(&str, &mut Program)> = ebpf
        .programs_mut()
        .filter(|(name, _)| names.contains(name))
        .collect();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let queue = Mutex::new(wanted);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| load_from(&queue)))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(done) => done,
                Err(_) => bail!("a thread that loads programs has panicked"),
            })
    })?;
    place(ebpf, "JUMP_TC", of_tc())?;
    place(ebpf, "JUMP_XDP", hooks.of_xdp())
}

/// Puts stages where those of their hook find them.
fn place(
    ebpf: &mut Ebpf,
    array: &str,
    stages: impl Iterator<Item = (Stage, &'static str)>,
) -> Result<()> {
    let map = ebpf.take_map(array).ok_or_else(|| missing(array))?;
    let mut places = ProgramArray::try_from(map)?;
    for (stage, name) in stages {
        let program = ebpf.program(name).ok_or_else(|| missing(name))?;
        places.set(stage as u32, program.fd()?, 0)?;
    }
    Ok(())
}

/// Loads one program after another, until none waits or one is refused.
fn load_from(queue: &Mutex<Vec<(&str, &mut Program)>>) -> Result<()> {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some((name, program)) = next else {
            return Ok(());
        };
        match program {
            Program::SchedClassifier(program) => program.load(),
            Program::Xdp(program) => program.load(),
            _ => bail!("{name} is neither XDP nor tc"),
        }
        .with_context(|| format!("the kernel's verifier refuses {name}"))?;
    }
}
