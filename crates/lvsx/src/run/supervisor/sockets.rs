//! The calls on supervised sockets, as the caller means them.
//!
//! A supervised socket is a genuine one of generic netlink, in the caller's network namespace; what makes it one is its number,
//! which the filter knows. A datagram for IPVS goes to lvsd's port in place of port 0, on a copy of the caller's own descriptor,
//! and what lvsd answers there is received on such a copy and looks as if it came from port 0. All else the kernel does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use libc::c_long;
use lvsx_ipvs::transport::{FIRST_PORT, PORT_NAME};
use lvsx_preload::message;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvmsg, sendto, socket,
};
use rustix::net::sockopt;

use super::caller::Caller;
use super::header::Header;
use super::seccomp::{Answer, Call, Listener};

/// How long the answer to a request may take, and lvsd to come back where it was just now.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries whether it is back.
const AGAIN: Duration = Duration::from_millis(50);
/// Sockets that are remembered to have asked lvsd.
const ASKED_MAX: usize = 4096;

/// What is still to come to a socket that asked lvsd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// A datagram: the request asked for no end.
    Datagram,
    /// An acknowledgement, an error or the end of a dump.
    End,
}

/// A socket that asked lvsd.
#[derive(Clone, Copy, Debug)]
struct Asked {
    port: u32,
    due: Due,
}

/// The supervisor's state.
pub(super) struct Sockets {
    /// Numbers of supervised descriptors.
    numbers: Range<u32>,
    /// By the number of the socket's file, whoever has it under whatever descriptor.
    asked: Mutex<BTreeMap<u64, Asked>>,
    /// Held while a free number is looked for and given.
    giving: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sockets {
    pub(super) fn new(numbers: Range<u32>) -> Self {
        Self {
            numbers,
            asked: Mutex::default(),
            giving: Mutex::default(),
        }
    }

    /// What a call is to be answered. May wait, and may change the calling thread's network namespace.
    pub(super) fn answer(&self, listener: &Listener, call: &Call) -> Answer {
        // A process that is not for us to look into asks the kernel.
        let Ok(caller) = Caller::of(listener, call) else {
            return Answer::GoOn;
        };
        let work = Work {
            sockets: self,
            listener,
            call,
            caller,
        };
        work.answer().unwrap_or_else(Answer::Error)
    }
}

/// A call that is being done.
struct Work<'a> {
    sockets: &'a Sockets,
    listener: &'a Listener,
    call: &'a Call,
    caller: Caller,
}

