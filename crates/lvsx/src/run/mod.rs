//! `lvsx run -- CMD`: runs a program that knows only the kernel's IPVS, and has its requests carried to lvsd.

mod library;
mod program;
mod supervisor;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use program::Way;

const USAGE: &str = "\
lvsx run: has lvsd serve a program that knows only the kernel's IPVS

  lvsx run [OPTION] [--] CMD [ARGUMENT]...
  --library     carries CMD by a library that is loaded into it (LD_PRELOAD): for programs linked dynamically with glibc
  --supervise   carries CMD by a supervisor that the kernel asks about its sockets (seccomp): for all others (static
                programs, those of Go), and scripts that start such

Carried to the lvsd of the program's network namespace are netlink requests for IPVS, CMD's and those of what it starts;
without an lvsd there they go to the kernel as ever. All else of CMD (routes, addresses, other netlink families) is left
alone. Without an option it is seen from CMD, or the interpreter of a script, which way is needed. By the library,
/proc/net/ip_vs* are lvsd's too. Known to work: ipvsadm, keepalived, pyroute2; programs of Go that use vishvananda/netlink
(moby/ipvs) or mdlayher/netlink (cloudflare/ipvs). In a unit of systemd:

  ExecStart=/usr/sbin/lvsx run -- /usr/sbin/keepalived --dont-fork

CMD takes this process's place: signals, and its exit status, are its own; 126 it cannot be run this way, 127 it is not
there.
";

/// The variable by which the loader of programs is told of libraries.
const PRELOAD: &str = "LD_PRELOAD";
/// Exit codes of programs that start others, as `env(1)` has them.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Exit codes: that of the program, 2 bad usage, 126 it cannot be run this way, 127 it is not there.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let (way, command) = match arguments {
        [first, rest @ ..] if first == "--library" => (Some(Way::Library), rest),
        [first, rest @ ..] if first == "--supervise" => (Some(Way::Supervisor), rest),
        all => (None, all),
    };
    let command = match command {
        [first, rest @ ..] if first == "--" => rest,
        [first, ..] if first == "-h" || first == "--help" => {
            // A reader that went away is no failure.
            let _ = io::stdout().write_all(USAGE.as_bytes());
            return ExitCode::SUCCESS;
        }
        [first, ..] if first.as_encoded_bytes().starts_with(b"-") => {
            complain(&format!(
                "{} is unknown here\n\n{USAGE}",
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
    ExitCode::from(run(way, name, rest))
}

/// Replaces this process by the program; the exit code where that fails.
fn run(chosen: Option<Way>, name: &OsStr, arguments: &[OsString]) -> u8 {
    let Some(program) = program::find(name) else {
        complain(&format!(
            "{}: there is no such program",
            name.to_string_lossy()
        ));
        return NOT_FOUND;
    };
    let why = match carried(chosen, &program) {
        Ok(mut command) => command.arg0(name).args(arguments).exec().to_string(),
        Err(why) => why,
    };
    complain(&format!("{}: {why}", program.display()));
    CANNOT_RUN
}

/// The program, ready to be carried by the way that was chosen or else suits it.
///
/// # Errors
/// Why it cannot be carried.
fn carried(chosen: Option<Way>, program: &Path) -> Result<Command, String> {
    let mut command = Command::new(program);
    let way = match (chosen, program::way(program)?) {
        (Some(Way::Library), Way::Supervisor) => {
            return Err(
                "it loads no libraries (it is linked statically, of Go, or set-user-id): leave --library out".to_owned(),
            );
        }
        (chosen, suited) => chosen.unwrap_or(suited),
    };
    match way {
        Way::Supervisor => supervisor::start()?,
        Way::Library => {
            let library = library::place()
                .map_err(|error| format!("the library cannot be put anywhere: {error}"))?;
            let mut libraries = library.into_os_string();
            if let Some(others) = env::var_os(PRELOAD).filter(|others| !others.is_empty()) {
                libraries.push(":");
                libraries.push(others);
            }
            command.env(PRELOAD, libraries);
        }
    }
    Ok(command)
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "lvsx run: {}", text.trim_end());
}
