//! An interface's offloads, by the `SIOCETHTOOL` request (what `ethtool -K` did before netlink).

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A feature of an interface that takes work from the network stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Offload {
    /// Checksums of outgoing packets are left to the interface. A virtual one never fills them
    /// in, and an XDP program cannot see that they are unfinished.
    TxChecksum,
    /// Incoming packets of one flow are joined. On a veth this is also what lets the end accept
    /// frames that XDP sends to it.
    Gro,
}

/// The legacy ethtool commands of each feature (`linux/ethtool.h`, stable since Linux 2.6).
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

nix::ioctl_readwrite_bad!(siocethtool, libc::SIOCETHTOOL, libc::ifreq);

impl Offload {
    /// Whether the feature is on.
    pub(crate) fn is_on(self, iface: &str) -> Result<bool> {
        let command = match self {
            Self::TxChecksum => ETHTOOL_GTXCSUM,
            Self::Gro => ETHTOOL_GGRO,
        };
        Ok(request(iface, EthtoolValue { command, data: 0 })? != 0)
    }

    /// Switches the feature.
    pub(crate) fn switch(self, iface: &str, on: bool) -> Result<()> {
        let command = match self {
            Self::TxChecksum => ETHTOOL_STXCSUM,
            Self::Gro => ETHTOOL_SGRO,
        };
        request(
            iface,
            EthtoolValue {
                command,
                data: on.into(),
            },
        )
        .map(|_| ())
    }
}

impl fmt::Display for Offload {
    /// The feature's name for `ethtool -K`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TxChecksum => "tx",
            Self::Gro => "gro",
        })
    }
}

fn request(iface: &str, mut value: EthtoolValue) -> Result<u32> {
    let refused = |errno: nix::errno::Errno| Error::Refused(errno.into());
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(refused)?;
    let mut name = [0; libc::IFNAMSIZ];
    if iface.len() >= name.len() {
        return Err(Error::Refused(io::Error::from_raw_os_error(libc::ENODEV)));
    }
    for (slot, byte) in name.iter_mut().zip(iface.bytes()) {
        *slot = byte.cast_signed();
    }
    let mut ifreq = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: (&raw mut value).cast(),
        },
    };
    // SAFETY: SIOCETHTOOL reads the interface's name, which ends with a NUL, and reads and writes
    // one `struct ethtool_value` behind `ifru_data` for the four commands used here; `value` has
    // that layout and outlives the call.
    unsafe { siocethtool(socket.as_raw_fd(), &raw mut ifreq) }.map_err(refused)?;
    Ok(value.data)
}
