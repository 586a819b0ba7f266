//! The ways to a director: lvsd's Unix socket, lvsd's netlink port, the kernel, this process.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno as Os;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
    UnixAddr, UnixCredentials, bind, connect, recv, recvmsg, send, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::geteuid;

use crate::consts::{FAMILY_ID, control};
use crate::errno::Errno;
use crate::message::{self, Messages};
use crate::namespace;
use crate::nlctrl;

/// How long a client waits for a datagram.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Name of lvsd's Unix socket in the namespace's folder.
pub const SOCKET_NAME: &str = "director.sock";
/// Name of the socket for weights in [`check_dir`](crate::check_dir).
pub const WEIGHTS_NAME: &str = "weights.sock";
/// Name of the file with the table before the last change of many, as lines for `lvsx apply`.
pub const BEFORE_NAME: &str = "before.rules";
/// Name of the file with the port id of lvsd's netlink socket.
pub const PORT_NAME: &str = "port";
/// Port id of lvsd's netlink socket, unless somebody had taken it before; then it is one of the next, each the 22nd bit apart.
/// Nobody gets one of these without asking for it: the kernel chooses a process id or a negative number
/// (`netlink_autobind`), libnl a process id in the low 22 bits, of which these have none.
pub const FIRST_PORT: u32 = 0x125 << PORT_SHIFT;
/// Distance of two such ids, as a power of two.
pub const PORT_SHIFT: u32 = 22;
/// Longest datagram that is accepted; the kernel's dumps come in 32 KiB.
pub(crate) const DATAGRAM_MAX: usize = 1 << 16;

/// Whom a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// lvsd where it is there or left its socket or its pins, else the kernel.
    #[default]
    Auto,
    /// The kernel's IPVS, whatever else is there.
    Kernel,
}

/// Why there is no way to a director.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// This namespace belongs to lvsd, but nobody answers.
    #[error(
        "lvsd does not answer, but this network namespace is its own ({}): \
         start lvsd again, or end its forwarding with `lvsd --stop-forwarding`",
        trace.display()
    )]
    Silent {
        /// What tells of lvsd: its socket, or the folder of its pins.
        trace: PathBuf,
    },
    /// Neither `CAP_NET_ADMIN` nor access to lvsd's folder.
    #[error("permission denied (you must be root)")]
    PermissionDenied,
    /// The kernel has no family `IPVS`.
    #[error("the kernel has no IPVS, and no lvsd runs in this network namespace")]
    NoIpvs,
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// How it failed.
        source: io::Error,
    },
}

impl ConnectError {
    fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => Self::PermissionDenied,
            _ => Self::System { what, source },
        }
    }
}

/// A director's side of the dialogue, as [`answer`](crate::serve::answer) is one.
pub type Answering = dyn FnMut(&[u8]) -> Vec<Vec<u8>>;

/// An open way to a director. Requests go out and answers come in as whole datagrams.
pub enum Transport {
    /// The Unix socket of this namespace's lvsd.
    Director(OwnedFd),
    /// The netlink port of this namespace's lvsd.
    DirectorPort {
        /// The socket.
        socket: OwnedFd,
        /// Port id of lvsd.
        port: u32,
    },
    /// The kernel's IPVS.
    Kernel {
        /// The socket.
        socket: OwnedFd,
        /// Id of the kernel's family.
        family: u16,
    },
    /// A director in this process: a datagram in, datagrams out.
    Local {
        /// Answers a datagram.
        answer: Box<Answering>,
        /// Answers not yet received.
        pending: VecDeque<Vec<u8>>,
        /// It stands for the kernel's IPVS, which knows no private commands.
        is_kernel: bool,
    },
}

