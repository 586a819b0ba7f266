//! What is written down about a lab, so that another process can enter it or take it down.
//!
//! A lab's folder is `/run/lvsx/lab/NAME`: its record, its hosts file, its logs, and a folder of
//! links by which the one binary is `lvsd`, `ipvsadm` and so on. Every process of a lab carries the
//! lab's name in its environment ([`LAB_VARIABLE`]), which is how they are found again; nothing else
//! is ever ended.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::Host;
use crate::host::{finish, program_in};
use crate::namespace::Namespace;
use crate::topology::{DIRECTOR, SWITCH};

/// The variable that every process of a lab has in its environment.
pub const LAB_VARIABLE: &str = "LVSX_LAB";

/// The names under which a lab's programs are called.
const PROGRAMS: [&str; 6] = [
    "lvsx",
    "lvsd",
    "lvsx-check",
    "ipvsadm",
    "ipvsadm-save",
    "ipvsadm-restore",
];

/// What is known about a lab from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name, such as `dr-4711`.
    pub name: String,
    /// What it shows, for the list.
    pub title: String,
    /// The process that built it.
    pub owner: Owner,
    /// Whether it stays when that process has ended.
    pub kept: bool,
    /// Its machines; the switch is not among them.
    pub hosts: Vec<String>,
}

/// A process, told from another of the same number by when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its number.
    pub pid: u32,
    /// When it began, in the kernel's ticks since boot.
    pub began: u64,
}

impl Owner {
    fn this_process() -> Result<Self> {
        let pid = process::id();
        let began = beginning(pid).context("/proc does not know this process")?;
        Ok(Self { pid, began })
    }

    /// Whether it is the calling process.
    #[must_use]
    pub fn is_this_process(&self) -> bool {
        self.pid == process::id() && self.lives()
    }

    /// Whether the process still runs.
    #[must_use]
    pub fn lives(&self) -> bool {
        beginning(self.pid) == Some(self.began)
    }
}

/// Field 22 of `/proc/PID/stat`; the name in field 2 may hold blanks and brackets.
fn beginning(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

impl Record {
    /// The namespace of one of the lab's machines.
    #[must_use]
    pub fn namespace(&self, host: &str) -> Namespace {
        Namespace::named(&format!("lvsx-{}-{host}", self.name))
    }

    /// One of the lab's machines, to act on.
    ///
    /// # Errors
    /// When the lab has no machine of that name.
    pub fn host(&self, name: &str) -> Result<Host> {
        if name != SWITCH && !self.hosts.iter().any(|host| host == name) {
            bail!(
                "the lab {} has no {name}; it has {}",
                self.name,
                self.hosts.join(", ")
            );
        }
        let folder = Folder::of(&self.name);
        Ok(Host::new(name, self.namespace(name), folder.into()))
    }
}

/// A lab's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    lab: String,
    path: PathBuf,
}

impl Folder {
    /// The folder of the lab of this name, whether it is there or not.
    #[must_use]
    pub fn of(lab: &str) -> Self {
        Self {
            lab: lab.to_owned(),
            path: all_labs().join(lab),
        }
    }

    /// Makes the folder of a new lab, with its record, links to `binary` and hosts file. The lab's
    /// name is `label-PID`, with a number behind if that is taken.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(
        label: &str,
        title: &str,
        hosts: &[&str],
        binary: &Path,
        hosts_file: &str,
    ) -> Result<(Self, Record)> {
        let owner = Owner::this_process()?;
        let root = all_labs();
        fs::create_dir_all(&root).with_context(|| format!("no folder {}", root.display()))?;
        let numbered = (1..).map(|number| match number {
            1 => format!("{label}-{}", owner.pid),
            more => format!("{label}-{}-{more}", owner.pid),
        });
        for name in numbered {
            let folder = Self::of(&name);
            match fs::DirBuilder::new().mode(0o700).create(&folder.path) {
                Ok(()) => {
                    let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
                    let record = Record {
                        name,
                        title: title.to_owned(),
                        owner,
                        kept: false,
                        hosts,
                    };
                    folder.fill(&record, binary, hosts_file)?;
                    return Ok((folder, record));
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("no folder {}", folder.path.display()));
                }
            }
        }
        bail!("no name is left for a lab")
    }

    fn fill(&self, record: &Record, binary: &Path, hosts_file: &str) -> Result<()> {
        self.write(record)?;
        fs::write(self.hosts_file(), hosts_file)?;
        fs::create_dir(self.programs())?;
        for program in PROGRAMS {
            symlink(binary, self.programs().join(program))?;
        }
        Ok(())
    }

    /// Writes the record; a reader sees the old one or the new one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, record: &Record) -> Result<()> {
        let draft = self.path.join("record.new");
        fs::write(&draft, serde_json::to_string_pretty(record)?)?;
        fs::rename(&draft, self.record_file())
            .with_context(|| format!("{} cannot be written", self.record_file().display()))
    }

    fn read(&self) -> Result<Record> {
        let file = self.record_file();
        let text = fs::read_to_string(&file).with_context(|| format!("no lab {}", self.lab))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))
    }

    /// The lab's name.
    #[must_use]
    pub fn lab(&self) -> &str {
        &self.lab
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the links by which the binary has its names.
    #[must_use]
    pub fn programs(&self) -> PathBuf {
        self.path.join("bin")
    }

    /// The lab's own program of this name, else the name as it is.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        program_in(&self.programs(), name)
    }

    /// The lab's `/etc/hosts`.
    #[must_use]
    pub fn hosts_file(&self) -> PathBuf {
        self.path.join("hosts")
    }

    /// A log file.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }

    fn record_file(&self) -> PathBuf {
        self.path.join("record.json")
    }
}

