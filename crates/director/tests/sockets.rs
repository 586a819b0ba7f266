//! What comes in by lvsd's sockets: hostile datagrams, clients that do not read, ports that others took.

mod support;

use lvsx_ipvs::{Client, DestinationKey, Request, ServiceKey, Transport};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, UnixAddr, bind,
    connect, send, sendto, socket,
};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};
use support::in_namespace;
use support::scene::{configure, service};

/// A raw connection to lvsd.
fn raw(path: &Path) -> OwnedFd {
    let fd = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("a socket");
    connect(fd.as_raw_fd(), &UnixAddr::new(path).expect("a path")).expect("lvsd listens");
    fd
}

/// Pseudo-random numbers, the same each time (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Requests as a client sends them.
fn requests() -> Vec<Vec<u8>> {
    let key = ServiceKey::Address {
        protocol: 6,
        addr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
        port: 80,
    };
    let requests = [
        Request::Services,
        Request::Service(key),
        Request::Destinations(Some(service())),
        Request::DeleteService(key),
        Request::Zero(None),
        Request::Info,
        Request::Timeouts,
        Request::ProcText("ip_vs_conn".into()),
        Request::Status,
        Request::Settings,
        Request::SetSetting("amemthresh".into(), "2048".into()),
        Request::Marks,
        Request::EditMarks("add mark 1 protocol tcp ports 80\n".into()),
    ];
    let mut datagrams = Vec::new();
    for request in &requests {
        let (sender, receiver) = std::sync::mpsc::channel();
        let transport = Transport::local(move |datagram| {
            let _ = sender.send(datagram.to_vec());
            Vec::new()
        });
        // Nobody answers; what it would have sent is what is wanted.
        let _ = Client::new(transport).call(request);
        datagrams.extend(receiver.try_iter());
    }
    assert_eq!(datagrams.len(), requests.len());
    datagrams
}

#[test]
fn hostile_datagrams_are_answered_or_passed_over() {
    in_namespace(|space| {
        let mut lvsd = space.lvsd(&["--connections", "1000"]);
        configure(&mut space.client());
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkGeneric,
        );
        let netlink = netlink.expect("a socket");
        let port = NetlinkAddr::new(space.port(), 0);
        let mut numbers = Numbers(0x1234_5678_9abc_def1);
        let mut stream = raw(&space.socket());
        let valid = requests();
        for round in 0..4000 {
            let mut datagram = valid[round % valid.len()].clone();
            match round % 4 {
                // Noise.
                0 => {
                    datagram = (0..numbers.next() % 200)
                        .map(|_| numbers.next() as u8)
                        .collect()
                }
                // Cut short.
                1 => datagram.truncate(numbers.next() as usize % (datagram.len() + 1)),
                // A byte changed, behind the message type: a request still, but another one.
                2 => {
                    let place = 8 + numbers.next() as usize % (datagram.len() - 8);
                    datagram[place] ^= numbers.next() as u8;
                }
                // Lengths that lie.
                _ => {
                    let place = 16 + numbers.next() as usize % (datagram.len() - 15).max(1);
                    datagram.resize(datagram.len() + 8, 0xff);
                    datagram[place] = 0xff;
                }
            }
            if datagram.is_empty() {
                continue;
            }
            if send(
                stream.as_raw_fd(),
                &datagram,
                MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
            )
            .is_err()
            {
                // It waits for us to read; a new connection is as good.
                stream = raw(&space.socket());
            }
            let _ = sendto(
                netlink.as_raw_fd(),
                &datagram,
                &port,
                MsgFlags::MSG_DONTWAIT,
            );
            if round % 100 == 0 {
                stream = raw(&space.socket());
                assert!(lvsd.is_alive());
            }
        }
        assert!(
            space.client().service(&service()).is_ok(),
            "the service of before is there"
        );
        assert!(lvsd.is_alive());
    });
}

