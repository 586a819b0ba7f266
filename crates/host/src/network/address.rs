//! The addresses of interfaces.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

use super::Network;
use crate::{Prefix, Result};

impl Network {
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

    /// All addresses, each with the name of its interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn addresses(&self) -> Result<Vec<(String, Prefix)>> {
        let names = self.names()?;
        let all: Vec<_> = self.wait(self.handle.address().get().execute().try_collect())?;
        Ok(all
            .into_iter()
            .filter_map(|message| {
                let name = names.get(&message.header.index)?.clone();
                let prefix = Prefix::new(local_address(&message)?, message.header.prefix_len)?;
                Some((name, prefix))
            })
            .collect())
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
