//! Checks by programs of the operator's.
//!
//! They run in a process of their own ([`runner`]) under a user of their own, which is started while this process is still root
//! and is told then which programs there are; afterwards they are named by their check alone, so whoever gets hold of
//! lvsx-check cannot have anything run that the configuration does not name. A program is only run while nobody but root can
//! change it: its file and all folders above it are root's and writable by nobody else.

mod file;
pub mod runner;

use crate::config::Process;
use crate::config::check::{Check, Script, Whom};
use anyhow::{Context, Result, bail};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::unistd::{Uid, User};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, oneshot};

/// The argument that makes lvsx-check the runner.
pub const RUNNER: &str = "--run-scripts";
/// Longest message between the two.
const MESSAGE_MAX: usize = 64 << 10;

/// What the runner is told first.
#[derive(Debug, Deserialize, Serialize)]
struct Orders {
    user: u32,
    processes: u64,
    programs: BTreeMap<String, Program>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    timeout: Duration,
}

/// A program is to be run.
#[derive(Debug, Deserialize, Serialize)]
struct Request {
    id: u64,
    check: String,
    address: IpAddr,
    port: u16,
}

/// How it ended.
#[derive(Debug, Deserialize, Serialize)]
struct Answer {
    id: u64,
    verdict: Verdict,
}

#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
enum Verdict {
    Works,
    Fails(String),
    /// It was ended for what another did, which says nothing about the server.
    Unknown,
}

/// The way to the runner.
pub struct Channel {
    fd: OwnedFd,
    at_once: usize,
}

/// Starts the runner.
///
/// # Errors
/// This process is not root; there is no such user; a program is not one that nobody but root can change.
pub(super) fn start(process: &Process, scripts: &[(Arc<Check>, Script)]) -> Result<Channel> {
    if !Uid::effective().is_root() {
        bail!(
            "checks of type script run as a user of their own: start lvsx-check as root, it gives its rights away at once"
        );
    }
    let name = &process.script_user;
    let user = User::from_name(name)?
        .with_context(|| format!("[process]: script_user = \"{name}\": there is no such user; `useradd --system {name}` makes it"))?;
    if user.uid.is_root() {
        bail!("[process]: script_user = \"{name}\": that is root; name a user that may do nothing");
    }
    let mut programs = BTreeMap::new();
    for (check, script) in scripts {
        file::examine(&script.path)
            .map_err(|why| anyhow::anyhow!("[check.{}]: {why}", check.name))?;
        let program = Program {
            path: script.path.clone(),
            arguments: script.arguments.clone(),
            timeout: check.timeout,
        };
        programs.insert(check.name.clone(), program);
    }
    let orders = serde_json::to_vec(&Orders {
        user: user.uid.as_raw(),
        processes: process.script_processes,
        programs,
    })?;
    if orders.len() > MESSAGE_MAX {
        bail!("the scripts with their arguments are longer than {MESSAGE_MAX} bytes");
    }
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    send(ours.as_raw_fd(), &orders, MsgFlags::MSG_NOSIGNAL)?;
    let mut runner = Command::new("/proc/self/exe");
    runner
        .arg0("lvsx-check")
        .arg(RUNNER)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .uid(user.uid.as_raw())
        .gid(user.gid.as_raw());
    // It ends when we do; nobody waits for it.
    drop(runner.spawn().context("starting the process for scripts")?);
    Ok(Channel {
        fd: ours,
        at_once: process.scripts_at_once,
    })
}

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Verdict>>>>;

/// Has programs run.
pub(super) struct Runner {
    fd: Arc<AsyncFd<OwnedFd>>,
    waiting: Waiting,
    places: Semaphore,
    next: Mutex<u64>,
}

impl Runner {
    /// Begins to read answers.
    ///
    /// # Errors
    /// Those of the runtime.
    pub(super) fn start(channel: Channel) -> Result<Self> {
        nix::fcntl::fcntl(
            &channel.fd,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )?;
        let fd = Arc::new(super::watch(channel.fd)?);
        let waiting = Waiting::default();
        tokio::spawn(read(fd.clone(), waiting.clone()));
        Ok(Self {
            fd,
            waiting,
            places: Semaphore::new(channel.at_once),
            next: Mutex::new(0),
        })
    }

    /// Has the program of a check run. `None`: that says nothing about the server.
    pub(super) async fn run(&self, check: &str, whom: Whom) -> Option<Result<(), String>> {
        let _place = self.places.acquire().await.ok()?;
        let id = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            *next += 1;
            *next
        };
        let request = Request {
            id,
            check: check.to_owned(),
            address: whom.address,
            port: whom.port,
        };
        let message = serde_json::to_vec(&request).ok()?;
        let (answered, answer) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, answered);
        let flags = MsgFlags::MSG_NOSIGNAL;
        let sent = self
            .fd
            .async_io(Interest::WRITABLE, |fd| {
                Ok(send(fd.as_raw_fd(), &message, flags)?)
            })
            .await;
        if sent.is_err() {
            self.waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&id);
            return None;
        }
        match answer.await.ok()? {
            Verdict::Works => Some(Ok(())),
            Verdict::Fails(why) => Some(Err(why)),
            Verdict::Unknown => None,
        }
    }
}

async fn read(fd: Arc<AsyncFd<OwnedFd>>, waiting: Waiting) {
    let mut buffer = vec![0; MESSAGE_MAX];
    let lock = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let received = fd
            .async_io(Interest::READABLE, |fd| -> io::Result<usize> {
                Ok(recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?)
            })
            .await;
        let length = match received {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        // It runs foreign programs: what it says is read with care.
        let Ok(answer) = serde_json::from_slice::<Answer>(&buffer[..length]) else {
            continue;
        };
        if let Some(waits) = lock().remove(&answer.id) {
            let _ = waits.send(answer.verdict);
        }
    }
    tracing::error!(
        "the process that runs scripts has ended; restart lvsx-check. Servers stay as their checks last said"
    );
    lock().clear();
}
