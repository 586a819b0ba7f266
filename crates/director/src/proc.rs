//! The files that IPVS has under `/proc/net`, byte for byte as a kernel writes them (Linux 6.1).

use crate::clock::Clock;
use crate::connections::{self, Connection};
use crate::control::Control;
use crate::tables::Tables;
use lvsx_core::conn::LINGER;
use lvsx_core::state::{TCP, UDP};
use lvsx_ipvs::{
    Destination, Director, ForwardingMethod, Netmask, Service, ServiceFlags, ServiceKey, Stats,
};
use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The file called `name`. `None`: IPVS has none of this name.
#[must_use]
pub fn text(control: &Control, name: &str) -> Option<Vec<u8>> {
    let mut text = String::new();
    let written = match name {
        "ip_vs" => services(control, &mut text),
        "ip_vs_conn" => conn(control.tables(), control.clock(), &mut text),
        "ip_vs_conn_sync" => conn_sync(control, &mut text),
        "ip_vs_stats" => stats(&control.total(), &mut text),
        "ip_vs_stats_percpu" => stats_percpu(control, &mut text),
        "ip_vs_app" => writeln!(text, "prot port    usecnt name"),
        _ => return None,
    };
    // A String takes everything.
    written.ok().map(|()| text.into_bytes())
}

fn services(control: &Control, text: &mut String) -> fmt::Result {
    let size = control.info().connection_table_size;
    writeln!(text, "IP Virtual Server version 1.2.1 (size={size})")?;
    writeln!(text, "Prot LocalAddress:Port Scheduler Flags")?;
    writeln!(
        text,
        "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn"
    )?;
    for service in control.services() {
        service_line(control, &service, text)?;
        for destination in control.destinations(&service.key).unwrap_or_default() {
            destination_line(&destination, text)?;
        }
    }
    Ok(())
}

fn service_line(control: &Control, service: &Service, text: &mut String) -> fmt::Result {
    let scheduler = service.scheduler.as_deref().unwrap_or("none");
    let ops = if service.flags.contains(ServiceFlags::ONE_PACKET) {
        "ops "
    } else {
        ""
    };
    match &service.key {
        ServiceKey::Address {
            protocol,
            addr: IpAddr::V4(addr),
            port,
        } => {
            let protocol = protocol_name(*protocol);
            write!(
                text,
                "{protocol}  {:08X}:{port:04X} {scheduler} {ops} ",
                addr.to_bits()
            )?;
        }
        ServiceKey::Address {
            protocol,
            addr: IpAddr::V6(addr),
            port,
        } => {
            let (protocol, addr) = (protocol_name(*protocol), Groups(*addr));
            write!(text, "{protocol}  [{addr}]:{port:04X} {scheduler} ")?;
        }
        ServiceKey::Mark { mark, .. } => write!(text, "FWM  {mark:08X} {scheduler} {ops}")?,
    }
    if service.flags.contains(ServiceFlags::PERSISTENT) {
        let jiffies = u64::from(service.timeout) * u64::from(control.clock().rate.hz);
        let mask = match service.netmask {
            Netmask::V4(mask) => mask.to_bits(),
            Netmask::V6(prefix) => prefix.swap_bytes(),
        };
        write!(text, "persistent {jiffies} {mask:08X}")?;
    }
    writeln!(text)
}

fn destination_line(destination: &Destination, text: &mut String) -> fmt::Result {
    let method = match destination.settings.method {
        ForwardingMethod::Local => "Local",
        ForwardingMethod::Tunnel => "Tunnel",
        ForwardingMethod::DirectRouting => "Route",
        ForwardingMethod::Masquerade | ForwardingMethod::Bypass | ForwardingMethod::Other(_) => {
            "Masq"
        }
    };
    match destination.key.addr {
        IpAddr::V4(addr) => write!(text, "  -> {:08X}", addr.to_bits())?,
        IpAddr::V6(addr) => write!(text, "  -> [{}]", Groups(addr))?,
    }
    let (weight, active, inactive) = (
        destination.settings.weight,
        destination.active,
        destination.inactive,
    );
    writeln!(
        text,
        ":{:04X}      {method:<7} {weight:<6} {active:<10} {inactive:<10}",
        destination.key.port
    )
}

/// The file `ip_vs_conn`, which needs the tables alone: so it can be written beside the director.
#[must_use]
pub fn connections(tables: &Tables, clock: Clock) -> Vec<u8> {
    let mut text = String::new();
    // A String takes everything.
    let _ = conn(tables, clock, &mut text);
    text.into_bytes()
}

fn conn(tables: &Tables, clock: Clock, text: &mut String) -> fmt::Result {
    writeln!(
        text,
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData"
    )?;
    let lingers = clock.rate.ticks(LINGER);
    connections::live(tables, clock.now(), lingers).try_for_each(|connection| {
        ends(&connection, text)?;
        writeln!(text, " {:>7}", clock.rate.seconds(connection.left))
    })
}

fn conn_sync(control: &Control, text: &mut String) -> fmt::Result {
    writeln!(
        text,
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires"
    )?;
    let clock = control.clock();
    connections::live(control.tables(), clock.now(), clock.rate.ticks(LINGER)).try_for_each(
        |connection| {
            ends(&connection, text)?;
            writeln!(
                text,
                " {:<6} {:>7}",
                "LOCAL",
                clock.rate.seconds(connection.left)
            )
        },
    )
}

