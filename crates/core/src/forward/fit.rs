//! Whether a packet may go on: its time to live, and its length against the way to its server.

/// What the length of a packet means for its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It goes as it is; a super-frame is cut by the kernel.
    Fits,
    /// It must be fragmented on its way (IPv4 without DF).
    Fragments,
    /// It is refused: the sender is told the limit.
    TooBig,
}

/// Whether a packet ends here: its time to live or hop limit would be 0 when it leaves. Linux 6.1 IPVS asks so for each
/// forwarding method; packets to the director itself and replies to clients are the routing's to judge.
#[inline(always)]
#[must_use]
pub fn is_expiring(ttl: u8) -> bool {
    ttl <= 1
}

/// The longest packet that a way takes whose MTU is `mtu`, with `overhead` bytes of tunnel headers (outer IP header and
/// [`Tunnel::length`](super::tunnel::Tunnel::length)); this is also the MTU that a refused sender is told. `None`: nothing
/// goes, a tunnel leaves less than 68 bytes to IPv4 outside, or less than 1280 to IPv6 outside (Linux 6.1).
#[inline(always)]
#[must_use]
pub fn limit(mtu: u32, overhead: u32, is_ipv6_outside: bool) -> Option<u32> {
    if overhead == 0 {
        return Some(mtu);
    }
    let least = if is_ipv6_outside { 1280 } else { 68 };
    let limit = mtu.checked_sub(overhead)?;
    if limit < least { None } else { Some(limit) }
}

/// How an IPv4 packet of `total` bytes fits. `heeds_df` is false for a tunnel without path MTU discovery (`pmtu_disc` 0) and
/// for ICMP errors, which are never refused.
#[inline(always)]
#[must_use]
pub fn fit4(
    total: u32,
    limit: u32,
    dont_fragment: bool,
    heeds_df: bool,
    is_aggregate: bool,
) -> Fit {
    if total <= limit || is_aggregate {
        Fit::Fits
    } else if dont_fragment && heeds_df {
        Fit::TooBig
    } else {
        Fit::Fragments
    }
}

/// How an IPv6 packet of `total` bytes fits; nothing but its sender fragments it.
#[inline(always)]
#[must_use]
pub fn fit6(total: u32, limit: u32, is_aggregate: bool) -> Fit {
    if total <= limit || is_aggregate {
        Fit::Fits
    } else {
        Fit::TooBig
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_ends_at_one() {
        assert!(is_expiring(0) && is_expiring(1) && !is_expiring(2) && !is_expiring(255));
    }

    #[test]
    fn tunnels_take_their_headers_from_the_mtu() {
        assert_eq!(limit(1500, 0, false), Some(1500));
        assert_eq!(limit(1500, 20, false), Some(1480));
        assert_eq!(limit(1280, 20, false), Some(1260));
        assert_eq!(limit(88, 20, false), Some(68));
        assert_eq!(limit(87, 20, false), None);
        assert_eq!(limit(10, 20, false), None);
        assert_eq!(limit(1500, 40, true), Some(1460));
        assert_eq!(limit(1320, 40, true), Some(1280));
        assert_eq!(limit(1319, 40, true), None);
    }

    #[test]
    fn only_df_that_is_heeded_refuses_an_ipv4_packet() {
        assert_eq!(fit4(1500, 1500, true, true, false), Fit::Fits);
        assert_eq!(fit4(1501, 1500, true, true, false), Fit::TooBig);
        assert_eq!(fit4(1501, 1500, true, false, false), Fit::Fragments);
        assert_eq!(fit4(1501, 1500, false, true, false), Fit::Fragments);
        assert_eq!(fit4(65_000, 1500, true, true, true), Fit::Fits);
    }

    #[test]
    fn a_long_ipv6_packet_is_refused() {
        assert_eq!(fit6(1280, 1280, false), Fit::Fits);
        assert_eq!(fit6(1281, 1280, false), Fit::TooBig);
        assert_eq!(fit6(65_000, 1280, true), Fit::Fits);
    }
}
