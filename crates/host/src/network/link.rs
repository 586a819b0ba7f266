//! Interfaces.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use futures_util::{StreamExt, TryStreamExt};
use nix::libc::{EEXIST, ENODEV, EOPNOTSUPP};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::{LinkBridge, LinkIpIp, LinkUnspec, LinkVeth};

use super::{Network, TUNNEL};
use crate::{Error, Result};

/// An Ethernet interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Whether it is up.
    pub is_up: bool,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The longest packet it sends, in bytes without the link header.
    pub mtu: u32,
}

impl Network {
    /// The Ethernet interfaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cards(&self) -> Result<Vec<Card>> {
        let links: Vec<_> = self.wait(self.handle.link().get().execute().try_collect())?;
        Ok(links.iter().filter_map(card).collect())
    }

    /// The names of all interfaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn links(&self) -> Result<Vec<String>> {
        Ok(self.names()?.into_values().collect())
    }

    /// The names of all interfaces by their indices.
    pub(crate) fn names(&self) -> Result<BTreeMap<u32, String>> {
        let links: Vec<_> = self.wait(self.handle.link().get().execute().try_collect())?;
        let named = |link: &LinkMessage| Some((link.header.index, name(link)?.to_owned()));
        Ok(links.iter().filter_map(named).collect())
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

    /// Whether an interface is up.
    ///
    /// # Errors
    /// When there is none of that name, or the kernel refuses.
    pub fn is_up(&self, iface: &str) -> Result<bool> {
        Ok(self.link(iface)?.header.flags.contains(LinkFlags::Up))
    }

    /// The longest packet that an interface sends, in bytes without the link header.
    ///
    /// # Errors
    /// When there is none of that name, or the kernel refuses.
    pub(crate) fn mtu(&self, iface: &str) -> Result<u32> {
        let link = self.link(iface)?;
        let mtu = link.attributes.iter().find_map(mtu);
        Ok(mtu.unwrap_or_default())
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
}

fn card(link: &LinkMessage) -> Option<Card> {
    if link.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let mac = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Address(mac) => Some(mac.as_slice()),
            _ => None,
        })?;
    let mtu = link.attributes.iter().find_map(mtu)?;
    Some(Card {
        name: name(link)?.to_owned(),
        index: link.header.index,
        is_up: link.header.flags.contains(LinkFlags::Up),
        mac: mac.try_into().ok()?,
        mtu,
    })
}

fn mtu(attribute: &LinkAttribute) -> Option<u32> {
    match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    }
}

fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str()),
            _ => None,
        })
}
