//! `lvsx realserver`: makes this machine a real server, and takes that back.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use lvsx_host::{
    Decapsulation, Destination, ForwardingMethod, Network, Outcome, Plan, Register, Setup, bpf,
};
use lvsx_ipvs::register_dir;

const USAGE: &str = "\
lvsx realserver: sets this machine (its network namespace) up as a real server

  lvsx realserver up    --mode nat --vip VIP --gateway DIRECTOR
  lvsx realserver up    --mode dr|tun --vip VIP
  lvsx realserver check [--mode nat|tun|dr --vip VIP ...]
  lvsx realserver down  [--vip VIP]

up     does what is not so yet, and shows each step as the command it stands for
check  says what of it is so; without --vip for all that is set up. Exit status 4: not all
down   puts back what up found, for one virtual address or all, also after up was killed

  --iface NAME   tun: where the director's packets arrive; else the way of the default route
  --bpf          tun: our program takes the outer headers off, though the kernel could those of IP in
                 IP; needed for GRE, GUE (port 6080) and IPv6 servers, and always so for an IPv6 VIP
  --dry-run      only shows the commands

VIP is the virtual address of the service, IPv4 or IPv6; the director answers for it, this machine
must not. Several are set up one after the other.
";

/// Exit status of a check that found something missing.
const NOT_SO: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Up,
    Check,
    Down,
}

/// The words of a command line.
#[derive(Debug, PartialEq, Eq)]
struct Command {
    task: Task,
    method: Option<ForwardingMethod>,
    virtual_address: Option<IpAddr>,
    gateway: Option<IpAddr>,
    iface: Option<String>,
    bpf: bool,
    dry_run: bool,
}

type Failure = Box<dyn std::error::Error>;

/// Exit codes: 0 done, 1 refused or failed, 2 bad usage, 4 a check found something missing.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let command = match parse(arguments) {
        Ok(Some(command)) => command,
        Ok(None) => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            complain(&format!(
                "{error}; `lvsx realserver --help` shows what there is"
            ));
            return ExitCode::from(2);
        }
    };
    match run(&command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_SO),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// `None` asks for help.
fn parse(arguments: Vec<OsString>) -> Result<Option<Command>, Failure> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let task = match parser.next()? {
        Some(Short('h') | Long("help")) => return Ok(None),
        Some(Value(word)) => match word.string()?.as_str() {
            "up" => Task::Up,
            "check" => Task::Check,
            "down" => Task::Down,
            "help" => return Ok(None),
            other => {
                return Err(format!("`{other}` is unknown: there are up, check and down").into());
            }
        },
        Some(other) => return Err(other.unexpected().into()),
        None => return Err("what is to be done is missing: up, check or down".into()),
    };
    let mut command = Command {
        task,
        method: None,
        virtual_address: None,
        gateway: None,
        iface: None,
        bpf: false,
        dry_run: false,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("mode") => command.method = Some(parser.value()?.string()?.parse()?),
            Long("vip") => command.virtual_address = Some(address(&mut parser, "--vip")?),
            Long("gateway") => command.gateway = Some(address(&mut parser, "--gateway")?),
            Long("iface") => command.iface = Some(parser.value()?.string()?),
            Long("bpf") => command.bpf = true,
            Long("dry-run") => command.dry_run = true,
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    command.consistent()?;
    Ok(Some(command))
}

fn address(parser: &mut lexopt::Parser, option: &str) -> Result<IpAddr, Failure> {
    let word = parser.value()?.string()?;
    let bare = word
        .strip_suffix("/32")
        .or_else(|| word.strip_suffix("/128"));
    bare.unwrap_or(&word).parse().map_err(|_| {
        format!("{option} wants an IP address, such as 192.168.1.40, not `{word}`").into()
    })
}

impl Command {
    fn consistent(&self) -> Result<(), Failure> {
        let nat = self.method == Some(ForwardingMethod::Masquerade);
        let tun = self.method == Some(ForwardingMethod::Tunnel);
        if self.task == Task::Down {
            return Ok(());
        }
        if self.task == Task::Up && self.method.is_none() {
            return Err(
                "--mode is missing: nat, tun or dr, as the director forwards to this server".into(),
            );
        }
        if self.virtual_address.is_none() && (self.method.is_some() || self.task == Task::Up) {
            return Err("--vip is missing: the virtual address of the service".into());
        }
        if self.virtual_address.is_some() && self.method.is_none() {
            return Err("--mode is missing beside --vip".into());
        }
        if nat != self.gateway.is_some() {
            return Err(if nat {
                "--gateway is missing: by NAT answers must go back through the director, so name its address on this network"
            } else {
                "--gateway belongs to --mode nat: by the other methods answers do not pass the director"
            }
            .into());
        }
        if !tun && (self.bpf || self.iface.is_some()) {
            return Err("--iface and --bpf belong to --mode tun".into());
        }
        Ok(())
    }

    /// The set-up that is asked for, if one is.
    fn setup(&self, network: &Network) -> Result<Option<Setup>, Failure> {
        let (Some(method), Some(virtual_address)) = (self.method, self.virtual_address) else {
            return Ok(None);
        };
        Ok(Some(match (method, self.gateway) {
            (ForwardingMethod::Masquerade, Some(gateway)) => Setup::Masquerade {
                virtual_address,
                gateway,
            },
            (ForwardingMethod::Masquerade, None) => return Err("--gateway is missing".into()),
            (ForwardingMethod::DirectRouting, _) => Setup::DirectRouting { virtual_address },
            (ForwardingMethod::Tunnel, _) => {
                let iface = match &self.iface {
                    Some(iface) => iface.clone(),
                    None => outer_interface(network, virtual_address)?,
                };
                // The kernel's tunl0 is IPv4 in IPv4.
                let decapsulation = if self.bpf || virtual_address.is_ipv6() {
                    Decapsulation::Program(bpf::OBJECT)
                } else {
                    Decapsulation::of_this_kernel(bpf::OBJECT)?
                };
                Setup::Tunnel {
                    virtual_address,
                    iface,
                    decapsulation,
                }
            }
        }))
    }
}

