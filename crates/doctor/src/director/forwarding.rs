//! A director by NAT must be allowed to pass packets on.

use lvsx_host::sysctl;
use lvsx_ipvs::ForwardingMethod;

use super::Site;
use crate::{Fault, Finding, Result};

pub(super) fn examine(site: &Site) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (is_v6, key) in [
        (false, "net.ipv4.ip_forward"),
        (true, "net.ipv6.conf.all.forwarding"),
    ] {
        let by_nat = site.destinations().any(|(_, destination)| {
            destination.key.addr.is_ipv6() == is_v6
                && destination.settings.method == ForwardingMethod::Masquerade
        });
        if by_nat && sysctl::read(key)? == "0" {
            findings.push(Finding::here(
                Fault::NotForwarding,
                format!("{key} is 0"),
                format!("sysctl -w {key}=1"),
            ));
        }
    }
    Ok(findings)
}
