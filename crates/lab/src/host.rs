//! A machine of the lab: its namespace, and what is done on it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddrV4, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lvsx_host::{Journal, Network, Plan};

use crate::namespace::{Namespace, with_own_hosts_file};
use crate::record::{Folder, LAB_VARIABLE};
use crate::{Narrator, client, interrupt};

/// The longest that a command of the lab may take.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// A machine of a lab.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    namespace: Namespace,
    folder: Arc<Folder>,
}

/// A command that ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard output of a command that succeeded.
    ///
    /// # Errors
    /// When it did not; the error holds what it wrote to standard error.
    pub fn success(self) -> Result<String> {
        ensure!(
            self.status.success(),
            "{}: {}",
            self.status,
            self.stderr.trim_end()
        );
        Ok(self.stdout)
    }
}

impl Host {
    pub(crate) fn new(name: &str, namespace: Namespace, folder: Arc<Folder>) -> Self {
        Self {
            name: name.to_owned(),
            namespace,
            folder,
        }
    }

    /// Its name in the lab.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Applies a plan here.
    ///
    /// # Errors
    /// The step that failed; what the plan had changed before it is undone.
    pub fn apply(&self, plan: &Plan, narrator: &Narrator) -> Result<Journal> {
        interrupt::check()?;
        let tell = |planned: &_, outcome| narrator.step(&self.name, planned, outcome);
        self.namespace
            .run(|| Network::here().and_then(|network| plan.apply(&network, tell)))?
            .with_context(|| format!("{} on {}", plan.title, self.name))
    }

    /// Runs `work` with the routing socket of this machine.
    ///
    /// # Errors
    /// What `work` fails with.
    pub fn network<T: Send>(
        &self,
        work: impl FnOnce(&Network) -> lvsx_host::Result<T> + Send,
    ) -> Result<T> {
        Ok(self.namespace.run(|| work(&Network::here()?))??)
    }

    /// Runs shell text here, with the lab's programs first in the path and the lab's names for the
    /// addresses, and waits for its end.
    ///
    /// # Errors
    /// When it cannot be started or takes longer than [`COMMAND_LIMIT`].
    pub fn run(&self, script: &str) -> Result<Finished> {
        interrupt::check()?;
        let spawn = || -> io::Result<Child> {
            with_own_hosts_file(&self.folder.hosts_file())?;
            self.command("sh")
                .arg("-c")
                .arg(script)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        };
        let child = self
            .namespace
            .run(spawn)?
            .with_context(|| format!("`{script}` cannot be started"))?;
        finish(child, COMMAND_LIMIT).with_context(|| format!("`{script}` on {}", self.name))
    }

    /// Replaces this process by a program that runs here; returns only on failure.
    pub fn exec(&self, program: &OsStr, arguments: &[impl AsRef<OsStr>]) -> io::Error {
        let entered = self
            .namespace
            .enter()
            .and_then(|()| with_own_hosts_file(&self.folder.hosts_file()));
        match entered {
            Ok(()) => {
                let mut command = Command::new(program);
                self.surround(&mut command);
                command.args(arguments).exec()
            }
            Err(error) => error,
        }
    }

    /// Starts a program of the lab that stays, with both outputs in the log file of that name. It
    /// shares the machine's mounts, since `lvsd` keeps its pins there.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, program: &str, arguments: &[&str], log: &str) -> Result<Child> {
        interrupt::check()?;
        let spawn = || -> io::Result<Child> {
            let log = File::options()
                .create(true)
                .append(true)
                .open(self.folder.log(log))?;
            // A process group of its own: Ctrl-C is for the lab, which then stops this child.
            self.command(program)
                .args(arguments)
                .stdout(log.try_clone()?)
                .stderr(log)
                .process_group(0)
                .spawn()
        };
        self.namespace
            .run(spawn)?
            .with_context(|| format!("{program} cannot be started on {}", self.name))
    }

    /// Opens a TCP connection from here.
    ///
    /// # Errors
    /// When nobody answers within 5 seconds, or refuses.
    pub fn connect(&self, server: SocketAddrV4) -> Result<TcpStream> {
        self.namespace
            .run(|| client::open(server.into()))?
            .with_context(|| format!("{server} from {}", self.name))
    }

    /// Fetches the page of a web server from here, over a connection of its own.
    ///
    /// # Errors
    /// When the connection fails or the answer is no page.
    pub fn fetch(&self, server: SocketAddrV4) -> Result<String> {
        interrupt::check()?;
        client::page(self.connect(server)?)
            .with_context(|| format!("http://{server}/ from {}", self.name))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.program(program));
        self.surround(&mut command);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn surround(&self, command: &mut Command) {
        let others = std::env::var_os("PATH").unwrap_or_default();
        let mut path = self.folder.programs().into_os_string();
        if !others.is_empty() {
            path.push(":");
            path.push(others);
        }
        command
            .env("PATH", path)
            .env(LAB_VARIABLE, self.folder.lab());
    }
}

/// Waits for a child and what it writes; ends it when it takes longer than `limit`.
pub(crate) fn finish(mut child: Child, limit: Duration) -> Result<Finished> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let stdout = scope.spawn(|| read_all(stdout));
        let stderr = scope.spawn(|| read_all(stderr));
        let status = wait(&mut child, limit);
        if status.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let text = |thread: thread::ScopedJoinHandle<'_, String>| thread.join().unwrap_or_default();
        let (stdout, stderr) = (text(stdout), text(stderr));
        Ok(Finished {
            status: status?,
            stdout,
            stderr,
        })
    })
}

fn read_all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What came before a failure is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for a child's end.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        interrupt::check()?;
        if started.elapsed() > limit {
            bail!("it did not end within {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Tries every 10 ms until `attempt` gives something.
pub(crate) fn until<T>(
    limit: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let started = Instant::now();
    loop {
        interrupt::check()?;
        if let Some(found) = attempt()? {
            return Ok(Some(found));
        }
        if started.elapsed() > limit {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The whole text of a log, for an error message.
pub(crate) fn log_text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A program's path: in the lab's own folder if it is one of ours.
pub(crate) fn program_in(folder: &Path, program: &str) -> PathBuf {
    let own = folder.join(program);
    if own.is_symlink() {
        own
    } else {
        PathBuf::from(program)
    }
}
