//! What can go wrong while a machine's network is read or changed.

use std::io;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, each variant naming the place and, where there is one, the cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel's routing socket could not be opened or answered with nothing.
    #[error("no routing socket (rtnetlink): {0}")]
    Socket(io::Error),
    /// The namespace has no interface of this name.
    #[error("there is no interface {name} here; there are: {present}")]
    NoInterface {
        /// The name asked for.
        name: String,
        /// The names there are, with commas between.
        present: String,
    },
    /// There is no network namespace of this name under `/run/netns`.
    #[error("there is no network namespace {name}: {cause}")]
    NoNamespace {
        /// The name asked for.
        name: String,
        /// Why it could not be entered.
        cause: io::Error,
    },
    /// The kernel refused a request.
    #[error("the kernel refused: {0}")]
    Refused(io::Error),
    /// A sysctl could not be read or written.
    #[error("sysctl {key}: {cause}")]
    Sysctl {
        /// The key, as `sysctl` writes it.
        key: String,
        /// Why not.
        cause: io::Error,
    },
    /// The kernel was built without IP-in-IP tunnels and none can be made.
    #[error("this kernel has no IP-in-IP tunnels (ipip): attach our decapsulation instead")]
    NoIpip,
    /// The decapsulation program is missing, was refused or could not be attached.
    #[error("decapsulation on {iface}: {cause}")]
    Decapsulation {
        /// The interface it was for.
        iface: String,
        /// Why not.
        cause: String,
    },
    /// A journal kept in a file cannot be read or written.
    #[error("the journal {0}")]
    Journal(String),
    /// What was asked for cannot be set up on this machine.
    #[error("{0}")]
    Unfit(String),
    /// A step failed; what the plan had changed before it has been undone.
    #[error("`{command}`: {cause}")]
    Step {
        /// The command the step stands for.
        command: String,
        /// Why it failed.
        cause: Box<Self>,
    },
}

impl Error {
    /// The kernel's error number, where the kernel refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused(cause) | Self::Sysctl { cause, .. } => cause.raw_os_error(),
            Self::Step { cause, .. } => cause.errno(),
            _ => None,
        }
    }
}

impl Error {
    /// Whether the interface that was named, or the sysctl of one, is not there (any more).
    pub(crate) fn is_about_a_missing_interface(&self) -> bool {
        match self {
            Self::NoInterface { .. } => true,
            Self::Sysctl { cause, .. } => cause.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

impl From<rtnetlink::Error> for Error {
    fn from(error: rtnetlink::Error) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(message) => Self::Refused(message.to_io()),
            other => Self::Socket(io::Error::other(other)),
        }
    }
}
