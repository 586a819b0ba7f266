//! What the messages speak about: virtual services, destinations, statistics, timeouts, sync daemons.
//!
//! Source: `linux/ip_vs.h` and `ip_vs_ctl.c` of Linux 6.1. Ports are in host order here, addresses
//! typed; the wire's byte orders live in the codec alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Address family of a virtual service or a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(addr: &IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The address of this family that has no bit set.
    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// What identifies a virtual service. It cannot be changed, only deleted and made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKey {
    /// A protocol, an address and a port.
    Address {
        /// IP protocol number; IPVS does not restrict it (47 and 0 are accepted).
        protocol: u16,
        /// The virtual address.
        addr: IpAddr,
        /// The virtual port; 0 stands for every port.
        port: u16,
    },
    /// Packets that carry a firewall mark.
    Mark {
        /// Family of the packets.
        family: Family,
        /// The mark, never 0: a request with mark 0 means the TCP service of the unspecified
        /// address and port 0, as in the kernel.
        mark: u32,
    },
}

impl ServiceKey {
    /// Address family of the service.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Address { addr, .. } => Family::of(addr),
            Self::Mark { family, .. } => *family,
        }
    }
}

/// Flags of a virtual service, a set of bits (`IP_VS_SVC_F_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServiceFlags(pub u32);

impl ServiceFlags {
    /// Connections of one client go to one destination. This flag, not the timeout, makes a
    /// service persistent.
    pub const PERSISTENT: Self = Self(0x01);
    /// Set in every answer, ignored in requests.
    pub const HASHED: Self = Self(0x02);
    /// Every packet is scheduled on its own.
    pub const ONE_PACKET: Self = Self(0x04);
    /// First flag of the scheduler: fallback, for `sh` and `mh`.
    pub const SCHEDULER_1: Self = Self(0x08);
    /// Second flag of the scheduler: hash the port too, for `sh` and `mh`.
    pub const SCHEDULER_2: Self = Self(0x10);
    /// Third flag of the scheduler.
    pub const SCHEDULER_3: Self = Self(0x20);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A change of [`ServiceFlags`]: the bits in `mask` take their values from `flags`.
///
/// `ipvsadm` sends a mask of all ones, keepalived only the bits it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlagChange {
    /// New values.
    pub flags: ServiceFlags,
    /// Which bits change.
    pub mask: u32,
}

impl FlagChange {
    /// Sets exactly `flags`, whatever was there.
    #[must_use]
    pub const fn exactly(flags: ServiceFlags) -> Self {
        Self {
            flags,
            mask: u32::MAX,
        }
    }

    /// The flags after this change of `old`: `(old & !mask) | (flags & mask)`.
    ///
    /// `old` is the flags of the service as it stands, empty for a new one.
    #[must_use]
    pub const fn applied_to(self, old: ServiceFlags) -> ServiceFlags {
        ServiceFlags((old.0 & !self.mask) | (self.flags.0 & self.mask))
    }
}

/// How much of a client's address persistence looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Netmask {
    /// An IPv4 mask; 255.255.255.255 is the whole address.
    V4(Ipv4Addr),
    /// An IPv6 prefix length in bits; a director accepts 1 to 128.
    V6(u32),
}

impl Netmask {
    /// The mask of a single client.
    #[must_use]
    pub const fn host(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4(Ipv4Addr::BROADCAST),
            Family::V6 => Self::V6(128),
        }
    }
}

/// What can be set of a virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceSettings {
    /// Name of the scheduler, at most 15 bytes; `None` is a service without one (`none` on the
    /// wire). Whether the name is known is for the director to say (`ENOENT`).
    pub scheduler: Option<String>,
    /// Name of the persistence engine, at most 15 bytes.
    pub engine: Option<String>,
    /// Change of the flags.
    pub flags: FlagChange,
    /// Persistence timeout in seconds.
    pub timeout: u32,
    /// Granularity of persistence.
    pub netmask: Netmask,
}

/// A virtual service as a director lists it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// Identity.
    pub key: ServiceKey,
    /// Name of the scheduler; `None` without one.
    pub scheduler: Option<String>,
    /// Name of the persistence engine.
    pub engine: Option<String>,
    /// Flags; [`ServiceFlags::HASHED`] is added on the wire.
    pub flags: ServiceFlags,
    /// Persistence timeout in seconds.
    pub timeout: u32,
    /// Granularity of persistence.
    pub netmask: Netmask,
    /// Counters and rates.
    pub stats: Stats,
}

/// What identifies a destination within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationKey {
    /// Address of the real server.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
}

/// How packets reach a destination (`IP_VS_CONN_F_FWD_MASK`, three bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardingMethod {
    /// Network address translation.
    Masquerade,
    /// Delivery on the director itself.
    Local,
    /// Encapsulation.
    Tunnel,
    /// New link-layer address only.
    DirectRouting,
    /// Past all destinations, to the packet's own one.
    Bypass,
    /// A number without a meaning (5 to 7), which IPVS accepts and keeps.
    Other(u8),
}