impl Work<'_> {
    fn answer(&self) -> Result<Answer, Errno> {
        let [first, second, third, fourth, fifth, sixth] = self.call.arguments;
        if self.call.number == libc::SYS_socket {
            return self.open(second as i32);
        }
        let Some(socket) = self.supervised(first as i32) else {
            return Ok(Answer::GoOn);
        };
        const FCNTL: c_long = libc::SYS_fcntl;
        match self.call.number {
            libc::SYS_dup => self.give(&socket, 0, false),
            FCNTL => {
                let closes = second as i32 == libc::F_DUPFD_CLOEXEC;
                self.give(&socket, third as u32, closes)
            }
            libc::SYS_write => self.send(&socket, &Header::plain(second, third, 0, 0), 0),
            libc::SYS_sendto => {
                let header = Header::plain(second, third, fifth, sixth);
                self.send(&socket, &header, fourth as i32)
            }
            libc::SYS_sendmsg => {
                let header = Header::message(&self.caller, second)?;
                self.send(&socket, &header, third as i32)
            }
            libc::SYS_read => self.receive(&socket, &Header::plain(second, third, 0, 0), 0),
            libc::SYS_recvfrom => {
                let header = Header::receiving(&self.caller, (second, third), (fifth, sixth))?;
                self.receive(&socket, &header, fourth as i32)
            }
            libc::SYS_recvmsg => {
                let header = Header::message(&self.caller, second)?;
                self.receive(&socket, &header, third as i32)
            }
            _ => Ok(Answer::GoOn),
        }
    }

    /// The caller's socket of generic netlink with this number. `None`: it is something else, which got the number otherwise.
    fn supervised(&self, number: i32) -> Option<OwnedFd> {
        let socket = self.caller.descriptor(number).ok()?;
        let is_netlink =
            sockopt::socket_domain(&socket).ok()? == rustix::net::AddressFamily::NETLINK;
        let protocol = sockopt::socket_protocol(&socket).ok()??;
        let is_generic = protocol.as_raw().get() == libc::NETLINK_GENERIC.cast_unsigned();
        (is_netlink && is_generic).then_some(socket)
    }

    /// `socket(2)`: the same socket, under a number that is supervised.
    fn open(&self, kind: i32) -> Result<Answer, Errno> {
        let flags = SockFlag::from_bits_truncate(kind);
        let Ok(kind) = SockType::try_from(kind & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK))
        else {
            return Ok(Answer::GoOn);
        };
        // Where we may not follow it, the caller has a socket as ever.
        if self.caller.enter_network().is_err() {
            return Ok(Answer::GoOn);
        }
        let socket = socket(
            AddressFamily::Netlink,
            kind,
            flags | SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkGeneric,
        )?;
        self.give(&socket, 0, flags.contains(SockFlag::SOCK_CLOEXEC))
    }

    /// Gives the caller a descriptor for a socket, under the first number from `least` on that is supervised and free.
    fn give(&self, socket: &OwnedFd, least: u32, closes_on_exec: bool) -> Result<Answer, Errno> {
        let _one_at_a_time = lock(&self.sockets.giving);
        let numbers = self.sockets.numbers.clone();
        let free = (least.max(numbers.start)..numbers.end)
            .find(|number| !self.caller.has_descriptor(*number))
            .ok_or(Errno::EMFILE)?;
        match self
            .listener
            .give(self.call, socket.as_fd(), free, closes_on_exec)
        {
            Ok(()) => Ok(Answer::Given),
            // Beyond the caller's own limit.
            Err(Errno::EBADF) => Err(Errno::EMFILE),
            Err(error) => Err(error),
        }
    }

    fn send(&self, socket: &OwnedFd, header: &Header, flags: i32) -> Result<Answer, Errno> {
        let datagram = header.bytes(&self.caller)?;
        if !message::is_for_ipvs(&datagram) || !header.is_for_the_kernel(&self.caller)? {
            return Ok(Answer::GoOn);
        }
        let due = match message::has_an_end(&datagram) {
            true => Due::End,
            false => Due::Datagram,
        };
        let patience = match may_wait(socket, flags) {
            true => PATIENCE,
            false => Duration::ZERO,
        };
        let end = Instant::now() + patience;
        let flags = MsgFlags::from_bits_truncate(flags) | MsgFlags::MSG_NOSIGNAL;
        loop {
            let Some(port) = port(socket) else {
                return Ok(Answer::GoOn);
            };
            if !self.caller.may_administer() {
                return Err(Errno::EPERM);
            }
            // Before it is sent: the answer may be there at once.
            self.remember(socket, Some(Asked { port, due }));
            match sendto(
                socket.as_raw_fd(),
                &datagram,
                &NetlinkAddr::new(port, 0),
                flags,
            ) {
                Ok(length) => return Ok(Answer::Value(length as i64)),
                // lvsd is being started again, or has died: its forwarding goes on, and the kernel must not answer for it.
                Err(Errno::ECONNREFUSED) if Instant::now() < end && self.is_wanted() => {
                    thread::sleep(AGAIN);
                }
                Err(error) => {
                    self.remember(socket, None);
                    return Err(error);
                }
            }
        }
    }

    fn receive(&self, socket: &OwnedFd, header: &Header, flags: i32) -> Result<Answer, Errno> {
        let Some(asked) = self.asked(socket) else {
            return Ok(Answer::GoOn);
        };
        let waits = may_wait(socket, flags);
        if waits && asked.due == Due::Nothing {
            // It waits for something that is not lvsd's to send.
            return Ok(Answer::GoOn);
        }
        let own_limit = sockopt::socket_timeout(socket, sockopt::Timeout::Recv)
            .ok()
            .flatten();
        let (patience, too_late) = match own_limit.filter(|limit| *limit < PATIENCE) {
            Some(limit) => (limit, Errno::EAGAIN),
            None => (PATIENCE, Errno::ETIMEDOUT),
        };
        let end = Instant::now() + patience;
        let flags = MsgFlags::from_bits_truncate(flags);
        let mut buffer = vec![0; header.room()];
        loop {
            let mut pieces = [IoSliceMut::new(&mut buffer)];
            let received = recvmsg::<NetlinkAddr>(
                socket.as_raw_fd(),
                &mut pieces,
                None,
                flags | MsgFlags::MSG_DONTWAIT,
            );
            let (length, from, told) = match received {
                Ok(received) => (
                    received.bytes,
                    received.address.map_or(0, |address| address.pid()),
                    received.flags,
                ),
                Err(Errno::EAGAIN) if waits => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() || !self.is_wanted() {
                        self.remember(
                            socket,
                            Some(Asked {
                                due: Due::Nothing,
                                ..asked
                            }),
                        );
                        return Err(too_late);
                    }
                    wait(socket, left.min(AGAIN * 10));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let is_peeked = flags.contains(MsgFlags::MSG_PEEK);
            if from != 0 && from != asked.port {
                // Neither lvsd nor the kernel: an answer that somebody made up.
                if is_peeked {
                    let _ = recvmsg::<NetlinkAddr>(
                        socket.as_raw_fd(),
                        &mut [],
                        None,
                        MsgFlags::MSG_DONTWAIT,
                    );
                }
                continue;
            }
            let bytes = buffer.get(..length.min(buffer.len())).unwrap_or_default();
            if !is_peeked && (asked.due == Due::Datagram || message::is_the_end(bytes)) {
                self.remember(
                    socket,
                    Some(Asked {
                        due: Due::Nothing,
                        ..asked
                    }),
                );
            }
            header.deliver(&self.caller, bytes, told.bits())?;
            return Ok(Answer::Value(length as i64));
        }
    }

    /// Whether the caller still waits; it may have been killed.
    fn is_wanted(&self) -> bool {
        self.listener.waits(self.call)
    }

    fn asked(&self, socket: &OwnedFd) -> Option<Asked> {
        let file = file_number(socket).ok()?;
        lock(&self.sockets.asked).get(&file).copied()
    }

    fn remember(&self, socket: &OwnedFd, now: Option<Asked>) {
        let Ok(file) = file_number(socket) else {
            return;
        };
        let mut asked = lock(&self.sockets.asked);
        match now {
            Some(now) => asked.insert(file, now),
            None => asked.remove(&file),
        };
        // Nobody tells when a socket is closed. The oldest have the smallest numbers.
        if asked.len() > ASKED_MAX {
            asked.pop_first();
        }
    }
}

