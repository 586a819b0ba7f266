//! What this version cannot do: refused as a whole, never done by halves.

use crate::config::{DestinationConfig, ServiceConfig};
use lvsx_ipvs::{Errno, ForwardingMethod, Refused, ServiceKey, TunnelType};

fn refuse(what: &str) -> Result<(), Refused> {
    let why = format!("{what} not offered by this version");
    tracing::warn!("refused: {why}");
    Err(Refused::new(Errno::EOPNOTSUPP, why))
}

/// Refuses services that packets could not be served by.
///
/// # Errors
/// `EOPNOTSUPP`, with a log line that names what is missing.
pub(super) fn of_service(service: &ServiceConfig) -> Result<(), Refused> {
    match service.key {
        ServiceKey::Address { protocol, .. } if protocol > 255 => {
            refuse("protocol numbers above 255 are")
        }
        _ => Ok(()),
    }
}

/// Refuses destinations that packets could not be sent to.
///
/// # Errors
/// `EOPNOTSUPP`, with a log line that names what is missing.
pub(super) fn of_destination(destination: &DestinationConfig) -> Result<(), Refused> {
    let settings = &destination.settings;
    if settings.method == ForwardingMethod::Tunnel
        && let TunnelType::Other(_) = settings.tunnel.kind
    {
        refuse("tunnels other than ipip, gue and gre are")?;
    }
    if settings.tunnel.flags > 255 {
        refuse("tunnel flags above 255 are")?;
    }
    Ok(())
}
