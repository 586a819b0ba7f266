//! The director's network on the live planes, as lines for `ip -batch`.

use std::fmt::Write as _;

use super::super::addresses::{Port, SERVERS, VIP, VIP6, director, gateway, mac_text, server};
use super::super::scenario::Site;

/// Settings of the director's namespace: it forwards, answers at once, and sends nothing of its own accord.
pub(super) const SETTINGS: [(&str, &str); 17] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_ratemask", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
    ("ipv6/conf/default/mldv2_unsolicited_report_interval", "0"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv6/icmp/ratemask", ""),
];

/// How many links there are.
pub(super) fn links(site: &Site) -> u8 {
    if site.two_armed { 2 } else { 1 }
}

/// The director's end of a link.
pub(super) fn near(link: u8) -> String {
    format!("d{link}")
}

/// The bench's end of a link.
pub(super) fn far(link: u8) -> String {
    format!("p{link}")
}

/// Makes the links between two namespaces.
pub(super) fn cabling(site: &Site, near_namespace: &str, far_namespace: &str) -> String {
    (0..links(site))
        .map(|link| {
            let (near, far) = (near(link), far(link));
            let address = mac_text(Port::Director(link).mac());
            format!("link add name {near} netns {near_namespace} address {address} type veth peer name {far} netns {far_namespace}\n")
        })
        .collect()
}

/// Switches the bench's ends on.
pub(super) fn far_side(site: &Site) -> String {
    (0..links(site))
        .map(|link| format!("link set {} up\n", far(link)))
        .collect()
}

/// Addresses, routes and neighbours of the director.
pub(super) fn near_side(site: &Site) -> String {
    let mut batch = "link set lo up\n".to_owned();
    for link in 0..links(site) {
        let _ = writeln!(batch, "link set {} up", near(link));
    }
    for (link, mtu) in &site.mtu {
        let _ = writeln!(batch, "link set {} mtu {mtu}", near(*link));
    }
    for link in 0..links(site) {
        let device = near(link);
        let _ = writeln!(batch, "addr add {}/24 dev {device}", director(link, false));
        let _ = writeln!(
            batch,
            "addr add {}/64 dev {device} nodad",
            director(link, true)
        );
    }
    let _ = writeln!(
        batch,
        "addr add {VIP}/32 dev d0\naddr add {VIP6}/128 dev d0 nodad"
    );
    for prefix in &site.local {
        let _ = writeln!(batch, "route add local {prefix} dev lo");
    }
    let mut neighbour = |address: std::net::IpAddr, port: Port, link: u8| {
        let _ = writeln!(
            batch,
            "neigh add {address} lladdr {} dev {} nud permanent",
            mac_text(port.mac()),
            near(link)
        );
    };
    neighbour(gateway(0, false), Port::Gateway, 0);
    neighbour(gateway(0, true), Port::Gateway, 0);
    if site.two_armed {
        neighbour(gateway(1, false), Port::Marker, 1);
    }
    for number in 1..=SERVERS {
        for is_v6 in [false, true] {
            neighbour(
                server(number, site.two_armed, is_v6),
                Port::Server(number),
                site.two_armed.into(),
            );
        }
    }
    let _ = writeln!(
        batch,
        "route add default via {}\nroute add default via {}",
        gateway(0, false),
        gateway(0, true)
    );
    batch
}
