//! Agents: a program on each server that says how it is.
//!
//! The protocol is HAProxy's agent-check, so that its agents work with us and ours with it ([`reply`]). [`poll`] asks;
//! [`serve`] is `lvsx agent`, fed from [`measure`] and by the
//! [`application`].

pub mod application;
pub mod measure;
pub mod poll;
pub mod reply;
pub mod serve;

/// The usual port of agents.
pub const PORT: u16 = 9707;
