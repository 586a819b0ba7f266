//! Listings of services and destinations, column by column as ipvsadm 1.31 prints them.

use std::io::{self, Write};
use std::net::IpAddr;

use lvsx_ipvs::{
    Destination, Family, ForwardingMethod, Netmask, Service, ServiceFlags, ServiceKey, Stats,
    SyncDaemon, SyncRole, Timeouts, TunnelType,
};

use crate::columns::Line;
use crate::line::Format;
use crate::{names, protocol, values};

/// IPv4 destinations with long names are cut at this many characters, services at the other.
const DESTINATION_WIDTH: usize = 28;
const SERVICE_WIDTH: usize = 33;

/// Which columns stand behind a destination. Where several are asked for, the first of these wins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Columns {
    Stats,
    Rate,
    Thresholds,
    Persistent,
    Tunnels,
    Plain,
}

impl Columns {
    const fn of(format: &Format) -> Self {
        if format.stats {
            Self::Stats
        } else if format.rate {
            Self::Rate
        } else if format.thresholds {
            Self::Thresholds
        } else if format.persistent {
            Self::Persistent
        } else if format.tunnels {
            Self::Tunnels
        } else {
            Self::Plain
        }
    }
}

/// The two lines above a table.
pub(crate) fn title(out: &mut impl Write, format: &Format) -> io::Result<()> {
    let left = "Prot LocalAddress:Port";
    match Columns::of(format) {
        Columns::Stats => {
            let [a, b, c, d, e] = ["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"];
            writeln!(out, "{left:<33} {a:>8} {b:>8} {c:>8} {d:>8} {e:>8}")?;
        }
        Columns::Rate => {
            let [a, b, c, d, e] = ["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"];
            writeln!(out, "{left:<33} {a:>8} {b:>8} {c:>8} {d:>8} {e:>8}")?;
        }
        Columns::Thresholds => {
            let [a, b, c, d] = ["Uthreshold", "Lthreshold", "ActiveConn", "InActConn"];
            writeln!(out, "{left:<33} {a:<10} {b:<10} {c:<10} {d:<10}")?;
        }
        Columns::Persistent => {
            let [a, b, c, d] = ["Weight", "PersistConn", "ActiveConn", "InActConn"];
            writeln!(out, "{left:<33} {a:<9} {b:<11} {c:<10} {d:<10}")?;
        }
        Columns::Tunnels | Columns::Plain => writeln!(out, "{left} Scheduler Flags")?,
    }
    out.write_all(b"  -> RemoteAddress:Port")?;
    match Columns::of(format) {
        Columns::Tunnels => {
            out.write_all(b"           Forward TunnelInfo    Weight ActiveConn InActConn")?;
        }
        Columns::Plain => out.write_all(b"           Forward Weight ActiveConn InActConn")?,
        _ => {}
    }
    out.write_all(b"\n")
}

/// A service and its destinations.
pub(crate) fn service(
    out: &mut impl Write,
    service: &Service,
    destinations: &[Destination],
    format: &Format,
) -> io::Result<()> {
    let name = service_name(&service.key, format.numeric);
    match Columns::of(format) {
        Columns::Stats | Columns::Rate => {
            write!(out, "{name:<33}")?;
            for value in numbers(&service.stats, format.stats) {
                out.write_all(large(value, format.exact).as_bytes())?;
            }
        }
        _ => {
            write!(
                out,
                "{name} {}",
                service.scheduler.as_deref().unwrap_or("none")
            )?;
            service_flags(out, service)?;
        }
    }
    out.write_all(b"\n")?;
    let protocol = match service.key {
        ServiceKey::Address { protocol, .. } => protocol,
        ServiceKey::Mark { .. } => 0,
    };
    let mut line = Line::default();
    destinations
        .iter()
        .try_for_each(|it| destination(out, &mut line, it, protocol, format))
}

