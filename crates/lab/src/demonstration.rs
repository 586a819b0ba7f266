//! `lvsx lab nat|tun|dr`: the tutorial from its first line to its last, with a verdict.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use lvsx_host::ForwardingMethod;

use crate::capture::{Capture, Seen, Traffic};
use crate::expectation::Expectation;
use crate::host::until;
use crate::listing::{Counters, ServiceCounters, exact_counters};
use crate::load::{self, Load};
use crate::topology::{CLIENT, DIRECTOR, SERVERS};
use crate::{Blueprint, Breakage, Lab, Narrator, interrupt, repair, tutorial};

/// How often the page is fetched.
const FETCHES: usize = 10;
/// How long the last packets may take to be counted.
const SETTLE: Duration = Duration::from_secs(3);

/// What to show.
#[derive(Clone, Debug)]
pub struct Demonstration {
    /// The lab.
    pub blueprint: Blueprint,
    /// Its forwarding method.
    pub method: ForwardingMethod,
    /// The scheduler in place of the tutorial's `rr`.
    pub scheduler: String,
    /// Loads of servers, and with them weights from load.
    pub loads: Vec<Load>,
    /// Whether the lab stays up afterwards.
    pub keep: bool,
    /// What is broken and repaired in place of the tutorial's test.
    pub broken: Option<&'static Breakage>,
}

/// What was found out, point by point.
struct Findings {
    points: Vec<(bool, String)>,
}

impl Findings {
    fn repair(broken: &Breakage, repaired: Result<()>) -> Self {
        let fault = broken.fault;
        let text = match &repaired {
            Ok(()) => format!("the doctor found {fault}, and its cure worked"),
            Err(error) => format!("{error:#}"),
        };
        Self {
            points: vec![(repaired.is_ok(), text)],
        }
    }

    fn add(&mut self, holds: bool, text: impl Into<String>) {
        self.points.push((holds, text.into()));
    }

    fn hold(&self) -> bool {
        self.points.iter().all(|(holds, _)| *holds)
    }
}

impl Demonstration {
    /// Shows it all; whether everything was as it must be. A lab that is to be kept stays up after
    /// a failure too, unless it was interrupted.
    ///
    /// # Errors
    /// What could not be built, started or read.
    pub fn run(&self, narrator: &Narrator) -> Result<bool> {
        let mut lab = Lab::build(self.blueprint.clone(), narrator)?;
        if !self.loads.is_empty() {
            lab.let_set_weights(load::USER);
        }
        let findings = self.show(&mut lab, narrator);
        if let Ok(findings) = &findings {
            conclude(lab.title(), findings, narrator);
        }
        if self.keep && !interrupt::requested() {
            keep(lab, narrator)?;
        }
        Ok(findings?.hold())
    }

    fn show(&self, lab: &mut Lab, narrator: &Narrator) -> Result<Findings> {
        lab.start_everything(narrator)?;

        narrator.heading("The tutorial's script");
        for line in tutorial::script(self.method) {
            let line = tutorial::with_scheduler(line, &self.scheduler);
            run_and_show(lab, &line, narrator)?;
        }

        if let Some(broken) = self.broken {
            self.fetch_pages(lab, narrator)?;
            let repaired = repair::play(lab, broken, narrator);
            return Ok(Findings::repair(broken, repaired));
        }
        let capture = Capture::start(&lab.client()?, lab.service_address()?)?;
        let pages = self.fetch_pages(lab, narrator)?;

        narrator.heading("The tutorial's test");
        for line in tutorial::TEST {
            run_and_show(lab, line, narrator)?;
        }
        let mut findings = Findings { points: Vec::new() };
        self.judge_pages(lab, &pages, &mut findings)?;
        self.judge_counters(lab, &pages, &capture, &mut findings)?;
        drop(capture);
        if !self.loads.is_empty() {
            findings
                .points
                .extend(load::show(lab, &self.scheduler, &self.loads, narrator)?);
        }

        self.service_file(narrator, &mut findings)?;
        Ok(findings)
    }

