//! How it was before a step changed it, in a form that outlives the process.

use std::fmt;

use rtnetlink::packet_core::{Emitable, Parseable};
use rtnetlink::packet_route::route::RouteMessage;
use serde::{Deserialize, Serialize};

use crate::{Error, Network, Offload, Result};

/// How it was before a step changed it: what undo needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Before {
    /// What the step makes did not exist.
    Absent,
    /// The interface was down.
    Down,
    /// The sysctl had this value.
    Value(String),
    /// The route led another way.
    Route(OldRoute),
    /// Segments of this length were announced by the route, or none of its own.
    Segments(Option<u32>),
    /// The neighbour had this hardware address for good. One that was learnt needs no memory: it
    /// will be learnt again.
    Mac([u8; 6]),
    /// The features were switched so.
    Features(Vec<(Offload, bool)>),
    /// The interface was in the bridge of this index, 0 for none.
    Bridge(u32),
    /// The interface had no clsact qdisc, so the filter's goes as well.
    NoClsact,
}

/// A route with everything the kernel told of it: metrics, preferred source and what else there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldRoute {
    /// The kernel's own message.
    message: Vec<u8>,
    /// The way it led, as `ip route` writes it.
    way: String,
}

impl OldRoute {
    /// Remembers a route as it was read.
    pub(crate) fn of(route: &RouteMessage, network: &Network) -> Result<Self> {
        let mut message = vec![0; route.buffer_len()];
        route.emit(&mut message);
        let way = network.way(route)?;
        Ok(Self { message, way })
    }

    /// The message to enter it again.
    pub(crate) fn message(&self) -> Result<RouteMessage> {
        RouteMessage::parse(self.message.as_slice())
            .map_err(|error| Error::Journal(format!("a route in it: {error}")))
    }
}

impl fmt::Display for OldRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.way)
    }
}
