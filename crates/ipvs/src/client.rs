//! The client's side of the dialogue: typed requests, typed answers.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io;

use crate::codec::table::Snapshot;
use crate::consts::control;
use crate::director::{Applying, Fault};
use crate::errno::{Errno, Refused};
use crate::mark::{MarkEdit, MarkRule};
use crate::message::{self, Messages};
use crate::model::{
    Destination, DestinationKey, Family, Info, Lead, Service, ServiceKey, SyncDaemon, Timeouts,
};
use crate::reply::{self, Reply};
use crate::request::{EDITS_MAX, Request};
use crate::stage::PART_MAX;
use crate::transport::{Choice, ConnectError, DATAGRAM_MAX, DEADLINE, Transport};

/// How many times [`DEADLINE`] more a director may take for a whole table.
const PATIENCE: u32 = 11;

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The director refused.
    #[error("{0}")]
    Refused(Errno),
    /// The director refused a private request, and said why.
    #[error("{0}")]
    Explained(Refused),
    /// The director did not answer in time, or hung up.
    #[error(
        "the director did not answer within {} s: see whether lvsd is running and what it logs",
        DEADLINE.as_secs()
    )]
    Silent,
    /// What came is no answer to the request.
    #[error("the director's answer is malformed")]
    Malformed,
    /// The transport failed.
    #[error("{0}")]
    Transport(io::Error),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused => Self::Silent,
            io::ErrorKind::InvalidData => Self::Malformed,
            _ => Self::Transport(error),
        }
    }
}

/// A client of one director.
pub struct Client {
    transport: Transport,
    sequence: u32,
    /// What comes is put here; empty before the first request.
    buffer: Vec<u8>,
}

impl Client {
    /// A client over an open transport.
    #[must_use]
    pub const fn new(transport: Transport) -> Self {
        Self {
            transport,
            sequence: 0,
            buffer: Vec::new(),
        }
    }

    /// A client of the calling thread's network namespace.
    ///
    /// # Errors
    /// See [`Transport::open`].
    pub fn connect(choice: Choice) -> Result<Self, ConnectError> {
        Transport::open(choice).map(Self::new)
    }

    /// Whether the kernel's own IPVS is asked.
    #[must_use]
    pub const fn is_kernel(&self) -> bool {
        self.transport.is_kernel()
    }

