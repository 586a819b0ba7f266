//! A command line, read: argv in, a command out, nothing asked of a director.

use std::net::{IpAddr, Ipv6Addr};

use lvsx_ipvs::{
    DestinationKey, DestinationSettings, Family, FlagChange, ForwardingMethod, Netmask, Request,
    ServiceFlags, ServiceKey, ServiceSettings, SyncDaemon, SyncRole, Timeouts, Tunnel, TunnelType,
};

use crate::failure::Failure;
use crate::options::{Meaning, Subject, Verb};
use crate::protocol;
use crate::rules::{self, Encapsulation};
use crate::scan::{Found, Misuse, Scan};
use crate::values;

/// Scheduler of a service that names none.
const DEFAULT_SCHEDULER: &str = "wlc";
/// Persistence in seconds where `-p` has no value.
const DEFAULT_PERSISTENCE: i64 = 360;
/// 31 days, the longest timeout.
const MAX_TIMEOUT: i64 = 86400 * 31;
/// Interface of a sync daemon that names none.
const DEFAULT_INTERFACE: &str = "eth0";
/// Longest sync message: what fits into a UDP datagram.
const MAX_SYNC_LENGTH: i64 = 65535 - 20 - 8;

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Version,
    /// A change: one request, of whose answer only success or failure matters.
    Change(Request),
    List(Topic, Format),
    Save {
        numeric: bool,
    },
    Restore,
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Services,
    Service(ServiceKey),
    Connections,
    Timeouts,
    Daemons,
}

/// How it is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) numeric: bool,
    pub(crate) stats: bool,
    pub(crate) rate: bool,
    pub(crate) thresholds: bool,
    pub(crate) persistent: bool,
    pub(crate) tunnels: bool,
    pub(crate) exact: bool,
    pub(crate) unsorted: bool,
    pub(crate) json: bool,
}

fn tool<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Tool(text.into()))
}

impl From<Misuse<'_>> for Failure {
    fn from(misuse: Misuse<'_>) -> Self {
        Self::Misuse(format!("{}: {}", misuse.word, misuse.text))
    }
}

/// Reads the words behind the program's name.
///
/// # Errors
/// The first fault, in the order in which ipvsadm looks for them.
pub(crate) fn parse(words: &[String]) -> Result<Command, Failure> {
    if words.is_empty() {
        return Ok(Command::List(Topic::Services, Format::default()));
    }
    let mut scan = Scan::new(words);
    let mut draft = match scan.option() {
        Some(Ok(Found { entry, value })) => match entry.meaning {
            Meaning::Help => return Ok(Command::Help),
            Meaning::Version => return Ok(Command::Version),
            Meaning::Command(verb) => Draft::new(verb, value)?,
            _ => return Err(Failure::Hint),
        },
        Some(Err(_)) | None => return Err(Failure::Hint),
    };
    while let Some(option) = scan.option() {
        draft.option(&option?, scan.last_word())?;
    }
    draft.rest(&scan.rest)?;
    draft.check()?;
    draft.command()
}

/// What has been read so far. The order of options counts where one looks at another: a port at
/// the protocol, a mask at the family, a server without a port at the service.
struct Draft {
    verb: Verb,
    given: Vec<Subject>,
    addr: Option<IpAddr>,
    port: u16,
    protocol: u16,
    mark: u32,
    scheduler: String,
    engine: Option<String>,
    flags: ServiceFlags,
    flag_names: Option<String>,
    timeout: u32,
    netmask: Netmask,
    server: Option<DestinationKey>,
    method: ForwardingMethod,
    weight: u32,
    upper_threshold: u32,
    lower_threshold: u32,
    encapsulation: Encapsulation,
    tunnel_port: u16,
    tunnel_flags: u16,
    daemon: SyncDaemon,
    timeouts: Timeouts,
}

