//! The three forwarding methods, as far as a machine's set-up depends on them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How the director carries a packet to the real server it chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ForwardingMethod {
    /// Network address translation, `ipvsadm -m`: both directions cross the director.
    Masquerade,
    /// IP-in-IP, `ipvsadm -i`: the server unwraps and answers the client itself.
    Tunnel,
    /// Direct routing, `ipvsadm -g`: only the destination MAC changes.
    DirectRouting,
}

impl ForwardingMethod {
    /// All three, in the tutorial's order.
    pub const ALL: [Self; 3] = [Self::Masquerade, Self::Tunnel, Self::DirectRouting];

    /// The word for it on the command line: `nat`, `tun`, `dr`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Masquerade => "nat",
            Self::Tunnel => "tun",
            Self::DirectRouting => "dr",
        }
    }
}

impl fmt::Display for ForwardingMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Masquerade => "NAT (masquerading)",
            Self::Tunnel => "IP tunnelling",
            Self::DirectRouting => "direct routing",
        })
    }
}

/// The word names no forwarding method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no forwarding method: there are nat, tun and dr")]
pub struct UnknownMethod(String);

impl FromStr for ForwardingMethod {
    type Err = UnknownMethod;

    fn from_str(word: &str) -> Result<Self, UnknownMethod> {
        Self::ALL
            .into_iter()
            .find(|method| method.word() == word)
            .ok_or_else(|| UnknownMethod(word.to_owned()))
    }
}
