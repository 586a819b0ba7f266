//! How each step is checked, applied and undone.

use std::net::IpAddr;

use rtnetlink::packet_route::neighbour::NeighbourMessage;

use crate::before::OldRoute;
use crate::network::{
    TUNNEL, descriptor, namespace_file, neighbour_address, own_namespace, permanent_mac,
};
use crate::{Before, Destination, Error, Network, Offload, Result, Step, decapsulation, sysctl};

impl Step {
    /// Whether it is so already.
    ///
    /// # Errors
    /// When an interface or namespace is missing, or the kernel refuses.
    pub fn check(&self, network: &Network) -> Result<bool> {
        match self {
            Self::AddAddress { iface, address, .. } => {
                Ok(network.address(iface, *address)?.is_some())
            }
            Self::LinkUp { iface } => network.is_up(iface),
            Self::AddRoute { destination, via } => match network.routes(*destination)?.first() {
                Some(route) => network.goes_via(route, via),
                None => Ok(false),
            },
            Self::SetSysctl { key, value } => Ok(sysctl::read(key)? == *value),
            Self::CreateTunnel => network.has_link(TUNNEL),
            Self::SetOffload { iface, features } => {
                features.iter().try_fold(true, |so, (feature, on)| {
                    Ok(so && feature.is_on(iface)? == *on)
                })
            }
            Self::AttachDecapsulation { iface, .. } => decapsulation::is_attached(network, iface),
            Self::LimitSegments {
                destination,
                iface,
                headers,
            } => network.announces_at_most(*destination, iface, *headers),
            Self::CreateVeth { name, .. } | Self::CreateBridge { name } => network.has_link(name),
            Self::JoinBridge { iface, bridge } => {
                Ok(network.bridge_of(iface)? == Some(network.index(bridge)?))
            }
            Self::MoveToNamespace { iface, namespace } => Ok(!network.has_link(iface)?
                && Network::within(namespace, |there| there.has_link(iface))?),
            Self::AddNeighbour {
                iface,
                address,
                mac,
            } => Ok(neighbour(network, iface, *address)?
                .is_some_and(|known| permanent_mac(&known) == Some(*mac))),
        }
    }

    /// How it is now, as far as undo will need it. Call it only where [`Step::check`] says no.
    ///
    /// # Errors
    /// When an interface or namespace is missing, or the kernel refuses.
    pub fn before(&self, network: &Network) -> Result<Before> {
        match self {
            Self::AddAddress { iface, .. } | Self::MoveToNamespace { iface, .. } => {
                network.index(iface).map(|_| Before::Absent)
            }
            Self::CreateTunnel | Self::CreateVeth { .. } | Self::CreateBridge { .. } => {
                Ok(Before::Absent)
            }
            Self::LinkUp { iface } => network.index(iface).map(|_| Before::Down),
            Self::AddRoute { destination, .. } => first_route(network, *destination),
            Self::SetSysctl { key, .. } => sysctl::read(key).map(Before::Value),
            Self::SetOffload { iface, features } => features
                .iter()
                .map(|(feature, _)| Ok((*feature, feature.is_on(iface)?)))
                .collect::<Result<_>>()
                .map(Before::Features),
            Self::AttachDecapsulation { iface, .. } => Ok(if network.has_clsact(iface)? {
                Before::Absent
            } else {
                Before::NoClsact
            }),
            Self::LimitSegments { destination, .. } => {
                network.announced(*destination).map(Before::Segments)
            }
            Self::JoinBridge { iface, .. } => {
                Ok(Before::Bridge(network.bridge_of(iface)?.unwrap_or(0)))
            }
            Self::AddNeighbour { iface, address, .. } => Ok(neighbour(network, iface, *address)?
                .and_then(|known| permanent_mac(&known))
                .map_or(Before::Absent, Before::Mac)),
        }
    }

