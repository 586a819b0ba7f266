//! Whether a set-up can be on this machine, asked before anything is changed.

use std::net::IpAddr;

use super::{LOOPBACK, Setup};
use crate::{Error, Network, Prefix, Result};

impl Setup {
    /// Says why the set-up cannot be on this machine, and the cure.
    ///
    /// # Errors
    /// [`Error::Unfit`] for a virtual address that no service can have or that is the server's own,
    /// for a gateway that is not on one of its networks; [`Error::NoInterface`].
    pub fn fits(&self, network: &Network) -> Result<()> {
        let address = self.virtual_address();
        let unfit = |text: String| Err(Error::Unfit(text));
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return unfit(format!(
                "{address} cannot be a virtual address: name the address that clients connect to"
            ));
        }
        if let Some((iface, own)) = own_address(network, address)? {
            return unfit(if iface == LOOPBACK {
                format!(
                    "{own} is on lo, which makes all of that network this server's own: `ip addr del {own} dev lo`, then again"
                )
            } else {
                format!(
                    "{address} is this server's own address, on {iface}: the virtual address is the director's; \
                     was it put there by mistake, `ip addr del {own} dev {iface}`"
                )
            });
        }
        match self {
            Self::Masquerade { gateway, .. } => fits_as_gateway(*gateway, address, network),
            Self::DirectRouting { .. } => Ok(()),
            Self::Tunnel { iface, .. } => network.index(iface).map(|_| ()),
        }
    }
}

/// Where the address stands in a way that a silent virtual address does not: on a card, or on lo
/// with a network.
fn own_address(network: &Network, address: IpAddr) -> Result<Option<(String, Prefix)>> {
    let addresses = network.addresses()?;
    Ok(addresses.into_iter().find(|(iface, own)| {
        let silent = iface == LOOPBACK || iface == crate::network::TUNNEL;
        own.address == address && !(silent && *own == Prefix::host(address))
    }))
}

fn fits_as_gateway(gateway: IpAddr, virtual_address: IpAddr, network: &Network) -> Result<()> {
    let addresses = network.addresses()?;
    let text = if gateway.is_ipv4() != virtual_address.is_ipv4() {
        format!(
            "the gateway {gateway} and the virtual address {virtual_address} are not of one family"
        )
    } else if addresses.iter().any(|(_, own)| own.address == gateway) {
        format!(
            "{gateway} is this server itself: the gateway is the director's address on the servers' network"
        )
    } else if !addresses.iter().any(|(_, own)| own.holds(gateway)) {
        let mut own: Vec<_> = addresses
            .iter()
            .filter(|(iface, own)| iface != LOOPBACK && own.address.is_ipv4() == gateway.is_ipv4())
            .map(|(_, own)| own.to_string())
            .collect();
        own.sort();
        format!(
            "{gateway} is on none of this server's networks ({}): the gateway is the director's address on one of them",
            own.join(", ")
        )
    } else {
        return Ok(());
    };
    Err(Error::Unfit(text))
}
