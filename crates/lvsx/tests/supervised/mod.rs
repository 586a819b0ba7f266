//! Programs that load no library, on lvsd: a static one in C, which makes every call that is supervised, and one of Go.

use std::env;
use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lvsx_lab::Lab;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{IPVSADM, MADE_UP, NET_ADMIN, NOBODY, PYTHON, debian};

/// This folder.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/supervised");

/// The static client, while this lives.
pub(crate) struct Client(PathBuf);

impl Client {
    /// Compiles it, where every user can run it.
    pub(crate) fn compile() -> Result<Self> {
        let program = env::temp_dir().join(format!("lvsx-client-{}", std::process::id()));
        let compiled = Command::new("cc")
            .args(["-static", "-O1", "-Wall", "-Wextra", "-Werror"])
            .args(["-D_GNU_SOURCE", "-o"])
            .arg(&program)
            .arg(Path::new(SOURCES).join("client.c"))
            .status();
        ensure!(
            compiled.is_ok_and(|status| status.success()),
            "a C compiler with a static C library is needed; `cargo xtask setup` installs them"
        );
        Ok(Self(program))
    }
}

impl fmt::Display for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(out)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What the static client is served.
pub(crate) fn a_static_program_is_served(lab: &Lab, client: &Client) -> Result<()> {
    let director = lab.director()?;
    let services = debian(lab, "-Sn")?
        .lines()
        .filter(|line| line.starts_with("-A"))
        .count();
    let told = director.run(&format!(
        "lvsx run -- {client} family info services others child signals | cat"
    ))?;
    // The pipe ends with it: nothing else holds its end.
    let wanted = [
        "family 4950",
        "length 36, flags 20 then 0, version 10201",
        &format!("services {services}"),
        "nlctrl answers",
        "family 4950",
        "other children: none",
        "signals came",
        "",
    ];
    assert_eq!(told.success()?, wanted.join("\n"));
    let ended = director.run(&format!("lvsx run -- {client} 7"))?;
    assert_eq!(ended.status.code(), Some(7));
    // The director of the namespace that it is in, and none where there is none.
    let elsewhere = director.run(&format!("lvsx run -- {client} namespace"))?;
    assert_eq!(elsewhere.stdout, "lookup: No such file or directory\n");
    let path = director.namespace().path().display().to_string();
    let entered = lab.client()?.run(&format!(
        "lvsx run --supervise -- nsenter --net={path} {client} family"
    ))?;
    assert_eq!(entered.success()?, "family 4950\n");
    rights_are_the_program_s(lab, client)?;
    it_is_its_own_process(lab, client)?;
    programs_with_libraries_can_be_supervised(lab, client)
}

/// What is sent in its name is judged by its rights, though its supervisor has more.
fn rights_are_the_program_s(lab: &Lab, client: &Client) -> Result<()> {
    let director = lab.director()?;
    for (line, wanted) in [
        (
            format!("{NET_ADMIN} lvsx run -- {client} family"),
            "family 4950\n",
        ),
        (
            format!("{NOBODY} lvsx run -- {client} family"),
            "sendto: Operation not permitted\n",
        ),
        (
            format!("lvsx run --supervise -- {NOBODY} {client} family"),
            "sendto: Operation not permitted\n",
        ),
    ] {
        let told = director.run(&line)?;
        ensure!(told.stdout == wanted, "{line}: {told:?}");
    }
    Ok(())
}

/// Its number, its signals, its end are those of the process that was started; its supervisor does not outlive it.
fn it_is_its_own_process(lab: &Lab, client: &Client) -> Result<()> {
    let mut started = lab.director()?.start(
        "lvsx",
        &["run", "--", &client.to_string(), "wait"],
        "static",
    )?;
    let said = format!("waits as {}\n", started.id());
    let log = lab.folder().log("static");
    until(|| fs::read_to_string(&log).is_ok_and(|log| log.ends_with(&said)))
        .with_context(|| format!("not `{said}` in {}", log.display()))?;
    let supervisors = || -> usize {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        lines
            .filter(|line| String::from_utf8_lossy(line).contains(&format!("--\0{client}\0wait")))
            .count()
    };
    assert_eq!(supervisors(), 1);
    kill(Pid::from_raw(started.id().cast_signed()), Signal::SIGTERM)?;
    assert_eq!(started.wait()?.signal(), Some(Signal::SIGTERM as i32));
    until(|| supervisors() == 0).context("the supervisor goes on")
}

/// As by the library, where it is wanted so; and children inherit it, whatever they are.
fn programs_with_libraries_can_be_supervised(lab: &Lab, client: &Client) -> Result<()> {
    let director = lab.director()?;
    let both = format!("lvsx run --supervise -- sh -c '{IPVSADM} -Ln; {client} family; exit 3'");
    let told = director.run(&both)?;
    assert_eq!(told.stdout, debian(lab, "-Ln")? + "family 4950\n");
    assert_eq!(told.status.code(), Some(3));
    let script = lab.folder().path().join("supervised.py");
    fs::write(&script, MADE_UP)?;
    let told = director.run(&format!(
        "lvsx run --supervise -- {PYTHON} {}",
        script.display()
    ))?;
    assert_eq!(told.success()?, "[(16, (0, 0)), (2, (0, 0))]\n");
    let refused = director.run(&format!("lvsx run --library -- {client}"))?;
    assert_eq!(refused.status.code(), Some(126));
    let twice = director.run(&format!("lvsx run --supervise -- lvsx run -- {client}"))?;
    ensure!(
        twice.stderr.contains("it has a supervisor already"),
        "{twice:?}"
    );
    Ok(())
}

/// Programs of Go are static, and ask the kernel without a C library. Debian's libraries for netlink, both of them.
pub(crate) fn a_program_of_go_is_served(lab: &Lab) -> Result<()> {
    let program = lab.folder().path().join("go-clients");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(Path::new(SOURCES).join("go/clients.go"))
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go"))
        .env("CGO_ENABLED", "0")
        .status();
    ensure!(
        built.is_ok_and(|status| status.success()),
        "`cargo xtask setup go` installs Go and its libraries"
    );
    let before = debian(lab, "-Sn")?
        .lines()
        .filter(|line| line.starts_with("-A"))
        .count();
    let told = lab
        .director()?
        .run(&format!("lvsx run -- {}", program.display()))?
        .success()?;
    let wanted = [
        "vishvananda: family 4950, version 10201",
        "vishvananda: NEW_SERVICE: <nil>",
        "vishvananda: NEW_SERVICE: file exists",
        "vishvananda: links: true <nil>",
        &format!("mdlayher: family 4950, services {}", before + 39),
        "mdlayher: DEL_SERVICE: <nil>",
        "mdlayher: DEL_SERVICE: netlink receive: no such process",
        "mdlayher: nlctrl <nil>",
        "",
    ];
    assert_eq!(told, wanted.join("\n"));
    assert!(debian(lab, "-Sn")?.contains("-A -t 192.0.2.39:80 -s wrr"));
    Ok(())
}

fn until(holds: impl Fn() -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        ensure!(Instant::now() < end, "it does not come");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
