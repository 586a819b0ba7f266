//! The configuration, `/etc/lvsx/lvsx.toml`: read as a whole or not at all. What is wrong is said with its place and its cure.

pub mod check;
mod name;
pub mod service;
mod text;
pub mod time;

pub use check::{Check, Kind};
pub use name::{display_service, parse_destination, parse_service};
pub use service::{Load, OnFailure, Service};

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the configuration is if nothing else is said.
pub const PATH: &str = "/etc/lvsx/lvsx.toml";

/// A configuration that is whole.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// How the process works.
    pub process: Process,
    /// Services with rules of their own; others have no checks.
    pub services: Vec<Arc<Service>>,
}

/// How the process works.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// The user it becomes.
    pub user: String,
    /// The user that scripts run as.
    pub script_user: String,
    /// Checks at one time at most.
    pub at_once: usize,
    /// Scripts at one time at most.
    pub scripts_at_once: usize,
    /// Processes of all scripts together at most.
    pub script_processes: u64,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            user: "lvsx-check".to_owned(),
            script_user: "lvsx-script".to_owned(),
            at_once: 64,
            scripts_at_once: 8,
            script_processes: 64,
        }
    }
}

/// What is wrong with a configuration: where, what, and what to write instead.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}: {what}", place.display())]
pub struct Wrong {
    /// The file.
    pub place: PathBuf,
    /// The rest, with line and column where they are known.
    pub what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    process: Process,
    #[serde(default)]
    check: BTreeMap<String, text::Check>,
    #[serde(default)]
    service: Vec<text::Service>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read; see [`Config::parse`].
    pub fn read(path: &Path) -> Result<Self, Wrong> {
        let wrong = |what: String| Wrong {
            place: path.to_path_buf(),
            what,
        };
        let text = std::fs::read_to_string(path).map_err(|error| {
            wrong(format!(
                "{error}; lvsx-check reads it unless `--config FILE` names another"
            ))
        })?;
        Self::parse(&text).map_err(wrong)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong first, with its place.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text: Text = toml::from_str(text).map_err(|error| error.to_string())?;
        text.process.check()?;
        let mut checks = BTreeMap::new();
        for (name, check) in text.check {
            let check = check
                .whole(&name)
                .map_err(|what| format!("[check.{name}]: {what}"))?;
            checks.insert(name, Arc::new(check));
        }
        let mut services: Vec<Arc<Service>> = Vec::new();
        for service in text.service {
            let place = format!("[[service]] \"{}\"", service.service);
            let whole = service
                .whole(&checks)
                .map_err(|what| format!("{place}: {what}"))?;
            if services.iter().any(|other| other.key == whole.key) {
                return Err(format!("{place}: it is there twice; leave one out"));
            }
            services.push(Arc::new(whole));
        }
        Ok(Self {
            process: text.process,
            services,
        })
    }

    /// The rules of a service, if it has its own.
    #[must_use]
    pub fn service(&self, key: &lvsx_ipvs::ServiceKey) -> Option<&Arc<Service>> {
        self.services.iter().find(|service| service.key == *key)
    }

    /// All checks that services use, each once.
    #[must_use]
    pub fn checks(&self) -> Vec<Arc<Check>> {
        let mut checks: Vec<Arc<Check>> = Vec::new();
        for check in self
            .services
            .iter()
            .filter_map(|service| service.check.as_ref())
        {
            if !checks.iter().any(|other| other.name == check.name) {
                checks.push(check.clone());
            }
        }
        checks
    }
}

impl Process {
    fn check(&self) -> Result<(), String> {
        let numbers = [
            ("at_once", self.at_once as u64),
            ("scripts_at_once", self.scripts_at_once as u64),
            ("script_processes", self.script_processes),
        ];
        for (name, number) in numbers {
            if !(1..=10_000).contains(&number) {
                return Err(format!("[process]: {name} = {number}: from 1 to 10000"));
            }
        }
        if self.user == self.script_user {
            return Err(format!(
                "[process]: user and script_user are both \"{}\": scripts need a user of their own, or they could do all \
                 that lvsx-check can",
                self.user
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
