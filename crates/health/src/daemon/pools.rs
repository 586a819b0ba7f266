//! From reports to weights.

use super::{Checked, Daemon, title};
use crate::config::check::{Check, Kind, Through};
use crate::config::{OnFailure, Service, display_service};
use crate::pool::{Event, Pool, Rules};
use crate::standing::Standing;
use crate::table::Row;
use crate::watch::{Report, Subject};
use lvsx_ipvs::{DestinationKey, DestinationSettings, ServiceKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Daemon {
    /// Pools as the director's tables have them.
    pub(super) fn follow_table(&mut self) {
        let (table, config) = (&self.table, &self.config);
        self.pools.retain(|key, _| table.contains_key(key));
        self.ledger.keep(|(service, server)| {
            table
                .get(service)
                .is_some_and(|rows| rows.contains_key(server))
        });
        for (key, rows) in table {
            let rules = config
                .service(key)
                .map_or_else(Rules::default, |service| service.rules);
            let pool = self.pools.entry(*key).or_insert_with(|| Pool::new(rules));
            pool.keep(|server| rows.contains_key(server));
            let check = config
                .service(key)
                .and_then(|service| service.check.as_ref());
            for (server, row) in rows {
                let configured = self.ledger.see((*key, *server), row.settings.weight);
                let is_up = check.is_none_or(|check| {
                    let subject = subject(check, key, server, &row.settings);
                    match self.subjects.get(&subject) {
                        Some(checked) => checked.standing.is_up(),
                        None => check.starts_up && !self.was_down.contains(&subject),
                    }
                });
                pool.configure(*server, configured, is_up);
                pool.order(server, self.orders.of(server));
            }
        }
        self.complain_of_strangers();
    }

    /// Services with rules that the director does not have, and sorry servers that their service does not have.
    fn complain_of_strangers(&mut self) {
        let strange = self.config.services.iter().find_map(|service| {
            let name = display_service(&service.key);
            let Some(rows) = self.table.get(&service.key) else {
                return Some(format!("the director has no service {name}; its rules wait for it"));
            };
            let sorry = service.rules.sorry.filter(|sorry| !rows.contains_key(sorry))?;
            let end = std::net::SocketAddr::new(sorry.addr, sorry.port);
            Some(format!("{name}: the sorry server {end} is no server of the service; `ipvsadm -a ... -r {end}` makes it one"))
        });
        if let Some(what) = strange {
            tell_once(&mut self.told, what);
        }
    }

    /// Watches as the pools want them.
    pub(super) fn follow_subjects(&mut self) {
        let mut wanted: BTreeMap<Subject, Arc<Check>> = BTreeMap::new();
        for (key, rows) in &self.table {
            let check = self
                .config
                .service(key)
                .and_then(|service| service.check.clone());
            let Some(check) = check else { continue };
            for (server, row) in rows {
                let subject = subject(&check, key, server, &row.settings);
                if subject.whom.port == 0 && !matches!(check.kind, Kind::Ping) {
                    tell_once(
                        &mut self.told,
                        format!(
                            "[check.{}]: servers of {} have no port of their own; say which `port` to ask",
                            check.name,
                            display_service(key)
                        ),
                    );
                    continue;
                }
                wanted.insert(subject, check.clone());
            }
        }
        self.subjects
            .retain(|subject, _| wanted.contains_key(subject));
        for (subject, check) in wanted {
            if self.subjects.contains_key(&subject) {
                continue;
            }
            let is_up = check.starts_up && !self.was_down.contains(&subject);
            let checked = Checked {
                standing: Standing::new(is_up),
                check: check.clone(),
                _watch: self.watchers.watch(subject.clone(), check),
            };
            self.subjects.insert(subject, checked);
        }
    }

    /// Takes note of how a check ended. The services that are to be decided on.
    pub(super) fn take(&mut self, report: &Report) -> Vec<ServiceKey> {
        let Some(checked) = self.subjects.get_mut(&report.subject) else {
            return Vec::new();
        };
        let is_good = report.result.is_ok();
        if !checked.standing.record(is_good, checked.check.patience) {
            return Vec::new();
        }
        let Subject { check, whom } = &report.subject;
        match &report.result {
            Ok(()) => tracing::info!("{whom} works by check {check}, in {:?}", report.took),
            Err(why) => tracing::warn!("{whom} does not work by check {check}: {why}"),
        }
        let now = self.now();
        let mut services = Vec::new();
        let mut events = Vec::new();
        for (key, pool) in &mut self.pools {
            let service = self.config.service(key);
            let Some(check) = service.and_then(|service| service.check.as_ref()) else {
                continue;
            };
            let Some(rows) = self.table.get(key) else {
                continue;
            };
            let is_asked = |(server, row): &(&DestinationKey, &Row)| {
                subject(check, key, server, &row.settings) == report.subject
            };
            for (server, _) in rows.iter().filter(is_asked) {
                events.extend(
                    pool.stand(server, is_good, now)
                        .into_iter()
                        .map(|event| (*key, event)),
                );
                services.push(*key);
            }
        }
        events.iter().for_each(|(key, event)| tell(key, event));
        services
    }

    /// Sets the weights of a service as its pool decides.
    pub(super) async fn settle(&mut self, key: &ServiceKey) {
        let now = self.now();
        let Some(pool) = self.pools.get_mut(key) else {
            return;
        };
        let (weights, event) = pool.decide(now);
        if let Some(event) = event {
            tell(key, &event);
        }
        let found =
            |server: &DestinationKey| self.table.get(key)?.get(server).map(|row| row.settings);
        let changes = weights.into_iter().filter_map(|(server, weight)| {
            let settings = found(&server).filter(|found| found.weight != weight)?;
            Some((server, DestinationSettings { weight, ..settings }))
        });
        let changes: Vec<_> = changes.collect();
        for (server, settings) in &changes {
            self.ledger.intend(&(*key, *server), settings.weight);
        }
        // Before anything is set, or who comes after us would take our weights for the operator's.
        if let Err(error) = self.write_state() {
            self.complain(format!(
                "nothing is set while it cannot be written down: {error:#}"
            ));
            return;
        }
        for (server, settings) in changes {
            self.set(key, server, settings).await;
        }
    }

    async fn set(
        &mut self,
        key: &ServiceKey,
        server: DestinationKey,
        settings: DestinationSettings,
    ) {
        let weight = settings.weight;
        if let Err(error) = self.director.set(*key, server, settings).await {
            // The next look at the tables shows why.
            tracing::debug!("{}: weight {weight}: {error:#}", title(key, &server));
            return;
        }
        tracing::info!("{}: weight {weight}", title(key, &server));
        self.ledger.see((*key, server), weight);
        if let Some(row) = self
            .table
            .get_mut(key)
            .and_then(|rows| rows.get_mut(&server))
        {
            row.settings.weight = weight;
        }
        let removes = |service: &Arc<Service>| service.on_failure == OnFailure::Remove;
        if weight == 0
            && self.config.service(key).is_some_and(removes)
            && self.is_down(key, &server)
            && let Err(error) = self.director.end_connections(*key, server).await
        {
            tracing::warn!(
                "{}: its connections could not be ended: {error:#}",
                title(key, &server)
            );
        }
    }

    fn is_down(&self, key: &ServiceKey, server: &DestinationKey) -> bool {
        let check = self
            .config
            .service(key)
            .and_then(|service| service.check.as_ref());
        let row = self.table.get(key).and_then(|rows| rows.get(server));
        let subject = check
            .zip(row)
            .map(|(check, row)| subject(check, key, server, &row.settings));
        let checked = subject.and_then(|subject| self.subjects.get(&subject));
        checked.is_some_and(|checked| !checked.standing.is_up())
    }

    fn write_state(&mut self) -> anyhow::Result<()> {
        let down = self
            .subjects
            .iter()
            .filter(|(_, checked)| !checked.standing.is_up());
        self.file
            .write(&self.ledger, down.map(|(subject, _)| subject))
    }
}

/// What is watched for a server of a service with this check.
fn subject(
    check: &Check,
    service: &ServiceKey,
    server: &DestinationKey,
    settings: &DestinationSettings,
) -> Subject {
    let through = Through {
        service: *service,
        server: *server,
    };
    Subject {
        check: check.name.clone(),
        whom: check.whom(through, settings.method),
    }
}

/// Says what was not said before.
pub(super) fn tell_once(told: &mut BTreeSet<String>, what: String) {
    if !told.contains(&what) {
        tracing::warn!("{what}");
        told.insert(what);
    }
}

fn tell(service: &ServiceKey, event: &Event) {
    let name = display_service(service);
    match event {
        Event::Up(server) => tracing::info!("{}: up", title(service, server)),
        Event::Down(server) => tracing::warn!("{}: down", title(service, server)),
        Event::Panic { failed, of } => tracing::error!(
            "{name}: {failed} of {of} servers failed at once; they stay in service until it is clear who is right"
        ),
        Event::Calm => {
            tracing::info!("{name}: enough servers are up again; those that are not leave")
        }
        Event::QuorumLost { left } => {
            tracing::error!("{name}: {left} servers are left, fewer than the quorum")
        }
        Event::QuorumBack => tracing::info!("{name}: the quorum is there again"),
    }
}
