//! What the director knows and has: read once, looked at by every concern.

use std::fmt::Write as _;
use std::net::IpAddr;

use lvsx_host::{Card, Network, Prefix};
use lvsx_ipvs::model::{Tunnel, TunnelType};
use lvsx_ipvs::{Choice, Client, Destination, ForwardingMethod, MarkRule, Service, ServiceKey};
use serde_json::Value;

use crate::Result;

/// A director, its services and its network.
pub(crate) struct Site {
    /// The services with their servers.
    pub(crate) services: Vec<(Service, Vec<Destination>)>,
    /// The Ethernet interfaces.
    pub(crate) cards: Vec<Card>,
    /// All addresses with their interfaces.
    pub(crate) addresses: Vec<(String, Prefix)>,
    /// What only lvsd tells; `None` where the kernel's IPVS is the director.
    pub(crate) lvsd: Option<Lvsd>,
    /// The connections, as `/proc/net/ip_vs_conn` has them.
    pub(crate) connections: String,
}

/// What lvsd tells.
pub(crate) struct Lvsd {
    /// Its status.
    pub(crate) status: Value,
    /// Its settings.
    pub(crate) settings: Vec<(String, String)>,
    /// Its mark rules.
    pub(crate) marks: Vec<MarkRule>,
    /// How many services the kernel's IPVS has beside it.
    pub(crate) kernel_services: usize,
}

impl Site {
    /// Reads everything.
    ///
    /// # Errors
    /// When the director or the kernel does not answer.
    pub(crate) fn read(client: &mut Client, network: &Network) -> Result<Self> {
        let services = client.services()?;
        let services = services
            .into_iter()
            .map(|service| Ok((service.clone(), client.destinations(&service.key)?)))
            .collect::<Result<_>>()?;
        let connections = client.proc_text("ip_vs_conn")?;
        Ok(Self {
            services,
            cards: network.cards()?,
            addresses: network.addresses()?,
            lvsd: if client.is_kernel() {
                None
            } else {
                Some(Lvsd::read(client)?)
            },
            connections: String::from_utf8_lossy(&connections).into_owned(),
        })
    }

    /// The virtual addresses, each once.
    pub(crate) fn virtual_addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<_> = self
            .services
            .iter()
            .filter_map(|(service, _)| match service.key {
                ServiceKey::Address { addr, .. } => Some(addr),
                ServiceKey::Mark { .. } => None,
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// The servers with their services.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = (&Service, &Destination)> {
        self.services.iter().flat_map(|(service, destinations)| {
            destinations.iter().map(move |each| (service, each))
        })
    }
}

impl Lvsd {
    fn read(client: &mut Client) -> Result<Self> {
        let status = client.status()?;
        let kernel_services = Client::connect(Choice::Kernel)
            .ok()
            .and_then(|mut kernel| kernel.services().ok())
            .map_or(0, |services| services.len());
        Ok(Self {
            status: serde_json::from_str(&status).unwrap_or_default(),
            settings: client.settings()?,
            marks: client.marks()?,
            kernel_services,
        })
    }
}

/// The service as `ipvsadm` names it: `-t 192.168.1.40:80`.
pub(crate) fn named(key: &ServiceKey) -> String {
    match key {
        ServiceKey::Address {
            protocol,
            addr,
            port,
        } => {
            let option = if *protocol == 17 { "-u" } else { "-t" };
            format!("{option} {}", end(*addr, *port))
        }
        ServiceKey::Mark { mark, .. } => format!("-f {mark}"),
    }
}

/// The command that gives a server another weight, method or upper threshold and keeps the rest,
/// which `ipvsadm -e` would set back.
pub(crate) fn edit(key: &ServiceKey, destination: &Destination) -> String {
    let settings = &destination.settings;
    let server = end(destination.key.addr, destination.key.port);
    let mut text = format!("ipvsadm -e {} -r {server}", named(key));
    // A String takes everything.
    let _ = match settings.method {
        ForwardingMethod::Masquerade => write!(text, " -m"),
        ForwardingMethod::Tunnel => write!(text, " -i{}", tunnel(&settings.tunnel)),
        _ => write!(text, " -g"),
    };
    let _ = write!(text, " -w {}", settings.weight);
    if settings.upper_threshold > 0 {
        let (upper, lower) = (settings.upper_threshold, settings.lower_threshold);
        let _ = write!(text, " -x {upper} -y {lower}");
    }
    text
}

fn tunnel(tunnel: &Tunnel) -> String {
    let checksum = match tunnel.flags {
        Tunnel::CHECKSUM => " --tun-csum",
        Tunnel::REMOTE_CHECKSUM => " --tun-remcsum",
        _ => "",
    };
    match tunnel.kind {
        TunnelType::Gue => format!(" --tun-type gue --tun-port {}{checksum}", tunnel.port),
        TunnelType::Gre => format!(" --tun-type gre{checksum}"),
        TunnelType::Ipip | TunnelType::Other(_) => String::new(),
    }
}

fn end(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lvsx_ipvs::model::{DestinationKey, DestinationSettings, Stats};

    #[test]
    fn an_edit_names_everything_that_it_would_set_back() {
        let key = ServiceKey::Address {
            protocol: 6,
            addr: [8, 8, 8, 8].into(),
            port: 80,
        };
        let destination = |method, upper_threshold| Destination {
            key: DestinationKey {
                addr: "2001:db8::1".parse().unwrap(),
                port: 80,
            },
            settings: DestinationSettings {
                method,
                weight: 3,
                upper_threshold,
                lower_threshold: 0,
                tunnel: Tunnel {
                    kind: TunnelType::Gue,
                    port: 6080,
                    flags: Tunnel::CHECKSUM,
                },
            },
            active: 0,
            inactive: 0,
            persistent: 0,
            stats: Stats::default(),
        };
        assert_eq!(
            edit(&key, &destination(ForwardingMethod::Masquerade, 7)),
            "ipvsadm -e -t 8.8.8.8:80 -r [2001:db8::1]:80 -m -w 3 -x 7 -y 0"
        );
        assert_eq!(
            edit(&key, &destination(ForwardingMethod::Tunnel, 0)),
            "ipvsadm -e -t 8.8.8.8:80 -r [2001:db8::1]:80 -i --tun-type gue --tun-port 6080 --tun-csum -w 3"
        );
    }
}
