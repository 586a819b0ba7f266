//! Neighbours: which hardware address has a network address.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use super::Network;
use crate::Result;

impl Network {
    /// The neighbours known on an interface.
    pub(crate) fn neighbours(&self, iface: &str) -> Result<Vec<NeighbourMessage>> {
        let index = self.index(iface)?;
        let all: Vec<_> = self.wait(self.handle.neighbours().get().execute().try_collect())?;
        Ok(all
            .into_iter()
            .filter(|message: &NeighbourMessage| message.header.ifindex == index)
            .collect())
    }

    /// The hardware address that was entered for a neighbour for good, if one was.
    ///
    /// # Errors
    /// When there is no interface of that name, or the kernel refuses.
    pub fn entered_mac(&self, iface: &str, address: IpAddr) -> Result<Option<[u8; 6]>> {
        let known = self.neighbours(iface)?;
        Ok(known
            .iter()
            .find(|entry| neighbour_address(entry) == Some(address))
            .and_then(permanent_mac))
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
