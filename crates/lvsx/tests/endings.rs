//! Labs that end before their time: interrupted, terminated, killed. Needs root.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use lvsx_lab::namespace::Namespace;
use lvsx_lab::record;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The first namespace is there, nothing else.
const EARLY: &str = "ip netns add";
/// Director and web servers run, services are being entered.
const LATE: &str = "ipvsadm -At";

/// A `lvsx lab dr` that runs.
struct Running {
    child: Child,
    name: String,
    /// What the director leaves in `/run/lvsx`, once there is one.
    left_by_director: Vec<PathBuf>,
}

impl Running {
    /// Starts a lab and waits until it says `word`.
    fn until(word: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lvsx"))
            .args(["lab", "dr"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let name = format!("dr-{}", child.id());
        let mut said = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        assert!(
            said.any(|line| line.contains(word)),
            "the lab never says {word}"
        );
        // Whatever it says further must find a listener.
        thread::spawn(move || said.for_each(drop));
        let director = Namespace::named(&format!("lvsx-{name}-lvsserver"));
        let left_by_director = if word == LATE {
            let folders = || {
                [
                    lvsx_ipvs::namespace_dir().unwrap(),
                    lvsx_ipvs::pins_dir().unwrap(),
                ]
            };
            director.run(folders).unwrap().into()
        } else {
            Vec::new()
        };
        assert!(
            left_by_director.iter().all(|path| path.exists()),
            "{left_by_director:?}"
        );
        Self {
            child,
            name,
            left_by_director,
        }
    }

    fn signal(&mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
        self.child.wait().unwrap().code()
    }

    /// What is still there of it: folder, namespaces, processes, pins.
    fn traces(&self) -> Vec<String> {
        let hosts = [
            "switch",
            "client",
            "router",
            "lvsserver",
            "serverA",
            "serverB",
        ];
        let namespaces = hosts.map(|host| format!("/run/netns/lvsx-{}-{host}", self.name).into());
        let paths = namespaces
            .into_iter()
            .chain([PathBuf::from(format!("/run/lvsx/lab/{}", self.name))])
            .chain(self.left_by_director.iter().cloned())
            .filter(|path| path.exists())
            .map(|path| path.display().to_string());
        paths.chain(self.processes()).collect()
    }

    fn processes(&self) -> Vec<String> {
        let program = format!("/run/lvsx/lab/{}/bin/", self.name);
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .filter(|line| line.starts_with(&program))
            .collect()
    }
}

fn ends_orderly(word: &str, signal: Signal) {
    let mut lab = Running::until(word);
    assert_eq!(
        lab.signal(signal),
        Some(1),
        "the signal is obeyed by an orderly end"
    );
    assert_eq!(lab.traces(), Vec::<String>::new());
}

#[test]
fn interrupted_early() {
    ends_orderly(EARLY, Signal::SIGINT);
}

#[test]
fn interrupted_late() {
    ends_orderly(LATE, Signal::SIGINT);
}

#[test]
fn terminated_late() {
    ends_orderly(LATE, Signal::SIGTERM);
}

#[test]
fn what_a_killed_lab_left_is_swept_by_the_next() {
    let mut lab = Running::until(LATE);
    lab.signal(Signal::SIGKILL);
    assert!(Path::new(&format!("/run/lvsx/lab/{}", lab.name)).exists());
    assert_eq!(
        lab.processes().len(),
        3,
        "director and web servers still run: {:?}",
        lab.processes()
    );
    // Another lab that starts just now may be the one that sweeps it.
    record::sweep().unwrap();
    assert_eq!(lab.traces(), Vec::<String>::new());
}
