//! Twenty lines of an agent, and who says them.

use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Said one after the other, what was said before still in force: each with the weight that HAProxy 2.6 then gives a server of 100.
pub(crate) const LINES: [(&[u8], u32); 20] = [
    (b"up 75%\n", 75),
    (b"300%\n", 256),
    (b"50%", 256),
    (b"bogus 20%\n", 20),
    (b"\n", 20),
    (b"100%\r\n", 100),
    (b"drain\n", 0),
    (b"up\n", 0),
    (b"ready\n", 100),
    (b"maint\n", 0),
    (b"READY 40%\n", 40),
    (b"down # disk full\n", 0),
    (b"ready\n", 0),
    (b"Up\n", 40),
    (b"fail\n", 0),
    (b"stopped\n", 0),
    (b"up,ready,\t80%\n", 80),
    (b"maxconn:30\n", 80),
    (b"60%\rdown\n", 60),
    (b"# 10% down\n", 60),
];

/// What an agent says, and how often it has.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Mutex<(Vec<u8>, u32)>>);

impl Line {
    /// Says this from now on.
    pub(crate) fn say(&self, text: &[u8]) {
        *self.locked() = (text.to_vec(), 0);
    }

    /// How often it was said since.
    pub(crate) fn times_said(&self) -> u32 {
        self.locked().1
    }

    fn locked(&self) -> MutexGuard<'_, (Vec<u8>, u32)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An agent that says what it is told to, to who asks there.
pub(crate) fn said_by(listener: TcpListener) -> Line {
    let line = Line::default();
    let said = line.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut said = said.locked();
            let _ = stream.write_all(&said.0);
            said.1 += 1;
        }
    });
    line
}