impl Transport {
    /// The director of the calling thread's network namespace.
    ///
    /// Never falls back to the kernel where lvsd left its socket or its pins: two directors would then
    /// serve one namespace.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn open(choice: Choice) -> Result<Self, ConnectError> {
        if choice == Choice::Kernel {
            return Self::kernel();
        }
        let folder = match namespace::namespace_dir() {
            Ok(folder) => folder,
            // Older than 5.14, and so without lvsd, which needs 6.1.
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                return Self::kernel();
            }
            Err(error) => return Err(ConnectError::system("network namespace cookie")(error)),
        };
        let pins =
            namespace::pins_dir().map_err(ConnectError::system("network namespace cookie"))?;
        match Self::director_of(&folder, &pins)? {
            Some(director) => Ok(director),
            None => Self::kernel(),
        }
    }

    /// lvsd by its folder; `None` where there is neither lvsd nor a trace of it.
    ///
    /// A socket that nobody listens on is a trace as pins are: where forwarding was ended there is
    /// none, and pins cannot be seen from every mount namespace.
    fn director_of(folder: &Path, pins: &Path) -> Result<Option<Self>, ConnectError> {
        let path = folder.join(SOCKET_NAME);
        match Self::director(&path) {
            Ok(director) => return Ok(Some(director)),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => {}
                io::ErrorKind::ConnectionRefused => {
                    return Err(ConnectError::Silent { trace: path });
                }
                _ => return Err(ConnectError::system(path.display().to_string())(error)),
            },
        }
        // Of each layout version there is a folder; an empty parent is no data plane.
        match fs::read_dir(pins).map(|mut entries| entries.next().is_some()) {
            Ok(true) => Err(ConnectError::Silent {
                trace: pins.to_path_buf(),
            }),
            Ok(false) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConnectError::system(pins.display().to_string())(error)),
        }
    }

    /// lvsd by the path of its Unix socket.
    ///
    /// # Errors
    /// Those of `socket` and `connect`.
    pub fn director(path: &Path) -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        set_deadline(&fd)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self::Director(fd))
    }

    /// lvsd by the port id of its netlink socket, which it publishes in the file `port`.
    ///
    /// Any local user may hold a port, so only answers are taken that come from this port and from
    /// a process of root or of the caller's own user.
    ///
    /// # Errors
    /// Those of `socket`, `setsockopt` and `bind`.
    pub fn director_port(port: u32) -> io::Result<Self> {
        let socket = generic_socket()?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        Ok(Self::DirectorPort { socket, port })
    }

    /// The kernel's IPVS; looking its family up loads the module where that is allowed.
    ///
    /// # Errors
    /// [`ConnectError::NoIpvs`] where there is none.
    pub fn kernel() -> Result<Self, ConnectError> {
        let netlink = || ConnectError::system("netlink");
        let socket = generic_socket().map_err(netlink())?;
        send_netlink(&socket, 0, &nlctrl::lookup(1)).map_err(netlink())?;
        let mut family = None;
        // The acknowledgement comes behind the answer, in a datagram of its own.
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let received = receive_netlink(&socket, 0, Trust::Kernel, &mut buffer);
            let length = received.map_err(netlink())?;
            for message in Messages(buffer.get(..length).unwrap_or_default()) {
                if message.header.kind != control::ERROR {
                    let attributes = message.generic().map(|(_, attributes)| attributes);
                    family = attributes.and_then(nlctrl::family_id).or(family);
                    continue;
                }
                return match (message::error_number(&message), family) {
                    (None, Some(family)) => Ok(Self::Kernel { socket, family }),
                    // Nobody but root could load the module.
                    (Some(Errno::ENOENT), _) if !geteuid().is_root() => {
                        Err(ConnectError::PermissionDenied)
                    }
                    (None, None) | (Some(Errno::ENOENT), _) => Err(ConnectError::NoIpvs),
                    (Some(errno), _) => {
                        Err(netlink()(io::Error::from_raw_os_error(errno.number())))
                    }
                };
            }
        }
    }

    /// A director in this process, such as `|datagram| answer(datagram, &mut director)`.
    pub fn local(answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + 'static) -> Self {
        Self::Local {
            answer: Box::new(answer),
            pending: VecDeque::new(),
            is_kernel: false,
        }
    }

    /// The same in the place of the kernel's IPVS, for tests of what is done there.
    pub fn local_kernel(answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + 'static) -> Self {
        Self::Local {
            answer: Box::new(answer),
            pending: VecDeque::new(),
            is_kernel: true,
        }
    }

    /// Whether the kernel's own IPVS is asked, which knows no private commands.
    #[must_use]
    pub const fn is_kernel(&self) -> bool {
        match self {
            Self::Kernel { .. } => true,
            Self::Local { is_kernel, .. } => *is_kernel,
            Self::Director(_) | Self::DirectorPort { .. } => false,
        }
    }

    /// Id of the family that requests are for.
    #[must_use]
    pub const fn family_id(&self) -> u16 {
        match self {
            Self::Kernel { family, .. } => *family,
            _ => FAMILY_ID,
        }
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// Those of `send`; `WouldBlock` after [`DEADLINE`].
    pub fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Director(fd) => {
                send(fd.as_raw_fd(), datagram, MsgFlags::MSG_NOSIGNAL)?;
            }
            Self::DirectorPort { socket, port } => send_netlink(socket, *port, datagram)?,
            Self::Kernel { socket, .. } => send_netlink(socket, 0, datagram)?,
            Self::Local {
                answer, pending, ..
            } => pending.extend(answer(datagram)),
        }
        Ok(())
    }

    /// Receives a datagram into `buffer`; its length.
    ///
    /// # Errors
    /// Those of `recv`; `WouldBlock` after [`DEADLINE`]; `UnexpectedEof` when the director hung up;
    /// `InvalidData` for a datagram that the buffer does not hold.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Director(fd) => match recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                length if length > buffer.len() => Err(io::ErrorKind::InvalidData.into()),
                length => Ok(length),
            },
            Self::DirectorPort { socket, port } => {
                receive_netlink(socket, *port, Trust::Root, buffer)
            }
            Self::Kernel { socket, .. } => receive_netlink(socket, 0, Trust::Kernel, buffer),
            Self::Local { pending, .. } => {
                let datagram = pending.pop_front().ok_or(io::ErrorKind::UnexpectedEof)?;
                let place = buffer.get_mut(..datagram.len());
                place
                    .ok_or(io::ErrorKind::InvalidData)?
                    .copy_from_slice(&datagram);
                Ok(datagram.len())
            }
        }
    }
}

