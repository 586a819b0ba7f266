//! What is wrong with a director or a real server, why it matters, and the command that cures it.
//!
//! A [`Finding`] is data: a [`Fault`] of a closed list, what was seen, the cure, and the machine to run
//! it on. [`director::examine`] looks at a director from its own machine: its services, its addresses,
//! and, by packets of its own, what the segment and the servers really do with packets.
//! [`realserver::examine`] looks at a real server from itself. [`probe::follow`] sends a packet the way
//! that a client's packet takes to one server, and says at which step it is lost.
//!
//! Nothing is changed. What is sent: ARP probes, echo requests, and TCP's first segment, which is
//! taken back by a reset; by NAT in the name of an address that is nobody's (RFC 5737).
//!
//! Reading order: [`fault`] (what can be wrong), [`finding`], [`director`], [`realserver`], [`probe`],
//! then `wire` (packets) and `segment` (who has an address).

mod commands;
pub mod director;
pub mod fault;
pub mod finding;
mod mtu;
pub mod probe;
pub mod realserver;
mod segment;
mod wire;

pub use commands::main;
pub use fault::Fault;
pub use finding::{Finding, Place};

/// Why nothing could be found out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This machine's network could not be read.
    #[error(transparent)]
    Host(#[from] lvsx_host::Error),
    /// The director could not be asked.
    #[error(transparent)]
    Connect(#[from] lvsx_ipvs::ConnectError),
    /// The director refused or did not answer.
    #[error(transparent)]
    Client(#[from] lvsx_ipvs::ClientError),
    /// A packet could not be sent or heard.
    #[error("packets cannot be sent on {iface}: {cause}")]
    Wire {
        /// The interface.
        iface: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// What was asked for is not there.
    #[error("{0}")]
    Unknown(String),
}

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;
