//! `lvsx lab ...`: the command line of the labs.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddrV4;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{env, io, panic};

use anyhow::{Context, Result, bail, ensure};
use lexopt::prelude::{Long, Short, Value, ValueExt};
use lvsx_host::{ForwardingMethod, bpf};

use crate::demonstration::Demonstration;
use crate::load::Load;
use crate::record::{self, LAB_VARIABLE, Record};
use crate::topology::CLIENT;
use crate::{Blueprint, Breakage, Mode, Narrator, interrupt, slow, web, worker};

const USAGE: &str = "\
The tutorial's labs, in network namespaces of this machine.

  lvsx lab nat|tun|dr [--mode tc|xdp] [--scheduler NAME] [--load A|B=LOAD]... [--keep]
      builds the machines, runs the tutorial's commands, shows what comes back and judges it;
      exit status 0 only if everything was as it must be; with --load the servers' agents tell these loads, from 0
      to 1, and weights follow
  lvsx lab nat|tun|dr --break NAME [--mode tc|xdp] [--keep]
      breaks one thing in the lab, lets `lvsx doctor` find it, and does what it says; --break list
      shows what can be broken
  lvsx lab nat --slow TIME [--scheduler NAME]
      clients come all the time, and one of three servers is slow for TIME: what they see with configured weights, and
      with weights from load
  lvsx lab exec [--lab NAME] HOST [-- COMMAND...]
      runs a command (else a shell) on a machine of a lab that was kept
  lvsx lab list
  lvsx lab down [NAME|--all]

The machines are client, router (tun, dr), lvsserver, serverA, serverB and switch.
Schedulers: rr wrr lc wlc sed nq fo ovf twos dh sh mh lblc lblcr; the tutorial's is rr.
";

/// A command line of the labs.
#[derive(Debug, PartialEq)]
enum Command {
    Show {
        method: ForwardingMethod,
        mode: Mode,
        scheduler: String,
        loads: Vec<Load>,
        keep: bool,
        broken: Option<&'static Breakage>,
    },
    ListBreakages(ForwardingMethod),
    Slow {
        scheduler: String,
        time: Duration,
    },
    Exec {
        lab: Option<String>,
        host: String,
        command: Vec<OsString>,
    },
    Down(Which),
    List,
    /// For the labs themselves: a real server's web server.
    Web {
        port: u16,
        page: String,
    },
    /// The same: a server that can be slow.
    Work(SocketAddrV4),
    Help,
}

#[derive(Debug, PartialEq, Eq)]
enum Which {
    TheOnlyOne,
    Named(String),
    All,
}

/// Runs `lvsx lab` with the words behind it. Exit codes: 0 as it must be, 1 not, 2 bad usage.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let command = match parse(arguments) {
        Ok(command) => command,
        Err(error) => {
            complain(&format!("{error}; `lvsx lab --help` shows what there is"));
            return ExitCode::from(2);
        }
    };
    match run(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Command> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let first = match parser.next()? {
        None | Some(Short('h') | Long("help")) => return Ok(Command::Help),
        Some(Value(word)) => word.string()?,
        Some(other) => return Err(other.unexpected().into()),
    };
    match first.as_str() {
        "exec" => parse_exec(parser),
        "down" => parse_down(parser),
        "list" => finish(parser, Command::List),
        "web" => {
            let port = parser.value()?.parse()?;
            let page = parser.value()?.string()?;
            finish(parser, Command::Web { port, page })
        }
        "work" => {
            let at = parser.value()?.parse()?;
            finish(parser, Command::Work(at))
        }
        "help" => Ok(Command::Help),
        word => match word.parse() {
            Ok(method) => parse_show(method, parser),
            Err(_) => bail!("`{word}` is no lab: there are nat, tun and dr"),
        },
    }
}

