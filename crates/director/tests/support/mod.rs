//! A network namespace of a test's own, a run folder of its own, lvsd as a process in it. Everything goes when it is
//! dropped, also after a failure.
#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod hosts;
pub(crate) mod scene;
pub(crate) mod tunnel;

use lvsx_ipvs::transport::{PORT_NAME, SOCKET_NAME};
use lvsx_ipvs::{Client, Transport};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long lvsd may take until it serves: the verifier is slow when the machine is busy.
const READY: Duration = Duration::from_secs(60);

/// Runs `test` in a thread that has a network namespace of its own.
pub(crate) fn in_namespace(test: impl FnOnce(&Space) + Send) {
    assert!(
        Uid::effective().is_root(),
        "this test makes network namespaces and loads BPF programs: run it as root"
    );
    thread::scope(|scope| {
        let outcome = scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
                let space = Space::new();
                ip("link set lo up");
                test(&space);
            })
            .join();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs `ip` with these arguments in the calling thread's network namespace.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status()
        .expect("ip (iproute2) runs");
    assert!(status.success(), "ip {arguments}: {status}");
}

/// A test's run folder.
pub(crate) struct Space {
    /// The folder.
    pub(crate) run_dir: PathBuf,
}

impl Space {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let run_dir =
            std::env::temp_dir().join(format!("lvsx-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&run_dir).expect("a run folder");
        Self { run_dir }
    }

    /// The folder of this network namespace.
    pub(crate) fn folder(&self) -> PathBuf {
        self.run_dir
            .join(lvsx_ipvs::cookie().expect("a cookie").to_string())
    }

    /// The folder of the pins.
    pub(crate) fn pins(&self) -> PathBuf {
        self.run_dir
            .join("bpf")
            .join(lvsx_ipvs::cookie().expect("a cookie").to_string())
    }

    /// lvsd's Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder().join(SOCKET_NAME)
    }

    /// A client by lvsd's Unix socket.
    pub(crate) fn client(&self) -> Client {
        Client::new(Transport::director(&self.socket()).expect("lvsd listens"))
    }

    /// lvsd's netlink port.
    pub(crate) fn port(&self) -> u32 {
        let text =
            std::fs::read_to_string(self.folder().join(PORT_NAME)).expect("the port is published");
        text.trim().parse().expect("a number")
    }

    /// Starts lvsd and waits until it is ready.
    pub(crate) fn lvsd(&self, arguments: &[&str]) -> Lvsd {
        let begin = Instant::now();
        let mut child = command(&self.run_dir, arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("lvsd starts");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        let (lines, log_lines) = mpsc::channel();
        thread::spawn(move || {
            log.lines()
                .map_while(Result::ok)
                .for_each(|line| drop(lines.send(line)))
        });
        let mut lvsd = Lvsd {
            child,
            log_lines,
            log: Vec::new(),
        };
        lvsd.wait_for(READY, |line| line.ends_with("ready"));
        eprintln!("lvsd is ready after {:?}", begin.elapsed());
        lvsd
    }

    /// Runs lvsd, which does not come to serve: what it said.
    pub(crate) fn lvsd_fails(&self, arguments: &[&str]) -> String {
        let mut child = command(&self.run_dir, arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("lvsd starts");
        let said = child.stderr.take().expect("it is piped");
        let end = Instant::now() + READY;
        while child.try_wait().expect("it is ours").is_none() {
            if Instant::now() > end {
                let _ = child.kill();
            }
            thread::sleep(Duration::from_millis(20));
        }
        let said = std::io::read_to_string(said).expect("text");
        assert_eq!(
            child.wait().expect("it has ended").code(),
            Some(1),
            "{said}"
        );
        said
    }

    /// Ends forwarding.
    pub(crate) fn stop_forwarding(&self) {
        let output = command(&self.run_dir, &["--stop-forwarding"])
            .output()
            .expect("lvsd runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = umount2(&self.run_dir.join("bpf"), MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir_all(&self.run_dir);
    }
}

/// Arguments of an lvsd that a test starts, a line each.
const ARGUMENTS: &str = "LVSX_TEST_ARGUMENTS";

/// lvsd, which is this very program in another role: so it is as new as its test.
fn command(run_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this test"));
    command
        .args([
            "--exact",
            "support::lvsd_itself",
            "--ignored",
            "--nocapture",
        ])
        .env(ARGUMENTS, arguments.join("\n"))
        .env("LVSX_RUN_DIR", run_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

#[test]
#[ignore = "no test: lvsd, as the tests start it"]
fn lvsd_itself() {
    let arguments = std::env::var(ARGUMENTS).expect("arguments");
    let code = lvsx_director::main(arguments.lines().map(Into::into).collect());
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

/// A running lvsd, which is killed when this is dropped.
pub(crate) struct Lvsd {
    child: Child,
    log_lines: mpsc::Receiver<String>,
    log: Vec<String>,
}

impl Lvsd {
    /// Waits for a line of its log.
    pub(crate) fn wait_for(&mut self, patience: Duration, is_it: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + patience;
        loop {
            match self
                .log_lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.log.push(line.clone());
                    if is_it(&line) {
                        return line;
                    }
                }
                Err(error) => panic!(
                    "lvsd does not say it ({error}); its log:\n{}",
                    self.log.join("\n")
                ),
            }
        }
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.join("\n")
    }

    /// Bytes of memory that are its own.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.expect("a number") << 10
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    /// Ends it by SIGTERM; its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let id = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Lvsd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
