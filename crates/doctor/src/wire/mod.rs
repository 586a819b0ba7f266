//! Questions put to a segment: frames sent as they are, and what comes back.
//!
//! A packet socket hears what arrives before any filter of this host, and sends past its routes. So
//! the answers are what really happens on the wire, whatever sysctls and rules say.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use lvsx_host::Card;
use lvsx_host::packet::bind_to_interface;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, send, socket,
};

pub(crate) mod frame;
pub(crate) mod heard;

pub(crate) use heard::{Heard, Said};

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// `struct virtio_net_hdr`, which the socket puts before each frame: its first byte tells whether
/// the checksum is still to be filled in.
const VNET_HEADER: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;

/// A packet socket on one interface.
pub(crate) struct Wire {
    socket: OwnedFd,
    /// The interface.
    pub(crate) card: Card,
}

impl Wire {
    /// Opens the interface for sending and hearing.
    ///
    /// # Errors
    /// Those of the socket: mostly not root.
    pub(crate) fn open(card: &Card) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let family = AddressFamily::Packet;
        let socket = socket(family, SockType::Raw, flags, SockProtocol::EthAll)?;
        tell_of_checksums(&socket)?;
        bind_to_interface(&socket, card.index)?;
        Ok(Self {
            socket,
            card: card.clone(),
        })
    }

    /// Sends a whole frame.
    ///
    /// # Errors
    /// Those of the socket, such as `ENETDOWN`.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        let mut message = vec![0; VNET_HEADER];
        message.extend_from_slice(frame);
        match send(self.socket.as_raw_fd(), &message, MsgFlags::empty()) {
            // A virtual wire says so where the other end takes no frame as long: it is lost.
            Ok(_) | Err(Errno::ENOBUFS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Hears until `enough` says so of something heard, or the time is up.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) fn hear(
        &self,
        time: Duration,
        mut enough: impl FnMut(&Heard) -> bool,
    ) -> io::Result<bool> {
        let end = Instant::now() + time;
        loop {
            while let Some(heard) = self.receive()? {
                if enough(&heard) {
                    return Ok(true);
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let wait = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
            let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::from(wait)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next frame that came in and is of a kind we know; `None` when there is none.
    fn receive(&self) -> io::Result<Option<Heard>> {
        let mut buffer = [0; 2048];
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                Ok((_, Some(from))) if from.pkttype() == libc::PACKET_OUTGOING => {}
                Ok((length, _)) => {
                    let message = &buffer[..length.min(buffer.len())];
                    let unfinished = message.first().is_some_and(|f| f & NEEDS_CHECKSUM != 0);
                    let frame = message.get(VNET_HEADER..).unwrap_or_default();
                    if let Some(heard) = Heard::parse(frame, unfinished) {
                        return Ok(Some(heard));
                    }
                }
                Err(Errno::EAGAIN) => return Ok(None),
                // The interface went down: there is nothing to hear.
                Err(Errno::ENETDOWN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Asks for the header that tells whether a frame's checksum is finished.
fn tell_of_checksums(socket: &OwnedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: pointer and length describe `on`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_VNET_HDR,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(result)?;
    Ok(())
}
