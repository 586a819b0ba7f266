//! `test`: everything that must hold before a change lands, in stages.
//!
//! A stage that fails does not stop the others: one run shows all that is wrong.

use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};

use crate::{
    beside, ebpf, figures,
    package::{self, Profile},
    repository::{Repository, run as run_command},
    setup::{self, Part},
    vm,
};

/// The tutorial's labs, by forwarding method.
pub(crate) const LAB_METHODS: [&str; 3] = ["nat", "dr", "tun"];

/// The two front ends of the data plane.
pub(crate) const LAB_MODES: [&str; 2] = ["tc", "xdp"];

/// All crates but the BPF programs, which need another compiler.
const HOST_CRATES: [&str; 5] = [
    "--workspace",
    "--exclude",
    "lvsx-ebpf",
    "--exclude",
    "lvsx-bench-ebpf",
];

/// The oldest kernel that is supported.
const OLDEST_KERNEL: &str = "6.1";

/// One part of a test run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Installs what the others need.
    Setup,
    /// The sources are formatted.
    Fmt,
    /// No lint has anything to say.
    Clippy,
    /// The documentation builds without a warning.
    Doc,
    /// The committed BPF object is what its sources give.
    Ebpf,
    /// Unit, property and integration tests, and the examples in the documentation.
    Test,
    /// The connection table under many orders of its steps.
    Interleavings,
    /// The BPF programs load on this kernel within their limits.
    Figures,
    /// The tutorial's labs, in both modes.
    Labs,
    /// The packages, and what they bring, on a machine of their own.
    Package,
    /// Labs and figures on the oldest kernel.
    Vm,
    /// Scenarios of every category, beside the kernel's IPVS.
    Conform,
    /// Command lines beside Debian's `ipvsadm`.
    Parity,
}

impl Stage {
    /// All stages in their order.
    pub(crate) const ALL: [Self; 13] = [
        Self::Setup,
        Self::Fmt,
        Self::Clippy,
        Self::Doc,
        Self::Ebpf,
        Self::Test,
        Self::Interleavings,
        Self::Figures,
        Self::Labs,
        Self::Package,
        Self::Vm,
        Self::Conform,
        Self::Parity,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Doc => "doc",
            Self::Ebpf => "ebpf",
            Self::Test => "test",
            Self::Interleavings => "interleavings",
            Self::Figures => "figures",
            Self::Labs => "labs",
            Self::Package => "package",
            Self::Vm => "vm",
            Self::Conform => "conform",
            Self::Parity => "parity",
        }
    }

    /// The stage that is run while this one runs, and told when its turn comes. Each of these two is one process that computes:
    /// an emulated machine and a kernel in user mode, with a CPU for each.
    fn beside(self) -> Option<Self> {
        matches!(self, Self::Vm).then_some(Self::Parity)
    }

    /// The stage of that name on the command line.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.word() == word)
    }

    fn run(self, repository: &Repository) -> anyhow::Result<()> {
        match self {
            Self::Setup => setup::install(&Part::ALL),
            // All crates, also the BPF programs, which no other stage on the host's compiler sees.
            Self::Fmt => run_command(&mut repository.cargo(["fmt", "--all", "--check"])),
            Self::Clippy => run_command(
                repository
                    .cargo(["clippy", "--quiet", "--all-targets", "--keep-going"])
                    .args(HOST_CRATES)
                    .args(["--", "-D", "warnings"]),
            ),
            Self::Doc => run_command(
                repository
                    .cargo(["doc", "--quiet", "--no-deps", "--keep-going"])
                    .args(HOST_CRATES)
                    .env("RUSTDOCFLAGS", "-D warnings"),
            ),
            Self::Ebpf => ebpf::check(repository),
            Self::Test => tests(repository),
            Self::Interleavings => interleavings(repository),
            Self::Figures => figures::print(&repository.bpf_object()),
            Self::Labs => labs(repository),
            Self::Package => {
                setup::install(&[Part::Package])?;
                package::trial::try_out(repository, &package::make(repository, Profile::Release)?)
            }
            Self::Vm => old_kernel(repository),
            // By turns: an lvsd for each scenario, in both modes, would take four times as long.
            Self::Conform => {
                let arguments = ["--seeds", "1", "--by-turns"].map(Into::into);
                beside::the_kernel(repository, "conform", &arguments)
            }
            Self::Parity => beside::the_kernel(repository, "parity", &[]),
        }
    }
}

