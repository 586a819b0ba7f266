//! All services with their destinations in few bytes: the answer to the private command `TABLE`.
//!
//! A destination as the kernel's protocol tells it has some 350 bytes in 31 attributes; here it has 49. Numbers are little
//! endian, an address is a field of 16 bytes (IPv4 in the first four), a text its length in a byte and its bytes.
//!
//! | a service | bytes | a destination | bytes |
//! |---|---|---|---|
//! | 1 for IPv6, 2 more for a service by mark | 1 | 1 for IPv6 | 1 |
//! | protocol, port; 0 with a mark | 2, 2 | address | 16 |
//! | mark; 0 without one | 4 | port | 2 |
//! | address | 16 | forwarding method, type of tunnel | 1, 1 |
//! | flags, timeout | 4, 4 | port and flags of the tunnel | 2, 2 |
//! | mask, or length of the prefix | 4 | weight | 4 |
//! | scheduler, engine | texts | upper and lower threshold | 4, 4 |
//! | destinations, which follow behind it | 4 | active, inactive, persistent connections | 4, 4, 4 |
//!
//! With statistics each has ten numbers of 8 bytes behind it: counters and rates, as in [`Stats`].

use std::net::IpAddr;

use crate::codec::{address, address_field};
use crate::model::{
    Destination, DestinationKey, DestinationSettings, Family, ForwardingMethod, Netmask, Row,
    Service, ServiceFlags, ServiceKey, Stats, Tunnel, TunnelType,
};

/// The layout that is described here.
pub(crate) const LAYOUT: u8 = 1;

const IPV6: u8 = 1;
const BY_MARK: u8 = 2;

/// Writes a service and its destinations.
pub(crate) fn write(
    bytes: &mut Vec<u8>,
    service: &Service,
    destinations: &[Destination],
    statistics: bool,
) {
    let (by_mark, protocol, port, mark, addr) = match service.key {
        ServiceKey::Address {
            protocol,
            addr,
            port,
        } => (0, protocol, port, 0, addr),
        ServiceKey::Mark { family, mark } => (BY_MARK, 0, 0, mark, family.unspecified()),
    };
    let netmask = match service.netmask {
        Netmask::V4(mask) => mask.to_bits(),
        Netmask::V6(prefix) => prefix,
    };
    // As the other answers have them.
    let flags = service.flags.union(ServiceFlags::HASHED);
    bytes.push(family_bit(&addr) | by_mark);
    bytes.extend_from_slice(&protocol.to_le_bytes());
    bytes.extend_from_slice(&port.to_le_bytes());
    bytes.extend_from_slice(&mark.to_le_bytes());
    bytes.extend_from_slice(&address_field(&addr));
    bytes.extend_from_slice(&flags.0.to_le_bytes());
    bytes.extend_from_slice(&service.timeout.to_le_bytes());
    bytes.extend_from_slice(&netmask.to_le_bytes());
    write_text(bytes, service.scheduler.as_deref());
    write_text(bytes, service.engine.as_deref());
    bytes.extend_from_slice(&(destinations.len() as u32).to_le_bytes());
    if statistics {
        write_stats(bytes, &service.stats);
    }
    for destination in destinations {
        write_destination(bytes, destination);
        if statistics {
            write_stats(bytes, &destination.stats);
        }
    }
}

