//! A director in a network namespace of its own, real time and real frames: lvsd here, or the kernel's IPVS in the
//! machine that this runs in.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::listing;
use super::super::play::{Answers, Director, Ended, MarkRule, play};
use super::super::scenario::{Protocol, Scenario, Step};
use super::super::traffic::OnLink;
use super::ground::{COMMAND, Ground};
use super::link::Links;
use super::network;
use crate::host::{finish, until};

/// How long lvsd may take until it serves: the verifier is slow when the machine is busy.
const READY: Duration = Duration::from_secs(120);

/// How much longer than its pauses a scenario may take from its first packet on: the shortest timeout of a connection is 10 s.
const PACE: Duration = Duration::from_secs(7);
/// The same with `schedule_icmp`: a connection that an ICMP error opens lives for three seconds.
const BRISK_PACE: Duration = Duration::from_millis(2500);
/// How often a scenario that took longer is tried again.
const TRIES: usize = 4;

/// How often the kernel is asked for a list of connections until two in a row are the same.
const LISTS: usize = 10;

/// Which director.
#[derive(Clone, Debug)]
pub enum Program {
    /// The kernel that this runs on.
    Kernel,
    /// lvsd, by the path of `lvsx` and the mode.
    Lvsd {
        /// The binary.
        lvsx: PathBuf,
        /// `tc` or `xdp`.
        mode: &'static str,
    },
}

/// A folder for what directors leave, which goes when this is dropped.
pub struct Workshop {
    program: Program,
    folder: PathBuf,
}

impl Workshop {
    /// Prepares for directors of this kind.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(program: Program) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("lvsx-conform-{}-{number}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        if let Program::Lvsd { lvsx, .. } = &program {
            let lvsx = lvsx
                .canonicalize()
                .with_context(|| format!("no {}", lvsx.display()))?;
            for name in ["lvsx", "lvsd", "ipvsadm"] {
                symlink(&lvsx, folder.join(name))?;
            }
        }
        Ok(Self { program, folder })
    }

    /// Plays a scenario with a new director; again, with less beside it, if it took so long that timers ran out which the
    /// scenario does not let run out.
    ///
    /// # Errors
    /// The director does not start, or does not come to rest; the machine is too slow.
    pub fn play(&self, scenario: &Scenario) -> Result<Answers> {
        static ALONE: Mutex<()> = Mutex::new(());
        let pace = pace(scenario);
        let (answers, lost) = self.play_once(scenario)?;
        if lost <= pace {
            return Ok(answers);
        }
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            let (answers, lost) = self.play_once(scenario)?;
            if lost <= pace {
                return Ok(answers);
            }
        }
        bail!(
            "this machine is too slow: the scenario takes {pace:?} longer than its pauses, {TRIES} times in a row"
        )
    }

    /// The answers, and how much longer it took from the first packet on than the scenario's own pauses there.
    fn play_once(&self, scenario: &Scenario) -> Result<(Answers, Duration)> {
        let mut bench = Bench::build(self, scenario)?;
        let answers = play(scenario, &mut bench).with_context(|| bench.last_words())?;
        let is_before = |step: &&Step| !matches!(step, Step::Packet { .. });
        let rest = scenario.steps.iter().skip_while(is_before);
        let pauses = rest.map(|step| match step {
            Step::Wait(time) => *time,
            _ => Duration::ZERO,
        });
        let took = bench.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        Ok((answers, took.saturating_sub(pauses.sum())))
    }

    fn command(&self, program: &str) -> Command {
        match self.program {
            Program::Kernel => Command::new(program),
            Program::Lvsd { .. } => {
                let mut command = Command::new(self.folder.join(program));
                // What hints at the help say.
                command.arg0(program);
                command.env("LVSX_RUN_DIR", self.folder.join("run"));
                command
            }
        }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = umount2(&self.folder.join("run/bpf"), MntFlags::MNT_DETACH);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// How much longer than its pauses this scenario may take.
fn pace(scenario: &Scenario) -> Duration {
    let is_brisk = |step: &Step| matches!(step, Step::Sysctl { name, value } if name == "schedule_icmp" && *value != 0);
    if scenario.steps.iter().any(is_brisk) {
        BRISK_PACE
    } else {
        PACE
    }
}

/// A director between the ends of its links.
struct Bench<'a> {
    workshop: &'a Workshop,
    ground: Ground,
    links: Links,
    lvsd: Option<Child>,
    log: PathBuf,
    /// When the first packet was sent: before it there is nothing that time would end.
    begun: Option<Instant>,
}

impl<'a> Bench<'a> {
    fn build(workshop: &'a Workshop, scenario: &Scenario) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let takes_xdp = matches!(workshop.program, Program::Lvsd { mode: "xdp", .. });
        let ground = Ground::lay(&scenario.site, takes_xdp)?;
        let count = network::links(&scenario.site);
        let links = ground.far.run(|| Links::open(count))??;
        let mut bench = Self {
            workshop,
            ground,
            links,
            lvsd: None,
            log: workshop.folder.join(format!("lvsd-{number}.log")),
            begun: None,
        };
        bench.start()?;
        Ok(bench)
    }

