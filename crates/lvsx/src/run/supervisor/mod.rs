//! Programs that load no library: static ones, and those of Go, which ask the kernel without the C library. The kernel itself
//! asks about their sockets of generic netlink, by user notification of seccomp.
//!
//! This process becomes the program: so its number, its parent, its signals and its exit status are as ever. Before, it puts
//! up the filter, which what it starts inherits, and starts the supervisor, a process of its own that nobody is parent of but
//! the system's first. That ends when the last process behind the filter has ended. (`seccomp`)
//!
//! What the filter asks about is opening a socket of generic netlink; the supervisor makes it, and gives it to the program under
//! a number that is kept for such. Of other calls the filter asks about those on these numbers. So whatever else the program
//! does goes past the supervisor. (`sockets`)
//!
//! Memory and descriptors of the program are reached as a debugger reaches them, so the kernel must let one process trace
//! another. (`caller`, `header`)

mod caller;
mod header;
mod seccomp;
mod sockets;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::Arc;
use std::{env, thread};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, close, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

use caller::Caller;
use seccomp::{Answer, Listener};
use sockets::Sockets;

/// `select(2)` knows no descriptor beyond.
const DESCRIPTORS: u64 = 1024;

/// What ends processes of a terminal, of a group or of a service. The supervisor ends with the last of its program's.
const SIGNALS: [Signal; 4] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
];

/// Puts this process, which must have one thread, and all that it starts under a supervisor's care.
///
/// # Errors
/// It cannot be: why, and what would help. Nothing was changed then that matters to a process that ends.
pub(super) fn start() -> Result<(), String> {
    let failed = |what: &'static str| move |error: Errno| format!("{what}: {error}");
    let numbers = numbers().map_err(failed("the limit of descriptors cannot be read"))?;
    let (mut ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    let own = process::id();
    // SAFETY: this process has one thread, as the caller says, so no lock is held by another.
    match unsafe { fork() }.map_err(failed("no process can be started"))? {
        ForkResult::Parent { child } => drop(waitpid(child, None)),
        ForkResult::Child => {
            drop(ours);
            let _ = setsid();
            // Its parent ends at once, so that the program has no child that it did not start.
            // SAFETY: as before.
            if let Ok(ForkResult::Child) = unsafe { fork() } {
                supervise(theirs, own, &numbers);
            }
            process::exit(0);
        }
    }
    drop(theirs);
    let listener = put_up(&numbers)?;
    let told = ours.write_all(&listener.as_raw_fd().to_ne_bytes());
    let mut answer = String::new();
    told.and_then(|()| ours.read_to_string(&mut answer))
        .map_err(|error| format!("the supervisor does not answer: {error}"))?;
    match answer.as_str() {
        READY => Ok(()),
        "" => Err("the supervisor has ended".to_owned()),
        why => Err(why.to_owned()),
    }
}

/// What the supervisor says when it is ready; all else is why it is not.
const READY: &str = "ready";

/// Numbers for supervised descriptors: the last quarter of those that this process may have and `select(2)` knows.
fn numbers() -> Result<Range<u32>, Errno> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let end = limit.min(DESCRIPTORS) as u32;
    Ok(end - end / 4..end)
}

fn put_up(numbers: &Range<u32>) -> Result<OwnedFd, String> {
    let installed = match seccomp::install(numbers) {
        // Without CAP_SYS_ADMIN a process must first give up the rights of programs that have more than itself.
        Err(Errno::EACCES) => prctl::set_no_new_privs().and_then(|()| seccomp::install(numbers)),
        installed => installed,
    };
    installed.map_err(|error| match error {
        Errno::EBUSY => {
            "it has a supervisor already (seccomp), and cannot have two: is `lvsx run` run by itself?"
                .to_owned()
        }
        Errno::EINVAL | Errno::ENOSYS => {
            "this kernel cannot have system calls supervised (seccomp user notification, Linux 5.19)"
                .to_owned()
        }
        error => format!("system calls cannot be supervised (seccomp): {error}"),
    })
}

/// The supervisor's process, from its beginning to its end.
fn supervise(mut stream: UnixStream, program: u32, numbers: &Range<u32>) {
    let mut number = [0; size_of::<RawFd>()];
    if stream.read_exact(&mut number).is_err() {
        return;
    }
    // What it needs of each caller, it tries with the first.
    let listener =
        Caller::reach(program).and_then(|caller| caller.descriptor(RawFd::from_ne_bytes(number)));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            let _ = write!(
                stream,
                "the kernel lets no process look into it (ptrace): {error}; CAP_SYS_PTRACE, or \
                 kernel.yama.ptrace_scope=0 in sysctl, allows it"
            );
            return;
        }
    };
    let told = stream.write_all(READY.as_bytes());
    drop(stream);
    if told.is_ok() {
        retreat(&listener);
        serve(
            Arc::new(Listener(listener)),
            Arc::new(Sockets::new(numbers.clone())),
        );
    }
}

/// Lets go of the terminal, of pipes, of folders: nobody shall wait for this process or be hindered by it.
fn retreat(listener: &OwnedFd) {
    for of in SIGNALS {
        // SAFETY: nothing is called.
        let _ = unsafe { signal(of, SigHandler::SigIgn) };
    }
    let _ = env::set_current_dir("/");
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
        let _ = dup2_stderr(&null);
    }
    let Ok(open) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers: Vec<RawFd> = open
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2 && *number != listener.as_raw_fd())
        .collect();
    for number in numbers {
        // What the program's parent left open. None is one of ours: all but the listener are closed.
        let _ = close(number);
    }
}

/// Answers calls, each in a thread of its own since some wait, until nobody is left who could make one.
fn serve(listener: Arc<Listener>, sockets: Arc<Sockets>) {
    loop {
        let mut waited = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waited, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        let seen = waited.iter().filter_map(|waited| waited.revents());
        if seen.fold(PollFlags::empty(), |all, one| all | one) != PollFlags::POLLIN {
            return;
        }
        let Ok(call) = listener.next() else {
            continue;
        };
        let (its_listener, its_sockets) = (Arc::clone(&listener), Arc::clone(&sockets));
        let answering = thread::Builder::new().spawn(move || {
            its_listener.answer(&call, its_sockets.answer(&its_listener, &call));
        });
        if answering.is_err() {
            listener.answer(&call, Answer::GoOn);
        }
    }
}