impl ForwardingMethod {
    /// The method of a number; only its three low bits count.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        match bits & 7 {
            0 => Self::Masquerade,
            1 => Self::Local,
            2 => Self::Tunnel,
            3 => Self::DirectRouting,
            4 => Self::Bypass,
            other => Self::Other(other as u8),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Masquerade => 0,
            Self::Local => 1,
            Self::Tunnel => 2,
            Self::DirectRouting => 3,
            Self::Bypass => 4,
            Self::Other(other) => other as u32 & 7,
        }
    }
}

/// Encapsulation used by [`ForwardingMethod::Tunnel`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TunnelType {
    /// IP in IP.
    #[default]
    Ipip,
    /// Generic UDP encapsulation.
    Gue,
    /// Generic routing encapsulation.
    Gre,
    /// A number without a meaning, which IPVS accepts and keeps.
    Other(u8),
}

impl TunnelType {
    /// The type of a number.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Ipip,
            1 => Self::Gue,
            2 => Self::Gre,
            other => Self::Other(other),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Ipip => 0,
            Self::Gue => 1,
            Self::Gre => 2,
            Self::Other(other) => other,
        }
    }
}

/// Parameters of the encapsulation; kept also for other forwarding methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// Encapsulation.
    pub kind: TunnelType,
    /// Destination port, for GUE.
    pub port: u16,
    /// Checksums: 0 none, 1 [`Tunnel::CHECKSUM`], 2 [`Tunnel::REMOTE_CHECKSUM`].
    pub flags: u16,
}

impl Tunnel {
    /// The outer header carries a checksum.
    pub const CHECKSUM: u16 = 1;
    /// Remote checksum offload (GUE only).
    pub const REMOTE_CHECKSUM: u16 = 2;
}

/// What can be set of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DestinationSettings {
    /// Forwarding method.
    pub method: ForwardingMethod,
    /// Weight without unit, 0 (quiesced) to 2^31-1; a larger one is answered with `ERANGE`.
    pub weight: u32,
    /// Connections at which the destination is overloaded; 0 is no limit.
    pub upper_threshold: u32,
    /// Connections below which it is no longer overloaded; 0 is three quarters of the upper one.
    pub lower_threshold: u32,
    /// Encapsulation.
    pub tunnel: Tunnel,
}

/// A destination as a director lists it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Identity.
    pub key: DestinationKey,
    /// What was set.
    pub settings: DestinationSettings,
    /// Connections that count as active.
    pub active: u32,
    /// All other connections.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
    /// Counters and rates.
    pub stats: Stats,
}

/// A line of a whole table: a service with its destinations, in the director's order.
pub type Row = (Service, Vec<Destination>);

/// Counters since the last zeroing, and the estimator's rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stats {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Bytes to clients.
    pub out_bytes: u64,
    /// Connections per second.
    pub connection_rate: u64,
    /// Packets from clients per second.
    pub in_packet_rate: u64,
    /// Packets to clients per second.
    pub out_packet_rate: u64,
    /// Bytes from clients per second.
    pub in_byte_rate: u64,
    /// Bytes to clients per second.
    pub out_byte_rate: u64,
}

/// A connection of the director's own host that is to go to a certain destination of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lead {
    /// Protocol number: TCP or UDP.
    pub protocol: u8,
    /// The client's end, an address of this host.
    pub client: SocketAddr,
    /// The port at the service's address that it asks.
    pub port: u16,
    /// How long it needs; it may be ended then. Whole milliseconds count.
    pub within: Duration,
}

/// Timeouts of established TCP, of TCP after a FIN, and of UDP, in seconds.
///
/// In a request 0 keeps the value that stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// Established TCP connections.
    pub tcp: u32,
    /// TCP connections that saw a FIN.
    pub tcp_fin: u32,
    /// UDP.
    pub udp: u32,
}

/// The two roles of connection synchronization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SyncRole {
    /// Sends connections.
    Master,
    /// Receives them.
    Backup,
}

impl SyncRole {
    /// The role of a number (`IP_VS_STATE_*`).
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Master),
            2 => Some(Self::Backup),
            _ => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Master => 1,
            Self::Backup => 2,
        }
    }
}

/// A sync daemon: in a request what is wanted, in an answer what is in effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SyncDaemon {
    /// Master or backup.
    pub role: SyncRole,
    /// Interface of the multicast, at most 15 bytes.
    pub interface: String,
    /// Sync id; 0 to 255 travel.
    pub sync_id: u32,
    /// Longest message in bytes; in a request 0 asks for the default.
    pub max_length: u16,
    /// Multicast group; in a request `None` asks for the default, 224.0.0.81.
    pub group: Option<IpAddr>,
    /// UDP port; in a request 0 asks for the default, 8848.
    pub port: u16,
    /// Time to live; in a request 0 asks for the default, 1.
    pub ttl: u8,
}

/// What a director says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Info {
    /// Version of IPVS, a byte a part: 0x010201 is 1.2.1.
    pub version: u32,
    /// Size of the connection table.
    pub connection_table_size: u32,
}

impl Info {
    /// 1.2.1, what every kernel since 2008 answers.
    pub const VERSION: u32 = 0x0001_0201;
}
