//! How each thing of the [`model`](crate::model) looks as attributes, read and written.

pub(crate) mod daemon;
pub(crate) mod destination;
pub(crate) mod lead;
pub(crate) mod service;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod timeouts;

use std::net::IpAddr;

use crate::consts::{AF_INET, AF_INET6};
use crate::errno::Errno;
use crate::model::Family;

/// The number of a family on the wire.
pub(crate) fn family_number(family: Family) -> u16 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

/// The family of a number.
pub(crate) fn family(number: u16) -> Result<Family, Errno> {
    match number {
        AF_INET => Ok(Family::V4),
        AF_INET6 => Ok(Family::V6),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// The address in a field of 16 bytes. Of IPv4 only the first four count: `ipvsadm` 1.31 leaves
/// bytes of an earlier IPv6 address behind them.
pub(crate) fn address(family: Family, field: [u8; 16]) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([field[0], field[1], field[2], field[3]]),
        Family::V6 => IpAddr::from(field),
    }
}

/// An address as a field of 16 bytes.
pub(crate) fn address_field(addr: &IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V6(addr) => addr.octets(),
        IpAddr::V4(addr) => {
            let mut field = [0; 16];
            field[..4].copy_from_slice(&addr.octets());
            field
        }
    }
}
