//! Every command and option of `ipvsadm` 1.31, in one table, and `--json`.

/// A command; its word is what error texts call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    AddService,
    EditService,
    DeleteService,
    Flush,
    List,
    AddServer,
    DeleteServer,
    EditServer,
    SetTimeouts,
    StartDaemon,
    StopDaemon,
    Restore,
    Save,
    Zero,
}

impl Verb {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::AddService => "add-service",
            Self::EditService => "edit-service",
            Self::DeleteService => "delete-service",
            Self::Flush => "flush",
            Self::List => "list",
            Self::AddServer => "add-server",
            Self::DeleteServer => "delete-server",
            Self::EditServer => "edit-server",
            Self::SetTimeouts => "set",
            Self::StartDaemon => "start-daemon",
            Self::StopDaemon => "stop-daemon",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::Zero => "zero",
        }
    }
}

macro_rules! subjects {
    ($($name:ident $word:literal,)*) => {
        /// What an option is about. Several options can share a subject (`-t`, `-u`, `-f`), which
        /// can be given once. The order is the one in which a command line is checked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Subject { $($name,)* }

        impl Subject {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// What error texts call it.
            pub(crate) const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

subjects! {
    Numeric "numeric",
    Connection "connection",
    Service "service-address",
    Scheduler "scheduler",
    Persistent "persistent",
    Netmask "netmask",
    Server "real-server",
    Forward "forwarding-method",
    Weight "weight",
    UpperThreshold "u-threshold",
    LowerThreshold "l-threshold",
    Interface "mcast-interface",
    Timeout "timeout",
    Daemon "daemon",
    Stats "stats",
    Rate "rate",
    Thresholds "thresholds",
    PersistentConn "persistent-conn",
    NoSort "nosort",
    SyncId "syncid",
    Exact "exact",
    OnePacket "ops",
    Engine "pe",
    SchedulerFlags "sched-flags",
    Group "mcast-group",
    Port "mcast-port",
    Ttl "mcast-ttl",
    MaxLength "sync-maxlen",
    TunnelInfo "tun-info",
    TunnelType "tun-type",
    TunnelPort "tun-port",
    TunnelNoChecksum "tun-nocsum",
    TunnelChecksum "tun-csum",
    TunnelRemoteChecksum "tun-remcsum",
    Json "json",
}

/// What an option means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Command(Verb),
    Help,
    Version,
    /// A service by address, of this protocol.
    Address(u16),
    Mark,
    Ipv6,
    /// Sorting is what happens anyway.
    Sort,
    /// A forwarding method, by its number on the wire.
    Method(u32),
    /// Nothing beyond its subject.
    Plain(Subject),
}

impl Meaning {
    pub(crate) const fn subject(self) -> Option<Subject> {
        match self {
            Self::Address(_) | Self::Mark => Some(Subject::Service),
            Self::Method(_) => Some(Subject::Forward),
            Self::Plain(subject) => Some(subject),
            Self::Command(_) | Self::Help | Self::Version | Self::Ipv6 | Self::Sort => None,
        }
    }
}

/// Whether a value follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    None,
    Required,
    /// The rest of the word, or the next word unless that begins with a dash.
    Optional,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) long: &'static str,
    pub(crate) short: Option<u8>,
    pub(crate) value: Value,
    pub(crate) meaning: Meaning,
}

const fn entry(long: &'static str, short: u8, value: Value, meaning: Meaning) -> Entry {
    let short = if short == 0 { None } else { Some(short) };
    Entry {
        long,
        short,
        value,
        meaning,
    }
}

const fn command(long: &'static str, short: u8, verb: Verb) -> Entry {
    entry(long, short, Value::None, Meaning::Command(verb))
}

const fn flag(long: &'static str, short: u8, subject: Subject) -> Entry {
    entry(long, short, Value::None, Meaning::Plain(subject))
}

