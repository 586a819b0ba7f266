//! The kernel's routing socket (rtnetlink) of one network namespace, with the few requests that
//! the steps need.
//!
//! A [`Network`] belongs to the namespace in which the thread was that opened it. It brings its
//! own single-threaded runtime, so callers stay synchronous; never use it inside another one.

use std::fs::File;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::thread;

use futures_util::{StreamExt, TryStreamExt};
use nix::libc::{EEXIST, ENODEV, EOPNOTSUPP};
use nix::sched::{CloneFlags, setns};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage};
use rtnetlink::{
    Handle, LinkBridge, LinkIpIp, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection,
};
use tokio::runtime::{self, Runtime};

use crate::{Destination, Error, Prefix, Result, Via};

/// The kernel's own name for the interface that unwraps IP-in-IP of any sender.
pub const TUNNEL: &str = "tunl0";

/// Where `ip netns` keeps the named namespaces.
pub const NAMESPACES: &str = "/run/netns";

/// A routing socket of one network namespace.
#[derive(Debug)]
pub struct Network {
    runtime: Runtime,
    handle: Handle,
}

impl Network {
    /// Opens the namespace in which the calling thread is.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn here() -> Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Socket)?;
        let _inside = runtime.enter();
        let (connection, handle, _) = new_connection().map_err(Error::Socket)?;
        runtime.spawn(connection);
        drop(_inside);
        Ok(Self { runtime, handle })
    }

    /// Runs `work` inside the named namespace, on a thread of its own.
    pub(crate) fn within<T: Send>(
        namespace: &str,
        work: impl FnOnce(&Self) -> Result<T> + Send,
    ) -> Result<T> {
        let namespace_file = namespace_file(namespace)?;
        let inside = || {
            setns(&namespace_file, CloneFlags::CLONE_NEWNET).map_err(|errno| {
                Error::NoNamespace {
                    name: namespace.to_owned(),
                    cause: errno.into(),
                }
            })?;
            work(&Self::here()?)
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn wait<T>(
        &self,
        answer: impl Future<Output = std::result::Result<T, rtnetlink::Error>>,
    ) -> Result<T> {
        self.runtime.block_on(answer).map_err(Error::from)
    }

    /// The names of all interfaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn links(&self) -> Result<Vec<String>> {
        let links: Vec<_> = self.wait(self.handle.link().get().execute().try_collect())?;
        Ok(links.iter().filter_map(name).map(str::to_owned).collect())
    }

    pub(crate) fn has_link(&self, iface: &str) -> Result<bool> {
        match self.link(iface) {
            Ok(_) => Ok(true),
            Err(Error::NoInterface { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn link(&self, iface: &str) -> Result<LinkMessage> {
        let answer = self.wait(async {
            let mut links = Box::pin(self.handle.link().get().match_name(iface).execute());
            links.next().await.transpose()
        });
        match answer {
            Ok(Some(link)) => Ok(link),
            Ok(None) => Err(self.no_interface(iface)),
            Err(error) if error.errno() == Some(ENODEV) => Err(self.no_interface(iface)),
            Err(error) => Err(error),
        }
    }

    fn no_interface(&self, iface: &str) -> Error {
        let present = self.links().unwrap_or_default().join(", ");
        Error::NoInterface {
            name: iface.to_owned(),
            present,
        }
    }

    /// An interface's index.
    ///
    /// # Errors
    /// When there is none of that name, or the kernel refuses.
    pub fn index(&self, iface: &str) -> Result<u32> {
        Ok(self.link(iface)?.header.index)
    }

    /// An interface's hardware address; `None` where it has none of six bytes.
    ///
    /// # Errors
    /// When there is no interface of that name, or the kernel refuses.
    pub fn mac(&self, iface: &str) -> Result<Option<[u8; 6]>> {
        Ok(self
            .link(iface)?
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Address(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok(),
                _ => None,
            }))
    }

    pub(crate) fn is_up(&self, iface: &str) -> Result<bool> {
        Ok(self.link(iface)?.header.flags.contains(LinkFlags::Up))
    }

    /// Brings an interface up or down.
    ///
    /// # Errors
    /// When there is none of that name, or the kernel refuses.
    pub fn set_up(&self, iface: &str, up: bool) -> Result<()> {
        let link = LinkUnspec::new_with_index(self.index(iface)?);
        let link = if up { link.up() } else { link.down() };
        self.wait(self.handle.link().set(link.build()).execute())
    }

    pub(crate) fn add_veth(&self, name: &str, peer: &str) -> Result<()> {
        self.wait(
            self.handle
                .link()
                .add(LinkVeth::new(name, peer).build())
                .execute(),
        )
    }

    pub(crate) fn add_bridge(&self, name: &str) -> Result<()> {
        self.wait(
            self.handle
                .link()
                .add(LinkBridge::new(name).build())
                .execute(),
        )
    }

    /// Makes `tunl0`; the kernel's own one, which appears with its module, will do.
    pub(crate) fn add_ipip(&self) -> Result<()> {
        match self.wait(
            self.handle
                .link()
                .add(LinkIpIp::new(TUNNEL).build())
                .execute(),
        ) {
            Err(error) if error.errno() == Some(EOPNOTSUPP) => Err(Error::NoIpip),
            Err(error) if error.errno() == Some(EEXIST) => Ok(()),
            other => other,
        }
    }

    pub(crate) fn delete_link(&self, iface: &str) -> Result<()> {
        self.wait(self.handle.link().del(self.index(iface)?).execute())
    }

    /// The index of the bridge an interface is plugged into.
    pub(crate) fn bridge_of(&self, iface: &str) -> Result<Option<u32>> {
        Ok(self
            .link(iface)?
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Controller(index) => Some(*index),
                _ => None,
            }))
    }

    /// Plugs an interface into the bridge of this index; 0 takes it out.
    pub(crate) fn set_bridge(&self, iface: &str, bridge: u32) -> Result<()> {
        let link = LinkUnspec::new_with_index(self.index(iface)?).controller(bridge);
        self.wait(self.handle.link().set(link.build()).execute())
    }

    pub(crate) fn move_link(&self, iface: &str, namespace: RawFd) -> Result<()> {
        let link = LinkUnspec::new_with_index(self.index(iface)?).setns_by_fd(namespace);
        self.wait(self.handle.link().set(link.build()).execute())
    }

    /// The address as the interface has it, if it does.
    pub(crate) fn address(&self, iface: &str, address: Prefix) -> Result<Option<AddressMessage>> {
        let index = self.index(iface)?;
        let all: Vec<_> = self.wait(self.handle.address().get().execute().try_collect())?;
        Ok(all.into_iter().find(|message| {
            message.header.index == index
                && message.header.prefix_len == address.length
                && local_address(message) == Some(address.address)
        }))
    }

    pub(crate) fn add_address(
        &self,
        iface: &str,
        address: Prefix,
        label: Option<&str>,
    ) -> Result<()> {
        let index = self.index(iface)?;
        let mut request = self
            .handle
            .address()
            .add(index, address.address, address.length);
        if let Some(label) = label {
            request
                .message_mut()
                .attributes
                .push(AddressAttribute::Label(label.to_owned()));
        }
        self.wait(request.execute())
    }

    pub(crate) fn delete_address(&self, address: AddressMessage) -> Result<()> {
        self.wait(self.handle.address().del(address).execute())
    }

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
                RouteAttribute::Gateway(address) => crate::apply::ip_address(address),
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
                .scope(rtnetlink::packet_route::route::RouteScope::Link),
        };
        self.enter_route(route.build())
    }

    pub(crate) fn enter_route(&self, route: RouteMessage) -> Result<()> {
        self.wait(self.handle.route().add(route).replace().execute())
    }

    pub(crate) fn delete_route(&self, route: RouteMessage) -> Result<()> {
        self.wait(self.handle.route().del(route).execute())
    }

    /// The neighbours known on an interface.
    pub(crate) fn neighbours(&self, iface: &str) -> Result<Vec<NeighbourMessage>> {
        let index = self.index(iface)?;
        let all: Vec<_> = self.wait(self.handle.neighbours().get().execute().try_collect())?;
        Ok(all
            .into_iter()
            .filter(|message: &NeighbourMessage| message.header.ifindex == index)
            .collect())
    }

    pub(crate) fn replace_neighbour(
        &self,
        iface: &str,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<()> {
        let index = self.index(iface)?;
        let request = self
            .handle
            .neighbours()
            .add(index, address)
            .link_layer_address(&mac);
        self.wait(request.state(NeighbourState::Permanent).replace().execute())
    }

    pub(crate) fn delete_neighbour(&self, neighbour: NeighbourMessage) -> Result<()> {
        self.wait(self.handle.neighbours().del(neighbour).execute())
    }

    /// Forgets every neighbour of an interface that was learnt, as `ip neigh flush` does.
    ///
    /// # Errors
    /// When there is no interface of that name, or the kernel refuses.
    pub fn flush_neighbours(&self, iface: &str) -> Result<()> {
        for neighbour in self.neighbours(iface)? {
            if !matches!(
                neighbour.header.state,
                NeighbourState::Permanent | NeighbourState::Noarp
            ) {
                self.delete_neighbour(neighbour)?;
            }
        }
        Ok(())
    }

    /// The tc filters at an interface's ingress, as (priority, handle).
    pub(crate) fn ingress_filters(&self, iface: &str) -> Result<Vec<(u16, u32)>> {
        let index = self.index(iface)?.cast_signed();
        let filters: Vec<_> = self.wait(
            self.handle
                .traffic_filter(index)
                .get()
                .ingress()
                .execute()
                .try_collect(),
        )?;
        // tcm_info holds the priority in its upper half, the protocol in its lower one.
        Ok(filters
            .iter()
            .map(|filter| {
                (
                    (filter.header.info >> 16) as u16,
                    u32::from(filter.header.handle),
                )
            })
            .collect())
    }

    pub(crate) fn delete_clsact(&self, iface: &str) -> Result<()> {
        let mut qdisc = self.handle.qdisc();
        let mut request = qdisc.del(self.index(iface)?.cast_signed());
        let header = &mut request.message_mut().header;
        (header.handle, header.parent) = (0xffff_0000.into(), 0xffff_fff1.into());
        self.wait(request.execute())
    }
}