/// Whose datagrams are taken. The kernel's port, 0, cannot be anybody else's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Kernel,
    Root,
}

fn set_deadline(socket: &OwnedFd) -> io::Result<()> {
    let deadline = TimeVal::seconds(DEADLINE.as_secs() as i64);
    setsockopt(socket, sockopt::ReceiveTimeout, &deadline)?;
    setsockopt(socket, sockopt::SendTimeout, &deadline)?;
    Ok(())
}

fn generic_socket() -> io::Result<OwnedFd> {
    let protocol = SockProtocol::NetlinkGeneric;
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    set_deadline(&fd)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(fd)
}

fn send_netlink(socket: &OwnedFd, port: u32, datagram: &[u8]) -> io::Result<()> {
    sendto(
        socket.as_raw_fd(),
        datagram,
        &NetlinkAddr::new(port, 0),
        MsgFlags::empty(),
    )?;
    Ok(())
}

/// Waits for a datagram of `port`, put into `buffer`; what others send is passed over.
fn receive_netlink(
    socket: &OwnedFd,
    port: u32,
    trust: Trust,
    buffer: &mut [u8],
) -> io::Result<usize> {
    loop {
        let mut space = cmsg_space!(UnixCredentials);
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::empty();
        let fd = socket.as_raw_fd();
        let received = match recvmsg::<NetlinkAddr>(fd, &mut slices, Some(&mut space), flags) {
            Err(Os::EINTR) => continue,
            other => other?,
        };
        let sender = received.address.map(|address| address.pid());
        let trusted = trust == Trust::Kernel || {
            let mut controls = received.cmsgs()?;
            controls.any(|control| match control {
                ControlMessageOwned::ScmCredentials(who) => {
                    who.uid() == 0 || who.uid() == geteuid().as_raw()
                }
                _ => false,
            })
        };
        let (length, cut) = (received.bytes, received.flags.contains(MsgFlags::MSG_TRUNC));
        if sender != Some(port) || !trusted {
            continue;
        }
        if cut {
            return Err(io::ErrorKind::InvalidData.into());
        }
        return Ok(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes when the test ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("lvsx-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn without_socket_and_pins_there_is_no_director() {
        let folder = Folder::new("nobody");
        let pins = folder.0.join("bpf");
        assert!(Transport::director_of(&folder.0, &pins).unwrap().is_none());
        fs::create_dir(&pins).unwrap();
        assert!(Transport::director_of(&folder.0, &pins).unwrap().is_none());
    }

    #[test]
    fn pins_without_an_answer_are_an_error_never_the_kernel() {
        let folder = Folder::new("silent");
        let pins = folder.0.join("bpf");
        fs::create_dir_all(pins.join("v1")).unwrap();
        let error = Transport::director_of(&folder.0, &pins).err().unwrap();
        assert!(matches!(error, ConnectError::Silent { .. }), "{error}");
        assert!(error.to_string().contains("start lvsd again"), "{error}");
    }

    #[test]
    fn a_socket_without_a_listener_is_an_error_never_the_kernel() {
        let folder = Folder::new("refused");
        let path = folder.0.join(SOCKET_NAME);
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        drop(listener);
        let found = Transport::director_of(&folder.0, &folder.0.join("bpf"));
        assert!(matches!(found, Err(ConnectError::Silent { trace }) if trace == path));
    }

    #[test]
    fn a_listening_socket_is_the_director() {
        let folder = Folder::new("there");
        let path = folder.0.join(SOCKET_NAME);
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
        let found = Transport::director_of(&folder.0, &folder.0.join("bpf")).unwrap();
        assert!(matches!(found, Some(Transport::Director(_))));
    }

    #[test]
    fn a_netlink_port_answers_only_if_it_is_the_one_asked() {
        let lvsd = generic_socket().unwrap();
        let own: NetlinkAddr = nix::sys::socket::getsockname(lvsd.as_raw_fd()).unwrap();
        let mut client = Transport::director_port(own.pid()).unwrap();
        // Without CAP_NET_ADMIN the kernel refuses to carry this at all.
        client.send(b"question").unwrap();
        let mut buffer = [0; 64];
        let (length, from) =
            nix::sys::socket::recvfrom::<NetlinkAddr>(lvsd.as_raw_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"question");
        let stranger = generic_socket().unwrap();
        send_netlink(&stranger, from.unwrap().pid(), b"forged").unwrap();
        send_netlink(&lvsd, from.unwrap().pid(), b"answer").unwrap();
        let length = client.receive(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"answer");
    }
}
