//! Between the director's types and the lines of a generation.

use super::slots::slot_line_count;
use crate::config::{DestinationConfig, Marked, Removed, ServiceConfig};
use lvsx_core::generation::{self, DestinationLine, PrefixWords, ServiceLine};
use lvsx_ipvs::{
    DestinationKey, DestinationSettings, Family, ForwardingMethod, MarkChange, MarkRule, Netmask,
    PortRange, Prefix, ServiceFlags, ServiceKey, Tunnel, TunnelType,
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

/// An address of either family in two raw words, an IPv4 address in the first four bytes.
#[must_use]
pub fn raw_words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [raw_address(address).into(), 0],
        IpAddr::V6(address) => raw_address6(address),
    }
}

/// An IPv6 address as packets carry it.
#[must_use]
pub fn raw_address6(address: Ipv6Addr) -> [u64; 2] {
    family_and_words(IpAddr::V6(address)).1
}

/// The key by which packets find a service in the table of a generation spread by `seed`; `None` for what has no such key.
#[must_use]
pub fn table_key(key: &ServiceKey, seed: u64) -> Option<generation::ServiceKey> {
    let of = |protocol: u16| u8::try_from(protocol).ok();
    Some(match *key {
        ServiceKey::Address {
            protocol,
            addr: IpAddr::V4(addr),
            port,
        } => generation::ServiceKey::ipv4(of(protocol)?, raw_address(addr), port.to_be()),
        ServiceKey::Address {
            protocol,
            addr: IpAddr::V6(addr),
            port,
        } => generation::ServiceKey::ipv6(seed, of(protocol)?, raw_address6(addr), port.to_be()),
        ServiceKey::Mark { family, mark } => {
            generation::ServiceKey::marked(family_number(family), mark)
        }
    })
}

/// The end of a masqueraded server as its own packets show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServerEnd {
    address: IpAddr,
    port: u16,
    protocol: u8,
}

impl ServerEnd {
    /// The end of a destination of `service`; of one by mark, whatever the protocol.
    #[must_use]
    pub(super) fn of(service: &ServiceKey, destination: &DestinationKey) -> Self {
        let protocol = match service {
            ServiceKey::Address { protocol, .. } => u8::try_from(*protocol).ok(),
            ServiceKey::Mark { .. } => None,
        };
        Self {
            address: destination.addr,
            port: destination.port,
            protocol: protocol.unwrap_or(generation::ANY_PROTOCOL),
        }
    }
}

/// The key by which packets find a server's end in the table of a generation spread by `seed`.
#[must_use]
pub(super) fn server_key(end: &ServerEnd, seed: u64) -> generation::ServiceKey {
    let (family, words) = family_and_words(end.address);
    let port = end.port.to_be();
    generation::ServiceKey::server(seed, family, end.protocol, words, port)
}

/// A family as lines hold it.
fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => IPV4,
        Family::V6 => IPV6,
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
    (family, words(bytes))
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
            family: Family::of(&addr),
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
            Family::V4 => Netmask::V4(address(line.netmask)),
            Family::V6 => Netmask::V6(line.netmask),
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

/// A mark rule as packets read it.
pub(super) fn mark_line(marked: &Marked) -> generation::MarkRule {
    let rule = &marked.rule;
    let everything = PrefixWords {
        address: [0; 2],
        mask: [0; 2],
    };
    let [destination, source] =
        [rule.to, rule.from].map(|prefix| prefix.map_or(everything, prefix_words));
    let mut name = [0; 16];
    for (byte, letter) in name
        .iter_mut()
        .zip(rule.interface.iter().flat_map(|it| it.bytes()))
    {
        *byte = letter;
    }
    let ports = |range: PortRange| [range.first, range.last];
    generation::MarkRule {
        family: rule.family.map_or(0, family_number),
        protocol: rule.protocol.unwrap_or(0),
        interface: match (&rule.interface, marked.interface) {
            (None, _) => 0,
            (Some(_), index) => index.unwrap_or(NO_INTERFACE),
        },
        value: rule.change.value,
        mask: rule.change.mask,
        destination: destination.address,
        destination_mask: destination.mask,
        source: source.address,
        source_mask: source.mask,
        destination_ports: ports(rule.ports),
        source_ports: ports(rule.from_ports),
        interface_name: words(name),
    }
}

/// The mark rule that lines hold. `None`: its parts contradict each other.
pub(super) fn marked(line: &generation::MarkRule) -> Option<Marked> {
    let family = match line.family {
        0 => None,
        IPV4 => Some(Family::V4),
        IPV6 => Some(Family::V6),
        _ => return None,
    };
    let part = |address: [u64; 2], mask: [u64; 2]| {
        if (address, mask) == ([0; 2], [0; 2]) {
            return Some(None);
        }
        prefix(family?, PrefixWords { address, mask }).map(Some)
    };
    let [low, high] = line.interface_name.map(u64::to_ne_bytes);
    let name: Vec<u8> = low
        .into_iter()
        .chain(high)
        .take_while(|byte| *byte != 0)
        .collect();
    let name = String::from_utf8(name).ok()?;
    let ports = |[first, last]: [u16; 2]| PortRange { first, last };
    let rule = MarkRule {
        change: MarkChange {
            value: line.value,
            mask: line.mask,
        },
        family,
        protocol: Some(line.protocol).filter(|protocol| *protocol != 0),
        to: part(line.destination, line.destination_mask)?,
        ports: ports(line.destination_ports),
        from: part(line.source, line.source_mask)?,
        from_ports: ports(line.source_ports),
        interface: Some(name).filter(|name| !name.is_empty()),
    };
    Some(Marked {
        interface: rule
            .interface
            .as_ref()
            .and(Some(line.interface))
            .filter(|index| *index != NO_INTERFACE),
        rule: rule.checked().ok()?,
    })
}

/// A prefix as packets read it.
pub(super) fn prefix_words(prefix: Prefix) -> PrefixWords {
    PrefixWords {
        address: raw_words(prefix.addr()),
        mask: mask_words(prefix),
    }
}

/// The prefix that words say. `None`: its mask is none of a prefix.
pub(super) fn prefix(family: Family, words: PrefixWords) -> Option<Prefix> {
    let length = words.mask[0].count_ones() + words.mask[1].count_ones();
    let addr = address_of(family_number(family), words.address)?;
    let prefix = Prefix::new(addr, u8::try_from(length).ok()?)?;
    (prefix_words(prefix) == words).then_some(prefix)
}

/// Index that no interface has.
const NO_INTERFACE: u32 = u32::MAX;

/// Sixteen bytes as two words.
fn words(bytes: [u8; 16]) -> [u64; 2] {
    let (low, high) = bytes.split_at(8);
    [low, high].map(native_word)
}

/// The bits of an address that a prefix looks at, as lines hold them.
fn mask_words(prefix: Prefix) -> [u64; 2] {
    let mask = u128::MAX
        .checked_shl(128 - u32::from(prefix.length()))
        .unwrap_or(0);
    words(mask.to_be_bytes())
}