/// The interface of the default route, or the only one there is.
fn outer_interface(network: &Network, family: IpAddr) -> Result<String, Failure> {
    if let Some((iface, _)) = network.way_out(Destination::everything(family))? {
        return Ok(iface);
    }
    let mut cards = network.links()?;
    cards.retain(|name| name != "lo" && !name.starts_with("tunl"));
    match cards.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(format!(
            "there is no default route: name the interface that the director's packets arrive on by --iface, one of {}",
            cards.join(", ")
        )
        .into()),
    }
}

fn run(command: &Command) -> Result<bool, Failure> {
    let network = Network::here()?;
    let folder = register_dir()?;
    if command.task == Task::Check {
        let setups = match command.setup(&network)? {
            Some(setup) => vec![setup],
            None => Register::setups(&folder)?,
        };
        return check(&setups, &network);
    }
    if !command.dry_run && !nix::unistd::geteuid().is_root() {
        return Err("this changes the machine's network: run it as root (--dry-run only shows the commands)".into());
    }
    match command.setup(&network)? {
        Some(setup) if command.task == Task::Up => {
            if command.dry_run {
                setup.fits(&network)?;
                return show(&setup.plan(), &network);
            }
            let tell = |planned: &lvsx_host::PlannedStep, outcome| {
                let remark = match outcome {
                    Outcome::Changed => planned.reason,
                    Outcome::AlreadySo => "is so already",
                };
                line(&planned.step.to_string(), remark);
            };
            Register::open(&folder)?.up(&setup, &network, tell)?;
        }
        _ => down(command, &folder, &network)?,
    }
    Ok(true)
}

fn check(setups: &[Setup], network: &Network) -> Result<bool, Failure> {
    if setups.is_empty() {
        return Err(
            "nothing is set up here by `lvsx realserver up`: say what to check by --mode and --vip"
                .into(),
        );
    }
    let mut all = true;
    for planned in setups.iter().flat_map(|setup| setup.plan().steps) {
        // What is missing with its interface is not so.
        let so = planned.step.check(network).or_else(|error| match error {
            lvsx_host::Error::NoInterface { .. } => Ok(false),
            other => Err(other),
        })?;
        all &= so;
        say(&format!(
            "{}  {}\n",
            if so { "yes" } else { "NO " },
            planned.step
        ));
    }
    Ok(all)
}

/// Shows what a plan would do.
fn show(plan: &Plan, network: &Network) -> Result<bool, Failure> {
    for planned in &plan.steps {
        // Where its interface is still to be made it cannot be so.
        let so = planned.step.check(network).unwrap_or(false);
        line(
            &planned.step.to_string(),
            if so { "is so already" } else { planned.reason },
        );
    }
    Ok(true)
}

fn down(command: &Command, folder: &Path, network: &Network) -> Result<(), Failure> {
    if command.dry_run {
        for change in Register::changes(folder, command.virtual_address)? {
            line(&change.to_string(), "");
        }
        return Ok(());
    }
    let mut undone = 0;
    Register::open(folder)?.down(command.virtual_address, network, |change| {
        undone += 1;
        line(&change.to_string(), "");
    })?;
    if undone == 0 {
        say("# nothing of `lvsx realserver up` is left to take back\n");
    }
    Ok(())
}

/// A command that can be copied, with a remark.
fn line(command: &str, remark: &str) {
    say(&if remark.is_empty() {
        format!("{command}\n")
    } else {
        format!("{command:<56}  # {remark}\n")
    });
}

fn say(text: &str) {
    // A reader that went away is no failure.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "lvsx realserver: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Option<Command>, Failure> {
        parse(line.split_ascii_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn lines_are_read() {
        let command = words("up --mode nat --vip 8.8.8.8/32 --gateway 192.168.1.49 --dry-run");
        let expected = Command {
            task: Task::Up,
            method: Some(ForwardingMethod::Masquerade),
            virtual_address: Some([8, 8, 8, 8].into()),
            gateway: Some([192, 168, 1, 49].into()),
            iface: None,
            bpf: false,
            dry_run: true,
        };
        assert_eq!(command.unwrap(), Some(expected));
        assert!(words("down").is_ok() && words("check").is_ok());
        assert!(words("down --mode dr --vip 192.168.1.40").is_ok());
        assert_eq!(words("--help").unwrap(), None);
    }

    #[test]
    fn bad_lines_name_the_cure() {
        for (line, part) in [
            ("", "up, check or down"),
            ("upp", "up, check and down"),
            ("up --vip 192.168.1.40", "--mode is missing"),
            ("up --mode dr", "--vip is missing"),
            ("up --mode drr --vip 192.168.1.40", "nat, tun and dr"),
            ("up --mode dr --vip 192.168.1.400", "wants an IP address"),
            ("up --mode nat --vip 8.8.8.8", "--gateway is missing"),
            (
                "up --mode dr --vip 8.8.8.8 --gateway 1.1.1.1",
                "belongs to --mode nat",
            ),
            ("up --mode dr --vip 8.8.8.8 --bpf", "belong to --mode tun"),
            ("check --vip 8.8.8.8", "--mode is missing"),
            ("up --mode dr --vip 8.8.8.8 --dryrun", "dryrun"),
        ] {
            let error = words(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
