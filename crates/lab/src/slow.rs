//! `lvsx lab nat --slow`: real traffic while one of three servers is slow, with configured weights and with weights from load.
//!
//! A server here takes a while for each page, one after the other, and its load is the share of time in which it is at it. Clients
//! come at random, as many a second whatever they have to wait. First the weights stay as they were configured, then
//! `lvsx-check` moves them; both times the first server becomes three times as slow, and in the end as quick as before.
//! [`briefly`] shows the least of it within seconds, with two schedulers at once.

use std::fs;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lvsx_host::{ForwardingMethod, bpf};

use crate::topology::{CLIENT, DIRECTOR, SERVERS};
use crate::worker::{self, QUICK, SLOW};
use crate::{Blueprint, Lab, Mode, Narrator, client, interrupt, load};

mod brief;

pub use brief::briefly;

/// The service.
const PORT: u16 = 80;
/// The share of each server while all are equal.
const FAIR: f64 = 1.0 / ADDRESSES.len() as f64;
/// A share below this is a smaller one.
const SMALLER: f64 = 0.8 * FAIR;
/// New clients a second.
const RATE: f64 = 90.0;
/// The three servers, the first of which becomes slow; the third is the second's machine, by another address.
const ADDRESSES: [&str; 3] = ["192.168.1.46", "192.168.1.47", "192.168.1.48"];
/// How long all is well before one becomes slow.
const BEFORE: Duration = Duration::from_secs(15);
/// Within this time of becoming slow a server must have a smaller share.
const LOWERED: Duration = Duration::from_secs(30);
/// Within this time of its recovery it must have its share again.
const RESTORED: Duration = Duration::from_secs(60);
/// Between two looks at the weights.
const LOOK: Duration = Duration::from_secs(1);
/// How far a share of the weights may swing once it is lowered.
const SWING: f64 = 0.10;

/// A page that came: when it was asked for, how long it took, who sent it. A request that failed has no sender.
struct Visit {
    at: Instant,
    took: Duration,
    server: Option<String>,
}

/// Builds the lab, slows a server for `slow`, and tells what clients saw. Whether all was as it must be.
///
/// # Errors
/// What could not be built or started.
pub(crate) fn show(scheduler: &str, slow: Duration, narrator: &Narrator) -> Result<bool> {
    let binary = std::env::current_exe().context("this program cannot be found")?;
    let mut lab = build(binary, &[(PORT, scheduler)], &[], narrator)?;
    narrator.heading("Weights as configured");
    let unmoved = run(&lab, slow, BEFORE, narrator)?;
    tell(&unmoved, "configured weights", narrator);
    start_checks(&mut lab, &[PORT], "")?;
    narrator.heading("Weights from load");
    let moved = run(&lab, slow, RESTORED + BEFORE, narrator)?;
    tell(&moved, "weights from load", narrator);
    let lowered = moved.first_share(moved.slowed, |share| share < SMALLER);
    let restored = moved.first_share(moved.recovered, |share| share > SMALLER);
    let (least, most) = moved.swing();
    let [[half, before], [half_after, after]] =
        [&unmoved, &moved].map(|run| [0.5, 0.99].map(|share| run.percentile(share)));
    let within = |found: Option<Duration>, limit| found.is_some_and(|found| found <= limit);
    let time = |found: Option<Duration>| {
        found.map_or("never".to_owned(), |it| format!("after {} s", it.as_secs()))
    };
    narrator.heading("Verdict");
    let points = [
        (
            within(lowered, LOWERED),
            format!(
                "the slow server's share of the weights is lower {}",
                time(lowered)
            ),
        ),
        (
            within(restored, RESTORED),
            format!("the share is back {} of its recovery", time(restored)),
        ),
        (
            most - least <= SWING,
            format!(
                "from then on, while it was slow, the share stayed between {:.0} % and {:.0} %",
                100.0 * least,
                100.0 * most
            ),
        ),
        (
            after <= before,
            format!(
                "while it was slow, half of the clients' pages came within {half:.0?} and 99 % within {before:.0?} with configured weights, \
                 {half_after:.0?} and {after:.0?} with weights from load"
            ),
        ),
    ];
    for (holds, text) in &points {
        narrator.output(&format!("{}  {text}", if *holds { "yes" } else { "NO " }));
    }
    Ok(points.iter().all(|(holds, _)| *holds))
}

