//! What the service manager is told, by `sd_notify(3)`: that the director serves, that it looks at everything again, and, where
//! there is a watchdog, that it is alive.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Sends `state` to the socket that `NOTIFY_SOCKET` names. Without one nobody wants to know.
///
/// # Errors
/// Those of the socket.
pub(super) fn notify(state: &str) -> io::Result<()> {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(state.as_bytes(), &address)
        .map(drop)
}

/// Says that the director reloads. `READY=1` must follow.
///
/// # Errors
/// Those of the clock and the socket.
pub(super) fn notify_reloading() -> io::Result<()> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    // The manager tells by the time which of several reloads this one is.
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()))
}

/// The service manager's watchdog, which wants to hear from this process again and again (`sd_watchdog_enabled(3)`).
pub(super) struct Watchdog(Option<Interval>);

impl Watchdog {
    /// The one that the environment tells of, if it is meant for this process.
    pub(super) fn of_this_process() -> Self {
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let patience = number("WATCHDOG_USEC").filter(|patience| is_ours && *patience > 1);
        Self(patience.map(|patience| {
            let mut signs = interval(Duration::from_micros(patience / 2));
            signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
            signs
        }))
    }

    /// Ends when the next sign of life is due: twice in the manager's patience. Never, where there is no watchdog.
    pub(super) async fn due(&mut self) {
        match &mut self.0 {
            Some(signs) => drop(signs.tick().await),
            None => std::future::pending().await,
        }
    }
}
