//! `lvsx agent`: says how loaded this machine is, to who asks by HAProxy's agent-check protocol.

use super::PORT;
use super::application::Application;
use super::measure::{Figures, Inputs, Loads};
use crate::config::time;
use crate::user::become_user;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

const USAGE: &str = "\
lvsx agent: tells directors (and HAProxy, by its agent-check) how loaded this server is

  lvsx agent [OPTION]...        serves, in the foreground
  lvsx agent drain|maint|ready  what it says from now on: no new clients; left alone; to serve

  --listen ADDRESS:PORT  where it is asked ([::]:9707, which is every address)
  --interval TIME        from one sample to the next (1s)
  --inputs NAME,...      what counts, of cpu, run, psi, mem, nic and app; all if nothing is said
  --app FILE             a file with a number from 0 to 1: the application's own load
  --app-command COMMAND  says that number instead; the shell runs it at each sample, as --user, for 2 s at most
  --percent              says its idle share as a weight, for balancers that know nothing better; such weights swing
  --user NAME            the user to become once it listens

Its load is the largest of: processors busy, processes that want to run, pressure (PSI), memory above 80 %, the busiest
interface, the application's.
";

/// Longest question.
const QUESTION_MAX: u64 = 256;
/// How long a question is waited for: most who ask say nothing.
const QUESTION: Duration = Duration::from_millis(50);
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections at one time.
const PLACES: usize = 32;
/// Name of the file with the operator's word.
const WORD: &str = "agent-word";

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Serve(Options),
    Say(&'static str),
    Help,
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    listen: SocketAddr,
    interval: Duration,
    inputs: Inputs,
    app: Option<Application>,
    percent: bool,
    user: Option<String>,
}

/// `lvsx agent` with the words behind it. Exit codes: 0 done, 1 it could not, 2 bad usage.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let complain = |text: &str| drop(writeln!(io::stderr(), "lvsx agent: {text}"));
    let command = match parse(arguments) {
        Ok(command) => command,
        Err(error) => {
            complain(&format!("{error}; `lvsx agent --help` shows what there is"));
            return ExitCode::from(2);
        }
    };
    let done = match command {
        Command::Help => {
            let _ = io::stdout().write_all(USAGE.as_bytes());
            Ok(())
        }
        Command::Say(word) => say(word),
        Command::Serve(options) => serve(options),
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
    let mut options = Options {
        listen: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT),
        interval: Duration::from_secs(1),
        inputs: Inputs::ALL,
        app: None,
        percent: false,
        user: None,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("listen") => {
                let text = parser.value()?.string()?;
                options.listen = text.parse().map_err(|_| {
                    format!("--listen {text}: write it as 0.0.0.0:{PORT} or [::]:{PORT}")
                })?;
            }
            Long("interval") => {
                options.interval =
                    time::parse(&parser.value()?.string()?)?.max(Duration::from_millis(10));
            }
            Long("inputs") => options.inputs = Inputs::parse(&parser.value()?.string()?)?,
            Long("app") if options.app.is_none() => {
                options.app = Some(Application::File(parser.value()?.into()));
            }
            Long("app-command") if options.app.is_none() => {
                options.app = Some(Application::Command(parser.value()?.string()?));
            }
            Long("app" | "app-command") => {
                return Err("the application has one load: name one --app or --app-command".into());
            }
            Long("percent") => options.percent = true,
            Long("user") => options.user = Some(parser.value()?.string()?),
            Short('h') | Long("help") => return Ok(Command::Help),
            Value(word) if word == "drain" => return Ok(Command::Say("drain")),
            Value(word) if word == "maint" => return Ok(Command::Say("maint")),
            Value(word) if word == "ready" => return Ok(Command::Say("ready")),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Serve(options))
}

fn word_file() -> PathBuf {
    lvsx_ipvs::run_dir().join(WORD)
}

fn say(word: &str) -> Result<()> {
    let path = word_file();
    let at = || path.display().to_string();
    fs::create_dir_all(lvsx_ipvs::run_dir()).with_context(at)?;
    let next = path.with_extension("new");
    fs::write(&next, format!("{word}\n")).with_context(at)?;
    fs::rename(next, &path).with_context(at)
}

fn serve(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("--listen {}", options.listen))?;
        if let Some(user) = &options.user {
            become_user(user)?;
        }
        let latest = Arc::new(Mutex::new(Sample::default()));
        tokio::spawn(measure(
            latest.clone(),
            options.interval,
            options.inputs,
            options.app,
        ));
        let places = Arc::new(Semaphore::new(PLACES));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                bail!("no places");
            };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, or the peer is gone already.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let (latest, percent) = (latest.clone(), options.percent);
            tokio::spawn(async move {
                let _ = timeout(PATIENCE, answer(stream, &latest, percent)).await;
                drop(place);
            });
        }
    })
}

