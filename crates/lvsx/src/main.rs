//! The one binary of lvsx. Its name says what it is: `lvsd`, `lvsx-check`, `ipvsadm`, `ipvsadm-save`,
//! `ipvsadm-restore`; under any other name it is the operator's tool, whose first word says what
//! to do, and may be one of those names too.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

mod apply;
mod manual;
mod mark;
mod order;
mod realserver;
mod run;
mod save;
mod status;
mod sysctl;

const USAGE: &str = "\
lvsx, the Linux Virtual Server in tc and XDP

  lvsx lab nat|tun|dr        shows LVS work, in network namespaces of this machine
  lvsx status [--json]       what the director of this network namespace is doing
  lvsx doctor ...            what is wrong with a director or a real server, and the cure
  lvsx realserver ...        makes this machine a real server, or takes that back
  lvsx sysctl ...            its settings net.ipv4.vs.*, as sysctl(8)
  lvsx mark ...              which packets carry a mark for services by mark
  lvsx apply|diff FILE       makes the table what a file says, in one step; shows the difference
  lvsx rollback              back to the table before the last one applied
  lvsx save                  everything that is configured, for `lvsx apply`
  lvsx drain|maint|ready SERVER
                             takes a real server out of service, and puts it back
  lvsx run -- CMD            has lvsd serve ipvsadm, keepalived and others as they are
  lvsx agent ...             on a real server: tells directors how loaded it is
  lvsx manual DIR            writes manual pages, and completions for bash, zsh and fish
  lvsx lvsd ...              the director; also by the name lvsd
  lvsx check ...             its health checks; also by the name lvsx-check
  lvsx ipvsadm ...           its administration; also by the name ipvsadm, and likewise
                             ipvsadm-save and ipvsadm-restore

`lvsx lab --help`, `lvsx mark --help` and so on say more.
";

/// Where programs are installed; no folder for those found by the search path.
const INSTALLED: [&str; 6] = [
    "",
    "/sbin",
    "/usr/sbin",
    "/bin",
    "/usr/bin",
    "/usr/local/sbin",
];

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = env::args_os().collect();
    let called = if arguments.is_empty() {
        OsString::new()
    } else {
        arguments.remove(0)
    };
    let name = Path::new(&called)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    // Messages repeat what a program was called by, as those of the original do; out of a build's folder that is its name.
    let is_installed = Path::new(&called)
        .parent()
        .is_none_or(|folder| INSTALLED.iter().any(|installed| folder == *installed));
    let repeated = if is_installed {
        called.to_string_lossy()
    } else {
        name.into()
    };
    if let Some(code) = program(name, &repeated, &arguments) {
        return code;
    }
    if arguments.is_empty() {
        return usage(ExitCode::from(2));
    }
    let word = arguments.remove(0);
    let word = word.to_string_lossy();
    match &*word {
        "lab" => lvsx_lab::main(arguments),
        "status" => status::main(&arguments),
        "sysctl" => sysctl::main(&arguments),
        "realserver" => realserver::main(arguments),
        "doctor" => lvsx_doctor::main(arguments),
        "manual" => manual::main(&arguments),
        "mark" => mark::main(&arguments),
        "apply" | "diff" | "rollback" => apply::main(&word, &arguments),
        "save" => save::main(&arguments),
        "run" => run::main(&arguments),
        "drain" | "maint" | "ready" => order::main(&word, &arguments),
        "agent" => lvsx_health::agent::serve::main(arguments),
        "check" => lvsx_health::main(arguments),
        "-h" | "--help" | "help" => usage(ExitCode::SUCCESS),
        "-V" | "--version" => say(
            &format!("lvsx {}\n", env!("CARGO_PKG_VERSION")),
            ExitCode::SUCCESS,
        ),
        name => program(name, name, &arguments).unwrap_or_else(|| {
            let _ = writeln!(io::stderr(), "lvsx: `{name}` is unknown\n");
            usage(ExitCode::from(2))
        }),
    }
}

/// Runs the program of this name, which may have been `called` by a path; `None` where there is none.
fn program(name: &str, called: &str, arguments: &[OsString]) -> Option<ExitCode> {
    match name {
        "lvsd" => Some(lvsx_director::main(arguments.to_vec())),
        "lvsx-check" => Some(lvsx_health::main(arguments.to_vec())),
        "ipvsadm" | "ipvsadm-save" | "ipvsadm-restore" => {
            Some(lvsx_ipvsadm::main(called, arguments.to_vec()))
        }
        _ => None,
    }
}

fn usage(code: ExitCode) -> ExitCode {
    say(USAGE, code)
}

/// A reader that went away is no failure.
fn say(text: &str, code: ExitCode) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    code
}
