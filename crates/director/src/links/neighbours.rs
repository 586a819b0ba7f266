//! Keeping next hops resolved, so that no packet meets one without a link-layer address.
//!
//! Next hops to servers and gateways are managed neighbours (`NTF_EXT_MANAGED`, Linux 5.16): the kernel resolves them at
//! once and keeps them fresh. Flushing the table takes the mark away, so it is set again when that is heard of. Clients in
//! the same network are resolved when a packet to them asks for it.
//!
//! Where the hook leaves an unknown next hop to the kernel (tc), the first packet to it resolves it, as in kernel IPVS, and
//! it is managed from then on: as soon as it appears in the kernel's table.

use super::Links;
use super::facts::Hop;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
    NeighbourState,
};
use rtnetlink::packet_route::route::RouteType;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A managed neighbour that lost its mark is marked again, but not more often than this.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What is known of neighbours.
#[derive(Default)]
pub struct Neighbours {
    /// What the kernel's table holds, with link-layer addresses as far as they are known.
    entries: BTreeMap<Hop, Option<Vec<u8>>>,
    /// Those that somebody set by hand, which are never touched.
    permanent: BTreeSet<Hop>,
    /// Those to keep resolved once they are in use.
    awaited: BTreeSet<Hop>,
    /// Those to keep resolved, and when that was last asked for.
    managed: BTreeMap<Hop, Instant>,
}

/// From when on next hops are kept resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// From now on: the hook loses packets to others.
    Ahead,
    /// Once the kernel's table holds them.
    OnceUsed,
}

/// What follows from news of a neighbour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consequence {
    /// Its link-layer address is another now: next hops must be looked up again.
    pub is_elsewhere: bool,
    /// It has to be resolved.
    pub resolve: Option<Hop>,
}

impl Neighbours {
    /// Takes note of a neighbour's present state, or of its end.
    pub fn heard(
        &mut self,
        message: &NeighbourMessage,
        is_gone: bool,
        now: Instant,
    ) -> Consequence {
        let Some(address) = destination(message) else {
            return Consequence::default();
        };
        let hop = Hop {
            interface: message.header.ifindex,
            address,
        };
        if !is_gone && message.header.state == NeighbourState::Permanent {
            self.permanent.insert(hop);
        } else {
            self.permanent.remove(&hop);
        }
        let is_valid = !is_gone
            && !matches!(
                message.header.state,
                NeighbourState::Failed | NeighbourState::Incomplete | NeighbourState::None
            );
        let address = link_address(message).filter(|_| is_valid);
        let before = match is_gone {
            true => self.entries.remove(&hop),
            false => self.entries.insert(hop, address.clone()),
        };
        let before = before.flatten();
        let is_used = !is_gone && !self.permanent.contains(&hop);
        if is_used && self.awaited.remove(&hop) {
            self.managed.insert(hop, now);
            return Consequence {
                is_elsewhere: false,
                resolve: Some(hop),
            };
        }
        let is_unmarked = is_gone || !is_managed(message);
        let is_due = |last: &&mut Instant| is_unmarked && now - **last >= AGAIN_AFTER;
        let resolve = self.managed.get_mut(&hop).filter(is_due).map(|last| {
            *last = now;
            hop
        });
        let resolve = resolve.filter(|hop| !self.permanent.contains(hop));
        Consequence {
            is_elsewhere: before.is_some() && before != address,
            resolve,
        }
    }

    /// Makes `wanted` the neighbours to keep resolved; those for which that begins now.
    pub fn manage(&mut self, wanted: &BTreeSet<Hop>, begin: Begin, now: Instant) -> Vec<Hop> {
        self.managed.retain(|hop, _| wanted.contains(hop));
        self.awaited.clear();
        self.manage_more(wanted, begin, now)
    }

