//! Which IPv4 addresses concern the director: what goes into the address filter.

use crate::config::Config;
use crate::generation::{Concerns, raw_address};
use std::net::{IpAddr, Ipv4Addr};

/// The addresses of `config`'s services as far as `is_ours` says that they are this host's, and those of masqueraded
/// destinations; including removed ones, whose connections live on. With the last service everything ends: then nothing
/// concerns the director (as in the kernel, which takes its hooks away then; Linux 5.7).
#[must_use]
pub fn of(config: &Config, is_ours: impl Fn(Ipv4Addr) -> bool) -> Concerns {
    let mut concerns = Concerns::new();
    if config.services.is_empty() {
        return concerns;
    }
    for addr in config
        .virtual_addresses()
        .filter_map(ipv4)
        .filter(|addr| is_ours(*addr))
    {
        concerns.entry(raw_address(addr)).or_default().is_virtual = true;
    }
    for addr in config.masqueraded().filter_map(ipv4) {
        concerns.entry(raw_address(addr)).or_default().is_server = true;
    }
    concerns
}

fn ipv4(addr: IpAddr) -> Option<Ipv4Addr> {
    match addr {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    }
}