fn parse_show(method: ForwardingMethod, mut parser: lexopt::Parser) -> Result<Command> {
    let (mut mode, mut scheduler, mut keep) = (None, "rr".to_owned(), false);
    let (mut loads, mut broken, mut slow) = (Vec::new(), None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("mode") => mode = Some(parser.value()?.string()?.parse()?),
            Long("scheduler") => scheduler = parser.value()?.string()?,
            Long("load") => loads.push(parser.value()?.string()?.parse()?),
            Long("keep") => keep = true,
            Long("slow") => slow = Some(seconds(&parser.value()?.string()?)?),
            Long("break") => match parser.value()?.string()?.as_str() {
                "list" => return Ok(Command::ListBreakages(method)),
                name => broken = Some(breakage(name, method)?),
            },
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected().into()),
        }
    }
    // It becomes a word of a shell line.
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    ensure!(
        !scheduler.is_empty() && scheduler.chars().all(plain),
        "`{scheduler}` is no scheduler's name"
    );
    if let Some(time) = slow {
        let alone = keep || mode.is_some() || broken.is_some() || !loads.is_empty();
        ensure!(
            method == ForwardingMethod::Masquerade && !alone,
            "--slow is for `lvsx lab nat`, with no more than --scheduler"
        );
        return Ok(Command::Slow { scheduler, time });
    }
    let needed = broken.and_then(|broken| broken.mode);
    if let (Some(needed), Some(mode)) = (needed, mode) {
        ensure!(needed == mode, "this can be broken in {needed} mode only");
    }
    Ok(Command::Show {
        method,
        mode: mode.or(needed).unwrap_or(Mode::Tc),
        scheduler,
        loads,
        keep,
        broken,
    })
}

/// A time of half a minute or more, as `60s` or `5m`.
fn seconds(text: &str) -> Result<Duration> {
    let number = |end, factor| Some(text.strip_suffix(end)?.parse::<u64>().ok()? * factor);
    let seconds = number("s", 1).or_else(|| number("m", 60));
    seconds
        .filter(|seconds| (45..=3600).contains(seconds))
        .map(Duration::from_secs)
        .with_context(|| format!("--slow {text}: write a time from 45s to 60m"))
}

fn breakage(name: &str, method: ForwardingMethod) -> Result<&'static Breakage> {
    Breakage::named(name, method).with_context(|| {
        let names: Vec<_> = Breakage::of(method).map(|one| one.name).collect();
        let names = names.join(", ");
        format!("`{name}` cannot be broken in this lab; there are {names}")
    })
}

fn parse_exec(mut parser: lexopt::Parser) -> Result<Command> {
    let mut lab = None;
    let host = loop {
        match parser.next()? {
            Some(Long("lab")) => lab = Some(parser.value()?.string()?),
            Some(Value(word)) => break word.string()?,
            Some(other) => return Err(other.unexpected().into()),
            None => bail!("`lvsx lab exec` needs a machine, such as {CLIENT}"),
        }
    };
    let mut command: Vec<_> = parser.raw_args()?.collect();
    if command.first().is_some_and(|word| word == "--") {
        command.remove(0);
    }
    Ok(Command::Exec { lab, host, command })
}

fn parse_down(mut parser: lexopt::Parser) -> Result<Command> {
    let which = match parser.next()? {
        None => Which::TheOnlyOne,
        Some(Long("all")) => Which::All,
        Some(Value(name)) => Which::Named(name.string()?),
        Some(other) => return Err(other.unexpected().into()),
    };
    finish(parser, Command::Down(which))
}

fn finish(mut parser: lexopt::Parser, command: Command) -> Result<Command> {
    match parser.next()? {
        None => Ok(command),
        Some(more) => Err(more.unexpected().into()),
    }
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::Help => {
            // A closed pipe is no failure.
            let _ = io::stdout().write_all(USAGE.as_bytes());
            return Ok(true);
        }
        Command::ListBreakages(method) => {
            for one in Breakage::of(method) {
                let line = format!("{:<16} {}\n", one.name, one.fault.why());
                let _ = io::stdout().write_all(line.as_bytes());
            }
            return Ok(true);
        }
        Command::Web { port, page } => {
            web::serve(port, &page)?;
            return Ok(true);
        }
        Command::Work(at) => {
            worker::serve(at)?;
            return Ok(true);
        }
        _ => {}
    }
    ensure!(
        nix::unistd::geteuid().is_root(),
        "labs make network namespaces: run this as root"
    );
    match command {
        Command::Show {
            method,
            mode,
            scheduler,
            loads,
            keep,
            broken,
        } => show(method, mode, scheduler, loads, keep, broken),
        Command::Slow { scheduler, time } => {
            interrupt::catch()?;
            clean_up_on_panic();
            slow::show(&scheduler, time, &Narrator::aloud())
        }
        Command::Exec { lab, host, command } => exec(lab, &host, &command),
        Command::Down(which) => down(which),
        Command::List => list(),
        Command::Help | Command::Web { .. } | Command::Work(_) | Command::ListBreakages(_) => {
            Ok(true)
        }
    }
}

