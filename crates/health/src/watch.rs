//! Watching a server: its check, again and again, with pauses that differ a little.

use crate::config::check::{Check, Whom};
use crate::probe::Prober;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Shortest pause, as a share of the interval. Never longer than the interval: so a server that dies is found out within
/// fall x interval + timeout.
const SHORTEST: f64 = 0.9;

/// What is watched: a server by a check, however many services it is in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Name of the check.
    pub check: String,
    /// The server.
    pub whom: Whom,
}

/// How a check ended.
#[derive(Debug)]
pub struct Report {
    /// Whose.
    pub subject: Subject,
    /// Why the server does not work, if it does not.
    pub result: Result<(), String>,
    /// How long it took.
    pub took: Duration,
}

/// What all watches share.
#[derive(Clone)]
pub struct Watchers {
    /// Asks.
    pub prober: Arc<Prober>,
    /// Places for checks at one time.
    pub places: Arc<Semaphore>,
    /// Where reports go.
    pub reports: mpsc::Sender<Report>,
}

/// A watch that goes on while this lives.
pub struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watchers {
    /// Watches a server from now on.
    pub fn watch(&self, subject: Subject, check: Arc<Check>) -> Watch {
        Watch(tokio::spawn(self.clone().go_on(subject, check)))
    }

    async fn go_on(self, subject: Subject, check: Arc<Check>) {
        // The first checks of many servers are spread over an interval, but begin soon.
        let mut begin = Instant::now() + check.interval.mul_f64(share(&subject, 0) / 4.0);
        for number in 1.. {
            tokio::time::sleep_until(begin).await;
            let Ok(place) = self.places.acquire().await else {
                return;
            };
            let asked = Instant::now();
            let result = self.prober.clone().ask(&check, subject.whom).await;
            drop(place);
            if let Some(result) = result {
                let report = Report {
                    subject: subject.clone(),
                    result,
                    took: asked.elapsed(),
                };
                if self.reports.send(report).await.is_err() {
                    return;
                }
            }
            let pause = check
                .interval
                .mul_f64(SHORTEST + (1.0 - SHORTEST) * share(&subject, number));
            // What was late does not make the next ones come at once.
            begin = (begin + pause).max(Instant::now());
        }
    }
}

/// A number from 0 to 1 that differs from subject to subject and from time to time.
fn share(subject: &Subject, number: u64) -> f64 {
    let mut hasher = DefaultHasher::new();
    (subject, number).hash(&mut hasher);
    hasher.finish() as f64 / u64::MAX as f64
}
