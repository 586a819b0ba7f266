//! Timeouts and the director's own particulars: attributes of the top level.

use crate::attr::{Shape, Table, Writer};
use crate::consts::{attr, info as at};
use crate::errno::Errno;
use crate::model::{Info, Timeouts};

/// Reads timeouts; an absent one is 0, which keeps the old value.
pub(crate) fn read(table: &Table<'_>) -> Timeouts {
    let seconds = |at| table.u32(at).unwrap_or(0);
    Timeouts {
        tcp: seconds(attr::TIMEOUT_TCP),
        tcp_fin: seconds(attr::TIMEOUT_TCP_FIN),
        udp: seconds(attr::TIMEOUT_UDP),
    }
}

/// Writes all three.
pub(crate) fn write(writer: &mut Writer<'_>, timeouts: &Timeouts) {
    writer
        .u32(attr::TIMEOUT_TCP, timeouts.tcp)
        .u32(attr::TIMEOUT_TCP_FIN, timeouts.tcp_fin)
        .u32(attr::TIMEOUT_UDP, timeouts.udp);
}

/// Reads version and table size, which have a numbering of their own.
///
/// # Errors
/// `EINVAL` one is missing.
pub(crate) fn read_info(attributes: &[u8]) -> Result<Info, Errno> {
    let shapes = &[(at::VERSION, Shape::U32), (at::CONN_TAB_SIZE, Shape::U32)];
    let table = Table::parse(attributes, shapes).map_err(|_| Errno::EINVAL)?;
    Ok(Info {
        version: table.u32(at::VERSION).ok_or(Errno::EINVAL)?,
        connection_table_size: table.u32(at::CONN_TAB_SIZE).ok_or(Errno::EINVAL)?,
    })
}

/// Writes version and table size.
pub(crate) fn write_info(writer: &mut Writer<'_>, info: &Info) {
    writer
        .u32(at::VERSION, info.version)
        .u32(at::CONN_TAB_SIZE, info.connection_table_size);
}
