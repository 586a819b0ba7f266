//! How each step is checked, applied and undone.

use std::net::IpAddr;

use rtnetlink::packet_route::neighbour::NeighbourMessage;
use rtnetlink::packet_route::route::RouteMessage;

use crate::network::{
    TUNNEL, descriptor, namespace_file, neighbour_address, own_namespace, permanent_mac,
};
use crate::{Destination, Error, Network, Offload, Result, Step, decapsulation, sysctl};

/// How it was before a step changed it: what undo needs.
#[derive(Clone, Debug)]
pub enum Before {
    /// What the step makes did not exist.
    Absent,
    /// The interface was down.
    Down,
    /// The sysctl had this value.
    Value(String),
    /// The route led another way.
    Route(Box<RouteMessage>),
    /// The neighbour had this hardware address for good. One that was learnt needs no memory: it
    /// will be learnt again.
    Mac([u8; 6]),
    /// The features were switched so.
    Features(Vec<(Offload, bool)>),
    /// The interface was in the bridge of this index, 0 for none.
    Bridge(u32),
    /// The interface had no clsact qdisc, so the filter's goes as well.
    NoClsact,
}

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

    /// Makes it so, and says how it was before. Call it only where [`Step::check`] says no.
    ///
    /// # Errors
    /// When an interface or namespace is missing, or the kernel refuses; then nothing changed.
    pub fn apply(&self, network: &Network) -> Result<Before> {
        match self {
            Self::AddAddress {
                iface,
                address,
                label,
            } => {
                network.add_address(iface, *address, label.as_deref())?;
                Ok(Before::Absent)
            }
            Self::LinkUp { iface } => {
                network.set_up(iface, true)?;
                Ok(Before::Down)
            }
            Self::AddRoute { destination, via } => {
                let before = first_route(network, *destination)?;
                network.replace_route(*destination, via)?;
                Ok(before)
            }
            Self::SetSysctl { key, value } => {
                let before = sysctl::read(key)?;
                sysctl::write(key, value)?;
                Ok(Before::Value(before))
            }
            Self::CreateTunnel => network.add_ipip().map(|()| Before::Absent),
            Self::SetOffload { iface, features } => {
                let before = features
                    .iter()
                    .map(|(feature, _)| Ok((*feature, feature.is_on(iface)?)))
                    .collect::<Result<_>>()?;
                switch(iface, features)?;
                Ok(Before::Features(before))
            }
            Self::AttachDecapsulation { iface, object } => decapsulation::attach(iface, *object),
            Self::CreateVeth { name, peer } => {
                network.add_veth(name, peer)?;
                Ok(Before::Absent)
            }
            Self::CreateBridge { name } => {
                network.add_bridge(name)?;
                Ok(Before::Absent)
            }
            Self::JoinBridge { iface, bridge } => {
                let before = network.bridge_of(iface)?.unwrap_or(0);
                network.set_bridge(iface, network.index(bridge)?)?;
                Ok(Before::Bridge(before))
            }
            Self::MoveToNamespace { iface, namespace } => {
                network.move_link(iface, descriptor(&namespace_file(namespace)?))?;
                Ok(Before::Absent)
            }
            Self::AddNeighbour {
                iface,
                address,
                mac,
            } => {
                let before = neighbour(network, iface, *address)?;
                network.replace_neighbour(iface, *address, *mac)?;
                Ok(before
                    .and_then(|known| permanent_mac(&known))
                    .map_or(Before::Absent, Before::Mac))
            }
        }
    }

    /// Takes back what [`Step::apply`] did.
    ///
    /// # Errors
    /// When an interface or namespace is gone meanwhile, or the kernel refuses.
    pub fn undo(&self, network: &Network, before: &Before) -> Result<()> {
        match (self, before) {
            (Self::AddAddress { iface, address, .. }, _) => network
                .address(iface, *address)?
                .map_or(Ok(()), |found| network.delete_address(found)),
            (Self::LinkUp { iface }, _) => network.set_up(iface, false),
            (Self::AddRoute { .. }, Before::Route(route)) => network.enter_route((**route).clone()),
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
            // These three always remember what was; there is nothing to go back to without it.
            (Self::SetSysctl { .. } | Self::SetOffload { .. } | Self::JoinBridge { .. }, _) => {
                Ok(())
            }
        }
    }
}

/// The route that a new one would replace.
fn first_route(network: &Network, destination: Destination) -> Result<Before> {
    let found = network.routes(destination)?.into_iter().next();
    Ok(found.map_or(Before::Absent, |route| Before::Route(Box::new(route))))
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
