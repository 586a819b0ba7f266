//! All services with their destinations in few bytes: the answer to the private command `TABLE`.
//!
//! A destination as the kernel's protocol tells it has some 350 bytes in 31 attributes; here an IPv4 one has 23. Numbers are
//! little endian, an address has 4 bytes or 16, a text its length in a byte and its bytes.
//!
//! | a service | bytes | a destination | bytes |
//! |---|---|---|---|
//! | 1 for IPv6, 2 more for a service by mark | 1 | 1 for IPv6, 2 more with a tunnel, 4 with thresholds, 16 times the forwarding method | 1 |
//! | protocol, port; 0 with a mark | 2, 2 | address | 4 or 16 |
//! | mark; 0 without one | 4 | port | 2 |
//! | address | 4 or 16 | weight | 4 |
//! | flags, timeout | 4, 4 | active, inactive, persistent connections | 4, 4, 4 |
//! | mask, or length of the prefix | 4 | type, port and flags of the tunnel, if it is not the default | 1, 2, 2 |
//! | scheduler, engine | texts | upper and lower threshold, if one is set | 4, 4 |
//! | destinations, which follow behind it | 4 | | |
//!
//! With statistics each has ten numbers of 8 bytes behind it: counters and rates, as in [`Stats`].

use std::net::IpAddr;
use std::ops::Range;

use crate::model::{
    Destination, DestinationKey, DestinationSettings, Family, ForwardingMethod, Netmask, Row,
    Service, ServiceFlags, ServiceKey, Stats, Tunnel, TunnelType,
};

/// The layout that is described here.
pub(crate) const LAYOUT: u8 = 2;

const IPV6: u8 = 1;
const BY_MARK: u8 = 2;
const TUNNEL: u8 = 2;
const THRESHOLDS: u8 = 4;
/// Bits below the forwarding method, which has three.
const METHOD: u32 = 4;

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
    write_address(bytes, &addr);
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
    let DestinationSettings {
        tunnel,
        upper_threshold,
        lower_threshold,
        ..
    } = *settings;
    let mut head = family_bit(&key.addr) | (settings.method.bits() as u8) << METHOD;
    if tunnel != Tunnel::default() {
        head |= TUNNEL;
    }
    if (upper_threshold, lower_threshold) != (0, 0) {
        head |= THRESHOLDS;
    }
    bytes.push(head);
    write_address(bytes, &key.addr);
    bytes.extend_from_slice(&key.port.to_le_bytes());
    let counts = [
        settings.weight,
        destination.active,
        destination.inactive,
        destination.persistent,
    ];
    bytes.extend_from_slice(counts.map(u32::to_le_bytes).as_flattened());
    if head & TUNNEL != 0 {
        bytes.push(tunnel.kind.number());
        bytes.extend_from_slice(&tunnel.port.to_le_bytes());
        bytes.extend_from_slice(&tunnel.flags.to_le_bytes());
    }
    if head & THRESHOLDS != 0 {
        let thresholds = [upper_threshold, lower_threshold];
        bytes.extend_from_slice(thresholds.map(u32::to_le_bytes).as_flattened());
    }
}

fn write_address(bytes: &mut Vec<u8>, addr: &IpAddr) {
    match addr {
        IpAddr::V4(addr) => bytes.extend_from_slice(&addr.octets()),
        IpAddr::V6(addr) => bytes.extend_from_slice(&addr.octets()),
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

/// A whole table, as it was at one moment. Destinations are read from the answer when they are looked at, so that those of a
/// large table are never all in memory.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The services, in the director's order until somebody sorts them.
    pub services: Vec<Listed>,
    bytes: Vec<u8>,
    statistics: bool,
}

/// A service of a [`Snapshot`].
#[derive(Clone, Debug)]
pub struct Listed {
    /// The service.
    pub service: Service,
    /// Where its destinations stand.
    destinations: Range<usize>,
}

impl Snapshot {
    /// Reads what [`write`] wrote. `None`: the bytes are no table.
    pub(crate) fn read(bytes: Vec<u8>, statistics: bool) -> Option<Self> {
        let mut reader = Reader {
            left: &bytes,
            statistics,
        };
        let mut services = Vec::new();
        while !reader.left.is_empty() {
            let (service, count) = reader.service()?;
            let begin = bytes.len() - reader.left.len();
            // A count that lies ends with the bytes.
            for _ in 0..count {
                reader.pass_destination()?;
            }
            let end = bytes.len() - reader.left.len();
            services.push(Listed {
                service,
                destinations: begin..end,
            });
        }
        Some(Self {
            services,
            bytes,
            statistics,
        })
    }

    /// The services with their destinations, in the director's order.
    pub fn rows(self) -> impl Iterator<Item = Row> {
        let Self {
            services,
            bytes,
            statistics,
        } = self;
        services.into_iter().map(move |listed| {
            let mut reader = Reader {
                left: bytes.get(listed.destinations).unwrap_or_default(),
                statistics,
            };
            let destinations = std::iter::from_fn(|| reader.destination());
            (listed.service, destinations.collect())
        })
    }
}

const fn family(bit: u8) -> Family {
    match bit {
        IPV6 => Family::V6,
        _ => Family::V4,
    }
}

/// What is left to be read.
struct Reader<'a> {
    left: &'a [u8],
    statistics: bool,
}

