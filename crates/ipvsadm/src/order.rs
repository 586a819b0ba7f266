//! The order of listings: as the director gives it, or as ipvsadm sorts.
//!
//! ipvsadm compares by the sign of a 32-bit difference, so that 224.0.0.1 comes before 10.0.0.1 and
//! the order is not even transitive. The result then depends on the method of sorting, which is the
//! C library's: a merge sort that halves downwards (glibc 2.36). The standard library's sorting
//! may panic on such an order.

use std::cmp::Ordering;
use std::net::IpAddr;

use lvsx_ipvs::{Destination, Family, ServiceKey};

/// Sorts what `key` names services of: mark, family, protocol, address, port.
pub(crate) fn sort_services<T>(items: &mut Vec<T>, key: impl Fn(&T) -> &ServiceKey) {
    let mut numbers = Numbers::default();
    for item in &*items {
        match key(item) {
            ServiceKey::Address { addr, .. } => numbers.add(0, words(addr)),
            ServiceKey::Mark { mark, .. } => numbers.add(*mark, [0; 4]),
        }
    }
    let compare = |one: &T, other: &T| service(key(one), key(other));
    match numbers.are_ordered() {
        true => items.sort_by(compare),
        false => merge_sort(items, &compare),
    }
}

/// Sorts destinations: address, port.
pub(crate) fn sort_destinations(destinations: &mut Vec<Destination>) {
    let (mut numbers, mut families) = (Numbers::default(), [false; 2]);
    for Destination { key, .. } in &*destinations {
        numbers.add(0, words(&key.addr));
        families[usize::from(key.addr.is_ipv6())] = true;
    }
    let compare = |one: &Destination, other: &Destination| {
        address(&one.key.addr, &other.key.addr).then_with(|| one.key.port.cmp(&other.key.port))
    };
    match numbers.are_ordered() && families != [true; 2] {
        true => destinations.sort_by(compare),
        false => merge_sort(destinations, &compare),
    }
}

/// The least and the largest of marks and of each word of addresses. As long as no two are half the circle apart, comparing by
/// differences is an order, which all methods sort into alike, and the standard library's is the fastest: what was added up or
/// down the addresses is looked at once.
#[derive(Default)]
struct Numbers(Option<[[u32; 5]; 2]>);

impl Numbers {
    fn add(&mut self, mark: u32, [a, b, c, d]: [u32; 4]) {
        let numbers = [mark, a, b, c, d];
        let [least, most] = self.0.get_or_insert([numbers; 2]);
        for (place, number) in numbers.into_iter().enumerate() {
            least[place] = least[place].min(number);
            most[place] = most[place].max(number);
        }
    }

    fn are_ordered(&self) -> bool {
        let Some([least, most]) = self.0 else {
            return true;
        };
        let mut pairs = least.into_iter().zip(most);
        pairs.all(|(least, most)| most - least <= i32::MAX as u32)
    }
}

fn service(one: &ServiceKey, other: &ServiceKey) -> Ordering {
    let parts = |key: &ServiceKey| match *key {
        ServiceKey::Address {
            protocol,
            addr,
            port,
        } => (0, protocol, addr, port),
        ServiceKey::Mark { family, mark } => (mark, 0, family.unspecified(), 0),
    };
    let (one, other) = (parts(one), parts(other));
    difference(one.0, other.0)
        .then_with(|| Family::of(&one.2).cmp(&Family::of(&other.2)))
        .then_with(|| one.1.cmp(&other.1))
        .then_with(|| address(&one.2, &other.2))
        .then_with(|| one.3.cmp(&other.3))
}