    /// Adds `wanted` to the neighbours to keep resolved; those for which that begins now.
    pub fn manage_more(&mut self, wanted: &BTreeSet<Hop>, begin: Begin, now: Instant) -> Vec<Hop> {
        let is_new = |hop: &Hop| !self.managed.contains_key(hop) && !self.permanent.contains(hop);
        let begins = |hop: &Hop| begin == Begin::Ahead || self.entries.contains_key(hop);
        let all = wanted.iter().copied().filter(is_new);
        let (new, awaited): (Vec<Hop>, Vec<Hop>) = all.partition(begins);
        self.awaited.extend(awaited);
        self.managed.extend(new.iter().map(|hop| (*hop, now)));
        new
    }

    /// Managed neighbours without a link-layer address that were last asked for a while ago.
    pub fn unresolved(&mut self, now: Instant) -> Vec<Hop> {
        let entries = &self.entries;
        let is_unknown = |hop: &Hop| entries.get(hop).is_none_or(Option::is_none);
        let due = self
            .managed
            .iter_mut()
            .filter(|(hop, last)| is_unknown(hop) && now - **last >= AGAIN_AFTER);
        due.map(|(hop, last)| {
            *last = now;
            *hop
        })
        .collect()
    }

    /// The Ethernet address of `hop`, raw, if it is known.
    #[must_use]
    pub fn address(&self, hop: Hop) -> Option<u64> {
        let bytes = self.entries.get(&hop)?.as_ref()?;
        let bytes: &[u8; 6] = bytes.as_slice().try_into().ok()?;
        let mut word = [0; 8];
        word[..6].copy_from_slice(bytes);
        Some(u64::from_ne_bytes(word))
    }

    /// Whether `hop` may be resolved by us: its link-layer address was not set by hand.
    #[must_use]
    pub fn may_resolve(&self, hop: Hop) -> bool {
        !self.permanent.contains(&hop)
    }
}

fn destination(message: &NeighbourMessage) -> Option<IpAddr> {
    message
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

fn link_address(message: &NeighbourMessage) -> Option<Vec<u8>> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(address) => Some(address.clone()),
            _ => None,
        })
}

fn is_managed(message: &NeighbourMessage) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        NeighbourAttribute::ExtFlags(flags) => flags.contains(NeighbourExtFlags::Managed),
        _ => false,
    })
}

impl Links {
    /// Has the kernel resolve `hop` and keep it resolved; where it cannot do that, resolve it now.
    pub async fn keep_resolved(&self, hop: Hop) {
        let mut request = self
            .handle
            .neighbours()
            .add(hop.interface, hop.address)
            .replace();
        request = request.state(NeighbourState::None).kind(RouteType::Unspec);
        request
            .message_mut()
            .attributes
            .push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        if request.execute().await.is_err() {
            self.resolve(hop).await;
        }
    }

