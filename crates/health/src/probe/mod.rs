//! Asking a server whether it works, once.
//!
//! What answers is not trusted: it is read up to a limit and a time, and nothing of it is acted upon but the verdict.

mod http;
mod ping;
pub mod script;
mod tls;
mod udp;
mod way;

use crate::config::Config;
use crate::config::check::{Check, Kind, Whom};
use crate::table::Director;
use anyhow::{Context, Result};
use ping::Pinger;
use script::Runner;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use way::Ways;

/// What checks need and what takes rights to get: sockets for echo requests, the process that runs scripts; and certificates.
pub struct Means {
    pings: Option<ping::Sockets>,
    scripts: Option<script::Channel>,
    tls: BTreeMap<String, TlsConnector>,
}

impl Means {
    /// Gets what the configuration's checks need, while the process still may.
    ///
    /// # Errors
    /// What cannot be had, and how it could.
    pub fn prepare(config: &Config) -> Result<Self> {
        let checks = config.checks();
        let mut tls = BTreeMap::new();
        for check in &checks {
            if let Kind::Https(_, wanted) = &check.kind {
                let connector =
                    tls::connector(wanted).with_context(|| format!("[check.{}]", check.name))?;
                tls.insert(check.name.clone(), connector);
            }
        }
        let has_pings = checks.iter().any(|check| matches!(check.kind, Kind::Ping));
        let scripts: Vec<_> = checks
            .iter()
            .filter_map(|check| match &check.kind {
                Kind::Script(script) => Some((check.clone(), script.clone())),
                _ => None,
            })
            .collect();
        Ok(Self {
            pings: has_pings.then(ping::Sockets::open).transpose()?,
            scripts: match scripts.is_empty() {
                true => None,
                false => Some(script::start(&config.process, &scripts)?),
            },
            tls,
        })
    }

    /// The prober, once the runtime is there. `director` leads what goes the way of clients.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn into_prober(self, director: Director) -> Result<Prober> {
        Ok(Prober {
            ways: Ways::new(director),
            pinger: self.pings.map(Pinger::start).transpose()?,
            runner: self.scripts.map(Runner::start).transpose()?,
            tls: self.tls,
        })
    }
}

/// Asks servers.
pub struct Prober {
    ways: Ways,
    pinger: Option<Pinger>,
    runner: Option<Runner>,
    tls: BTreeMap<String, TlsConnector>,
}

impl Prober {
    /// Asks a server. Why it does not work, if it does not; `None`: it could not be asked, which says nothing about it.
    pub async fn ask(self: Arc<Self>, check: &Check, whom: Whom) -> Option<Result<(), String>> {
        let within = check.timeout;
        Some(match &check.kind {
            Kind::Tcp | Kind::Http(_) | Kind::Https(..) => {
                match self.ways.tcp(whom, within).await? {
                    Ok((socket, to)) => in_time(within, self.fetch(check, socket, to)).await,
                    Err(why) => Err(why),
                }
            }
            Kind::Udp(datagram) => match self.ways.udp(whom, within).await? {
                Ok((socket, to)) => udp::ask(socket, to, datagram, within).await,
                Err(why) => Err(why),
            },
            Kind::Ping => in_time(within, self.pinger.as_ref()?.ping(whom.address)).await,
            Kind::Script(_) => return self.runner.as_ref()?.run(&check.name, whom).await,
        })
    }

    /// Connects, and fetches what the check asks for.
    async fn fetch(&self, check: &Check, socket: TcpSocket, to: SocketAddr) -> Result<(), String> {
        let stream = connect(socket, to).await?;
        match &check.kind {
            Kind::Http(page) => http::fetch(stream, page, to).await,
            Kind::Https(page, tls) => {
                let connector = self.tls.get(&check.name).ok_or("TLS is not set up")?;
                let stream = tls::open(connector, stream, tls, to.ip()).await?;
                http::fetch(stream, page, to).await
            }
            _ => Ok(()),
        }
    }
}

/// Has the runtime wait for a descriptor.
fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor stays open as long as the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

async fn connect(socket: TcpSocket, to: SocketAddr) -> Result<TcpStream, String> {
    socket
        .connect(to)
        .await
        .map_err(|error| format!("no connection: {error}"))
}

async fn in_time<T>(
    within: Duration,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    timeout(within, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {within:?}")))
}
