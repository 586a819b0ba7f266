//! Whom the packets pass: nobody but routing, netfilter, proxies, the kernel's IPVS, ours.

use super::clock;
use super::network::{DATAGRAMS, LONG, Namespace, Network, SERVERS, SHORT, VIRTUAL, feed};
use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};
use std::env;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A way through the director's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The first port drops all: what making the packets costs.
    Generator,
    /// Plain routing to the real servers' own addresses.
    Routing,
    /// Destination NAT by a map with connection tracking, the server by turns.
    Numgen,
    /// The same, the server by a hash of the client's end.
    Jhash,
    /// HAProxy in TCP mode.
    Haproxy,
    /// nginx's stream module.
    Nginx,
    /// The kernel's IPVS, NAT.
    Ipvs,
    /// lvsd in tc, NAT.
    Tc,
    /// lvsd in XDP, NAT.
    Xdp,
}

impl Subject {
    /// Those of part b, in the order of a round.
    pub(crate) const ALL: [Self; 9] = [
        Self::Generator,
        Self::Routing,
        Self::Numgen,
        Self::Jhash,
        Self::Ipvs,
        Self::Haproxy,
        Self::Nginx,
        Self::Tc,
        Self::Xdp,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Generator => "generator",
            Self::Routing => "ip_forward",
            Self::Numgen => "nftables-numgen",
            Self::Jhash => "nftables-jhash",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx-stream",
            Self::Ipvs => "kernel-ipvs",
            Self::Tc => "lvsd-tc",
            Self::Xdp => "lvsd-xdp",
        }
    }

    /// Whether it takes packets one by one.
    pub(crate) fn takes_packets(self) -> bool {
        !self.is_proxy()
    }

    /// Whether it takes connections.
    pub(crate) fn takes_connections(self) -> bool {
        self != Self::Generator
    }

    /// Whether clients connect to the virtual address.
    pub(crate) fn is_virtual(self) -> bool {
        !matches!(self, Self::Generator | Self::Routing)
    }

    /// Whether what it sends comes out as XDP has it.
    pub(crate) fn sends_frames(self) -> bool {
        self == Self::Xdp
    }

    fn is_proxy(self) -> bool {
        matches!(self, Self::Haproxy | Self::Nginx)
    }

    /// What it is on this machine; an error says why it cannot be had.
    ///
    /// # Errors
    /// A program is not installed; the kernel has no such module.
    pub(crate) fn find(self, programs: &Programs) -> Result<()> {
        match self {
            Self::Generator | Self::Routing => Ok(()),
            Self::Numgen | Self::Jhash => installed("nft").map(drop),
            Self::Haproxy => installed("haproxy").map(drop),
            Self::Nginx => match programs.nginx.join(NGINX).exists() {
                true => Ok(()),
                false => bail!("nginx with its stream module was not unpacked"),
            },
            Self::Ipvs => {
                // A kernel that has it as a module takes it now; one that has it not has it not after either.
                let _ = Command::new("modprobe").args(["-q", "ip_vs"]).status();
                match Path::new("/proc/net/ip_vs").exists() {
                    true => installed("ipvsadm").map(drop),
                    false => bail!("this kernel has no ip_vs"),
                }
            }
            Self::Tc | Self::Xdp => match programs.lvsx.exists() {
                true => Ok(()),
                false => bail!("no {}", programs.lvsx.display()),
            },
        }
    }
}

/// Where the programs are that Debian did not install.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    pub(crate) lvsx: PathBuf,
    pub(crate) nginx: PathBuf,
}

/// nginx and its module in the folder that Debian's packages were unpacked to.
const NGINX: &str = "usr/sbin/nginx";
const STREAM: &str = "usr/lib/nginx/modules/ngx_stream_module.so";
/// How long a director may take until it serves.
const READY: Duration = Duration::from_secs(300);
/// How long one may take to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// A director at work; it ends when this is dropped.
pub(crate) struct Running {
    /// What it needs while it runs; it goes with it.
    folder: PathBuf,
    child: Option<Child>,
    /// lvsd's stay when it ends: they are told to go.
    lvsd: Option<Command>,
}

