//! The daemon: watches servers, and keeps the director's weights as the pools decide.
//!
//! | task | does |
//! |---|---|
//! | `Daemon::run` | takes reports, decides, sets weights; the only one that changes anything |
//! | a [`Watch`] each server and check | asks the server |
//! | a [`Poll`](crate::agent::poll::Poll) each server whose load counts | asks its agent |
//! | the thread `director` | speaks to lvsd |
//!
//! When it is killed nothing changes: weights stay in the director's tables, packets go on. The next one finds in its state which
//! weights are configured and who was down.

mod pools;
mod steering;

use crate::agent::poll::Heard;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::moment::Moment;
use crate::orders::Orders;
use crate::pool::Pool;
use crate::probe::Means;
use crate::standing::Standing;
use crate::state;
use crate::table::{Director, Table};
use crate::watch::{Report, Subject, Watch, Watchers};
use anyhow::Result;
use lvsx_ipvs::{DestinationKey, ServiceKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use steering::{Agent, Steering};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Between two looks at the director's tables and at the orders.
const LOOK: Duration = Duration::from_millis(500);
/// Between two decisions while weights change by themselves.
const STEP: Duration = Duration::from_millis(250);
/// Reports that may wait.
const WAITING: usize = 1024;

/// The daemon.
pub struct Daemon {
    config: Config,
    director: Director,
    begin: Instant,
    file: state::File,
    ledger: Ledger,
    /// What stands in the director's tables, as last seen or set.
    table: Table,
    pools: BTreeMap<ServiceKey, Pool>,
    subjects: BTreeMap<Subject, Checked>,
    /// Who was down when an earlier lvsx-check ended.
    was_down: BTreeSet<Subject>,
    orders: Orders,
    watchers: Watchers,
    heard: mpsc::Sender<Heard>,
    agents: BTreeMap<SocketAddr, Agent>,
    steering: BTreeMap<ServiceKey, Steering>,
    /// What was complained about last, so that it is said once.
    complaint: Option<String>,
    /// What does not fit in the configuration and has been told.
    told: BTreeSet<String>,
}

/// A server that is watched.
struct Checked {
    standing: Standing,
    check: Arc<crate::config::Check>,
    _watch: Watch,
}

/// What reaches the daemon.
pub struct Inputs {
    reports: mpsc::Receiver<Report>,
    heard: mpsc::Receiver<Heard>,
}

impl Daemon {
    /// A daemon with what an earlier one left.
    ///
    /// # Errors
    /// What it left cannot be read; those of the runtime.
    pub fn new(config: Config, means: Means) -> Result<(Self, Inputs)> {
        let file = state::File::of_namespace()?;
        let (ledger, was_down) = file.read()?;
        let (reports, reported) = mpsc::channel(WAITING);
        let (heard, hearing) = mpsc::channel(WAITING);
        let director = Director::open()?;
        let prober = means.into_prober(director.clone())?;
        let daemon = Self {
            director,
            begin: Instant::now(),
            file,
            ledger,
            table: Table::new(),
            pools: BTreeMap::new(),
            subjects: BTreeMap::new(),
            was_down,
            orders: Orders::default(),
            watchers: Watchers {
                prober: Arc::new(prober),
                places: Arc::new(Semaphore::new(config.process.at_once)),
                reports,
            },
            heard,
            agents: BTreeMap::new(),
            steering: BTreeMap::new(),
            complaint: None,
            told: BTreeSet::new(),
            config,
        };
        let inputs = Inputs {
            reports: reported,
            heard: hearing,
        };
        Ok((daemon, inputs))
    }

    /// Works until a signal says to end.
    ///
    /// # Errors
    /// Signals cannot be received.
    pub async fn run(mut self, mut inputs: Inputs) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut look = interval(LOOK);
        let mut step = interval(STEP);
        for timer in [&mut look, &mut step] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        tracing::info!("ready");
        loop {
            let services = tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = look.tick() => self.look().await,
                _ = step.tick() => self.step(),
                Some(report) = inputs.reports.recv() => self.take(&report),
                Some(heard) = inputs.heard.recv() => self.hear(heard),
            };
            for service in services {
                self.settle(&service).await;
            }
        }
        tracing::info!("ends; weights stay as they are");
        Ok(())
    }

    fn now(&self) -> Moment {
        Moment(self.begin.elapsed())
    }

    /// Looks at tables and orders. The services to be decided on: all.
    async fn look(&mut self) -> Vec<ServiceKey> {
        match self.director.read().await {
            Ok(table) => {
                if self.complaint.take().is_some() {
                    tracing::info!("the director answers again");
                }
                self.table = table;
            }
            Err(error) => {
                self.complain(format!("{error:#}"));
                return Vec::new();
            }
        }
        match Orders::read() {
            Ok(orders) => self.orders = orders,
            Err(error) => self.complain(format!(
                "orders cannot be read, those of before hold: {error}"
            )),
        }
        self.follow_table();
        self.follow_subjects();
        self.follow_loads();
        self.pools.keys().copied().collect()
    }

    /// The services whose weights may change by themselves.
    fn step(&mut self) -> Vec<ServiceKey> {
        let now = self.now();
        let mut services: BTreeSet<ServiceKey> = self.steer(now);
        let starting = self.pools.iter().filter(|(_, pool)| pool.is_starting(now));
        services.extend(starting.map(|(key, _)| *key));
        services.into_iter().collect()
    }

    fn complain(&mut self, what: String) {
        if self.complaint.as_ref() != Some(&what) {
            tracing::warn!("{what}");
            self.complaint = Some(what);
        }
    }
}

/// A service and a server of it, for people.
fn title(service: &ServiceKey, key: &DestinationKey) -> String {
    let service = crate::config::display_service(service);
    format!("{} of {service}", SocketAddr::new(key.addr, key.port))
}