/// The lab with services of these ports and schedulers, all of them of the same three servers, whose agents get these words more.
fn build(
    binary: PathBuf,
    services: &[(u16, &str)],
    words: &[&str],
    narrator: &Narrator,
) -> Result<Lab> {
    let method = ForwardingMethod::Masquerade;
    let blueprint = Blueprint {
        method: Some(method),
        mode: Mode::Tc,
        binary,
        object: bpf::OBJECT,
    };
    let silent = Narrator::silent();
    let mut lab = Lab::build(blueprint, narrator)?;
    lab.let_set_weights(load::USER);
    lab.set_up_servers(method, &silent)?;
    lab.set_up_director(method, &silent)?;
    lab.start_director(&silent)?;
    let [first, second] = SERVERS;
    lab.host(second)?
        .run(&format!("ip addr add {}/24 dev eth0", ADDRESSES[2]))?
        .success()?;
    let mut lines = "sysctl -qw net.ipv4.ip_forward=1".to_owned();
    for (port, scheduler) in services {
        lines += &format!("; ipvsadm -At 8.8.8.8:{port} -s {scheduler}");
    }
    for (address, host) in ADDRESSES.into_iter().zip([first, second, second]) {
        worker::set(lab.folder().path(), address, QUICK)?;
        let end = format!("{address}:80");
        lab.start(
            host,
            "lvsx",
            &["lab", "work", &end],
            &format!("work-{address}"),
        )?;
        let (listen, file) = (format!("{address}:9707"), worker::load_file(address));
        let agent = [
            "agent", "--listen", &listen, "--inputs", "app", "--app", &file,
        ];
        let agent = [&agent, words].concat();
        lab.start(host, "lvsx", &agent, &format!("agent-{address}"))?;
        for (port, _) in services {
            lines += &format!("; ipvsadm -at 8.8.8.8:{port} -r {end} -m");
        }
    }
    lab.director()?.run(&lines)?.success()?;
    Ok(lab)
}

/// Starts `lvsx-check` for the services of these ports, with these keys more for each.
fn start_checks(lab: &mut Lab, ports: &[u16], keys: &str) -> Result<()> {
    let mut config = format!("[process]\nuser = \"{}\"\n", load::USER);
    for port in ports {
        config +=
            &format!("\n[[service]]\nservice = \"tcp 8.8.8.8:{port}\"\nload = \"on\"\n{keys}");
    }
    fs::write(lab.folder().path().join("lvsx.toml"), config)?;
    lab.start(DIRECTOR, "lvsx-check", &["--config", "lvsx.toml"], "check")
}

/// What was seen while a server was slow and afterwards.
struct Run {
    slowed: Instant,
    recovered: Instant,
    visits: Vec<Visit>,
    /// The first server's share of the weights, over time.
    shares: Vec<(Instant, f64)>,
}

impl Run {
    /// When the share of the weights first is as wanted, from `since` on.
    fn first_share(&self, since: Instant, wanted: impl Fn(f64) -> bool) -> Option<Duration> {
        let mut later = self.shares.iter().filter(|(at, _)| *at >= since);
        let found = later.find(|(_, share)| wanted(*share))?;
        Some(found.0 - since)
    }

    /// The least and the largest share of the weights while the server was slow, once it had time to settle.
    fn swing(&self) -> (f64, f64) {
        let settled = self.slowed + LOWERED..self.recovered;
        let shares = self.shares.iter().filter(|(at, _)| settled.contains(at));
        shares.fold((1.0, 0.0), |(least, most), (_, share)| {
            (f64::min(least, *share), f64::max(most, *share))
        })
    }

    /// The visits while the server was slow, once there was time to settle.
    fn slow(&self) -> impl Iterator<Item = &Visit> {
        let during = self.slowed + LOWERED..self.recovered;
        self.visits
            .iter()
            .filter(move |visit| during.contains(&visit.at))
    }

    fn percentile(&self, share: f64) -> Duration {
        let mut times: Vec<_> = self.slow().map(|visit| visit.took).collect();
        times.sort_unstable();
        let at = (times.len() as f64 * share) as usize;
        times.get(at).copied().unwrap_or_default()
    }
}

