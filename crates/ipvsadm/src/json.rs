//! Listings as JSON, of one shape whatever columns were asked for: `docs/ipvsadm.md` describes it.
//!
//! One object on one line. Numbers are whole and exact; addresses are numbers too, never names. Fields may be added, none
//! is taken away or given another meaning.

use std::io::{self, Write};
use std::net::IpAddr;

use lvsx_ipvs::{
    Destination, Family, ForwardingMethod, Info, Netmask, Service, ServiceFlags, ServiceKey, Stats,
    SyncDaemon, SyncRole, Timeouts, TunnelType,
};
use serde::Serialize;

use crate::connections::{self, Row};
use crate::failure::Failure;
use crate::{protocol, values};

/// `{"version": ..., "connection_table_size": ..., "services": [...]}`; the first two where all services are listed.
pub(crate) fn services<'a>(
    out: &mut impl Write,
    info: Option<&Info>,
    services: impl Iterator<Item = (&'a Service, &'a Vec<Destination>)>,
) -> io::Result<()> {
    let version = info.map(|info| {
        let [_, major, minor, patch] = info.version.to_be_bytes();
        format!("{major}.{minor}.{patch}")
    });
    let listed = JsonServices {
        version,
        connection_table_size: info.map(|info| info.connection_table_size),
        services: services.map(service).collect(),
    };
    write(out, &listed)
}

/// `{"connections": [...]}`, in the order of the text.
///
/// # Errors
/// The text is not of its form; then nothing is written.
pub(crate) fn connections(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    let rows = connections::rows(text).map(|row| row.map(connection));
    let connections = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(write(out, &JsonConnections { connections })?)
}

/// `{"timeouts": {...}}`, in seconds.
pub(crate) fn timeouts(out: &mut impl Write, timeouts: &Timeouts) -> io::Result<()> {
    let Timeouts { tcp, tcp_fin, udp } = *timeouts;
    let timeouts = JsonTimeouts {
        timeouts: JsonTimeout { tcp, tcp_fin, udp },
    };
    write(out, &timeouts)
}

/// `{"daemons": [...]}`.
pub(crate) fn daemons(out: &mut impl Write, daemons: &[SyncDaemon]) -> io::Result<()> {
    let daemons = daemons.iter().map(daemon).collect();
    write(out, &JsonDaemons { daemons })
}

fn write(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct JsonServices<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_table_size: Option<u32>,
    services: Vec<JsonService<'a>>,
}

#[derive(Serialize)]
struct JsonService<'a> {
    family: &'static str,
    protocol: Option<String>,
    address: Option<IpAddr>,
    port: Option<u16>,
    fwmark: Option<u32>,
    scheduler: Option<&'a str>,
    scheduler_flags: Vec<String>,
    persistence: Option<JsonPersistence>,
    engine: Option<&'a str>,
    one_packet: bool,
    #[serde(flatten)]
    counted: JsonStats,
    destinations: Vec<JsonDestination>,
}

#[derive(Serialize)]
struct JsonPersistence {
    timeout: u32,
    netmask: String,
}

#[derive(Serialize)]
struct JsonDestination {
    family: &'static str,
    address: IpAddr,
    port: u16,
    forwarding: &'static str,
    tunnel: Option<JsonTunnel>,
    weight: u32,
    upper_threshold: u32,
    lower_threshold: u32,
    active_connections: u32,
    inactive_connections: u32,
    persistent_connections: u32,
    #[serde(flatten)]
    counted: JsonStats,
}

#[derive(Serialize)]
struct JsonTunnel {
    #[serde(rename = "type")]
    kind: &'static str,
    port: Option<u16>,
    checksum: &'static str,
}

#[derive(Serialize)]
struct JsonStats {
    stats: JsonCounters,
    rates: JsonCounters,
}

#[derive(Serialize)]
struct JsonCounters {
    connections: u64,
    in_packets: u64,
    out_packets: u64,
    in_bytes: u64,
    out_bytes: u64,
}

#[derive(Serialize)]
struct JsonConnections<'a> {
    connections: Vec<JsonConnection<'a>>,
}

#[derive(Serialize)]
struct JsonConnection<'a> {
    protocol: String,
    state: &'a str,
    expires: u32,
    source: JsonEndpoint,
    #[serde(rename = "virtual")]
    virt: JsonEndpoint,
    destination: JsonEndpoint,
    engine: Option<&'a str>,
    engine_data: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonEndpoint {
    address: IpAddr,
    port: u16,
}

#[derive(Serialize)]
struct JsonTimeouts {
    timeouts: JsonTimeout,
}

#[derive(Serialize)]
struct JsonTimeout {
    tcp: u32,
    tcp_fin: u32,
    udp: u32,
}

