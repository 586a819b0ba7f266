//! The director's side of the dialogue: a datagram in, datagrams out, no socket.

use crate::codec::table;
use crate::consts::{FAMILY_ID, NLCTRL, control, flag};
use crate::director::{Applying, Director, Fault};
use crate::errno::{Errno, Refused};
use crate::mark;
use crate::message::{self, Message, Messages};
use crate::nlctrl;
use crate::reply::{self, Reply, TableDump};
use crate::request::{Refusal, Request};
use crate::rights::Rights;

/// Answers every message of a datagram, each answer a datagram to be sent in this order.
///
/// Follows the kernel (Linux 6.1, `af_netlink.c`, `genetlink.c`, `ip_vs_ctl.c`): messages that are
/// no requests are passed over, a broken length ends the datagram, an error is answered even to a
/// request that wants no acknowledgement, a dump ends with `NLMSG_DONE` and is not acknowledged.
/// Answers go to the port id that the request names. Whether the sender may ask at all is for the
/// caller to know.
pub fn answer(datagram: &[u8], director: &mut impl Director) -> Vec<Vec<u8>> {
    answer_port(datagram, None, director)
}

/// As [`answer`], to the port id the datagram came from: clients may leave the one they name at 0,
/// and some refuse an answer to any other than their own.
pub fn answer_port(
    datagram: &[u8],
    port: Option<u32>,
    director: &mut impl Director,
) -> Vec<Vec<u8>> {
    answer_as(Rights::All, datagram, port, director)
}

/// As [`answer_port`], to a sender who may ask for what `rights` grant; what they do not is answered by `EPERM` with the
/// reason.
pub fn answer_as(
    rights: Rights,
    datagram: &[u8],
    port: Option<u32>,
    director: &mut impl Director,
) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    for mut message in Messages(datagram) {
        if let Some(port) = port {
            message.header.port = port;
        }
        answer_message(rights, &message, director, &mut answers);
    }
    answers
}

fn answer_message(
    rights: Rights,
    message: &Message<'_>,
    director: &mut impl Director,
    answers: &mut Vec<Vec<u8>>,
) {
    let header = &message.header;
    let outcome = if header.flags & flag::REQUEST == 0 || header.kind < control::MIN_TYPE {
        Ok(Answer::Messages(Vec::new()))
    } else {
        match header.kind {
            NLCTRL => nlctrl::answer(message)
                .map(|found| match header.flags & flag::DUMP {
                    flag::DUMP => Answer::Dump(vec![found, message::done(message)]),
                    _ => Answer::Messages(vec![found]),
                })
                .map_err(Failure::from),
            FAMILY_ID => ipvs(rights, message, director),
            _ => Err(Errno::ENOENT.into()),
        }
    };
    match outcome {
        Ok(Answer::Dump(datagrams)) => answers.extend(datagrams),
        Ok(Answer::Messages(datagrams)) => {
            answers.extend(datagrams);
            if header.flags & flag::ACK != 0 {
                answers.push(message::acknowledgement(message));
            }
        }
        Err(Failure::Number(errno)) => answers.push(message::error(message, errno)),
        Err(Failure::Explained(refused)) => answers.push(message::refusal(message, &refused)),
    }
}

enum Answer {
    /// Single messages, which an acknowledgement follows.
    Messages(Vec<Vec<u8>>),
    /// A dump with its end.
    Dump(Vec<Vec<u8>>),
}

/// Why there is no answer but an error.
enum Failure {
    /// To a command of the kernel's, which knows numbers alone.
    Number(Errno),
    /// To a private one.
    Explained(Refused),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Number(errno)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Explained(refused)
    }
}

fn ipvs(
    rights: Rights,
    message: &Message<'_>,
    director: &mut impl Director,
) -> Result<Answer, Failure> {
    let (command, attributes) = message.generic().ok_or(Errno::EINVAL)?;
    let dump = message.header.flags & flag::DUMP == flag::DUMP;
    let request = match Request::decode(command, dump, attributes) {
        Ok(request) => request,
        Err(Refusal::Message(errno)) => return Err(errno.into()),
        Err(Refusal::Destination(service, errno)) => {
            director.service(&service)?;
            return Err(errno.into());
        }
    };
    rights.check(&request, director)?;
    if let Request::Table { statistics } = request {
        let mut dump = TableDump::new(message);
        director.each_service(statistics, &mut |service, destinations| {
            table::write(&mut dump.bytes, service, destinations, statistics);
            dump.pack();
        });
        return Ok(Answer::Dump(dump.end()));
    }
    let replies = ask(&request, director)?;
    if request.is_dump() {
        return Ok(Answer::Dump(reply::dump(message, replies)));
    }
    let single = replies.iter().map(|reply| reply.encode(message, 0));
    Ok(Answer::Messages(single.collect()))
}