impl Draft {
    fn new(verb: Verb, value: Option<&str>) -> Result<Self, Failure> {
        let role = match (verb, value) {
            (_, Some("master") | None) => SyncRole::Master,
            (_, Some("backup")) => SyncRole::Backup,
            (Verb::StopDaemon, _) => return tool("illegal start_daemon specified"),
            _ => return tool("illegal start-daemon parameter specified"),
        };
        Ok(Self {
            verb,
            given: Vec::new(),
            addr: None,
            port: 0,
            protocol: 0,
            mark: 0,
            scheduler: String::new(),
            engine: None,
            flags: ServiceFlags::default(),
            flag_names: None,
            timeout: 0,
            netmask: Netmask::host(Family::V4),
            server: None,
            method: ForwardingMethod::DirectRouting,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            encapsulation: Encapsulation::Ipip,
            tunnel_port: 0,
            tunnel_flags: 0,
            daemon: SyncDaemon {
                role,
                interface: String::new(),
                sync_id: 0,
                max_length: 0,
                group: None,
                port: 0,
                ttl: 0,
            },
            timeouts: Timeouts::default(),
        })
    }

    /// Takes an option. A second command is none.
    fn option(&mut self, found: &Found<'_>, word: &str) -> Result<(), Failure> {
        if let Some(subject) = found.entry.meaning.subject() {
            if self.given.contains(&subject) {
                return tool(format!("multiple '{}' options specified", subject.word()));
            }
            self.given.push(subject);
        }
        let value = found.value.unwrap_or_default();
        match found.entry.meaning {
            Meaning::Command(_) | Meaning::Help | Meaning::Version => {
                tool(format!("invalid option `{word}'"))
            }
            Meaning::Address(protocol) => self.service(protocol, value),
            Meaning::Mark => self.fwmark(value),
            Meaning::Ipv6 => self.ipv6(),
            Meaning::Sort => Ok(()),
            Meaning::Method(bits) => {
                self.method = ForwardingMethod::from_bits(bits);
                Ok(())
            }
            Meaning::Plain(subject) => match subject {
                Subject::Persistent => self.persistent(found.value),
                Subject::Netmask => self.netmask(value),
                Subject::Server => self.server(value),
                Subject::Interface
                | Subject::SyncId
                | Subject::Group
                | Subject::Port
                | Subject::Ttl
                | Subject::MaxLength => self.daemon_option(subject, value),
                _ => self.plain(subject, value),
            },
        }
    }

    fn service(&mut self, protocol: u16, value: &str) -> Result<(), Failure> {
        self.protocol = protocol;
        let Some(found) = values::endpoint(value, protocol) else {
            return tool("illegal virtual server address[:port] specified");
        };
        self.addr = Some(found.addr);
        self.port = found.port.unwrap_or(self.port);
        if found.addr.is_ipv6() {
            self.netmask = Netmask::host(Family::V6);
        }
        Ok(())
    }

    fn fwmark(&mut self, value: &str) -> Result<(), Failure> {
        let Some(mark) = values::number(value, 1..=i64::from(u32::MAX)) else {
            return tool(format!("invalid fwmark value `{value}' specified"));
        };
        self.mark = mark as u32;
        self.addr = Some(Family::V4.unspecified());
        self.protocol = protocol::TCP;
        Ok(())
    }

    fn ipv6(&mut self) -> Result<(), Failure> {
        if self.mark == 0 {
            return tool("-6 used before -f\n");
        }
        self.addr = Some(Family::V6.unspecified());
        self.netmask = Netmask::host(Family::V6);
        Ok(())
    }

    fn persistent(&mut self, value: Option<&str>) -> Result<(), Failure> {
        self.flags = self.flags.union(ServiceFlags::PERSISTENT);
        self.timeout = match value {
            None => DEFAULT_PERSISTENCE as u32,
            Some(value) => timeout(value, 1)?,
        };
        Ok(())
    }

