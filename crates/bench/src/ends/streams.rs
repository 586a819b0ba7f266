//! Connections of a client of its own: short ones, as many as there can be, and long ones, as fast as they go.

use super::clock::{self, Softirqs};
use super::network::{CLIENTS, LONG, Network, SHORT, targets};
use super::subject::{Running, Subject};
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, listen, setsockopt,
    socket, sockopt,
};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
/// Short connections at a time.
const AT_ONCE: usize = 64;
/// Long connections.
const LONG_ONES: usize = 4;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks whether it is over.
const LOOK: u16 = 20;

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flowed {
    /// Connections a second, or Gbit/s.
    pub(crate) rate: f64,
    /// CPU time of everybody, the hosts with the director: microseconds a connection, or milliseconds a Gbit.
    pub(crate) cost: f64,
    /// Connections that did not succeed.
    pub(crate) failed: u64,
}

/// Short connections: connect, ask, answer, the server closes.
///
/// # Errors
/// No connection succeeds.
pub(crate) fn short(
    subject: Subject,
    running: &Running,
    network: &Network,
    seconds: f64,
) -> Result<Flowed> {
    let targets = targets(subject.is_virtual(), SHORT);
    let (done, failed, took, used) = beside_servers(network, running, SHORT, answer_all, |_| {
        connect_again_and_again(&targets, Duration::from_secs_f64(seconds))
    })?;
    ensure!(done > 0, "no connection succeeds");
    Ok(Flowed {
        rate: done as f64 / took,
        cost: used / 1e3 / done as f64,
        failed,
    })
}

/// Long connections, which carry from the client to the servers.
///
/// # Errors
/// Nothing arrives.
pub(crate) fn long(
    subject: Subject,
    running: &Running,
    network: &Network,
    seconds: f64,
) -> Result<Flowed> {
    let targets = targets(subject.is_virtual(), LONG);
    let (bytes, failed, took, used) =
        beside_servers(network, running, LONG, swallow_all, |swallowed| {
            let failed = pour(&targets, Duration::from_secs_f64(seconds));
            Ok((swallowed.load(Ordering::Relaxed), failed))
        })?;
    let gigabits = bytes as f64 * 8.0 / 1e9;
    ensure!(gigabits > 0.0, "nothing arrives");
    ensure!(failed == 0, "{failed} of {LONG_ONES} connections failed");
    Ok(Flowed {
        rate: gigabits / took,
        cost: used / 1e6 / gigabits,
        failed,
    })
}

/// A server: takes connections until it is over, and may count.
type Serve = fn(&TcpListener, &AtomicBool, &AtomicU64) -> Result<()>;

/// Has servers at work while the client is: what the client counts, what failed, seconds, nanoseconds of CPU.
fn beside_servers(
    network: &Network,
    running: &Running,
    port: u16,
    serve: Serve,
    work: impl FnOnce(&AtomicU64) -> Result<(u64, u64)> + Send,
) -> Result<(u64, u64, f64, f64)> {
    let softirqs = Softirqs::find()?;
    let busy = || Ok::<_, anyhow::Error>(clock::of_process()? + softirqs.time() + running.time());
    let listeners = network
        .servers
        .each_ref()
        .map(|server| server.run(|| listener(port)));
    let (is_over, counted) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for listener in listeners {
            let (listener, is_over, counted) = (listener?, &is_over, &counted);
            scope.spawn(move || serve(&listener, is_over, counted));
        }
        let measured = (|| {
            let (used, begin) = (busy()?, Instant::now());
            let (done, failed) = network.client.run(|| work(&counted))?;
            Ok((done, failed, begin.elapsed().as_secs_f64(), busy()? - used))
        })();
        is_over.store(true, Ordering::Relaxed);
        measured
    })
}

fn listener(port: u16) -> Result<TcpListener> {
    let (family, flags) = (
        AddressFamily::Inet,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
    );
    let socket = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    bind(socket.as_raw_fd(), &SockaddrIn::from(address)).context("a server's port")?;
    listen(&socket, Backlog::new(4096)?)?;
    Ok(TcpListener::from(socket))
}

/// What stands for the listener among connections by number.
const LISTENER: u64 = u64::MAX;

/// Answers each request and closes.
fn answer_all(listener: &TcpListener, is_over: &AtomicBool, _: &AtomicU64) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut open: Numbered<TcpStream> = Numbered::default();
    let mut events = [EpollEvent::empty(); 256];
    let mut request = [0; 256];
    while !is_over.load(Ordering::Relaxed) {
        let count = epoll.wait(&mut events, LOOK)?;
        for event in &events[..count] {
            if event.data() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    let event = |number| EpollEvent::new(EpollFlags::EPOLLIN, number);
                    let number = open.put(stream);
                    if let Some(stream) = open.at(number) {
                        epoll.add(stream, event(number))?;
                    }
                }
            } else if let Some(mut stream) = open.take(event.data()) {
                // A client that gave up is no matter; closing takes the socket out of the set.
                if stream.read(&mut request).is_ok_and(|length| length > 0) {
                    let _ = stream.write_all(ANSWER);
                }
            }
        }
    }
    Ok(())
}

/// Reads each connection to its end and counts the bytes.
fn swallow_all(listener: &TcpListener, is_over: &AtomicBool, counted: &AtomicU64) -> Result<()> {
    thread::scope(|scope| {
        while !is_over.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = listener.accept() else {
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            scope.spawn(move || -> Result<()> {
                stream.set_read_timeout(Some(Duration::from_millis(200)))?;
                let mut bytes = vec![0; 1 << 18];
                while !is_over.load(Ordering::Relaxed) {
                    match stream.read(&mut bytes) {
                        Ok(0) => break,
                        Ok(count) => drop(counted.fetch_add(count as u64, Ordering::Relaxed)),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(_) => break,
                    }
                }
                Ok(())
            });
        }
        Ok(())
    })
}

