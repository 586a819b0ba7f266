//! Services and servers as people write them.

use lvsx_ipvs::{DestinationKey, Family, ServiceKey};
use std::net::SocketAddr;

const PROTOCOLS: [(&str, u16); 3] = [("tcp", 6), ("udp", 17), ("sctp", 132)];

/// Reads `tcp 192.0.2.1:80`, `udp [2001:db8::1]:53`, `mark 7` or `mark 7 ipv6`.
///
/// # Errors
/// What is wrong, and how it is written.
pub fn parse_service(text: &str) -> Result<ServiceKey, String> {
    let wrong = || {
        format!(
            "`{text}` is no service: write it as \"tcp 192.0.2.1:80\", \"udp [2001:db8::1]:53\", \"mark 7\" or \"mark 7 ipv6\""
        )
    };
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match words[..] {
        ["mark", mark] | ["mark", mark, "ipv4"] => mark_service(mark, Family::V4),
        ["mark", mark, "ipv6"] => mark_service(mark, Family::V6),
        [protocol, end] => {
            let named = PROTOCOLS.iter().find(|(name, _)| *name == protocol);
            let protocol = named
                .map(|(_, number)| *number)
                .or_else(|| protocol.parse().ok());
            let end: Option<SocketAddr> = end.parse().ok();
            protocol
                .zip(end)
                .map(|(protocol, end)| ServiceKey::Address {
                    protocol,
                    addr: end.ip(),
                    port: end.port(),
                })
        }
        _ => None,
    }
    .ok_or_else(wrong)
}

fn mark_service(mark: &str, family: Family) -> Option<ServiceKey> {
    let mark = mark.parse().ok().filter(|mark| *mark != 0)?;
    Some(ServiceKey::Mark { family, mark })
}

/// A service as [`parse_service`] reads it.
#[must_use]
pub fn display_service(key: &ServiceKey) -> String {
    match key {
        ServiceKey::Address {
            protocol,
            addr,
            port,
        } => {
            let end = SocketAddr::new(*addr, *port);
            match PROTOCOLS.iter().find(|(_, number)| number == protocol) {
                Some((name, _)) => format!("{name} {end}"),
                None => format!("{protocol} {end}"),
            }
        }
        ServiceKey::Mark {
            family: Family::V4,
            mark,
        } => format!("mark {mark}"),
        ServiceKey::Mark {
            family: Family::V6,
            mark,
        } => format!("mark {mark} ipv6"),
    }
}

/// Reads `192.0.2.1:80` or `[2001:db8::1]:80`.
///
/// # Errors
/// What is wrong, and how it is written.
pub fn parse_destination(text: &str) -> Result<DestinationKey, String> {
    let end: SocketAddr = text.parse().map_err(|_| {
        format!("`{text}` is no server: write its address and port, as in \"192.0.2.1:80\" or \"[2001:db8::1]:80\"")
    })?;
    Ok(DestinationKey {
        addr: end.ip(),
        port: end.port(),
    })
}
