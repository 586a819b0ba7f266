//! Routes of the main table.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope,
};

use super::Network;
use crate::{Destination, Error, Prefix, Result, Via};

impl Network {
    /// The main table's routes of metric 0 to exactly this destination.
    pub(crate) fn routes(&self, destination: Destination) -> Result<Vec<RouteMessage>> {
        let mut question = RouteMessage::default();
        question.header.address_family = family(destination);
        let all: Vec<_> = self.wait(self.handle.route().get(question).execute().try_collect())?;
        Ok(all
            .into_iter()
            .filter(|route| {
                route.header.table == RouteHeader::RT_TABLE_MAIN
                    && !route
                        .attributes
                        .iter()
                        .any(|a| matches!(a, RouteAttribute::Priority(1..)))
                    && leads_to(route, destination)
            })
            .collect())
    }

    /// Whether a route goes exactly this way.
    pub(crate) fn goes_via(&self, route: &RouteMessage, via: &Via) -> Result<bool> {
        let gateway = route
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::Gateway(address) => ip_address(address),
                _ => None,
            });
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

    /// Enters a route of metric 0, in the place of one to the same destination.
    pub(crate) fn replace_route(&self, destination: Destination, via: &Via) -> Result<()> {
        let invalid = |error| Error::Refused(io::Error::new(io::ErrorKind::InvalidInput, error));
        let mut route = RouteMessageBuilder::<IpAddr>::new();
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

/// A route's address, where it is one of IPv4 or IPv6.
fn ip_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