#[derive(Serialize)]
struct JsonDaemons<'a> {
    daemons: Vec<JsonDaemon<'a>>,
}

#[derive(Serialize)]
struct JsonDaemon<'a> {
    role: &'static str,
    interface: &'a str,
    sync_id: u32,
    max_length: u16,
    group: Option<IpAddr>,
    port: u16,
    ttl: u8,
}

fn service<'a>((service, destinations): (&'a Service, &'a Vec<Destination>)) -> JsonService<'a> {
    let (protocol, address, port, fwmark) = match service.key {
        ServiceKey::Address {
            protocol,
            addr,
            port,
        } => {
            let name = protocol::name(protocol).map(str::to_owned);
            let name = name.unwrap_or_else(|| protocol.to_string());
            (Some(name), Some(addr), Some(port), None)
        }
        ServiceKey::Mark { mark, .. } => (None, None, None, Some(mark)),
    };
    let scheduler = service.scheduler.as_deref();
    let flags = values::scheduler_flag_names(scheduler, service.flags);
    let is_persistent = service.flags.contains(ServiceFlags::PERSISTENT);
    JsonService {
        family: family(service.key.family()),
        protocol,
        address,
        port,
        fwmark,
        scheduler,
        scheduler_flags: flags
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        persistence: is_persistent.then(|| JsonPersistence {
            timeout: service.timeout,
            netmask: match service.netmask {
                Netmask::V4(mask) => mask.to_string(),
                Netmask::V6(prefix) => prefix.to_string(),
            },
        }),
        engine: service.engine.as_deref(),
        one_packet: service.flags.contains(ServiceFlags::ONE_PACKET),
        counted: counted(&service.stats),
        destinations: destinations.iter().map(destination).collect(),
    }
}

fn destination(destination: &Destination) -> JsonDestination {
    let settings = &destination.settings;
    let tunnel = &settings.tunnel;
    let is_tunnel = settings.method == ForwardingMethod::Tunnel;
    JsonDestination {
        family: family(Family::of(&destination.key.addr)),
        address: destination.key.addr,
        port: destination.key.port,
        forwarding: match settings.method {
            ForwardingMethod::Masquerade => "masquerade",
            ForwardingMethod::Local => "local",
            ForwardingMethod::Tunnel => "tunnel",
            ForwardingMethod::DirectRouting => "route",
            ForwardingMethod::Bypass => "bypass",
            ForwardingMethod::Other(_) => "unknown",
        },
        tunnel: is_tunnel.then(|| JsonTunnel {
            kind: match tunnel.kind {
                TunnelType::Ipip => "ipip",
                TunnelType::Gue => "gue",
                TunnelType::Gre => "gre",
                TunnelType::Other(_) => "unknown",
            },
            port: Some(tunnel.port).filter(|_| tunnel.kind == TunnelType::Gue),
            checksum: match tunnel.flags {
                1 => "yes",
                2 => "remote",
                _ => "no",
            },
        }),
        weight: settings.weight,
        upper_threshold: settings.upper_threshold,
        lower_threshold: settings.lower_threshold,
        active_connections: destination.active,
        inactive_connections: destination.inactive,
        persistent_connections: destination.persistent,
        counted: counted(&destination.stats),
    }
}

const fn family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

const fn counted(stats: &Stats) -> JsonStats {
    JsonStats {
        stats: JsonCounters {
            connections: stats.connections,
            in_packets: stats.in_packets,
            out_packets: stats.out_packets,
            in_bytes: stats.in_bytes,
            out_bytes: stats.out_bytes,
        },
        rates: JsonCounters {
            connections: stats.connection_rate,
            in_packets: stats.in_packet_rate,
            out_packets: stats.out_packet_rate,
            in_bytes: stats.in_byte_rate,
            out_bytes: stats.out_byte_rate,
        },
    }
}

fn connection(row: Row<'_>) -> JsonConnection<'_> {
    let endpoint = |(address, port)| JsonEndpoint { address, port };
    let filled = |text| Some(text).filter(|text: &&str| !text.is_empty());
    JsonConnection {
        protocol: row.protocol.to_ascii_lowercase(),
        state: row.state,
        expires: row.expires,
        source: endpoint(row.client),
        virt: endpoint(row.virt),
        destination: endpoint(row.dest),
        engine: filled(row.engine),
        engine_data: filled(row.data),
    }
}

fn daemon(daemon: &SyncDaemon) -> JsonDaemon<'_> {
    JsonDaemon {
        role: match daemon.role {
            SyncRole::Master => "master",
            SyncRole::Backup => "backup",
        },
        interface: &daemon.interface,
        sync_id: daemon.sync_id,
        max_length: daemon.max_length,
        group: daemon.group,
        port: daemon.port,
        ttl: daemon.ttl,
    }
}
