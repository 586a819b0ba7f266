//! Answers: what comes back besides acknowledgements and errors.

use crate::attr::{Attributes, Shape, Table, Writer};
use crate::codec::destination::{DestinationNest, Settings};
use crate::codec::service::ServiceNest;
use crate::codec::{daemon, destination, service, timeouts};
use crate::consts::{attr, cmd, flag};
use crate::errno::Errno;
use crate::message::{Header, Message, generic_behind};
use crate::model::{Destination, Family, Info, Service, SyncDaemon, Timeouts};

/// Datagrams of a dump stay below this many bytes; libnl and the Go libraries read that much.
pub(crate) const DATAGRAM: usize = 8192;
/// Bytes of text in one message of a private answer.
const TEXT_PART: usize = 4096;
/// Bytes of a table in one message: only clients of our own ask, who read 64 KiB.
const TABLE_PART: usize = 60 << 10;
/// Bytes of the headers around it.
const HEADERS: usize = 24;

/// One message of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A virtual service.
    Service(Service),
    /// A destination.
    Destination(Destination),
    /// A sync daemon.
    Daemon(SyncDaemon),
    /// The timeouts.
    Timeouts(Timeouts),
    /// Version and table size.
    Info(Info),
    /// Part of a text.
    Text(Vec<u8>),
}

impl Reply {
    /// The answer as a message to `request`.
    pub(crate) fn encode(&self, request: &Message<'_>, flags: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_behind(&mut bytes, request, flags);
        bytes
    }

    /// The same behind what the datagram holds already.
    fn encode_behind(&self, datagram: &mut Vec<u8>, request: &Message<'_>, flags: u16) {
        let header = Header {
            flags,
            ..request.header
        };
        let asked = request.generic().map_or(cmd::PROC, |(command, _)| command);
        generic_behind(datagram, header, self.command(asked), |writer| {
            self.write(writer);
        });
    }

    /// Answers carry the number of the command that sets what they tell; texts the one asked.
    const fn command(&self, asked: u8) -> u8 {
        match self {
            Self::Service(_) => cmd::NEW_SERVICE,
            Self::Destination(_) => cmd::NEW_DEST,
            Self::Daemon(_) => cmd::NEW_DAEMON,
            Self::Timeouts(_) => cmd::SET_CONFIG,
            Self::Info(_) => cmd::SET_INFO,
            Self::Text(_) => asked,
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Service(listed) => {
                writer.nest(attr::SERVICE, |nest| service::write_listed(nest, listed));
            }
            Self::Destination(listed) => {
                writer.nest(attr::DEST, |nest| destination::write_listed(nest, listed));
            }
            Self::Daemon(listed) => daemon::write_listed(writer, listed),
            Self::Timeouts(values) => timeouts::write(writer, values),
            Self::Info(info) => timeouts::write_info(writer, info),
            Self::Text(part) => {
                writer.bytes(attr::TEXT, part);
            }
        }
    }

    /// Reads an answer. A destination without a family of its own has that of its `service`.
    ///
    /// # Errors
    /// `EINVAL` the message is no answer to an IPVS request, or malformed.
    pub(crate) fn decode(command: u8, attributes: &[u8], service: Family) -> Result<Self, Errno> {
        let nest = |kind| {
            let shapes = &[(kind, Shape::Nest)];
            Table::parse(attributes, shapes).map(|table| table.bytes(kind))
        };
        match command {
            cmd::NEW_SERVICE => ServiceNest::parse(nest(attr::SERVICE)?)?
                .listed()
                .map(Self::Service),
            cmd::NEW_DEST => DestinationNest::parse(nest(attr::DEST)?, service, Settings::Required)
                .map(|nest| Self::Destination(nest.listed())),
            cmd::NEW_DAEMON => daemon::read(nest(attr::DAEMON)?).map(Self::Daemon),
            cmd::SET_CONFIG => {
                let seconds = |kind| (kind, Shape::U32);
                let shapes = [attr::TIMEOUT_TCP, attr::TIMEOUT_TCP_FIN, attr::TIMEOUT_UDP];
                let table = Table::parse(attributes, &shapes.map(seconds))?;
                Ok(Self::Timeouts(timeouts::read(&table)))
            }
            cmd::SET_INFO => timeouts::read_info(attributes).map(Self::Info),
            _ => text_part(command, attributes).map(|part| Self::Text(part.to_vec())),
        }
    }

    /// A text in parts of a size that fits into a datagram.
    pub(crate) fn text_parts(text: &[u8]) -> impl Iterator<Item = Self> {
        text.chunks(TEXT_PART).map(|part| Self::Text(part.to_vec()))
    }
}

/// The part of a text, or of a table, that a private answer holds.
///
/// # Errors
/// `EINVAL` the message is no such answer.
pub(crate) fn text_part(command: u8, attributes: &[u8]) -> Result<&[u8], Errno> {
    match command {
        cmd::PROC | cmd::STATUS | cmd::SETTINGS | cmd::MARKS | cmd::APPLY | cmd::TABLE => {
            let part = Attributes(attributes).find(|(kind, _)| *kind == attr::TEXT);
            part.map(|(_, part)| part).ok_or(Errno::EINVAL)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// The dump of a table that is still being written: what is enough for a datagram becomes one.
pub(crate) struct TableDump<'a> {
    request: &'a Message<'a>,
    /// What is in no datagram yet.
    pub(crate) bytes: Vec<u8>,
    datagrams: Vec<Vec<u8>>,
}

impl<'a> TableDump<'a> {
    pub(crate) const fn new(request: &'a Message<'a>) -> Self {
        Self {
            request,
            bytes: Vec::new(),
            datagrams: Vec::new(),
        }
    }

    /// Makes datagrams of what is enough for some.
    pub(crate) fn pack(&mut self) {
        let mut parts = self.bytes.chunks_exact(TABLE_PART);
        let whole: Vec<_> = parts.by_ref().map(|part| self.datagram(part)).collect();
        let packed = self.bytes.len() - parts.remainder().len();
        self.datagrams.extend(whole);
        self.bytes.drain(..packed);
    }

    /// All datagrams, with the end.
    pub(crate) fn end(mut self) -> Vec<Vec<u8>> {
        if !self.bytes.is_empty() {
            self.datagrams.push(self.datagram(&self.bytes));
        }
        self.datagrams.push(crate::message::done(self.request));
        self.datagrams
    }

    fn datagram(&self, part: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(part.len() + HEADERS);
        let header = Header {
            flags: flag::MULTI,
            ..self.request.header
        };
        generic_behind(&mut datagram, header, cmd::TABLE, |writer| {
            writer.bytes(attr::TEXT, part);
        });
        datagram
    }
}

/// Packs the messages of a dump into datagrams, `NLMSG_DONE` into one of its own.
pub(crate) fn dump(
    request: &Message<'_>,
    replies: impl IntoIterator<Item = Reply>,
) -> Vec<Vec<u8>> {
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    for reply in replies {
        let Some(last) = datagrams.last_mut() else {
            datagrams.push(reply.encode(request, flag::MULTI));
            continue;
        };
        let before = last.len();
        reply.encode_behind(last, request, flag::MULTI);
        if last.len() > DATAGRAM {
            let mut next = Vec::with_capacity(DATAGRAM);
            next.extend(last.drain(before..));
            datagrams.push(next);
        }
    }
    datagrams.push(crate::message::done(request));
    datagrams
}
