//! Packets that programs hand to the director: read from the buffers of the CPUs, sent by a packet socket.

use crate::fragments::Taken;
use crate::loader::Buffer;
use lvsx_core::host::Frame;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::sync::mpsc;

use super::watch::watch;

/// Packets that were read and are not decided on. What is more stays in the buffers, and these fill up.
const QUEUE: usize = 256;
/// Packets read in one go.
const AT_ONCE: usize = 32;

/// Begins to read the buffers: what comes of it. To be called inside the runtime.
///
/// # Errors
/// Those of `epoll_ctl`.
pub(super) fn read(buffers: Vec<Buffer>) -> io::Result<mpsc::Receiver<Taken>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    for buffer in buffers {
        let mut buffer = watch(buffer, Interest::READABLE)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Ok(mut guard) = buffer.readable_mut().await {
                let (taken, is_empty) = guard.get_inner_mut().read(AT_ONCE);
                // What comes in from here on makes the descriptor readable again.
                if is_empty {
                    guard.clear_ready();
                }
                for taken in taken {
                    if sender.send(taken).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
    Ok(receiver)
}

/// A socket that sends frames.
pub(super) struct Sender(OwnedFd);

impl Sender {
    /// Opens it in the calling thread's network namespace. It receives nothing.
    ///
    /// # Errors
    /// Those of `socket`.
    pub(super) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: a call that takes numbers.
        let socket = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened above and belongs to nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(socket) }))
    }

    /// Sends a frame by its interface.
    ///
    /// # Errors
    /// Those of `sendto`: no such interface, it is down, its queue is full.
    pub(super) fn send(&self, frame: &Frame) -> io::Result<()> {
        let [.., high, low] = *frame.bytes.get(..14).unwrap_or(&[0, 0]) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // SAFETY: all zeros is a valid address of this kind.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_protocol = u16::from_ne_bytes([high, low]);
        to.sll_ifindex = frame.interface as i32;
        // SAFETY: the frame and the address are as long as said, and outlive the call.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.bytes.as_ptr().cast(),
                frame.bytes.len(),
                0,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
