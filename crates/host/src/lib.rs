//! Set-up of a machine's network as data.
//!
//! What LVS asks of a director and of its real servers is a short list of small changes: an
//! address here, a sysctl there, a route. Each is a [`Step`], which knows the command it stands
//! for, whether it is so already, how to make it so and how to take it back. A [`Plan`] is a list
//! of steps with a title; applying it gives a [`Journal`], which undoes exactly what was changed,
//! in reverse order. A [`Register`] keeps a real server's journal in a file.
//!
//! Reading order: [`step`] (the list of what can be done), [`plan`], [`realserver`] and
//! [`director`] (the plans of the three forwarding methods), then [`network`] (the kernel's side).
//!
//! Everything acts on the network namespace of the calling thread, and on no other.

mod apply;
mod before;
pub mod bpf;
mod decapsulation;
pub mod director;
mod error;
mod ipip;
pub mod journal;
mod method;
pub mod network;
mod offload;
pub mod packet;
pub mod plan;
mod prefix;
pub mod realserver;
pub mod step;
pub mod sysctl;

pub use before::{Before, OldRoute};
pub use bpf::Object;
pub use error::{Error, Result};
pub use ipip::{Decapsulation, kernel_has_ipip};
pub use journal::{Change, Journal};
pub use method::{ForwardingMethod, UnknownMethod};
pub use network::{Card, Network};
pub use offload::Offload;
pub use plan::{Outcome, Plan, PlannedStep};
pub use prefix::Prefix;
pub use realserver::{Register, Setup};
pub use step::{Destination, Step, Via};
