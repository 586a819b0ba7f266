//! `ipvsadm`, `ipvsadm-save` and `ipvsadm-restore`: drop-ins for ipvsadm 1.31.
//!
//! A command line becomes a command (`line`, by the tables of `options` and `rules`), a command a
//! request to a director, and the answer is printed (`run`, `listing`, `save`, `connections`).
//! Output, error texts and exit codes are those of ipvsadm 1.31 with IPVS of Linux 6.1.
//!
//! `ipvsadm-restore` and [`apply`] take a file as a whole (`file`, `table`, `whole`, `words`): one step on lvsd, and nothing
//! with all that is wrong if anything is.
//! Beyond them: `--json` with `-L` (`json`).
//!
//! Differences: `--kernel` as the first word chooses the kernel's IPVS; help and version need no
//! director; where lvsd left its socket or its pins and does not answer, nothing is done and the exit
//! code is 255; `-R` reads characters of print as what they stand for.

mod columns;
mod connections;
mod failure;
mod file;
mod help;
mod json;
mod line;
mod listing;
pub mod manual;
#[cfg(test)]
#[path = "../../ipvs/tests/support/memory.rs"]
mod memory;
mod names;
mod options;
mod order;
mod protocol;
mod restore;
mod rules;
mod run;
mod save;
mod scan;
mod suggest;
mod table;
mod values;
mod whole;
mod words;

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command as Process, ExitCode, Stdio};

use lvsx_ipvs::{Choice, Client, ClientError, ConnectError, Errno};

pub use crate::file::Rules;
pub use crate::table::Table;
pub use crate::whole::{Undone, Wish, apply, check, lines, tell_notes};

use crate::failure::Failure;
use crate::line::Command;
use crate::run::Run;

/// Bytes of the input of `-R` that are read at once: lines that came together are changes that can be made together.
const INPUT: usize = 1 << 20;
/// Bytes that are written at once.
const OUTPUT: usize = 1 << 16;
/// Chooses the kernel's IPVS even where lvsd runs.
const KERNEL: &str = "--kernel";
/// Stands behind ipvsadm's own lines where neither of the two directors is there.
const LVSD_CURE: &str = "\nNo lvsd runs in this network namespace either: start it with `lvsd'.";

/// Runs the program `name` (`ipvsadm`, `ipvsadm-save`, `ipvsadm-restore`, or a path to one) with the words behind it.
///
/// Exit codes: 0 success; 1 a listing failed; 2 the command line is wrong or there is no director;
/// 255 the director refused, an option is unknown, or lvsd is silent.
#[must_use]
pub fn main(name: &str, args: Vec<OsString>) -> ExitCode {
    let mut words: Vec<String> = args
        .into_iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let choice = match words.first() {
        Some(first) if first == KERNEL => {
            words.remove(0);
            Choice::Kernel
        }
        _ => Choice::Auto,
    };
    let program = Path::new(name).file_name().and_then(OsStr::to_str);
    let result = match program.unwrap_or(name) {
        program @ "ipvsadm-save" => save(program, &words, choice),
        program @ "ipvsadm-restore" => restore(program, &words, choice),
        _ => ipvsadm(name, &words, choice),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.code()),
    }
}

/// Runs the words of one `ipvsadm` command line against a director, with these three streams; the exit code.
pub fn run(
    words: &[String],
    client: &mut Client,
    input: impl BufRead,
    out: impl Write,
    err: impl Write,
) -> u8 {
    let mut run = Run {
        name: "ipvsadm",
        client,
        input,
        out,
        err,
    };
    run.line(words)
        .map_or_else(|failure| failure.code(), |()| 0)
}

fn ipvsadm(name: &str, words: &[String], choice: Choice) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(OUTPUT, io::stdout().lock());
    match line::parse(words) {
        Ok(Command::Help) => help::help(&mut out, name)?,
        Ok(Command::Version) => help::version(&mut out)?,
        _ => {
            let (mut client, err) = (connect(name, choice)?, io::stderr().lock());
            let input = BufReader::with_capacity(INPUT, io::stdin().lock());
            return Run {
                name,
                client: &mut client,
                input,
                out,
                err,
            }
            .line(words);
        }
    }
    Ok(out.flush()?)
}

/// `ipvsadm-save [-n]`: the table as command lines.
fn save(name: &str, words: &[String], choice: Choice) -> Result<(), Failure> {
    let mut line = vec!["-S".to_owned()];
    for word in words.iter().filter(|word| word.starts_with('-')) {
        if word != "-n" {
            let usage = "Script to save the IPVS table to stdout.\n   \
                         With the -n option, prints out the table in numeric format.";
            eprint_line(&format!("{name}: {usage}"));
            return Err(Failure::Listing(String::new()));
        }
        line = vec!["-Sn".to_owned()];
    }
    ipvsadm("ipvsadm", &line, choice)
}