const fn valued(long: &'static str, short: u8, subject: Subject) -> Entry {
    entry(long, short, Value::Required, Meaning::Plain(subject))
}

/// All of them.
pub(crate) const TABLE: &[Entry] = &[
    command("add-service", b'A', Verb::AddService),
    command("edit-service", b'E', Verb::EditService),
    command("delete-service", b'D', Verb::DeleteService),
    command("clear", b'C', Verb::Flush),
    command("list", b'L', Verb::List),
    command("list", b'l', Verb::List),
    command("zero", b'Z', Verb::Zero),
    command("add-server", b'a', Verb::AddServer),
    command("edit-server", b'e', Verb::EditServer),
    command("delete-server", b'd', Verb::DeleteServer),
    command("set", 0, Verb::SetTimeouts),
    entry(
        "start-daemon",
        0,
        Value::Required,
        Meaning::Command(Verb::StartDaemon),
    ),
    entry(
        "stop-daemon",
        0,
        Value::Required,
        Meaning::Command(Verb::StopDaemon),
    ),
    command("restore", b'R', Verb::Restore),
    command("save", b'S', Verb::Save),
    entry("help", b'h', Value::None, Meaning::Help),
    entry("version", b'v', Value::None, Meaning::Version),
    entry("tcp-service", b't', Value::Required, Meaning::Address(6)),
    entry("udp-service", b'u', Value::Required, Meaning::Address(17)),
    entry("sctp-service", 0, Value::Required, Meaning::Address(132)),
    entry("fwmark-service", b'f', Value::Required, Meaning::Mark),
    entry("ipv6", b'6', Value::None, Meaning::Ipv6),
    valued("scheduler", b's', Subject::Scheduler),
    valued("pe", 0, Subject::Engine),
    entry(
        "persistent",
        b'p',
        Value::Optional,
        Meaning::Plain(Subject::Persistent),
    ),
    valued("netmask", b'M', Subject::Netmask),
    valued("real-server", b'r', Subject::Server),
    entry("masquerading", b'm', Value::None, Meaning::Method(0)),
    entry("ipip", b'i', Value::None, Meaning::Method(2)),
    entry("gatewaying", b'g', Value::None, Meaning::Method(3)),
    valued("weight", b'w', Subject::Weight),
    valued("u-threshold", b'x', Subject::UpperThreshold),
    valued("l-threshold", b'y', Subject::LowerThreshold),
    flag("numeric", b'n', Subject::Numeric),
    flag("connection", b'c', Subject::Connection),
    valued("mcast-interface", 0, Subject::Interface),
    valued("mcast-group", 0, Subject::Group),
    valued("mcast-port", 0, Subject::Port),
    valued("mcast-ttl", 0, Subject::Ttl),
    valued("sync-maxlen", 0, Subject::MaxLength),
    valued("syncid", 0, Subject::SyncId),
    flag("timeout", 0, Subject::Timeout),
    flag("daemon", 0, Subject::Daemon),
    flag("stats", 0, Subject::Stats),
    flag("rate", 0, Subject::Rate),
    flag("thresholds", 0, Subject::Thresholds),
    flag("persistent-conn", 0, Subject::PersistentConn),
    flag("nosort", 0, Subject::NoSort),
    entry("sort", 0, Value::None, Meaning::Sort),
    flag("exact", b'X', Subject::Exact),
    flag("ops", b'o', Subject::OnePacket),
    valued("sched-flags", b'b', Subject::SchedulerFlags),
    flag("tun-info", 0, Subject::TunnelInfo),
    valued("tun-type", 0, Subject::TunnelType),
    valued("tun-port", 0, Subject::TunnelPort),
    flag("tun-nocsum", 0, Subject::TunnelNoChecksum),
    flag("tun-csum", 0, Subject::TunnelChecksum),
    flag("tun-remcsum", 0, Subject::TunnelRemoteChecksum),
    flag("json", 0, Subject::Json),
];
