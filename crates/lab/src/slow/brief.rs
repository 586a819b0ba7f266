//! The least of it: the share falls, stays where it fell to, and comes back, by each scheduler.
//!
//! The controller takes a step each second in place of every five, and nothing is awaited for longer than it takes. Both services
//! are served by the same three servers and steered apart, so what one does is a disturbance to the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    ADDRESSES, FAIR, LOWERED, QUICK, RESTORED, SLOW, SMALLER, build, come, first_of, rules,
    start_checks, weights, worker,
};
use crate::topology::CLIENT;
use crate::{Lab, Narrator};

/// The ports of the two services.
const PORTS: [u16; 2] = [80, 81];
/// Between two looks at the weights.
const LOOK: Duration = Duration::from_millis(250);
/// A share that came back and is below this again swings.
const SWUNG: f64 = 0.6 * FAIR;
/// How long a share that fell, or came back, is watched.
const WATCHED: Duration = Duration::from_secs(3);

/// Slows one of three servers, which serve a service by each of these schedulers, and lets it recover.
///
/// # Errors
/// What could not be built; a share of the weights that does not fall within 30 seconds, does not stay lower, or does not come back
/// within 60.
pub fn briefly(binary: PathBuf, schedulers: [&str; 2], narrator: &Narrator) -> Result<()> {
    let [first, second] = schedulers;
    let services = [(PORTS[0], first), (PORTS[1], second)];
    let mut lab = build(binary, &services, &["--interval", "250ms"], narrator)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let (goes_on, (sender, _visits)) = (is_over.clone(), mpsc::channel());
    let namespace = lab.host(CLIENT)?.namespace().clone();
    let clients = thread::spawn(move || {
        let goes_on = |_| !goes_on.load(Ordering::Relaxed);
        namespace.run(move || come(&PORTS, goes_on, &sender))
    });
    let keys = "agent_interval = \"250ms\"\nload_period = \"1s\"\n";
    start_checks(&mut lab, &PORTS, keys)?;
    let shown = falls_and_rises(&lab, narrator);
    is_over.store(true, Ordering::Relaxed);
    drop(clients.join());
    shown
}

fn falls_and_rises(lab: &Lab, narrator: &Narrator) -> Result<()> {
    let folder = lab.folder().path();
    worker::set(folder, ADDRESSES[0], SLOW)?;
    reaches(lab, "falls", LOWERED, |share| share < SMALLER, narrator)?;
    stays(lab, |share| share < FAIR, narrator)?;
    worker::set(folder, ADDRESSES[0], QUICK)?;
    reaches(
        lab,
        "comes back",
        RESTORED,
        |share| share > SMALLER,
        narrator,
    )?;
    stays(lab, |share| share > SWUNG, narrator)
}

/// Waits until the share is so in both services.
fn reaches(
    lab: &Lab,
    what: &str,
    limit: Duration,
    is_so: impl Fn(f64) -> bool,
    narrator: &Narrator,
) -> Result<()> {
    let begin = Instant::now();
    let mut found = [false; PORTS.len()];
    while found.contains(&false) {
        let shares = shares(lab)?;
        for (found, share) in found.iter_mut().zip(shares) {
            *found |= is_so(share);
        }
        ensure!(
            begin.elapsed() < limit,
            "the share {what} not within {limit:?}: {shares:.2?}"
        );
        thread::sleep(LOOK);
    }
    narrator.output(&format!("the share {what} after {:.1?}", begin.elapsed()));
    Ok(())
}

/// Watches that the share stays so in both services: it may move, but not back.
fn stays(lab: &Lab, is_so: impl Fn(f64) -> bool, narrator: &Narrator) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < WATCHED {
        let shares = shares(lab)?;
        narrator.output(&format!(
            "{:>4.1} s  {shares:.2?}",
            begin.elapsed().as_secs_f64()
        ));
        ensure!(
            shares.into_iter().all(&is_so),
            "after {:.1?} the share did not stay: {shares:.2?}",
            begin.elapsed()
        );
        thread::sleep(LOOK);
    }
    Ok(())
}

/// The slow server's share of the weights in both services.
fn shares(lab: &Lab) -> Result<[f64; PORTS.len()]> {
    let rules = rules(lab)?;
    let [first, second] = PORTS.map(|port| weights(&rules, port).map(first_of));
    Ok([first?, second?])
}
