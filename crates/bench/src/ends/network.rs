//! A client, a director and two real servers: network namespaces without names, which end with the process, and veth between
//! them.
//!
//! ```text
//! client  c0 172.16.0.2 ... .17 --- d0 172.16.0.1, the virtual address  director
//!         and 10.0.0.0/8                d1 192.168.1.1 --- r1 192.168.1.2  real server
//!                                       d2 192.168.2.1 --- r2 192.168.2.2  real server
//! ```

use crate::traffic::{CLIENT, DIRECTOR};
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;

/// The virtual address.
pub(crate) const VIRTUAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The real servers.
pub(crate) const SERVERS: [Ipv4Addr; 2] =
    [Ipv4Addr::new(192, 168, 1, 2), Ipv4Addr::new(192, 168, 2, 2)];
/// The first of the client's addresses for connections of its own, and how many there are.
pub(crate) const CLIENTS: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 16, 0, 2), 16);
/// Where short connections, long ones and datagrams go.
pub(crate) const SHORT: u16 = 80;
pub(crate) const LONG: u16 = 81;
pub(crate) const DATAGRAMS: u16 = 9000;

/// Settings of each namespace; those that a kernel lacks are passed over.
const SETTINGS: [(&str, &str); 7] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/tcp_tw_reuse", "1"),
    ("ipv4/ip_local_port_range", "1024 65000"),
    ("core/somaxconn", "16384"),
    ("ipv6/conf/all/disable_ipv6", "1"),
];

/// A network namespace without a name.
pub(crate) struct Namespace(File);

impl Namespace {
    fn make() -> Result<Self> {
        let born = || -> std::io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        };
        let file = on_a_thread(born).context("a network namespace needs root")?;
        Ok(Self(file))
    }

    /// Does something in it, on a thread of its own.
    ///
    /// # Errors
    /// What the work fails with.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_a_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// Moves the calling thread there.
    ///
    /// # Errors
    /// The caller is not root.
    pub(crate) fn enter(&self) -> Result<()> {
        Ok(setns(&self.0, CloneFlags::CLONE_NEWNET)?)
    }

    /// A command that runs there, and ends with the calling thread.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let raw = self.0.as_raw_fd();
        let mut command = Command::new(program);
        let enter = move || {
            // SAFETY: the namespace's file stays open while commands are started.
            let namespace = unsafe { BorrowedFd::borrow_raw(raw) };
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: two system calls, which allocate nothing and touch nothing of the parent.
        unsafe { command.pre_exec(enter) };
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command there to its end; what it printed.
    ///
    /// # Errors
    /// It cannot be started, or fails: the error holds what it said.
    pub(crate) fn output(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().unwrap_or_default());
        let output = command
            .args(words)
            .output()
            .with_context(|| line.to_owned())?;
        if !output.status.success() {
            bail!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Where `ip` finds it.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    fn ip(&self, lines: &str) -> Result<()> {
        feed(self.command("ip").args(["-batch", "-"]), lines)
    }
}

/// Runs a command with this input.
///
/// # Errors
/// It cannot be started, or fails: the error holds what it said.
pub(crate) fn feed(command: &mut Command, input: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that ends early says why.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// The machines, cabled.
pub(crate) struct Network {
    pub(crate) client: Namespace,
    pub(crate) director: Namespace,
    pub(crate) servers: [Namespace; 2],
}

impl Network {
    /// Lays it out: frames are real ones, none longer than a wire takes.
    ///
    /// # Errors
    /// The caller is not root; `ip` or `ethtool` is missing.
    pub(crate) fn lay() -> Result<Self> {
        let network = Self {
            client: Namespace::make()?,
            director: Namespace::make()?,
            servers: [Namespace::make()?, Namespace::make()?],
        };
        for namespace in network.all() {
            namespace.run(|| {
                for (name, value) in SETTINGS {
                    let _ = fs::write(format!("/proc/sys/net/{name}"), value);
                }
                Ok(())
            })?;
        }
        network.cable()?;
        network.set_offloads(false)?;
        Ok(network)
    }

    fn all(&self) -> [&Namespace; 4] {
        [
            &self.client,
            &self.director,
            &self.servers[0],
            &self.servers[1],
        ]
    }

    fn cable(&self) -> Result<()> {
        let (first, many) = CLIENTS;
        let (from, to) = (text(CLIENT), text(DIRECTOR));
        let mut director = format!(
            "link set lo up\n\
             link add d0 address {to} type veth peer name c0 address {from} netns {}\n\
             link set d0 up\naddr add 172.16.0.1/16 dev d0\naddr add {VIRTUAL}/32 dev d0\n",
            self.client.path()
        );
        let mut client = "link set lo up\nlink set c0 up\n".to_owned();
        for index in 0..many {
            let address = Ipv4Addr::from(u32::from(first) + u32::from(index));
            client += &format!("addr add {address}/16 dev c0\n");
            director += &format!("neigh add {address} lladdr {from} dev d0 nud permanent\n");
        }
        client += &format!("neigh add 172.16.0.1 lladdr {to} dev c0 nud permanent\n");
        client += "route add default via 172.16.0.1\n";
        director += &format!("route add 10.0.0.0/8 via {first}\n");
        for (index, (server, address)) in self.servers.iter().zip(SERVERS).enumerate() {
            let number = index + 1;
            let (near, far) = (
                format!("02:00:00:00:0{number}:01"),
                format!("02:00:00:00:0{number}:02"),
            );
            director += &format!(
                "link add d{number} address {near} type veth peer name r{number} address {far} netns {}\n\
                 link set d{number} up\naddr add 192.168.{number}.1/24 dev d{number}\n\
                 neigh add {address} lladdr {far} dev d{number} nud permanent\n",
                server.path()
            );
        }
        self.director.ip(&director)?;
        self.client.ip(&client)?;
        for (index, (server, address)) in self.servers.iter().zip(SERVERS).enumerate() {
            let number = index + 1;
            server.ip(&format!(
                "link set lo up\nlink set r{number} up\naddr add {address}/24 dev r{number}\n\
                 neigh add 192.168.{number}.1 lladdr 02:00:00:00:0{number}:01 dev r{number} nud permanent\n\
                 route add default via 192.168.{number}.1\n"
            ))?;
        }
        Ok(())
    }

    /// Whether hosts hand over segments longer than a frame, with checksums begun, and the director takes them.
    ///
    /// # Errors
    /// `ethtool` is missing or refuses.
    pub(crate) fn set_offloads(&self, are_on: bool) -> Result<()> {
        let word = if are_on { "on" } else { "off" };
        let ends = [
            (&self.client, "c0"),
            (&self.servers[0], "r1"),
            (&self.servers[1], "r2"),
        ];
        let director = ["d0", "d1", "d2"].map(|device| (&self.director, device));
        for (namespace, device) in ends.into_iter().chain(director) {
            // Frames are gathered as they come from a card, and a veth takes frames that XDP sends.
            namespace.output(&format!(
                "ethtool -K {device} tx {word} tso {word} gso {word} gro on"
            ))?;
        }
        Ok(())
    }
}

/// Where clients of a director with the virtual address, or of none, connect to.
pub(crate) fn targets(is_virtual: bool, port: u16) -> Vec<SocketAddr> {
    match is_virtual {
        true => vec![(VIRTUAL, port).into()],
        false => SERVERS.map(|server| (server, port).into()).to_vec(),
    }
}

fn text(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

fn on_a_thread<T: Send, E: Send>(work: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E> {
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