/// Runs `stages` in their order, then prints what each gave and took.
///
/// # Errors
/// At least one stage failed; each has printed why.
pub(crate) fn run(repository: &Repository, stages: &[Stage]) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut results = Vec::new();
    let (mut ahead, mut building) = (None, None);
    for &stage in stages {
        println!("== {}", stage.word());
        // The tests wait more than they compute.
        if stage == Stage::Test && stages.contains(&Stage::Labs) {
            building = Some(repository.release_ahead()?);
        }
        if let Some(mut build) = building.take_if(|_| stage == Stage::Labs) {
            // A build that fails is repeated by the stage, which says so.
            build.wait()?;
        }
        if let Some(other) = stage.beside().filter(|other| stages.contains(other)) {
            ahead = Some(Ahead::start(repository, other)?);
        }
        let (result, took) = match ahead.take_if(|ahead| ahead.stage == stage) {
            Some(ahead) => ahead.finish()?,
            None => {
                let start = Instant::now();
                (stage.run(repository), start.elapsed())
            }
        };
        match &result {
            Ok(()) => println!("== {} passed ({})", stage.word(), seconds(took)),
            Err(error) => println!("== {} FAILED ({}): {error:#}", stage.word(), seconds(took)),
        }
        results.push((stage, result.is_ok(), took));
    }
    println!("== summary");
    for (stage, passed, took) in &results {
        println!(
            "{:<13} {} {:>9}",
            stage.word(),
            if *passed { "passed" } else { "FAILED" },
            seconds(*took)
        );
    }
    let failed = results.iter().filter(|(_, passed, _)| !passed).count();
    println!(
        "{} of {} stages passed in {}",
        results.len() - failed,
        results.len(),
        seconds(begin.elapsed())
    );
    std::io::stdout().flush()?;
    if failed > 0 {
        bail!("{failed} of {} stages failed", results.len());
    }
    Ok(())
}

/// A stage that was started before its turn, by the command that does the same.
struct Ahead {
    stage: Stage,
    log: PathBuf,
    process: JoinHandle<(io::Result<ExitStatus>, Duration)>,
}

impl Ahead {
    fn start(repository: &Repository, stage: Stage) -> anyhow::Result<Self> {
        let log = repository.target().join(format!("{}.log", stage.word()));
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let mut child = Command::new(env::current_exe()?)
            .arg(stage.word())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start the stage {}", stage.word()))?;
        let start = Instant::now();
        let process = thread::spawn(move || (child.wait(), start.elapsed()));
        Ok(Self {
            stage,
            log,
            process,
        })
    }

    /// Waits for its end, prints what it said, and gives how it went and what it took.
    fn finish(self) -> anyhow::Result<(anyhow::Result<()>, Duration)> {
        let (status, took) = self.process.join().expect("waiting does not panic");
        print!("{}", String::from_utf8_lossy(&fs::read(&self.log)?));
        let result = match status? {
            status if status.success() => Ok(()),
            status => Err(anyhow!("{status}")),
        };
        Ok((result, took))
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// The tests that the stage `labs` does not repeat by command: all but the six labs.
const NOT_IN_LABS: &str = "not (package(lvsx) & binary(labs) & test(/^(nat|dr|tun)_in_(tc|xdp)$/))";

fn tests(repository: &Repository) -> anyhow::Result<()> {
    let has_nextest = repository
        .cargo(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if has_nextest {
        run_command(
            repository
                .cargo(["nextest", "run", "--no-fail-fast", "-E", NOT_IN_LABS])
                .args(HOST_CRATES),
        )?;
        // nextest leaves the examples in the documentation out.
        run_command(
            repository
                .cargo(["test", "--quiet", "--doc"])
                .args(HOST_CRATES),
        )
    } else {
        run_command(
            repository
                .cargo(["test", "--no-fail-fast"])
                .args(HOST_CRATES),
        )
    }
}

/// What needs Go, which no stage installs.
///
/// # Errors
/// A test failed.
pub(crate) fn of_go(repository: &Repository) -> anyhow::Result<()> {
    let test = ["test", "--package", "lvsx", "--test", "clients", "--"];
    run_command(
        repository
            .cargo(test)
            .args(["--ignored", "programs_of_go_are_served"]),
    )
}

/// The same tables with the words of a checker that schedules the threads itself, in a folder of their own since every
/// crate is compiled anew; optimised, which repays the compilation many times.
fn interleavings(repository: &Repository) -> anyhow::Result<()> {
    run_command(
        repository
            .cargo(["test", "--quiet", "--package", "lvsx-core"])
            .args(["--test", "interleavings", "--target-dir"])
            .arg(repository.target().join("interleavings"))
            .env("RUSTFLAGS", "--cfg shuttle")
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1"),
    )
}

fn labs(repository: &Repository) -> anyhow::Result<()> {
    let lvsx = repository.release()?.join("lvsx");
    let mut failed = Vec::new();
    for method in LAB_METHODS {
        for mode in LAB_MODES {
            println!("-- lvsx lab {method} --mode {mode}");
            let start = Instant::now();
            match run_command(Command::new(&lvsx).args(["lab", method, "--mode", mode])) {
                Ok(()) => println!("-- passed ({})", seconds(start.elapsed())),
                Err(error) => {
                    println!("-- FAILED ({}): {error:#}", seconds(start.elapsed()));
                    failed.push(format!("{method} {mode}"));
                }
            }
        }
    }
    if !failed.is_empty() {
        bail!("labs that failed: {}", failed.join(", "));
    }
    Ok(())
}

fn old_kernel(repository: &Repository) -> anyhow::Result<()> {
    setup::install(&[Part::Vm])?;
    let machine = vm::Machine::prepare(repository, OLDEST_KERNEL)?;
    let script = vm::selftest::script(repository, vm::selftest::Extent::Part)?;
    match machine.run(&script, vm::LIMIT)? {
        0 => Ok(()),
        code => bail!("the self-test on kernel {OLDEST_KERNEL} exited with {code}"),
    }
}
