//! lvsx-check: health checks, and weights from load.
//!
//! Reading order: [`standing`] (up or down), [`pool`] (who gets clients), [`controller`] (weights from load) and [`ledger`] (what
//! is configured) are the rules, without time or network of their own; [`config`] what an operator writes; [`probe`] and
//! [`watch`] how servers are asked; [`agent`] both ends of the agent protocol; [`table`] the director's side; [`daemon`]
//! everything together.

pub mod agent;
mod command;
pub mod config;
pub mod controller;
pub mod daemon;
pub mod ledger;
pub mod moment;
pub mod orders;
pub mod pool;
pub mod probe;
pub mod standing;
pub mod state;
pub mod table;
mod user;
pub mod watch;

pub use command::main;
