//! The kernel's own IPVS: user-mode Linux, a kernel that runs as an ordinary process and boots in some three seconds.
//!
//! The machine's root is this host's file system, read-only; this very program plays the scenarios in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::super::parse::parse;
use super::super::play::Answers;
use super::super::scenario::Scenario;

/// The kernel, of Debian's package `user-mode-linux`.
const KERNEL: &str = "/usr/bin/linux.uml";

/// Scenarios at once in the machine, which has one CPU.
const AT_ONCE: usize = 2;

/// The files in which the machine finds its work.
const SCENARIO: &str = "scenario";
/// What it leaves: the scenario with the kernel's answers, or an error.
const ANSWERED: &str = "answered";
const FAILED: &str = "failed";

/// Plays all scenarios in one machine, for at most `limit`: the answers to each, or why it could not be played.
///
/// # Errors
/// The machine does not come up, or ends before it has answered any.
pub fn play(scenarios: &[&Scenario], limit: Duration) -> Result<Vec<Result<Answers>>> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let job = std::env::temp_dir().join(format!("lvsx-uml-{}-{number}", std::process::id()));
    fs::create_dir(&job).with_context(|| format!("cannot make {}", job.display()))?;
    let result = boot(&job, scenarios, limit);
    let _ = fs::remove_dir_all(&job);
    result
}

fn boot(job: &Path, scenarios: &[&Scenario], limit: Duration) -> Result<Vec<Result<Answers>>> {
    for (index, scenario) in scenarios.iter().enumerate() {
        let file = job.join(format!("{index}.{SCENARIO}"));
        fs::write(file, scenario.to_string())?;
    }
    let program = std::env::current_exe().context("the path of this program")?;
    fs::copy(program, job.join("conform"))?;
    let init = job.join("init");
    let script = include_str!("init.sh").replace("JOB", &job.to_string_lossy());
    fs::write(&init, script)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let console = fs::File::create(job.join("console"))?;
    // Even when this program is killed the machine ends by itself.
    let status = Command::new("timeout")
        .args(["--foreground", "--kill-after=5"])
        .args([&limit.as_secs().to_string(), KERNEL])
        .args([
            "mem=512M",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "quiet",
        ])
        .args(["con=null", "con0=null,fd:1"])
        .arg(format!("init={}", init.display()))
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .status()
        .context("user-mode Linux cannot be started")?;
    let count = scenarios.len();
    let is_answered = |index: usize| job.join(format!("{index}.{ANSWERED}")).exists();
    // A machine that was too slow has answered some all the same.
    if !job.join("done").exists() && !(0..count).any(is_answered) {
        let console = fs::read(job.join("console")).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let lines: Vec<&str> = console.lines().collect();
        bail!(
            "user-mode Linux ({KERNEL}, `cargo xtask setup conform` installs it) ended early ({status}); its console ends:\n{}",
            lines[lines.len().saturating_sub(15)..].join("\n")
        );
    }
    Ok((0..count).map(|index| answers(job, index)).collect())
}

fn answers(job: &Path, index: usize) -> Result<Answers> {
    let answered = job.join(format!("{index}.{ANSWERED}"));
    let Ok(text) = fs::read_to_string(&answered) else {
        let failed = fs::read_to_string(job.join(format!("{index}.{FAILED}")));
        bail!(
            "{}",
            failed.unwrap_or_else(|_| "the machine left no answer".to_owned())
        );
    };
    let (scenario, answers) = parse(&text).context("the machine's answers")?;
    Ok(answers.unwrap_or_else(|| vec![Vec::new(); scenario.steps.len()]))
}

/// The machine's side: plays every scenario of the job folder with the kernel's IPVS, several at a time, since most of
/// their time is waiting.
///
/// # Errors
/// The folder cannot be read or written.
pub fn inside(job: &Path) -> Result<()> {
    let workshop = super::live::Workshop::open(super::live::Program::Kernel)?;
    let mut files: Vec<PathBuf> = fs::read_dir(job)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == SCENARIO)
    });
    files.sort();
    super::super::each(&files, AT_ONCE, |file| {
        let played = fs::read_to_string(file)
            .map_err(anyhow::Error::from)
            .and_then(|text| {
                let (scenario, _) = parse(&text)?;
                let answers = workshop.play(&scenario)?;
                Ok(scenario.text(Some(&answers)))
            });
        let written = match played {
            Ok(text) => fs::write(file.with_extension(ANSWERED), text),
            Err(error) => fs::write(file.with_extension(FAILED), format!("{error:#}")),
        };
        if let Err(error) = written {
            eprintln!("{}: {error}", file.display());
        }
    });
    Ok(())
}
