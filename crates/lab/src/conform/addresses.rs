//! Who is who on the bench: addresses of the director, of servers and of the gateway before all clients.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A link-layer address.
pub type Mac = [u8; 6];

/// Servers on the bench: `r1` to `r8`.
pub const SERVERS: u8 = 8;
/// The IPv4 virtual address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
/// The IPv6 virtual address, fd00::100.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100);

/// A host that has a port on the bench's switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// `c1`, the gateway before all clients.
    Gateway,
    /// `r1` to `r8`.
    Server(u8),
    /// `m1`, which asks the director behind its link 1 whether it is done.
    Marker,
    /// The director's end of a link, `d0` or `d1`.
    Director(u8),
}

impl Port {
    /// Its link-layer address.
    #[must_use]
    pub const fn mac(self) -> Mac {
        match self {
            Self::Gateway => [2, 0, 0, 0, 1, 1],
            Self::Marker => [2, 0, 0, 0, 1, 2],
            Self::Server(number) => [2, 0, 0, 0, 2, number],
            Self::Director(link) => [2, 0, 0, 0, 13, link],
        }
    }

    /// Whose link-layer address this is.
    #[must_use]
    pub const fn of(mac: Mac) -> Option<Self> {
        match mac {
            [2, 0, 0, 0, 1, 1] => Some(Self::Gateway),
            [2, 0, 0, 0, 1, 2] => Some(Self::Marker),
            [2, 0, 0, 0, 2, number] if number >= 1 && number <= SERVERS => {
                Some(Self::Server(number))
            }
            [2, 0, 0, 0, 13, link] if link <= 1 => Some(Self::Director(link)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gateway => f.write_str("c1"),
            Self::Marker => f.write_str("m1"),
            Self::Server(number) => write!(f, "r{number}"),
            Self::Director(link) => write!(f, "d{link}"),
        }
    }
}

/// A link-layer address as `ip` writes it.
#[must_use]
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The director's own address on a link.
#[must_use]
pub fn director(link: u8, is_v6: bool) -> IpAddr {
    host(link, 1, is_v6)
}

/// The gateway's (link 0) or the marker's (link 1) address.
#[must_use]
pub fn gateway(link: u8, is_v6: bool) -> IpAddr {
    host(link, 2, is_v6)
}

/// The address of server `number` (1 to 8), which lies on link 1 where there are two.
#[must_use]
pub fn server(number: u8, two_armed: bool, is_v6: bool) -> IpAddr {
    let last = if is_v6 { 0x10 + number } else { 10 + number };
    host(two_armed.into(), last, is_v6)
}

fn host(link: u8, last: u8, is_v6: bool) -> IpAddr {
    if is_v6 {
        let link = u16::from(link);
        Ipv6Addr::new(0xfd00, 0, 0, link, 0, 0, 0, last.into()).into()
    } else {
        Ipv4Addr::new(10, link, 0, last).into()
    }
}
