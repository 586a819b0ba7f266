//! Requests: a command with its typed arguments.

use crate::attr::{NESTED, Shape, Table, Writer};
use crate::codec::destination::{DestinationNest, Settings};
use crate::codec::service::ServiceNest;
use crate::codec::{daemon, destination, lead, service, table, timeouts};
use crate::consts::{attr, cmd, flag};
use crate::director::Applying;
use crate::errno::Errno;
use crate::message::{Header, generic_behind};
use crate::model::{
    DestinationKey, DestinationSettings, Family, ForwardingMethod, Lead, ServiceKey,
    ServiceSettings, SyncDaemon, SyncRole, Timeouts, TunnelType,
};
use crate::stage::PART_MAX;

/// Everything a director can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Adds a service.
    NewService(ServiceKey, ServiceSettings),
    /// Changes a service.
    SetService(ServiceKey, ServiceSettings),
    /// Removes a service.
    DeleteService(ServiceKey),
    /// Shows one service.
    Service(ServiceKey),
    /// Lists all services.
    Services,
    /// Adds a destination to a service.
    NewDestination(ServiceKey, DestinationKey, DestinationSettings),
    /// Changes a destination.
    SetDestination(ServiceKey, DestinationKey, DestinationSettings),
    /// Removes a destination.
    DeleteDestination(ServiceKey, DestinationKey),
    /// Lists the destinations of a service; `None` is a request without a legible service, whose
    /// answer is an empty list.
    Destinations(Option<ServiceKey>),
    /// Starts a sync daemon.
    NewDaemon(SyncDaemon),
    /// Stops a sync daemon.
    DeleteDaemon(SyncRole),
    /// Lists the sync daemons.
    Daemons,
    /// Sets timeouts; 0 keeps a value.
    SetTimeouts(Timeouts),
    /// Shows the timeouts.
    Timeouts,
    /// Shows version and table size.
    Info,
    /// Zeroes the counters of a service, or all.
    Zero(Option<ServiceKey>),
    /// Removes all services.
    Flush,
    /// Private: the text of a file under `/proc/net`.
    ProcText(String),
    /// Private: the director's state as JSON.
    Status,
    /// Private: the settings.
    Settings,
    /// Private: sets one, by its name without the prefix.
    SetSetting(String, String),
    /// Private: the mark rules.
    Marks,
    /// Private: changes them, a line a change as [`crate::mark::edits`] reads it.
    EditMarks(String),
    /// Private: ends the connections and templates of a destination.
    EndConnections(ServiceKey, DestinationKey),
    /// Private: part of a change that is to be applied in one step, see [`crate::stage`].
    Stage {
        /// The number its client chose for it.
        change: u64,
        /// Bytes before this part.
        at: u32,
        /// Messages, cut anywhere; at most [`PART_MAX`] bytes.
        part: Vec<u8>,
    },
    /// Private: applies a change in one step, or tells all that is wrong with it.
    Apply {
        /// Its number.
        change: u64,
        /// Bytes of all its parts.
        length: u32,
        /// Whether it is a table, lines, or only to be looked at.
        how: Applying,
    },
    /// Private: all services with their destinations, as they are at one moment.
    Table {
        /// Counters and rates too; else they are 0.
        statistics: bool,
    },
    /// Private: leads a connection of this host to a destination.
    Lead(ServiceKey, DestinationKey, Lead),
}

/// Why a message is not a request that the director could be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The message is wrong.
    Message(Errno),
    /// Its destination is wrong, which only counts if the service exists: an unknown service is
    /// found out before the destination is looked at.
    Destination(ServiceKey, Errno),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Message(errno)
    }
}

const SHAPES: &[(u16, Shape)] = &[
    (attr::SERVICE, Shape::Nest),
    (attr::DEST, Shape::Nest),
    (attr::DAEMON, Shape::Nest),
    (attr::TIMEOUT_TCP, Shape::U32),
    (attr::TIMEOUT_TCP_FIN, Shape::U32),
    (attr::TIMEOUT_UDP, Shape::U32),
    (attr::CLIENT, Shape::Nest),
    (attr::PROTOCOL, Shape::U8),
    (attr::PORT, Shape::U16),
    (attr::WITHIN, Shape::U32),
];

/// Longest name of a text that can be asked for.
const TEXT_NAME_MAX: usize = 63;
/// Longest value of a setting.
const VALUE_MAX: usize = 255;
/// Longest text of changes to the mark rules: what an attribute holds.
pub const EDITS_MAX: usize = 65_000;

impl Request {
    /// Whether the answer is a sequence of messages that `NLMSG_DONE` ends.
    #[must_use]
    pub const fn is_dump(&self) -> bool {
        matches!(
            self,
            Self::Services
                | Self::Destinations(_)
                | Self::Daemons
                | Self::ProcText(_)
                | Self::Status
                | Self::Settings
                | Self::Marks
                | Self::Table { .. }
                | Self::Apply { .. }
        )
    }

