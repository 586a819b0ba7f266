//! Whom command lines are put to: three times a program and a director.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lvsx_ipvs::{Choice, Client, Request, Timeouts};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use super::line::{Answer, Line, Program, escaped};

/// A program and a director.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Debian's `ipvsadm` on the kernel's IPVS: the measure.
    Debian,
    /// Ours on the kernel's IPVS.
    Kernel,
    /// Ours on lvsd.
    Lvsd,
    /// Debian's on lvsd, by `lvsx run`.
    Carried,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian => "debian",
            Self::Kernel => "kernel",
            Self::Lvsd => "lvsd",
            Self::Carried => "carried",
        })
    }
}

/// Timeouts as IPVS has them at first.
const TIMEOUTS: Timeouts = Timeouts {
    tcp: 900,
    tcp_fin: 120,
    udp: 300,
};

/// The calling thread's network namespace: an interface for daemons and for what is local, broadcast or unicast.
const NETWORK: &str = "\
link set lo up
link add eth0 type veth peer name eth1
link set eth0 up
link set eth1 up
addr add 10.9.0.1/24 broadcast 10.9.0.255 dev eth0
addr add fd09::1/64 dev eth0 nodad
";

/// Where names come from on every side: nothing of the machine's own.
const NAMES: [(&str, &str); 3] = [
    (
        "nsswitch.conf",
        "hosts: files\nservices: files\nprotocols: files\n",
    ),
    (
        "hosts",
        "127.0.0.1 localhost\n::1 localhost6\n10.0.0.7 web.example.test web\n10.9.0.17 server-seventeen.of-a-long-name.example.test\n\
         10.0.0.8 a-director.with-a-very-long-name.in-a-very-long-domain.of-some-organisation.example.test long\n\
         fd00::7 six.example.test six\nfd09::17 server-seventeen.of-a-long-name.in-ipv6.example.test\n\
         10.0.0.9 both.test\nfd00::9 both.test\n10.0.0.10 many.test\n10.0.0.11 many.test\n",
    ),
    (
        "services",
        "http 80/tcp www\nhttps 443/tcp\nhttps 443/udp\ndomain 53/tcp\ndomain 53/udp\nsip 5060/udp\nsip 5060/sctp\n\
         a-service-of-a-rather-long-name 8088/tcp\n",
    ),
];

/// The user without rights, and the group of that name.
const NOBODY: u32 = 65534;

/// The kernel never answers who stops a daemon whose thread has not run yet.
const DAEMON: Duration = Duration::from_millis(30);

/// Puts command lines to one director.
pub struct Director {
    side: Side,
    client: Client,
    /// Where ours are found by their names.
    programs: PathBuf,
}

impl Director {
    /// Gives the calling thread a network namespace of its own where the kernel's IPVS is asked; lvsd has one already.
    ///
    /// # Errors
    /// The caller is not root, or there is no director.
    pub fn open(side: Side, programs: &Path) -> Result<Self> {
        if matches!(side, Side::Debian | Side::Kernel) {
            unshare(CloneFlags::CLONE_NEWNET).context("a network namespace")?;
            furnish()?;
        }
        let choice = match side {
            Side::Lvsd | Side::Carried => Choice::Auto,
            Side::Debian | Side::Kernel => Choice::Kernel,
        };
        Ok(Self {
            side,
            client: Client::connect(choice)?,
            programs: programs.to_owned(),
        })
    }

    /// Takes everything away that lines before left.
    ///
    /// # Errors
    /// The director refuses.
    pub fn clear(&mut self) -> Result<()> {
        self.client.call(&Request::Flush)?;
        self.client.call(&Request::SetTimeouts(TIMEOUTS))?;
        for daemon in self.client.daemons()? {
            self.client.call(&Request::DeleteDaemon(daemon.role))?;
        }
        Ok(())
    }

    /// Runs a line of a set-up, whose outcome does not matter, in this process.
    pub fn set_up(&mut self, line: &Line) {
        self.in_this_process(line);
    }

    /// Runs a line. Ours runs in this process where starting it takes long, unless the program itself is asked for.
    ///
    /// # Errors
    /// It cannot be started, or the director does not say what it holds.
    pub fn run(&mut self, line: &Line, itself: bool) -> Result<Answer> {
        let is_ours_on_kernel = self.side == Side::Kernel && line.program == Program::Ipvsadm;
        let begun = Instant::now();
        let mut answer = if line.program == Program::Datagram {
            send(line)?
        } else if self.side == Side::Debian && line.program == Program::Lvsx {
            self.instead_of_ours(line)?
        } else if is_ours_on_kernel && !itself && !line.by_nobody {
            self.in_this_process(line)
        } else {
            self.start(line)?
        };
        answer.took = begun.elapsed();
        answer.state = self.state()?;
        if line.words.iter().any(|word| word.contains("start-daemon")) {
            thread::sleep(DAEMON);
        }
        Ok(answer)
    }