    /// Has the kernel resolve `hop` now. Whether it succeeds is heard of later.
    pub async fn resolve(&self, hop: Hop) {
        let request = self
            .handle
            .neighbours()
            .add(hop.interface, hop.address)
            .replace();
        let request = request
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .kind(RouteType::Unspec);
        if let Err(error) = request.execute().await {
            tracing::debug!("{} on interface {}: {error}", hop.address, hop.interface);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn news(address: Option<[u8; 6]>, state: NeighbourState, is_managed: bool) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 2;
        message.header.state = state;
        let to = NeighbourAddress::Inet(Ipv4Addr::new(192, 0, 2, 1));
        message.attributes.push(NeighbourAttribute::Destination(to));
        message
            .attributes
            .extend(address.map(|address| NeighbourAttribute::LinkLayerAddress(address.to_vec())));
        if is_managed {
            message
                .attributes
                .push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        }
        message
    }

    const HOP: Hop = Hop {
        interface: 2,
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    };

    #[test]
    fn only_another_address_moves_connections() {
        let (mut neighbours, now) = (Neighbours::default(), Instant::now());
        let mut hear = |address, state| {
            neighbours
                .heard(&news(address, state, false), false, now)
                .is_elsewhere
        };
        assert!(!hear(Some([1; 6]), NeighbourState::Reachable));
        assert!(!hear(Some([1; 6]), NeighbourState::Stale));
        assert!(hear(Some([2; 6]), NeighbourState::Reachable));
        assert!(hear(Some([2; 6]), NeighbourState::Failed));
        assert!(!hear(None, NeighbourState::Incomplete));
    }

    #[test]
    fn a_managed_neighbour_that_was_flushed_is_resolved_again_but_not_endlessly() {
        let (mut neighbours, now) = (Neighbours::default(), Instant::now());
        assert_eq!(
            neighbours.manage(&BTreeSet::from([HOP]), Begin::Ahead, now),
            [HOP]
        );
        assert_eq!(
            neighbours.manage(&BTreeSet::from([HOP]), Begin::Ahead, now),
            []
        );
        let later = now + AGAIN_AFTER;
        assert_eq!(
            neighbours
                .heard(
                    &news(Some([1; 6]), NeighbourState::Reachable, true),
                    false,
                    later
                )
                .resolve,
            None
        );
        let flushed = news(Some([1; 6]), NeighbourState::Stale, false);
        assert_eq!(neighbours.heard(&flushed, false, later).resolve, Some(HOP));
        assert_eq!(neighbours.heard(&flushed, false, later).resolve, None);
    }

    #[test]
    fn an_address_set_by_hand_is_not_touched() {
        let (mut neighbours, now) = (Neighbours::default(), Instant::now());
        neighbours.heard(
            &news(Some([1; 6]), NeighbourState::Permanent, false),
            false,
            now,
        );
        assert_eq!(
            neighbours.manage(&BTreeSet::from([HOP]), Begin::Ahead, now),
            []
        );
        assert!(!neighbours.may_resolve(HOP));
    }

    #[test]
    fn what_is_managed_once_used_is_so_when_the_kernel_has_asked_for_it() {
        let (mut neighbours, now) = (Neighbours::default(), Instant::now());
        let wanted = BTreeSet::from([HOP]);
        assert_eq!(neighbours.manage(&wanted, Begin::OnceUsed, now), []);
        assert_eq!(neighbours.unresolved(now + AGAIN_AFTER), []);
        let asked = news(None, NeighbourState::Incomplete, false);
        assert_eq!(neighbours.heard(&asked, false, now).resolve, Some(HOP));
        assert_eq!(neighbours.heard(&asked, false, now).resolve, None);
        assert_eq!(neighbours.manage(&wanted, Begin::OnceUsed, now), []);
        assert_eq!(neighbours.unresolved(now + AGAIN_AFTER), [HOP]);
        // Not wanted for a while, it is still there.
        neighbours.manage(&BTreeSet::new(), Begin::OnceUsed, now);
        assert_eq!(neighbours.manage(&wanted, Begin::OnceUsed, now), [HOP]);
    }

    #[test]
    fn ipv6_neighbours_are_neighbours() {
        let (mut neighbours, now) = (Neighbours::default(), Instant::now());
        let server = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        let mut message = news(Some([1; 6]), NeighbourState::Reachable, false);
        message.attributes[0] = NeighbourAttribute::Destination(NeighbourAddress::Inet6(server));
        neighbours.heard(&message, false, now);
        let hop = Hop {
            address: IpAddr::V6(server),
            ..HOP
        };
        assert_eq!(neighbours.address(hop), Some(0x0101_0101_0101));
        assert_eq!(neighbours.address(HOP), None);
        assert!(neighbours.heard(&message, true, now).is_elsewhere);
    }

    #[test]
    fn strangers_are_left_alone() {
        let (mut neighbours, now) = (Neighbours::default(), Instant::now());
        assert_eq!(
            neighbours.heard(&news(None, NeighbourState::Failed, false), true, now),
            Consequence::default()
        );
    }
}
