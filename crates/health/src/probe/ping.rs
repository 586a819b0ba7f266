//! Echo requests (RFC 792, RFC 4443), over raw sockets that were opened while the process still might.

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, recv,
    sendto, socket,
};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST_6: u8 = 128;
const ECHO_REPLY_6: u8 = 129;
/// Longest answer that is looked at.
const ANSWER_MAX: usize = 2048;

/// Open sockets, one a family.
pub(super) struct Sockets([OwnedFd; 2]);

impl Sockets {
    /// Opens them.
    ///
    /// # Errors
    /// The process may not.
    pub(super) fn open() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let open = |family, protocol| socket(family, SockType::Raw, flags, protocol);
        let ipv4 = open(AddressFamily::Inet, SockProtocol::Icmp);
        let ipv6 = open(AddressFamily::Inet6, SockProtocol::IcmpV6);
        let why = "checks of type ping need raw sockets: start lvsx-check as root, it gives its rights away once they are open";
        Ok(Self([ipv4.context(why)?, ipv6.context(why)?]))
    }
}

/// Who waits for an answer, by the numbers in the request.
type Waiting = Arc<Mutex<BTreeMap<(IpAddr, u32), oneshot::Sender<()>>>>;

/// Sends requests and hands answers to who waits for them.
pub(super) struct Pinger {
    sockets: [Arc<AsyncFd<OwnedFd>>; 2],
    waiting: Waiting,
    next: Mutex<u32>,
}

impl Pinger {
    /// Begins to read answers.
    ///
    /// # Errors
    /// Those of the runtime.
    pub(super) fn start(sockets: Sockets) -> Result<Self> {
        let [ipv4, ipv6] = sockets.0;
        let watch = |fd| Ok::<_, io::Error>(Arc::new(super::watch(fd)?));
        let sockets = [watch(ipv4)?, watch(ipv6)?];
        let waiting = Waiting::default();
        for (socket, is_ipv4) in sockets.iter().zip([true, false]) {
            tokio::spawn(read(socket.clone(), waiting.clone(), is_ipv4));
        }
        Ok(Self {
            sockets,
            waiting,
            // Others on this host ping too.
            next: Mutex::new(std::process::id() << 16),
        })
    }

    /// Waits for an answer of `address`.
    pub(super) async fn ping(&self, address: IpAddr) -> Result<(), String> {
        let number = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            *next = next.wrapping_add(1);
            *next
        };
        let (answered, answer) = oneshot::channel();
        let waits = Waits {
            waiting: &self.waiting,
            key: (address, number),
        };
        self.lock().insert(waits.key, answered);
        self.send(address, number)
            .map_err(|error| format!("no echo request could be sent: {error}"))?;
        answer.await.map_err(|_| "nobody reads answers".to_owned())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(IpAddr, u32), oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, address: IpAddr, number: u32) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT;
        let [ipv4, ipv6] = &self.sockets;
        match address {
            IpAddr::V4(address) => {
                let to = SockaddrIn::from(SocketAddrV4::new(address, 0));
                let mut request = request(ECHO_REQUEST, number);
                let sum = checksum(&request);
                request[2..4].copy_from_slice(&sum.to_be_bytes());
                sendto(ipv4.as_raw_fd(), &request, &to, flags)?;
            }
            // The kernel puts the checksum in.
            IpAddr::V6(address) => {
                let to = SockaddrIn6::from(SocketAddrV6::new(address, 0, 0, 0));
                sendto(
                    ipv6.as_raw_fd(),
                    &request(ECHO_REQUEST_6, number),
                    &to,
                    flags,
                )?;
            }
        }
        Ok(())
    }
}

/// Takes somebody off the list who does not wait any more.
struct Waits<'a> {
    waiting: &'a Waiting,
    key: (IpAddr, u32),
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

async fn read(socket: Arc<AsyncFd<OwnedFd>>, waiting: Waiting, is_ipv4: bool) {
    let mut buffer = [0; ANSWER_MAX];
    loop {
        let received = socket
            .async_io(Interest::READABLE, |fd| receive(fd, &mut buffer, is_ipv4))
            .await;
        // An error is about an earlier request.
        let Ok(key) = received else { continue };
        if let Some(waits) = key.and_then(|key| {
            waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&key)
        }) {
            let _ = waits.send(());
        }
    }
}

fn receive(fd: &OwnedFd, buffer: &mut [u8], is_ipv4: bool) -> io::Result<Option<(IpAddr, u32)>> {
    if is_ipv4 {
        let length = recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?;
        return Ok(answer4(&buffer[..length]));
    }
    let (length, from) = nix::sys::socket::recvfrom::<SockaddrIn6>(fd.as_raw_fd(), buffer)?;
    Ok(from.and_then(|from| Some((from.ip().into(), answer(&buffer[..length], ECHO_REPLY_6)?))))
}

/// Who answers which request, in a packet with its IPv4 header.
fn answer4(packet: &[u8]) -> Option<(IpAddr, u32)> {
    let header = usize::from(packet.first()? & 15) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    Some((source.into(), answer(packet.get(header..)?, ECHO_REPLY)?))
}

fn answer(message: &[u8], kind: u8) -> Option<u32> {
    let number = message.get(4..8)?.try_into().ok()?;
    (*message.first()? == kind).then_some(u32::from_be_bytes(number))
}

/// An echo request whose identifier and sequence number are `number`.
fn request(kind: u8, number: u32) -> [u8; 16] {
    let mut request = [0; 16];
    request[0] = kind;
    request[4..8].copy_from_slice(&number.to_be_bytes());
    request[8..].copy_from_slice(b"lvsx-chk");
    request
}

/// The Internet checksum (RFC 1071) of a message of even length.
fn checksum(message: &[u8]) -> u16 {
    let words = message
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
