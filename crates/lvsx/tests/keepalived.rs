//! Debian's keepalived, unmodified, on two directors: its checkers take servers out of lvsd's table and put them back, its
//! VRRP moves the virtual address, and clients' connections follow. Needs root.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddrV4;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lvsx_lab::client;
use lvsx_lab::namespace::Namespace;

const KEEPALIVED: &str = "/usr/sbin/keepalived";
const PATIENCE: Duration = Duration::from_secs(20);
const READY: Duration = Duration::from_secs(60);
const VIRTUAL: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(10, 77, 0, 40), 80);
/// The machines on one switch, with the last bytes of their addresses.
const MACHINES: [(&str, u8); 5] = [
    ("client", 1),
    ("d1", 11),
    ("d2", 12),
    ("s1", 21),
    ("s2", 22),
];
/// Addresses of the servers, which are their pages.
const S1: &str = "10.77.0.21";
const S2: &str = "10.77.0.22";

/// A process that ends with the test, and those that it started: keepalived's may wait for a director that has ended before.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// Machines on a switch, as network namespaces.
struct Network {
    prefix: String,
    folder: PathBuf,
}

impl Network {
    fn build() -> Result<Self> {
        ensure!(
            Path::new(KEEPALIVED).exists(),
            "{KEEPALIVED} is missing; `cargo xtask setup` installs it"
        );
        let prefix = format!("lvsx-ka{}", std::process::id());
        let folder = std::env::temp_dir().join(&prefix);
        fs::create_dir(&folder)?;
        let network = Self { prefix, folder };
        Namespace::create(&network.named("switch"))?;
        network.sh(
            "switch",
            "ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up",
        )?;
        for (machine, last) in MACHINES {
            let name = network.named(machine);
            Namespace::create(&name)?;
            network.sh(
                "switch",
                &format!(
                    "ip link add {machine} type veth peer name eth0 netns {name} && ip link set {machine} master br0 up"
                ),
            )?;
            network.sh(
                machine,
                &format!("ip link set lo up && ip addr add 10.77.0.{last}/24 dev eth0 && ip link set eth0 up"),
            )?;
        }
        for server in ["s1", "s2"] {
            network.sh(
                server,
                "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 && ip addr add 10.77.0.40/32 dev lo",
            )?;
        }
        Ok(network)
    }

    fn named(&self, machine: &str) -> String {
        format!("{}-{machine}", self.prefix)
    }

    fn namespace(&self, machine: &str) -> Namespace {
        Namespace::named(&self.named(machine))
    }

    /// Runs shell text on a machine, which must succeed.
    fn sh(&self, machine: &str, script: &str) -> Result<String> {
        let run = || Command::new("sh").args(["-c", script]).output();
        let output = self.namespace(machine).run(run)??;
        ensure!(
            output.status.success(),
            "{machine}: {script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts `lvsx` with these words; its output goes to the log of that name.
    fn lvsx(&self, machine: &str, words: &[&str], log: &str) -> Result<Running> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(log))?;
        let start = || -> io::Result<Child> {
            Command::new(env!("CARGO_BIN_EXE_lvsx"))
                .args(words)
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log.try_clone()?)
                .spawn()
        };
        Ok(Running(self.namespace(machine).run(start)??))
    }

    fn web(&self, machine: &str, page: &str) -> Result<Running> {
        self.lvsx(machine, &["lab", "web", "80", page], "web")
    }

    /// Starts keepalived through `lvsx run`.
    fn keepalived(&self, machine: &str, priority: u8) -> Result<Running> {
        let file = |kind: &str| {
            self.folder
                .join(format!("{machine}.{kind}"))
                .to_string_lossy()
                .into_owned()
        };
        fs::write(file("conf"), configuration(priority))?;
        let (config, pid, checkers, vrrp) =
            (file("conf"), file("pid"), file("checkers"), file("vrrp"));
        let words = [
            "run",
            "--",
            KEEPALIVED,
            "--dont-fork",
            "--log-console",
            "--log-detail",
            "--dont-respawn",
            "-f",
            &config,
            "-p",
            &pid,
            "-c",
            &checkers,
            "-r",
            &vrrp,
        ];
        self.lvsx(machine, &words, &format!("keepalived-{machine}"))
    }

    /// The servers of the service in a director's table.
    fn servers(&self, director: &str) -> Result<Vec<String>> {
        let listing = self.sh(
            director,
            &format!("{} ipvsadm -Ln", env!("CARGO_BIN_EXE_lvsx")),
        )?;
        let servers = listing
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("-> "));
        // The heading begins so too.
        let numbers = servers.filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
        let mut servers: Vec<String> = numbers
            .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
            .collect();
        servers.sort();
        Ok(servers)
    }

    /// The connections that a director has opened.
    fn opened(&self, director: &str) -> Result<u64> {
        let text = self.sh(
            director,
            &format!(
                "{} run cat /proc/net/ip_vs_stats",
                env!("CARGO_BIN_EXE_lvsx")
            ),
        )?;
        let total = text
            .lines()
            .nth(2)
            .and_then(|line| line.split_ascii_whitespace().next());
        Ok(u64::from_str_radix(total.context("ip_vs_stats")?, 16)?)
    }

    fn has_virtual_address(&self, director: &str) -> Result<bool> {
        Ok(self
            .sh(director, "ip -4 addr show dev eth0")?
            .contains("10.77.0.40/"))
    }

    /// The pages of as many connections of the client.
    fn pages(&self, count: usize) -> Result<Vec<String>> {
        self.namespace("client").run(|| -> Result<Vec<String>> {
            (0..count)
                .map(|_| Ok(client::page(client::open(VIRTUAL.into())?)?))
                .collect()
        })?
    }

    /// Looks until it holds; the logs tell else.
    fn until(
        &self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let begin = Instant::now();
        while !holds()? {
            if begin.elapsed() > limit {
                for entry in fs::read_dir(&self.folder)?.flatten() {
                    let text = fs::read_to_string(entry.path()).unwrap_or_default();
                    eprintln!("== {}\n{text}", entry.path().display());
                }
                anyhow::bail!("not within {} s: {what}", limit.as_secs());
            }
            sleep(Duration::from_millis(50));
        }
        eprintln!("{what}: {:?}", begin.elapsed());
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for director in ["d1", "d2"] {
            let _ = self.sh(
                director,
                &format!("{} lvsd --stop-forwarding", env!("CARGO_BIN_EXE_lvsx")),
            );
        }
        for machine in MACHINES.iter().map(|(name, _)| *name).chain(["switch"]) {
            let _ = self.namespace(machine).remove();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One server is asked for a page, the other for a connection.
fn configuration(priority: u8) -> String {
    format!(
        "global_defs {{
    vrrp_version 3
    vrrp_garp_master_repeat 2
    checker_log_all_failures
}}
vrrp_instance one {{
    interface eth0
    virtual_router_id 77
    priority {priority}
    advert_int 0.2
    virtual_ipaddress {{
        10.77.0.40/32
    }}
}}
virtual_server 10.77.0.40 80 {{
    delay_loop 1
    lb_algo rr
    lb_kind DR
    protocol TCP
    real_server {S1} 80 {{
        weight 1
        HTTP_GET {{
            url {{
                path /
                status_code 200
            }}
            connect_timeout 1
            retry 1
            delay_before_retry 1
        }}
    }}
    real_server {S2} 80 {{
        weight 1
        TCP_CHECK {{
            connect_timeout 1
            retry 1
            delay_before_retry 1
        }}
    }}
}}
"
    )
}

