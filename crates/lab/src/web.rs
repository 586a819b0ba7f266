//! The web server of a real server: its page is its own address.
//!
//! `GET /` and every other path gives the page, `GET /bytes/N` the first N bytes of the
//! [`Pattern`]; a `POST` or `PUT` is read to its end and answered with length and digest of what
//! arrived. HTTP/1.0, one thread a connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket,
    sockopt,
};

use crate::pattern::{Pattern, RunningDigest};

/// How long a peer may be silent.
const PATIENCE: Duration = Duration::from_secs(300);
/// The longest head of a request.
const HEAD_LIMIT: u64 = 16 * 1024;
/// Connections that may wait to be accepted: a thousand may come at once.
const BACKLOG: i32 = 4096;
/// A server's thread only copies.
const STACK: usize = 256 * 1024;

/// Serves `page` on `port` of every address, the virtual one too, until the process ends.
///
/// # Errors
/// When the port is taken.
pub fn serve(port: u16, page: &str) -> Result<()> {
    let listener = listener(port).with_context(|| format!("port {port} cannot be opened"))?;
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // Out of descriptors, or the peer is gone already.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let page = page.to_owned();
        // Without a thread the connection is closed, which its peer sees.
        let _ = thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || answer(stream, &page));
    }
}

fn listener(port: u16) -> io::Result<TcpListener> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    let everywhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    bind(
        std::os::fd::AsRawFd::as_raw_fd(&socket),
        &SockaddrIn::from(everywhere),
    )?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(TcpListener::from(socket))
}

/// What a client asked for.
enum Request {
    Page,
    Bytes(u64),
    Upload { length: u64, wants_a_go: bool },
}

fn answer(stream: TcpStream, page: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(1 << 16, stream.try_clone()?);
    let mut writer = stream;
    match read_request(&mut reader) {
        Ok(Request::Page) => send_text(&mut writer, "200 OK", &format!("{page}\n")),
        Ok(Request::Bytes(length)) => send_bytes(&mut writer, length),
        Ok(Request::Upload { length, wants_a_go }) => {
            if wants_a_go {
                writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let report = receive(&mut reader, length)?;
            send_text(&mut writer, "200 OK", &report)
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            send_text(&mut writer, "400 Bad Request", &format!("{error}\n"))
        }
        Err(error) => Err(error),
    }
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Request> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = reader.take(HEAD_LIMIT);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let mut words = line.split_ascii_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(bad("no request line"));
    };
    let (mut length, mut wants_a_go) = (0, false);
    loop {
        let mut header = String::new();
        if head.read_line(&mut header)? == 0 {
            return Err(bad("the head has no end"));
        }
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(|_| bad("bad Content-Length"))?,
            "expect" => wants_a_go = value.eq_ignore_ascii_case("100-continue"),
            _ => {}
        }
    }
    match (method, path.strip_prefix("/bytes/")) {
        ("POST" | "PUT", _) => Ok(Request::Upload { length, wants_a_go }),
        ("GET", Some(count)) => count
            .parse()
            .map(Request::Bytes)
            .map_err(|_| bad("bad number of bytes")),
        ("GET", None) => Ok(Request::Page),
        _ => Err(bad("only GET, POST and PUT are known")),
    }
}

/// Head and body go out as one segment.
fn send_text(writer: &mut impl Write, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let answer = format!(
        "HTTP/1.0 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    writer.write_all(answer.as_bytes())
}

fn send_bytes(writer: &mut impl Write, length: u64) -> io::Result<()> {
    write!(
        writer,
        "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    write_pattern(writer, length)
}

/// Writes the first `length` bytes of the pattern.
pub(crate) fn write_pattern(writer: &mut impl Write, length: u64) -> io::Result<()> {
    let mut pattern = Pattern::default();
    let mut buffer = vec![0; 1 << 16];
    let mut left = length;
    while left > 0 {
        let piece = &mut buffer[..left.min(1 << 16) as usize];
        pattern.fill(piece);
        writer.write_all(piece)?;
        left -= piece.len() as u64;
    }
    Ok(())
}

/// Reads an upload and says what it was.
fn receive(reader: &mut impl BufRead, length: u64) -> io::Result<String> {
    let mut running = RunningDigest::default();
    let mut body = reader.take(length);
    loop {
        let piece = body.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        running.add(piece);
        let taken = piece.len();
        body.consume(taken);
    }
    let digest = running.finish();
    Ok(format!("{} {:016x}\n", digest.length, digest.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> io::Result<Request> {
        read_request(&mut text.as_bytes())
    }

    #[test]
    fn requests_are_told_apart() {
        assert!(matches!(parse("GET / HTTP/1.0\r\n\r\n"), Ok(Request::Page)));
        assert!(matches!(
            parse("GET /bytes/12 HTTP/1.1\r\nHost: a\r\n\r\n"),
            Ok(Request::Bytes(12))
        ));
        assert!(matches!(
            parse("PUT /x HTTP/1.1\r\ncontent-length: 7\r\nExpect: 100-Continue\r\n\r\n"),
            Ok(Request::Upload {
                length: 7,
                wants_a_go: true
            })
        ));
    }

    #[test]
    fn bad_requests_are_refused() {
        let endless = format!("GET / HTTP/1.0\r\nx: {}", "y".repeat(100_000));
        for text in [
            "",
            "GET",
            "GET /bytes/x HTTP/1.0\r\n\r\n",
            "DELETE / HTTP/1.0\r\n\r\n",
            &endless,
            "GET / HTTP/1.0\r\n",
        ] {
            assert!(parse(text).is_err(), "{:.40}", text);
        }
    }
}
