//! The bench's ends of the director's links: frames go out and come in raw, and a marker tells when the director is done.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lvsx_host::packet::bind_to_interface;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, send,
    setsockopt, socket, sockopt,
};

use super::super::addresses::{Port, director, gateway};
use super::super::packet::{Header, frame, icmp, ip};
use super::super::read;
use super::super::scenario::Checksum;
use super::super::traffic::OnLink;
use super::network::far;

/// What the marker's echo requests carry.
const MARKER: &[u8] = b"bench-marker";
/// How long the director may take to answer it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the director answers it before all that came before is out: frames that an XDP program sends leave when
/// the receiving queue has been worked off, which an answer may overtake once.
const ROUNDS: usize = 2;
/// How long packets may take that lvsd decides on itself, past which the marker goes.
const ASIDE: Duration = Duration::from_millis(500);
/// How long after the last of their frames another one may come.
const PAUSE: Duration = Duration::from_millis(50);
/// No path of the bench takes less, with a tunnel's headers off: what is learned of one is 552 bytes at least.
const NARROW: usize = 532;

/// Raw sockets, one a link.
pub(super) struct Links {
    sockets: Vec<OwnedFd>,
    sequence: u16,
}

impl Links {
    /// Opens the ends of `count` links, in the calling thread's network namespace.
    ///
    /// # Errors
    /// A socket cannot be opened.
    pub(super) fn open(count: u8) -> Result<Self> {
        let sockets: io::Result<Vec<OwnedFd>> = (0..count).map(|link| open(&far(link))).collect();
        Ok(Self {
            sockets: sockets.context("a raw socket")?,
            sequence: 0,
        })
    }

    /// Sends frames, and gives what comes out until the director is at rest, in the order of links.
    ///
    /// # Errors
    /// The director does not answer the marker.
    pub(super) fn exchange(&mut self, frames: &[OnLink]) -> Result<Vec<OnLink>> {
        for (link, frame) in frames {
            self.send(*link, frame)?;
        }
        let mut heard = Vec::new();
        if frames.iter().any(|(_, frame)| may_be_cut(frame)) {
            self.listen_aside(&mut heard)?;
        }
        for _ in 0..ROUNDS {
            self.mark(&mut heard)?;
        }
        heard.sort_by_key(|(link, _)| *link);
        Ok(heard)
    }

    fn send(&self, link: u8, frame: &[u8]) -> Result<()> {
        match send(
            self.sockets[usize::from(link)].as_raw_fd(),
            frame,
            MsgFlags::empty(),
        ) {
            // Larger than the director's end takes: lost on the wire.
            Ok(_) | Err(Errno::ENOBUFS | Errno::EMSGSIZE) => Ok(()),
            Err(error) => Err(error).context("a frame cannot be sent"),
        }
    }

    /// Pings the director on every link and listens until it has answered.
    fn mark(&mut self, heard: &mut Vec<OnLink>) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut open: Vec<u8> = (0..self.sockets.len() as u8).collect();
        for link in &open {
            self.send(*link, &marker(*link, self.sequence))?;
        }
        let end = Instant::now() + PATIENCE;
        while !open.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("the director no longer answers a ping");
            }
            let mut ready: Vec<PollFd<'_>> = self
                .sockets
                .iter()
                .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
                .collect();
            poll(
                &mut ready,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            )?;
            for link in 0..self.sockets.len() as u8 {
                while let Some(frame) = self.receive(link)? {
                    match answered(&frame) {
                        Some(sequence) if sequence == self.sequence => {
                            open.retain(|waiting| *waiting != link)
                        }
                        Some(_) => {}
                        None if is_noise(&frame) => {}
                        None => heard.push((link, frame)),
                    }
                }
            }
        }
        Ok(())
    }

    /// Listens for what lvsd sends itself.
    fn listen_aside(&self, heard: &mut Vec<OnLink>) -> Result<()> {
        let mut end = Instant::now() + ASIDE;
        while Instant::now() < end {
            let before = heard.len();
            for link in 0..self.sockets.len() as u8 {
                while let Some(frame) = self.receive(link)? {
                    if !is_noise(&frame) {
                        heard.push((link, frame));
                    }
                }
            }
            if heard.len() > before {
                end = Instant::now() + PAUSE;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn receive(&self, link: u8) -> Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match recvfrom::<LinkAddr>(self.sockets[usize::from(link)].as_raw_fd(), &mut buffer) {
                Ok((_, Some(from))) if from.pkttype() == libc::PACKET_OUTGOING => {}
                Ok((length, _)) => {
                    buffer.truncate(length);
                    return Ok(Some(buffer));
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(error) => return Err(error).context("a frame cannot be received"),
            }
        }
    }
}

fn open(name: &str) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        flags,
        SockProtocol::EthAll,
    )?;
    setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20))?;
    bind_to_interface(&socket, nix::net::if_::if_nametoindex(name)?)?;
    Ok(socket)
}

fn marker(link: u8, sequence: u16) -> Vec<u8> {
    let header = Header {
        from: gateway(link, false),
        to: director(link, false),
        ttl: 64,
        tos: 0,
        id: 0,
        df: false,
    };
    let message = icmp(
        &header,
        (8, 0),
        0xfffe_0000 | u32::from(sequence),
        MARKER,
        Checksum::Right,
    );
    let port = if link == 0 {
        Port::Gateway
    } else {
        Port::Marker
    };
    frame(
        Port::Director(link).mac(),
        port.mac(),
        &ip(&header, 1, &message),
    )
}

/// The number of the marker that this frame answers.
fn answered(frame: &[u8]) -> Option<u16> {
    let outer = read::ip(frame.get(14..)?, false)?;
    let is_answer = outer.protocol == 1
        && outer.body.first() == Some(&0)
        && outer.body.get(8..) == Some(MARKER);
    let is_director = matches!(outer.from, IpAddr::V4(from) if from.octets()[3] == 1);
    if is_answer && is_director {
        Some(u16::from_be_bytes(outer.body.get(6..8)?.try_into().ok()?))
    } else {
        None
    }
}

/// Next header of IPv6's fragment header.
const FRAGMENT: u8 = 44;

/// Whether a packet is a fragment, be it the only one, or one that may become some; without path MTU discovery DF does not
/// hinder that.
fn may_be_cut(frame: &[u8]) -> bool {
    let packet = frame.get(14..).unwrap_or_default();
    let is_fragment = read::ip(packet, false).is_some_and(|outer| outer.more || outer.offset > 0);
    let is_only_one = frame.get(12..14) == Some(&[0x86, 0xdd]) && packet.get(6) == Some(&FRAGMENT);
    is_fragment || is_only_one || packet.len() > NARROW
}

/// What a kernel sends of its own accord: neighbour discovery, multicast reports, anything but IP.
fn is_noise(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([8, 0]) => false,
        Some([0x86, 0xdd]) => {
            let packet = &frame[14..];
            let kind = packet.get(40).copied().unwrap_or(0);
            packet.get(6) == Some(&0)
                || packet.get(6) == Some(&58) && matches!(kind, 130..=137 | 143)
        }
        _ => true,
    }
}
