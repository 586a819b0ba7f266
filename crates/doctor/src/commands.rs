//! `lvsx doctor ...`: the command line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::IpAddr;
use std::process::ExitCode;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use lvsx_host::{Decapsulation, ForwardingMethod, Network, Register, Setup, bpf};
use lvsx_ipvs::{Choice, Client, ConnectError, register_dir};

use crate::probe::Probe;
use crate::{Finding, director, probe, realserver};

const USAGE: &str = "\
lvsx doctor: what is wrong with this machine (its network namespace), why it matters, and the cure

  lvsx doctor [director|realserver] [--json]   without a word: whatever this machine is
  lvsx doctor realserver --mode nat|tun|dr --vip VIP [--gateway DIRECTOR] [--iface NAME]
                                               where it was not set up by `lvsx realserver up`
  lvsx doctor probe SERVER [--json]            on the director: a packet along the way to a server,
                                               and the step at which it is lost

Exit status 0: nothing is wrong, 4: something is. Nothing is changed; a few packets are sent.
";

/// Exit status where something is wrong.
const SICK: u8 = 4;

type Failure = Box<dyn std::error::Error>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Any,
    Director,
    RealServer,
    Probe(IpAddr),
}

#[derive(Debug, PartialEq, Eq)]
struct Command {
    role: Role,
    json: bool,
    method: Option<ForwardingMethod>,
    virtual_address: Option<IpAddr>,
    gateway: Option<IpAddr>,
    iface: Option<String>,
}

/// Runs `lvsx doctor` with the words behind it. Exit codes: 0 healthy, 1 it could not be found out, 2 bad usage, 4 not healthy.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let command = match parse(arguments) {
        Ok(Some(command)) => command,
        Ok(None) => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            complain(&format!(
                "{error}; `lvsx doctor --help` shows what there is"
            ));
            return ExitCode::from(2);
        }
    };
    match run(&command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(SICK),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// `None` asks for help.
fn parse(arguments: Vec<OsString>) -> Result<Option<Command>, Failure> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut words = Vec::new();
    let mut command = Command {
        role: Role::Any,
        json: false,
        method: None,
        virtual_address: None,
        gateway: None,
        iface: None,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("json") => command.json = true,
            Long("mode") => command.method = Some(parser.value()?.string()?.parse()?),
            Long("vip") => command.virtual_address = Some(address(&parser.value()?.string()?)?),
            Long("gateway") => command.gateway = Some(address(&parser.value()?.string()?)?),
            Long("iface") => command.iface = Some(parser.value()?.string()?),
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    command.role = match words.as_slice() {
        [] => Role::Any,
        ["director"] => Role::Director,
        ["realserver"] => Role::RealServer,
        ["probe", server] => Role::Probe(address(server)?),
        ["probe"] => return Err("probe needs the address of a server".into()),
        ["help"] => return Ok(None),
        [word, ..] => return Err(format!(
            "`{word}` is unknown or has words too many: there are director, realserver and probe"
        )
        .into()),
    };
    let told = command.method.is_some() || command.virtual_address.is_some();
    if (told || command.gateway.is_some() || command.iface.is_some())
        && command.role != Role::RealServer
    {
        return Err("--mode, --vip, --gateway and --iface belong to realserver".into());
    }
    if told && (command.method.is_none() || command.virtual_address.is_none()) {
        return Err("--mode and --vip belong together".into());
    }
    if command.method == Some(ForwardingMethod::Masquerade) && command.gateway.is_none() {
        return Err("--gateway is missing: by NAT the director's address on this network".into());
    }
    Ok(Some(command))
}

fn address(word: &str) -> Result<IpAddr, Failure> {
    word.parse()
        .map_err(|_| format!("`{word}` is no IP address, such as 192.168.1.40").into())
}

fn run(command: &Command) -> Result<bool, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err("this asks on the wire: run it as root".into());
    }
    if let Role::Probe(server) = command.role {
        return Ok(show_probes(&probe::follow(server)?, command.json));
    }
    let network = Network::here()?;
    let as_director = match command.role {
        Role::Director => true,
        Role::Any => is_director(),
        Role::RealServer | Role::Probe(_) => false,
    };
    let mut setups = match (command.role, command.setup(&network)?) {
        (Role::Director, _) => Vec::new(),
        (_, Some(setup)) => vec![setup],
        (_, None) => Register::setups(&register_dir()?)?,
    };
    // A director has its virtual addresses on lo at times too: there only the register tells.
    if setups.is_empty() && !as_director {
        setups = realserver::guess(&network)?;
    }
    if setups.is_empty() && !as_director {
        return Err(
            "this machine is no director, and nothing tells that it is a real server: \
             say so by `lvsx doctor director`, or `lvsx doctor realserver --mode dr --vip VIP`"
                .into(),
        );
    }
    let mut findings = realserver::examine(&setups, &network)?;
    if as_director {
        findings.extend(director::examine()?);
    }
    show(&findings, command.json);
    Ok(findings.is_empty())
}

