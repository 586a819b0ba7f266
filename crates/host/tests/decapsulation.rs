//! Our decapsulation takes packets out of every tunnel that a director makes, IPv4 and IPv6 inside and outside. Needs
//! root.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::Duration;

use lvsx_host::{Decapsulation, Network, Setup, bpf};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockaddrStorage, sendto};

const IPIP: u8 = 4;
const IPV6: u8 = 41;
const GRE: u8 = 47;
const UDP: u8 = 17;
const GUE_PORT: u16 = 6080;
const PORT: u16 = 5300;

fn sh(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A UDP packet from a client to the virtual address, which carries `text`.
fn inner(is_v6: bool, text: &[u8]) -> Vec<u8> {
    let (client, virtual_address) = if is_v6 {
        (ip("2001:db8:9::1"), ip("2001:db8::40"))
    } else {
        (ip("203.0.113.5"), ip("192.168.1.40"))
    };
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let addresses = [octets(client), octets(virtual_address)].concat();
    let length = (8 + text.len()) as u16;
    let mut segment = [
        &4000u16.to_be_bytes()[..],
        &PORT.to_be_bytes(),
        &length.to_be_bytes(),
        &[0, 0],
        text,
    ]
    .concat();
    let sum = checksum(&[&addresses[..], &[0, UDP], &length.to_be_bytes(), &segment].concat());
    segment[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut header = if is_v6 {
        [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[UDP, 64]].concat()
    } else {
        let total = 20 + length;
        [
            &[0x45, 0][..],
            &total.to_be_bytes(),
            &[0, 0, 0, 0, 64, UDP, 0, 0],
        ]
        .concat()
    };
    header.extend(addresses);
    if !is_v6 {
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    header.extend(segment);
    header
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Sends a payload of a protocol to the server; the kernel makes the outer IP header.
fn send(server: IpAddr, protocol: u8, payload: &[u8]) {
    let family = match server {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    if protocol == UDP {
        let any = if server.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).unwrap();
        socket.send_to(payload, (server, GUE_PORT)).unwrap();
        return;
    }
    // SAFETY: a call that takes numbers; nix has no name for every protocol. Nobody else has the descriptor.
    let socket = unsafe {
        let number = libc::socket(family as i32, libc::SOCK_RAW, protocol.into());
        assert!(
            number >= 0,
            "a raw socket: {}",
            std::io::Error::last_os_error()
        );
        OwnedFd::from_raw_fd(number)
    };
    let to = SockaddrStorage::from(SocketAddr::new(server, 0));
    sendto(socket.as_raw_fd(), payload, &to, MsgFlags::empty()).unwrap();
}

#[test]
fn every_tunnel_is_unwrapped() {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("this test makes network namespaces: run it as root");
        // The director is a namespace of another thread, which keeps it until it has sent everything.
        let (made, wait_made) = std::sync::mpsc::channel();
        let (ready, wait_ready) = std::sync::mpsc::channel::<()>();
        let (sent, heard) = std::sync::mpsc::sync_channel::<String>(0);
        let director = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            made.send(nix::unistd::gettid()).unwrap();
            wait_ready.recv().unwrap();
            sh(
                "ip link set lo up; ip link set peer0 up; ip addr add 192.168.1.49/24 dev peer0
                ip addr add 2001:db8::49/64 dev peer0 nodad",
            );
            for server in [ip("192.168.1.46"), ip("2001:db8::46")] {
                for is_v6 in [false, true] {
                    let (number, kind) = if is_v6 {
                        (IPV6, 0x86ddu16)
                    } else {
                        (IPIP, 0x0800)
                    };
                    let kind = kind.to_be_bytes();
                    for (name, protocol, header) in [
                        ("ipip", number, vec![]),
                        ("gre", GRE, [&[0, 0][..], &kind].concat()),
                        (
                            "gre with checksum",
                            GRE,
                            [&[0x80, 0][..], &kind, &[0; 4]].concat(),
                        ),
                        ("gue", UDP, vec![0, number, 0, 0]),
                    ] {
                        let name = format!("{name}, IPv6 inside: {is_v6}, to {server}");
                        let payload = [&header[..], &inner(is_v6, name.as_bytes())].concat();
                        // The other side knows what comes before it comes.
                        sent.send(name).unwrap();
                        send(server, protocol, &payload);
                    }
                }
            }
        });
        let thread = wait_made.recv().unwrap();
        let namespace = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
        sh(&format!(
            "ip link set lo up; ip link add eth0 type veth peer name peer0; ip link set peer0 netns {namespace}
             ip link set eth0 up; ip addr add 192.168.1.46/24 dev eth0; ip addr add 2001:db8::46/64 dev eth0 nodad
             ip route add default via 192.168.1.49; ip route add ::/0 via 2001:db8::49"
        ));
        let network = Network::here().unwrap();
        for address in ["192.168.1.40", "2001:db8::40"] {
            let setup = Setup::Tunnel {
                virtual_address: ip(address),
                iface: "eth0".into(),
                decapsulation: Decapsulation::Program(bpf::OBJECT),
            };
            let _ = setup.plan().apply(&network, |_, _| ()).unwrap();
        }
        let listen = |address: &str| {
            // A new IPv6 address counts a moment later.
            let bound = (0..200).find_map(|_| {
                let bound = UdpSocket::bind((ip(address), PORT));
                thread::sleep(Duration::from_millis(10));
                bound.ok()
            });
            let socket = bound.expect("the virtual address");
            socket
                .set_read_timeout(Some(Duration::from_secs(3)))
                .unwrap();
            socket
        };
        let (v4, v6) = (listen("192.168.1.40"), listen("2001:db8::40"));
        ready.send(()).unwrap();
        let mut came = 0;
        while let Ok(name) = heard.recv() {
            let socket = if name.contains("inside: true") {
                &v6
            } else {
                &v4
            };
            let mut buffer = [0; 200];
            let (length, from) = socket
                .recv_from(&mut buffer)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(String::from_utf8_lossy(&buffer[..length]), name);
            assert!(
                [ip("203.0.113.5"), ip("2001:db8:9::1")].contains(&from.ip()),
                "{from}"
            );
            came += 1;
        }
        director.join().unwrap();
        assert_eq!(came, 16);
    };
    thread::spawn(inside).join().unwrap();
}