/// Bytes of an address, of a tunnel, of thresholds, of statistics, and what any destination has besides.
const ADDRESS: [usize; 2] = [4, 16];
const TUNNEL_BYTES: usize = 5;
const THRESHOLD_BYTES: usize = 8;
const STATS_BYTES: usize = 80;
const OTHER_BYTES: usize = 19;

impl Reader<'_> {
    /// A service, and how many destinations follow.
    fn service(&mut self) -> Option<(Service, u32)> {
        let kind = self.u8()?;
        let family = family(kind & IPV6);
        let (protocol, port, mark) = (self.u16()?, self.u16()?, self.u32()?);
        let addr = self.address(family)?;
        let key = match kind & BY_MARK {
            0 => ServiceKey::Address {
                protocol,
                addr,
                port,
            },
            _ => ServiceKey::Mark { family, mark },
        };
        let (flags, timeout, netmask) = (self.u32()?, self.u32()?, self.u32()?);
        let (scheduler, engine) = (self.text()?, self.text()?);
        let count = self.u32()?;
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
            stats: self.stats()?,
        };
        Some((service, count))
    }

    /// Passes a destination over. `None`: it is not all there.
    fn pass_destination(&mut self) -> Option<()> {
        let head = *self.left.first()?;
        let mut length = OTHER_BYTES + ADDRESS[usize::from(head & IPV6)];
        if head & TUNNEL != 0 {
            length += TUNNEL_BYTES;
        }
        if head & THRESHOLDS != 0 {
            length += THRESHOLD_BYTES;
        }
        if self.statistics {
            length += STATS_BYTES;
        }
        self.left = self.left.get(length..)?;
        Some(())
    }

    fn destination(&mut self) -> Option<Destination> {
        let head = self.u8()?;
        let addr = self.address(family(head & IPV6))?;
        let key = DestinationKey {
            addr,
            port: self.u16()?,
        };
        let [weight, active, inactive, persistent] =
            [self.u32()?, self.u32()?, self.u32()?, self.u32()?];
        let tunnel = match head & TUNNEL {
            0 => Tunnel::default(),
            _ => Tunnel {
                kind: TunnelType::from_number(self.u8()?),
                port: self.u16()?,
                flags: self.u16()?,
            },
        };
        let [upper_threshold, lower_threshold] = match head & THRESHOLDS {
            0 => [0, 0],
            _ => [self.u32()?, self.u32()?],
        };
        Some(Destination {
            key,
            settings: DestinationSettings {
                method: ForwardingMethod::from_bits((head >> METHOD).into()),
                weight,
                upper_threshold,
                lower_threshold,
                tunnel,
            },
            active,
            inactive,
            persistent,
            stats: self.stats()?,
        })
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.left.split_first_chunk()?;
        self.left = rest;
        Some(*first)
    }

    fn address(&mut self, family: Family) -> Option<IpAddr> {
        Some(match family {
            Family::V4 => IpAddr::from(self.take::<4>()?),
            Family::V6 => IpAddr::from(self.take::<16>()?),
        })
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
        let (text, rest) = self.left.split_at_checked(length)?;
        self.left = rest;
        let text = Some(text).filter(|text| !text.is_empty());
        Some(text.map(|text| String::from_utf8_lossy(text).into_owned()))
    }

    /// Statistics, if they are there.
    fn stats(&mut self) -> Option<Stats> {
        if !self.statistics {
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
            if let Some(snapshot) = Snapshot::read(bytes, statistics) {
                snapshot.rows().for_each(drop);
            }
        }

        #[test]
        fn what_is_cut_is_no_table(cut in 1usize..200, six: bool, tunnel: bool, threshold: bool, statistics: bool) {
            let addr: IpAddr = if six { [7; 16].into() } else { [7; 4].into() };
            let service = Service {
                key: ServiceKey::Address { protocol: 6, addr, port: 80 },
                scheduler: Some("wlc".to_owned()),
                engine: None,
                flags: ServiceFlags::HASHED,
                timeout: 0,
                netmask: Netmask::host(Family::of(&addr)),
                stats: Stats::default(),
            };
            let destination = Destination {
                key: DestinationKey { addr, port: 80 },
                settings: DestinationSettings {
                    method: ForwardingMethod::Tunnel,
                    weight: 1,
                    upper_threshold: 0,
                    lower_threshold: threshold.into(),
                    tunnel: Tunnel { flags: tunnel.into(), ..Tunnel::default() },
                },
                active: 1,
                inactive: 2,
                persistent: 3,
                stats: Stats::default(),
            };
            let mut bytes = Vec::new();
            write(&mut bytes, &service, &[destination.clone(), destination.clone()], statistics);
            let read = Snapshot::read(bytes.clone(), statistics).unwrap();
            let rows: Vec<Row> = read.rows().collect();
            prop_assert_eq!(rows, [(service, vec![destination.clone(), destination])]);
            bytes.truncate(bytes.len().saturating_sub(cut).max(1));
            prop_assert!(Snapshot::read(bytes, statistics).is_none());
        }
    }
}