#[test]
fn a_request_too_long_ends_its_connection_alone() {
    in_namespace(|space| {
        let _lvsd = space.lvsd(&["--connections", "1000"]);
        let mut other = space.client();
        let long = raw(&space.socket());
        send(long.as_raw_fd(), &vec![0; 70_000], MsgFlags::MSG_NOSIGNAL).expect("it is sent");
        let mut buffer = [0; 16];
        let received = nix::sys::socket::recv(long.as_raw_fd(), &mut buffer, MsgFlags::empty());
        assert!(
            matches!(received, Ok(0) | Err(nix::errno::Errno::ECONNRESET)),
            "{received:?}"
        );
        assert!(other.info().is_ok());
    });
}

/// Dumps of some 100 kB that nobody reads: 200 on the netlink port, as many on each of eight connections. Kept, they were 180 MB.
#[test]
fn a_client_that_does_not_read_holds_nobody_up_and_fills_no_memory() {
    in_namespace(|space| {
        let lvsd = space.lvsd(&["--connections", "1000"]);
        let mut client = space.client();
        configure(&mut client);
        let settings = client.destinations(&service()).expect("one")[0].settings;
        for last in 1..=250 {
            let key = DestinationKey {
                addr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
                port: 80,
            };
            let add = Request::NewDestination(service(), key, settings);
            client.call(&add).expect("a new destination");
        }
        let dump = &requests()[2];
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkGeneric,
        );
        let netlink = netlink.expect("a socket");
        let silent: Vec<OwnedFd> = (0..8).map(|_| raw(&space.socket())).collect();
        let before = lvsd.memory();
        let port = NetlinkAddr::new(space.port(), 0);
        for _ in 0..200 {
            for fd in &silent {
                let _ = send(
                    fd.as_raw_fd(),
                    dump,
                    MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
                );
            }
            let _ = sendto(netlink.as_raw_fd(), dump, &port, MsgFlags::MSG_DONTWAIT);
        }
        let begin = Instant::now();
        for _ in 0..20 {
            client.info().expect("an answer");
        }
        assert!(
            begin.elapsed() < Duration::from_secs(4),
            "{:?}",
            begin.elapsed()
        );
        let grown = lvsd.memory().saturating_sub(before);
        assert!(grown < 32 << 20, "{grown} bytes more");
    });
}

#[test]
fn the_netlink_port_answers_as_the_socket_does() {
    in_namespace(|space| {
        let _lvsd = space.lvsd(&["--connections", "1000"]);
        configure(&mut space.client());
        let mut by_port = Client::new(Transport::director_port(space.port()).expect("a socket"));
        let mut by_socket = space.client();
        assert_eq!(
            by_port.services().expect("services"),
            by_socket.services().expect("services")
        );
        let listed = by_port.destinations(&service()).expect("destinations");
        assert_eq!(
            listed,
            by_socket.destinations(&service()).expect("destinations")
        );
        assert_eq!(
            by_port.info().expect("info"),
            by_socket.info().expect("info")
        );
    });
}

#[test]
fn a_squatted_port_is_passed_by_and_named() {
    in_namespace(|space| {
        let mut lvsd = space.lvsd(&["--connections", "1000"]);
        let first = space.port();
        assert!(lvsd.is_alive());
        lvsd.kill();
        let squatter = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkGeneric,
        );
        let squatter = squatter.expect("a socket");
        bind(squatter.as_raw_fd(), &NetlinkAddr::new(first, 0)).expect("the port is free");
        let lvsd = space.lvsd(&[]);
        assert_ne!(space.port(), first);
        assert!(
            lvsd.log()
                .contains("somebody else has taken the netlink port"),
            "{}",
            lvsd.log()
        );
        let mut client = Client::new(Transport::director_port(space.port()).expect("a socket"));
        assert!(client.info().is_ok());
    });
}

#[test]
fn the_folder_and_the_socket_are_roots_alone() {
    in_namespace(|space| {
        let _lvsd = space.lvsd(&["--connections", "1000"]);
        for (path, mode) in [(space.folder(), 0o700), (space.socket(), 0o600)] {
            let found = std::fs::metadata(&path).expect("it is there");
            assert_eq!(
                (found.uid(), found.permissions().mode() & 0o777),
                (0, mode),
                "{}",
                path.display()
            );
        }
    });
}