/// Compares as many words as the first address has; IPv4 is one word, and three of zeros where
/// IPv6 is compared with it. Families meet among the destinations of a tunnel only.
fn address(one: &IpAddr, other: &IpAddr) -> Ordering {
    if let (IpAddr::V4(one), IpAddr::V4(other)) = (one, other) {
        return difference((*one).into(), (*other).into());
    }
    let (a, b) = (words(one), words(other));
    let count = if one.is_ipv4() { 1 } else { 4 };
    let pairs = a.into_iter().zip(b).take(count);
    pairs
        .map(|(a, b)| difference(a, b))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn words(addr: &IpAddr) -> [u32; 4] {
    match addr {
        IpAddr::V4(addr) => [(*addr).into(), 0, 0, 0],
        IpAddr::V6(addr) => {
            let bits = u128::from(*addr);
            [96, 64, 32, 0].map(|shift| (bits >> shift) as u32)
        }
    }
}

const fn difference(one: u32, other: u32) -> Ordering {
    match one.wrapping_sub(other) as i32 {
        i32::MIN..0 => Ordering::Less,
        0 => Ordering::Equal,
        _ => Ordering::Greater,
    }
}

/// Sorts places rather than items, which are large.
fn merge_sort<T>(items: &mut Vec<T>, compare: &impl Fn(&T, &T) -> Ordering) {
    let mut places: Vec<usize> = (0..items.len()).collect();
    let is_behind = |one: usize, other: usize| match (items.get(one), items.get(other)) {
        (Some(one), Some(other)) => compare(one, other) == Ordering::Greater,
        _ => false,
    };
    sort_places(&mut places, &mut Vec::new(), &is_behind);
    let mut unsorted: Vec<Option<T>> = items.drain(..).map(Some).collect();
    let sorted = places.into_iter();
    items.extend(sorted.filter_map(|place| unsorted.get_mut(place)?.take()));
}

fn sort_places(
    places: &mut [usize],
    lower: &mut Vec<usize>,
    is_behind: &impl Fn(usize, usize) -> bool,
) {
    if places.len() < 2 {
        return;
    }
    let middle = places.len() / 2;
    let (low, high) = places.split_at_mut(middle);
    sort_places(low, lower, is_behind);
    sort_places(high, lower, is_behind);
    lower.clear();
    lower.extend_from_slice(low);
    // What is merged never reaches the upper places that are still to be read.
    let (mut low, mut high) = (0, middle);
    for to in 0..places.len() {
        let (Some(first), second) = (lower.get(low), places.get(high)) else {
            break;
        };
        match second {
            Some(second) if is_behind(*first, *second) => {
                places[to] = *second;
                high += 1;
            }
            _ => {
                places[to] = *first;
                low += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lvsx_ipvs::{DestinationKey, DestinationSettings, ForwardingMethod, Stats, Tunnel};
    use proptest::prelude::*;

    fn web(addr: &str) -> ServiceKey {
        ServiceKey::Address {
            protocol: 6,
            addr: addr.parse().unwrap(),
            port: 80,
        }
    }

    #[test]
    fn differences_are_signed() {
        assert_eq!(service(&web("224.0.0.1"), &web("10.0.0.1")), Ordering::Less);
        assert_eq!(service(&web("10.0.0.1"), &web("::1")), Ordering::Less);
        let mark = |mark| ServiceKey::Mark {
            family: Family::V4,
            mark,
        };
        assert_eq!(service(&web("::1"), &mark(1)), Ordering::Less);
        assert_eq!(service(&mark(u32::MAX), &web("10.0.0.1")), Ordering::Less);
    }

    proptest! {
        #[test]
        fn either_method_sorts_alike(
            addrs in prop_oneof![
                prop::collection::vec((any::<[u8; 4]>().prop_map(IpAddr::from), 0u16..3), 0..60),
                prop::collection::vec(((0u8..4).prop_map(|low| IpAddr::from([10, 0, 0, low])), 0u16..3), 0..60),
                prop::collection::vec((any::<IpAddr>(), 0u16..3), 0..60),
                prop::collection::vec(((0u8..4).prop_map(|low| IpAddr::from([low; 16])), 0u16..3), 0..60),
            ],
        ) {
            let keys = addrs.into_iter().map(|(addr, port)| DestinationKey { addr, port });
            let listed = |(weight, key)| Destination {
                key,
                settings: DestinationSettings {
                    method: ForwardingMethod::Masquerade,
                    weight,
                    upper_threshold: 0,
                    lower_threshold: 0,
                    tunnel: Tunnel::default(),
                },
                active: 0,
                inactive: 0,
                persistent: 0,
                stats: Stats::default(),
            };
            let mut destinations: Vec<_> = (0..).zip(keys).map(listed).collect();
            let mut services: Vec<_> = destinations.iter().map(|it| ServiceKey::Address {
                protocol: it.key.port,
                addr: it.key.addr,
                port: it.settings.weight as u16,
            }).collect();
            let (mut slowly, mut services_slowly) = (destinations.clone(), services.clone());
            sort_destinations(&mut destinations);
            merge_sort(&mut slowly, &|one, other| {
                address(&one.key.addr, &other.key.addr).then_with(|| one.key.port.cmp(&other.key.port))
            });
            prop_assert_eq!(destinations, slowly);
            sort_services(&mut services, |key| key);
            merge_sort(&mut services_slowly, &service);
            prop_assert_eq!(services, services_slowly);
        }

        #[test]
        fn sorts_as_the_standard_library_where_the_order_is_one(mut items: Vec<(u8, u8)>) {
            let mut expected = items.clone();
            expected.sort_by_key(|item| item.0);
            merge_sort(&mut items, &|one, other| one.0.cmp(&other.0));
            prop_assert_eq!(items, expected);
        }

        #[test]
        fn no_order_at_all_still_ends(items: Vec<u32>) {
            let mut sorted = items.clone();
            merge_sort(&mut sorted, &|one, other| difference(*one, *other));
            sorted.sort_unstable();
            let mut expected = items;
            expected.sort_unstable();
            prop_assert_eq!(sorted, expected);
        }
    }
}
