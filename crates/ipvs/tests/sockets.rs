//! The dialogue over real sockets: a Unix socket and a netlink port, served as lvsd serves them.

mod support {
    pub(crate) mod memory;
}

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::thread;

use lvsx_ipvs::{
    Client, ClientError, DestinationKey, DestinationSettings, Director, Family, FlagChange,
    ForwardingMethod, Netmask, Request, ServiceFlags, ServiceKey, ServiceSettings, Transport,
    Tunnel, answer, answer_port,
};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, UnixAddr,
    accept, bind, getsockname, listen, recv, recvmsg, send, sendto, socket,
};
use support::memory::MemoryDirector;

/// A service with this many destinations, more than any socket's buffer holds at once.
const DESTINATIONS: u32 = 5000;

fn key() -> ServiceKey {
    ServiceKey::Address {
        protocol: 6,
        addr: [10, 0, 0, 1].into(),
        port: 80,
    }
}

fn director() -> MemoryDirector {
    let mut director = MemoryDirector::new();
    let settings = ServiceSettings {
        scheduler: Some("rr".into()),
        engine: None,
        flags: FlagChange::exactly(ServiceFlags::default()),
        timeout: 0,
        netmask: Netmask::host(Family::V4),
    };
    director.new_service(&key(), &settings).unwrap();
    for number in 1..=DESTINATIONS {
        let addr = std::net::Ipv4Addr::from(0x0a00_0000 + number).into();
        let server = DestinationKey { addr, port: 80 };
        let settings = DestinationSettings {
            method: ForwardingMethod::Masquerade,
            weight: number,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: Tunnel::default(),
        };
        director
            .new_destination(&key(), &server, &settings)
            .unwrap();
    }
    director
}

/// Asks for everything, and for what is refused.
fn converse(mut client: Client) {
    assert_eq!(client.info().unwrap().connection_table_size, 4096);
    let listed = client.destinations(&key()).unwrap();
    assert_eq!(listed.len(), DESTINATIONS as usize);
    assert_eq!(listed[0].settings.weight, DESTINATIONS);
    let refused = client.call(&Request::DeleteDestination(
        key(),
        DestinationKey {
            addr: [1, 1, 1, 1].into(),
            port: 1,
        },
    ));
    assert!(matches!(
        refused,
        Err(ClientError::Refused(lvsx_ipvs::Errno::ENOENT))
    ));
    client.call(&Request::Flush).unwrap();
    assert!(client.services().unwrap().is_empty());
}

fn seqpacket() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap()
}

fn socket_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("lvsx-{}-{name}.sock", std::process::id()))
}

#[test]
fn over_a_unix_socket() {
    let path = socket_path("dialogue");
    let listener = seqpacket();
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&listener, Backlog::new(4).unwrap()).unwrap();
    let served = thread::spawn(move || {
        let mut director = director();
        let client = accept(listener.as_raw_fd()).unwrap();
        let mut buffer = vec![0; 65536];
        loop {
            match recv(client, &mut buffer, MsgFlags::empty()).unwrap() {
                0 => break,
                length => {
                    for datagram in answer(&buffer[..length], &mut director) {
                        send(client, &datagram, MsgFlags::MSG_NOSIGNAL).unwrap();
                    }
                }
            }
        }
        nix::unistd::close(client).unwrap();
    });
    converse(Client::new(Transport::director(&path).unwrap()));
    served.join().unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_director_that_hangs_up_is_silent() {
    let path = socket_path("silent");
    let listener = seqpacket();
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&listener, Backlog::new(4).unwrap()).unwrap();
    let served = thread::spawn(move || {
        let client = accept(listener.as_raw_fd()).unwrap();
        nix::unistd::close(client).unwrap();
    });
    let mut client = Client::new(Transport::director(&path).unwrap());
    served.join().unwrap();
    assert!(matches!(client.info(), Err(ClientError::Silent)));
    std::fs::remove_file(path).unwrap();
}

/// A socket with a port of its own.
fn generic() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let protocol = SockProtocol::NetlinkGeneric;
    let made = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).unwrap();
    bind(made.as_raw_fd(), &NetlinkAddr::new(0, 0)).unwrap();
    made
}

#[test]
fn over_a_netlink_port() {
    let lvsd = generic();
    let port = getsockname::<NetlinkAddr>(lvsd.as_raw_fd()).unwrap().pid();
    let client = Client::new(Transport::director_port(port).unwrap());
    // Five requests: Info, Destinations, DeleteDestination, Flush, Services.
    let served = thread::spawn(move || {
        let mut director = director();
        for _ in 0..5 {
            let mut buffer = vec![0; 65536];
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let fd = lvsd.as_raw_fd();
            let got = recvmsg::<NetlinkAddr>(fd, &mut slices, None, MsgFlags::empty()).unwrap();
            let (length, sender) = (got.bytes, got.address.unwrap());
            for datagram in answer_port(&buffer[..length], Some(sender.pid()), &mut director) {
                sendto(fd, &datagram, &sender, MsgFlags::empty()).unwrap();
            }
        }
    });
    converse(client);
    served.join().unwrap();
}

/// Answers that somebody else sends to the same request, before and in between, are passed over.
#[test]
fn made_up_answers_are_passed_over() {
    let (lvsd, forger) = (generic(), generic());
    let port = getsockname::<NetlinkAddr>(lvsd.as_raw_fd()).unwrap().pid();
    let client = Client::new(Transport::director_port(port).unwrap());
    let served = thread::spawn(move || {
        let (mut true_one, mut false_one) = (director(), MemoryDirector::new());
        for _ in 0..5 {
            let mut buffer = vec![0; 65536];
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let fd = lvsd.as_raw_fd();
            let got = recvmsg::<NetlinkAddr>(fd, &mut slices, None, MsgFlags::empty()).unwrap();
            let (length, sender) = (got.bytes, got.address.unwrap());
            let answer = |director: &mut MemoryDirector| {
                answer_port(&buffer[..length], Some(sender.pid()), director)
            };
            let forged = answer(&mut false_one);
            for datagram in &forged {
                sendto(forger.as_raw_fd(), datagram, &sender, MsgFlags::empty()).unwrap();
            }
            for datagram in answer(&mut true_one) {
                sendto(fd, &datagram, &sender, MsgFlags::empty()).unwrap();
                let again = forged.first().unwrap();
                let _ = sendto(forger.as_raw_fd(), again, &sender, MsgFlags::empty());
            }
        }
    });
    converse(client);
    served.join().unwrap();
}
