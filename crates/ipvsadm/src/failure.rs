//! What can go wrong: the text on stderr and the exit code.

use lvsx_ipvs::{ClientError, Errno, Request};

/// A command that did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line is wrong, or there is no director: exit code 2.
    Tool(String),
    /// No command was given: exit code 255 and a hint at the help.
    Hint,
    /// An option is unknown or lacks its value: exit code 255.
    Misuse(String),
    /// The director refused: exit code 255.
    Refused(String),
    /// A listing failed: exit code 1.
    Listing(String),
    /// Whoever read the output has gone: what `SIGPIPE` would have done, in silence.
    Closed,
}

impl Failure {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Tool(_) => 2,
            Self::Hint | Self::Misuse(_) | Self::Refused(_) => 255,
            Self::Listing(_) => 1,
            Self::Closed => 128 + libc::SIGPIPE as u8,
        }
    }

    /// The line for stderr.
    pub(crate) fn text(&self, name: &str) -> String {
        match self {
            Self::Tool(text) | Self::Misuse(text) | Self::Refused(text) | Self::Listing(text) => {
                format!("{text}\n")
            }
            Self::Hint => {
                format!("Try `{name} -h' or '{name} --help' for more information.\n")
            }
            Self::Closed => String::new(),
        }
    }

    /// Whether the lines after this one are not even tried.
    pub(crate) const fn ends_restore(&self) -> bool {
        !matches!(self, Self::Misuse(_) | Self::Refused(_))
    }

    /// A request that failed.
    pub(crate) fn of_request(request: &Request, error: &ClientError) -> Self {
        Self::Refused(text(request, error))
    }

    /// A listing that failed.
    pub(crate) fn of_listing(request: &Request, error: &ClientError) -> Self {
        match error {
            ClientError::Silent => Self::Refused(text(request, error)),
            _ => Self::Listing(text(request, error)),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Listing(format!("cannot write: {error}")),
        }
    }
}

/// The text of a failed request. Refusals read as ipvsadm's, whatever director they are from.
fn text(request: &Request, error: &ClientError) -> String {
    match error {
        ClientError::Refused(errno) => refusal(request, *errno),
        other => other.to_string(),
    }
}

/// The text of a refusal.
pub(crate) fn refusal(request: &Request, errno: Errno) -> String {
    let particular = match (request, errno) {
        (Request::NewService(..), Errno::EEXIST) => "Service already exists",
        (Request::NewService(..) | Request::SetService(..), Errno::ENOENT) => {
            "Scheduler or persistence engine not found"
        }
        (
            Request::SetService(..)
            | Request::DeleteService(_)
            | Request::Service(_)
            | Request::Services
            | Request::Destinations(_)
            | Request::Zero(_),
            Errno::ESRCH,
        ) => "No such service",
        (
            Request::NewDestination(..)
            | Request::SetDestination(..)
            | Request::DeleteDestination(..),
            Errno::ESRCH,
        ) => "Service not defined",
        (Request::NewDestination(..), Errno::EEXIST) => "Destination already exists",
        (Request::SetDestination(..) | Request::DeleteDestination(..), Errno::ENOENT) => {
            "No such destination"
        }
        (Request::NewDaemon(_), Errno::EEXIST) => "Daemon has already run",
        // The kernel has no such refusal.
        (Request::NewDaemon(_), Errno::EOPNOTSUPP) => "lvsd does not synchronize connections yet",
        (Request::DeleteDaemon(_), Errno::ESRCH) => "No daemon is running",
        _ => return general(errno),
    };
    particular.to_owned()
}

/// The text of an error whatever was asked.
pub(crate) fn general(errno: Errno) -> String {
    match errno {
        Errno::EPERM => "Permission denied (you must be root)".to_owned(),
        Errno::EINVAL => {
            "Invalid operation.  Possibly wrong module version, address not unicast, ...".to_owned()
        }
        Errno::ENOPROTOOPT => "Protocol not available".to_owned(),
        Errno::ENOMEM => "Memory allocation problem".to_owned(),
        Errno::EOPNOTSUPP => "Operation not supported with IPv6".to_owned(),
        Errno::EAFNOSUPPORT => "Operation not supported with specified address family".to_owned(),
        Errno::EMSGSIZE => "Module is wrong version".to_owned(),
        other => other.to_string(),
    }
}