#[test]
fn servers_leave_and_return_and_the_virtual_address_moves() -> Result<()> {
    let network = Network::build()?;
    let lvsd = |director| network.lvsx(director, &["lvsd", "--connections", "10000"], director);
    let (_lvsd1, _lvsd2) = (lvsd("d1")?, lvsd("d2")?);
    let mut webs = [network.web("s1", S1)?, network.web("s2", S2)?].map(Some);
    for director in ["d1", "d2"] {
        network.until("lvsd is ready", READY, || {
            Ok(fs::read_to_string(network.folder.join(director))?.contains("ready"))
        })?;
    }
    let first = network.keepalived("d1", 150)?;
    let _second = network.keepalived("d2", 100)?;
    network.until(
        "the first director has the virtual address",
        PATIENCE,
        || network.has_virtual_address("d1"),
    )?;
    for director in ["d1", "d2"] {
        network.until("both servers are in the table", PATIENCE, || {
            Ok(network.servers(director)? == [S1, S2])
        })?;
    }
    network.until("both servers give pages", PATIENCE, || {
        let pages = network.pages(2)?;
        Ok(pages.contains(&S1.to_owned()) && pages.contains(&S2.to_owned()))
    })?;
    assert!(!network.has_virtual_address("d2")?);
    assert_eq!(network.opened("d2")?, 0);

    for (place, machine, left, page) in [(0, "s1", S2, S1), (1, "s2", S1, S2)] {
        webs[place] = None;
        network.until("a stopped server leaves the table", PATIENCE, || {
            Ok(network.servers("d1")? == [left])
        })?;
        assert_eq!(network.pages(4)?, [left; 4]);
        webs[place] = Some(network.web(machine, page)?);
        network.until("started again it is back", PATIENCE, || {
            Ok(network.servers("d1")? == [S1, S2])
        })?;
        let pages = network.pages(2)?;
        assert!(pages.contains(&page.to_owned()), "{pages:?}");
    }

    // The machine is cut off: its keepalived and its lvsd go on, and nobody hears them.
    network.sh("switch", "ip link set d1 down")?;
    network.until(
        "the second director has the virtual address",
        PATIENCE,
        || network.has_virtual_address("d2"),
    )?;
    network.until(
        "clients reach the servers by the second director",
        PATIENCE,
        || Ok(network.pages(4).is_ok() && network.opened("d2")? >= 4),
    )?;
    network.sh("switch", "ip link set d1 up")?;
    network.until("the first one has it back", PATIENCE, || {
        Ok(network.has_virtual_address("d1")? && !network.has_virtual_address("d2")?)
    })?;
    let before = network.opened("d1")?;
    network.until("and the traffic", PATIENCE, || {
        Ok(network.pages(2).is_ok() && network.opened("d1")? > before)
    })?;

    // Ended, it takes its services and its address away.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(first.0.id().cast_signed()),
        nix::sys::signal::Signal::SIGTERM,
    )?;
    network.until("nothing is left of the first", PATIENCE, || {
        Ok(!network.has_virtual_address("d1")? && network.servers("d1")?.is_empty())
    })
}
