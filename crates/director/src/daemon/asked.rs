//! Next hops that packets met unresolved in XDP, as the data plane's ring tells them.

use crate::links::facts::Hop;
use aya::maps::{MapData, RingBuf};
use std::collections::BTreeSet;
use std::net::IpAddr;
use tokio::io::unix::AsyncFd;

/// Taken in one go.
const AT_ONCE: usize = 64;

/// Next hops that packets met unresolved, when there are some.
pub(super) async fn asked(records: &mut AsyncFd<RingBuf<MapData>>) -> BTreeSet<Hop> {
    let mut hops = BTreeSet::new();
    let Ok(mut guard) = records.readable_mut().await else {
        return hops;
    };
    let ring = guard.get_inner_mut();
    while hops.len() < AT_ONCE {
        let Some(record) = ring.next() else {
            guard.clear_ready();
            break;
        };
        hops.extend(hop(&record));
    }
    hops
}

/// The next hop of a record: interface index, address family, sixteen bytes of which the address is the first four or all.
/// `None`: not a record.
fn hop(record: &[u8]) -> Option<Hop> {
    let (interface, rest) = record.split_first_chunk()?;
    let (family, address) = rest.split_first_chunk()?;
    let address = match i32::from_ne_bytes(*family) {
        libc::AF_INET => IpAddr::from(*address.first_chunk::<4>()?),
        libc::AF_INET6 => IpAddr::from(*address.first_chunk::<16>()?),
        _ => return None,
    };
    Some(Hop {
        interface: u32::from_ne_bytes(*interface),
        address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::raw_words;

    #[test]
    fn records_of_both_families_are_read() {
        for (family, address) in [(2u32, "192.0.2.1"), (10, "2001:db8::1:2")] {
            let address: IpAddr = address.parse().expect("an address");
            let mut record = [7u32.to_ne_bytes(), family.to_ne_bytes()].concat();
            record.extend(raw_words(address).into_iter().flat_map(u64::to_ne_bytes));
            let expected = Hop {
                interface: 7,
                address,
            };
            assert_eq!(hop(&record), Some(expected));
        }
    }

    #[test]
    fn what_is_no_record_asks_for_nothing() {
        assert_eq!(hop(&[]), None);
        assert_eq!(hop(&[0; 24]), None);
        assert_eq!(hop(&[7, 0, 0, 0, 10, 0, 0, 0, 1, 2, 3, 4]), None);
    }
}
