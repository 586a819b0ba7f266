//! Destinations as attributes.

use crate::attr::{Shape, Table, Writer};
use crate::codec::{address, address_field, family, family_number, stats};
use crate::consts::dest as at;
use crate::errno::Errno;
use crate::model::{
    Destination, DestinationKey, DestinationSettings, Family, ForwardingMethod, Tunnel, TunnelType,
};

const SHAPES: &[(u16, Shape)] = &[
    (at::ADDR, Shape::Bytes { max: 16 }),
    (at::PORT, Shape::U16),
    (at::FWD_METHOD, Shape::U32),
    (at::WEIGHT, Shape::U32),
    (at::U_THRESH, Shape::U32),
    (at::L_THRESH, Shape::U32),
    (at::ACTIVE_CONNS, Shape::U32),
    (at::INACT_CONNS, Shape::U32),
    (at::PERSIST_CONNS, Shape::U32),
    (at::STATS, Shape::Nest),
    (at::ADDR_FAMILY, Shape::U16),
    (at::STATS64, Shape::Nest),
    (at::TUN_TYPE, Shape::U8),
    (at::TUN_PORT, Shape::U16),
    (at::TUN_FLAGS, Shape::U16),
];

/// The attributes of a destination nest, with the identity read.
#[derive(Debug)]
pub(crate) struct DestinationNest<'a> {
    pub(crate) key: DestinationKey,
    table: Table<'a>,
}

impl<'a> DestinationNest<'a> {
    /// Reads a nest; without a family of its own it has that of its service.
    ///
    /// # Errors
    /// `EINVAL` an attribute is malformed or missing, `EAFNOSUPPORT`.
    pub(crate) fn parse(
        nest: Option<&'a [u8]>,
        service: Family,
        settings: Settings,
    ) -> Result<Self, Errno> {
        let nest = nest.ok_or(Errno::EINVAL)?;
        let table = Table::parse(nest, SHAPES).map_err(|_| Errno::EINVAL)?;
        let field = table.padded(at::ADDR).ok_or(Errno::EINVAL)?;
        let port = table.port(at::PORT).ok_or(Errno::EINVAL)?;
        let required = [at::FWD_METHOD, at::WEIGHT, at::U_THRESH, at::L_THRESH];
        if settings == Settings::Required && required.iter().any(|at| table.bytes(*at).is_none()) {
            return Err(Errno::EINVAL);
        }
        let family = match table.u16(at::ADDR_FAMILY) {
            None | Some(0) => service,
            Some(number) => family(number)?,
        };
        Ok(Self {
            key: DestinationKey {
                addr: address(family, field),
                port,
            },
            table,
        })
    }

    /// What the nest sets; an absent attribute is 0.
    pub(crate) fn settings(&self) -> DestinationSettings {
        let word = |at| self.table.u32(at).unwrap_or(0);
        DestinationSettings {
            method: ForwardingMethod::from_bits(word(at::FWD_METHOD)),
            weight: word(at::WEIGHT),
            upper_threshold: word(at::U_THRESH),
            lower_threshold: word(at::L_THRESH),
            tunnel: Tunnel {
                kind: TunnelType::from_number(self.table.u8(at::TUN_TYPE).unwrap_or(0)),
                port: self.table.port(at::TUN_PORT).unwrap_or(0),
                flags: self.table.u16(at::TUN_FLAGS).unwrap_or(0),
            },
        }
    }

    /// The whole destination, as an answer carries it.
    pub(crate) fn listed(&self) -> Destination {
        let word = |at| self.table.u32(at).unwrap_or(0);
        Destination {
            key: self.key,
            settings: self.settings(),
            active: word(at::ACTIVE_CONNS),
            inactive: word(at::INACT_CONNS),
            persistent: word(at::PERSIST_CONNS),
            stats: stats::read(&self.table, at::STATS, at::STATS64),
        }
    }
}

/// Whether a nest must carry more than the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settings {
    /// Method, weight and thresholds are needed.
    Required,
    /// The identity is enough.
    Optional,
}

/// Writes the identity as requests carry it, the family first.
pub(crate) fn write_key(writer: &mut Writer<'_>, key: &DestinationKey) {
    writer
        .u16(at::ADDR_FAMILY, family_number(Family::of(&key.addr)))
        .bytes(at::ADDR, &address_field(&key.addr))
        .port(at::PORT, key.port);
}

/// Writes what can be set, behind the identity.
pub(crate) fn write_settings(writer: &mut Writer<'_>, settings: &DestinationSettings) {
    writer
        .u32(at::FWD_METHOD, settings.method.bits())
        .u32(at::WEIGHT, settings.weight)
        .u8(at::TUN_TYPE, settings.tunnel.kind.number())
        .port(at::TUN_PORT, settings.tunnel.port)
        .u16(at::TUN_FLAGS, settings.tunnel.flags)
        .u32(at::U_THRESH, settings.upper_threshold)
        .u32(at::L_THRESH, settings.lower_threshold);
}

/// Writes a destination as an answer carries it.
pub(crate) fn write_listed(writer: &mut Writer<'_>, destination: &Destination) {
    let key = &destination.key;
    writer
        .bytes(at::ADDR, &address_field(&key.addr))
        .port(at::PORT, key.port);
    write_settings(writer, &destination.settings);
    writer
        .u32(at::ACTIVE_CONNS, destination.active)
        .u32(at::INACT_CONNS, destination.inactive)
        .u32(at::PERSIST_CONNS, destination.persistent)
        .u16(at::ADDR_FAMILY, family_number(Family::of(&key.addr)));
    stats::write(writer, at::STATS, at::STATS64, &destination.stats);
}