    fn netmask(&mut self, value: &str) -> Result<(), Failure> {
        if self.addr.is_some_and(|addr| addr.is_ipv6()) {
            let prefix = values::leading_number(value);
            if !(1..=128).contains(&prefix) {
                return tool("illegal ipv6 netmask specified");
            }
            self.netmask = Netmask::V6(prefix as u32);
            return Ok(());
        }
        let mask = values::ipv4(value).or_else(|| crate::names::host_address(value));
        let Some(mask) = mask else {
            return tool("illegal virtual server persistent mask specified");
        };
        self.netmask = Netmask::V4(mask);
        Ok(())
    }

    fn server(&mut self, value: &str) -> Result<(), Failure> {
        let Some(found) = values::endpoint(value, self.protocol) else {
            return tool("illegal real server address[:port] specified");
        };
        let port = found.port.unwrap_or(self.port);
        self.server = Some(DestinationKey {
            addr: found.addr,
            port,
        });
        Ok(())
    }

    fn plain(&mut self, subject: Subject, value: &str) -> Result<(), Failure> {
        let count = |what: &str| match values::number(value, 0..=i64::from(i32::MAX)) {
            Some(number) => Ok(number as u32),
            None => tool(format!("illegal {what} specified")),
        };
        match subject {
            Subject::Scheduler => self.scheduler = shortened(value, 15),
            Subject::Engine => self.engine = Some(shortened(value, 15)),
            Subject::OnePacket => self.flags = self.flags.union(ServiceFlags::ONE_PACKET),
            Subject::SchedulerFlags => self.flag_names = Some(value.to_owned()),
            Subject::Weight => self.weight = count("weight")?,
            Subject::UpperThreshold => self.upper_threshold = count("u_threshold")?,
            Subject::LowerThreshold => self.lower_threshold = count("l_threshold")?,
            Subject::TunnelType => {
                let known = Encapsulation::ALL.iter().find(|kind| kind.word() == value);
                match known {
                    Some(kind) => self.encapsulation = *kind,
                    None => return tool("illegal tunnel type specified"),
                }
            }
            Subject::TunnelPort => match values::number(value, 1..=65535) {
                Some(port) => self.tunnel_port = port as u16,
                None => return tool("illegal tunnel port specified"),
            },
            Subject::TunnelNoChecksum => self.tunnel_flags = 0,
            Subject::TunnelChecksum => self.tunnel_flags = Tunnel::CHECKSUM,
            Subject::TunnelRemoteChecksum => self.tunnel_flags = Tunnel::REMOTE_CHECKSUM,
            _ => {}
        }
        Ok(())
    }

    fn daemon_option(&mut self, subject: Subject, value: &str) -> Result<(), Failure> {
        let within = |range, what: &str| match values::number(value, range) {
            Some(number) => Ok(number as u16),
            None => tool(format!("illegal {what} specified")),
        };
        let daemon = &mut self.daemon;
        match subject {
            Subject::Interface => daemon.interface = shortened(value, 15),
            Subject::SyncId => daemon.sync_id = within(0..=255, "syncid")?.into(),
            Subject::Group => daemon.group = Some(group(value)?),
            Subject::Port => daemon.port = within(1..=65535, "mcast-port")?,
            Subject::Ttl => daemon.ttl = within(1..=255, "mcast-ttl")? as u8,
            _ => daemon.max_length = within(1..=MAX_SYNC_LENGTH, "sync-maxlen")?,
        }
        Ok(())
    }

    /// Takes the words that belong to no option: the three timeouts of `--set`.
    fn rest(&mut self, words: &[&str]) -> Result<(), Failure> {
        let mut words = words.iter();
        if self.verb == Verb::SetTimeouts {
            let (Some(tcp), Some(tcp_fin), Some(udp)) = (words.next(), words.next(), words.next())
            else {
                return tool("--set option requires 3 timeout values");
            };
            self.timeouts = Timeouts {
                tcp: timeout(tcp, 0)?,
                tcp_fin: timeout(tcp_fin, 0)?,
                udp: timeout(udp, 0)?,
            };
        }
        match words.next() {
            Some(word) => tool(format!("unexpected argument {word}")),
            None => Ok(()),
        }
    }