fn show(
    method: ForwardingMethod,
    mode: Mode,
    scheduler: String,
    loads: Vec<Load>,
    keep: bool,
    broken: Option<&'static Breakage>,
) -> Result<bool> {
    interrupt::catch()?;
    clean_up_on_panic();
    let narrator = Narrator::aloud();
    for lab in record::sweep()? {
        narrator.output(&format!("what was left of the lab {lab} has been removed"));
    }
    let binary = env::current_exe().context("this program cannot be found")?;
    let blueprint = Blueprint {
        method: Some(method),
        mode,
        binary,
        object: bpf::OBJECT,
    };
    Demonstration {
        blueprint,
        method,
        scheduler,
        loads,
        keep,
        broken,
    }
    .run(&narrator)
}

/// A release build ends at a panic without unwinding, so the labs of this process are taken down
/// before it does.
fn clean_up_on_panic() {
    static ONCE: Mutex<bool> = Mutex::new(false);
    let mut done = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
    if std::mem::replace(&mut done, true) {
        return;
    }
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        for record in record::all()
            .into_iter()
            .filter(|record| record.owner.is_this_process())
        {
            let _ = record::take_down(&record.name);
        }
    }));
}

fn exec(lab: Option<String>, host: &str, command: &[OsString]) -> Result<bool> {
    let host = match lab.or_else(|| env::var(LAB_VARIABLE).ok()) {
        Some(name) => record::find(&name)?,
        None => the_only_one()?,
    }
    .host(host)?;
    let shell = env::var_os("SHELL").unwrap_or_else(|| "sh".into());
    let (program, arguments) = command.split_first().unwrap_or((&shell, &[]));
    let error = host.exec(program, arguments);
    Err(error).with_context(|| format!("{} on {}", program.display(), host.name()))
}

fn the_only_one() -> Result<Record> {
    let mut labs = record::all();
    match labs.len() {
        0 => bail!("no lab is up; `lvsx lab dr --keep` leaves one"),
        1 => Ok(labs.remove(0)),
        _ => {
            let names: Vec<_> = labs.iter().map(|record| record.name.as_str()).collect();
            bail!("several labs are up: name one of {}", names.join(", "))
        }
    }
}

fn down(which: Which) -> Result<bool> {
    let labs = match which {
        Which::All => record::all(),
        Which::Named(name) => vec![record::find(&name)?],
        Which::TheOnlyOne => vec![the_only_one()?],
    };
    for lab in labs {
        record::take_down(&lab.name)?;
        Narrator::aloud().output(&format!("{} is down", lab.name));
    }
    Ok(true)
}

fn list() -> Result<bool> {
    for lab in record::all() {
        let state = match (lab.kept, lab.owner.lives()) {
            (true, _) => "kept",
            (false, true) => "running",
            (false, false) => "left over; the next lab removes it",
        };
        let text = format!(
            "{}: {} ({state}); machines {}\n",
            lab.name,
            lab.title,
            lab.hosts.join(", ")
        );
        let _ = io::stdout().write_all(text.as_bytes());
    }
    Ok(true)
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "lvsx lab: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Command> {
        parse(line.split_ascii_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn lines_are_read() {
        assert_eq!(
            parse_words("dr --mode xdp --scheduler wlc --keep").unwrap(),
            Command::Show {
                method: ForwardingMethod::DirectRouting,
                mode: Mode::Xdp,
                scheduler: "wlc".to_owned(),
                loads: Vec::new(),
                keep: true,
                broken: None,
            }
        );
        assert_eq!(
            parse_words("exec client -- curl -s http://192.168.1.40/").unwrap(),
            Command::Exec {
                lab: None,
                host: "client".to_owned(),
                command: ["curl", "-s", "http://192.168.1.40/"]
                    .map(OsString::from)
                    .to_vec()
            }
        );
        assert_eq!(
            parse_words("down").unwrap(),
            Command::Down(Which::TheOnlyOne)
        );
        assert_eq!(
            parse_words("down --all").unwrap(),
            Command::Down(Which::All)
        );
        assert_eq!(parse_words("").unwrap(), Command::Help);
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        for (line, word) in [
            ("drr", "nat, tun and dr"),
            ("dr --mode xpd", "tc and xdp"),
            ("dr --scheduler rr;reboot", "no scheduler"),
            ("dr --load A", "A=0.9"),
            ("dr --load C=0.9", "A=0.9"),
            ("dr --load A=9", "from 0 to 1"),
            ("dr --slow 60s", "lvsx lab nat"),
            ("nat --slow 60", "45s to 60m"),
            ("dr --kep", "--kep"),
            ("dr --break apr", "there are arp,"),
            ("nat --break offload --mode tc", "xdp mode only"),
            ("exec", "needs a machine"),
            ("down a b", "b"),
        ] {
            let error = parse_words(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