    fn fetch_pages(&self, lab: &Lab, narrator: &Narrator) -> Result<Vec<String>> {
        narrator.heading(&format!(
            "The client opens the virtual address {FETCHES} times"
        ));
        let (client, service) = (lab.client()?, lab.service_address()?);
        narrator.command(
            CLIENT,
            &format!("curl http://{}/", service.ip()),
            &format!("{FETCHES} times"),
        );
        let fetch = |_| {
            let page = client.fetch(service)?;
            narrator.output(&page);
            Ok(page)
        };
        (0..FETCHES)
            .map(fetch)
            .collect::<Result<_>>()
            .with_context(|| format!("lvsd's log:\n{}", lab.director_log()))
    }

    fn judge_pages(&self, lab: &Lab, pages: &[String], findings: &mut Findings) -> Result<()> {
        let servers = SERVERS
            .iter()
            .map(|server| lab.page_of(server))
            .collect::<Result<Vec<_>>>()?;
        let expectation = Expectation::of(&self.scheduler);
        findings.add(
            expectation.holds(pages, &servers),
            format!("with {} {}", self.scheduler, expectation.describe()),
        );
        Ok(())
    }

    /// Compares the data plane's counters with what the client saw; the last packets may still be
    /// on their way, so it looks until they agree or the time is up.
    fn judge_counters(
        &self,
        lab: &Lab,
        pages: &[String],
        capture: &Capture,
        findings: &mut Findings,
    ) -> Result<()> {
        let director = lab.director()?;
        let look = || -> Result<Findings> {
            let listing = director.run("ipvsadm -Ln --stats --exact")?.success()?;
            let services = exact_counters(&listing)?;
            let service = services.first().context("the director lists no service")?;
            Ok(self.compare(service, pages, capture.seen()))
        };
        let settled = until(SETTLE, || {
            let found = look()?;
            Ok(found
                .points
                .iter()
                .all(|(holds, _)| *holds)
                .then_some(found))
        })?;
        findings
            .points
            .extend(settled.map_or_else(look, Ok)?.points);
        Ok(())
    }

    fn compare(&self, listed: &ServiceCounters, pages: &[String], seen: Seen) -> Findings {
        let mut findings = Findings { points: Vec::new() };
        let served = pages
            .iter()
            .fold(BTreeMap::<_, u64>::new(), |mut served, page| {
                *served.entry(page.clone()).or_default() += 1;
                served
            });
        let counted: BTreeMap<_, _> = listed
            .destinations
            .iter()
            .filter(|(_, counters)| counters.connections > 0)
            .map(|(address, counters)| (address.ip().to_string(), counters.connections))
            .collect();
        let shares: Vec<_> = counted
            .iter()
            .map(|(server, count)| format!("{server} {count}"))
            .collect();
        findings.add(
            listed.counters.connections == pages.len() as u64 && counted == served,
            format!(
                "the director counted {} connections ({}), the client opened {}",
                listed.counters.connections,
                shares.join(", "),
                pages.len()
            ),
        );
        // Answers pass the director by NAT alone.
        let answers = match self.method {
            ForwardingMethod::Masquerade => seen.received,
            ForwardingMethod::Tunnel | ForwardingMethod::DirectRouting => Traffic::default(),
        };
        let (to_server, to_client) = both_ways(&listed.counters);
        findings.add(
            to_server == seen.sent && seen.sent.packets > 0,
            format!(
                "the director counted {} in, the client sent {}",
                say(to_server),
                say(seen.sent)
            ),
        );
        findings.add(
            to_client == answers,
            match self.method {
                ForwardingMethod::Masquerade => {
                    format!(
                        "the director counted {} out, the client received {}",
                        say(to_client),
                        say(answers)
                    )
                }
                _ => format!(
                    "the director counted {} out: the servers answered the client directly ({})",
                    say(to_client),
                    say(seen.received)
                ),
            },
        );
        let sum = listed
            .destinations
            .iter()
            .fold(Counters::default(), |sum, (_, each)| Counters {
                connections: sum.connections + each.connections,
                in_packets: sum.in_packets + each.in_packets,
                out_packets: sum.out_packets + each.out_packets,
                in_bytes: sum.in_bytes + each.in_bytes,
                out_bytes: sum.out_bytes + each.out_bytes,
            });
        findings.add(
            sum == listed.counters,
            "the servers' counters add up to the service's",
        );
        findings
    }

