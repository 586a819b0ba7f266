//! The rules of a service.

use super::Check;
use crate::pool::Rules;
use lvsx_ipvs::ServiceKey;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// A service with rules of its own.
#[derive(Clone, Debug)]
pub struct Service {
    /// Which.
    pub key: ServiceKey,
    /// How its servers are checked; `None`: they are not.
    pub check: Option<Arc<Check>>,
    /// The rules of its pool.
    pub rules: Rules,
    /// What becomes of a server that fails.
    pub on_failure: OnFailure,
    /// Whether load steers weights.
    pub load: Load,
    /// How servers are asked for their load.
    pub agent: Agent,
}

/// What becomes of a server that fails.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Weight 0: its connections and persistent clients stay with it.
    #[default]
    Inhibit,
    /// Weight 0, and its connections and templates are ended, so that its clients go elsewhere.
    Remove,
}

/// Whether load steers weights.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// Nobody asks.
    #[default]
    Off,
    /// What it would do is said, and not done.
    Shadow,
    /// It does.
    On,
}

/// How servers are asked for their load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The port of the agents.
    pub port: u16,
    /// From one question to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// From one decision to the next.
    pub period: Duration,
}
