//! Sysctls, by `/proc/sys`, whose `net` folder is that of the calling thread's namespace.

use std::fs;
use std::path::PathBuf;

use crate::{Error, Result};

/// The value of a sysctl now, without the line's end; the key has dots, as [`Step::SetSysctl`](crate::Step::SetSysctl) says.
///
/// # Errors
/// When there is none of that name, or it cannot be read.
pub fn read(key: &str) -> Result<String> {
    fs::read_to_string(path(key))
        .map(|text| text.trim_end().to_owned())
        .map_err(|cause| Error::Sysctl {
            key: key.to_owned(),
            cause,
        })
}

/// Sets the value.
pub(crate) fn write(key: &str, value: &str) -> Result<()> {
    fs::write(path(key), value).map_err(|cause| Error::Sysctl {
        key: key.to_owned(),
        cause,
    })
}

/// `net.ipv4.conf.eth0/100.forwarding` is `/proc/sys/net/ipv4/conf/eth0.100/forwarding`: in a key
/// dots and slashes change places, as `sysctl(8)` has it.
fn path(key: &str) -> PathBuf {
    let swapped: String = key
        .chars()
        .map(|letter| match letter {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    PathBuf::from("/proc/sys").join(swapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_change_places() {
        assert_eq!(
            path("net.ipv4.conf.eth0/100.arp_ignore"),
            PathBuf::from("/proc/sys/net/ipv4/conf/eth0.100/arp_ignore")
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        let error = read("net.ipv4.no_such_key").unwrap_err().to_string();
        assert!(
            error.starts_with("sysctl net.ipv4.no_such_key: "),
            "{error}"
        );
    }
}