/// Opens a named namespace.
pub(crate) fn namespace_file(name: &str) -> Result<File> {
    File::open(format!("{NAMESPACES}/{name}")).map_err(|cause| Error::NoNamespace {
        name: name.to_owned(),
        cause,
    })
}

/// The namespace of the calling thread.
pub(crate) fn own_namespace() -> Result<File> {
    File::open("/proc/thread-self/ns/net").map_err(Error::Socket)
}

/// A file's descriptor, for the one request that takes a number.
pub(crate) fn descriptor(file: &File) -> RawFd {
    file.as_raw_fd()
}

fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str()),
            _ => None,
        })
}

fn local_address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
    // IPv6 has only IFA_ADDRESS.
    local.or_else(|| {
        message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
    })
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
            RouteAttribute::Destination(address) => crate::apply::ip_address(address),
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

/// The address a neighbour entry is for.
pub(crate) fn neighbour_address(neighbour: &NeighbourMessage) -> Option<IpAddr> {
    neighbour
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                Some(IpAddr::V4(*address))
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                Some(IpAddr::V6(*address))
            }
            _ => None,
        })
}

/// The hardware address of a neighbour entry that is for good.
pub(crate) fn permanent_mac(neighbour: &NeighbourMessage) -> Option<[u8; 6]> {
    if neighbour.header.state != NeighbourState::Permanent {
        return None;
    }
    neighbour
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
            _ => None,
        })
}
