//! Names of hosts and ports, asked of the C library, so that `/etc/hosts` and `/etc/services` count.

use std::ffi::{CStr, CString, c_int};
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::sync::Mutex;

use crate::columns::Line;
use crate::protocol;

/// The C library's service database keeps its answer in one place for the whole process.
static SERVICES: Mutex<()> = Mutex::new(());

unsafe extern "C" {
    // In every libc of Linux; the libc crate declares it for other systems only.
    fn getnameinfo(
        addr: *const libc::sockaddr,
        addr_length: libc::socklen_t,
        host: *mut libc::c_char,
        host_length: libc::socklen_t,
        service: *mut libc::c_char,
        service_length: libc::socklen_t,
        flags: c_int,
    ) -> c_int;
}

/// The first IPv4 address of a host.
pub(crate) fn host_address(name: &str) -> Option<Ipv4Addr> {
    let found = (name, 0).to_socket_addrs().ok()?;
    found.map(|addr| addr.ip()).find_map(|addr| match addr {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    })
}

/// The name of a host; `None` without one.
pub(crate) fn host_name(addr: IpAddr) -> Option<String> {
    let mut name = [0u8; libc::NI_MAXHOST as usize];
    let mut lookup = |sockaddr: *const libc::sockaddr, length: usize| {
        // SAFETY: the address and its length describe a live sockaddr of the caller, the name and
        // its length the buffer; no service is asked for.
        unsafe {
            getnameinfo(
                sockaddr,
                length as libc::socklen_t,
                name.as_mut_ptr().cast(),
                name.len() as libc::socklen_t,
                std::ptr::null_mut(),
                0,
                libc::NI_NAMEREQD,
            )
        }
    };
    let result = match addr {
        IpAddr::V4(addr) => {
            let sockaddr = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: 0,
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(addr.octets()),
                },
                sin_zero: [0; 8],
            };
            lookup((&raw const sockaddr).cast(), size_of_val(&sockaddr))
        }
        IpAddr::V6(addr) => {
            let sockaddr = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: addr.octets(),
                },
                sin6_scope_id: 0,
            };
            lookup((&raw const sockaddr).cast(), size_of_val(&sockaddr))
        }
    };
    let name = CStr::from_bytes_until_nul(&name)
        .ok()
        .filter(|_| result == 0)?;
    Some(name.to_string_lossy().into_owned())
}

/// The port of a service, such as `http`.
pub(crate) fn service_port(name: &str, protocol: u16) -> Option<u16> {
    let name = CString::new(name).ok()?;
    let protocol = CString::new(protocol::name(protocol)?).ok()?;
    let _one_at_a_time = SERVICES.lock().ok()?;
    // SAFETY: both are terminated strings; the answer is null or lives until the next such call,
    // which the lock holds off.
    let port = unsafe { libc::getservbyname(name.as_ptr(), protocol.as_ptr()).as_ref() }?.s_port;
    Some(u16::from_be(port as u16))
}

/// The name of a port.
pub(crate) fn service_name(port: u16, protocol: u16) -> Option<String> {
    let protocol = CString::new(protocol::name(protocol)?).ok()?;
    let _one_at_a_time = SERVICES.lock().ok()?;
    // SAFETY: as in `service_port`; the name is a terminated string within the answer.
    let name = unsafe {
        let found = libc::getservbyport(c_int::from(port.to_be()), protocol.as_ptr()).as_ref()?;
        CStr::from_ptr(found.s_name).to_string_lossy().into_owned()
    };
    Some(name)
}

/// An address as `inet_ntop` writes it: IPv6 with an IPv4 address in its last four bytes, and
/// nothing before them, shows that address.
fn number(addr: IpAddr) -> String {
    match addr {
        IpAddr::V6(addr) if matches!(addr.segments(), [0, 0, 0, 0, 0, 0, high, _] if high != 0) => {
            let [.., a, b, c, d] = addr.octets();
            format!("::{a}.{b}.{c}.{d}")
        }
        _ => addr.to_string(),
    }
}

/// Longest address and port with names; what is longer is cut.
const ENDPOINT_MAX: usize = 59;

/// Appends an address and a port, as [`endpoint`] shows them.
pub(crate) fn put_endpoint(line: &mut Line, addr: IpAddr, port: u16, protocol: u16, numeric: bool) {
    match addr {
        IpAddr::V4(addr) if numeric => {
            line.address(addr).text(":").number(port);
        }
        _ => {
            line.text(&endpoint(addr, port, protocol, numeric));
        }
    }
}

/// An address and a port as listings show them: numbers, or names where there are any.
pub(crate) fn endpoint(addr: IpAddr, port: u16, protocol: u16, numeric: bool) -> String {
    let host = if numeric { None } else { host_name(addr) };
    let service = if numeric {
        None
    } else {
        service_name(port, protocol)
    };
    let host = host.unwrap_or_else(|| number(addr));
    let port = service.unwrap_or_else(|| port.to_string());
    let mut name = match addr {
        IpAddr::V4(_) => format!("{host}:{port}"),
        IpAddr::V6(_) => format!("[{host}]:{port}"),
    };
    name.truncate(name.floor_char_boundary(ENDPOINT_MAX));
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn numbers_where_numbers_are_wanted() {
        assert_eq!(endpoint([10, 0, 0, 1].into(), 80, 6, true), "10.0.0.1:80");
        let six = |addr: Ipv6Addr| endpoint(addr.into(), 80, 6, true);
        assert_eq!(six("2001:db8::1".parse().unwrap()), "[2001:db8::1]:80");
        assert_eq!(six("::1".parse().unwrap()), "[::1]:80");
        assert_eq!(six("::1:80".parse().unwrap()), "[::0.1.0.128]:80");
        assert_eq!(
            six("::ffff:1.2.3.4".parse().unwrap()),
            "[::ffff:1.2.3.4]:80"
        );
    }

    #[test]
    fn localhost_is_known_both_ways() {
        assert_eq!(host_address("localhost"), Some(Ipv4Addr::LOCALHOST));
        assert!(host_name(Ipv4Addr::LOCALHOST.into()).is_some());
        assert_eq!(host_address("no-such-host.invalid"), None);
    }
}
