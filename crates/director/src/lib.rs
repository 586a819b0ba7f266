//! lvsd, the director's daemon.
//!
//! Reading order: [`tables`] what it shares with its programs; [`config`] and [`generation`] what is configured and how
//! it gets to them; [`control`] what clients may ask for; [`stats`], [`connections`], [`proc`], [`status`] what is shown;
//! [`fragments`] what packets the programs leave to it; [`loader`] the data plane in the kernel; [`links`] the network around it; [`daemon`] everything together.

pub mod addresses;
pub mod clock;
pub mod concerns;
pub mod config;
pub mod connections;
pub mod control;
pub mod daemon;
pub mod fragments;
pub mod generation;
pub mod grace;
pub mod links;
pub mod loader;
pub mod mapping;
pub mod options;
pub mod proc;
pub mod stats;
pub mod status;
pub mod tables;

pub use daemon::main;
