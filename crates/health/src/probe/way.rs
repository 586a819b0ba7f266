//! The way to a server: to its own address, or the one that clients go.
//!
//! A server that answers past the director is asked at the virtual address. Such a request would go to whichever server is next;
//! so the director is told beforehand which one this connection is for, and sends its packets there by the destination's own
//! method. What comes back has the virtual address for a source, as it has for clients.

use crate::config::check::{Through, Whom};
use crate::table::Director;
use lvsx_ipvs::{Lead, ServiceKey};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as Blocking};
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

const TCP: u8 = libc::IPPROTO_TCP as u8;
const UDP: u8 = libc::IPPROTO_UDP as u8;

/// A socket, and whom it is to be connected to. `None`: the director did not lead it, which says nothing about the server.
type Led<S> = Option<Result<(S, SocketAddr), String>>;

/// The ways to all servers.
pub(super) struct Ways {
    director: Director,
    /// Why the director led nothing, as it was told last.
    complaint: Mutex<Option<String>>,
}

impl Ways {
    /// The ways that `director` leads.
    pub(super) fn new(director: Director) -> Self {
        Self {
            director,
            complaint: Mutex::new(None),
        }
    }

    /// A socket for a connection to `whom`.
    pub(super) async fn tcp(&self, whom: Whom, within: Duration) -> Led<TcpSocket> {
        let socket = |from: SocketAddr| {
            let socket = match from {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.bind(from)?;
            // Ended at once, so that what is left of a check is gone before its entry.
            #[expect(deprecated, reason = "a reset never makes anybody wait")]
            socket.set_linger(whom.through.map(|_| Duration::ZERO))?;
            let from = socket.local_addr()?;
            Ok((socket, from))
        };
        self.prepare(whom, TCP, within, socket).await
    }

    /// A socket for datagrams to `whom`.
    pub(super) async fn udp(&self, whom: Whom, within: Duration) -> Led<UdpSocket> {
        let socket = |from: SocketAddr| {
            let socket = Blocking::bind(from)?;
            socket.set_nonblocking(true)?;
            let from = socket.local_addr()?;
            Ok((UdpSocket::from_std(socket)?, from))
        };
        self.prepare(whom, UDP, within, socket).await
    }

    async fn prepare<S>(
        &self,
        whom: Whom,
        protocol: u8,
        within: Duration,
        socket: impl FnOnce(SocketAddr) -> io::Result<(S, SocketAddr)>,
    ) -> Led<S> {
        let failed = |error: io::Error| Some(Err(format!("no connection: {error}")));
        let Some((through, to)) = virtual_end(&whom) else {
            let to = SocketAddr::new(whom.address, whom.port);
            return match socket(SocketAddr::new(any(to.ip()), 0)) {
                Ok((socket, _)) => Some(Ok((socket, to))),
                Err(error) => failed(error),
            };
        };
        let bound = near(whom.address).and_then(|near| socket(SocketAddr::new(near, 0)));
        let (socket, client) = match bound {
            Ok(bound) => bound,
            Err(error) => return failed(error),
        };
        let lead = Lead {
            protocol,
            client,
            port: whom.port,
            within,
        };
        let led = timeout(within, self.director.lead(through, lead)).await;
        let why = match led {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some(format!("no answer within {within:?}")),
        };
        let is_led = why.is_none();
        self.tell(&to, why);
        is_led.then_some(Ok((socket, to)))
    }

    /// Says once that checks cannot be made, and why.
    fn tell(&self, to: &SocketAddr, why: Option<String>) {
        let Ok(mut told) = self.complaint.lock() else {
            return;
        };
        if let Some(why) = why.as_ref().filter(|why| told.as_ref() != Some(why)) {
            tracing::warn!(
                "the director does not lead checks to servers of {to}, so these tell nothing: {why}"
            );
        }
        *told = why;
    }
}

/// The end that clients ask for.
fn virtual_end(whom: &Whom) -> Option<(Through, SocketAddr)> {
    let through = whom.through?;
    match through.service {
        ServiceKey::Address { addr, .. } => Some((through, SocketAddr::new(addr, whom.port))),
        ServiceKey::Mark { .. } => None,
    }
}

/// The address that this host sends to `server` from. Nothing is sent.
fn near(server: IpAddr) -> io::Result<IpAddr> {
    let socket = Blocking::bind((any(server), 0))?;
    // Port 9 is discard's.
    socket.connect((server, 9))?;
    Ok(socket.local_addr()?.ip())
}

fn any(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