    /// Checks what no single option can say.
    fn check(&mut self) -> Result<(), Failure> {
        if let Some(names) = &self.flag_names {
            let flags = values::scheduler_flags(&self.scheduler, names).map_err(Failure::Tool)?;
            self.flags = self.flags.union(flags);
        }
        rules::check(self.verb, &self.given).map_err(Failure::Tool)?;
        match self.verb {
            Verb::AddService | Verb::EditService => self.check_service(),
            Verb::AddServer | Verb::EditServer => self.check_server(),
            Verb::List => self.check_list(),
            _ => Ok(()),
        }
    }

    fn check_service(&mut self) -> Result<(), Failure> {
        let by_address = self.mark == 0;
        if by_address && self.port == 0 && !self.flags.contains(ServiceFlags::PERSISTENT) {
            return tool("Zero port specified for non-persistent service");
        }
        let one_packet = self.flags.contains(ServiceFlags::ONE_PACKET);
        if by_address && one_packet && self.protocol != protocol::UDP {
            return tool("One-Packet Scheduling is only for UDP virtual services");
        }
        if self.scheduler.is_empty() {
            DEFAULT_SCHEDULER.clone_into(&mut self.scheduler);
        }
        Ok(())
    }

    fn check_server(&mut self) -> Result<(), Failure> {
        let masqueraded = self.method == ForwardingMethod::Masquerade;
        let tunnelled = self.method == ForwardingMethod::Tunnel;
        let (port, by_address, family) = (self.port, self.mark == 0, self.family());
        if let Some(server) = &mut self.server {
            if by_address && !masqueraded {
                // Only address translation can change a port.
                server.port = port;
            }
            if Family::of(&server.addr) != family && !tunnelled {
                return tool("Different address family is allowed only for tunneling servers");
            }
        }
        if tunnelled {
            return rules::check_tunnel(self.encapsulation, &self.given).map_err(Failure::Tool);
        }
        if rules::speaks_of_tunnels(&self.given) {
            return tool("Tunnel options conflict with forward method");
        }
        Ok(())
    }

    fn check_list(&self) -> Result<(), Failure> {
        let given = |subjects: &[Subject]| subjects.iter().any(|it| self.given.contains(it));
        let apart = given(&[Subject::Connection, Subject::Timeout, Subject::Daemon]);
        let formats = [Subject::Stats, Subject::Rate, Subject::Thresholds];
        let templates =
            given(&[Subject::Timeout, Subject::Daemon]) && given(&[Subject::PersistentConn]);
        if apart && given(&formats) || templates {
            return tool("options conflicts in the list command");
        }
        Ok(())
    }

    fn family(&self) -> Family {
        self.addr.map_or(Family::V4, |addr| Family::of(&addr))
    }

    fn key(&self) -> ServiceKey {
        match self.mark {
            0 => ServiceKey::Address {
                protocol: self.protocol,
                addr: self.addr.unwrap_or(Family::V4.unspecified()),
                port: self.port,
            },
            mark => ServiceKey::Mark {
                family: self.family(),
                mark,
            },
        }
    }

    fn settings(&self) -> ServiceSettings {
        ServiceSettings {
            scheduler: Some(self.scheduler.clone()),
            engine: self.engine.clone().filter(|name| !name.is_empty()),
            flags: FlagChange::exactly(self.flags),
            timeout: self.timeout,
            netmask: self.netmask,
        }
    }

