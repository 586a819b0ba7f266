//! Numbers of the wire. Source: `linux/netlink.h`, `linux/genetlink.h` and `linux/ip_vs.h` of Linux 6.1.

/// Name of the generic-netlink family.
pub const FAMILY_NAME: &str = "IPVS";
/// Version of the family.
pub const FAMILY_VERSION: u8 = 1;
/// Family id of lvsd. It lies above the ids a kernel gives out (16 to 1023), so the two never meet.
pub const FAMILY_ID: u16 = 0x4950;
/// Id of the generic-netlink controller, which knows the other families' ids.
pub const NLCTRL: u16 = 0x10;

/// Types of netlink's own messages.
pub mod control {
    /// Nothing to do.
    pub const NOOP: u16 = 1;
    /// An error number, or an acknowledgement where it is 0.
    pub const ERROR: u16 = 2;
    /// End of a dump.
    pub const DONE: u16 = 3;
    /// Smallest type that is not netlink's own.
    pub const MIN_TYPE: u16 = 0x10;
}

/// Flags of a netlink message.
pub mod flag {
    /// A request.
    pub const REQUEST: u16 = 1;
    /// A part of a dump.
    pub const MULTI: u16 = 2;
    /// An acknowledgement is wanted.
    pub const ACK: u16 = 4;
    /// Both bits together ask for a dump.
    pub const DUMP: u16 = 0x300;
    /// In an acknowledgement: only the request's header follows.
    pub const CAPPED: u16 = 0x100;
    /// In an error: attributes follow, among them the reason.
    pub const EXPLAINED: u16 = 0x200;
}

/// Commands of the IPVS family, and the private ones from 0xf0 on.
pub mod cmd {
    /// Adds a service; also the type of a listed one.
    pub const NEW_SERVICE: u8 = 1;
    /// Changes a service.
    pub const SET_SERVICE: u8 = 2;
    /// Removes a service.
    pub const DEL_SERVICE: u8 = 3;
    /// Shows one service, or dumps all.
    pub const GET_SERVICE: u8 = 4;
    /// Adds a destination; also the type of a listed one.
    pub const NEW_DEST: u8 = 5;
    /// Changes a destination.
    pub const SET_DEST: u8 = 6;
    /// Removes a destination.
    pub const DEL_DEST: u8 = 7;
    /// Dumps the destinations of a service.
    pub const GET_DEST: u8 = 8;
    /// Starts a sync daemon; also the type of a listed one.
    pub const NEW_DAEMON: u8 = 9;
    /// Stops a sync daemon.
    pub const DEL_DAEMON: u8 = 10;
    /// Dumps the sync daemons.
    pub const GET_DAEMON: u8 = 11;
    /// Sets timeouts; also the type of the answer to `GET_CONFIG`.
    pub const SET_CONFIG: u8 = 12;
    /// Shows the timeouts.
    pub const GET_CONFIG: u8 = 13;
    /// Only the type of the answer to `GET_INFO`.
    pub const SET_INFO: u8 = 14;
    /// Shows version and table size.
    pub const GET_INFO: u8 = 15;
    /// Zeroes counters.
    pub const ZERO: u8 = 16;
    /// Removes all services.
    pub const FLUSH: u8 = 17;
    /// Private: the text of a file under `/proc/net`, in parts.
    pub const PROC: u8 = 0xf0;
    /// Private: the director's state as JSON, in parts.
    pub const STATUS: u8 = 0xf1;
    /// Private: the settings, a line each, in parts.
    pub const SETTINGS: u8 = 0xf2;
    /// Private: sets one.
    pub const SET_SETTING: u8 = 0xf3;
    /// Private: the mark rules, a line each, in parts.
    pub const MARKS: u8 = 0xf4;
    /// Private: changes them, a line a change, all or none.
    pub const EDIT_MARKS: u8 = 0xf5;
    /// Private: ends the connections of a destination.
    pub const END_CONNECTIONS: u8 = 0xf6;
    /// Private: part of a change that is to be applied in one step.
    pub const STAGE: u8 = 0xf7;
    /// Private: applies it, or tells in parts, a line each, what is wrong with it.
    pub const APPLY: u8 = 0xf8;
    /// Private: leads a connection to a destination.
    pub const LEAD: u8 = 0xfa;
    /// Private: all services with their destinations as they are at one moment, in few bytes, in parts.
    pub const TABLE: u8 = 0xfb;
}

