//! Packets that programs hand to the director: read from the buffers of the CPUs, sent by a packet socket or as a socket of this
//! host would.

use crate::fragments::Taken;
use crate::fragments::piece::kind;
use crate::loader::Buffer;
use lvsx_core::host::Frame;
use lvsx_core::wire::{ETHERNET, IPV4};
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

/// Sockets that send frames, and packets as sockets of this host do.
pub(super) struct Sender {
    frames: OwnedFd,
    ipv4: OwnedFd,
    ipv6: Option<OwnedFd>,
}

impl Sender {
    /// Opens them in the calling thread's network namespace. They receive nothing.
    ///
    /// # Errors
    /// Those of `socket`; a host without IPv6 has none for that.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            frames: socket(libc::AF_PACKET, 0)?,
            ipv4: socket(libc::AF_INET, libc::IPPROTO_RAW)?,
            ipv6: socket(libc::AF_INET6, libc::IPPROTO_RAW).ok(),
        })
    }

    /// Sends a frame by its interface.
    ///
    /// # Errors
    /// Those of `sendto`: no such interface, it is down, its queue is full.
    pub(super) fn send(&self, frame: &Frame) -> io::Result<()> {
        let kind = kind(&frame.bytes).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: all zeros is a valid address of this kind.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_protocol = kind;
        to.sll_ifindex = frame.interface as i32;
        send_to(&self.frames, &frame.bytes, &to)
    }

    /// Sends the packet in a frame to the destination in its IP header, as it is.
    ///
    /// # Errors
    /// Those of `sendto`: no route there; the host has no IPv6.
    pub(super) fn deliver(&self, frame: &Frame) -> io::Result<()> {
        let short = io::ErrorKind::InvalidInput;
        let packet = frame.bytes.get(ETHERNET..).ok_or(short)?;
        if kind(&frame.bytes) == Some(IPV4) {
            let to = *packet
                .get(16..)
                .and_then(<[u8]>::first_chunk::<4>)
                .ok_or(short)?;
            // SAFETY: all zeros is a valid address of this kind.
            let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            address.sin_family = libc::AF_INET as u16;
            address.sin_addr.s_addr = u32::from_ne_bytes(to);
            return send_to(&self.ipv4, packet, &address);
        }
        let socket = self.ipv6.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let to = *packet
            .get(24..)
            .and_then(<[u8]>::first_chunk::<16>)
            .ok_or(short)?;
        // SAFETY: all zeros is a valid address of this kind.
        let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        address.sin6_family = libc::AF_INET6 as u16;
        address.sin6_addr.s6_addr = to;
        send_to(socket, packet, &address)
    }
}

/// A raw socket.
fn socket(family: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: a call that takes numbers.
    let socket = unsafe { libc::socket(family, kind, protocol) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened above and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// Sends bytes to a socket's address.
fn send_to<A>(socket: &OwnedFd, bytes: &[u8], to: &A) -> io::Result<()> {
    // SAFETY: the bytes and the address are as long as said, and outlive the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            std::ptr::from_ref(to).cast(),
            size_of::<A>() as u32,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