    /// Puts a request and waits for all of its answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn call(&mut self, request: &Request) -> Result<Vec<Reply>, ClientError> {
        let family = match request {
            Request::Destinations(Some(key)) => key.family(),
            _ => Family::V4,
        };
        let mut replies = Vec::new();
        self.each_answer(request, |command, attributes| {
            replies.push(Reply::decode(command, attributes, family)?);
            Ok(())
        })?;
        Ok(replies)
    }

    /// Puts a request and has `take` each message of its answer: the command and the attributes.
    fn each_answer(
        &mut self,
        request: &Request,
        mut take: impl FnMut(u8, &[u8]) -> Result<(), Errno>,
    ) -> Result<(), ClientError> {
        self.sequence = self.sequence.wrapping_add(1);
        self.transport
            .send(&request.encode(self.transport.family_id(), self.sequence))?;
        // A table of tens of thousands of servers takes a slow machine a while.
        let mut patience = match request {
            Request::Apply { .. } => PATIENCE,
            _ => 0,
        };
        self.buffer.resize(DATAGRAM_MAX, 0);
        loop {
            let length = match self.transport.receive(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && patience > 0 => {
                    patience -= 1;
                    continue;
                }
                received => received?,
            };
            for message in Messages(self.buffer.get(..length).unwrap_or_default()) {
                if message.header.sequence != self.sequence {
                    continue;
                }
                match message.header.kind {
                    control::ERROR | control::DONE => match message::error_number(&message) {
                        Some(errno) => {
                            return Err(match message::reason(&message) {
                                Some(why) => ClientError::Explained(Refused::new(errno, why)),
                                None => ClientError::Refused(errno),
                            });
                        }
                        None => return Ok(()),
                    },
                    control::NOOP => {}
                    _ => {
                        let (command, attributes) =
                            message.generic().ok_or(ClientError::Malformed)?;
                        take(command, attributes).map_err(|_| ClientError::Malformed)?;
                    }
                }
            }
        }
    }

    /// All virtual services, in the director's order.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn services(&mut self) -> Result<Vec<Service>, ClientError> {
        let replies = self.call(&Request::Services)?;
        select(replies, |reply| match reply {
            Reply::Service(service) => Some(service),
            _ => None,
        })
    }

    /// One virtual service.
    ///
    /// # Errors
    /// `ESRCH` no such service, and see [`ClientError`].
    pub fn service(&mut self, key: &ServiceKey) -> Result<Service, ClientError> {
        one(self.call(&Request::Service(*key))?, |reply| match reply {
            Reply::Service(service) => Some(service),
            _ => None,
        })
    }

    /// The destinations of a service, in the director's order; none for an unknown service.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn destinations(&mut self, key: &ServiceKey) -> Result<Vec<Destination>, ClientError> {
        let replies = self.call(&Request::Destinations(Some(*key)))?;
        select(replies, |reply| match reply {
            Reply::Destination(destination) => Some(destination),
            _ => None,
        })
    }

    /// All services with their destinations as they are at one moment, by one request; counters and rates only with
    /// `statistics`, else they are 0. `None` where the director does not offer that: the kernel's IPVS, an lvsd that is
    /// older or newer. It is asked by [`services`](Self::services) and [`destinations`](Self::destinations) then.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn table(&mut self, statistics: bool) -> Result<Option<Snapshot>, ClientError> {
        if self.is_kernel() {
            return Ok(None);
        }
        let bytes = match self.text(&Request::Table { statistics }) {
            Err(ClientError::Refused(Errno::EOPNOTSUPP)) => return Ok(None),
            answer => answer?,
        };
        let table = Snapshot::read(bytes, statistics);
        table.map(Some).ok_or(ClientError::Malformed)
    }

    /// The sync daemons that run.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn daemons(&mut self) -> Result<Vec<SyncDaemon>, ClientError> {
        select(self.call(&Request::Daemons)?, |reply| match reply {
            Reply::Daemon(daemon) => Some(daemon),
            _ => None,
        })
    }

    /// The timeouts.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn timeouts(&mut self) -> Result<Timeouts, ClientError> {
        one(self.call(&Request::Timeouts)?, |reply| match reply {
            Reply::Timeouts(timeouts) => Some(timeouts),
            _ => None,
        })
    }

    /// Version and table size.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn info(&mut self) -> Result<Info, ClientError> {
        one(self.call(&Request::Info)?, |reply| match reply {
            Reply::Info(info) => Some(info),
            _ => None,
        })
    }

    /// The text of a file under `/proc/net`: the director's, or the kernel's file itself.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn proc_text(&mut self, name: &str) -> Result<Vec<u8>, ClientError> {
        if self.is_kernel() {
            // Not `/proc/net`, which is the first thread's.
            let file = format!("/proc/thread-self/net/{name}");
            return fs::read(file).map_err(ClientError::Transport);
        }
        self.text(&Request::ProcText(name.to_owned()))
    }

    /// The director's state as a JSON text; the kernel has none (`EOPNOTSUPP`).
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn status(&mut self) -> Result<String, ClientError> {
        String::from_utf8(self.text(&Request::Status)?).map_err(|_| ClientError::Malformed)
    }

    /// The settings `net.ipv4.vs.*`, sorted, names without the prefix.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn settings(&mut self) -> Result<Vec<(String, String)>, ClientError> {
        let text = self.text(&Request::Settings)?;
        let text = String::from_utf8(text).map_err(|_| ClientError::Malformed)?;
        text.lines()
            .map(|line| {
                let (name, value) = line.split_once(" = ").ok_or(ClientError::Malformed)?;
                Ok((name.to_owned(), value.to_owned()))
            })
            .collect()
    }

    /// Sets one, named without the prefix.
    ///
    /// # Errors
    /// As [`Director::set_setting`](crate::Director::set_setting) says, with the reason; and see [`ClientError`].
    pub fn set_setting(&mut self, name: &str, value: &str) -> Result<(), ClientError> {
        let request = Request::SetSetting(name.to_owned(), value.to_owned());
        self.call(&request).map(drop)
    }

    /// The mark rules, in their order.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn marks(&mut self) -> Result<Vec<MarkRule>, ClientError> {
        let text = self.text(&Request::Marks)?;
        let text = String::from_utf8(text).map_err(|_| ClientError::Malformed)?;
        let rules = text.lines().map(|line| line.parse());
        rules
            .collect::<Result<_, _>>()
            .map_err(|_| ClientError::Malformed)
    }

    /// Changes the mark rules, all or none.
    ///
    /// # Errors
    /// As [`Director::edit_marks`](crate::Director::edit_marks) says, with the reason; and see [`ClientError`].
    pub fn edit_marks(&mut self, edits: &[MarkEdit]) -> Result<(), ClientError> {
        let lines: String = edits.iter().map(|edit| format!("{edit}\n")).collect();
        if lines.len() > EDITS_MAX {
            return Err(ClientError::Explained(Refused::new(
                Errno::EMSGSIZE,
                "too many rules at once; change them in smaller parts".to_owned(),
            )));
        }
        self.call(&Request::EditMarks(lines)).map(drop)
    }

    /// Ends the connections and persistence templates of a destination.
    ///
    /// # Errors
    /// As [`Director::end_connections`](crate::Director::end_connections) says; and see [`ClientError`].
    pub fn end_connections(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
    ) -> Result<(), ClientError> {
        self.call(&Request::EndConnections(*service, *key))
            .map(drop)
    }

    /// Applies changes in one step, or on trial only looks whether that could be done. What is wrong with them; nothing is
    /// changed then. The kernel's IPVS cannot (`EOPNOTSUPP`).
    ///
    /// # Errors
    /// `EMSGSIZE` they are more than a director takes at once; `EAGAIN` others made changes in parts at the same time, or
    /// the director was started anew; and see [`ClientError`].
    pub fn apply(
        &mut self,
        changes: &[Request],
        is_trial: bool,
    ) -> Result<Vec<Fault>, ClientError> {
        match is_trial {
            true => self.apply_as(Applying::Trial, changes),
            false => self.apply_as(Applying::Table, changes),
        }
    }

    /// As [`apply`](Self::apply), as lines that might as well have come one by one: the table before is not kept.
    ///
    /// # Errors
    /// As there.
    pub fn apply_lines(&mut self, changes: &[Request]) -> Result<Vec<Fault>, ClientError> {
        self.apply_as(Applying::Lines, changes)
    }

    fn apply_as(&mut self, how: Applying, changes: &[Request]) -> Result<Vec<Fault>, ClientError> {
        if self.is_kernel() {
            return Err(ClientError::Refused(Errno::EOPNOTSUPP));
        }
        let family = self.transport.family_id();
        let mut bytes: Vec<u8> = Vec::new();
        for request in changes {
            request.encode_behind(&mut bytes, family, 0);
        }
        let change = number_of_a_change();
        for (at, part) in (0..).step_by(PART_MAX).zip(bytes.chunks(PART_MAX)) {
            self.call(&Request::Stage {
                change,
                at,
                part: part.to_vec(),
            })?;
        }
        let length = u32::try_from(bytes.len()).map_err(|_| ClientError::Malformed)?;
        let text = self.text(&Request::Apply {
            change,
            length,
            how,
        })?;
        let text = String::from_utf8_lossy(&text);
        let faults = text.lines().map(Fault::read);
        faults.collect::<Option<_>>().ok_or(ClientError::Malformed)
    }

    /// Leads a connection that this host is about to open to a destination.
    ///
    /// # Errors
    /// As [`Director::lead`](crate::Director::lead) says; and see [`ClientError`].
    pub fn lead(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        lead: &Lead,
    ) -> Result<(), ClientError> {
        self.call(&Request::Lead(*service, *key, *lead)).map(drop)
    }

    fn text(&mut self, request: &Request) -> Result<Vec<u8>, ClientError> {
        let mut text = Vec::new();
        self.each_answer(request, |command, attributes| {
            text.extend_from_slice(reply::text_part(command, attributes)?);
            Ok(())
        })?;
        Ok(text)
    }
}

/// A number that no other client will choose: the hash of nothing under keys that the standard library draws at random.
fn number_of_a_change() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// All answers, which must be of the kind that `pick` takes.
fn select<T>(
    replies: Vec<Reply>,
    pick: impl Fn(Reply) -> Option<T>,
) -> Result<Vec<T>, ClientError> {
    replies
        .into_iter()
        .map(|reply| pick(reply).ok_or(ClientError::Malformed))
        .collect()
}

/// The single answer.
fn one<T>(replies: Vec<Reply>, pick: impl Fn(Reply) -> Option<T>) -> Result<T, ClientError> {
    select(replies, pick)?.pop().ok_or(ClientError::Malformed)
}