/// Top-level attributes.
pub mod attr {
    /// A service, nested.
    pub const SERVICE: u16 = 1;
    /// A destination, nested.
    pub const DEST: u16 = 2;
    /// A sync daemon, nested.
    pub const DAEMON: u16 = 3;
    /// `u32` seconds.
    pub const TIMEOUT_TCP: u16 = 4;
    /// `u32` seconds.
    pub const TIMEOUT_TCP_FIN: u16 = 5;
    /// `u32` seconds.
    pub const TIMEOUT_UDP: u16 = 6;
    /// Of [`LEAD`](super::cmd::LEAD): the client's end, nested as a destination.
    pub const CLIENT: u16 = 7;
    /// `u8`.
    pub const PROTOCOL: u16 = 8;
    /// `u16`, big endian: the virtual port.
    pub const PORT: u16 = 9;
    /// `u32` milliseconds.
    pub const WITHIN: u16 = 10;
    /// Of the private commands: name of a text in the request, bytes of it in the answer.
    pub const TEXT: u16 = 1;
    /// Of the private commands that change something: what to.
    pub const VALUE: u16 = 2;
    /// Of a change in parts: 8 bytes, the number its client chose.
    pub const CHANGE: u16 = 3;
    /// Of a change in parts: `u32`, bytes before this part; on applying, all bytes.
    pub const LENGTH: u16 = 4;
    /// On applying: `u8`, not 0 if nothing is to be changed.
    pub const TRIAL: u16 = 5;
    /// On applying: `u8`, not 0 if the changes are lines that stand for themselves, not a table.
    pub const LINES: u16 = 8;
    /// Of a whole table: `u8`, the layout of its bytes.
    pub const LAYOUT: u16 = 6;
    /// Of a whole table: `u8`, not 0 if statistics are wanted.
    pub const STATISTICS: u16 = 7;
}

/// Attributes of an error (`NLMSGERR_ATTR_*`).
pub mod refusal {
    /// Text: the reason.
    pub const MESSAGE: u16 = 1;
}

/// Attributes of a service.
pub mod service {
    /// `u16`.
    pub const AF: u16 = 1;
    /// `u16`.
    pub const PROTOCOL: u16 = 2;
    /// 16 bytes, IPv4 in the first four.
    pub const ADDR: u16 = 3;
    /// `u16`, big endian.
    pub const PORT: u16 = 4;
    /// `u32`.
    pub const FWMARK: u16 = 5;
    /// Text.
    pub const SCHED_NAME: u16 = 6;
    /// `u32` flags, `u32` mask.
    pub const FLAGS: u16 = 7;
    /// `u32` seconds.
    pub const TIMEOUT: u16 = 8;
    /// IPv4: the mask, big endian; IPv6: the prefix length as `u32`.
    pub const NETMASK: u16 = 9;
    /// Nested, packets and rates in 32 bits.
    pub const STATS: u16 = 10;
    /// Text.
    pub const PE_NAME: u16 = 11;
    /// Nested, all in 64 bits.
    pub const STATS64: u16 = 12;
}

/// Attributes of a destination.
pub mod dest {
    /// 16 bytes, IPv4 in the first four.
    pub const ADDR: u16 = 1;
    /// `u16`, big endian.
    pub const PORT: u16 = 2;
    /// `u32`.
    pub const FWD_METHOD: u16 = 3;
    /// `u32`, read as signed.
    pub const WEIGHT: u16 = 4;
    /// `u32`.
    pub const U_THRESH: u16 = 5;
    /// `u32`.
    pub const L_THRESH: u16 = 6;
    /// `u32`.
    pub const ACTIVE_CONNS: u16 = 7;
    /// `u32`.
    pub const INACT_CONNS: u16 = 8;
    /// `u32`.
    pub const PERSIST_CONNS: u16 = 9;
    /// Nested, packets and rates in 32 bits.
    pub const STATS: u16 = 10;
    /// `u16`; the service's family where it is absent.
    pub const ADDR_FAMILY: u16 = 11;
    /// Nested, all in 64 bits.
    pub const STATS64: u16 = 12;
    /// `u8`.
    pub const TUN_TYPE: u16 = 13;
    /// `u16`, big endian.
    pub const TUN_PORT: u16 = 14;
    /// `u16`.
    pub const TUN_FLAGS: u16 = 15;
}

/// Attributes of a sync daemon.
pub mod daemon {
    /// `u32`: 1 master, 2 backup.
    pub const STATE: u16 = 1;
    /// Text.
    pub const MCAST_IFN: u16 = 2;
    /// `u32`.
    pub const SYNC_ID: u16 = 3;
    /// `u16`.
    pub const SYNC_MAXLEN: u16 = 4;
    /// 4 bytes.
    pub const MCAST_GROUP: u16 = 5;
    /// 16 bytes.
    pub const MCAST_GROUP6: u16 = 6;
    /// `u16`, host order.
    pub const MCAST_PORT: u16 = 7;
    /// `u8`.
    pub const MCAST_TTL: u16 = 8;
}

/// Attributes of the answer to `GET_INFO`.
pub mod info {
    /// `u32`.
    pub const VERSION: u16 = 1;
    /// `u32`.
    pub const CONN_TAB_SIZE: u16 = 2;
}

/// `AF_INET` on the wire.
pub const AF_INET: u16 = libc::AF_INET as u16;
/// `AF_INET6` on the wire.
pub const AF_INET6: u16 = libc::AF_INET6 as u16;
/// Longest name of a scheduler, an engine or an interface, without the NUL.
pub const NAME_MAX: usize = 15;
