//! What `ipvsadm` prints, read back.

use std::net::SocketAddrV4;

use anyhow::{Context, Result, bail};

/// The counters of a service or of one of its destinations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Bytes to clients.
    pub out_bytes: u64,
}

/// One virtual service with its destinations, in the order of the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCounters {
    /// The virtual address and port.
    pub service: SocketAddrV4,
    /// The service's own counters.
    pub counters: Counters,
    /// Each destination's.
    pub destinations: Vec<(SocketAddrV4, Counters)>,
}

/// Reads `ipvsadm -Ln --stats --exact`.
///
/// # Errors
/// On a line that is neither header, service nor destination.
pub fn exact_counters(listing: &str) -> Result<Vec<ServiceCounters>> {
    let mut services: Vec<ServiceCounters> = Vec::new();
    for line in listing.lines() {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let read = || -> Result<(SocketAddrV4, Counters)> {
            let [
                _,
                place,
                connections,
                in_packets,
                out_packets,
                in_bytes,
                out_bytes,
            ] = words[..]
            else {
                bail!("not 7 columns");
            };
            let counters = Counters {
                connections: connections.parse()?,
                in_packets: in_packets.parse()?,
                out_packets: out_packets.parse()?,
                in_bytes: in_bytes.parse()?,
                out_bytes: out_bytes.parse()?,
            };
            Ok((place.parse()?, counters))
        };
        let wrong = || format!("cannot read the listing's line `{line}`");
        match words.first() {
            None | Some(&"IP" | &"Prot") => {}
            Some(&"->") if words.get(1) == Some(&"RemoteAddress:Port") => {}
            Some(&"->") => {
                let destination = read().with_context(wrong)?;
                services
                    .last_mut()
                    .with_context(wrong)?
                    .destinations
                    .push(destination);
            }
            Some(_) => {
                let (service, counters) = read().with_context(wrong)?;
                services.push(ServiceCounters {
                    service,
                    counters,
                    destinations: Vec::new(),
                });
            }
        }
    }
    Ok(services)
}

/// Reads `ipvsadm -Lnc` without the times, which run: (protocol, state, source, virtual address,
/// destination), sorted.
#[must_use]
pub fn connections(listing: &str) -> Vec<[String; 5]> {
    let mut connections: Vec<_> = listing
        .lines()
        .skip(2)
        .filter_map(|line| {
            let words: Vec<_> = line.split_ascii_whitespace().map(str::to_owned).collect();
            <[String; 6]>::try_from(words).ok()
        })
        .map(
            |[
                protocol,
                _expire,
                state,
                source,
                virtual_address,
                destination,
            ]| { [protocol, state, source, virtual_address, destination] },
        )
        .collect();
    connections.sort();
    connections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let listing = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  8.8.8.8:80                         10       60       50     3210     4870
  -> 192.168.1.47:80                     5       30       25     1605     2435
  -> 192.168.1.46:80                     5       30       25     1605     2435
";
        let services = exact_counters(listing).unwrap();
        assert_eq!(services.len(), 1);
        assert_eq!(services[0].counters.in_bytes, 3210);
        assert_eq!(services[0].destinations[0].0.to_string(), "192.168.1.47:80");
        assert_eq!(services[0].destinations[1].1.out_packets, 25);
    }

    #[test]
    fn a_line_that_is_no_listing_is_named() {
        let error = exact_counters("TCP  8.8.8.8:80 10 60 50 3210 4K\n").unwrap_err();
        assert!(error.to_string().contains("4K"), "{error}");
        assert!(exact_counters("  -> 192.168.1.47:80 5 30 25 1605 2435\n").is_err());
    }

    #[test]
    fn connections_are_read_without_their_times() {
        let listing = "\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 01:58  TIME_WAIT   8.8.8.9:40000      8.8.8.8:80         192.168.1.47:80
";
        assert_eq!(
            connections(listing),
            [[
                "TCP",
                "TIME_WAIT",
                "8.8.8.9:40000",
                "8.8.8.8:80",
                "192.168.1.47:80"
            ]
            .map(str::to_owned)]
        );
    }
}
