//! What the kernel is asked for: a filter that hands a few system calls to a supervisor (`seccomp(2)`), and the listener by
//! which the supervisor takes them up and answers (`seccomp_unotify(2)`).

use std::mem::offset_of;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, Ioctl, SYS_dup, SYS_fcntl,
    SYS_read, SYS_recvfrom, SYS_recvmsg, SYS_sendmsg, SYS_sendto, SYS_socket, SYS_write, c_int,
    c_long, seccomp_data, seccomp_notif, seccomp_notif_addfd, seccomp_notif_resp, sock_filter,
};
use nix::errno::Errno;

/// `AUDIT_ARCH_*` of programs of this machine; others' (32-bit ones') calls have other numbers.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: u32 = 0xc000_00f3;

/// Calls whose first argument is a socket, and which are asked about where that is a supervised one.
const ON_SOCKETS: [c_long; 7] = [
    SYS_sendto,
    SYS_sendmsg,
    SYS_write,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_read,
    SYS_dup,
];

/// What a 32-bit word of a call must be.
#[derive(Clone, Copy)]
enum Test {
    Is(u32),
    AtLeast(u32),
    Below(u32),
}

/// The words of a call, by their offsets.
const NUMBER: usize = offset_of!(seccomp_data, nr);

/// The low half of an argument: of an `int` the kernel takes no more.
const fn argument(index: usize) -> usize {
    offset_of!(seccomp_data, args) + 8 * index + if cfg!(target_endian = "big") { 4 } else { 0 }
}

