//! `lvsx lab ... --load A=0.9`: weights from load, shown.
//!
//! An agent on each real server tells a load that stands in a file; `lvsx-check` on the director asks them and moves weights; the
//! client fetches pages, and the shares of the servers must be those of the weights.

use std::fs;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::topology::{DIRECTOR, SERVERS};
use crate::{Lab, Narrator, interrupt};

/// The user that `lvsx-check` becomes in a lab; every Debian has it.
pub const USER: &str = "nobody";
/// The load of a server that was not named.
const USUAL: f64 = 0.3;
/// Fetches from which shares are judged.
const FETCHES: usize = 40;
/// How far a share may be from that of the weight.
const TOLERANCE: f64 = 0.15;
/// How long weights may take to come to rest; a step of the controller here is half a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// They rest when they have not moved for so long.
const REST: Duration = Duration::from_millis(1500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A server's load.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// The server's name in the lab.
    pub server: String,
    /// From 0 to 1.
    pub load: f64,
}

impl FromStr for Load {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (server, load) = text.split_once('=').context(wrong(text))?;
        let server = SERVERS
            .into_iter()
            .find(|name| *name == server || name.strip_prefix("server") == Some(server))
            .with_context(|| wrong(text))?;
        let load: f64 = load.parse().with_context(|| wrong(text))?;
        if !(0.0..=1.0).contains(&load) {
            bail!("--load {text}: a load is from 0 to 1");
        }
        Ok(Self {
            server: server.to_owned(),
            load,
        })
    }
}

fn wrong(text: &str) -> String {
    format!("--load {text}: write a server and its load, as in A=0.9 or B=0.2")
}

/// Shows weights and shares that follow the load: what holds and what does not.
///
/// # Errors
/// What could not be started or read.
pub fn show(
    lab: &mut Lab,
    scheduler: &str,
    loads: &[Load],
    narrator: &Narrator,
) -> Result<Vec<(bool, String)>> {
    narrator.heading("Weights from load");
    let load_of = |server: &str| {
        let named = loads.iter().rev().find(|load| load.server == server);
        named.map_or(USUAL, |load| load.load)
    };
    for server in SERVERS {
        start_agent(lab, server, load_of(server), narrator)?;
    }
    start_checks(lab, narrator)?;
    let [first, second] = SERVERS.map(load_of);
    let settled = settle(lab, narrator)?;
    crate::demonstration::run_and_show(lab, "ipvsadm -Ln", narrator)?;
    let moved = settled[0].cmp(&settled[1]) == second.total_cmp(&first);
    let mut points = vec![(
        moved,
        format!("with loads {first} and {second} the weights are {settled:?}"),
    )];
    if matches!(scheduler, "wrr" | "wlc" | "sed" | "nq") {
        points.push(judge_shares(lab, settled, narrator)?);
    }
    Ok(points)
}

/// Shows the weights as they move, until they rest.
fn settle(lab: &Lab, narrator: &Narrator) -> Result<[u32; 2]> {
    let begin = Instant::now();
    let (mut last, mut since) = ([1, 1], begin);
    while begin.elapsed() < PATIENCE && (last == [1, 1] || since.elapsed() < REST) {
        interrupt::check()?;
        let now = weights(lab)?;
        if now != last {
            let [first, second] = now;
            narrator.output(&format!(
                "weights {first} and {second} after {:.1} s",
                begin.elapsed().as_secs_f64()
            ));
            (last, since) = (now, Instant::now());
        }
        thread::sleep(LOOK);
    }
    Ok(last)
}

/// Fetches pages; whether the first server's share is as its weight.
fn judge_shares(
    lab: &Lab,
    [first, second]: [u32; 2],
    narrator: &Narrator,
) -> Result<(bool, String)> {
    let (client, service) = (lab.client()?, lab.service_address()?);
    let page = lab.page_of(SERVERS[0])?;
    let mut hits = 0;
    for _ in 0..FETCHES {
        hits += usize::from(client.fetch(service)?.trim() == page);
    }
    narrator.output(&format!("{hits} of {FETCHES} pages are {page}"));
    let wanted = f64::from(first) / f64::from(first + second);
    let found = hits as f64 / FETCHES as f64;
    let text = format!(
        "{} served {:.0} % of the pages; its share of the weights is {:.0} %",
        SERVERS[0],
        100.0 * found,
        100.0 * wanted
    );
    Ok(((found - wanted).abs() <= TOLERANCE, text))
}

fn start_agent(lab: &mut Lab, server: &str, load: f64, narrator: &Narrator) -> Result<()> {
    let file = format!("load-{server}");
    fs::write(lab.folder().path().join(&file), format!("{load}\n"))?;
    narrator.command(server, &format!("echo {load} > {file}"), "");
    let arguments = [
        "agent",
        "--inputs",
        "app",
        "--app",
        &file,
        "--interval",
        "100ms",
    ];
    narrator.command(
        server,
        &format!("lvsx {}", arguments.join(" ")),
        "tells its load to who asks",
    );
    lab.start(server, "lvsx", &arguments, &format!("agent-{server}"))
}

fn start_checks(lab: &mut Lab, narrator: &Narrator) -> Result<()> {
    let config = format!(
        "[process]\nuser = \"{USER}\"\n\n[[service]]\nservice = \"tcp {}\"\nload = \"on\"\n\
         agent_interval = \"200ms\"\nload_period = \"500ms\"\n",
        lab.service_address()?
    );
    fs::write(lab.folder().path().join("lvsx.toml"), &config)?;
    narrator.command(DIRECTOR, "cat lvsx.toml", "");
    narrator.output(&config);
    narrator.command(DIRECTOR, "lvsx-check --config lvsx.toml", "");
    lab.start(DIRECTOR, "lvsx-check", &["--config", "lvsx.toml"], "check")
}

/// The weights of both servers.
fn weights(lab: &Lab) -> Result<[u32; 2]> {
    let listing = lab.director()?.run("ipvsadm -Ln")?.success()?;
    let weight = |server: &str| -> Result<u32> {
        let address = format!("{}:", lab.page_of(server)?);
        let mut lines = listing
            .lines()
            .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        let line = lines.find(|words| words.get(1).is_some_and(|word| word.starts_with(&address)));
        let line = line.with_context(|| format!("{server} is not listed:\n{listing}"))?;
        Ok(line.get(3).context("no weight")?.parse()?)
    };
    let [first, second] = SERVERS.map(weight);
    Ok([first?, second?])
}
