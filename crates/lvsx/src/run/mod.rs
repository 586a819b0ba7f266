//! `lvsx run -- CMD`: runs a program that knows only the kernel's IPVS, and has its requests carried to lvsd.

mod library;
mod program;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

const USAGE: &str = "\
lvsx run: has lvsd serve a program that knows only the kernel's IPVS

  lvsx run [--] CMD [ARGUMENT]...

CMD, and what it starts, is run with a library (LD_PRELOAD) that carries its netlink requests for IPVS, and its reading of
/proc/net/ip_vs*, to the lvsd of its network namespace; without one there, to the kernel as ever. All else of it (routes,
addresses, other netlink families) is left alone. Known to work: ipvsadm, keepalived, pyroute2. CMD must be linked
dynamically with glibc: programs in Go, and static ones, cannot be carried. In a unit of systemd:

  ExecStart=/usr/sbin/lvsx run -- /usr/sbin/keepalived --dont-fork

Exit status: CMD's; 126 it cannot be run this way, 127 it is not there.
";

/// The variable by which the loader of programs is told of libraries.
const PRELOAD: &str = "LD_PRELOAD";
/// Exit codes of programs that start others, as `env(1)` has them.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Exit codes: that of the program, 2 bad usage, 126 it cannot be run this way, 127 it is not there.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let command = match arguments {
        [first, rest @ ..] if first == "--" => rest,
        [first, ..] if first == "-h" || first == "--help" => {
            // A reader that went away is no failure.
            let _ = io::stdout().write_all(USAGE.as_bytes());
            return ExitCode::SUCCESS;
        }
        [first, ..] if first.as_encoded_bytes().starts_with(b"-") => {
            complain(&format!(
                "{} is unknown\n\n{USAGE}",
                first.to_string_lossy()
            ));
            return ExitCode::from(2);
        }
        all => all,
    };
    let [name, rest @ ..] = command else {
        complain(&format!("which program?\n\n{USAGE}"));
        return ExitCode::from(2);
    };
    ExitCode::from(run(name, rest))
}

/// Replaces this process by the program; the exit code where that fails.
fn run(name: &OsStr, arguments: &[OsString]) -> u8 {
    let Some(program) = program::find(name) else {
        complain(&format!(
            "{}: there is no such program",
            name.to_string_lossy()
        ));
        return NOT_FOUND;
    };
    let failed = |why: String| {
        complain(&why);
        CANNOT_RUN
    };
    if let Err(why) = program::check(&program) {
        return failed(format!("{}: {why}", program.display()));
    }
    let library = match library::place() {
        Ok(library) => library,
        Err(error) => return failed(format!("the library cannot be put anywhere: {error}")),
    };
    let mut libraries = library.into_os_string();
    if let Some(others) = env::var_os(PRELOAD).filter(|others| !others.is_empty()) {
        libraries.push(":");
        libraries.push(others);
    }
    let error = Command::new(&program)
        .arg0(name)
        .args(arguments)
        .env(PRELOAD, libraries)
        .exec();
    failed(format!("{}: {error}", program.display()))
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "lvsx run: {}", text.trim_end());
}