/// The newest loads.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    number: u64,
    loads: Loads,
}

async fn measure(
    latest: Arc<Mutex<Sample>>,
    interval: Duration,
    inputs: Inputs,
    app: Option<Application>,
) {
    let mut before = Figures::read();
    let mut at = Instant::now();
    for number in 1.. {
        let mut loads = Loads::default();
        let figures = Figures::read();
        // The first sample has no time before it.
        if number > 1 {
            loads = figures.since(&before, at.elapsed());
        }
        (before, at) = (figures, Instant::now());
        if let Some(app) = &app {
            loads.app = app.load().await;
        }
        loads = inputs.of(loads);
        {
            let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
            *latest = Sample {
                number,
                loads: loads.smoothed(latest.loads),
            };
        }
        tokio::time::sleep(interval).await;
    }
}

async fn answer(mut stream: TcpStream, latest: &Mutex<Sample>, percent: bool) -> io::Result<()> {
    let mut question = Vec::new();
    let (reader, mut writer) = stream.split();
    let mut reader = reader.take(QUESTION_MAX);
    let asked = async {
        while !question.contains(&b'\n') && reader.read_buf(&mut question).await? != 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(QUESTION, asked).await;
    let sample = *latest.lock().unwrap_or_else(PoisonError::into_inner);
    let word = fs::read_to_string(word_file()).unwrap_or_default();
    let word = match word.trim() {
        word @ ("drain" | "maint") => word,
        _ => "ready",
    };
    let mut text = first_line(word, &sample.loads, percent);
    if question.starts_with(b"lvs1") {
        text += &second_line(&sample);
    }
    writer.write_all(text.as_bytes()).await?;
    writer.shutdown().await
}

fn first_line(word: &str, loads: &Loads, percent: bool) -> String {
    let mut line = format!("up {word}");
    if percent {
        let idle = (100.0 * (1.0 - loads.load())).round().max(1.0);
        let _ = write!(line, " {idle}%");
    }
    let percent = |load: Option<f64>| {
        load.map_or_else(|| "-".to_owned(), |load| format!("{:.0}", 100.0 * load))
    };
    let _ = writeln!(
        line,
        " # cpu={} run={} mem={}",
        percent(loads.cpu),
        percent(loads.run),
        percent(loads.mem)
    );
    line
}

fn second_line(sample: &Sample) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut line = format!(
        "lvs1 seq={} t={now} load={:.3}",
        sample.number,
        sample.loads.load()
    );
    for (name, load) in sample.loads.named() {
        let _ = match load {
            Some(load) => write!(line, " {name}={load:.3}"),
            None => write!(line, " {name}=-"),
        };
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::reply::{self, Admin};

    #[test]
    fn lines_are_as_they_are_read() {
        let loads = Loads {
            cpu: Some(0.25),
            app: Some(0.5),
            ..Loads::default()
        };
        let sample = Sample { number: 7, loads };
        let both = first_line("drain", &loads, true) + &second_line(&sample);
        let said = reply::parse(both.as_bytes()).expect("it ends");
        assert_eq!(
            (said.percent, said.admin, said.unknown),
            (Some(50), Some(Admin::Drain), None)
        );
        assert_eq!(reply::load(both.as_bytes()), Some(0.5));
        assert_eq!(
            reply::parse(first_line("ready", &loads, false).as_bytes())
                .and_then(|said| said.percent),
            None
        );
    }

    #[test]
    fn lines_of_the_command_are_read() {
        let parsed = |line: &str| {
            parse(line.split_ascii_whitespace().map(OsString::from).collect())
                .map_err(|error| error.to_string())
        };
        assert_eq!(parsed("maint"), Ok(Command::Say("maint")));
        let Ok(Command::Serve(options)) =
            parsed("--listen 127.0.0.1:99 --interval 100ms --app /tmp/x --percent")
        else {
            panic!("it is right");
        };
        assert_eq!(
            (options.listen.port(), options.interval),
            (99, Duration::from_millis(100))
        );
        for (line, part) in [
            ("--inputs cpu,gpu", "gpu"),
            ("--listen 99", "0.0.0.0:9707"),
            ("--interval 5", "250ms"),
            ("drian", "drian"),
            ("--app x --app-command y", "one load"),
            ("--port 1", "--port"),
        ] {
            assert!(parsed(line).expect_err(line).contains(part), "{line}");
        }
    }
}