    /// What `lvsx apply` makes of a table, Debian's makes with `ipvsadm-restore`; for other words of `lvsx` it has nothing.
    fn instead_of_ours(&self, line: &Line) -> Result<Answer> {
        if line.whole().is_some() {
            let restored = self.start(&Line {
                program: Program::Restore,
                words: Vec::new(),
                ..line.clone()
            })?;
            ensure!(restored == Answer::default(), "{line}: {restored:?}");
        }
        Ok(Answer::default())
    }

    fn in_this_process(&mut self, line: &Line) -> Answer {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (input, client) = (line.input.as_bytes(), &mut self.client);
        let code = lvsx_ipvsadm::run(&line.words, client, input, &mut out, &mut err);
        Answer {
            code: code.into(),
            out: escaped(&out),
            err: escaped(&err),
            ..Answer::default()
        }
    }

    fn start(&self, line: &Line) -> Result<Answer> {
        let name = line.program.name();
        let mut command = match self.side {
            Side::Debian => Command::new(name),
            Side::Kernel | Side::Lvsd => Command::new(self.programs.join(name)),
            Side::Carried => {
                let mut command = Command::new(self.programs.join("lvsx"));
                command.args(["run", "--", &format!("/usr/sbin/{name}")]);
                command
            }
        };
        if self.side != Side::Carried {
            // What hints at the help say.
            command.arg0(name);
        }
        command
            .args(&line.words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if line.by_nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        if let Some(mut pipe) = child.stdin.take() {
            // A command that reads nothing may have closed it.
            let _ = pipe.write_all(line.input.as_bytes());
        }
        let ended = child.wait_with_output()?;
        Ok(Answer {
            // As a shell counts it.
            code: ended
                .status
                .code()
                .or_else(|| Some(128 + ended.status.signal()?))
                .unwrap_or(-1),
            out: escaped(&ended.stdout),
            err: escaped(&ended.stderr),
            ..Answer::default()
        })
    }

    /// Services by their identity, destinations in the director's order, timeouts, daemons.
    fn state(&mut self) -> Result<String> {
        let mut state = String::new();
        let mut services = self.client.services()?;
        services.sort_by_key(|service| service.key);
        for service in services {
            state.push_str(&described(&service));
            for destination in self.client.destinations(&service.key)? {
                state.push_str(&described(&destination));
            }
        }
        state.push_str(&format!("{:?}\n", self.client.timeouts()?));
        for daemon in self.client.daemons()? {
            state.push_str(&format!("{daemon:?}\n"));
        }
        Ok(state)
    }
}

/// Sends a datagram from the first address to the second, which is one of the director's own.
fn send(line: &Line) -> Result<Answer> {
    let [from, to] = &line.words[..] else {
        bail!("a datagram needs two addresses");
    };
    UdpSocket::bind(from)?.send_to(b"datagram", to)?;
    Ok(Answer::default())
}

/// A service or a destination without its counters, which nothing here moves.
fn described(what: &impl fmt::Debug) -> String {
    let text = format!("{what:?}");
    let settings = text.split(", stats: ").next().unwrap_or(&text);
    format!("{settings}\n")
}

/// Puts interfaces and addresses into the calling thread's network namespace.
///
/// # Errors
/// The tool `ip` is missing, or the caller is not root.
pub fn furnish() -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).stdin(Stdio::piped());
    let mut child = command.spawn().context("ip (iproute2) cannot be started")?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(NETWORK.as_bytes())?;
    }
    match child.wait()?.success() {
        true => Ok(()),
        false => Err(anyhow!("ip -batch failed")),
    }
}

/// Writes into `folder` what stands in place of `/etc`, and links to `lvsx` by the names of its programs.
///
/// # Errors
/// It cannot be written.
pub fn prepare(folder: &Path, lvsx: &Path) -> Result<()> {
    let etc = folder.join("etc");
    fs::create_dir(&etc)?;
    for (name, text) in NAMES {
        fs::write(etc.join(name), text)?;
    }
    // What the loader would otherwise look for at each start.
    let _ = fs::copy("/etc/ld.so.cache", etc.join("ld.so.cache"));
    let programs = folder.join("programs");
    fs::create_dir(&programs)?;
    // A copy: the machine does not see all of this host's folders.
    fs::copy(lvsx, programs.join("lvsx"))?;
    for name in ["lvsd", "ipvsadm", "ipvsadm-save", "ipvsadm-restore"] {
        symlink("lvsx", programs.join(name))?;
    }
    Ok(())
}

/// Gives the calling thread mounts of its own, in which `/etc` is the prepared one, and `modprobe` finds everything loaded
/// and says nothing: the machine's modules are where it does not look.
///
/// # Errors
/// The caller is not root.
pub fn with_own_names(folder: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("mounts of one's own")?;
    let nothing = None::<&str>;
    let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    mount(nothing, "/", nothing, slave, nothing)?;
    let bind = |from: &Path, to: &str| mount(Some(from), to, nothing, MsFlags::MS_BIND, nothing);
    bind(&folder.join("etc"), "/etc").context("names of one's own")?;
    bind(Path::new("/bin/true"), "/sbin/modprobe").context("a silent modprobe")
}