fn write_destination(bytes: &mut Vec<u8>, destination: &Destination) {
    let Destination { key, settings, .. } = destination;
    let tunnel = &settings.tunnel;
    let method = settings.method.bits() as u8;
    bytes.push(family_bit(&key.addr));
    bytes.extend_from_slice(&address_field(&key.addr));
    bytes.extend_from_slice(&key.port.to_le_bytes());
    bytes.extend_from_slice(&[method, tunnel.kind.number()]);
    bytes.extend_from_slice(&tunnel.port.to_le_bytes());
    bytes.extend_from_slice(&tunnel.flags.to_le_bytes());
    for number in [
        settings.weight,
        settings.upper_threshold,
        settings.lower_threshold,
        destination.active,
        destination.inactive,
        destination.persistent,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
}

fn write_stats(bytes: &mut Vec<u8>, stats: &Stats) {
    for number in [
        stats.connections,
        stats.in_packets,
        stats.out_packets,
        stats.in_bytes,
        stats.out_bytes,
        stats.connection_rate,
        stats.in_packet_rate,
        stats.out_packet_rate,
        stats.in_byte_rate,
        stats.out_byte_rate,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
}

/// Names are at most 16 bytes long; nothing and an empty one are the same.
fn write_text(bytes: &mut Vec<u8>, text: Option<&str>) {
    let text = text.unwrap_or_default().as_bytes();
    let text = text.get(..usize::from(u8::MAX)).unwrap_or(text);
    bytes.push(text.len() as u8);
    bytes.extend_from_slice(text);
}

const fn family_bit(addr: &IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => 0,
        IpAddr::V6(_) => IPV6,
    }
}

/// Reads what [`write`] wrote. `None`: the bytes are no table.
pub(crate) fn read(bytes: &[u8], statistics: bool) -> Option<Vec<Row>> {
    let mut reader = Reader(bytes);
    let mut table = Vec::new();
    while !reader.0.is_empty() {
        table.push(read_service(&mut reader, statistics)?);
    }
    Some(table)
}

fn read_service(reader: &mut Reader<'_>, statistics: bool) -> Option<Row> {
    let kind = reader.u8()?;
    let family = family(kind & IPV6);
    let (protocol, port, mark) = (reader.u16()?, reader.u16()?, reader.u32()?);
    let addr = address(family, reader.take()?);
    let key = match kind & BY_MARK {
        0 => ServiceKey::Address {
            protocol,
            addr,
            port,
        },
        _ => ServiceKey::Mark { family, mark },
    };
    let (flags, timeout, netmask) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let (scheduler, engine) = (reader.text()?, reader.text()?);
    let count = reader.u32()?;
    let service = Service {
        key,
        scheduler,
        engine,
        flags: ServiceFlags(flags),
        timeout,
        netmask: match family {
            Family::V4 => Netmask::V4(netmask.into()),
            Family::V6 => Netmask::V6(netmask),
        },
        stats: reader.stats(statistics)?,
    };
    // A count that lies ends with the bytes, and takes no memory before.
    let destinations = (0..count).map(|_| read_destination(reader, statistics));
    let destinations = destinations.collect::<Option<_>>()?;
    Some((service, destinations))
}

fn read_destination(reader: &mut Reader<'_>, statistics: bool) -> Option<Destination> {
    let family = family(reader.u8()?);
    let addr = address(family, reader.take()?);
    let key = DestinationKey {
        addr,
        port: reader.u16()?,
    };
    let method = ForwardingMethod::from_bits(reader.u8()?.into());
    let tunnel = Tunnel {
        kind: TunnelType::from_number(reader.u8()?),
        port: reader.u16()?,
        flags: reader.u16()?,
    };
    let settings = DestinationSettings {
        method,
        weight: reader.u32()?,
        upper_threshold: reader.u32()?,
        lower_threshold: reader.u32()?,
        tunnel,
    };
    Some(Destination {
        key,
        settings,
        active: reader.u32()?,
        inactive: reader.u32()?,
        persistent: reader.u32()?,
        stats: reader.stats(statistics)?,
    })
}

const fn family(bit: u8) -> Family {
    match bit {
        IPV6 => Family::V6,
        _ => Family::V4,
    }
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// A name; inside `None` for an empty one.
    fn text(&mut self) -> Option<Option<String>> {
        let length = self.u8()?.into();
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let text = Some(text).filter(|text| !text.is_empty());
        Some(text.map(|text| String::from_utf8_lossy(text).into_owned()))
    }

    /// Statistics, if they are there.
    fn stats(&mut self, are_there: bool) -> Option<Stats> {
        if !are_there {
            return Some(Stats::default());
        }
        Some(Stats {
            connections: self.u64()?,
            in_packets: self.u64()?,
            out_packets: self.u64()?,
            in_bytes: self.u64()?,
            out_bytes: self.u64()?,
            connection_rate: self.u64()?,
            in_packet_rate: self.u64()?,
            out_packet_rate: self.u64()?,
            in_byte_rate: self.u64()?,
            out_byte_rate: self.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_table_or_none(bytes: Vec<u8>, statistics: bool) {
            let _ = read(&bytes, statistics);
        }
    }
}
