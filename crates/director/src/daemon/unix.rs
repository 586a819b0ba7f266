//! The Unix sockets: one record a datagram. One is for clients of the same user, who may do everything; the other for the
//! user of the health checks too, who may read and set weights ([`Rights::Weights`]).
//!
//! Each client has a task of its own. It is asked for its next request when it has taken all answers to the last one, and
//! is dropped when it does not take them; so no client holds up another, nor fills the director's memory.

use super::request::Desk;
use super::watch::watch;
use anyhow::{Context, Result};
use lvsx_ipvs::Rights;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt,
    listen, recv, send, socket, sockopt,
};
use nix::unistd::Uid;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Longest request.
const DATAGRAM_MAX: usize = 1 << 16;
/// Clients at once; more wait to be accepted.
const CLIENTS: usize = 64;
/// A client that does not take an answer for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listening socket.
pub(super) struct Listener {
    fd: AsyncFd<OwnedFd>,
    door: Door,
}

/// Who may come in, and for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    /// A user besides the director's own.
    pub(super) guest: Option<Uid>,
    /// What clients may ask for.
    pub(super) rights: Rights,
}

impl Listener {
    /// Listens at `path`; what a director before left there is replaced.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn bind(path: &Path, door: Door) -> Result<Self> {
        let at = || path.display().to_string();
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(at);
            }
            _ => {}
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?).with_context(at)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).with_context(at)?;
        if let Some(guest) = door.guest {
            std::os::unix::fs::chown(path, Some(guest.as_raw()), None).with_context(at)?;
        }
        listen(&fd, Backlog::new(128)?).with_context(at)?;
        let fd = watch(fd, Interest::READABLE)?;
        Ok(Self { fd, door })
    }

    /// Serves clients for ever.
    pub(super) async fn serve(self, desk: Desk) {
        let places = Arc::new(Semaphore::new(CLIENTS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            match self.accept().await {
                Ok(client) => {
                    let (desk, door) = (desk.clone(), self.door);
                    tokio::spawn(async move {
                        if let Err(error) = attend(client, door, desk).await {
                            tracing::debug!("a client of the Unix socket: {error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: some clients will go.
                    tracing::warn!("accepting a client: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let accepted = self
            .fd
            .async_io(Interest::READABLE, |fd| Ok(accept4(fd.as_raw_fd(), flags)?))
            .await?;
        // SAFETY: the descriptor is new and nobody else's.
        watch(
            unsafe { OwnedFd::from_raw_fd(accepted) },
            Interest::READABLE | Interest::WRITABLE,
        )
    }
}

async fn attend(client: AsyncFd<OwnedFd>, door: Door, desk: Desk) -> io::Result<()> {
    let user = Uid::from_raw(getsockopt(client.get_ref(), sockopt::PeerCredentials)?.uid());
    if user != Uid::effective() && Some(user) != door.guest {
        tracing::warn!("user {user} may not speak to the director");
        return Ok(());
    }
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let length = client
            .async_io(Interest::READABLE, |fd| {
                Ok(recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC)?)
            })
            .await?;
        if length == 0 {
            return Ok(());
        }
        let Some(datagram) = buffer.get(..length) else {
            tracing::warn!("a request of {length} bytes is too long; its sender is dropped");
            return Ok(());
        };
        let Some(answers) = desk.ask(door.rights, datagram.to_vec(), None).await else {
            return Ok(());
        };
        for answer in answers {
            let sending = client.async_io(Interest::WRITABLE, |fd| {
                match send(fd.as_raw_fd(), &answer, MsgFlags::MSG_NOSIGNAL) {
                    Err(Errno::EAGAIN) => Err(io::ErrorKind::WouldBlock.into()),
                    done => Ok(done?),
                }
            });
            match timeout(PATIENCE, sending).await {
                Ok(sent) => drop(sent?),
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }
}
