//! An address with the length of its network's prefix: `192.168.1.40/32`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address and its prefix length, 0..=32 bits for IPv4, 0..=128 for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prefix {
    /// The address itself; host bits may be set.
    pub address: IpAddr,
    /// The number of leading bits that name the network.
    pub length: u8,
}

impl Prefix {
    /// The address as a network; `None` when the length exceeds the family's bits.
    #[must_use]
    pub fn new(address: impl Into<IpAddr>, length: u8) -> Option<Self> {
        let address = address.into();
        (length <= bits(address)).then_some(Self { address, length })
    }

    /// The address alone: /32 for IPv4, /128 for IPv6.
    #[must_use]
    pub fn host(address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        Self {
            address,
            length: bits(address),
        }
    }

    /// Whether an address lies in the network.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let number = |address| match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        let host_bits = u32::from(bits(self.address) - self.length);
        bits(self.address) == bits(address)
            && (number(self.address) ^ number(address))
                .checked_shr(host_bits)
                .is_none_or(|differ| differ == 0)
    }
}

fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// The text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address with a prefix length, such as 192.168.1.40/32")]
pub struct NoPrefix(String);

impl FromStr for Prefix {
    type Err = NoPrefix;

    /// Reads `address/length`; an address alone is a host.
    fn from_str(text: &str) -> Result<Self, NoPrefix> {
        let wrong = || NoPrefix(text.to_owned());
        match text.split_once('/') {
            None => text.parse::<IpAddr>().map(Self::host).map_err(|_| wrong()),
            Some((address, length)) => {
                let address: IpAddr = address.parse().map_err(|_| wrong())?;
                let length = length.parse().map_err(|_| wrong())?;
                Self::new(address, length).ok_or_else(wrong)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in [
            "192.168.1.40/32",
            "8.8.8.8/24",
            "2001:db8::1/64",
            "0.0.0.0/0",
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        assert_eq!(
            "8.8.8.8".parse::<Prefix>().unwrap().to_string(),
            "8.8.8.8/32"
        );
    }

    #[test]
    fn holds_what_shares_its_leading_bits() {
        for (network, address, holds) in [
            ("192.168.1.46/24", "192.168.1.1", true),
            ("192.168.1.46/24", "192.168.2.1", false),
            ("192.168.1.40/32", "192.168.1.40", true),
            ("192.168.1.40/32", "192.168.1.41", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::46/64", "2001:db8::1", true),
            ("2001:db8::46/64", "2001:db8:0:1::1", false),
            ("::/0", "2001:db8::1", true),
        ] {
            let network: Prefix = network.parse().unwrap();
            assert_eq!(
                network.holds(address.parse().unwrap()),
                holds,
                "{address} in {network}"
            );
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "8.8.8.8/33",
            "2001:db8::1/129",
            "8.8.8/24",
            "8.8.8.8/",
            "/24",
            "",
        ] {
            assert_eq!(text.parse::<Prefix>(), Err(NoPrefix(text.to_owned())));
        }
    }
}