/// The number of a socket's file, which no other has while it is open.
fn file_number(socket: &OwnedFd) -> io::Result<u64> {
    Ok(File::from(socket.try_clone()?).metadata()?.ino())
}

/// Whether a call with these flags may wait.
fn may_wait(socket: &OwnedFd, flags: i32) -> bool {
    let status = fcntl(socket, FcntlArg::F_GETFL).map(OFlag::from_bits_truncate);
    flags & libc::MSG_DONTWAIT == 0
        && status.is_ok_and(|status| !status.contains(OFlag::O_NONBLOCK))
}

/// Waits until there is something to read.
fn wait(socket: &OwnedFd, limit: Duration) {
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
    let _ = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], limit);
}

/// The netlink port of the director of a socket's network namespace. `None`: there is no director. Read anew each time: one
/// that was started again may have another. Where its folder is not for us, it is taken to be the first.
fn port(socket: &OwnedFd) -> Option<u32> {
    let cookie = lvsx_ipvs::namespace::cookie_of(socket.as_fd()).ok()?;
    let folder = lvsx_ipvs::run_dir().join(cookie.to_string());
    match fs::read_to_string(folder.join(PORT_NAME)) {
        Ok(port) => port.trim().parse().ok().filter(|port| *port != 0),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(FIRST_PORT),
        Err(_) => None,
    }
}
