//! `parity`: makes the lines, puts them to all sides at once, and counts what is equal.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, umount2};

use super::director::{self, Side};
use super::generate;
use super::judge::{self, Answers, Known};
use super::line::Group;
use super::play::{self, GROUPS};
use super::scale;
use crate::conform::{each, verdict};
use crate::host::{until, wait};
use crate::machine::Job;
use crate::namespace::Namespace;

const USAGE: &str = "\
usage: parity [OPTION]...

Puts command lines of ipvsadm, made from its grammar, to Debian's ipvsadm on the kernel's IPVS, to ours on that kernel, and
to ours on lvsd, and compares output, errors, exit codes and what the director then holds.

  --count N        at least this many lines (1200)
  --seed S         which ones (1)
  --group NAME     only groups whose names begin so
  --print          print the lines and do nothing else
  --scale N        instead a table of N services of 50 servers: seconds to restore, list and save it, by Debian's on lvsd too
  --lvsx FILE, --known FILE, --out DIR
                   the binary, the list of known differences, where differences are written
";

/// Lines where no number is given.
const COUNT: usize = 1200;
/// Machines with the kernel's IPVS: each has one CPU.
const MACHINES: usize = 2;
/// How long lines may take, beyond what `LINE` allows for each.
const LIMIT: Duration = Duration::from_secs(120);
const LINE: Duration = Duration::from_millis(500);
/// How long lvsd may take until it serves.
const READY: Duration = Duration::from_secs(120);
/// How many lines of differences are shown.
const SHOWN: usize = 60;

/// Runs `parity` with these arguments.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let is_equal =
        options(arguments).and_then(|options| options.map_or(Ok(true), |options| options.run()));
    verdict("parity", is_equal)
}

struct Options {
    count: usize,
    seed: u64,
    group: Option<String>,
    is_printing: bool,
    scale: Option<u32>,
    lvsx: PathBuf,
    known: PathBuf,
    out: PathBuf,
}

