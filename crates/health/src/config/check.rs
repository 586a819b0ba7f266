//! A check: how a server is asked whether it works.

use super::name::display_service;
use crate::standing::Patience;
use lvsx_ipvs::{DestinationKey, ForwardingMethod, ServiceKey};
use regex_lite::Regex;
use serde::Deserialize;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A check that is whole.
#[derive(Clone, Debug)]
pub struct Check {
    /// Its name in the configuration.
    pub name: String,
    /// What is asked.
    pub kind: Kind,
    /// The port that is asked; `None`: the destination's own.
    pub port: Option<u16>,
    /// Where servers are asked that answer past the director.
    pub at: At,
    /// From the beginning of a check to that of the next, at most.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// Checks in a row that it takes to come up and to go down.
    pub patience: Patience,
    /// How a server stands that has not been checked yet.
    pub starts_up: bool,
}

impl Check {
    /// Whom it asks for a destination that packets are forwarded to by `method`.
    #[must_use]
    pub fn whom(&self, through: Through, method: ForwardingMethod) -> Whom {
        let Through { service, server } = through;
        let answers_past_us = matches!(
            method,
            ForwardingMethod::DirectRouting | ForwardingMethod::Tunnel
        );
        // Services by mark have no address; a tunnel to the other family leads to one that a client's packet cannot come from.
        let has_way = match service {
            ServiceKey::Address { addr, .. } => addr.is_ipv4() == server.addr.is_ipv4(),
            ServiceKey::Mark { .. } => false,
        };
        let is_way_asked = match self.kind {
            Kind::Tcp | Kind::Http(_) | Kind::Https(..) | Kind::Udp(_) => self.at == At::Virtual,
            Kind::Ping | Kind::Script(_) => false,
        };
        let port = match self.kind {
            Kind::Ping => 0,
            _ => self.port.unwrap_or(server.port),
        };
        Whom {
            address: server.addr,
            port,
            through: (answers_past_us && has_way && is_way_asked).then_some(through),
        }
    }
}

/// Where servers are asked that answer past the director.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// At the virtual address, by their destination's forwarding method.
    #[default]
    Virtual,
    /// At their own address.
    Server,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A connection is opened and closed.
    Tcp,
    /// A page is fetched.
    Http(Page),
    /// A page is fetched over TLS.
    Https(Page, Tls),
    /// An echo request is sent.
    Ping,
    /// A datagram is sent.
    Udp(Datagram),
    /// A program is run.
    Script(Script),
}

/// A page that is fetched, and what it must be.
#[derive(Clone, Debug)]
pub struct Page {
    /// The path that is asked for.
    pub path: String,
    /// The `Host` that is asked for; `None`: the server's address.
    pub host: Option<String>,
    /// Statuses that are good.
    pub status: Vec<RangeInclusive<u16>>,
    /// What the body must be.
    pub body: Body,
}

/// What a body must be.
#[derive(Clone, Debug)]
pub enum Body {
    /// Anything; it is not read.
    Any,
    /// What this expression is found in.
    Matches(Regex),
    /// What has this SHA-256.
    Digest([u8; 32]),
}

/// How the server proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The name that is asked for and that the certificate must have; `None`: the server's address.
    pub name: Option<String>,
    /// Whether the certificate is verified.
    pub verify: bool,
    /// Certificates of the authorities that are trusted.
    pub authorities: PathBuf,
}

/// A datagram, and whether one must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// What is sent.
    pub send: Vec<u8>,
    /// What an answer must begin with; `None`: no answer is needed, only no ICMP error may come.
    pub expect: Option<Vec<u8>>,
}

/// A program, run with the server's address and port as its last arguments. It succeeds with exit status 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its file.
    pub path: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<String>,
}

/// Whom a check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Whom {
    /// The server's address.
    pub address: IpAddr,
    /// The port that is asked; 0 where there is none.
    pub port: u16,
    /// The service through which it is asked, at the virtual address; `None`: at its own.
    pub through: Option<Through>,
}

/// A destination of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Through {
    /// The service.
    pub service: ServiceKey,
    /// The destination.
    pub server: DestinationKey,
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            0 => self.address.fmt(f),
            port => SocketAddr::new(self.address, port).fmt(f),
        }?;
        match self.through {
            Some(through) => write!(f, " through {}", display_service(&through.service)),
            None => Ok(()),
        }
    }
}