/// Puts a request to the director; a change has nothing to tell.
fn ask(request: &Request, director: &mut impl Director) -> Result<Vec<Reply>, Failure> {
    let nothing = |()| Vec::new();
    let text = |text: &[u8]| Reply::text_parts(text).collect();
    let answer = match request {
        Request::SetSetting(name, value) => {
            return Ok(director.set_setting(name, value).map(nothing)?);
        }
        Request::EditMarks(lines) => {
            let edits = mark::edits(lines).map_err(|why| Refused::new(Errno::EINVAL, why))?;
            return Ok(director.edit_marks(&edits).map(nothing)?);
        }
        Request::Stage { change, at, part } => {
            return Ok(director.stage().add(*change, *at, part).map(nothing)?);
        }
        Request::Apply {
            change,
            length,
            how,
        } => {
            let bytes = director.stage().take(*change, *length)?;
            let faults = apply(&bytes, *how, director);
            let lines: String = faults.iter().map(Fault::line).collect();
            Ok(text(lines.as_bytes()))
        }
        Request::Marks => {
            let lines = director.marks().into_iter().map(|rule| format!("{rule}\n"));
            Ok(text(lines.collect::<String>().as_bytes()))
        }
        Request::Settings => Ok(text(director.settings().as_bytes())),
        Request::NewService(key, settings) => director.new_service(key, settings).map(nothing),
        Request::SetService(key, settings) => director.set_service(key, settings).map(nothing),
        Request::DeleteService(key) => director.delete_service(key).map(nothing),
        Request::Service(key) => director.service(key).map(|it| vec![Reply::Service(it)]),
        Request::Services => Ok(director
            .services()
            .into_iter()
            .map(Reply::Service)
            .collect()),
        Request::NewDestination(service, key, settings) => director
            .new_destination(service, key, settings)
            .map(nothing),
        Request::SetDestination(service, key, settings) => director
            .set_destination(service, key, settings)
            .map(nothing),
        Request::DeleteDestination(service, key) => {
            director.delete_destination(service, key).map(nothing)
        }
        Request::EndConnections(service, key) => {
            director.end_connections(service, key).map(nothing)
        }
        Request::Lead(service, key, lead) => director.lead(service, key, lead).map(nothing),
        Request::Destinations(key) => {
            // The kernel answers an unknown service with an empty list.
            let listed = key.as_ref().and_then(|key| director.destinations(key).ok());
            Ok(listed
                .into_iter()
                .flatten()
                .map(Reply::Destination)
                .collect())
        }
        // Answered where dumps are put together.
        Request::Table { .. } => Err(Errno::EINVAL),
        Request::NewDaemon(daemon) => director.new_daemon(daemon).map(nothing),
        Request::DeleteDaemon(role) => director.delete_daemon(*role).map(nothing),
        Request::Daemons => Ok(director.daemons().into_iter().map(Reply::Daemon).collect()),
        Request::SetTimeouts(timeouts) => director.set_timeouts(timeouts).map(nothing),
        Request::Timeouts => Ok(vec![Reply::Timeouts(director.timeouts())]),
        Request::Info => Ok(vec![Reply::Info(director.info())]),
        Request::Zero(key) => director.zero(key.as_ref()).map(nothing),
        Request::Flush => director.flush().map(nothing),
        Request::ProcText(name) => director
            .proc_text(name)
            .map(|found| text(&found))
            .ok_or(Errno::ENOENT),
        Request::Status => Ok(text(director.status().as_bytes())),
    };
    answer.map_err(Failure::from)
}

/// Applies the requests in these messages in one step; what is wrong with them, in their order.
fn apply(bytes: &[u8], how: Applying, director: &mut impl Director) -> Vec<Fault> {
    let (mut requests, mut places, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    let read = changes(bytes);
    let end = read.len();
    for (change, read) in read.into_iter().enumerate() {
        match read {
            Ok(request) => {
                requests.push(request);
                places.push(change);
            }
            Err(errno) => faults.push(Fault {
                change,
                refused: errno.into(),
            }),
        }
    }
    let how = match faults.is_empty() {
        true => how,
        false => Applying::Trial,
    };
    let found = director.apply(&requests, how);
    faults.extend(found.into_iter().map(|fault| Fault {
        change: places.get(fault.change).copied().unwrap_or(end),
        ..fault
    }));
    faults.sort_by_key(|fault| fault.change);
    faults
}

/// The changes that these messages ask for, one after another. `EINVAL`, or what else a director would answer, in place of a
/// message that asks for none, and at the end for bytes that are no message.
#[must_use]
pub fn changes(bytes: &[u8]) -> Vec<Result<Request, Errno>> {
    let mut messages = Messages(bytes);
    let mut changes: Vec<_> = messages.by_ref().map(|message| change(&message)).collect();
    if !messages.0.is_empty() {
        changes.push(Err(Errno::EINVAL));
    }
    changes
}

fn change(message: &Message<'_>) -> Result<Request, Errno> {
    let (command, attributes) = message.generic().ok_or(Errno::EINVAL)?;
    match Request::decode(command, false, attributes) {
        Ok(request) if request.is_change() => Ok(request),
        Ok(_) => Err(Errno::EINVAL),
        Err(Refusal::Message(errno) | Refusal::Destination(_, errno)) => Err(errno),
    }
}
