//! The lab: the tutorial's machines as network namespaces of this one.
//!
//! A lab is a switch, a client, a director and two real servers, with the addresses of the
//! tutorial, real TCP and real HTTP. [`demonstration`] builds one, runs the tutorial's own commands
//! in it, shows what comes back and judges it; [`Lab`] is the same for tests.
//!
//! Reading order: [`tutorial`] (the text that is followed), [`topology`] (who is cabled to whom),
//! [`lab`] (building and running), [`demonstration`] (what `lvsx lab dr` shows), then the parts:
//! [`namespace`], [`host`], [`record`], [`web`], [`client`], [`capture`]. [`breakage`] lists what can be broken
//! in a lab, [`repair`] breaks it and lets the doctor find it.
//!
//! Nothing outside the lab's own namespaces is touched, but for named namespaces in `/run/netns`
//! and a folder in `/run/lvsx/lab`, which go when the lab goes.

pub mod breakage;
pub mod capture;
pub mod client;
mod commands;
pub mod conform;
pub mod demonstration;
pub mod expectation;
pub mod host;
mod interrupt;
pub mod lab;
pub mod listing;
pub mod load;
pub mod machine;
pub mod namespace;
pub mod narrator;
pub mod parity;
pub mod pattern;
pub mod record;
pub mod repair;
pub mod slow;
pub mod topology;
pub mod tutorial;
pub mod web;
mod worker;

pub use breakage::Breakage;
pub use commands::main;
pub use host::Host;
pub use lab::{Blueprint, Lab, Mode};
pub use lvsx_host::ForwardingMethod;
pub use narrator::Narrator;
