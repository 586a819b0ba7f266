//! The client: HTTP/1.0 over real TCP, from inside a namespace.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use crate::pattern::{Digest, RunningDigest};
use crate::web::write_pattern;

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a peer may be silent; a lost director that returns within it costs nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens a connection from the calling thread's namespace.
///
/// # Errors
/// When nobody answers within 5 seconds, or refuses.
pub fn open(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, CONNECT)?;
    prepare(stream)
}

/// Opens a connection from a chosen address of the calling thread's namespace.
///
/// # Errors
/// When the address is none of ours, nobody answers, or the server refuses.
pub fn open_from(source: SocketAddrV4, server: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(source))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(server))?;
    prepare(TcpStream::from(socket))
}

fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks for `/` and gives the page, without its line's end. The connection ends on both sides.
///
/// # Errors
/// When the connection breaks or the answer is no page.
pub fn page(mut stream: TcpStream) -> io::Result<String> {
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut download = Download::begin(stream)?;
    let mut page = String::new();
    download.body.read_to_string(&mut page)?;
    Ok(page.trim_end().to_owned())
}

/// An answer whose body is still being read.
#[derive(Debug)]
pub struct Download {
    body: io::Take<BufReader<TcpStream>>,
    digest: RunningDigest,
}

impl Download {
    /// Asks for the first `length` bytes of the pattern.
    ///
    /// # Errors
    /// When the connection breaks or the server refuses.
    pub fn bytes(mut stream: TcpStream, length: u64) -> io::Result<Self> {
        write!(stream, "GET /bytes/{length} HTTP/1.0\r\n\r\n")?;
        Self::begin(stream)
    }

    fn begin(stream: TcpStream) -> io::Result<Self> {
        let bad = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut reader = BufReader::with_capacity(1 << 16, stream);
        let mut status = String::new();
        reader.read_line(&mut status)?;
        if status.split_ascii_whitespace().nth(1) != Some("200") {
            return Err(bad(format!("the server answered `{}`", status.trim_end())));
        }
        let mut length = None;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 {
                return Err(bad("the answer's head has no end".to_owned()));
            }
            let Some((name, value)) = header.split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
        }
        let length = length.ok_or_else(|| bad("the answer has no length".to_owned()))?;
        Ok(Self {
            body: reader.take(length),
            digest: RunningDigest::default(),
        })
    }

    /// Reads on until `count` more bytes came, or all.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn read(&mut self, count: u64) -> io::Result<()> {
        let mut wanted = count;
        while wanted > 0 && self.body.limit() > 0 {
            let piece = self.body.fill_buf()?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let taken = piece
                .len()
                .min(usize::try_from(wanted).unwrap_or(usize::MAX));
            self.digest.add(&piece[..taken]);
            self.body.consume(taken);
            wanted -= taken as u64;
        }
        Ok(())
    }

    /// Reads to the end and gives the digest of the whole body.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn finish(mut self) -> io::Result<Digest> {
        self.read(u64::MAX)?;
        Ok(self.digest.finish())
    }
}

/// Sends the first `length` bytes of the pattern and gives what the server says it received.
///
/// # Errors
/// When the connection breaks or the answer is no report.
pub fn upload(mut stream: TcpStream, length: u64) -> io::Result<Digest> {
    write!(
        stream,
        "POST / HTTP/1.0\r\nContent-Length: {length}\r\n\r\n"
    )?;
    write_pattern(&mut stream, length)?;
    let mut report = String::new();
    Download::begin(stream)?.body.read_to_string(&mut report)?;
    let digest = report
        .trim_end()
        .split_once(' ')
        .and_then(|(length, value)| {
            Some(Digest {
                length: length.parse().ok()?,
                value: u64::from_str_radix(value, 16).ok()?,
            })
        });
    digest
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no report: `{report}`")))
}