const fn code(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Asks about a call of which all of this holds, and goes on to what follows with every other.
fn ask_where(conditions: &[(usize, Test)]) -> Vec<sock_filter> {
    let mut codes = Vec::new();
    for (index, (word, test)) in conditions.iter().enumerate() {
        codes.push(code(BPF_LD | BPF_W | BPF_ABS, *word as u32));
        // To behind the end, which stands after two codes for each further condition.
        let out = (2 * (conditions.len() - index - 1) + 1) as u8;
        let (jump, value, is_inverse) = match *test {
            Test::Is(value) => (BPF_JEQ, value, false),
            Test::AtLeast(value) => (BPF_JGE, value, false),
            Test::Below(value) => (BPF_JGE, value, true),
        };
        let (jt, jf) = if is_inverse { (out, 0) } else { (0, out) };
        codes.push(sock_filter {
            jt,
            jf,
            ..code(BPF_JMP | jump | BPF_K, value)
        });
    }
    codes.push(code(BPF_RET | BPF_K, libc::SECCOMP_RET_USER_NOTIF));
    codes
}

/// The filter: what is asked about is `socket(AF_NETLINK, _, NETLINK_GENERIC)`, and what is done with descriptors in `sockets`.
/// All else passes. Calls that are not named here do not even run it: the kernel sees that they always pass.
fn filter(sockets: &Range<u32>) -> Vec<sock_filter> {
    let is = |number: c_long| (NUMBER, Test::Is(number as u32));
    let first = (argument(0), Test::AtLeast(sockets.start));
    let last = (argument(0), Test::Below(sockets.end));
    let mut codes = vec![
        code(
            BPF_LD | BPF_W | BPF_ABS,
            offset_of!(seccomp_data, arch) as u32,
        ),
        sock_filter {
            jt: 1,
            ..code(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE)
        },
        code(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    codes.extend(ask_where(&[
        is(SYS_socket),
        (argument(0), Test::Is(libc::AF_NETLINK as u32)),
        (argument(2), Test::Is(libc::NETLINK_GENERIC as u32)),
    ]));
    for call in ON_SOCKETS {
        codes.extend(ask_where(&[is(call), first, last]));
    }
    for command in [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC] {
        let duplicates = (argument(1), Test::Is(command as u32));
        codes.extend(ask_where(&[is(SYS_fcntl), duplicates, first, last]));
    }
    codes.push(code(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW));
    codes
}

/// Puts the filter before this thread, which must be the process's only one, and all that it starts; it cannot be taken off
/// again. Gives the listener, which is closed on exec.
///
/// # Errors
/// `EACCES`: neither `CAP_SYS_ADMIN` nor `no_new_privs`; `EBUSY`: somebody listens already; `EINVAL` or `ENOSYS`: the kernel
/// cannot do it.
pub(super) fn install(sockets: &Range<u32>) -> Result<OwnedFd, Errno> {
    let mut codes = filter(sockets);
    let program = libc::sock_fprog {
        len: codes.len() as u16,
        filter: codes.as_mut_ptr(),
    };
    // A signal must not break off a request that was sent, or an answer would be lost, and the request be sent again.
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: the program describes `codes`, which outlives the call; the kernel copies it.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    let listener = Errno::result(listener)? as c_int;
    // SAFETY: the call made it, and it is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// By which the kernel knows it.
    pub(super) id: u64,
    /// The thread that makes it, as a number of this namespace; 0 where it has none.
    pub(super) thread: u32,
    pub(super) number: c_long,
    pub(super) arguments: [u64; 6],
}

/// What a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The kernel does it as if nobody had been asked.
    GoOn,
    /// It has given this.
    Value(i64),
    /// It has failed.
    Error(Errno),
    /// It was answered with a descriptor already.
    Given,
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct Listener(pub(super) OwnedFd);

impl Listener {
    /// # Safety
    /// The request takes a `T`, reads and writes no more than one, and keeps nothing of it.
    unsafe fn ioctl<T>(&self, request: Ioctl, argument: &mut T) -> Result<c_int, Errno> {
        // SAFETY: as the caller says; the argument outlives the call.
        Errno::result(unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw mut *argument) })
    }

    /// The next call.
    ///
    /// # Errors
    /// `ENOENT`: it was broken off meanwhile.
    pub(super) fn next(&self) -> Result<Call, Errno> {
        let mut asked = seccomp_notif {
            id: 0,
            pid: 0,
            flags: 0,
            data: seccomp_data {
                nr: 0,
                arch: 0,
                instruction_pointer: 0,
                args: [0; 6],
            },
        };
        // SAFETY: the structure of this request, all zero as it wants it.
        unsafe { self.ioctl(libc::SECCOMP_IOCTL_NOTIF_RECV, &mut asked)? };
        Ok(Call {
            id: asked.id,
            thread: asked.pid,
            number: asked.data.nr.into(),
            arguments: asked.data.args,
        })
    }

    /// Whether a call still waits. While it does, the number of its thread is that thread's and nobody else's.
    pub(super) fn waits(&self, call: &Call) -> bool {
        let mut id = call.id;
        // SAFETY: the structure of this request.
        unsafe { self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &mut id) }.is_ok()
    }

    /// Answers a call. One whose thread was killed needs no answer.
    pub(super) fn answer(&self, call: &Call, answer: Answer) {
        let mut response = seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: 0,
            flags: 0,
        };
        match answer {
            Answer::GoOn => response.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            Answer::Value(value) => response.val = value,
            Answer::Error(error) => response.error = -(error as i32),
            Answer::Given => return,
        }
        // SAFETY: the structure of this request.
        let _ = unsafe { self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, &mut response) };
    }

    /// Answers a call with a descriptor: `file`, as this number, in one step.
    ///
    /// # Errors
    /// `EBADF`: the process may not have so high a number; `ENOENT`: its thread was killed.
    pub(super) fn give(
        &self,
        call: &Call,
        file: BorrowedFd<'_>,
        number: u32,
        closes_on_exec: bool,
    ) -> Result<(), Errno> {
        let mut given = seccomp_notif_addfd {
            id: call.id,
            flags: (libc::SECCOMP_ADDFD_FLAG_SETFD | libc::SECCOMP_ADDFD_FLAG_SEND) as u32,
            srcfd: file.as_raw_fd().cast_unsigned(),
            newfd: number,
            newfd_flags: if closes_on_exec {
                libc::O_CLOEXEC as u32
            } else {
                0
            },
        };
        // SAFETY: the structure of this request.
        unsafe { self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ADDFD, &mut given) }.map(drop)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKETS: Range<u32> = 768..1024;

    /// What the filter says of a call, worked out here.
    fn verdict(arch: u32, number: c_long, arguments: [u64; 6]) -> u32 {
        let codes = filter(&SOCKETS);
        let mut words = [0u8; size_of::<seccomp_data>()];
        words[NUMBER..][..4].copy_from_slice(&(number as u32).to_ne_bytes());
        words[offset_of!(seccomp_data, arch)..][..4].copy_from_slice(&arch.to_ne_bytes());
        for (index, argument) in arguments.iter().enumerate() {
            words[offset_of!(seccomp_data, args) + 8 * index..][..8]
                .copy_from_slice(&argument.to_ne_bytes());
        }
        let (mut at, mut loaded) = (0, 0);
        loop {
            let code = codes[at];
            let (class, operation) = (u32::from(code.code) & 7, u32::from(code.code) & 0xf0);
            let holds = match operation {
                BPF_JEQ => loaded == code.k,
                _ => loaded >= code.k,
            };
            match class {
                BPF_RET => return code.k,
                BPF_LD => {
                    loaded = u32::from_ne_bytes(
                        *words[code.k as usize..].first_chunk().expect("a word"),
                    );
                }
                _ => at += usize::from(if holds { code.jt } else { code.jf }),
            }
            at += 1;
        }
    }

    #[test]
    fn only_generic_netlink_and_its_descriptors_are_asked_about() {
        let asks = |number, arguments: [u64; 3]| {
            let [first, second, third] = arguments;
            let verdict = verdict(ARCHITECTURE, number, [first, second, third, 0, 0, 0]);
            assert!([libc::SECCOMP_RET_USER_NOTIF, libc::SECCOMP_RET_ALLOW].contains(&verdict));
            verdict == libc::SECCOMP_RET_USER_NOTIF
        };
        let (netlink, generic) = (libc::AF_NETLINK as u64, libc::NETLINK_GENERIC as u64);
        assert!(asks(SYS_socket, [netlink, 3, generic]));
        assert!(!asks(SYS_socket, [netlink, 3, 0]), "routes");
        assert!(!asks(SYS_socket, [2, 3, generic]), "an IPv4 socket");
        for call in ON_SOCKETS {
            for (fd, is_asked) in [
                (0, false),
                (767, false),
                (768, true),
                (1023, true),
                (1024, false),
            ] {
                assert_eq!(asks(call, [fd, 0, 0]), is_asked, "{call} on {fd}");
            }
            assert!(!asks(call, [u64::from(u32::MAX), 0, 0]), "{call} on -1");
        }
        assert!(asks(SYS_fcntl, [800, libc::F_DUPFD as u64, 0]));
        assert!(asks(SYS_fcntl, [800, libc::F_DUPFD_CLOEXEC as u64, 0]));
        assert!(!asks(SYS_fcntl, [800, libc::F_GETFL as u64, 0]));
        assert!(!asks(SYS_fcntl, [5, libc::F_DUPFD as u64, 0]));
        assert!(!asks(libc::SYS_close, [800, 0, 0]));
        let of_32_bits = verdict(0x4000_0003, SYS_socket, [netlink, 3, generic, 0, 0, 0]);
        assert_eq!(of_32_bits, libc::SECCOMP_RET_ALLOW);
    }
}
