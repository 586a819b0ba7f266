//! Counts the packets of a service on a machine's cards, as a packet socket sees them.
//!
//! It stands on the client, before the first and behind the last machine that could change, join or
//! split a packet, so it counts what the director must have counted.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};

use crate::Host;

/// Packets and bytes of one direction. Bytes are those of whole IP packets, as IPVS counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The number of packets; one that the card is to cut into pieces counts once.
    pub packets: u64,
    /// Their bytes, IP header included, link header not.
    pub bytes: u64,
}

/// What was seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// To the service.
    pub sent: Traffic,
    /// From the service.
    pub received: Traffic,
}

/// A running count; it ends when dropped.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: Counter,
    received: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    fn add(&self, bytes: u64) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

impl Capture {
    /// Counts TCP packets between `host` and `service` from now on.
    ///
    /// # Errors
    /// When the packet socket cannot be opened.
    pub fn start(host: &Host, service: SocketAddrV4) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let (opened, opening) = mpsc::channel();
        let namespace = host.namespace().clone();
        let counting = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let socket = namespace.enter().and_then(|()| open());
            match socket {
                Ok(socket) => {
                    let _ = opened.send(Ok(()));
                    count(&socket, service, &counting);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        opening
            .recv()
            .context("the counting thread is gone")?
            .context("no packet socket")?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen {
            sent: self.shared.sent.traffic(),
            received: self.shared.received.traffic(),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A socket that gets a copy of every packet of this namespace, both ways, without link header.
fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Datagram,
        flags,
        SockProtocol::EthAll,
    )?;
    // A super-frame counts with all its bytes, and on a busy machine a whole transfer may wait to be counted.
    setsockopt(&socket, sockopt::RcvBufForce, &(256 << 20))?;
    Ok(socket)
}

fn count(socket: &OwnedFd, service: SocketAddrV4, shared: &Shared) {
    let mut buffer = [0; 128];
    while !shared.stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if !poll(&mut ready, PollTimeout::from(20u8)).is_ok_and(|ready| ready > 0) {
            continue;
        }
        while let Ok((length, Some(from))) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
            if from.protocol() != (libc::ETH_P_IP as u16).to_be() {
                continue;
            }
            let outgoing = from.pkttype() == libc::PACKET_OUTGOING;
            if let Some((peer, bytes)) =
                parse(&buffer[..length], outgoing).filter(|(peer, _)| *peer == service)
            {
                debug_assert_eq!(peer, service);
                if outgoing {
                    shared.sent.add(bytes)
                } else {
                    shared.received.add(bytes)
                }
            }
        }
    }
}

/// The other side of a TCP packet, and the packet's length.
fn parse(packet: &[u8], outgoing: bool) -> Option<(SocketAddrV4, u64)> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    if packet.first()? >> 4 != 4 || *packet.get(9)? != 6 {
        return None;
    }
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let address = |at: usize| {
        Some(Ipv4Addr::from(
            <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?,
        ))
    };
    let peer = if outgoing {
        SocketAddrV4::new(address(16)?, word(header + 2)?)
    } else {
        SocketAddrV4::new(address(12)?, word(header)?)
    };
    Some((peer, word(2)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10.0.0.1:1000 > 10.0.0.2:80, TCP, 40 bytes.
    const PACKET: [u8; 40] = {
        let mut packet = [0; 40];
        (packet[0], packet[3], packet[9]) = (0x45, 40, 6);
        (packet[12], packet[15]) = (10, 1);
        (packet[16], packet[19]) = (10, 2);
        (packet[20], packet[21], packet[23]) = (3, 0xe8, 80);
        packet
    };

    #[test]
    fn the_other_side_depends_on_the_direction() {
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 80);
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 1000);
        assert_eq!(parse(&PACKET, true), Some((to, 40)));
        assert_eq!(parse(&PACKET, false), Some((from, 40)));
    }

    #[test]
    fn other_and_short_packets_are_not_counted() {
        for length in 0..24 {
            assert_eq!(parse(&PACKET[..length], true), None, "{length} bytes");
        }
        let mut udp = PACKET;
        udp[9] = 17;
        assert_eq!(parse(&udp, true), None);
    }
}
