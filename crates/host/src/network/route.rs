//! Routes of the main table.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
};

use super::Network;
use crate::{Destination, Error, Prefix, Result, Via};

impl Network {
    /// The main table's routes of metric 0 (IPv6: 1024, which is its default) to exactly this destination.
    pub(crate) fn routes(&self, destination: Destination) -> Result<Vec<RouteMessage>> {
        let mut routes = self.routes_of_any_metric(destination)?;
        routes.retain(|route| {
            let v6 = route.header.address_family == AddressFamily::Inet6;
            metric(route) == if v6 { 1024 } else { 0 }
        });
        Ok(routes)
    }

    /// The main table's routes to exactly this destination, the one that is taken first.
    pub(super) fn routes_of_any_metric(
        &self,
        destination: Destination,
    ) -> Result<Vec<RouteMessage>> {
        let mut question = RouteMessage::default();
        question.header.address_family = family(destination);
        let mut all: Vec<_> =
            self.wait(self.handle.route().get(question).execute().try_collect())?;
        all.retain(|route: &RouteMessage| {
            route.header.table == RouteHeader::RT_TABLE_MAIN && leads_to(route, destination)
        });
        all.sort_by_key(metric);
        Ok(all)
    }

    /// The way that packets to an address take now: the interface, and the router on it where
    /// there is one. `None` where there is no way.
    ///
    /// # Errors
    /// When the kernel could not be asked.
    pub fn way_to(&self, address: IpAddr) -> Result<Option<(String, Option<IpAddr>)>> {
        let prefix = Prefix::host(address);
        let mut question = RouteMessage::default();
        question.header.address_family = family(Destination::Network(prefix));
        question.header.destination_prefix_length = prefix.length;
        let wanted = match address {
            IpAddr::V4(address) => RouteAddress::Inet(address),
            IpAddr::V6(address) => RouteAddress::Inet6(address),
        };
        question
            .attributes
            .push(RouteAttribute::Destination(wanted));
        let answer = self.wait(self.handle.route().get(question).execute().try_collect());
        let found: Vec<RouteMessage> = match answer {
            Ok(found) => found,
            Err(Error::Refused(_)) => return Ok(None),
            Err(other) => return Err(other),
        };
        let names = self.names()?;
        let route = found.first();
        Ok(route.and_then(|route| Some((iface(route, &names)?, gateway(route)))))
    }

    /// The way of the main table's route to exactly this destination: the interface, and the router
    /// on it where there is one. `None` where there is no such route.
    ///
    /// # Errors
    /// When the kernel could not be asked.
    pub fn way_out(&self, destination: Destination) -> Result<Option<(String, Option<IpAddr>)>> {
        let names = self.names()?;
        let routes = self.routes_of_any_metric(destination)?;
        Ok(routes
            .iter()
            .find_map(|route| Some((iface(route, &names)?, gateway(route)))))
    }

    /// Whether a route goes exactly this way.
    pub(crate) fn goes_via(&self, route: &RouteMessage, via: &Via) -> Result<bool> {
        let gateway = gateway(route);
        Ok(match via {
            Via::Gateway(address) => gateway == Some(*address),
            Via::Interface(iface) => {
                let index = self.index(iface)?;
                gateway.is_none()
                    && route
                        .attributes
                        .iter()
                        .any(|a| matches!(a, RouteAttribute::Oif(oif) if *oif == index))
            }
        })
    }

    /// The way that a route leads, as `ip route` writes it.
    pub(crate) fn way(&self, route: &RouteMessage) -> Result<String> {
        let mut words = Vec::new();
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Gateway(address) => {
                    words.extend(ip_address(address).map(|address| format!("via {address}")));
                }
                RouteAttribute::Oif(index) => {
                    words.extend(self.names()?.get(index).map(|name| format!("dev {name}")));
                }
                _ => {}
            }
        }
        words.sort_by_key(|word| word.starts_with("dev"));
        Ok(words.join(" "))
    }

    /// Enters a route of metric 0, in the place of one to the same destination.
    pub(crate) fn replace_route(&self, destination: Destination, via: &Via) -> Result<()> {
        let invalid = |error| Error::Refused(io::Error::new(io::ErrorKind::InvalidInput, error));
        // As `ip route` enters it.
        let mut route = RouteMessageBuilder::<IpAddr>::new().protocol(RouteProtocol::Boot);
        route.get_mut().header.address_family = family(destination);
        if let Destination::Network(prefix) = destination {
            route = route
                .destination_prefix(prefix.address, prefix.length)
                .map_err(invalid)?;
        }
        let route = match via {
            Via::Gateway(gateway) => route.gateway(*gateway).map_err(invalid)?,
            Via::Interface(iface) => route
                .output_interface(self.index(iface)?)
                .scope(RouteScope::Link),
        };
        self.enter_route(route.build())
    }

    pub(crate) fn enter_route(&self, route: RouteMessage) -> Result<()> {
        self.wait(self.handle.route().add(route).replace().execute())
    }

    pub(crate) fn delete_route(&self, route: RouteMessage) -> Result<()> {
        self.wait(self.handle.route().del(route).execute())
    }
}

/// A route's metric; the lower one is preferred.
fn metric(route: &RouteMessage) -> u32 {
    let metric = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Priority(metric) => Some(*metric),
            _ => None,
        });
    metric.unwrap_or(0)
}

fn family(destination: Destination) -> AddressFamily {
    match destination {
        Destination::Network(Prefix {
            address: IpAddr::V6(_),
            ..
        }) => AddressFamily::Inet6,
        Destination::Default | Destination::Network(_) => AddressFamily::Inet,
    }
}

fn leads_to(route: &RouteMessage, destination: Destination) -> bool {
    let address = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(address) => ip_address(address),
            _ => None,
        });
    let length = route.header.destination_prefix_length;
    match destination {
        Destination::Default => length == 0,
        Destination::Network(prefix) => {
            length == prefix.length && (length == 0 || address == Some(prefix.address))
        }
    }
}

fn iface(route: &RouteMessage, names: &BTreeMap<u32, String>) -> Option<String> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => names.get(index).cloned(),
            _ => None,
        })
}

fn gateway(route: &RouteMessage) -> Option<IpAddr> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Gateway(address) => ip_address(address),
            _ => None,
        })
}

/// A route's address, where it is one of IPv4 or IPv6.
fn ip_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
