//! lvsd, the director's daemon.
//!
//! Reading order: [`tables`] what it shares with its programs; [`config`] and [`generation`] what is configured and how
//! it gets to them.

pub mod concerns;
pub mod config;
pub mod generation;
pub mod grace;
pub mod mapping;
pub mod tables;
