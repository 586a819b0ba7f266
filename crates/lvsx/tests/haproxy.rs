//! HAProxy beside ours, on loopback: our agent asked by HAProxy, and what both make of an agent's lines.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lvsx_health::agent::reply::{Said, parse};

#[path = "common/agent_lines.rs"]
mod agent_lines;

use agent_lines::LINES;

const HAPROXY: &str = "/usr/sbin/haproxy";
/// From one question of HAProxy's to the next.
const INTERVAL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// HAProxy with one server of weight 100, and an agent for it.
struct Haproxy {
    folder: PathBuf,
    _process: Running,
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Haproxy {
    fn start(name: &str, agent: u16) -> Result<Self> {
        ensure!(
            Path::new(HAPROXY).exists(),
            "{HAPROXY} is missing; `cargo xtask setup` installs it"
        );
        let folder = std::env::temp_dir().join(format!("lvsx-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let config = folder.join("haproxy.cfg");
        let text = format!(
            "global\n stats socket {} level admin\ndefaults\n mode tcp\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n\
             backend pool\n server one 127.0.0.1:9 weight 100 agent-check agent-addr 127.0.0.1 agent-port {agent} agent-inter {}ms\n",
            folder.join("socket").display(),
            INTERVAL.as_millis()
        );
        std::fs::write(&config, text)?;
        let child = Command::new(HAPROXY)
            .arg("-db")
            .arg("-f")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let haproxy = Self {
            folder,
            _process: Running(child),
        };
        let begin = Instant::now();
        while haproxy.server().is_err() {
            ensure!(begin.elapsed() < PATIENCE, "haproxy does not serve");
            thread::sleep(INTERVAL);
        }
        Ok(haproxy)
    }

    /// The server's status and weight.
    fn server(&self) -> Result<(String, f64)> {
        let mut socket = UnixStream::connect(self.folder.join("socket"))?;
        socket.write_all(b"show stat\n")?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        let line = text
            .lines()
            .find(|line| line.starts_with("pool,one,"))
            .context("the server")?;
        let fields: Vec<&str> = line.split(',').collect();
        let field = |at: usize| fields.get(at).copied().context("a field");
        Ok((field(17)?.to_owned(), field(18)?.parse()?))
    }

    /// The weight that clients meet: none where the server is down, drained or in maintenance.
    fn weight(&self) -> Result<f64> {
        let (status, weight) = self.server()?;
        let serves = status.starts_with("UP") || status == "no check";
        Ok(if serves { weight } else { 0.0 })
    }

    fn until_weight(&self, what: &str, wanted: impl Fn(f64) -> bool) -> Result<()> {
        let begin = Instant::now();
        while !wanted(self.weight()?) {
            ensure!(begin.elapsed() < PATIENCE, "{what}: {:?}", self.server()?);
            thread::sleep(INTERVAL / 5);
        }
        Ok(())
    }
}

#[test]
fn both_make_the_same_of_twenty_lines() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let haproxy = Haproxy::start("lines", listener.local_addr()?.port())?;
    let line = agent_lines::said_by(listener);
    let mut said = Said::default();
    for (text, wanted) in LINES {
        line.say(text);
        let begin = Instant::now();
        while line.times_said() < 3 {
            ensure!(begin.elapsed() < PATIENCE, "haproxy does not ask");
            thread::sleep(INTERVAL / 5);
        }
        if let Some(reply) = parse(text) {
            said.take(&reply);
        }
        let (wanted, ours) = (f64::from(wanted), (100.0 * said.multiplier(100)).round());
        let text = String::from_utf8_lossy(text);
        ensure!(ours == wanted, "{text:?}: ours {ours}, not {wanted}");
        haproxy.until_weight(&format!("{text:?}: not {wanted}"), |weight| {
            weight == wanted
        })?;
    }
    Ok(())
}

#[test]
fn haproxy_understands_our_agent() -> Result<()> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let folder = std::env::temp_dir().join(format!("lvsx-agent-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let app = folder.join("load");
    std::fs::write(&app, "0\n")?;
    let lvsx = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lvsx"));
        command
            .arg("agent")
            .args(arguments)
            .env("LVSX_RUN_DIR", &folder);
        command
    };
    let listen = format!("127.0.0.1:{port}");
    let app_text = app.to_string_lossy().into_owned();
    let agent = lvsx(&[
        "--listen",
        &listen,
        "--interval",
        "20ms",
        "--app",
        &app_text,
        "--percent",
    ])
    .spawn()?;
    let _agent = Running(agent);
    let haproxy = Haproxy::start("agent", port)?;
    haproxy.until_weight("some idle share", |weight| (1.0..=100.0).contains(&weight))?;
    std::fs::write(&app, "1\n")?;
    haproxy.until_weight("no idle share", |weight| weight <= 2.0)?;
    for (word, serves) in [
        ("drain", false),
        ("ready", true),
        ("maint", false),
        ("ready", true),
    ] {
        ensure!(lvsx(&[word]).status()?.success());
        haproxy.until_weight(word, |weight| (weight > 0.0) == serves)?;
    }
    // Who asks as our director does gets a second line, and who asks for ever does not hold it up.
    let _silent = TcpStream::connect(&listen)?;
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    stream.write_all(b"lvs1\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let load = lvsx_health::agent::reply::load(&answer).context("a load")?;
    ensure!(load > 0.9, "{load}");
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
