//! The question every netlink client asks first: which id has the family `IPVS`?
//!
//! Source: Linux 6.1 `net/netlink/genetlink.c`; the answer is recorded from that kernel.

use crate::attr::{Shape, Table, Writer};
use crate::consts::{FAMILY_ID, FAMILY_NAME, FAMILY_VERSION, NLCTRL, cmd, flag};
use crate::errno::Errno;
use crate::message::{self, Header, Message};

const NEWFAMILY: u8 = 1;
const GETFAMILY: u8 = 3;
/// Version of the controller's own messages.
const VERSION: u8 = 2;

const FAMILY_ID_ATTR: u16 = 1;
const FAMILY_NAME_ATTR: u16 = 2;
const VERSION_ATTR: u16 = 3;
const HDRSIZE_ATTR: u16 = 4;
const MAXATTR_ATTR: u16 = 5;
const OPS_ATTR: u16 = 6;
const OP_ID: u16 = 1;
const OP_FLAGS: u16 = 2;

const SHAPES: &[(u16, Shape)] = &[
    (FAMILY_ID_ATTR, Shape::U16),
    (FAMILY_NAME_ATTR, Shape::Text { max: 15 }),
];

/// Highest attribute of the top level.
const MAXATTR: u32 = 6;
/// Needs `CAP_NET_ADMIN`, has a policy.
const OP_ADMIN: u32 = 0x1 | 0x8;
/// Answers single requests.
const OP_DO: u32 = 0x2;
/// Answers dumps.
const OP_DUMP: u32 = 0x4;

/// The family lookup as a message.
pub(crate) fn lookup(sequence: u32) -> Vec<u8> {
    let flags = flag::REQUEST | flag::ACK;
    let header = Header {
        kind: NLCTRL,
        flags,
        sequence,
        port: 0,
    };
    message::generic(header, GETFAMILY, |writer| {
        writer.text(FAMILY_NAME_ATTR, FAMILY_NAME);
    })
}

/// The id in the answer to [`lookup`].
pub(crate) fn family_id(attributes: &[u8]) -> Option<u16> {
    Table::parse(attributes, SHAPES).ok()?.u16(FAMILY_ID_ATTR)
}

/// Answers a request to the controller, as if `IPVS` were the only family.
///
/// # Errors
/// `ENOENT` another family; `EINVAL` no family named; `EOPNOTSUPP` another command.
pub(crate) fn answer(request: &Message<'_>) -> Result<Vec<u8>, Errno> {
    let (command, attributes) = request.generic().ok_or(Errno::EINVAL)?;
    if command != GETFAMILY {
        return Err(Errno::EOPNOTSUPP);
    }
    let dump = request.header.flags & flag::DUMP == flag::DUMP;
    let table = Table::parse(attributes, SHAPES)?;
    let (id, name) = (table.u16(FAMILY_ID_ATTR), table.text(FAMILY_NAME_ATTR));
    match (id, name.as_deref()) {
        _ if dump => {}
        (None, None) => return Err(Errno::EINVAL),
        (Some(FAMILY_ID), None) | (_, Some(FAMILY_NAME)) => {}
        _ => return Err(Errno::ENOENT),
    }
    let flags = if dump { flag::MULTI } else { 0 };
    let header = Header {
        flags,
        ..request.header
    };
    let mut bytes = message::generic(header, NEWFAMILY, write_family);
    bytes[message::HEADER + 1] = VERSION;
    Ok(bytes)
}

fn write_family(writer: &mut Writer<'_>) {
    writer
        .text(FAMILY_NAME_ATTR, FAMILY_NAME)
        .u16(FAMILY_ID_ATTR, FAMILY_ID)
        .u32(VERSION_ATTR, FAMILY_VERSION.into())
        .u32(HDRSIZE_ATTR, 0)
        .u32(MAXATTR_ATTR, MAXATTR)
        .nest(OPS_ATTR, |ops| {
            let commands = (cmd::NEW_SERVICE..=cmd::FLUSH).filter(|id| *id != cmd::SET_INFO);
            for (index, command) in (1u16..).zip(commands) {
                let kind = match command {
                    cmd::GET_SERVICE => OP_DO | OP_DUMP,
                    cmd::GET_DEST | cmd::GET_DAEMON => OP_DUMP,
                    _ => OP_DO,
                };
                ops.nest(index, |op| {
                    op.u32(OP_ID, command.into()).u32(OP_FLAGS, OP_ADMIN | kind);
                });
            }
        });
}
