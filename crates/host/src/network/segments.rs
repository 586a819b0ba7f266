//! How long TCP segments are that this host announces to peers beyond its default route: `advmss`, a metric of the route.
//!
//! It concerns what peers send, not what this host does. Where a route has none, the kernel announces what its interface's MTU
//! leaves.

use rtnetlink::packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};

use super::Network;
use crate::{Destination, Result};

impl Network {
    /// Whether segments that peers are told to send fit the interface's MTU with so many bytes of headers; so too where there is no
    /// route that could tell them.
    ///
    /// # Errors
    /// When the interface is missing, or the kernel refuses.
    pub(crate) fn announces_at_most(
        &self,
        destination: Destination,
        iface: &str,
        headers: u32,
    ) -> Result<bool> {
        let longest = self.mtu(iface)?.saturating_sub(headers);
        let route = self.route_of_answers(destination)?;
        Ok(route.is_none_or(|route| announced(&route).is_some_and(|is| is <= longest)))
    }

    /// The length that the route announces, where it has one of its own.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn announced(&self, destination: Destination) -> Result<Option<u32>> {
        let route = self.route_of_answers(destination)?;
        Ok(route.and_then(|route| announced(&route)))
    }

    /// Has the route announce this length, or none of its own; nothing happens where there is no route.
    pub(crate) fn announce(&self, destination: Destination, length: Option<u32>) -> Result<()> {
        match self.route_of_answers(destination)? {
            Some(route) if announced(&route) != length => self.enter_route(with(route, length)),
            _ => Ok(()),
        }
    }

    /// The route that is taken first, of any metric. The kernel keeps its own account of those that it learnt from IPv6 routers.
    fn route_of_answers(&self, destination: Destination) -> Result<Option<RouteMessage>> {
        let mut routes = self.routes_of_any_metric(destination)?.into_iter();
        Ok(routes.find(|route| {
            route.header.kind == RouteType::Unicast && route.header.protocol != RouteProtocol::Ra
        }))
    }
}

fn announced(route: &RouteMessage) -> Option<u32> {
    let metrics = route
        .attributes
        .iter()
        .flat_map(|attribute| match attribute {
            RouteAttribute::Metrics(metrics) => metrics.as_slice(),
            _ => &[],
        });
    metrics.into_iter().find_map(|metric| match metric {
        RouteMetric::Advmss(length) => Some(*length),
        _ => None,
    })
}

/// The same route with this length.
fn with(mut route: RouteMessage, length: Option<u32>) -> RouteMessage {
    let mut metrics = Vec::new();
    for attribute in &route.attributes {
        if let RouteAttribute::Metrics(old) = attribute {
            metrics.extend(old.iter().cloned());
        }
    }
    metrics.retain(|metric| !matches!(metric, RouteMetric::Advmss(_)));
    metrics.extend(length.map(RouteMetric::Advmss));
    route
        .attributes
        .retain(|attribute| !matches!(attribute, RouteAttribute::Metrics(_)));
    if !metrics.is_empty() {
        route.attributes.push(RouteAttribute::Metrics(metrics));
    }
    // What the kernel tells of the link's state it does not take back.
    route.header.flags &= RouteFlags::Onlink;
    route
}
