//! Between the director's types and the lines of a generation.

use super::slots::slot_line_count;
use crate::config::{DestinationConfig, Removed, ServiceConfig};
use lvsx_core::generation::{self, DestinationLine, ServiceLine};
use lvsx_ipvs::{
    DestinationKey, DestinationSettings, ForwardingMethod, Netmask, ServiceFlags, ServiceKey,
    Tunnel, TunnelType,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `AF_INET` and `AF_INET6` as lines hold them.
const IPV4: u8 = libc::AF_INET as u8;
const IPV6: u8 = libc::AF_INET6 as u8;
/// Protocol that mark services carry (`ip_vs_ctl.c`, Linux 6.1: TCP).
const NO_PROTOCOL: u8 = 0;

/// An IPv4 address as packets carry it.
#[must_use]
pub fn raw_address(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// The address that packets carry as `raw`.
#[must_use]
pub fn address(raw: u32) -> Ipv4Addr {
    Ipv4Addr::from(raw.to_ne_bytes())
}

/// The key by which packets find an IPv4 service; `None` for what has no such key.
#[must_use]
pub fn table_key(key: &ServiceKey) -> Option<generation::ServiceKey> {
    match key {
        ServiceKey::Address {
            protocol,
            addr: IpAddr::V4(addr),
            port,
        } => {
            let protocol = u8::try_from(*protocol).ok()?;
            Some(generation::ServiceKey::ipv4(
                protocol,
                raw_address(*addr),
                port.to_be(),
            ))
        }
        _ => None,
    }
}

fn family_and_words(addr: IpAddr) -> (u8, [u64; 2]) {
    let mut bytes = [0; 16];
    let family = match addr {
        IpAddr::V4(addr) => {
            bytes[..4].copy_from_slice(&addr.octets());
            IPV4
        }
        IpAddr::V6(addr) => {
            bytes = addr.octets();
            IPV6
        }
    };
    let (low, high) = bytes.split_at(8);
    (family, [low, high].map(native_word))
}

/// Eight bytes as they lie in memory, as everywhere in the lines.
fn native_word(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

fn address_of(family: u8, words: [u64; 2]) -> Option<IpAddr> {
    let [low, high] = words.map(u64::to_ne_bytes);
    match family {
        IPV4 => Some(IpAddr::V4(Ipv4Addr::new(low[0], low[1], low[2], low[3]))),
        IPV6 => {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&low);
            bytes[8..].copy_from_slice(&high);
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// The head line of a service's block.
pub(super) fn service_line(id: u32, service: &ServiceConfig) -> ServiceLine {
    let (max_weight, weight_step) = service.weight_steps();
    ServiceLine {
        scheduler: service.scheduler,
        destinations: service.destinations.len() as u32,
        flags: service.flags.0,
        timeout: service.timeout,
        netmask: match service.netmask {
            Netmask::V4(mask) => raw_address(mask),
            Netmask::V6(prefix) => prefix,
        },
        max_weight,
        weight_step,
        slot_lines: slot_line_count(service.scheduler),
        ..identity_line(id, &service.key)
    }
}

/// A head line that says no more than which service it is.
pub(super) fn identity_line(id: u32, key: &ServiceKey) -> ServiceLine {
    let (family, address) = match key {
        ServiceKey::Address { addr, .. } => family_and_words(*addr),
        ServiceKey::Mark { family, .. } => family_and_words(family.unspecified()),
    };
    let (protocol, port, mark) = match key {
        // Larger numbers are refused where a service is made.
        ServiceKey::Address { protocol, port, .. } => (*protocol as u8, port.to_be(), 0),
        ServiceKey::Mark { mark, .. } => (NO_PROTOCOL, 0, *mark),
    };
    ServiceLine {
        family,
        protocol,
        port,
        id,
        mark,
        flags: 0,
        address,
        scheduler: generation::SchedulerKind::None,
        destinations: 0,
        timeout: 0,
        netmask: 0,
        max_weight: 0,
        weight_step: 1,
        slot_lines: 0,
    }
}

/// The identity that a head line holds. `None`: no such address family.
pub(super) fn service_key(line: &ServiceLine) -> Option<ServiceKey> {
    let addr = address_of(line.family, line.address)?;
    Some(match line.mark {
        0 => ServiceKey::Address {
            protocol: line.protocol.into(),
            addr,
            port: u16::from_be(line.port),
        },
        mark => ServiceKey::Mark {
            family: lvsx_ipvs::Family::of(&addr),
            mark,
        },
    })
}

/// The service that a head line holds, without its destinations. `None`: no such address family.
pub(super) fn service_config(line: &ServiceLine) -> Option<ServiceConfig> {
    let key = service_key(line)?;
    Some(ServiceConfig {
        key,
        scheduler: line.scheduler,
        flags: ServiceFlags(line.flags),
        timeout: line.timeout,
        netmask: match key.family() {
            lvsx_ipvs::Family::V4 => Netmask::V4(address(line.netmask)),
            lvsx_ipvs::Family::V6 => Netmask::V6(line.netmask),
        },
        destinations: Vec::new(),
    })
}

/// A destination's line.
pub(super) fn destination_line(service: u32, destination: &DestinationConfig) -> DestinationLine {
    let (family, address) = family_and_words(destination.key.addr);
    let settings = &destination.settings;
    DestinationLine {
        id: destination.id,
        weight: settings.weight,
        family,
        method: settings.method.bits() as u8,
        port: destination.key.port.to_be(),
        tunnel_type: settings.tunnel.kind.number(),
        // Larger ones are refused where a destination is made.
        tunnel_flags: settings.tunnel.flags as u8,
        tunnel_port: settings.tunnel.port.to_be(),
        address,
        last_weight: destination.last_weight,
        upper: settings.upper_threshold,
        lower: settings.lower_threshold,
        service,
    }
}

/// The destination that a line holds. `None`: no such address family.
pub(super) fn destination_config(line: &DestinationLine) -> Option<DestinationConfig> {
    Some(DestinationConfig {
        id: line.id,
        key: DestinationKey {
            addr: address_of(line.family, line.address)?,
            port: u16::from_be(line.port),
        },
        settings: DestinationSettings {
            method: ForwardingMethod::from_bits(line.method.into()),
            weight: line.weight,
            upper_threshold: line.upper,
            lower_threshold: line.lower,
            tunnel: Tunnel {
                kind: TunnelType::from_number(line.tunnel_type),
                port: u16::from_be(line.tunnel_port),
                flags: line.tunnel_flags.into(),
            },
        },
        last_weight: line.last_weight,
    })
}

/// A destination in the trash, from its line and the identity line of the service it belonged to.
pub(super) fn removed(line: &DestinationLine, service: &ServiceLine) -> Option<Removed> {
    Some(Removed {
        destination: destination_config(line)?,
        service: service_key(service)?,
        service_id: line.service,
    })
}