impl Running {
    /// Starts it in the network's director, and waits until it serves.
    ///
    /// # Errors
    /// It does not start; what it said is part of the error.
    pub(crate) fn start(subject: Subject, network: &Network, programs: &Programs) -> Result<Self> {
        let mut running = Self::none()?;
        let at = &network.director;
        match subject {
            Subject::Generator | Subject::Routing => {}
            Subject::Numgen => running.translate(at, "numgen inc mod 2")?,
            Subject::Jhash => running.translate(at, "jhash ip saddr . th sport mod 2")?,
            Subject::Haproxy => running.haproxy(at)?,
            Subject::Nginx => running.nginx(at, &programs.nginx)?,
            Subject::Ipvs => feed(at.command("ipvsadm").arg("-R"), &rules())?,
            Subject::Tc => running.lvsd(at, &programs.lvsx, "tc")?,
            Subject::Xdp => running.lvsd(at, &programs.lvsx, "xdp")?,
        }
        Ok(running)
    }

    /// Nothing that runs, and a folder for what will.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(crate) fn none() -> Result<Self> {
        let folder = env::temp_dir().join("director");
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            child: None,
            lvsd: None,
        })
    }

    /// Nothing that runs, but ours by their names.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(crate) fn with_programs(lvsx: &Path) -> Result<Self> {
        let running = Self::none()?;
        running.link(lvsx)?;
        Ok(running)
    }

    fn link(&self, lvsx: &Path) -> Result<()> {
        let lvsx = lvsx
            .canonicalize()
            .with_context(|| lvsx.display().to_string())?;
        for name in ["lvsx", "lvsd", "ipvsadm"] {
            let link = self.folder.join(name);
            if !link.is_symlink() {
                symlink(&lvsx, link)?;
            }
        }
        Ok(())
    }

    /// Its process.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Nanoseconds of CPU that its processes used.
    pub(crate) fn time(&self) -> f64 {
        let child = self.child.as_ref();
        child.map_or(0.0, |child| clock::of_family(child.id()))
    }

    /// Starts lvsd with NAT services for the network's traffic.
    fn lvsd(&mut self, at: &Namespace, lvsx: &Path, mode: &str) -> Result<()> {
        let interfaces = ["--iface", "d0", "--iface", "d1", "--iface", "d2"];
        self.bare_lvsd(
            at,
            lvsx,
            &[
                &["--mode", mode, "--connections", "1000000"][..],
                &interfaces,
            ]
            .concat(),
        )?;
        feed(self.ours(at, "ipvsadm").arg("-R"), &rules())?;
        // It attaches itself when the first service is there, and learns of the ways to servers.
        let device = "d2";
        let since = Instant::now();
        while !self.status(at)?.contains(&format!("\"{device}\"")) {
            if since.elapsed() > READY {
                bail!("lvsd does not serve {device}: {}", self.last_words());
            }
            sleep(Duration::from_millis(20));
        }
        sleep(Duration::from_millis(200));
        Ok(())
    }

    /// Starts lvsd with these options, without services.
    ///
    /// # Errors
    /// It does not get ready.
    pub(crate) fn bare_lvsd(
        &mut self,
        at: &Namespace,
        lvsx: &Path,
        options: &[&str],
    ) -> Result<()> {
        self.link(lvsx)?;
        let mut stop = self.ours(at, "lvsd");
        stop.arg("--stop-forwarding");
        self.lvsd = Some(stop);
        let mut lvsd = self.ours(at, "lvsd");
        lvsd.args(options);
        self.begin(lvsd)?;
        self.wait_until("lvsd", |running| {
            Ok(running
                .last_words()
                .lines()
                .any(|line| line.ends_with("ready")))
        })
    }

    /// One of ours, by its name.
    pub(crate) fn ours(&self, at: &Namespace, name: &str) -> Command {
        let mut command = at.command(self.folder.join(name));
        command
            .env("LVSX_RUN_DIR", self.folder.join("run"))
            .env("LC_ALL", "C");
        command
    }

    /// lvsd's status, as JSON.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn status(&self, at: &Namespace) -> Result<String> {
        let output = self.ours(at, "lvsx").args(["status", "--json"]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn translate(&self, at: &Namespace, chosen: &str) -> Result<()> {
        let [first, second] = SERVERS;
        let services = [("tcp", SHORT), ("tcp", LONG), ("udp", DATAGRAMS)].map(|(protocol, port)| {
            format!("ip daddr {VIRTUAL} {protocol} dport {port} dnat to {chosen} map {{ 0 : {first}, 1 : {second} }}\n")
        });
        let rules = format!(
            "table ip bench {{ chain in {{ type nat hook prerouting priority dstnat;\n{}}}\n}}\n",
            services.concat()
        );
        feed(at.command("nft").args(["-f", "-"]), &rules)
    }

    fn haproxy(&mut self, at: &Namespace) -> Result<()> {
        let [first, second] = SERVERS;
        let services = [SHORT, LONG].map(|port| {
            format!(
                "listen port{port}\n  bind {VIRTUAL}:{port}\n  balance roundrobin\n  \
                 server first {first}:{port}\n  server second {second}:{port}\n"
            )
        });
        let text = format!(
            "global\n  maxconn 4000\ndefaults\n  mode tcp\n  option splice-auto\n  timeout connect 3s\n  \
             timeout client 10s\n  timeout server 10s\n{}",
            services.concat()
        );
        let file = self.folder.join("haproxy.cfg");
        fs::write(&file, text)?;
        let mut command = at.command(installed("haproxy")?);
        command.arg("-db").arg("-f").arg(file);
        self.begin(command)?;
        self.wait_until_it_listens(at)
    }

    fn nginx(&mut self, at: &Namespace, unpacked: &Path) -> Result<()> {
        let [first, second] = SERVERS;
        let services = [SHORT, LONG].map(|port| {
            format!(
                "upstream port{port} {{ server {first}:{port}; server {second}:{port}; }}\n\
                 server {{ listen {VIRTUAL}:{port} backlog=16384; proxy_pass port{port}; }}\n"
            )
        });
        let (folder, module) = (self.folder.display(), unpacked.join(STREAM));
        let text = format!(
            "load_module {};\nuser root;\nworker_processes auto;\ndaemon off;\npid {folder}/nginx.pid;\n\
             error_log {folder}/log;\nevents {{ worker_connections 16384; }}\nstream {{\n{}}}\n",
            module.display(),
            services.concat()
        );
        let file = self.folder.join("nginx.conf");
        fs::write(&file, text)?;
        let mut command = at.command(unpacked.join(NGINX));
        command
            .arg("-e")
            .arg(self.folder.join("log"))
            .arg("-c")
            .arg(file);
        self.begin(command)?;
        self.wait_until_it_listens(at)
    }

    fn begin(&mut self, mut command: Command) -> Result<()> {
        let log = File::create(self.log())?;
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        self.child = Some(child);
        Ok(())
    }

    fn wait_until_it_listens(&mut self, at: &Namespace) -> Result<()> {
        let port = format!(":{LONG}");
        self.wait_until("the proxy", |_| Ok(at.output("ss -Hltn")?.contains(&port)))
    }

    fn wait_until(&mut self, who: &str, is: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let since = Instant::now();
        while !is(self)? {
            let ended = self
                .child
                .as_mut()
                .map(Child::try_wait)
                .transpose()?
                .flatten();
            if let Some(status) = ended {
                bail!("{who} ended ({status}): {}", self.last_words());
            }
            if since.elapsed() > READY {
                bail!("{who} does not get ready: {}", self.last_words());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn last_words(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let since = Instant::now();
            while child.try_wait().is_ok_and(|ended| ended.is_none()) && since.elapsed() < PATIENCE
            {
                sleep(Duration::from_millis(2));
            }
        }
        if let Some(stop) = &mut self.lvsd {
            let _ = stop.output();
            let _ = umount2(&self.folder.join("run/bpf"), MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The services of both kinds of IPVS: NAT, the servers by turns.
fn rules() -> String {
    let services = [("-t", SHORT), ("-t", LONG), ("-u", DATAGRAMS)].map(|(protocol, port)| {
        let service = format!("{protocol} {VIRTUAL}:{port}");
        let servers = SERVERS.map(|server| format!("-a {service} -r {server}:{port} -m\n"));
        format!("-A {service} -s rr\n{}", servers.concat())
    });
    services.concat()
}

/// Where a program is.
pub(crate) fn installed(name: &str) -> Result<PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    folders
        .map(|folder| Path::new(folder).join(name))
        .find(|file| file.exists())
        .with_context(|| format!("{name} is not installed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_both_servers() {
        let rules = rules();
        assert_eq!(rules.lines().count(), 9);
        assert!(rules.contains("-a -u 192.0.2.1:9000 -r 192.168.2.2:9000 -m\n"));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = installed("no-such-program")
            .err()
            .map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("no-such-program is not installed"));
    }
}
