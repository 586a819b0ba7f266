//! Which way addresses are reached, asked of the kernel many at a time: a table of tens of thousands of servers has as many.
//!
//! The kernel answers a request of rtnetlink while it is sent (Linux 6.1, `netlink_rcv_skb`), so nothing is waited for: a
//! datagram of many requests goes out, and as many answers lie there.

use super::facts::{self, Way};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto,
    socket,
};
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// Requests in a datagram: their answers, a page each at most, fit into a socket's buffer of the usual size.
const AT_ONCE: usize = 32;
/// Room for an answer.
const ANSWER: usize = 8 << 10;

/// A socket that asks for ways.
pub(super) struct Ways {
    socket: OwnedFd,
    /// Number of the next request; answers bear it.
    next: AtomicU32,
}

impl Ways {
    /// A socket of the calling thread's network namespace.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self {
            socket,
            next: AtomicU32::new(1),
        })
    }

    /// The way to each of these addresses, in their order. `None`: no route, or it is this host's own.
    pub(super) fn to(&self, addresses: &[IpAddr]) -> Vec<Option<Way>> {
        let mut ways = Vec::with_capacity(addresses.len());
        for batch in addresses.chunks(AT_ONCE) {
            let answers = match self.ask(batch) {
                Ok(answers) => answers,
                Err(error) => {
                    tracing::error!("asking the kernel for ways: {error}");
                    vec![Answer::Missing; batch.len()]
                }
            };
            for (address, answer) in batch.iter().zip(answers) {
                ways.push(match answer {
                    Answer::Way(way) => way,
                    // The kernel had no memory for it, perhaps.
                    Answer::Missing => match self.ask(&[*address]).as_deref() {
                        Ok([Answer::Way(way)]) => *way,
                        _ => {
                            tracing::warn!("the kernel does not say which way {address} is");
                            None
                        }
                    },
                });
            }
        }
        ways
    }

    fn ask(&self, addresses: &[IpAddr]) -> io::Result<Vec<Answer>> {
        let count = addresses.len() as u32;
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let mut datagram = Vec::new();
        for (at, address) in addresses.iter().enumerate() {
            request(&mut datagram, first.wrapping_add(at as u32), *address);
        }
        let (to, flags) = (NetlinkAddr::new(0, 0), MsgFlags::empty());
        sendto(self.socket.as_raw_fd(), &datagram, &to, flags)?;
        let mut answers = vec![Answer::Missing; addresses.len()];
        let mut missing = addresses.len();
        let mut buffer = [0; ANSWER];
        while missing > 0 {
            let length = match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                Ok((length, from)) if from.is_some_and(|from| from.pid() == 0) => length,
                Ok(_) | Err(Errno::EINTR) => continue,
                // Some were lost.
                Err(Errno::EAGAIN | Errno::ENOBUFS) => break,
                Err(error) => return Err(error.into()),
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) else {
                continue;
            };
            let at = message.header.sequence_number.wrapping_sub(first) as usize;
            // One of an earlier datagram is nobody's any more.
            if let (Some(answer), Some(address)) = (answers.get_mut(at), addresses.get(at)) {
                *answer = Answer::Way(way(message.payload, *address));
                missing -= 1;
            }
        }
        Ok(answers)
    }
}

/// What came for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing.
    Missing,
    /// The way, if there is one.
    Way(Option<Way>),
}

fn request(datagram: &mut Vec<u8>, number: u32, address: IpAddr) {
    let mut route = RouteMessage::default();
    let header = &mut route.header;
    (header.address_family, header.destination_prefix_length) = match address {
        IpAddr::V4(_) => (rtnetlink::packet_route::AddressFamily::Inet, 32),
        IpAddr::V6(_) => (rtnetlink::packet_route::AddressFamily::Inet6, 128),
    };
    let destination = RouteAttribute::Destination(address.into());
    route.attributes.push(destination);
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(route));
    message.header.flags = NLM_F_REQUEST;
    message.header.sequence_number = number;
    message.finalize();
    let begin = datagram.len();
    let length = message.buffer_len().next_multiple_of(4);
    datagram.resize(begin + length, 0);
    message.serialize(&mut datagram[begin..]);
}

fn way(payload: NetlinkPayload<RouteNetlinkMessage>, address: IpAddr) -> Option<Way> {
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) = payload else {
        return None;
    };
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let hop = facts::hop(&route.attributes, Some(address))?;
    Some(Way {
        hop,
        source: facts::source(&route.attributes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_answers_come_as_addresses_are_asked_for() {
        let ways = Ways::open().expect("a socket");
        // Loopback addresses are local, so they have no way; there are more of them than fit into a datagram.
        let addresses: Vec<IpAddr> = (1..=200u8).map(|it| [127, 0, 0, it].into()).collect();
        assert_eq!(ways.to(&addresses), vec![None; 200]);
        let answers = ways.ask(&addresses[..AT_ONCE]).expect("answers");
        assert_eq!(answers, vec![Answer::Way(None); AT_ONCE]);
    }
}