/// A connection up to its state.
fn ends(connection: &Connection, text: &mut String) -> fmt::Result {
    write!(text, "{:<3}", protocol_name(connection.protocol.into()))?;
    for end in [connection.client, connection.virt, connection.dest] {
        write!(text, " {}", End(end))?;
    }
    let state = if connection.is_template {
        connection.state.template_name()
    } else {
        connection.state.name(connection.protocol)
    };
    write!(text, " {state:<11}")
}

fn stats(total: &Stats, text: &mut String) -> fmt::Result {
    writeln!(
        text,
        "   Total Incoming Outgoing         Incoming         Outgoing"
    )?;
    writeln!(
        text,
        "   Conns  Packets  Packets            Bytes            Bytes"
    )?;
    writeln!(text, "{}\n", Row(counters(total)))?;
    writeln!(
        text,
        " Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s"
    )?;
    writeln!(text, "{}", Row(rates(total)))
}

/// The row behind the last CPU is the director's own: what it handles itself it counts there.
fn stats_percpu(control: &Control, text: &mut String) -> fmt::Result {
    let cpus = 0..=control.tables().capacity.cpus;
    let rows = cpus
        .map(|cpu| control.total_of_cpu(cpu))
        .collect::<Vec<_>>();
    percpu_rows(&rows, &control.total(), text)
}

fn percpu_rows(rows: &[Stats], total: &Stats, text: &mut String) -> fmt::Result {
    writeln!(
        text,
        "       Total Incoming Outgoing         Incoming         Outgoing"
    )?;
    writeln!(
        text,
        "CPU    Conns  Packets  Packets            Bytes            Bytes"
    )?;
    for (cpu, counted) in rows.iter().enumerate() {
        writeln!(text, "{cpu:>3X} {}", Row(counters(counted)))?;
    }
    writeln!(text, "  ~ {}\n", Row(counters(total)))?;
    writeln!(
        text,
        "     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s"
    )?;
    writeln!(text, "    {}", Row(rates(total)))
}

fn counters(stats: &Stats) -> [u64; 5] {
    [
        stats.connections,
        stats.in_packets,
        stats.out_packets,
        stats.in_bytes,
        stats.out_bytes,
    ]
}

fn rates(stats: &Stats) -> [u64; 5] {
    [
        stats.connection_rate,
        stats.in_packet_rate,
        stats.out_packet_rate,
        stats.in_byte_rate,
        stats.out_byte_rate,
    ]
}

/// Five numbers as `ip_vs_stats` prints them.
struct Row([u64; 5]);

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e] = self.0;
        write!(f, "{a:>8X} {b:>8X} {c:>8X} {d:>16X} {e:>16X}")
    }
}

/// Address and port as `ip_vs_conn` prints them.
struct End(SocketAddr);

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip() {
            IpAddr::V4(addr) => write!(f, "{:08X}", addr.to_bits())?,
            IpAddr::V6(addr) => write!(f, "{}", Groups(addr))?,
        }
        write!(f, " {:04X}", self.0.port())
    }
}

/// An IPv6 address in full.
struct Groups(Ipv6Addr);

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, group) in self.0.segments().iter().enumerate() {
            write!(f, "{}{group:04x}", if place == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

fn protocol_name(protocol: u16) -> String {
    match protocol {
        0 => "IP".to_owned(),
        1 => "ICMP".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        number if number == u16::from(TCP) => "TCP".to_owned(),
        number if number == u16::from(UDP) => "UDP".to_owned(),
        number => format!("IP_{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stats_read_as_a_kernel_wrote_them() {
        let total = Stats {
            connections: 0xc,
            in_packets: 0x1b,
            out_packets: 0x15,
            in_bytes: 0x495,
            out_bytes: 0x518,
            connection_rate: 1,
            in_packet_rate: 2,
            out_packet_rate: 1,
            in_byte_rate: 0x50,
            out_byte_rate: 0x51,
        };
        let mut text = String::new();
        stats(&total, &mut text).expect("a String takes everything");
        let expected = concat!(
            "   Total Incoming Outgoing         Incoming         Outgoing\n",
            "   Conns  Packets  Packets            Bytes            Bytes\n",
            "       C       1B       15              495              518\n",
            "\n",
            " Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n",
            "       1        2        1               50               51\n",
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn the_director_has_a_row_of_its_own_behind_the_cpus() {
        let row = |connections| Stats {
            connections,
            ..Stats::default()
        };
        let mut text = String::new();
        percpu_rows(&[row(1), row(2)], &row(3), &mut text).expect("a String takes everything");
        let expected = concat!(
            "       Total Incoming Outgoing         Incoming         Outgoing\n",
            "CPU    Conns  Packets  Packets            Bytes            Bytes\n",
            "  0        1        0        0                0                0\n",
            "  1        2        0        0                0                0\n",
            "  ~        3        0        0                0                0\n",
            "\n",
            "     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n",
            "           0        0        0                0                0\n",
        );
        assert_eq!(text, expected);
    }
}
