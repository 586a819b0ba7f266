//! Connections to be led, as attributes of the private command.

use crate::attr::{NESTED, Table, Writer};
use crate::codec::destination::{self, DestinationNest, Settings};
use crate::consts::attr;
use crate::errno::Errno;
use crate::model::{DestinationKey, Family, Lead};
use std::net::SocketAddr;
use std::time::Duration;

/// Writes what [`read`] reads.
pub(crate) fn write(writer: &mut Writer<'_>, lead: &Lead) {
    let end = DestinationKey {
        addr: lead.client.ip(),
        port: lead.client.port(),
    };
    let within = u32::try_from(lead.within.as_millis()).unwrap_or(u32::MAX);
    writer
        .nest(attr::CLIENT | NESTED, |nest| {
            destination::write_key(nest, &end)
        })
        .u8(attr::PROTOCOL, lead.protocol)
        .port(attr::PORT, lead.port)
        .u32(attr::WITHIN, within);
}

/// Reads a connection whose client is of `family`, unless it says otherwise.
///
/// # Errors
/// `EINVAL` something is missing or malformed, `EAFNOSUPPORT`.
pub(crate) fn read(table: &Table<'_>, family: Family) -> Result<Lead, Errno> {
    let end = DestinationNest::parse(table.bytes(attr::CLIENT), family, Settings::Optional)?.key;
    let within = table.u32(attr::WITHIN).ok_or(Errno::EINVAL)?;
    Ok(Lead {
        protocol: table.u8(attr::PROTOCOL).ok_or(Errno::EINVAL)?,
        client: SocketAddr::new(end.addr, end.port),
        port: table.port(attr::PORT).ok_or(Errno::EINVAL)?,
        within: Duration::from_millis(within.into()),
    })
}
