//! The network namespace as rtnetlink tells it: interfaces, local addresses, routes, neighbours; and what follows for the
//! director.
//!
//! Files: [`facts`] what is the case, as plain data; [`served`] which interfaces are served; [`ports`] interfaces as the
//! data plane numbers them; [`neighbours`] keeping next hops resolved; `ways` the kernel's answers which way addresses are
//! reached.

pub mod facts;
pub mod neighbours;
pub mod ports;
pub mod served;
mod ways;

use anyhow::{Context, Result};
use facts::{Facts, Way};
use futures_util::{Stream, StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::neighbour::NeighbourMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use ways::Ways;

/// What is listened to.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
];

/// Something changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// Interfaces, addresses, routes or rules: look at all of it again.
    Network,
    /// The rules that choose among routing tables: ways may be others, though no fact is.
    Rules,
    /// A neighbour appeared or changed.
    Neighbour(NeighbourMessage),
    /// A neighbour is gone.
    NeighbourGone(NeighbourMessage),
}

/// The way to ask the kernel.
#[derive(Clone)]
pub struct Links {
    handle: Handle,
    ways: Arc<Ways>,
}

impl Links {
    /// Begins to listen in the calling thread's network namespace: the way to ask, and what changes from now on. To be
    /// called inside a tokio runtime, which carries the connection.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn listen() -> Result<(Self, impl Stream<Item = Change> + Unpin + use<>)> {
        let (connection, handle, messages) = rtnetlink::new_multicast_connection(&GROUPS)
            .context("listening to the kernel's network events")?;
        tokio::spawn(connection);
        let changes = messages.filter_map(|(message, _)| std::future::ready(change(message)));
        let ways = Ways::open().context("a socket to ask the kernel for ways")?;
        let ways = Arc::new(ways);
        Ok((Self { handle, ways }, Box::pin(changes)))
    }

    /// All facts, as they are now.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub async fn facts(&self) -> Result<Facts> {
        let links: Vec<_> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .context("listing interfaces")?;
        let mut routes = self
            .routes(RouteMessageBuilder::<Ipv4Addr>::new().build())
            .await
            .context("listing IPv4 routes")?;
        match self
            .routes(RouteMessageBuilder::<Ipv6Addr>::new().build())
            .await
        {
            Ok(more) => routes.extend(more),
            // A kernel without IPv6 has none.
            Err(error) => tracing::debug!("listing IPv6 routes: {error}"),
        }
        Ok(Facts::of(&links, &routes))
    }

    async fn routes(&self, all: RouteMessage) -> Result<Vec<RouteMessage>, rtnetlink::Error> {
        self.handle.route().get(all).execute().try_collect().await
    }

    /// All neighbours, as they are now.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub async fn neighbours(&self) -> Result<Vec<NeighbourMessage>> {
        let mut neighbours = self
            .neighbours_of(AddressFamily::Inet)
            .await
            .context("listing IPv4 neighbours")?;
        match self.neighbours_of(AddressFamily::Inet6).await {
            Ok(more) => neighbours.extend(more),
            // A kernel without IPv6 has none.
            Err(error) => tracing::debug!("listing IPv6 neighbours: {error}"),
        }
        Ok(neighbours)
    }

    async fn neighbours_of(
        &self,
        family: AddressFamily,
    ) -> Result<Vec<NeighbourMessage>, rtnetlink::Error> {
        let request = self.handle.neighbours().get().set_address_family(family);
        request.execute().try_collect().await
    }

    /// The way to each of these addresses, in their order. `None`: no route, or it is this host's own. Costs some
    /// microseconds each, during which nothing else is done.
    #[must_use]
    pub fn ways(&self, addresses: &[IpAddr]) -> Vec<Option<Way>> {
        self.ways.to(addresses)
    }
}

fn change(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Change> {
    match message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(neighbour)) => {
            Some(Change::Neighbour(neighbour))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(neighbour)) => {
            Some(Change::NeighbourGone(neighbour))
        }
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_),
        ) => Some(Change::Rules),
        // Also an overrun: events were lost, so everything is looked at again.
        _ => Some(Change::Network),
    }
}