/// `ipvsadm-restore [--strict] [--as-ipvsadm]`: clears the table and loads the command lines of the input, in one step; with
/// `--as-ipvsadm` as the script of that name, one by one.
fn restore(name: &str, words: &[String], choice: Choice) -> Result<(), Failure> {
    let (mut wish, mut is_as_ipvsadm) = (Wish::default(), false);
    for word in words {
        match &**word {
            "--strict" => wish.is_strict = true,
            "--as-ipvsadm" => is_as_ipvsadm = true,
            // The script of that name looks at none.
            other => eprint_line(&format!("{name}: `{other}' is passed over")),
        }
    }
    let mut text = Vec::new();
    if let Err(error) = io::stdin().lock().read_to_end(&mut text) {
        eprint_line(&format!("{name}: cannot read: {error}"));
        return Err(Failure::Tool(String::new()));
    }
    let mut client = connect("ipvsadm", choice)?;
    if is_as_ipvsadm {
        return restore_by_lines(&mut client, &text);
    }
    let mut rules = Rules::read_plain("stdin", &text);
    if !wish.is_strict {
        tell_notes(&rules, eprint_line);
    }
    let done = match client.is_kernel() {
        true => whole::check_ahead(&mut client, &mut rules, wish),
        false => whole::restore(&mut client, &mut rules, wish),
    };
    if let Err(undone) = done {
        eprint_line(&format!("{name}: {undone}"));
        if whole::is_unknown(&undone) {
            eprint_line(
                "this lvsd is older and changes no table in one step: start it anew, or say --as-ipvsadm",
            );
        }
        return Err(match undone {
            Undone::Wrong { code: 1, .. } => Failure::Listing(String::new()),
            Undone::Wrong { code: 2, .. } => Failure::Tool(String::new()),
            _ => Failure::Refused(String::new()),
        });
    }
    let mut changed = Ok(());
    if client.is_kernel() {
        eprint_line(&format!(
            "{name}: not atomic here: IPVS of the kernel takes line by line"
        ));
        if let Err(undone) = whole::line_by_line(&mut client, &rules, eprint_line) {
            eprint_line(&format!("{name}: {undone}"));
            changed = Err(Failure::Refused(String::new()));
        }
    }
    let (out, err) = (BufWriter::new(io::stdout().lock()), io::stderr().lock());
    let mut run = Run {
        name: "ipvsadm",
        client: &mut client,
        input: io::empty(),
        out,
        err,
    };
    let mut listed = Ok(());
    for listing in &rules.listings {
        listed = run.line(listing);
    }
    changed.and(listed)
}

/// As the script of that name: drops lines that begin with `#`, clears, and runs the others one by one.
fn restore_by_lines(client: &mut Client, input: &[u8]) -> Result<(), Failure> {
    let mut text = Vec::new();
    for line in input.split(|byte| *byte == b'\n') {
        // An empty line in place of a comment keeps the numbers of the others.
        if !line.starts_with(b"#") {
            text.extend_from_slice(line);
        }
        text.push(b'\n');
    }
    let (out, err) = (BufWriter::new(io::stdout().lock()), io::stderr().lock());
    let mut run = Run {
        name: "ipvsadm",
        client,
        input: text.as_slice(),
        out,
        err,
    };
    // A table that cannot be cleared is loaded all the same.
    let _ = run.line(&["-C".to_owned()]);
    run.line(&["-R".to_owned()])
}

/// Connects, trying to load the kernel's module where there is no IPVS.
fn connect(name: &str, choice: Choice) -> Result<Client, Failure> {
    let connected = match Client::connect(choice) {
        Err(ConnectError::NoIpvs) if load_module() => Client::connect(choice),
        connected => connected,
    };
    let failure = match connected {
        Ok(mut client) => match client.info() {
            Ok(_) => return Ok(client),
            Err(ClientError::Refused(errno)) => {
                Failure::Tool(uninitialized(&failure::general(errno)))
            }
            Err(error) => Failure::Refused(format!("{name}: {error}")),
        },
        Err(ConnectError::NoIpvs) => {
            let mut text = uninitialized(&failure::general(Errno::ENOPROTOOPT));
            if choice == Choice::Auto {
                text.push_str(LVSD_CURE);
            }
            Failure::Tool(text)
        }
        Err(ConnectError::PermissionDenied) => {
            Failure::Tool(uninitialized(&failure::general(Errno::EPERM)))
        }
        Err(error @ ConnectError::Silent { .. }) => Failure::Refused(format!("{name}: {error}")),
        Err(error @ ConnectError::System { .. }) => {
            Failure::Tool(uninitialized(&error.to_string()))
        }
    };
    eprint_line(failure.text(name).trim_end_matches('\n'));
    Err(failure)
}

fn uninitialized(text: &str) -> String {
    format!(
        "Can't initialize ipvs: {text}\n\
         Are you sure that IP Virtual Server is built in the kernel or as module?"
    )
}

/// The kernel loads the module by itself where it may; `modprobe` also follows the machine's rules.
fn load_module() -> bool {
    let modprobe = Process::new("/sbin/modprobe")
        .args(["--", "ip_vs"])
        .stdin(Stdio::null())
        .status();
    modprobe.is_ok_and(|status| status.success())
}

/// Writes a line to stderr, whose closing is nobody's loss.
fn eprint_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
