//! lvsd as a service manager sees it, with no more rights than its unit gives. Needs root.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use lvsx_host::bpf;
use lvsx_lab::topology::DIRECTOR;
use lvsx_lab::{Blueprint, Lab, Mode, Narrator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long lvsd may take to say something.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the manager waits for a sign of life.
const WATCHDOG: Duration = Duration::from_millis(400);

/// The next message that begins so; others before it are passed over.
fn wait_for(socket: &UnixDatagram, begin: &str) -> Result<String> {
    let end = Instant::now() + PATIENCE;
    let mut buffer = [0; 1024];
    while Instant::now() < end {
        let length = socket
            .recv(&mut buffer)
            .with_context(|| format!("no {begin}"))?;
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if message.starts_with(begin) {
            return Ok(message);
        }
    }
    bail!("no {begin} within {PATIENCE:?}")
}

/// The words of `setpriv` for the capabilities of a unit.
fn bounding_set() -> Result<String> {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd/lvsd.service");
    let text = fs::read_to_string(unit)?;
    let mut lines = text.lines();
    let capabilities = lines
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .context("the unit names capabilities")?;
    let names = capabilities
        .split(' ')
        .map(|name| name.trim_start_matches("CAP_").to_lowercase());
    let words: Vec<_> = names.map(|name| format!("+{name}")).collect();
    Ok(format!("--bounding-set=-all,{}", words.join(",")))
}

fn signal(lvsd: &Child, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(lvsd.id().cast_signed()), signal)?)
}

#[test]
fn the_manager_is_told_by_an_lvsd_with_the_rights_of_its_unit() -> Result<()> {
    let alone = Blueprint {
        method: None,
        mode: Mode::Tc,
        binary: env!("CARGO_BIN_EXE_lvsx").into(),
        object: bpf::OBJECT,
    };
    let lab = Lab::build(alone, &Narrator::silent())?;
    // As the mount unit does.
    let run_dir = lab.folder().path().join("run");
    fs::create_dir_all(run_dir.join("bpf"))?;
    let mount = |program: &str, words: &[&str]| {
        Command::new(program)
            .args(words)
            .arg(run_dir.join("bpf"))
            .status()
    };
    ensure!(mount("mount", &["-t", "bpf", "-o", "mode=0700", "lvsx"])?.success());
    let told = serve(&lab, &run_dir);
    let log = fs::read_to_string(lab.folder().log("lvsd")).unwrap_or_default();
    ensure!(mount("umount", &["--lazy"])?.success());
    told.with_context(|| format!("lvsd's log:\n{log}"))
}

fn serve(lab: &Lab, run_dir: &Path) -> Result<()> {
    let path = run_dir.join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let bounding_set = bounding_set()?;
    let notify = format!("NOTIFY_SOCKET={}", path.display());
    let folder = format!("LVSX_RUN_DIR={}", run_dir.display());
    let watchdog = format!("WATCHDOG_USEC={}", WATCHDOG.as_micros());
    let words = [
        &notify,
        &folder,
        &watchdog,
        "setpriv",
        &bounding_set,
        "lvsd",
    ];
    let mut lvsd = lab.host(DIRECTOR)?.start("env", &words, "lvsd")?;
    let told: Result<()> = (|| {
        wait_for(&socket, "READY=1")?;
        // Signs of life come twice in the manager's patience, also while it reloads.
        for _ in 0..3 {
            let before = Instant::now();
            wait_for(&socket, "WATCHDOG=1")?;
            let late = before.elapsed();
            ensure!(late < WATCHDOG, "a sign of life after {late:?}");
        }
        signal(&lvsd, Signal::SIGHUP)?;
        let reloading = wait_for(&socket, "RELOADING=1")?;
        let time = reloading
            .split_once("MONOTONIC_USEC=")
            .context("no time")?
            .1;
        ensure!(time.trim().parse::<u64>()? > 0, "{reloading}");
        wait_for(&socket, "READY=1")?;
        // It forwards with these rights: programs are attached once there is a service.
        let script = format!(
            "export {folder}; ipvsadm -A -t 172.16.4.200:80 && ipvsadm -a -t 172.16.4.200:80 -r 172.16.4.188:80 -m && lvsx status"
        );
        let status = lab.host(DIRECTOR)?.run(&script)?.success()?;
        ensure!(status.contains("eth0"), "nothing is attached:\n{status}");
        signal(&lvsd, Signal::SIGTERM)?;
        wait_for(&socket, "STOPPING=1").map(drop)
    })();
    end(&mut lvsd)?;
    // The next one finds what belongs to the user of the checks, and may take it over.
    let again = told.and_then(|()| {
        lvsd = lab.host(DIRECTOR)?.start("env", &words, "lvsd")?;
        let ready = wait_for(&socket, "READY=1").and_then(|_| {
            // What it took over it lets go, and takes up again.
            let script = format!(
                "export {folder}; ipvsadm -C && ipvsadm -A -t 172.16.4.200:80 && lvsx status --json"
            );
            let status = lab.host(DIRECTOR)?.run(&script)?.success()?;
            ensure!(status.contains("\"problems\":[]"), "{status}");
            Ok(())
        });
        signal(&lvsd, Signal::SIGTERM)?;
        end(&mut lvsd)?;
        ready
    });
    let stop = format!("export {folder}; lvsd --stop-forwarding");
    lab.host(DIRECTOR)?.run(&stop)?.success()?;
    again
}

/// Waits until it has ended; what does not want to is killed.
fn end(lvsd: &mut Child) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while lvsd.try_wait()?.is_none() {
        if Instant::now() > end {
            lvsd.kill()?;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