/// How a service is called in a table.
fn service_name(key: &ServiceKey, numeric: bool) -> String {
    let (protocol, addr, port) = match *key {
        ServiceKey::Mark {
            mark,
            family: Family::V4,
        } => return format!("FWM  {}", mark as i32),
        ServiceKey::Mark {
            mark,
            family: Family::V6,
        } => {
            return format!("FWM  {} IPv6", mark as i32);
        }
        ServiceKey::Address {
            protocol,
            addr,
            port,
        } => (protocol, addr, port),
    };
    let word = match protocol {
        protocol::TCP => "TCP",
        protocol::UDP => "UDP",
        protocol::SCTP => "SCTP",
        _ => "?",
    };
    let name = format!(
        "{word:<4} {}",
        names::endpoint(addr, port, protocol, numeric)
    );
    cut(name, &addr, SERVICE_WIDTH)
}

fn cut(mut name: String, addr: &IpAddr, width: usize) -> String {
    if addr.is_ipv4() {
        name.truncate(name.floor_char_boundary(width));
    }
    name
}

fn service_flags(out: &mut impl Write, service: &Service) -> io::Result<()> {
    let names = values::scheduler_flag_names(service.scheduler.as_deref(), service.flags);
    if !names.is_empty() {
        write!(out, " ({names})")?;
    }
    if service.flags.contains(ServiceFlags::PERSISTENT) {
        write!(out, " persistent {}", service.timeout)?;
        if let Some(mask) = partial_mask(service) {
            write!(out, " mask {mask}")?;
        }
        if let Some(engine) = &service.engine {
            write!(out, " pe {engine}")?;
        }
    }
    if service.flags.contains(ServiceFlags::ONE_PACKET) {
        out.write_all(b" ops")?;
    }
    Ok(())
}

/// The mask of persistence, where it is not that of a single client.
pub(crate) fn partial_mask(service: &Service) -> Option<String> {
    if service.netmask == Netmask::host(service.key.family()) {
        return None;
    }
    Some(match service.netmask {
        Netmask::V4(mask) => mask.to_string(),
        Netmask::V6(prefix) => prefix.to_string(),
    })
}

fn destination(
    out: &mut impl Write,
    line: &mut Line,
    destination: &Destination,
    protocol: u16,
    format: &Format,
) -> io::Result<()> {
    let Destination {
        key,
        settings,
        active,
        inactive,
        persistent,
        stats,
    } = destination;
    line.text("  -> ");
    if format.numeric && key.addr.is_ipv4() {
        line.column(DESTINATION_WIDTH, |it| {
            names::put_endpoint(it, key.addr, key.port, protocol, true);
        });
    } else {
        let name = names::endpoint(key.addr, key.port, protocol, format.numeric);
        line.text_column(DESTINATION_WIDTH, &cut(name, &key.addr, DESTINATION_WIDTH));
    }
    let weight = settings.weight as i32;
    let counts = |line: &mut Line| {
        for count in [active, inactive] {
            line.text(" ").column(10, |it| {
                it.number(*count);
            });
        }
    };
    let method = |line: &mut Line| {
        line.text(" ").column(7, |it| {
            it.text(method(settings.method));
        });
    };
    let column = |line: &mut Line, width, number: i64| {
        line.text(" ").column(width, |it| {
            it.number(number);
        });
    };
    match Columns::of(format) {
        Columns::Stats => {
            for value in numbers(stats, true) {
                line.text(&large(value, format.exact));
            }
        }
        Columns::Rate => {
            let [connections, in_packets, out_packets, in_bytes, out_bytes] = numbers(stats, false);
            let packets = format!(" {connections:>8} {in_packets:>8} {out_packets:>8}");
            line.text(&packets)
                .text(&large(in_bytes, format.exact))
                .text(&large(out_bytes, format.exact));
        }
        Columns::Thresholds => {
            column(line, 10, settings.upper_threshold.into());
            column(line, 10, settings.lower_threshold.into());
            counts(line);
        }
        Columns::Persistent => {
            column(line, 9, weight.into());
            column(line, 11, (*persistent).into());
            counts(line);
        }
        Columns::Tunnels => {
            method(line);
            line.text(" ").column(13, |it| {
                it.text(&tunnel(destination));
            });
            column(line, 6, weight.into());
            counts(line);
        }
        Columns::Plain => {
            method(line);
            column(line, 6, weight.into());
            counts(line);
        }
    }
    line.end(out)
}

