//! A server's end of its tunnels, for kernels without any.

use super::hosts::Host;
use super::ip;
use std::fs::File;
use std::io::{Error, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;
use std::time::Duration;

/// Takes the packets out of IPv4 or IPv6 headers and hands them on to the host by its interface `tun0`. Ends when it is
/// dropped.
pub(crate) struct TunnelEnd {
    _alive: Arc<()>,
}

impl TunnelEnd {
    /// The end at `server` for packets like `inner` in packets like `outer`.
    pub(crate) fn of(server: &Host, outer: IpAddr, inner: IpAddr) -> Self {
        let alive = Arc::new(());
        let watch = Arc::downgrade(&alive);
        server.run(move || {
            let mut packets = raw_socket(outer, inner);
            let mut device = tun();
            ip("link set tun0 up");
            // Raw sockets of IPv4 show its header, those of IPv6 do not.
            let header = if outer.is_ipv4() { 20 } else { 0 };
            std::thread::spawn(move || {
                let mut buffer = [0; 2048];
                while watch.strong_count() > 0 {
                    match packets.read(&mut buffer) {
                        Ok(length) => {
                            let _ = device.write_all(&buffer[header..length]);
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
            });
        });
        Self { _alive: alive }
    }
}

/// What comes in tunnels, and is answered by nobody else then.
fn raw_socket(outer: IpAddr, inner: IpAddr) -> File {
    let family = if outer.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let protocol = if inner.is_ipv4() {
        libc::IPPROTO_IPIP
    } else {
        libc::IPPROTO_IPV6
    };
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_NONBLOCK, protocol) };
    assert!(fd >= 0, "a raw socket: {}", Error::last_os_error());
    // SAFETY: just made, and nobody else's.
    unsafe { File::from_raw_fd(fd) }
}

/// The interface `tun0`; what is written comes in by it.
fn tun() -> File {
    let device = File::options().read(true).write(true).open("/dev/net/tun");
    let device = device.expect("/dev/net/tun");
    // `struct ifreq`: name, flags.
    let mut request = [0u8; 40];
    request[..4].copy_from_slice(b"tun0");
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the request is as large as the kernel's structure.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    assert_eq!(done, 0, "tun0: {}", Error::last_os_error());
    device
}