/// `None`: there was nothing but a question for help, or the work of one side, which is done.
fn options(arguments: Vec<OsString>) -> Result<Option<Options>> {
    use lexopt::prelude::*;
    let mut options = Options {
        count: COUNT,
        seed: 1,
        group: None,
        is_printing: false,
        scale: None,
        lvsx: "target/release/lvsx".into(),
        known: "KNOWN_DIFFERENCES.md".into(),
        out: "target/parity".into(),
    };
    let mut inside: Option<PathBuf> = None;
    let mut sides = vec![Side::Debian, Side::Kernel];
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("count") => options.count = parser.value()?.parse()?,
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("group") => options.group = Some(parser.value()?.string()?),
            Long("print") => options.is_printing = true,
            Long("scale") => options.scale = Some(parser.value()?.parse()?),
            Long("lvsx") => options.lvsx = parser.value()?.into(),
            Long("known") => options.known = parser.value()?.into(),
            Long("out") => options.out = parser.value()?.into(),
            Long("inside") => inside = Some(parser.value()?.into()),
            Long("on-lvsd") => sides = vec![Side::Lvsd],
            Long("carried") => sides.push(Side::Carried),
            Long("help") | Short('h') => {
                print!("{USAGE}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if let Some(folder) = inside {
        play::inside(&folder, &sides)?;
        return Ok(None);
    }
    Ok(Some(options))
}

impl Options {
    /// Whether everything was equal but for what is listed.
    fn run(&self) -> Result<bool> {
        let mut groups = match self.scale {
            Some(services) => scale::groups(services),
            None => generate::groups(self.count, self.seed),
        };
        if let Some(name) = &self.group {
            groups.retain(|group| group.name.starts_with(name));
        }
        let lines: usize = groups.iter().map(|group| group.lines.len()).sum();
        ensure!(lines > 0, "there is no group of that name");
        if self.is_printing {
            for group in &groups {
                println!("= {}", group.name);
                group.lines.iter().for_each(|line| println!("{line}"));
            }
            return Ok(true);
        }
        let list = fs::read_to_string(&self.known)
            .with_context(|| format!("cannot read {}", self.known.display()))?;
        let mut known = Known::read(&list)?;
        let lvsx = self
            .lvsx
            .canonicalize()
            .with_context(|| format!("no {}", self.lvsx.display()))?;
        fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make {}", self.out.display()))?;

        let started = Instant::now();
        let limit = LIMIT + LINE * self.scale.map_or(lines as u32, |services| 10 * services);
        let (kernel, lvsd) = thread::scope(|scope| {
            let kernel = scope.spawn(|| on_kernel(&groups, &lvsx, limit));
            let lvsd = on_lvsd(&groups, &lvsx, limit, self.scale.is_some());
            let kernel = kernel.join();
            (
                kernel.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                lvsd,
            )
        });
        let ((debian, kernel), (lvsd, carried)) = (kernel?, lvsd?);
        let beside_kernel = judge::measure(&groups, &debian, &kernel);

        let mut is_equal = true;
        let mut sides = vec![
            (Side::Kernel, &debian, &kernel),
            (Side::Lvsd, &beside_kernel, &lvsd),
        ];
        if let Some(carried) = &carried {
            sides.push((Side::Carried, &debian, carried));
        }
        for (side, wanted, found) in sides {
            let (counts, text) = judge::compare(side, &groups, wanted, found, &mut known);
            println!("ours on {side} beside Debian's on the kernel");
            for (category, count) in &counts {
                let all = count.equal + count.known + count.different;
                println!(
                    "  {category:<12} lines {all:>5}  equal {:>5}  listed {:>3}  different {:>3}",
                    count.equal, count.known, count.different
                );
            }
            is_equal &= text.is_empty();
            let file = self.out.join(format!("{side}.txt"));
            fs::write(&file, &text)?;
            for line in text.lines().take(SHOWN) {
                println!("{line}");
            }
            if text.lines().count() > SHOWN {
                println!("... all of it: {}", file.display());
            }
        }
        if let Some(carried) = &carried {
            print!(
                "{}",
                scale::told(&[
                    (Side::Debian, &debian),
                    (Side::Kernel, &kernel),
                    (Side::Carried, carried),
                    (Side::Lvsd, &lvsd),
                ])
            );
            return Ok(is_equal);
        }
        if self.count == COUNT && self.seed == 1 && self.group.is_none() {
            for pattern in known.unmet() {
                println!("listed in {} but not met: {pattern}", self.known.display());
                is_equal = false;
            }
        }
        println!(
            "{lines} lines on three sides in {:.0} s",
            started.elapsed().as_secs_f64()
        );
        Ok(is_equal)
    }
}

/// A job's folder with these groups.
fn job(groups: &[Group], lvsx: &Path) -> Result<Job> {
    let job = Job::create()?;
    director::prepare(job.folder(), lvsx)?;
    fs::write(job.folder().join(GROUPS), serde_json::to_vec(groups)?)?;
    Ok(job)
}

/// Answers of Debian's and of ours on the kernel's IPVS.
fn on_kernel(groups: &[Group], lvsx: &Path, limit: Duration) -> Result<(Answers, Answers)> {
    let in_a_machine = |first: usize| -> Result<Vec<_>> {
        let part: Vec<Group> = groups
            .iter()
            .skip(first)
            .step_by(MACHINES)
            .cloned()
            .collect();
        let job = job(&part, lvsx)?;
        job.boot(limit, || false)?;
        let of = |side| play::answers(job.folder(), side);
        Ok(of(Side::Debian)?
            .into_iter()
            .zip(of(Side::Kernel)?)
            .collect())
    };
    let machines: Vec<usize> = (0..MACHINES.min(groups.len())).collect();
    let parts: Result<Vec<Vec<_>>> = each(&machines, MACHINES, |first| in_a_machine(*first))
        .into_iter()
        .collect();
    let mut parts: Vec<_> = parts?.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::new();
    while all.len() < groups.len() {
        all.extend(parts.iter_mut().filter_map(Iterator::next));
    }
    Ok(all.into_iter().unzip())
}

/// Answers of ours on an lvsd, in a network namespace, and if wanted of Debian's there.
fn on_lvsd(
    groups: &[Group],
    lvsx: &Path,
    limit: Duration,
    with_carried: bool,
) -> Result<(Answers, Option<Answers>)> {
    let job = job(groups, lvsx)?;
    let stage = Stage::set(&job)?;
    let program = std::env::current_exe().context("the path of this program")?;
    let mut command = stage.command(&program);
    command
        .arg(crate::machine::INSIDE)
        .arg(job.folder())
        .arg("--on-lvsd");
    if with_carried {
        command.arg("--carried");
    }
    let mut child = stage.namespace.run(|| command.spawn())??;
    let ended = wait(&mut child, limit);
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    ensure!(ended?.success(), "{}", stage.last_words());
    let of = |side| play::answers(job.folder(), side);
    let carried = with_carried.then(|| of(Side::Carried)).transpose()?;
    Ok((of(Side::Lvsd)?, carried))
}

/// An lvsd in a network namespace; both go when this is dropped.
struct Stage<'a> {
    job: &'a Job,
    namespace: Namespace,
    lvsd: Option<Child>,
}

impl<'a> Stage<'a> {
    fn set(job: &'a Job) -> Result<Self> {
        let mut stage = Self {
            job,
            namespace: Namespace::create(&format!("parity{}", std::process::id()))?,
            lvsd: None,
        };
        stage.namespace.run(director::furnish)??;
        let log = File::create(stage.log())?;
        let mut command = stage.command(&job.folder().join("programs/lvsd"));
        // The size that the kernel's table has, which listings tell.
        command.args(["--connections", "4096"]);
        command.stdout(log.try_clone()?).stderr(log);
        let spawned = stage.namespace.run(|| command.spawn())?;
        stage.lvsd = Some(spawned.context("lvsd cannot be started")?);
        let is_ready = || {
            let log = fs::read_to_string(stage.log())?;
            Ok(log
                .lines()
                .any(|line| line.ends_with("ready"))
                .then_some(()))
        };
        let ready = until(READY, is_ready)?;
        ensure!(
            ready.is_some(),
            "lvsd does not get ready; {}",
            stage.last_words()
        );
        Ok(stage)
    }

    fn log(&self) -> PathBuf {
        self.job.folder().join("lvsd.log")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("LVSX_RUN_DIR", self.job.folder().join("run"))
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    /// The end of lvsd's log.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = &lines[lines.len().saturating_sub(5)..];
        format!("lvsd's log ends:\n{}", end.join("\n"))
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if let Some(mut lvsd) = self.lvsd.take() {
            let _ = lvsd.kill();
            let _ = lvsd.wait();
            let mut command = self.command(&self.job.folder().join("programs/lvsd"));
            command.arg("--stop-forwarding");
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let _ = self.namespace.run(|| command.status());
        }
        let _ = umount2(&self.job.folder().join("run/bpf"), MntFlags::MNT_DETACH);
        let _ = self.namespace.remove();
    }
}
