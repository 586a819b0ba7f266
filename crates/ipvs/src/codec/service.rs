//! Virtual services as attributes.

use crate::attr::{Shape, Table, Writer};
use crate::codec::{address, address_field, family, family_number, stats};
use crate::consts::{NAME_MAX, service as at};
use crate::errno::Errno;
use crate::model::{
    Family, FlagChange, Netmask, Service, ServiceFlags, ServiceKey, ServiceSettings,
};

/// `IPPROTO_TCP`, the protocol of a service whose mark is 0.
const TCP: u16 = 6;
/// How a service without a scheduler reads on the wire.
const NO_SCHEDULER: &str = "none";

const SHAPES: &[(u16, Shape)] = &[
    (at::AF, Shape::U16),
    (at::PROTOCOL, Shape::U16),
    (at::ADDR, Shape::Bytes { max: 16 }),
    (at::PORT, Shape::U16),
    (at::FWMARK, Shape::U32),
    (at::SCHED_NAME, Shape::Text { max: NAME_MAX }),
    (at::FLAGS, Shape::Bytes { max: 8 }),
    (at::TIMEOUT, Shape::U32),
    (at::NETMASK, Shape::U32),
    (at::STATS, Shape::Nest),
    (at::PE_NAME, Shape::Text { max: NAME_MAX + 1 }),
    (at::STATS64, Shape::Nest),
];

/// The attributes of a service nest, with the identity read.
#[derive(Debug)]
pub(crate) struct ServiceNest<'a> {
    pub(crate) key: ServiceKey,
    table: Table<'a>,
}

impl<'a> ServiceNest<'a> {
    /// Reads a nest.
    ///
    /// # Errors
    /// `EINVAL` an attribute is malformed or the identity incomplete; `EAFNOSUPPORT`.
    pub(crate) fn parse(nest: Option<&'a [u8]>) -> Result<Self, Errno> {
        let nest = nest.ok_or(Errno::EINVAL)?;
        let table = Table::parse(nest, SHAPES).map_err(|_| Errno::EINVAL)?;
        let key = key(&table)?;
        Ok(Self { key, table })
    }

    /// What the nest sets.
    ///
    /// # Errors
    /// `EINVAL` a required attribute is missing.
    pub(crate) fn settings(&self) -> Result<ServiceSettings, Errno> {
        let table = &self.table;
        let scheduler = table.text(at::SCHED_NAME).ok_or(Errno::EINVAL)?;
        let flags = flag_change(table).ok_or(Errno::EINVAL)?;
        let timeout = table.u32(at::TIMEOUT).ok_or(Errno::EINVAL)?;
        let netmask = netmask(table, self.key.family()).ok_or(Errno::EINVAL)?;
        Ok(ServiceSettings {
            scheduler: Some(scheduler).filter(|name| name != NO_SCHEDULER),
            engine: table.text(at::PE_NAME).filter(|name| !name.is_empty()),
            flags,
            timeout,
            netmask,
        })
    }

    /// The whole service, as an answer carries it.
    ///
    /// # Errors
    /// `EINVAL` an attribute is missing.
    pub(crate) fn listed(&self) -> Result<Service, Errno> {
        let settings = self.settings()?;
        Ok(Service {
            key: self.key,
            scheduler: settings.scheduler,
            engine: settings.engine,
            flags: settings.flags.flags,
            timeout: settings.timeout,
            netmask: settings.netmask,
            stats: stats::read(&self.table, at::STATS, at::STATS64),
        })
    }
}

fn key(table: &Table<'_>) -> Result<ServiceKey, Errno> {
    let number = table.u16(at::AF).ok_or(Errno::EINVAL)?;
    if let Some(mark) = table.u32(at::FWMARK) {
        let family = family(number)?;
        return Ok(match mark {
            0 => ServiceKey::Address {
                protocol: TCP,
                addr: family.unspecified(),
                port: 0,
            },
            mark => ServiceKey::Mark { family, mark },
        });
    }
    let protocol = table.u16(at::PROTOCOL).ok_or(Errno::EINVAL)?;
    let field = table.padded(at::ADDR).ok_or(Errno::EINVAL)?;
    let port = table.port(at::PORT).ok_or(Errno::EINVAL)?;
    Ok(ServiceKey::Address {
        protocol,
        addr: address(family(number)?, field),
        port,
    })
}

fn flag_change(table: &Table<'_>) -> Option<FlagChange> {
    let [a, b, c, d, e, f, g, h] = table.padded(at::FLAGS)?;
    Some(FlagChange {
        flags: ServiceFlags(u32::from_ne_bytes([a, b, c, d])),
        mask: u32::from_ne_bytes([e, f, g, h]),
    })
}

fn netmask(table: &Table<'_>, family: Family) -> Option<Netmask> {
    match family {
        Family::V4 => table
            .padded::<4>(at::NETMASK)
            .map(|mask| Netmask::V4(mask.into())),
        Family::V6 => table.u32(at::NETMASK).map(Netmask::V6),
    }
}

/// Writes the identity.
pub(crate) fn write_key(writer: &mut Writer<'_>, key: &ServiceKey) {
    writer.u16(at::AF, family_number(key.family()));
    match key {
        ServiceKey::Mark { mark, .. } => {
            writer.u32(at::FWMARK, *mark);
        }
        ServiceKey::Address {
            protocol,
            addr,
            port,
        } => {
            writer
                .u16(at::PROTOCOL, *protocol)
                .bytes(at::ADDR, &address_field(addr))
                .port(at::PORT, *port);
        }
    }
}

/// Writes what can be set, behind the identity.
pub(crate) fn write_settings(writer: &mut Writer<'_>, settings: &ServiceSettings) {
    writer.text(
        at::SCHED_NAME,
        settings.scheduler.as_deref().unwrap_or(NO_SCHEDULER),
    );
    if let Some(engine) = &settings.engine {
        writer.text(at::PE_NAME, engine);
    }
    let mut flags = [0; 8];
    flags[..4].copy_from_slice(&settings.flags.flags.0.to_ne_bytes());
    flags[4..].copy_from_slice(&settings.flags.mask.to_ne_bytes());
    writer
        .bytes(at::FLAGS, &flags)
        .u32(at::TIMEOUT, settings.timeout);
    match settings.netmask {
        Netmask::V4(mask) => writer.bytes(at::NETMASK, &mask.octets()),
        Netmask::V6(prefix) => writer.u32(at::NETMASK, prefix),
    };
}

/// Writes a service as an answer carries it.
pub(crate) fn write_listed(writer: &mut Writer<'_>, service: &Service) {
    write_key(writer, &service.key);
    let settings = ServiceSettings {
        scheduler: service.scheduler.clone(),
        engine: service.engine.clone(),
        flags: FlagChange::exactly(service.flags.union(ServiceFlags::HASHED)),
        timeout: service.timeout,
        netmask: service.netmask,
    };
    write_settings(writer, &settings);
    stats::write(writer, at::STATS, at::STATS64, &service.stats);
}
