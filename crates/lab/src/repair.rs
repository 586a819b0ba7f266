//! Breaks one thing in a lab, asks the doctor, does what it says, and looks whether all is well.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::breakage::Breakage;
use crate::host::until;
use crate::topology::{CLIENT, SWITCH};
use crate::{Host, Lab, Narrator, client};

/// How often the client asks after the cure: each server must have its turn.
const FETCHES: usize = 4;
/// How long a cure may take to work: a director that was started again, a client's next try.
const SETTLE: Duration = Duration::from_secs(30);
/// What clients send besides, each length to both servers: one segment still, with TCP's timestamps, where segments are limited for
/// tunnels, and where they are not. Several would be a super-frame, which virtual cables let pass whole.
const LONG: [u64; 4] = [1380, 1380, 1440, 1440];
/// After so long without an answer it is lost.
const LOST: Duration = Duration::from_millis(700);

/// Breaks it, finds it, cures it by the command that the doctor names, and sees the pages come.
/// Afterwards the lab is as it was.
///
/// # Errors
/// When the doctor finds something else or nothing, or the cure does not work.
pub fn play(lab: &Lab, breakage: &Breakage, narrator: &Narrator) -> Result<()> {
    let repaired = break_and_repair(lab, breakage, narrator);
    for (machine, script) in breakage.mend {
        run(&lab.host(machine)?, script, &Narrator::silent())?;
    }
    repaired
}

fn break_and_repair(lab: &Lab, breakage: &Breakage, narrator: &Narrator) -> Result<()> {
    narrator.heading(&format!("Breaking: {}", breakage.name));
    for (machine, script) in breakage.script {
        run(&lab.host(machine)?, script, narrator)?;
    }
    if breakage.hits_long_packets() {
        let lost = uploads(lab, narrator)?;
        ensure!(lost > 0, "{}: nothing is lost", breakage.name);
    }
    let found = diagnosis(lab, breakage, narrator)?;
    let cure = match breakage.blank {
        Some((word, value)) => found.cure.replace(word, value),
        None => found.cure,
    };
    narrator.heading("The cure");
    run(
        &machine_of(lab, breakage, found.place.as_deref())?,
        &cure,
        narrator,
    )
    .with_context(|| format!("the cure of {}", breakage.name))?;

    narrator.heading("Afterwards");
    let (machine, words) = breakage.asked;
    narrator.command(machine, &format!("lvsx doctor {words}"), "");
    let healthy = until(SETTLE, || {
        let findings = findings(lab, breakage)?;
        Ok(findings.is_empty().then_some(()))
    })?;
    if healthy.is_none() {
        bail!(
            "after `{cure}` the doctor still finds {:?}",
            findings(lab, breakage)?
        );
    }
    narrator.output("healthy: nothing wrong was found");
    let (client, service) = (lab.client()?, lab.service_address()?);
    for _ in 0..FETCHES {
        narrator.command(CLIENT, &format!("curl http://{}/", service.ip()), "");
        // A director that was started again may take the first moment.
        let page = client.fetch(service).or_else(|_| client.fetch(service));
        narrator.output(&page.with_context(|| format!("after the cure of {}", breakage.name))?);
    }
    let lost = uploads(lab, narrator)?;
    ensure!(
        lost == 0,
        "after the cure of {} {lost} of {} uploads are lost",
        breakage.name,
        LONG.len()
    );
    Ok(())
}

/// Sends the servers long packets; how many uploads were not answered.
fn uploads(lab: &Lab, narrator: &Narrator) -> Result<usize> {
    let (client, service) = (lab.client()?, lab.service_address()?);
    let mut lost = 0;
    for length in LONG {
        narrator.command(
            CLIENT,
            &format!(
                "head -c {length} /dev/zero | curl --data-binary @- http://{}/",
                service.ip()
            ),
            "",
        );
        let stream = client.connect(service)?;
        stream.set_read_timeout(Some(LOST))?;
        let answered = client::upload(stream, length).is_ok();
        narrator.output(if answered { "received" } else { "no answer" });
        lost += usize::from(!answered);
    }
    Ok(lost)
}

/// A finding as the doctor's JSON has it.
#[derive(Clone, Debug)]
struct Found {
    fault: String,
    what: String,
    why: String,
    cure: String,
    place: Option<String>,
}

/// Asks the doctor, who must find what was broken.
fn diagnosis(lab: &Lab, breakage: &Breakage, narrator: &Narrator) -> Result<Found> {
    let (machine, words) = breakage.asked;
    narrator.heading("The doctor");
    narrator.command(machine, &format!("lvsx doctor {words}"), "");
    let all = findings(lab, breakage)?;
    for found in &all {
        let place = found
            .place
            .as_deref()
            .map_or(String::new(), |place| format!("   # on {place}"));
        narrator.output(&format!("{}: {}", found.fault, found.what));
        narrator.output(&format!("  why   {}", found.why));
        narrator.output(&format!("  cure  {}{place}", found.cure));
    }
    let wanted = breakage.fault.name();
    let found = all.iter().find(|found| found.fault == wanted).cloned();
    found.with_context(|| format!("{}: {wanted} is not among {all:?}", breakage.name))
}

fn findings(lab: &Lab, breakage: &Breakage) -> Result<Vec<Found>> {
    let (machine, words) = breakage.asked;
    let said = lab
        .host(machine)?
        .run(&format!("lvsx doctor {words} --json"))?;
    let value: Value = serde_json::from_str(&said.stdout)
        .with_context(|| format!("lvsx doctor {words}: {}{}", said.stdout, said.stderr))?;
    let text = |finding: &Value, key: &str| finding[key].as_str().map(str::to_owned);
    let found = |finding: &Value| {
        Some(Found {
            fault: text(finding, "fault")?,
            what: text(finding, "what")?,
            why: text(finding, "why")?,
            cure: text(finding, "cure")?,
            place: text(finding, "place"),
        })
    };
    let list = value["findings"]
        .as_array()
        .context("no findings in the doctor's answer")?;
    ensure!(
        said.status.code() == Some(if list.is_empty() { 0 } else { 4 }),
        "lvsx doctor {words} ended with {} and {list:?}",
        said.status
    );
    Ok(list.iter().filter_map(found).collect())
}

/// The machine that the doctor means.
fn machine_of(lab: &Lab, breakage: &Breakage, place: Option<&str>) -> Result<Host> {
    let Some(place) = place else {
        return lab.host(breakage.asked.0);
    };
    match place.parse::<IpAddr>() {
        Ok(address) => lab.host_of(address),
        Err(_) => lab.host(SWITCH),
    }
}

fn run(host: &Host, script: &str, narrator: &Narrator) -> Result<()> {
    for line in script.lines() {
        narrator.command(host.name(), line.trim(), "");
    }
    let finished = host.run(script)?;
    narrator.output(&finished.stderr);
    finished
        .success()
        .map(drop)
        .with_context(|| format!("`{script}` on {}", host.name()))
}
