//! Error numbers: what a director answers instead of an acknowledgement.

use std::ffi::CStr;
use std::fmt;

/// A positive Linux error number, as carried negated in an `NLMSG_ERROR` message.
///
/// A newtype rather than an enum because a client may meet any number a kernel can send; the named
/// constants are all that IPVS itself answers (Linux 6.1, `ip_vs_ctl.c`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self(libc::$name);)*
        }
        const NAMES: &[(Errno, &str)] = &[$((Errno::$name, stringify!($name)),)*];
    };
}

names! {
    /// The sender lacks `CAP_NET_ADMIN`.
    EPERM,
    /// Unknown scheduler, persistence engine or destination; unknown netlink family.
    ENOENT,
    /// Unknown virtual service; no sync daemon running.
    ESRCH,
    /// The answer is not there yet (an expired receive timeout).
    EAGAIN,
    /// Out of memory, or a table of the director is full.
    ENOMEM,
    /// Service, destination or sync daemon is there already.
    EEXIST,
    /// No such interface.
    ENODEV,
    /// A required attribute is missing, or a value is not acceptable.
    EINVAL,
    /// Negative weight; lower threshold above the upper one; attribute too short.
    ERANGE,
    /// Message too large for its reader.
    EMSGSIZE,
    /// The protocol is not there: the kernel has no IPVS.
    ENOPROTOOPT,
    /// Unknown command, or one that exists only as a dump.
    EOPNOTSUPP,
    /// Address family other than IPv4 and IPv6.
    EAFNOSUPPORT,
    /// An input or output error inside the director.
    EIO,
}

impl Errno {
    /// The error with this positive number.
    #[must_use]
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The positive number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(errno, _)| errno == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// The C library's text, as `strerror` gives it: clients print it as it is.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 128];
        // SAFETY: the pointer and the length describe `text`, which outlives the call; the XSI
        // function (which the libc crate binds) terminates what it writes.
        let result = unsafe { libc::strerror_r(self.0, text.as_mut_ptr().cast(), text.len()) };
        match CStr::from_bytes_until_nul(&text) {
            Ok(text) if !text.is_empty() && (result == 0 || result == libc::EINVAL) => {
                f.write_str(&text.to_string_lossy())
            }
            _ => write!(f, "Unknown error {}", self.0),
        }
    }
}

impl std::error::Error for Errno {}

/// A refusal with its reason, which private commands carry beside the number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// The number.
    pub errno: Errno,
    /// What was refused, why, and what to do instead.
    pub why: String,
}

impl Refused {
    /// A refusal.
    #[must_use]
    pub const fn new(errno: Errno, why: String) -> Self {
        Self { errno, why }
    }
}

/// A number whose text says enough.
impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::new(errno, errno.to_string())
    }
}

/// To clients that know numbers alone.
impl From<Refused> for Errno {
    fn from(refused: Refused) -> Self {
        refused.errno
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_the_c_library_says() {
        assert_eq!(Errno::ERANGE.to_string(), "Numerical result out of range");
        assert_eq!(Errno::ENODEV.to_string(), "No such device");
        assert_eq!(Errno::new(4095).to_string(), "Unknown error 4095");
        assert_eq!(
            format!("{:?} {:?}", Errno::ESRCH, Errno::new(4095)),
            "ESRCH errno 4095"
        );
    }
}
