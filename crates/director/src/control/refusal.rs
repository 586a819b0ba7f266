//! What this version cannot do: refused as a whole, never done by halves.

use crate::config::{DestinationConfig, ServiceConfig};
use lvsx_ipvs::{Errno, Family, ForwardingMethod, ServiceFlags, ServiceKey, TunnelType};
use std::net::IpAddr;

fn refuse(what: &str) -> Result<(), Errno> {
    tracing::warn!("refused: {what} not offered by this version");
    Err(Errno::EOPNOTSUPP)
}

/// Refuses services that packets could not be served by.
///
/// # Errors
/// `EOPNOTSUPP`, with a log line that names what is missing.
pub(super) fn of_service(service: &ServiceConfig) -> Result<(), Errno> {
    match service.key {
        ServiceKey::Mark { .. } => refuse("services by firewall mark are")?,
        ServiceKey::Address { protocol, .. } if protocol > 255 => {
            refuse("protocol numbers above 255 are")?
        }
        ServiceKey::Address { .. } => {}
    }
    if service.key.family() == Family::V6 {
        refuse("IPv6 services are")?;
    }
    if service.flags.contains(ServiceFlags::PERSISTENT) {
        refuse("persistent services are")?;
    }
    if service.flags.contains(ServiceFlags::ONE_PACKET) {
        refuse("one-packet scheduling is")?;
    }
    Ok(())
}

/// Refuses destinations that packets could not be sent to.
///
/// # Errors
/// `EOPNOTSUPP`, with a log line that names what is missing.
pub(super) fn of_destination(destination: &DestinationConfig) -> Result<(), Errno> {
    let settings = &destination.settings;
    if matches!(destination.key.addr, IpAddr::V6(_)) {
        refuse("IPv6 destinations are")?;
    }
    if settings.method == ForwardingMethod::Tunnel && settings.tunnel.kind != TunnelType::Ipip {
        refuse("tunnels other than IP in IP are")?;
    }
    if settings.tunnel.flags > 255 {
        refuse("tunnel flags above 255 are")?;
    }
    Ok(())
}
