//! The netlink socket, for clients that know no other way: netlink carries datagrams between processes of one network
//! namespace, and the kernel lets only senders with `CAP_NET_ADMIN` there do that (`netlink_sendmsg`, Linux 6.1).
//!
//! A receiver with a full buffer cannot be waited for, so what does not fit is tried again for a while, by a task of its
//! own; a client that does not read loses its answers and nobody waits for it.

use super::request::Desk;
use super::watch::watch;
use anyhow::{Result, bail};
use lvsx_ipvs::Rights;
use lvsx_ipvs::transport::{FIRST_PORT, PORT_SHIFT};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto,
    socket,
};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

/// Port ids that are tried.
const PORTS: u32 = 16;
/// Longest request.
const DATAGRAM_MAX: usize = 1 << 16;
/// Time between tries to a receiver that is full.
const AGAIN: Duration = Duration::from_millis(2);
/// A receiver that stays full for so long loses what is left.
const PATIENCE: Duration = Duration::from_secs(5);
/// Receivers that are waited for at once.
const SLOW_RECEIVERS: usize = 32;

/// The socket, with its port id.
pub(super) struct Port {
    fd: AsyncFd<OwnedFd>,
    /// The port id.
    pub(super) id: u32,
}

impl Port {
    /// Takes a port of the calling thread's network namespace.
    ///
    /// # Errors
    /// Those of the socket; all our ports are somebody else's.
    pub(super) fn bind() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags,
            SockProtocol::NetlinkGeneric,
        )?;
        for number in 0..PORTS {
            let id = FIRST_PORT + (number << PORT_SHIFT);
            match bind(fd.as_raw_fd(), &NetlinkAddr::new(id, 0)) {
                Ok(()) => {
                    return Ok(Self {
                        fd: watch(fd, Interest::READABLE)?,
                        id,
                    });
                }
                Err(Errno::EADDRINUSE) => tracing::warn!(
                    "somebody else has taken the netlink port {id:#x}, perhaps to answer in our place; trying the next \
                     (/proc/net/netlink tells who)"
                ),
                Err(error) => return Err(error.into()),
            }
        }
        bail!("all netlink ports of lvsd are taken by others (/proc/net/netlink tells by whom)")
    }

    /// Serves clients for ever.
    pub(super) async fn serve(self, desk: Desk) {
        let port = Arc::new(self);
        let places = Arc::new(Semaphore::new(SLOW_RECEIVERS));
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let (datagram, client) = match port.receive(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // Overrun: requests were lost, whose senders will notice.
                    tracing::warn!("the netlink port: {error}");
                    continue;
                }
            };
            let Some(answers) = desk.ask(Rights::All, datagram, Some(client)).await else {
                return;
            };
            let mut answers = VecDeque::from(answers);
            if port.send(&mut answers, client) {
                continue;
            }
            match places.clone().try_acquire_owned() {
                Ok(place) => {
                    let port = port.clone();
                    tokio::spawn(async move {
                        port.send_patiently(answers, client).await;
                        drop(place);
                    });
                }
                Err(_) => {
                    tracing::warn!("netlink client {client} does not read; its answers are dropped")
                }
            }
        }
    }

    /// The next request and its sender's port id, which the kernel vouches for.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(Vec<u8>, u32)> {
        loop {
            let received = self.fd.async_io(Interest::READABLE, |fd| {
                Ok(recvfrom::<NetlinkAddr>(fd.as_raw_fd(), buffer)?)
            });
            let (length, from) = received.await?;
            // Port 0 is the kernel, which asks nothing.
            if let (Some(client), Some(datagram)) = (
                from.map(|from| from.pid()).filter(|id| *id != 0),
                buffer.get(..length),
            ) {
                return Ok((datagram.to_vec(), client));
            }
        }
    }

    /// Sends what the client takes at once. Whether that was all; a client that is gone takes all.
    fn send(&self, answers: &mut VecDeque<Vec<u8>>, client: u32) -> bool {
        let to = NetlinkAddr::new(client, 0);
        while let Some(answer) = answers.front() {
            match sendto(self.fd.as_raw_fd(), answer, &to, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return false,
                Err(error) => {
                    tracing::debug!("netlink client {client}: {error}");
                    return true;
                }
                Ok(_) => drop(answers.pop_front()),
            }
        }
        true
    }

    async fn send_patiently(&self, mut answers: VecDeque<Vec<u8>>, client: u32) {
        let begin = Instant::now();
        while !self.send(&mut answers, client) {
            if begin.elapsed() > PATIENCE {
                tracing::warn!(
                    "netlink client {client} does not read; {} answers are dropped",
                    answers.len()
                );
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
