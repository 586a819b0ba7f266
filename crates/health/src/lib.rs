//! lvsx-check: health checks, and weights from load.

pub mod agent;
pub mod config;
pub mod ledger;
pub mod moment;
pub mod pool;
pub mod standing;