fn run(lab: &Lab, slow: Duration, after: Duration, narrator: &Narrator) -> Result<Run> {
    let folder = lab.folder().path();
    let begin = Instant::now();
    let (slowed, recovered) = (begin + BEFORE, begin + BEFORE + slow);
    let end = recovered + after;
    let (sender, visits) = mpsc::channel();
    let namespace = lab.host(CLIENT)?.namespace().clone();
    let before_end = move |next| next < end;
    let clients = thread::spawn(move || namespace.run(move || come(&[PORT], before_end, &sender)));
    let mut shares = Vec::new();
    let mut is_slow = false;
    while Instant::now() < end {
        interrupt::check()?;
        let now = Instant::now();
        let should = (slowed..recovered).contains(&now);
        if should != is_slow {
            is_slow = should;
            worker::set(folder, ADDRESSES[0], if is_slow { SLOW } else { QUICK })?;
            let what = if is_slow { "slow" } else { "quick again" };
            narrator.output(&format!(
                "{:>4} s  {} is {what}",
                begin.elapsed().as_secs(),
                ADDRESSES[0]
            ));
        }
        let weights = weights(&rules(lab)?, PORT)?;
        let share = first_of(weights);
        if shares
            .last()
            .is_none_or(|(_, last): &(_, f64)| (share - last).abs() >= 0.02)
        {
            narrator.output(&format!(
                "{:>4} s  weights {weights:?}",
                begin.elapsed().as_secs()
            ));
        }
        shares.push((now, share));
        thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
    }
    worker::set(folder, ADDRESSES[0], QUICK)?;
    drop(clients.join());
    Ok(Run {
        slowed,
        recovered,
        visits: visits.into_iter().collect(),
        shares,
    })
}

/// Clients come at random, to the services of these ports by turns, as long as the time of the next one is good.
fn come(ports: &[u16], is_good: impl Fn(Instant) -> bool, visits: &mpsc::Sender<Visit>) {
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = Instant::now();
    let mut turns = ports.iter().copied().cycle();
    while let (true, Some(port)) = (is_good(next), turns.next()) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let visits = visits.clone();
        let _ = thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(move || visits.send(visit(port)));
        // xorshift: times between arrivals are distributed exponentially.
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let share = ((dice >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        next += Duration::from_secs_f64(-share.ln() / RATE);
    }
}

fn visit(port: u16) -> Visit {
    let at = Instant::now();
    let service = SocketAddrV4::new([8, 8, 8, 8].into(), port);
    let page = client::open(service.into()).and_then(client::page);
    Visit {
        at,
        took: at.elapsed(),
        server: page.ok(),
    }
}

/// The first server's share of the weights.
fn first_of(weights: [u32; 3]) -> f64 {
    f64::from(weights[0]) / f64::from(weights.iter().sum::<u32>().max(1))
}

/// The tables as `ipvsadm` lines.
fn rules(lab: &Lab) -> Result<String> {
    lab.director()?.run("ipvsadm -Sn")?.success()
}

/// The servers' weights in the service of this port, by the tables.
fn weights(rules: &str, port: u16) -> Result<[u32; 3]> {
    let service = format!(" 8.8.8.8:{port} ");
    let weight = |address: &str| -> Result<u32> {
        let end = format!("-r {address}:80 ");
        let line = rules
            .lines()
            .find(|line| line.contains(&service) && line.contains(&end))
            .context(end)?;
        let mut words = line
            .split_ascii_whitespace()
            .skip_while(|word| *word != "-w");
        Ok(words.nth(1).context("a weight")?.parse()?)
    };
    let [first, second, third] = ADDRESSES.map(weight);
    Ok([first?, second?, third?])
}

fn tell(run: &Run, title: &str, narrator: &Narrator) {
    let visits: Vec<&Visit> = run.slow().collect();
    let failed = visits.iter().filter(|visit| visit.server.is_none()).count();
    let own = visits
        .iter()
        .filter(|visit| visit.server.as_deref() == Some(ADDRESSES[0]));
    let share = 100.0 * own.count() as f64 / visits.len().max(1) as f64;
    narrator.output(&format!(
        "{title}, while {} was slow: {} pages, {failed} failed, {share:.0} % of them its own; half came within {:.1?}, 99 % within {:.1?}",
        ADDRESSES[0],
        visits.len(),
        run.percentile(0.5),
        run.percentile(0.99),
    ));
}