const fn method(method: ForwardingMethod) -> &'static str {
    match method {
        ForwardingMethod::Masquerade => "Masq",
        ForwardingMethod::Local => "Local",
        ForwardingMethod::Tunnel => "Tunnel",
        ForwardingMethod::DirectRouting => "Route",
        // As the C library prints the name that ipvsadm does not have.
        ForwardingMethod::Bypass | ForwardingMethod::Other(_) => "(null)",
    }
}

/// Type, port and checksum of a tunnel in short.
fn tunnel(destination: &Destination) -> String {
    let tunnel = &destination.settings.tunnel;
    if destination.settings.method != ForwardingMethod::Tunnel {
        return "n/a".to_owned();
    }
    let checksum = match tunnel.flags {
        1 => "+c",
        2 => "r+c",
        _ => "-c",
    };
    match tunnel.kind {
        TunnelType::Ipip => "ipip".to_owned(),
        TunnelType::Gue => format!("gue:{}:{checksum}", tunnel.port),
        TunnelType::Gre => format!("gre:{checksum}"),
        TunnelType::Other(_) => "n/a".to_owned(),
    }
}

/// The five counters, or the five rates.
const fn numbers(stats: &Stats, counters: bool) -> [u64; 5] {
    if counters {
        [
            stats.connections,
            stats.in_packets,
            stats.out_packets,
            stats.in_bytes,
            stats.out_bytes,
        ]
    } else {
        [
            stats.connection_rate,
            stats.in_packet_rate,
            stats.out_packet_rate,
            stats.in_byte_rate,
            stats.out_byte_rate,
        ]
    }
}

/// A number in nine columns, in thousands, millions and so on where it is long.
fn large(value: u64, exact: bool) -> String {
    const K: u64 = 1_000;
    const M: u64 = 1_000 * K;
    const G: u64 = 1_000 * M;
    const T: u64 = 1_000 * G;
    match value {
        _ if exact => format!(" {value:>8}"),
        0..100_000_000 => format!("{value:>9}"),
        100_000_000..1_000_000_000 => format!("{:>8}K", value / K),
        1_000_000_000..100_000_000_000 => format!("{:>8}M", value / M),
        100_000_000_000..100_000_000_000_000 => format!("{:>8}G", value / G),
        _ => format!("{:>8}T", value / T),
    }
}

/// The line of the timeouts.
pub(crate) fn timeouts(out: &mut impl Write, timeouts: &Timeouts) -> io::Result<()> {
    let Timeouts { tcp, tcp_fin, udp } = timeouts;
    writeln!(out, "Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}")
}

/// A line a sync daemon.
pub(crate) fn daemons(out: &mut impl Write, daemons: &[SyncDaemon]) -> io::Result<()> {
    for daemon in daemons {
        let role = match daemon.role {
            SyncRole::Master => "master",
            SyncRole::Backup => "backup",
        };
        let SyncDaemon {
            interface, sync_id, ..
        } = daemon;
        write!(
            out,
            "{role} sync daemon (mcast={interface}, syncid={sync_id}"
        )?;
        if daemon.max_length != 0 {
            write!(out, ", maxlen={}", daemon.max_length)?;
        }
        if let Some(group) = daemon.group {
            write!(out, ", group={group}")?;
        }
        if daemon.port != 0 {
            write!(out, ", port={}", daemon.port)?;
        }
        if daemon.ttl != 0 {
            write!(out, ", ttl={}", daemon.ttl)?;
        }
        writeln!(out, ")")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_shortened_unless_exact() {
        assert_eq!(large(99_999_999, false), " 99999999");
        assert_eq!(large(100_000_000, false), "  100000K");
        assert_eq!(large(1_000_000_000, false), "    1000M");
        assert_eq!(large(100_000_000_000, false), "     100G");
        assert_eq!(large(100_000_000_000_000, false), "     100T");
        assert_eq!(large(12_345_678, true), " 12345678");
        assert_eq!(large(123_456_789, true), " 123456789");
    }
}