    /// The tutorial's service file, in a lab of its own.
    fn service_file(&self, narrator: &Narrator, findings: &mut Findings) -> Result<()> {
        narrator.heading("The tutorial's service file, on a director of its own");
        let alone = Blueprint {
            method: None,
            ..self.blueprint.clone()
        };
        let mut lab = Lab::build(alone, &Narrator::silent())?;
        fs::write(lab.folder().path().join("ipvsadm"), tutorial::SERVICE_FILE)?;
        lab.start_everything(narrator)?;
        narrator.command(
            DIRECTOR,
            "cat ipvsadm",
            "the tutorial keeps it in /etc/sysconfig",
        );
        narrator.output(tutorial::SERVICE_FILE);
        run_and_show(&lab, "ipvsadm-restore < ipvsadm", narrator)?;
        run_and_show(&lab, "ipvsadm -L", narrator)?;
        let saved = lab.director()?.run("ipvsadm -Ln")?.success()?;
        let loaded = tutorial::SERVICE_FILE
            .lines()
            .filter_map(|line| {
                line.split_ascii_whitespace()
                    .find(|word| word.ends_with(":80"))
            })
            .chain(["172.16.4.188:80", "172.16.4.198:80"])
            .all(|place| saved.split_ascii_whitespace().any(|word| word == place));
        findings.add(
            loaded,
            "the service file was loaded: the service and both servers are listed",
        );
        Ok(())
    }
}

fn conclude(title: &str, findings: &Findings, narrator: &Narrator) {
    narrator.heading("Verdict");
    for (holds, text) in &findings.points {
        narrator.verdict(*holds, text);
    }
    let verdict = if findings.hold() {
        "works"
    } else {
        "does NOT work as it must"
    };
    narrator.heading(&format!("{title} {verdict}."));
}

fn keep(lab: Lab, narrator: &Narrator) -> Result<()> {
    let service = lab.service()?;
    let name = lab.keep()?;
    narrator.output(&format!(
        "The lab {name} stays up. Enter it and take it down with\n  \
         lvsx lab exec {CLIENT} -- curl http://{address}/\n  \
         lvsx lab exec {DIRECTOR} -- ipvsadm -L\n  \
         lvsx lab down {name}",
        address = service.address,
    ));
    Ok(())
}

/// Runs a line on the director and shows it with what it prints.
pub(crate) fn run_and_show(lab: &Lab, line: &str, narrator: &Narrator) -> Result<String> {
    narrator.command(DIRECTOR, line, "");
    let finished = lab.director()?.run(line)?;
    let remarks = finished.stderr.clone();
    let text = finished
        .success()
        .with_context(|| format!("`{line}` on the director failed"))?;
    narrator.output(&remarks);
    narrator.output(&text);
    Ok(text)
}

fn both_ways(counters: &Counters) -> (Traffic, Traffic) {
    (
        Traffic {
            packets: counters.in_packets,
            bytes: counters.in_bytes,
        },
        Traffic {
            packets: counters.out_packets,
            bytes: counters.out_bytes,
        },
    )
}

fn say(traffic: Traffic) -> String {
    format!("{} packets, {} bytes", traffic.packets, traffic.bytes)
}
