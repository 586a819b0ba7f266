//! The command line of lvsx-check.

use crate::config::{self, Config};
use crate::daemon::Daemon;
use crate::probe::{Means, script};
use crate::user::become_user;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
lvsx-check, the health checks of this network namespace's director

  lvsx-check [--config FILE]   checks servers and sets their weights, in the foreground
  lvsx-check --test [--config FILE]
                               only reads the configuration; exit status 0 if it is right
  -h, --help                   this text
  -V, --version                the version

FILE is /etc/lvsx/lvsx.toml if nothing else is said. Started as root it becomes the user of [process] and gives up all
rights; all that lvsd lets this user do is to set weights. It logs to stderr (LVSX_LOG=debug tells more). Ended, by a
signal or by force, it leaves weights as they are, and the next one goes on with them; so after a change of FILE it is
restarted. LVSX_RUN_DIR replaces /run/lvsx.
";

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Run(PathBuf),
    Test(PathBuf),
    Help,
    Version,
}

/// lvsx-check. `arguments`: those after the program's name. Exit codes: 0 done, 1 it could not, 2 bad usage.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    if arguments
        .first()
        .is_some_and(|first| first == script::RUNNER)
    {
        return script::runner::main();
    }
    let complain = |text: &str| drop(writeln!(io::stderr(), "lvsx-check: {text}"));
    let command = match parse(arguments) {
        Ok(command) => command,
        Err(error) => {
            complain(&format!("{error}; `lvsx-check --help` shows what there is"));
            return ExitCode::from(2);
        }
    };
    let print = |text: &str| -> Result<()> {
        // A reader that went away is no failure.
        let _ = io::stdout().write_all(text.as_bytes());
        Ok(())
    };
    let done = match command {
        Command::Help => print(USAGE),
        Command::Version => print(&format!("lvsx-check {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Test(path) => Config::read(&path).map(drop).map_err(Into::into),
        Command::Run(path) => start_log().and_then(|()| run(&path)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Command, lexopt::Error> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut path, mut test) = (PathBuf::from(config::PATH), false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("config") => path = parser.value()?.into(),
            Long("test") => test = true,
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            other => return Err(other.unexpected()),
        }
    }
    Ok(if test {
        Command::Test(path)
    } else {
        Command::Run(path)
    })
}

fn start_log() -> Result<()> {
    let filter = std::env::var("LVSX_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = filter
        .parse::<tracing_subscriber::filter::Targets>()
        .context("LVSX_LOG")?;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // Somebody else's log, where this runs inside another program, is as good.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .try_init();
    Ok(())
}

fn run(path: &std::path::Path) -> Result<()> {
    let config = Config::read(path)?;
    // What takes rights comes before they are given away, and before there is a second thread.
    let means = Means::prepare(&config)?;
    become_user(&config.process.user)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (daemon, inputs) = Daemon::new(config, means)?;
        daemon.run(inputs).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let parsed = |line: &str| {
            parse(line.split_ascii_whitespace().map(OsString::from).collect())
                .map_err(|error| error.to_string())
        };
        assert_eq!(parsed(""), Ok(Command::Run("/etc/lvsx/lvsx.toml".into())));
        assert_eq!(parsed("--test --config x"), Ok(Command::Test("x".into())));
        assert!(parsed("--conf x").expect_err("unknown").contains("--conf"));
    }
}