    /// Whether it changes what is configured or counted, and so can be part of a change that is applied in one step.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        match self {
            Self::NewService(..)
            | Self::SetService(..)
            | Self::DeleteService(_)
            | Self::NewDestination(..)
            | Self::SetDestination(..)
            | Self::DeleteDestination(..)
            | Self::NewDaemon(_)
            | Self::DeleteDaemon(_)
            | Self::SetTimeouts(_)
            | Self::Zero(_)
            | Self::Flush
            | Self::SetSetting(..)
            | Self::EditMarks(_) => true,
            Self::Service(_)
            | Self::Services
            | Self::Destinations(_)
            | Self::Daemons
            | Self::Timeouts
            | Self::Info
            | Self::ProcText(_)
            | Self::Status
            | Self::Settings
            | Self::Marks
            | Self::EndConnections(..)
            | Self::Table { .. }
            | Self::Lead(..)
            | Self::Stage { .. }
            | Self::Apply { .. } => false,
        }
    }

    const fn command(&self) -> u8 {
        match self {
            Self::NewService(..) => cmd::NEW_SERVICE,
            Self::SetService(..) => cmd::SET_SERVICE,
            Self::DeleteService(_) => cmd::DEL_SERVICE,
            Self::Service(_) | Self::Services => cmd::GET_SERVICE,
            Self::NewDestination(..) => cmd::NEW_DEST,
            Self::SetDestination(..) => cmd::SET_DEST,
            Self::DeleteDestination(..) => cmd::DEL_DEST,
            Self::Destinations(_) => cmd::GET_DEST,
            Self::NewDaemon(_) => cmd::NEW_DAEMON,
            Self::DeleteDaemon(_) => cmd::DEL_DAEMON,
            Self::Daemons => cmd::GET_DAEMON,
            Self::SetTimeouts(_) => cmd::SET_CONFIG,
            Self::Timeouts => cmd::GET_CONFIG,
            Self::Info => cmd::GET_INFO,
            Self::Zero(_) => cmd::ZERO,
            Self::Flush => cmd::FLUSH,
            Self::ProcText(_) => cmd::PROC,
            Self::Status => cmd::STATUS,
            Self::Settings => cmd::SETTINGS,
            Self::SetSetting(..) => cmd::SET_SETTING,
            Self::Marks => cmd::MARKS,
            Self::EditMarks(_) => cmd::EDIT_MARKS,
            Self::EndConnections(..) => cmd::END_CONNECTIONS,
            Self::Stage { .. } => cmd::STAGE,
            Self::Apply { .. } => cmd::APPLY,
            Self::Lead(..) => cmd::LEAD,
            Self::Table { .. } => cmd::TABLE,
        }
    }

    /// The request as a message to the family with this id.
    #[must_use]
    pub fn encode(&self, family: u16, sequence: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_behind(&mut bytes, family, sequence);
        bytes
    }

    /// The same behind what `bytes` hold already, which are filled up to whole words.
    pub fn encode_behind(&self, bytes: &mut Vec<u8>, family: u16, sequence: u32) {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let dump = if self.is_dump() { flag::DUMP } else { 0 };
        let flags = flag::REQUEST | flag::ACK | dump;
        let header = Header {
            kind: family,
            flags,
            sequence,
            port: 0,
        };
        generic_behind(bytes, header, self.command(), |writer| self.write(writer));
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::NewService(key, settings) | Self::SetService(key, settings) => {
                writer.nest(attr::SERVICE | NESTED, |nest| {
                    service::write_key(nest, key);
                    service::write_settings(nest, settings);
                });
            }
            Self::DeleteService(key)
            | Self::Service(key)
            | Self::Destinations(Some(key))
            | Self::Zero(Some(key)) => {
                write_service_key(writer, key);
            }
            Self::NewDestination(service, key, settings)
            | Self::SetDestination(service, key, settings) => {
                write_service_key(writer, service).nest(attr::DEST | NESTED, |nest| {
                    destination::write_key(nest, key);
                    destination::write_settings(nest, settings);
                });
            }
            Self::DeleteDestination(service, key) | Self::EndConnections(service, key) => {
                write_service_key(writer, service).nest(attr::DEST | NESTED, |nest| {
                    destination::write_key(nest, key)
                });
            }
            Self::Lead(service, key, lead) => {
                write_service_key(writer, service).nest(attr::DEST | NESTED, |nest| {
                    destination::write_key(nest, key)
                });
                lead::write(writer, lead);
            }
            Self::NewDaemon(wanted) => daemon::write_wanted(writer, wanted),
            Self::DeleteDaemon(role) => daemon::write_stop(writer, *role),
            Self::SetTimeouts(wanted) => timeouts::write(writer, wanted),
            Self::ProcText(text) | Self::EditMarks(text) => {
                writer.text(attr::TEXT, text);
            }
            Self::SetSetting(name, value) => {
                writer.text(attr::TEXT, name).text(attr::VALUE, value);
            }
            Self::Stage { change, at, part } => {
                writer
                    .u64(attr::CHANGE, *change)
                    .u32(attr::LENGTH, *at)
                    .bytes(attr::TEXT, part);
            }
            Self::Apply {
                change,
                length,
                how,
            } => {
                writer
                    .u64(attr::CHANGE, *change)
                    .u32(attr::LENGTH, *length)
                    .u8(attr::TRIAL, (*how == Applying::Trial).into())
                    .u8(attr::LINES, (*how == Applying::Lines).into());
            }
            Self::Table { statistics } => {
                writer
                    .u8(attr::LAYOUT, table::LAYOUT)
                    .u8(attr::STATISTICS, (*statistics).into());
            }
            Self::Services
            | Self::Destinations(None)
            | Self::Daemons
            | Self::Timeouts
            | Self::Info
            | Self::Zero(None)
            | Self::Flush
            | Self::Status
            | Self::Settings
            | Self::Marks => {}
        }
    }

    /// Reads a request, checking it in the kernel's order.
    pub(crate) fn decode(command: u8, dump: bool, attributes: &[u8]) -> Result<Self, Refusal> {
        match (command, dump) {
            (cmd::PROC, _) => {
                return Self::decode_text(attributes, TEXT_NAME_MAX).map(Self::ProcText);
            }
            (cmd::STATUS, _) => return Ok(Self::Status),
            (cmd::SETTINGS, _) => return Ok(Self::Settings),
            (cmd::MARKS, _) => return Ok(Self::Marks),
            (cmd::EDIT_MARKS, _) => {
                return Self::decode_text(attributes, EDITS_MAX).map(Self::EditMarks);
            }
            (cmd::SET_SETTING, _) => return Self::decode_setting(attributes),
            (cmd::STAGE | cmd::APPLY, _) => return Self::decode_whole(command, attributes),
            (cmd::TABLE, _) => return Self::decode_table(attributes),
            (cmd::GET_SERVICE, true) => return Ok(Self::Services),
            (cmd::GET_DAEMON, true) => return Ok(Self::Daemons),
            (cmd::GET_DEST, true) => return Ok(Self::Destinations(legible_service(attributes))),
            (cmd::GET_DEST | cmd::GET_DAEMON, false) | (_, true) => {
                return Err(Errno::EOPNOTSUPP.into());
            }
            (_, false) => {}
        }
        let known = (cmd::NEW_SERVICE..=cmd::FLUSH).contains(&command) && command != cmd::SET_INFO
            || matches!(command, cmd::END_CONNECTIONS | cmd::LEAD);
        if !known {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let table = Table::parse(attributes, SHAPES)?;
        let service = || ServiceNest::parse(table.bytes(attr::SERVICE));
        let request = match command {
            cmd::NEW_SERVICE | cmd::SET_SERVICE => {
                let nest = service()?;
                let settings = nest.settings()?;
                match command {
                    cmd::NEW_SERVICE => Self::NewService(nest.key, settings),
                    _ => Self::SetService(nest.key, settings),
                }
            }
            cmd::DEL_SERVICE => Self::DeleteService(service()?.key),
            cmd::GET_SERVICE => Self::Service(service()?.key),
            cmd::NEW_DEST | cmd::SET_DEST | cmd::DEL_DEST | cmd::END_CONNECTIONS => {
                let key = service()?.key;
                Self::decode_destination(command, key, table.bytes(attr::DEST))
                    .map_err(|errno| Refusal::Destination(key, errno))?
            }
            cmd::LEAD => {
                let key = service()?.key;
                let nest = table.bytes(attr::DEST);
                let nest = DestinationNest::parse(nest, key.family(), Settings::Optional)?;
                Self::Lead(key, nest.key, lead::read(&table, key.family())?)
            }
            cmd::NEW_DAEMON => Self::NewDaemon(daemon::read(table.bytes(attr::DAEMON))?),
            cmd::DEL_DAEMON => Self::DeleteDaemon(daemon::read_role(table.bytes(attr::DAEMON))?),
            cmd::SET_CONFIG => Self::SetTimeouts(timeouts::read(&table)),
            cmd::GET_CONFIG => Self::Timeouts,
            cmd::GET_INFO => Self::Info,
            cmd::ZERO if table.bytes(attr::SERVICE).is_none() => Self::Zero(None),
            cmd::ZERO => Self::Zero(Some(service()?.key)),
            _ => Self::Flush,
        };
        Ok(request)
    }

    fn decode_destination(
        command: u8,
        service: ServiceKey,
        nest: Option<&[u8]>,
    ) -> Result<Self, Errno> {
        if matches!(command, cmd::DEL_DEST | cmd::END_CONNECTIONS) {
            let nest = DestinationNest::parse(nest, service.family(), Settings::Optional)?;
            return Ok(match command {
                cmd::DEL_DEST => Self::DeleteDestination(service, nest.key),
                _ => Self::EndConnections(service, nest.key),
            });
        }
        let nest = DestinationNest::parse(nest, service.family(), Settings::Required)?;
        let settings = nest.settings();
        check_destination(&service, &nest.key, &settings)?;
        Ok(match command {
            cmd::NEW_DEST => Self::NewDestination(service, nest.key, settings),
            _ => Self::SetDestination(service, nest.key, settings),
        })
    }

    fn decode_setting(attributes: &[u8]) -> Result<Self, Refusal> {
        let text = |kind, max| (kind, Shape::Text { max });
        let shapes = &[
            text(attr::TEXT, TEXT_NAME_MAX),
            text(attr::VALUE, VALUE_MAX),
        ];
        let table = Table::parse(attributes, shapes)?;
        match (table.text(attr::TEXT), table.text(attr::VALUE)) {
            (Some(name), Some(value)) => Ok(Self::SetSetting(name, value)),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    fn decode_whole(command: u8, attributes: &[u8]) -> Result<Self, Refusal> {
        let shapes = &[
            (attr::TEXT, Shape::Bytes { max: PART_MAX }),
            (attr::CHANGE, Shape::Bytes { max: 8 }),
            (attr::LENGTH, Shape::U32),
            (attr::TRIAL, Shape::U8),
            (attr::LINES, Shape::U8),
        ];
        let table = Table::parse(attributes, shapes)?;
        let missing = Refusal::Message(Errno::EINVAL);
        let change = table.padded(attr::CHANGE).map(u64::from_ne_bytes);
        let change = change.ok_or(missing)?;
        let length = table.u32(attr::LENGTH).ok_or(missing)?;
        if command == cmd::STAGE {
            return Ok(Self::Stage {
                change,
                at: length,
                part: table.bytes(attr::TEXT).ok_or(missing)?.to_vec(),
            });
        }
        let is_set = |kind| table.u8(kind).is_some_and(|value| value != 0);
        Ok(Self::Apply {
            change,
            length,
            how: match (is_set(attr::TRIAL), is_set(attr::LINES)) {
                (true, _) => Applying::Trial,
                (false, true) => Applying::Lines,
                (false, false) => Applying::Table,
            },
        })
    }

    fn decode_table(attributes: &[u8]) -> Result<Self, Refusal> {
        let shapes = &[(attr::LAYOUT, Shape::U8), (attr::STATISTICS, Shape::U8)];
        let read = Table::parse(attributes, shapes)?;
        // Who knows another layout alone asks service by service.
        if read.u8(attr::LAYOUT) != Some(table::LAYOUT) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let statistics = read.u8(attr::STATISTICS).is_some_and(|wanted| wanted != 0);
        Ok(Self::Table { statistics })
    }

    fn decode_text(attributes: &[u8], max: usize) -> Result<String, Refusal> {
        let shapes = &[(attr::TEXT, Shape::Text { max })];
        let text = Table::parse(attributes, shapes)?.text(attr::TEXT);
        text.ok_or(Refusal::Message(Errno::EINVAL))
    }
}

/// What a destination can violate by itself, in the kernel's order.
fn check_destination(
    service: &ServiceKey,
    key: &DestinationKey,
    settings: &DestinationSettings,
) -> Result<(), Errno> {
    let other_family = Family::of(&key.addr) != service.family();
    if other_family && settings.method != ForwardingMethod::Tunnel {
        return Err(Errno::EINVAL);
    }
    if settings.weight > i32::MAX as u32 || settings.lower_threshold > settings.upper_threshold {
        return Err(Errno::ERANGE);
    }
    if settings.tunnel.kind == TunnelType::Gue && settings.tunnel.port == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// The service of a request whose faults are not answered by an error.
fn legible_service(attributes: &[u8]) -> Option<ServiceKey> {
    let table = Table::parse(attributes, SHAPES).ok()?;
    let nest = ServiceNest::parse(table.bytes(attr::SERVICE)).ok()?;
    Some(nest.key)
}

fn write_service_key<'a, 'b>(writer: &'a mut Writer<'b>, key: &ServiceKey) -> &'a mut Writer<'b> {
    writer.nest(attr::SERVICE | NESTED, |nest| service::write_key(nest, key))
}
