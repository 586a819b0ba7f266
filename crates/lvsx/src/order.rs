//! `lvsx drain`, `maint` and `ready`: what a real server is to do, whatever its checks say.
//!
//! The order lies in a file of root's that lvsx-check follows; this waits until the director's weights show it, and takes the
//! order back if nobody follows.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lvsx_health::config::{display_service, time};
use lvsx_health::orders::{Orders, Server};
use lvsx_health::pool::Order;
use lvsx_ipvs::transport::Choice;
use lvsx_ipvs::{Client, Destination, ServiceKey};

const USAGE: &str = "\
What a real server is to do, in all services of this network namespace's director

  lvsx drain SERVER [--within TIME]   no new clients; when TIME is over, what connections are left are ended
  lvsx maint SERVER                   no new clients, and its checks do not matter
  lvsx ready SERVER                   back to work, as its checks say

SERVER is ADDRESS or ADDRESS:PORT, TIME as 90s or 2m. An order holds until the next one, over restarts of lvsd and
lvsx-check too; lvsx-check must run. Clients whose connections were ended are told so (RST) when they send again.
";

/// How long lvsx-check may take to follow.
const FOLLOWED: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Exit codes: 0 done, 1 not, 2 bad usage.
pub(crate) fn main(word: &str, arguments: &[OsString]) -> ExitCode {
    let complain = |text: &str| drop(writeln!(io::stderr(), "lvsx {word}: {text}"));
    if arguments
        .iter()
        .any(|word| word == "-h" || word == "--help")
    {
        say(USAGE);
        return ExitCode::SUCCESS;
    }
    let (server, within) = match parse(word, arguments) {
        Ok(parsed) => parsed,
        Err(why) => {
            complain(&format!("{why}; `lvsx {word} --help` shows what there is"));
            return ExitCode::from(2);
        }
    };
    let order = match word {
        "drain" => Order::Drain,
        "maint" => Order::Maintenance,
        _ => Order::Ready,
    };
    match carry_out(server, order, within) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn parse(word: &str, arguments: &[OsString]) -> Result<(Server, Option<Duration>), String> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut server, mut within) = (None, None);
    let wrong = |error: lexopt::Error| error.to_string();
    while let Some(argument) = parser.next().map_err(wrong)? {
        match argument {
            Long("within") if word == "drain" => {
                let text = parser
                    .value()
                    .and_then(|text| text.string())
                    .map_err(wrong)?;
                within = Some(time::parse(&text)?);
            }
            Value(text) if server.is_none() => {
                server = Some(Server::parse(&text.string().map_err(wrong)?)?)
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok((server.ok_or("which server? write its address")?, within))
}

fn carry_out(
    server: Server,
    order: Order,
    within: Option<Duration>,
) -> Result<(), Box<dyn std::error::Error>> {
    let begin = Instant::now();
    let mut client = Client::connect(Choice::Auto)?;
    if client.is_kernel() {
        return Err("no lvsd runs in this network namespace".into());
    }
    if find(&mut client, server)?.is_empty() {
        return Err(format!(
            "{server} is no server of any service; `ipvsadm -Ln` lists those there are"
        )
        .into());
    }
    let before = Orders::read()?;
    let mut orders = before.clone();
    orders.give(server, order);
    orders.write()?;
    if order == Order::Ready {
        return Ok(());
    }
    while find(&mut client, server)?
        .iter()
        .any(|(_, found)| found.settings.weight != 0)
    {
        if begin.elapsed() > FOLLOWED {
            before.write()?;
            return Err(
                "lvsx-check does not follow, and the order is taken back: see whether it runs in this network namespace".into(),
            );
        }
        sleep(LOOK);
    }
    match within {
        Some(within) => end_within(&mut client, server, begin + within),
        None => Ok(()),
    }
}

/// Waits until the server has no connections, and ends those that are left at the deadline.
fn end_within(
    client: &mut Client,
    server: Server,
    deadline: Instant,
) -> Result<(), Box<dyn std::error::Error>> {
    loop {
        let left: Vec<_> = find(client, server)?;
        let connections: u64 = left.iter().map(|(_, found)| connections(found)).sum();
        if connections == 0 {
            say(&format!("{server} has no connections any more\n"));
            return Ok(());
        }
        if Instant::now() >= deadline {
            for (service, found) in left
                .iter()
                .filter(|(_, found)| connections_or_templates(found))
            {
                client.end_connections(service, &found.key)?;
                let name = display_service(service);
                say(&format!(
                    "{name}: {} connections to {server} were ended\n",
                    self::connections(found)
                ));
            }
            return Ok(());
        }
        sleep(LOOK.min(deadline - Instant::now()));
    }
}

fn connections(found: &Destination) -> u64 {
    u64::from(found.active) + u64::from(found.inactive)
}

fn connections_or_templates(found: &Destination) -> bool {
    connections(found) > 0 || found.persistent > 0
}

/// The destinations that are meant, with their services.
fn find(
    client: &mut Client,
    server: Server,
) -> Result<Vec<(ServiceKey, Destination)>, lvsx_ipvs::ClientError> {
    let mut all = Vec::new();
    for service in client.services()? {
        let found = client.destinations(&service.key)?.into_iter();
        all.extend(
            found
                .filter(|found| server.is(&found.key))
                .map(|found| (service.key, found)),
        );
    }
    Ok(all)
}

fn say(text: &str) {
    // A reader that went away is no failure.
    let _ = io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(word: &str, line: &str) -> Result<(Server, Option<Duration>), String> {
        parse(
            word,
            &line
                .split_ascii_whitespace()
                .map(OsString::from)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn lines_are_read() {
        let (server, within) = parsed("drain", "10.0.0.1:80 --within 2m").expect("it is right");
        assert_eq!(
            (server.to_string().as_str(), within),
            ("10.0.0.1:80", Some(Duration::from_secs(120)))
        );
        assert!(parsed("ready", "2001:db8::1").is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (word, line, part) in [
            ("drain", "", "which server?"),
            ("drain", "web1", "`web1`"),
            ("drain", "10.0.0.1 --within 120", "250ms"),
            ("maint", "10.0.0.1 --within 120s", "--within"),
            ("ready", "10.0.0.1 10.0.0.2", "10.0.0.2"),
        ] {
            let why = parsed(word, line).expect_err(line);
            assert!(why.contains(part), "{line}: {why}");
        }
    }
}
