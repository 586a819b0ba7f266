//! Who has an address: asked on the wire, of every machine of a segment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use lvsx_host::{Card, Prefix};

use crate::wire::{Mac, Said, Wire, frame};
use crate::{Error, Result};

/// How long answers are awaited. Another machine that answers too must be heard, so it is always the
/// whole time.
const TIME: Duration = Duration::from_millis(250);

/// An interface's segment, and who answered there.
pub(crate) struct Segment {
    /// The way to it.
    pub(crate) wire: Wire,
    /// The addresses of this machine on it.
    pub(crate) own: Vec<Prefix>,
    answers: BTreeMap<IpAddr, BTreeSet<Mac>>,
}

impl Segment {
    /// Opens the segment of a card, with the addresses that this machine has there.
    ///
    /// # Errors
    /// When packets cannot be sent or heard.
    pub(crate) fn open(card: &Card, addresses: &[(String, Prefix)]) -> Result<Self> {
        let own = addresses
            .iter()
            .filter(|(iface, _)| *iface == card.name)
            .map(|(_, prefix)| *prefix)
            .collect();
        let wire = Wire::open(card).map_err(failed(card))?;
        Ok(Self {
            wire,
            own,
            answers: BTreeMap::new(),
        })
    }

    /// Whether an address belongs on this segment by one of this machine's networks.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        self.networks().any(|network| network.holds(address))
    }

    fn networks(&self) -> impl Iterator<Item = &Prefix> {
        let networks = self.own.iter();
        networks.filter(|own| **own != Prefix::host(own.address))
    }

    /// This machine's address on the network of another one, else its first of that one's family that reaches beyond the link.
    pub(crate) fn own_towards(&self, address: IpAddr) -> Option<IpAddr> {
        let near = self.networks().find(|network| network.holds(address));
        let reaches = |own: &&Prefix| match (own.address, address) {
            (IpAddr::V4(_), IpAddr::V4(_)) => true,
            (IpAddr::V6(own), IpAddr::V6(_)) => !own.is_unicast_link_local(),
            _ => false,
        };
        let own = near.or_else(|| self.own.iter().find(reaches))?;
        Some(own.address)
    }

    /// Asks who has these addresses; the question is put twice, since a frame may be lost.
    ///
    /// # Errors
    /// When packets cannot be sent or heard.
    pub(crate) fn ask(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<()> {
        let failed = failed(&self.wire.card);
        if addresses.is_empty() {
            return Ok(());
        }
        for _ in 0..2 {
            for address in addresses {
                let question = frame::who_has(self.wire.card.mac, *address);
                self.wire.send(&question).map_err(&failed)?;
            }
            let answers = &mut self.answers;
            let heard = self.wire.hear(TIME / 2, |heard| {
                if let Said::Has(address, mac) = heard.said {
                    answers.entry(address).or_default().insert(mac);
                }
                false
            });
            heard.map_err(&failed)?;
        }
        Ok(())
    }

    /// Who answered for an address.
    pub(crate) fn who_has(&self, address: IpAddr) -> Vec<Mac> {
        let answered = self.answers.get(&address);
        answered
            .map(|macs| macs.iter().copied().collect())
            .unwrap_or_default()
    }

    /// Which of the addresses asked for a machine answered for, but for this one.
    pub(crate) fn address_of(&self, mac: Mac, but: IpAddr) -> Option<IpAddr> {
        self.answers
            .iter()
            .find(|(address, macs)| **address != but && macs.contains(&mac))
            .map(|(address, _)| *address)
    }
}

/// An error of this card's wire.
pub(crate) fn failed(card: &Card) -> impl Fn(std::io::Error) -> Error + use<> {
    let iface = card.name.clone();
    move |cause| Error::Wire {
        iface: iface.clone(),
        cause,
    }
}