    fn destination_settings(&self) -> DestinationSettings {
        DestinationSettings {
            method: self.method,
            weight: self.weight,
            upper_threshold: self.upper_threshold,
            lower_threshold: self.lower_threshold,
            tunnel: Tunnel {
                kind: match self.encapsulation {
                    Encapsulation::Ipip => TunnelType::Ipip,
                    Encapsulation::Gue => TunnelType::Gue,
                    Encapsulation::Gre => TunnelType::Gre,
                },
                port: self.tunnel_port,
                flags: self.tunnel_flags,
            },
        }
    }

    fn format(&self) -> Format {
        let given = |subject| self.given.contains(&subject);
        Format {
            numeric: given(Subject::Numeric),
            stats: given(Subject::Stats),
            rate: given(Subject::Rate),
            thresholds: given(Subject::Thresholds),
            persistent: given(Subject::PersistentConn),
            tunnels: given(Subject::TunnelInfo),
            exact: given(Subject::Exact),
            unsorted: given(Subject::NoSort),
            json: given(Subject::Json),
        }
    }

    fn topic(&self) -> Topic {
        let topics = [
            (Subject::Connection, Topic::Connections),
            (Subject::Service, Topic::Service(self.key())),
            (Subject::Timeout, Topic::Timeouts),
            (Subject::Daemon, Topic::Daemons),
        ];
        let chosen = topics
            .into_iter()
            .find(|(subject, _)| self.given.contains(subject));
        chosen.map_or(Topic::Services, |(_, topic)| topic)
    }

    fn command(self) -> Result<Command, Failure> {
        let key = self.key();
        let server = self.server.unwrap_or(DestinationKey {
            addr: Ipv6Addr::UNSPECIFIED.into(),
            port: 0,
        });
        let request = match self.verb {
            Verb::List => return Ok(Command::List(self.topic(), self.format())),
            Verb::Save => {
                return Ok(Command::Save {
                    numeric: self.format().numeric,
                });
            }
            Verb::Restore => return Ok(Command::Restore),
            Verb::AddService => Request::NewService(key, self.settings()),
            Verb::EditService => Request::SetService(key, self.settings()),
            Verb::DeleteService => Request::DeleteService(key),
            Verb::AddServer => Request::NewDestination(key, server, self.destination_settings()),
            Verb::EditServer => Request::SetDestination(key, server, self.destination_settings()),
            Verb::DeleteServer => Request::DeleteDestination(key, server),
            Verb::Flush => Request::Flush,
            Verb::Zero if self.given.contains(&Subject::Service) => Request::Zero(Some(key)),
            Verb::Zero => Request::Zero(None),
            Verb::SetTimeouts => Request::SetTimeouts(self.timeouts),
            Verb::StopDaemon => Request::DeleteDaemon(self.daemon.role),
            Verb::StartDaemon => {
                let mut daemon = self.daemon;
                if daemon.interface.is_empty() {
                    DEFAULT_INTERFACE.clone_into(&mut daemon.interface);
                }
                Request::NewDaemon(daemon)
            }
        };
        Ok(Command::Change(request))
    }
}

/// A timeout in seconds, up to 31 days.
fn timeout(value: &str, least: i64) -> Result<u32, Failure> {
    match values::number(value, least..=MAX_TIMEOUT) {
        Some(seconds) => Ok(seconds as u32),
        None => tool(format!("invalid timeout value `{value}' specified")),
    }
}

/// A multicast group; a colon makes it IPv6.
fn group(value: &str) -> Result<IpAddr, Failure> {
    let (parsed, family) = if value.contains(':') {
        (value.parse().ok().map(IpAddr::V6), 6)
    } else {
        (value.parse().ok().map(IpAddr::V4), 4)
    };
    match parsed.filter(|addr| addr.is_multicast()) {
        Some(addr) => Ok(addr),
        None => tool(format!("invalid IPv{family} mcast-group `{value}'")),
    }
}

/// At most `max` bytes of a name, cut at a character.
fn shortened(name: &str, max: usize) -> String {
    name[..name.floor_char_boundary(max)].to_owned()
}