    fn start(&mut self) -> Result<()> {
        if let Program::Lvsd { mode, .. } = self.workshop.program {
            let log = File::create(&self.log)?;
            let mut lvsd = self.workshop.command("lvsd");
            lvsd.args(["--mode", mode])
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .process_group(0);
            self.lvsd = Some(
                self.ground
                    .near
                    .run(|| lvsd.spawn())?
                    .context("lvsd cannot be started")?,
            );
            let is_ready = || {
                Ok(fs::read_to_string(&self.log)?
                    .lines()
                    .any(|line| line.ends_with("ready"))
                    .then_some(()))
            };
            ensure!(
                until(READY, is_ready)?.is_some(),
                "lvsd does not get ready; {}",
                self.last_words()
            );
        }
        self.exchange(&[]).map(drop)
    }

    /// The end of lvsd's log.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!(
            "its log ends:\n{}",
            lines[lines.len().saturating_sub(5)..].join("\n")
        )
    }

    fn run(&self, mut command: Command, input: &str) -> Result<Ended> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.ground.near.run(|| command.spawn())??;
        if let Some(mut pipe) = child.stdin.take() {
            // A command that reads nothing may have closed it.
            let _ = pipe.write_all(input.as_bytes());
        }
        let ended = finish(child, COMMAND)?;
        Ok(Ended {
            code: ended.status.code().unwrap_or(-1),
            out: ended.stdout,
            err: ended.stderr,
        })
    }
}

impl Director for Bench<'_> {
    fn command(&mut self, words: &[String], input: &str) -> Result<Ended> {
        let ask = |bench: &Self| {
            let mut command = bench.workshop.command("ipvsadm");
            command.args(words);
            bench.run(command, input)
        };
        let mut ended = ask(self)?;
        let is_kernel = matches!(self.workshop.program, Program::Kernel);
        if !is_kernel || !listing::lists_connections(words) {
            return Ok(ended);
        }
        // The kernel lists by place in one table of all namespaces: connections that come and go elsewhere meanwhile make
        // it skip some and repeat others. So a list counts when the next one is the same.
        for _ in 0..LISTS {
            let again = ask(self)?;
            let is_same = listing::lines(words, &again.out) == listing::lines(words, &ended.out);
            ended = again;
            if is_same {
                return Ok(ended);
            }
        }
        bail!("the kernel's list of connections does not come to rest")
    }

    fn read(&mut self, name: &str) -> Result<String> {
        let path = format!("/proc/net/{name}");
        let command = match self.workshop.program {
            Program::Kernel => {
                let mut command = Command::new("cat");
                command.arg(path);
                command
            }
            Program::Lvsd { .. } => {
                let mut command = self.workshop.command("lvsx");
                command.args(["run", "--", "cat", &path]);
                command
            }
        };
        let ended = self.run(command, "")?;
        ensure!(ended.code == 0, "cat: {}", ended.err);
        Ok(ended.out)
    }

    fn set(&mut self, name: &str, value: i64) -> Result<bool> {
        match self.workshop.program {
            Program::Kernel => {
                let file = format!("/proc/sys/net/ipv4/vs/{name}");
                Ok(self
                    .ground
                    .near
                    .run(|| fs::write(file, value.to_string()))?
                    .is_ok())
            }
            Program::Lvsd { .. } => {
                let mut command = self.workshop.command("lvsx");
                command.args(["sysctl", "-w", &format!("{name}={value}")]);
                Ok(self.run(command, "")?.code == 0)
            }
        }
    }

    fn mark(&mut self, rule: &MarkRule<'_>) -> Result<bool> {
        let (mark, port) = (rule.mark.to_string(), rule.port.to_string());
        let protocol = if rule.protocol == Protocol::Udp {
            "udp"
        } else {
            "tcp"
        };
        let command = match self.workshop.program {
            Program::Kernel => {
                // User-mode Linux has no nftables.
                let tables = if rule.to.contains(':') {
                    "ip6tables-legacy"
                } else {
                    "iptables-legacy"
                };
                let mut command = Command::new(tables);
                command.args([
                    "-t",
                    "mangle",
                    "-A",
                    "PREROUTING",
                    "-p",
                    protocol,
                    "-d",
                    rule.to,
                ]);
                if rule.port != 0 {
                    command.args(["--dport", &port]);
                }
                command.args(["-j", "MARK", "--set-mark", &mark]);
                command
            }
            Program::Lvsd { .. } => {
                let mut command = self.workshop.command("lvsx");
                command.args(["mark", "add"]);
                command.args(rule.to_string().split(' '));
                command
            }
        };
        Ok(self.run(command, "")?.code == 0)
    }

    fn wait(&mut self, time: Duration) -> Result<()> {
        thread::sleep(time);
        Ok(())
    }

    fn exchange(&mut self, frames: &[OnLink]) -> Result<Vec<OnLink>> {
        if !frames.is_empty() {
            self.begun.get_or_insert_with(Instant::now);
        }
        self.links.exchange(frames)
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        if let Some(mut lvsd) = self.lvsd.take() {
            let _ = kill(Pid::from_raw(lvsd.id().cast_signed()), Signal::SIGTERM);
            let end = Instant::now() + Duration::from_secs(3);
            while matches!(lvsd.try_wait(), Ok(None)) && Instant::now() < end {
                thread::sleep(Duration::from_millis(2));
            }
            let _ = lvsd.kill();
            let _ = lvsd.wait();
            let mut command = self.workshop.command("lvsd");
            command.arg("--stop-forwarding");
            let _ = self.run(command, "");
        }
    }
}
