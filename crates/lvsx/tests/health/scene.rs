//! The tutorial's machines with a director, web servers, and lvsx-check.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lvsx_host::{ForwardingMethod, bpf};
use lvsx_lab::topology::SERVERS;
use lvsx_lab::{Blueprint, Host, Lab, Mode, Narrator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The user that the tests' lvsx-check becomes; every Debian has it.
pub(crate) const USER: &str = "nobody";
/// The user that its scripts run as.
pub(crate) const SCRIPT_USER: &str = "games";
/// How long anything may take that has no time of its own; the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), signal);
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The tutorial's machines by NAT; the director lets [`USER`] set weights, and has four services on two servers.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) director: Host,
    _lvsd: Running,
    pub(crate) webs: Vec<Running>,
    /// A folder that only root can write, for scripts.
    pub(crate) scripts: PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.scripts);
    }
}

impl Scene {
    pub(crate) fn new() -> Result<Self> {
        let method = ForwardingMethod::Masquerade;
        let blueprint = Blueprint {
            method: Some(method),
            mode: Mode::Tc,
            binary: env!("CARGO_BIN_EXE_lvsx").into(),
            object: bpf::OBJECT,
        };
        let narrator = Narrator::silent();
        let lab = Lab::build(blueprint, &narrator)?;
        lab.set_up_servers(method, &narrator)?;
        lab.set_up_director(method, &narrator)?;
        let director = lab.director()?;
        let lvsd = Running(director.start("lvsd", &["--check-user", USER], "lvsd")?);
        wait("lvsd is ready", Duration::from_secs(60), || {
            Ok(lab.director_log().contains("ready"))
        })?;
        let scripts = PathBuf::from(format!("/usr/local/lib/lvsx-test-{}", std::process::id()));
        std::fs::create_dir_all(&scripts)?;
        let mut scene = Self {
            lab,
            director,
            _lvsd: lvsd,
            webs: Vec::new(),
            scripts,
        };
        for server in SERVERS {
            scene.webs.push(scene.web(server)?);
        }
        scene.run("echo 1 > /proc/sys/net/ipv4/ip_forward && ipvsadm -At 8.8.8.8:80 -s rr && ipvsadm -At 8.8.8.8:81 -s wrr")?;
        scene.run("ipvsadm -Au 8.8.8.8:82 -s rr && ipvsadm -At 8.8.8.8:83 -s wlc")?;
        for last in [46, 47] {
            for service in [
                "-at 8.8.8.8:80",
                "-at 8.8.8.8:81",
                "-au 8.8.8.8:82",
                "-at 8.8.8.8:83",
            ] {
                scene.run(&format!(
                    "ipvsadm {service} -r 192.168.1.{last}:80 -m -w {}",
                    last - 44
                ))?;
            }
        }
        Ok(scene)
    }

    pub(crate) fn web(&self, server: &str) -> Result<Running> {
        let page = self.lab.page_of(server)?;
        let arguments = ["lab", "web", "80", &page];
        Ok(Running(self.lab.host(server)?.start(
            "lvsx",
            &arguments,
            &format!("web-{server}"),
        )?))
    }

    pub(crate) fn run(&self, line: &str) -> Result<String> {
        self.director
            .run(line)?
            .success()
            .with_context(|| line.to_owned())
    }

    /// Starts lvsx-check with this configuration.
    pub(crate) fn check(&self, config: &str) -> Result<Running> {
        let path = self.lab.folder().path().join("lvsx.toml");
        std::fs::write(
            &path,
            format!("[process]\nuser = \"{USER}\"\nscript_user = \"{SCRIPT_USER}\"\n{config}"),
        )?;
        let log = self.check_log();
        let before = log.len();
        let mut child = Running(self.director.start(
            "lvsx-check",
            &["--config", &path.to_string_lossy()],
            "check",
        )?);
        wait("lvsx-check is ready", PATIENCE, || {
            if let Some(status) = child.0.try_wait()? {
                bail!("lvsx-check ended ({status}): {}", self.check_log());
            }
            Ok(self.check_log()[before..].contains("ready"))
        })?;
        Ok(child)
    }

    pub(crate) fn check_log(&self) -> String {
        std::fs::read_to_string(self.lab.folder().log("check")).unwrap_or_default()
    }

    /// Weights of both servers in the service at this port.
    pub(crate) fn weights(&self, port: u16) -> Result<[u32; 2]> {
        self.column(port, 3)
    }

    /// Connections of both, active or not.
    pub(crate) fn connections(&self, port: u16) -> Result<[u32; 2]> {
        let [active, inactive] = [self.column(port, 4)?, self.column(port, 5)?];
        Ok([active[0] + inactive[0], active[1] + inactive[1]])
    }

    fn column(&self, port: u16, number: usize) -> Result<[u32; 2]> {
        let kind = if port == 82 { "-u" } else { "-t" };
        let listing = self.run(&format!("ipvsadm -Ln {kind} 8.8.8.8:{port}"))?;
        let column = |server: &str| -> Result<u32> {
            let line = listing
                .lines()
                .find(|line| line.contains(server))
                .context("it is listed")?;
            Ok(line
                .split_ascii_whitespace()
                .nth(number)
                .context("a column")?
                .parse()?)
        };
        Ok([column("192.168.1.46:80")?, column("192.168.1.47:80")?])
    }

    /// Waits until the service at this port has these weights; how long it took.
    pub(crate) fn until_weights(&self, port: u16, wanted: [u32; 2]) -> Result<Duration> {
        let begin = Instant::now();
        wait(
            &format!("port {port} has weights {wanted:?}"),
            PATIENCE,
            || Ok(self.weights(port)? == wanted),
        )
        .with_context(|| format!("{:?}; log:\n{}", self.weights(port), self.check_log()))?;
        Ok(begin.elapsed())
    }

    pub(crate) fn client(&self, port: u16) -> Result<TcpStream> {
        self.lab
            .client()?
            .connect(std::net::SocketAddrV4::new([8, 8, 8, 8].into(), port))
    }
}

pub(crate) fn wait(
    what: &str,
    limit: Duration,
    mut is_so: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let begin = Instant::now();
    while !is_so()? {
        ensure!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(5));
    }
    Ok(())
}