/// A connection of the client.
struct Attempt {
    stream: TcpStream,
    since: Instant,
    is_sent: bool,
}

/// Keeps as many short connections going for this long: those that were answered, and those that were not.
fn connect_again_and_again(targets: &[SocketAddr], span: Duration) -> Result<(u64, u64)> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut open: Numbered<Attempt> = Numbered::default();
    let mut events = [EpollEvent::empty(); AT_ONCE];
    let (mut done, mut failed, mut number) = (0, 0, 0);
    let begin = Instant::now();
    let mut looked = begin;
    while begin.elapsed() < span {
        while open.count < AT_ONCE {
            let attempt = attempt(number, targets)?;
            number += 1;
            let key = open.put(attempt);
            if let Some(attempt) = open.at(key) {
                epoll.add(&attempt.stream, EpollEvent::new(EpollFlags::EPOLLOUT, key))?;
            }
        }
        let count = epoll.wait(&mut events, LOOK)?;
        for event in &events[..count] {
            let key = event.data();
            let Some(attempt) = open.at(key) else {
                continue;
            };
            if !attempt.is_sent && attempt.stream.write_all(REQUEST).is_ok() {
                attempt.is_sent = true;
                let mut event = EpollEvent::new(EpollFlags::EPOLLIN, key);
                epoll.modify(&attempt.stream, &mut event)?;
                continue;
            }
            let mut answer = [0; 256];
            match attempt.stream.read(&mut answer) {
                Ok(length) if attempt.is_sent && length >= ANSWER.len() => done += 1,
                _ => failed += 1,
            }
            drop(open.take(key));
        }
        if looked.elapsed() > PATIENCE {
            looked = Instant::now();
            failed += open.drop_where(|attempt| attempt.since.elapsed() > PATIENCE);
        }
    }
    Ok((done, failed))
}

/// The connection of this number: from each of the client's addresses by turns, to each target by turns.
fn attempt(number: usize, targets: &[SocketAddr]) -> Result<Attempt> {
    let (first, many) = CLIENTS;
    let (family, flags) = (
        AddressFamily::Inet,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
    );
    let socket = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    let own = Ipv4Addr::from(u32::from(first) + (number % usize::from(many)) as u32);
    bind(
        socket.as_raw_fd(),
        &SockaddrIn::from(SocketAddrV4::new(own, 0)),
    )?;
    let target = targets[number / usize::from(many) % targets.len()];
    if let SocketAddr::V4(target) = target {
        match connect(socket.as_raw_fd(), &SockaddrIn::from(target)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error).context("connecting"),
        }
    }
    Ok(Attempt {
        stream: TcpStream::from(socket),
        since: Instant::now(),
        is_sent: false,
    })
}

/// Sends as much as goes for this long, over several connections: how many of these failed.
fn pour(targets: &[SocketAddr], span: Duration) -> u64 {
    let end = Instant::now() + span;
    let pour_one = |target: &SocketAddr| -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(target, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let bytes = vec![0; 1 << 17];
        while Instant::now() < end {
            stream.write_all(&bytes)?;
        }
        Ok(())
    };
    // Within the client's namespace, which new threads inherit.
    thread::scope(|scope| {
        let all: Vec<_> = (0..LONG_ONES)
            .map(|number| scope.spawn(move || pour_one(&targets[number % targets.len()])))
            .collect();
        all.into_iter()
            .filter_map(|one| one.join().ok())
            .filter(|one| one.is_err())
            .count() as u64
    })
}

/// Things that are known by a number until they are taken.
struct Numbered<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
    count: usize,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            count: 0,
        }
    }
}

impl<T> Numbered<T> {
    fn put(&mut self, it: T) -> u64 {
        self.count += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(it);
        place as u64
    }

    fn at(&mut self, number: u64) -> Option<&mut T> {
        self.places.get_mut(number as usize)?.as_mut()
    }

    fn take(&mut self, number: u64) -> Option<T> {
        let it = self.places.get_mut(number as usize)?.take()?;
        self.free.push(number as usize);
        self.count -= 1;
        Some(it)
    }

    /// Drops those of which `is` is true: how many.
    fn drop_where(&mut self, is: impl Fn(&T) -> bool) -> u64 {
        let numbers = 0..self.places.len() as u64;
        let mut dropped = 0;
        for number in numbers {
            if self.at(number).is_some_and(|it| is(it)) {
                drop(self.take(number));
                dropped += 1;
            }
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_again() {
        let mut all = Numbered::default();
        let (first, second) = (all.put('a'), all.put('b'));
        assert_eq!(all.take(first), Some('a'));
        assert_eq!(all.take(first), None);
        assert_eq!(all.put('c'), first);
        assert_eq!(all.drop_where(|it| *it == 'b'), 1);
        assert_eq!((all.count, all.at(second)), (1, None));
    }

    #[test]
    fn a_server_answers_on_loopback() -> Result<()> {
        let listener = listener(0)?;
        let target = SocketAddr::from(([127, 0, 0, 1], listener.local_addr()?.port()));
        let (is_over, counted) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| answer_all(&listener, &is_over, &counted));
            let mut stream = TcpStream::connect(target)?;
            stream.write_all(REQUEST)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(answer, ANSWER);
            Ok(())
        })
    }
}
