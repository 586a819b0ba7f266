//! A server that takes a while for each page, one after the other, and says how busy that keeps it.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What a page takes usually.
pub(crate) const QUICK: Duration = Duration::from_millis(10);
/// What it takes where the server is slow.
pub(crate) const SLOW: Duration = Duration::from_millis(30);
/// Between two figures of its load.
const SPAN: Duration = Duration::from_millis(500);

/// The file that says what a page of this server takes, in milliseconds.
fn time_file(address: &str) -> String {
    format!("work-{address}.ms")
}

/// The file in which it says its load, 0 to 1.
pub(crate) fn load_file(address: &str) -> String {
    format!("work-{address}.load")
}

/// Says what a page of a server takes from now on.
///
/// # Errors
/// Those of the file.
pub(crate) fn set(folder: &Path, address: &str, time: Duration) -> io::Result<()> {
    let file = folder.join(time_file(address));
    let next = file.with_extension("new");
    fs::write(&next, time.as_millis().to_string())?;
    fs::rename(next, file)
}

/// Serves at an address until the process ends; its files lie in the present folder, its page is its address.
///
/// # Errors
/// When the address cannot be taken.
pub(crate) fn serve(at: SocketAddrV4) -> Result<()> {
    let listener = TcpListener::bind(at).with_context(|| format!("{at} cannot be opened"))?;
    let address = at.ip().to_string();
    let (busy, turn) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(())));
    let (counted, file) = (busy.clone(), load_file(&address));
    thread::spawn(move || tell(&counted, &file));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let (busy, turn, address) = (busy.clone(), turn.clone(), address.clone());
        // Without a thread the connection is closed, which its peer sees.
        let _ = thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(move || answer(stream, &address, &busy, &turn));
    }
}

fn answer(
    mut stream: TcpStream,
    address: &str,
    busy: &AtomicU64,
    turn: &Mutex<()>,
) -> io::Result<()> {
    {
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = Instant::now();
        let text = fs::read_to_string(time_file(address)).unwrap_or_default();
        let time = text.parse().map_or(QUICK, Duration::from_millis);
        thread::sleep(time);
        busy.fetch_add(begin.elapsed().as_micros() as u64, Ordering::Relaxed);
    }
    let length = address.len() + 1;
    stream.write_all(
        format!(
            "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{address}\n"
        )
        .as_bytes(),
    )
}

/// Writes the share of time in which the server was at a page, again and again.
fn tell(busy: &AtomicU64, file: &str) {
    let (mut before, mut since) = (0, Instant::now());
    loop {
        thread::sleep(SPAN);
        let now = busy.load(Ordering::Relaxed);
        let share = (now - before) as f64 / since.elapsed().as_micros() as f64;
        (before, since) = (now, Instant::now());
        let next = format!("{file}.new");
        if fs::write(&next, format!("{:.3}\n", share.min(1.0))).is_ok() {
            let _ = fs::rename(&next, file);
        }
    }
}
