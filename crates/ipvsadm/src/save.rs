//! The table as command lines, for `-R` to read.

use std::io::{self, Write};

use lvsx_ipvs::{
    Destination, DestinationSettings, Family, ForwardingMethod, Service, ServiceFlags, ServiceKey,
    TunnelType,
};

use crate::columns::Line;
use crate::{listing, names, protocol, values};

/// A service and its destinations, a line each. What no option can say is left out and noted.
pub(crate) fn service(
    out: &mut impl Write,
    notes: &mut impl Write,
    service: &Service,
    destinations: &[Destination],
    numeric: bool,
) -> io::Result<()> {
    let protocol = match service.key {
        ServiceKey::Address { protocol, .. } => protocol,
        ServiceKey::Mark { .. } => 0,
    };
    let Some(name) = service_option(&service.key, numeric) else {
        return writeln!(
            notes,
            "left out: a service of protocol {protocol}, which has no option"
        );
    };
    write!(
        out,
        "-A {name} -s {}",
        service.scheduler.as_deref().unwrap_or("none")
    )?;
    if service.flags.contains(ServiceFlags::PERSISTENT) {
        write!(out, " -p {}", service.timeout)?;
        if let Some(mask) = listing::partial_mask(service) {
            write!(out, " -M {mask}")?;
        }
    }
    if let Some(engine) = &service.engine {
        write!(out, " --pe {engine}")?;
    }
    if service.flags.contains(ServiceFlags::ONE_PACKET) {
        out.write_all(b" -o")?;
    }
    let flags = values::scheduler_flag_names(service.scheduler.as_deref(), service.flags);
    if !flags.is_empty() {
        write!(out, " -b {flags}")?;
    }
    out.write_all(b"\n")?;
    let mut line = Line::default();
    for listed in destinations {
        let key = &listed.key;
        if sayable(listed) {
            line.text("-a ").text(&name).text(" -r ");
            names::put_endpoint(&mut line, key.addr, key.port, protocol, numeric);
            destination(out, &mut line, listed)?;
        } else {
            let server = names::endpoint(key.addr, key.port, protocol, numeric);
            let reason = "its forwarding has no option";
            writeln!(notes, "left out: {name} -r {server}, as {reason}")?;
        }
    }
    Ok(())
}

/// Whether forwarding method and encapsulation have options. A server on the director itself has
/// none of its own, but comes back as one whatever is said.
const fn sayable(destination: &Destination) -> bool {
    match destination.settings.method {
        ForwardingMethod::Bypass | ForwardingMethod::Other(_) => false,
        ForwardingMethod::Tunnel => {
            !matches!(destination.settings.tunnel.kind, TunnelType::Other(_))
        }
        _ => true,
    }
}

/// The option that names a service; `None` for a protocol without one.
pub(crate) fn service_option(key: &ServiceKey, numeric: bool) -> Option<String> {
    Some(match *key {
        ServiceKey::Mark {
            mark,
            family: Family::V4,
        } => format!("-f {}", mark as i32),
        ServiceKey::Mark {
            mark,
            family: Family::V6,
        } => format!("-f {} -6", mark as i32),
        ServiceKey::Address {
            protocol,
            addr,
            port,
        } => {
            let option = match protocol {
                protocol::TCP => "-t",
                protocol::UDP => "-u",
                protocol::SCTP => "--sctp-service",
                _ => return None,
            };
            format!(
                "{option} {}",
                names::endpoint(addr, port, protocol, numeric)
            )
        }
    })
}

/// A destination's line: that of a server behind the words that name it and its service.
fn destination(out: &mut impl Write, line: &mut Line, destination: &Destination) -> io::Result<()> {
    let settings = &destination.settings;
    let method = match settings.method {
        ForwardingMethod::Masquerade => " -m -w ",
        ForwardingMethod::Tunnel => " -i -w ",
        _ => " -g -w ",
    };
    line.text(method)
        .number(settings.weight as i32)
        .text(&tunnel(settings).unwrap_or_default());
    line.end(out)
}

/// The options of an encapsulation, a blank before each; `None` for one that has no option.
pub(crate) fn tunnel(settings: &DestinationSettings) -> Option<String> {
    if settings.method != ForwardingMethod::Tunnel {
        return Some(String::new());
    }
    let checksum = match settings.tunnel.flags {
        1 => "--tun-csum",
        2 => "--tun-remcsum",
        _ => "--tun-nocsum",
    };
    match settings.tunnel.kind {
        TunnelType::Ipip => Some(" --tun-type ipip".to_owned()),
        TunnelType::Gue => {
            let port = settings.tunnel.port;
            Some(format!(" --tun-type gue --tun-port {port} {checksum}"))
        }
        TunnelType::Gre => Some(format!(" --tun-type gre {checksum}")),
        TunnelType::Other(_) => None,
    }
}