    /// Makes it so. Call it only where [`Step::check`] says no, and after [`Step::before`].
    ///
    /// # Errors
    /// When an interface or namespace is missing, or the kernel refuses; then nothing changed.
    pub fn apply(&self, network: &Network) -> Result<()> {
        match self {
            Self::AddAddress {
                iface,
                address,
                label,
            } => network.add_address(iface, *address, label.as_deref()),
            Self::LinkUp { iface } => network.set_up(iface, true),
            Self::AddRoute { destination, via } => network.replace_route(*destination, via),
            Self::SetSysctl { key, value } => sysctl::write(key, value),
            Self::CreateTunnel => network.add_ipip(),
            Self::SetOffload { iface, features } => switch(iface, features),
            Self::AttachDecapsulation { iface, object } => {
                decapsulation::attach(network, iface, *object)
            }
            Self::LimitSegments {
                destination,
                iface,
                headers,
            } => {
                let longest = network.mtu(iface)?.saturating_sub(*headers);
                network.announce(*destination, Some(longest))
            }
            Self::CreateVeth { name, peer } => network.add_veth(name, peer),
            Self::CreateBridge { name } => network.add_bridge(name),
            Self::JoinBridge { iface, bridge } => network.set_bridge(iface, network.index(bridge)?),
            Self::MoveToNamespace { iface, namespace } => {
                network.move_link(iface, descriptor(&namespace_file(namespace)?))
            }
            Self::AddNeighbour {
                iface,
                address,
                mac,
            } => network.replace_neighbour(iface, *address, *mac),
        }
    }

    /// Takes back what [`Step::apply`] did. Nothing happens where it was never applied, or went with
    /// its interface.
    ///
    /// # Errors
    /// When a namespace is gone meanwhile, or the kernel refuses.
    pub fn undo(&self, network: &Network, before: &Before) -> Result<()> {
        match self.take_back(network, before) {
            Err(error) if error.is_about_a_missing_interface() => Ok(()),
            other => other,
        }
    }

    fn take_back(&self, network: &Network, before: &Before) -> Result<()> {
        match (self, before) {
            (Self::AddAddress { iface, address, .. }, _) => network
                .address(iface, *address)?
                .map_or(Ok(()), |found| network.delete_address(found)),
            (Self::LinkUp { iface }, _) => network.set_up(iface, false),
            (Self::AddRoute { .. }, Before::Route(route)) => network.enter_route(route.message()?),
            (Self::AddRoute { destination, via }, _) => {
                for route in network.routes(*destination)? {
                    if network.goes_via(&route, via)? {
                        network.delete_route(route)?;
                    }
                }
                Ok(())
            }
            (Self::SetSysctl { key, .. }, Before::Value(value)) => sysctl::write(key, value),
            (Self::CreateTunnel, _) => delete_tunnel(network),
            (Self::SetOffload { iface, .. }, Before::Features(features)) => switch(iface, features),
            (Self::AttachDecapsulation { iface, .. }, before) => {
                decapsulation::detach(network, iface, matches!(before, Before::NoClsact))
            }
            (Self::LimitSegments { destination, .. }, Before::Segments(announced)) => {
                network.announce(*destination, *announced)
            }
            (Self::CreateVeth { name, .. } | Self::CreateBridge { name }, _) => {
                network.delete_link(name)
            }
            (Self::JoinBridge { iface, .. }, Before::Bridge(bridge)) => {
                network.set_bridge(iface, *bridge)
            }
            (Self::MoveToNamespace { iface, namespace }, _) => {
                let home = own_namespace()?;
                Network::within(namespace, |there| there.move_link(iface, descriptor(&home)))
            }
            (Self::AddNeighbour { iface, address, .. }, Before::Mac(mac)) => {
                network.replace_neighbour(iface, *address, *mac)
            }
            (Self::AddNeighbour { iface, address, .. }, _) => neighbour(network, iface, *address)?
                .map_or(Ok(()), |entered| network.delete_neighbour(entered)),
            // These always remember what was; there is nothing to go back to without it.
            (
                Self::SetSysctl { .. }
                | Self::SetOffload { .. }
                | Self::JoinBridge { .. }
                | Self::LimitSegments { .. },
                _,
            ) => Ok(()),
        }
    }
}

/// The route that a new one would replace.
fn first_route(network: &Network, destination: Destination) -> Result<Before> {
    let found = network.routes(destination)?.into_iter().next();
    Ok(match found {
        Some(route) => Before::Route(OldRoute::of(&route, network)?),
        None => Before::Absent,
    })
}

fn neighbour(network: &Network, iface: &str, address: IpAddr) -> Result<Option<NeighbourMessage>> {
    let known = network.neighbours(iface)?;
    Ok(known
        .into_iter()
        .find(|entry| neighbour_address(entry) == Some(address)))
}

fn switch(iface: &str, features: &[(Offload, bool)]) -> Result<()> {
    features
        .iter()
        .try_for_each(|(feature, on)| feature.switch(iface, *on))
}

/// The kernel keeps its own `tunl0` for as long as the namespace lives; then it goes down instead.
fn delete_tunnel(network: &Network) -> Result<()> {
    match network.delete_link(TUNNEL) {
        Err(Error::Refused(_)) => network.set_up(TUNNEL, false),
        other => other,
    }
}
