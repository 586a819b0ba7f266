//! What the operator ordered for servers: `lvsx drain`, `maint`, `ready`.
//!
//! Orders lie in a file that root alone writes, in the folder of this network namespace. So they outlive lvsx-check, which reads
//! them twice a second and opens no socket to anybody.

use crate::pool::Order;
use lvsx_ipvs::DestinationKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Name of the file.
const NAME: &str = "orders.json";

/// Whom an order is for: a server's address, with all ports or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// Its port; `None`: all.
    pub port: Option<u16>,
}

impl Server {
    /// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`.
    ///
    /// # Errors
    /// What is wrong, and how it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self {
                address,
                port: None,
            });
        }
        let end: SocketAddr = text.parse().map_err(|_| {
            format!("`{text}` is no server: write its address, with a port or without, as in 192.0.2.1 or 192.0.2.1:80")
        })?;
        Ok(Self {
            address: end.ip(),
            port: Some(end.port()),
        })
    }

    /// Whether a destination is meant.
    #[must_use]
    pub fn is(&self, key: &DestinationKey) -> bool {
        self.address == key.addr && self.port.is_none_or(|port| port == key.port)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Drain,
    Maint,
}

/// The orders in force. Servers that are not named are ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders(BTreeMap<Server, Order>);

impl Orders {
    /// The order for a destination. One for its port goes before one for its address.
    #[must_use]
    pub fn of(&self, key: &DestinationKey) -> Order {
        let of = |port| {
            let server = Server {
                address: key.addr,
                port,
            };
            self.0.get(&server).copied()
        };
        of(Some(key.port)).or_else(|| of(None)).unwrap_or_default()
    }

    /// Gives an order. One for an address takes the place of those for its ports.
    pub fn give(&mut self, server: Server, order: Order) {
        if server.port.is_none() {
            self.0.retain(|other, _| other.address != server.address);
        }
        let address = Server {
            port: None,
            ..server
        };
        // Ready needs no word, but for a port against an order for the whole address.
        if order == Order::Ready && (server == address || !self.0.contains_key(&address)) {
            self.0.remove(&server);
        } else {
            self.0.insert(server, order);
        }
    }

    /// Reads those of this network namespace.
    ///
    /// # Errors
    /// The file is there and cannot be understood.
    pub fn read() -> io::Result<Self> {
        match fs::read_to_string(path()?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            other => Self::parse(&other?),
        }
    }

    fn parse(text: &str) -> io::Result<Self> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let words: BTreeMap<String, Option<Word>> = serde_json::from_str(text)?;
        let orders = words.into_iter().map(|(server, word)| {
            let order = match word {
                Some(Word::Drain) => Order::Drain,
                Some(Word::Maint) => Order::Maintenance,
                None => Order::Ready,
            };
            Ok((Server::parse(&server).map_err(invalid)?, order))
        });
        Ok(Self(orders.collect::<io::Result<_>>()?))
    }

    fn text(&self) -> String {
        let words = self.0.iter().map(|(server, order)| {
            let word = match order {
                Order::Drain => Some(Word::Drain),
                Order::Maintenance => Some(Word::Maint),
                Order::Ready => None,
            };
            (server.to_string(), word)
        });
        let words: BTreeMap<String, Option<Word>> = words.collect();
        serde_json::to_string_pretty(&words).unwrap_or_default()
    }

    /// Writes those of this network namespace, in one piece.
    ///
    /// # Errors
    /// Those of the file; `NotFound` where no lvsd has ever run.
    pub fn write(&self) -> io::Result<()> {
        let path = path()?;
        let next = path.with_extension("new");
        fs::write(&next, self.text())?;
        fs::rename(next, path)
    }
}

fn path() -> io::Result<PathBuf> {
    Ok(lvsx_ipvs::check_dir()?.join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> DestinationKey {
        crate::config::parse_destination(text).expect(text)
    }

    fn given(orders: &[(&str, Order)]) -> Orders {
        let mut all = Orders::default();
        for (server, order) in orders {
            all.give(Server::parse(server).expect(server), *order);
        }
        assert_eq!(Orders::parse(&all.text()).expect("it is ours"), all);
        all
    }

    #[test]
    fn an_order_holds_for_a_port_or_for_all() {
        let orders = given(&[
            ("10.0.0.1", Order::Drain),
            ("10.0.0.1:443", Order::Maintenance),
            ("[2001:db8::1]:80", Order::Drain),
        ]);
        assert_eq!(orders.of(&key("10.0.0.1:80")), Order::Drain);
        assert_eq!(orders.of(&key("10.0.0.1:443")), Order::Maintenance);
        assert_eq!(orders.of(&key("10.0.0.2:80")), Order::Ready);
        assert_eq!(orders.of(&key("[2001:db8::1]:80")), Order::Drain);
    }

    #[test]
    fn ready_ends_orders() {
        assert_eq!(
            given(&[("10.0.0.1", Order::Drain), ("10.0.0.1", Order::Ready)]),
            Orders::default()
        );
        assert_eq!(
            given(&[("10.0.0.1:80", Order::Drain), ("10.0.0.1", Order::Ready)]),
            Orders::default()
        );
        let but_one = given(&[("10.0.0.1", Order::Drain), ("10.0.0.1:80", Order::Ready)]);
        assert_eq!(but_one.of(&key("10.0.0.1:80")), Order::Ready);
        assert_eq!(but_one.of(&key("10.0.0.1:81")), Order::Drain);
    }

    #[test]
    fn what_is_no_server_is_said() {
        for text in ["web1", "10.0.0.1:", "10.0.0.1:99999", ""] {
            assert!(
                Server::parse(text)
                    .expect_err(text)
                    .contains("192.0.2.1:80")
            );
        }
    }
}
