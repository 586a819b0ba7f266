//! Sync daemons as attributes.

use std::net::IpAddr;

use crate::attr::{NESTED, Shape, Table, Writer};
use crate::consts::{NAME_MAX, attr, daemon as at};
use crate::errno::Errno;
use crate::model::{SyncDaemon, SyncRole};

const SHAPES: &[(u16, Shape)] = &[
    (at::STATE, Shape::U32),
    (at::MCAST_IFN, Shape::Text { max: NAME_MAX }),
    (at::SYNC_ID, Shape::U32),
    (at::SYNC_MAXLEN, Shape::U16),
    (at::MCAST_GROUP, Shape::U32),
    (at::MCAST_GROUP6, Shape::Bytes { max: 16 }),
    (at::MCAST_PORT, Shape::U16),
    (at::MCAST_TTL, Shape::U8),
];

fn table(nest: Option<&[u8]>) -> Result<Table<'_>, Errno> {
    let nest = nest.ok_or(Errno::EINVAL)?;
    Table::parse(nest, SHAPES).map_err(|_| Errno::EINVAL)
}

/// Reads a daemon, from a request or an answer.
///
/// # Errors
/// `EINVAL` an attribute is malformed, missing, or a state without a meaning.
pub(crate) fn read(nest: Option<&[u8]>) -> Result<SyncDaemon, Errno> {
    let table = table(nest)?;
    let role = table.u32(at::STATE).ok_or(Errno::EINVAL)?;
    let interface = table.text(at::MCAST_IFN).ok_or(Errno::EINVAL)?;
    let sync_id = table.u32(at::SYNC_ID).ok_or(Errno::EINVAL)?;
    let group4 = table.padded::<4>(at::MCAST_GROUP).map(IpAddr::from);
    let group6 = table.padded::<16>(at::MCAST_GROUP6).map(IpAddr::from);
    Ok(SyncDaemon {
        role: SyncRole::from_number(role).ok_or(Errno::EINVAL)?,
        interface,
        sync_id,
        max_length: table.u16(at::SYNC_MAXLEN).unwrap_or(0),
        group: group4.or(group6),
        port: table.u16(at::MCAST_PORT).unwrap_or(0),
        ttl: table.u8(at::MCAST_TTL).unwrap_or(0),
    })
}

/// Reads the role alone, all that stopping needs.
///
/// # Errors
/// `EINVAL` as for [`read`].
pub(crate) fn read_role(nest: Option<&[u8]>) -> Result<SyncRole, Errno> {
    let role = table(nest)?.u32(at::STATE).ok_or(Errno::EINVAL)?;
    SyncRole::from_number(role).ok_or(Errno::EINVAL)
}

/// Writes what an answer carries.
pub(crate) fn write_listed(writer: &mut Writer<'_>, daemon: &SyncDaemon) {
    writer.nest(attr::DAEMON, |nest| {
        write_identity(nest, daemon.role, &daemon.interface, daemon.sync_id);
        nest.u16(at::SYNC_MAXLEN, daemon.max_length)
            .u16(at::MCAST_PORT, daemon.port)
            .u8(at::MCAST_TTL, daemon.ttl);
        write_group(nest, daemon.group);
    });
}

/// Writes what a request carries: only what departs from the defaults.
pub(crate) fn write_wanted(writer: &mut Writer<'_>, daemon: &SyncDaemon) {
    writer.nest(attr::DAEMON | NESTED, |nest| {
        write_identity(nest, daemon.role, &daemon.interface, daemon.sync_id);
        if daemon.max_length != 0 {
            nest.u16(at::SYNC_MAXLEN, daemon.max_length);
        }
        if daemon.port != 0 {
            nest.u16(at::MCAST_PORT, daemon.port);
        }
        if daemon.ttl != 0 {
            nest.u8(at::MCAST_TTL, daemon.ttl);
        }
        write_group(nest, daemon.group);
    });
}

/// Writes what stopping needs.
pub(crate) fn write_stop(writer: &mut Writer<'_>, role: SyncRole) {
    writer.nest(attr::DAEMON | NESTED, |nest| {
        write_identity(nest, role, "", 0)
    });
}

fn write_identity(nest: &mut Writer<'_>, role: SyncRole, interface: &str, sync_id: u32) {
    nest.u32(at::STATE, role.number())
        .text(at::MCAST_IFN, interface)
        .u32(at::SYNC_ID, sync_id);
}

fn write_group(nest: &mut Writer<'_>, group: Option<IpAddr>) {
    match group {
        Some(IpAddr::V4(group)) => nest.bytes(at::MCAST_GROUP, &group.octets()),
        Some(IpAddr::V6(group)) => nest.bytes(at::MCAST_GROUP6, &group.octets()),
        None => nest,
    };
}
