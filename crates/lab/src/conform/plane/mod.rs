//! The planes that a scenario is played on.

mod ground;
pub mod inside;
pub mod kernel;
mod link;
pub mod live;
mod network;
mod programs;
mod stack;
mod world;

use std::fmt;

/// A plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plane {
    /// The decisions on this host, over tables in memory, in virtual time.
    Host,
    /// The programs in the kernel by test runs, in virtual time.
    Bpf,
    /// lvsd in a network namespace, its programs in tc.
    LvsdTc,
    /// lvsd in a network namespace, its programs in XDP.
    LvsdXdp,
    /// The kernel's own IPVS, in user-mode Linux.
    Kernel,
}

/// How many scenarios one round of turns has.
pub const TURNS: usize = 6;

impl Plane {
    /// All planes.
    pub const ALL: [Self; 5] = [
        Self::Host,
        Self::Bpf,
        Self::LvsdTc,
        Self::LvsdXdp,
        Self::Kernel,
    ];

    /// Which scenarios, by number modulo [`TURNS`], are its own where planes take turns that start a director for each.
    /// `None`: it starts none, and plays all.
    #[must_use]
    pub const fn turn(self) -> Option<usize> {
        match self {
            Self::LvsdTc => Some(0),
            Self::LvsdXdp => Some(3),
            Self::Host | Self::Bpf | Self::Kernel => None,
        }
    }

    /// The plane of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plane| plane.name() == name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Bpf => "bpf",
            Self::LvsdTc => "lvsd-tc",
            Self::LvsdXdp => "lvsd-xdp",
            Self::Kernel => "kernel",
        }
    }
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
