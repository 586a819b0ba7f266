//! `lvsx sysctl`: the settings `net.ipv4.vs.*` of the director of this network namespace, as sysctl(8) shows and sets those
//! of the kernel.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use lvsx_ipvs::client::Client;
use lvsx_ipvs::transport::Choice;

const USAGE: &str = "\
lvsx sysctl: the settings net.ipv4.vs.* of the director of this network namespace

  lvsx sysctl NAME...             shows settings
  lvsx sysctl [-w] NAME=VALUE...  sets them; they outlive restarts of lvsd and `ipvsadm -C`
  lvsx sysctl -a                  shows all

  -a, -A, --all   shows all
  -n, --values    values only
  -q, --quiet     says nothing about what was set
  -w, --write     a name without a value is an error

A name may be given with or without `net.ipv4.vs.` in front.
";

const PREFIX: &str = "net.ipv4.vs.";

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Command {
    all: bool,
    values_only: bool,
    quiet: bool,
    /// Names, each with the value it is to have.
    settings: Vec<(String, Option<String>)>,
}

/// Exit codes: 0 done, 1 refused or no director answers, 2 bad usage.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    if arguments
        .iter()
        .any(|word| word == "-h" || word == "--help")
    {
        return print(USAGE);
    }
    let command = match parse(arguments) {
        Ok(command) => command,
        Err(why) => {
            complain(&why);
            return ExitCode::from(2);
        }
    };
    match run(&command) {
        Ok(text) => print(&text),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Command, String> {
    let mut command = Command::default();
    let mut writes = false;
    for argument in arguments {
        let word = argument.to_str().ok_or("names and values are plain text")?;
        match word {
            "-a" | "-A" | "--all" => command.all = true,
            "-n" | "--values" => command.values_only = true,
            "-q" | "--quiet" => command.quiet = true,
            "-w" | "--write" => writes = true,
            option if option.starts_with('-') => {
                return Err(format!(
                    "`{option}` is unknown; `lvsx sysctl --help` shows what there is"
                ));
            }
            setting => {
                let (name, value) = match setting.split_once('=') {
                    Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
                    None => (setting, None),
                };
                command.settings.push((bare(name)?, value));
            }
        }
    }
    let reads = command.settings.iter().find(|(_, value)| value.is_none());
    match reads {
        Some((name, _)) if writes => Err(format!("`{name}` wants a value: -w {name}=VALUE")),
        _ if command.all && !command.settings.is_empty() => {
            Err("-a shows all; leave the names out".to_owned())
        }
        _ if !command.all && command.settings.is_empty() => {
            Err("a name is missing; -a shows all".to_owned())
        }
        _ => Ok(command),
    }
}

/// A name without the prefix; levels are separated by dots or slashes.
fn bare(name: &str) -> Result<String, String> {
    let dotted = name.replace('/', ".");
    let bare = dotted.strip_prefix(PREFIX).unwrap_or(&dotted);
    if bare.is_empty() || bare.contains('.') {
        return Err(format!(
            "`{name}` is not one of {PREFIX}*, which are all that lvsx has"
        ));
    }
    Ok(bare.to_owned())
}

fn run(command: &Command) -> Result<String, Box<dyn std::error::Error>> {
    let mut client = Client::connect(Choice::Auto)?;
    if client.is_kernel() {
        return Err(
            "no lvsd runs in this network namespace; the kernel's own IPVS is set by sysctl(8)"
                .into(),
        );
    }
    let mut text = String::new();
    for (name, value) in &command.settings {
        if let Some(value) = value {
            client.set_setting(name, value)?;
        }
        let listed = client.settings()?;
        let found = listed.iter().find(|(known, _)| known == name);
        let Some((_, shown)) = found else {
            return Err(format!("{PREFIX}{name} does not exist; -a shows all").into());
        };
        if value.is_none() || !command.quiet {
            line(&mut text, command, name, shown);
        }
    }
    if command.all {
        for (name, value) in client.settings()? {
            line(&mut text, command, &name, &value);
        }
    }
    Ok(text)
}

fn line(text: &mut String, command: &Command, name: &str, value: &str) {
    // A String takes everything.
    let _ = if command.values_only {
        writeln!(text, "{value}")
    } else {
        writeln!(text, "{PREFIX}{name} = {value}")
    };
}

fn print(text: &str) -> ExitCode {
    // A reader that went away is no failure.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "lvsx sysctl: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Command, String> {
        parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn names_are_taken_in_every_form() {
        let wanted = Command {
            settings: vec![("drop_entry".to_owned(), Some("1".to_owned()))],
            ..Command::default()
        };
        for name in [
            "drop_entry",
            "net.ipv4.vs.drop_entry",
            "net/ipv4/vs/drop_entry",
        ] {
            let setting = format!("{name}=1");
            assert_eq!(parsed(&["-w", &setting]).as_ref(), Ok(&wanted));
            assert_eq!(parsed(&[&setting]).as_ref(), Ok(&wanted));
        }
        let pair = parsed(&["sync_threshold=3 50"]).expect("two numbers");
        assert_eq!(pair.settings[0].1.as_deref(), Some("3 50"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, part) in [
            (&[][..], "name is missing"),
            (&["-w", "drop_entry"][..], "wants a value"),
            (&["-x"][..], "`-x`"),
            (&["-a", "drop_entry"][..], "leave the names out"),
            (&["net.ipv4.ip_forward"][..], "net.ipv4.vs."),
        ] {
            let why = parsed(words).expect_err("wrong");
            assert!(why.contains(part), "{words:?}: {why}");
        }
    }
}
