//! From what agents say to weights.

use super::pools::tell_once;
use super::{Daemon, title};
use crate::agent::poll::{Heard, Poll};
use crate::agent::reply::Said;
use crate::config::{Load, Service, display_service};
use crate::controller::{Controller, Gauge};
use crate::moment::Moment;
use crate::table::Row;
use lvsx_ipvs::{DestinationKey, ServiceKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Questions without an answer after which what was said counts no more.
const MISSES: u32 = 3;
/// A multiplier that moved by less is not worth a line in the log.
const WORTH_TELLING: f64 = 0.1;

/// A server's agent.
pub(super) struct Agent {
    said: Said,
    load: Option<f64>,
    misses: u32,
    _poll: Poll,
}

/// How the load of a service is steered.
#[derive(Default)]
pub(super) struct Steering {
    controller: Controller<DestinationKey>,
    due: Moment,
    /// What the controller made of each server's load last.
    multipliers: BTreeMap<DestinationKey, f64>,
    /// What was told last.
    told: BTreeMap<DestinationKey, f64>,
}

impl Daemon {
    /// Asks the agents that count, and no others.
    pub(super) fn follow_loads(&mut self) {
        let mut wanted: BTreeMap<SocketAddr, Arc<Service>> = BTreeMap::new();
        for service in self
            .config
            .services
            .iter()
            .filter(|service| service.load != Load::Off)
        {
            let rows = self.table.get(&service.key).into_iter().flatten();
            wanted.extend(rows.map(|(server, _)| (agent(service, server), service.clone())));
        }
        self.agents.retain(|agent, _| wanted.contains_key(agent));
        for (address, service) in wanted {
            let (interval, patience) = (service.agent.interval, service.agent.timeout);
            self.agents.entry(address).or_insert_with(|| Agent {
                said: Said::default(),
                load: None,
                misses: 0,
                _poll: Poll::start(address, interval, patience, self.heard.clone()),
            });
        }
        let config = &self.config;
        self.steering.retain(|key, _| {
            config
                .service(key)
                .is_some_and(|service| service.load != Load::Off)
        });
    }

    /// Takes note of what an agent said. The services that are to be decided on.
    pub(super) fn hear(&mut self, heard: Heard) -> Vec<ServiceKey> {
        let Some(agent) = self.agents.get_mut(&heard.agent) else {
            return Vec::new();
        };
        let before = agent.said.clone();
        match &heard.reply {
            Some(reply) => {
                agent.misses = 0;
                agent.load = heard.load;
                agent.said.take(reply);
                if reply.maxconn.is_some() {
                    let text = format!(
                        "the agent {} says maxconn, which is not acted upon; `ipvsadm -e ... -x` limits a server's connections",
                        heard.agent
                    );
                    tell_once(&mut self.told, text);
                }
                if let Some(word) = &reply.unknown {
                    tracing::debug!(
                        "the agent {} says `{word}`, which nobody understands",
                        heard.agent
                    );
                }
            }
            None => {
                agent.misses = agent.misses.saturating_add(1);
                if agent.misses == MISSES {
                    tracing::warn!(
                        "the agent {} does not answer; its server's weight goes back to the configured one",
                        heard.agent
                    );
                    agent.load = None;
                    agent.said = Said::default();
                }
            }
        }
        if agent.said == before {
            return Vec::new();
        }
        let reason = heard
            .reply
            .and_then(|reply| reply.reason)
            .unwrap_or_default();
        tracing::info!("the agent {} says {:?} {reason}", heard.agent, agent.said);
        let services = self
            .config
            .services
            .iter()
            .filter(|service| service.load != Load::Off);
        let services: Vec<ServiceKey> = services.map(|service| service.key).collect();
        services.iter().for_each(|key| self.apply(key));
        services
    }

    /// Steers the services whose time it is: they are to be decided on.
    pub(super) fn steer(&mut self, now: Moment) -> BTreeSet<ServiceKey> {
        let services: Vec<Arc<Service>> = self.config.services.clone();
        let mut steered = BTreeSet::new();
        for service in services.iter().filter(|service| service.load != Load::Off) {
            let Some(rows) = self.table.get(&service.key) else {
                continue;
            };
            let steering = self.steering.entry(service.key).or_default();
            if now < steering.due {
                continue;
            }
            steering.due = now.after(service.agent.period);
            let pool = self.pools.get(&service.key);
            let gauges =
                rows.iter()
                    .filter(|(_, row)| row.settings.weight > 0)
                    .map(|(server, _)| {
                        let configured =
                            self.ledger.configured(&(service.key, *server)).unwrap_or(0);
                        let is_new = pool.is_some_and(|pool| pool.is_new(server, now));
                        let agent = self.agents.get(&agent(service, server)).filter(|_| !is_new);
                        let gauge = Gauge {
                            weight: f64::from(configured),
                            load: agent.and_then(|agent| agent.load),
                        };
                        (*server, gauge)
                    });
            let gauges = gauges.collect();
            steering.multipliers = steering.controller.step(
                service.agent.period,
                lifetime(rows, service.agent.period),
                &gauges,
            );
            self.apply(&service.key);
            steered.insert(service.key);
        }
        steered
    }

    /// Tells the pool of a service what its servers' loads and agents make of their weights; or people, what they would.
    fn apply(&mut self, key: &ServiceKey) {
        let (Some(service), Some(rows)) = (self.config.service(key), self.table.get(key)) else {
            return;
        };
        let (Some(pool), Some(steering)) = (self.pools.get_mut(key), self.steering.get_mut(key))
        else {
            return;
        };
        for server in rows.keys() {
            let configured = self.ledger.configured(&(*key, *server)).unwrap_or(0);
            let said = self
                .agents
                .get(&agent(service, server))
                .map_or(1.0, |agent| agent.said.multiplier(configured));
            let factor = said * steering.multipliers.get(server).copied().unwrap_or(1.0);
            match service.load {
                Load::Off => {}
                Load::On => pool.set_factor(server, factor),
                Load::Shadow => {
                    let told = steering.told.entry(*server).or_insert(1.0);
                    if (factor - *told).abs() >= WORTH_TELLING {
                        *told = factor;
                        let percent = (100.0 * factor).round();
                        tracing::info!(
                            "{}: would have {percent} % of its weight {configured} (shadow)",
                            title(key, server)
                        );
                    }
                }
            }
        }
        tracing::debug!("{}: {:?}", display_service(key), steering.multipliers);
    }
}

fn agent(service: &Service, server: &DestinationKey) -> SocketAddr {
    SocketAddr::new(server.addr, service.agent.port)
}

/// The mean lifetime of connections: those there are by how many come a second (Little's law).
fn lifetime(rows: &BTreeMap<DestinationKey, Row>, period: Duration) -> Duration {
    let active: u64 = rows.values().map(|row| u64::from(row.active)).sum();
    let rate: u64 = rows.values().map(|row| row.rate).sum();
    match (active, rate) {
        (0, _) => Duration::ZERO,
        // Nothing new comes; what there is stays.
        (_, 0) => Duration::MAX,
        (active, rate) => Duration::from_secs_f64(active as f64 / rate as f64).max(period / 10),
    }
}
