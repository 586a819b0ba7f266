//! The process that runs scripts: a user of its own, no rights, limits.
//!
//! A script gets a process group of its own and a time. When it ends, or its time is over, its whole group is killed. What left
//! the group is found all the same, because orphans become this process's children; then everything of this user is killed at
//! once, which no fork escapes, and scripts of others that were hit say nothing about their servers.

use super::{Answer, MESSAGE_MAX, Orders, Program, Request, Verdict, file};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, Uid};
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The socket to lvsx-check.
const SOCKET: i32 = 0;
/// Between two looks whether a script has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Tries to rid this user of processes that fork; each kills all there are.
const SWEEPS: u32 = 50;
/// Open files of a script.
const FILES: u64 = 256;
/// Largest file that a script may write.
const FILE_SIZE: u64 = 16 << 20;
/// Address space of a script.
const MEMORY: u64 = 2 << 30;

/// Runs scripts until lvsx-check goes.
#[must_use]
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lvsx-check, running scripts: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    let mut buffer = vec![0; MESSAGE_MAX];
    let length = recv(SOCKET, &mut buffer, MsgFlags::empty())
        .context("lvsx-check starts this, nobody else")?;
    let orders: Orders = serde_json::from_slice(&buffer[..length])?;
    // All processes of this user may be killed: it must be that of the scripts, and nobody's else.
    let user = Uid::effective();
    if user.is_root() || user.as_raw() != orders.user || Uid::current() != user {
        bail!(
            "this must run as the user of the scripts, number {}",
            orders.user
        );
    }
    limit(&orders)?;
    let runs = Arc::new(Runs::default());
    loop {
        let length = match recv(SOCKET, &mut buffer, MsgFlags::empty()) {
            Ok(0) | Err(Errno::ECONNRESET) => break,
            Ok(length) => length,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let request: Request = serde_json::from_slice(&buffer[..length])?;
        let id = request.id;
        let program = orders.programs.get(&request.check).cloned();
        let shared = runs.clone();
        let run = move || {
            let verdict = match program {
                Some(program) => shared.run(&program, &request),
                None => Verdict::Unknown,
            };
            answer(id, verdict);
        };
        if thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(run)
            .is_err()
        {
            answer(id, Verdict::Unknown);
        }
    }
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    Ok(())
}

/// Limits that scripts inherit.
fn limit(orders: &Orders) -> Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    nix::sys::prctl::set_child_subreaper(true)?;
    for (resource, most) in [
        (Resource::RLIMIT_NPROC, orders.processes),
        (Resource::RLIMIT_NOFILE, FILES),
        (Resource::RLIMIT_FSIZE, FILE_SIZE),
        (Resource::RLIMIT_AS, MEMORY),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(resource, most, most)?;
    }
    Ok(())
}

fn answer(id: u64, verdict: Verdict) {
    if let Ok(message) = serde_json::to_vec(&Answer { id, verdict }) {
        let _ = send(SOCKET, &message, MsgFlags::MSG_NOSIGNAL);
    }
}

/// Scripts that run.
#[derive(Default)]
struct Runs {
    leaders: Mutex<BTreeSet<i32>>,
    /// How often everything was killed.
    sweeps: AtomicU64,
}

impl Runs {
    fn run(&self, program: &Program, request: &Request) -> Verdict {
        if let Err(why) = file::examine(&program.path) {
            return Verdict::Fails(why);
        }
        let before = self.sweeps.load(Ordering::SeqCst);
        let mut command = Command::new(&program.path);
        command
            .args(&program.arguments)
            .args([request.address.to_string(), request.port.to_string()])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let started = {
            let mut leaders = self.lock();
            let started = command.spawn();
            if let Ok(child) = &started {
                leaders.insert(child.id().cast_signed());
            }
            started
        };
        let mut child = match started {
            Ok(child) => child,
            // Too many processes, most likely those of others.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => return Verdict::Unknown,
            Err(error) => return Verdict::Fails(format!("it cannot be run: {error}")),
        };
        let ended = end_within(&mut child, program.timeout);
        let leader = child.id().cast_signed();
        end_group(&mut child);
        self.lock().remove(&leader);
        let was_hit = self.sweeps.load(Ordering::SeqCst) != before;
        self.sweep();
        match ended {
            Some(status) if status.success() => Verdict::Works,
            _ if was_hit => Verdict::Unknown,
            Some(status) => Verdict::Fails(format!("the script ended with {status}")),
            None => Verdict::Fails(format!(
                "the script did not end within {:?}",
                program.timeout
            )),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills what left its script's group. Nothing is started meanwhile.
    fn sweep(&self) {
        let leaders = self.lock();
        for _ in 0..SWEEPS {
            let strays: Vec<i32> = children()
                .into_iter()
                .filter(|child| !leaders.contains(child))
                .collect();
            if strays.is_empty() {
                return;
            }
            self.sweeps.fetch_add(1, Ordering::SeqCst);
            // All but this process; who forks in this moment does not come to it.
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            for stray in strays {
                reap(stray);
            }
        }
    }
}

/// Waits for a script. `None`: its time is over.
fn end_within(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + time;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => thread::sleep(LOOK),
            _ => return None,
        }
    }
}

/// Kills a script and all of its group, and waits until they are gone.
fn end_group(child: &mut Child) {
    let group = Pid::from_raw(child.id().cast_signed());
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
    // Those whose parents are gone are ours by now.
    while waitpid(Pid::from_raw(-group.as_raw()), None).is_ok() {}
}

/// Waits for a process that was killed, for a moment.
fn reap(process: i32) {
    let end = Instant::now() + Duration::from_millis(200);
    while let Ok(WaitStatus::StillAlive) =
        waitpid(Pid::from_raw(process), Some(WaitPidFlag::WNOHANG))
    {
        if Instant::now() > end {
            return;
        }
        thread::sleep(LOOK / 5);
    }
}

/// Children of this process, those that it inherited too.
fn children() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    let numbers = lists.iter().flat_map(|list| list.split_ascii_whitespace());
    numbers.filter_map(|number| number.parse().ok()).collect()
}
