//! `lvsx mark`: the rules by which the director of this network namespace marks packets for services by mark.

mod import;
mod iptables;
mod nft;
mod nft_text;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use lvsx_ipvs::client::Client;
use lvsx_ipvs::transport::Choice;
use lvsx_ipvs::{MarkEdit, MarkRule};

const USAGE: &str = "\
lvsx mark: which packets carry a mark for services by mark (`ipvsadm -A -f MARK`)

  lvsx mark add RULE        appends a rule
  lvsx mark del RULE        removes the last rule that is the same
  lvsx mark list            prints the rules, one a line; also lvsx mark save
  lvsx mark restore [FILE]  puts the rules of a file (or of the input) in the place of all
  lvsx mark flush           removes all
  lvsx mark import [-n] [--replace] [--partial] [FILE...]
                            appends the mark rules of iptables-save, ip6tables-save, nft list ruleset or
                            nft -j list ruleset: files, - for the input, or without any what these tools say now.
                            -n only shows them; --replace puts them in the place of all. Rules that cannot be taken
                            are named, and then the exit code is 1 and nothing is changed, unless --partial

A RULE is `mark N` and what a packet must be, in any order:

  mark N[/MASK]      the mark; with a mask as `iptables -j MARK --set-xmark`
  protocol NAME      tcp, udp, sctp, icmp, ... or a number
  to PREFIX          destination; only addresses that are local to the director are looked at
  ports N[-M]        destination ports
  from PREFIX        source
  from-ports N[-M]   source ports
  interface NAME     where the packet comes in
  family ipv4|ipv6   for rules without an address

  lvsx mark add mark 1 protocol tcp to 192.168.1.40 ports 80
  lvsx mark add mark 1 protocol tcp to 192.168.1.40 ports 443
  ipvsadm -A -f 1 -s rr

All rules are looked at in their order: the last one that matches has the last word, as with `iptables -j MARK`.
They outlive restarts of lvsd and `ipvsadm -C`.
";

/// Exit codes: 0 done, 1 refused, not wholly importable, or no director answers, 2 bad usage.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let words: Option<Vec<&str>> = arguments.iter().map(|word| word.to_str()).collect();
    let Some(words) = words else {
        return misuse("words are plain text");
    };
    let done = match &*words {
        ["-h" | "--help" | "help", ..] => Ok(USAGE.to_owned()),
        ["add", rule @ ..] => match rule.join(" ").parse() {
            Ok(rule) => edit(&[MarkEdit::Add(rule)]),
            Err(why) => return misuse(&why),
        },
        ["del" | "delete", rule @ ..] => match rule.join(" ").parse() {
            Ok(rule) => edit(&[MarkEdit::Delete(rule)]),
            Err(why) => return misuse(&why),
        },
        ["list" | "save"] => list(),
        ["flush"] => edit(&[MarkEdit::Flush]),
        ["restore"] => restore("-"),
        ["restore", file] => restore(file),
        ["import", options @ ..] => match import::Options::parse(options) {
            Ok(options) => import::run(&options),
            Err(why) => return misuse(&why),
        },
        [] => {
            return misuse(
                "what is to be done is missing: add, del, list, restore, flush or import",
            );
        }
        [word, ..] => return misuse(&format!("`{word}` is unknown or has words too many")),
    };
    match done {
        Ok(text) => {
            // A reader that went away is no failure.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<String, Box<dyn std::error::Error>>;

fn client() -> Result<Client, Box<dyn std::error::Error>> {
    let client = Client::connect(Choice::Auto)?;
    if client.is_kernel() {
        return Err("no lvsd runs in this network namespace; for the kernel's own IPVS mark packets by nft or iptables".into());
    }
    Ok(client)
}

fn edit(edits: &[MarkEdit]) -> Outcome {
    client()?.edit_marks(edits)?;
    Ok(String::new())
}

fn list() -> Outcome {
    Ok(lines(&client()?.marks()?))
}

/// Rules as they are listed, and read again by `restore`.
fn lines(rules: &[MarkRule]) -> String {
    rules.iter().map(|rule| format!("{rule}\n")).collect()
}

/// Reads rules as [`list`] prints them.
fn restore(file: &str) -> Outcome {
    let text = read(file)?;
    let mut edits = vec![MarkEdit::Flush];
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let rule = line.parse();
        let rule: MarkRule =
            rule.map_err(|why| format!("{file}, line {number}: {why}; nothing is changed"))?;
        edits.push(MarkEdit::Add(rule));
    }
    edit(&edits)
}

/// A file's text; `-` is the input.
fn read(file: &str) -> Result<String, String> {
    if file == "-" {
        let mut text = String::new();
        return match io::stdin().read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(format!("the input: {error}")),
        };
    }
    std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))
}

fn misuse(why: &str) -> ExitCode {
    complain(&format!("{why}; `lvsx mark --help` shows what there is"));
    ExitCode::from(2)
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "lvsx mark: {text}");
}