fn is_director() -> bool {
    match Client::connect(Choice::Auto) {
        Ok(client) => !client.is_kernel() || has_services(client),
        Err(error) => matches!(error, ConnectError::Silent { .. }),
    }
}

/// The kernel's IPVS answers on every machine that has its module.
fn has_services(mut client: Client) -> bool {
    client.services().is_ok_and(|services| !services.is_empty())
}

impl Command {
    /// The set-up that the words tell of.
    fn setup(&self, network: &Network) -> Result<Option<Setup>, Failure> {
        let (Some(method), Some(virtual_address)) = (self.method, self.virtual_address) else {
            return Ok(None);
        };
        Ok(Some(match (method, self.gateway) {
            (ForwardingMethod::Masquerade, Some(gateway)) => Setup::Masquerade {
                virtual_address,
                gateway,
            },
            (ForwardingMethod::Tunnel, _) => {
                let cards = network.cards()?;
                let first = || cards.first().map(|card| card.name.clone());
                let iface = self
                    .iface
                    .clone()
                    .or_else(first)
                    .ok_or("there is no Ethernet interface")?;
                // Where there is a tunl0, it is what unwraps.
                let kernel = network
                    .links()?
                    .iter()
                    .any(|name| name == lvsx_host::network::TUNNEL);
                Setup::Tunnel {
                    virtual_address,
                    iface,
                    decapsulation: if kernel && virtual_address.is_ipv4() {
                        Decapsulation::Kernel
                    } else {
                        Decapsulation::Program(bpf::OBJECT)
                    },
                }
            }
            _ => Setup::DirectRouting { virtual_address },
        }))
    }
}

fn show(findings: &[Finding], json: bool) {
    if json {
        say(&as_json(&serde_json::json!({ "findings": findings })));
        return;
    }
    if findings.is_empty() {
        say("healthy: nothing wrong was found\n");
    }
    for finding in findings {
        say(&format!("{finding}\n"));
    }
}

/// Shows the ways; whether all were passed to their ends.
fn show_probes(probes: &[Probe], json: bool) -> bool {
    if json {
        say(&as_json(&serde_json::json!({ "probes": probes })));
    }
    for probe in probes.iter().filter(|_| !json) {
        say(&format!("for the service {}\n", probe.service));
        for stage in &probe.stages {
            let mark = if stage.passed { "yes " } else { "LOST" };
            say(&format!("  {mark}  {:<9}  {}\n", stage.name, stage.seen));
        }
        if let Some(finding) = &probe.finding {
            say(&format!("\n{finding}"));
        }
    }
    probes.iter().all(Probe::passed)
}

fn as_json(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

fn say(text: &str) {
    // A reader that went away is no failure.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "lvsx doctor: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Option<Command>, Failure> {
        parse(line.split_ascii_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn lines_are_read() {
        let role = |line: &str| words(line).unwrap().unwrap().role;
        assert_eq!(role("--json"), Role::Any);
        assert_eq!(role("director"), Role::Director);
        assert_eq!(
            role("realserver --mode dr --vip 192.168.1.40"),
            Role::RealServer
        );
        assert_eq!(
            role("probe 192.168.1.46 --json"),
            Role::Probe([192, 168, 1, 46].into())
        );
        assert_eq!(words("--help").unwrap(), None);
    }

    #[test]
    fn bad_lines_name_the_cure() {
        for (line, part) in [
            ("directr", "director, realserver and probe"),
            ("probe", "address of a server"),
            ("probe serverA", "no IP address"),
            ("director --vip 192.168.1.40", "belong to realserver"),
            ("realserver --vip 192.168.1.40", "belong together"),
            (
                "realserver --mode nat --vip 8.8.8.8",
                "--gateway is missing",
            ),
            ("--jsn", "jsn"),
        ] {
            let error = words(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