fn all_labs() -> PathBuf {
    lvsx_ipvs::run_dir().join("lab")
}

/// All labs that are there, by name. A folder whose record is missing belongs to a lab that is just
/// being built; one with a damaged record is left out.
#[must_use]
pub fn all() -> Vec<Record> {
    let entries = fs::read_dir(all_labs()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut records: Vec<_> = names
        .filter_map(|name| Folder::of(&name).read().ok())
        .collect();
    records.sort_by(|a, b| a.name.cmp(&b.name));
    records
}

/// The record of a lab.
///
/// # Errors
/// When there is none of that name.
pub fn find(name: &str) -> Result<Record> {
    Folder::of(name).read()
}

/// Takes down what is left of labs whose process was killed, and says which.
///
/// # Errors
/// When something of them cannot be removed.
pub fn sweep() -> Result<Vec<String>> {
    let orphans = all()
        .into_iter()
        .filter(|record| !record.kept && !record.owner.lives());
    orphans
        .map(|record| take_down(&record.name).map(|()| record.name))
        .collect()
}

/// Takes a lab down: its processes end, its director's pins, its namespaces and its folder go.
/// Nothing happens where there is no such lab.
///
/// # Errors
/// The first thing that cannot be removed; everything else is.
pub fn take_down(name: &str) -> Result<()> {
    let folder = Folder::of(name);
    // Two that sweep at once would trip over each other; the second one finds nothing left.
    let Ok(opened) = File::open(&folder.path) else {
        return Ok(());
    };
    let _locked = Flock::lock(opened, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("{} cannot be locked", folder.path.display()))?;
    let Ok(record) = folder.read() else {
        return Ok(());
    };
    end_processes(name);
    let mut result = Ok(());
    if record.hosts.iter().any(|host| host == DIRECTOR) {
        result = result.and(stop_forwarding(&record));
    }
    for host in record.hosts.iter().map(String::as_str).chain([SWITCH]) {
        let namespace = record.namespace(host);
        // What `lvsx realserver` wrote down there goes with the namespace.
        if let Ok(Ok(register)) = namespace.run(lvsx_ipvs::register_dir) {
            let _ = fs::remove_dir_all(register);
        }
        result = result.and(namespace.remove());
    }
    let removed = fs::remove_dir_all(&folder.path)
        .with_context(|| format!("{} cannot be removed", folder.path.display()));
    result.and(removed)
}

/// Removes the director's programs and pins, which outlive it. The pins are removed even when the
/// director's own command fails: its namespace goes too, and no other has its cookie.
fn stop_forwarding(record: &Record) -> Result<()> {
    let director = record.host(DIRECTOR)?;
    if !director.namespace().exists() {
        return Ok(());
    }
    if let Ok(child) = director.start("lvsd", &["--stop-forwarding"], "lvsd-stop") {
        // A failure shows in what is left, which is removed below.
        let _ = finish(child, Duration::from_secs(10));
    }
    let left = director.namespace().run(|| {
        [
            lvsx_ipvs::pins_dir(),
            lvsx_ipvs::check_dir(),
            lvsx_ipvs::namespace_dir(),
        ]
    })?;
    for path in left {
        let path = path?;
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("{} cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

/// Ends the lab's processes: politely first, after 3 seconds by force.
fn end_processes(lab: &str) {
    let spared = own_line();
    for (signal, limit) in [(Signal::SIGTERM, 3), (Signal::SIGKILL, 2)] {
        let started = Instant::now();
        let mut told = HashSet::new();
        loop {
            let running: Vec<_> = processes_of(lab)
                .filter(|pid| !spared.contains(pid))
                .collect();
            if running.is_empty() {
                return;
            }
            for pid in running {
                if told.insert(pid) {
                    // It may be gone meanwhile.
                    let _ = kill(Pid::from_raw(pid), signal);
                }
            }
            if started.elapsed() > Duration::from_secs(limit) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The processes that carry the lab's name in their environment. One that has ended and was not yet
/// waited for has no environment.
fn processes_of(lab: &str) -> impl Iterator<Item = i32> {
    let mark = format!("{LAB_VARIABLE}={lab}");
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    numbers
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(move |pid| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment
                    .split(|&byte| byte == 0)
                    .any(|entry| entry == mark.as_bytes())
            })
        })
}

/// This process and those above it: `lvsx lab down` may be typed inside the lab.
fn own_line() -> HashSet<i32> {
    let parent = |pid: i32| -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?
            .1
            .split_ascii_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    let own = process::id().cast_signed();
    std::iter::successors(Some(own), |&pid| parent(pid).filter(|&above| above > 0)).collect()
}
