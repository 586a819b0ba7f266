//! Connections of this host's own that are led to a destination, for health checks ([`conn::lead`]).

use super::Control;
use crate::generation::{raw_address, raw_address6};
use crate::tables::Tables;
use lvsx_core::conn::{self, Entry, Entry4, Entry6, Opened, Peer, Want};
use lvsx_core::state::{TCP, UDP};
use lvsx_ipvs::{DestinationKey, Errno, ForwardingMethod, Lead, ServiceKey};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How long a connection is left after it should have been over, for its last packets.
const GRACE: Duration = Duration::from_secs(1);

/// A connection that was led.
pub(super) struct Led {
    until: Instant,
    flow: Flow,
}

/// A flow by its client's side.
#[derive(Clone, Copy)]
struct Flow {
    protocol: u8,
    client: SocketAddr,
    virt: SocketAddr,
}

impl Control {
    /// Leads a connection, and ends those whose time is over: so a checker that stops leaves no more than a few behind, which
    /// end by their own timers.
    pub(super) fn lead_connection(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        lead: &Lead,
    ) -> Result<(), Errno> {
        let (_, found) = self.find(service)?;
        let (_, destination) = found.destination(key).ok_or(Errno::ENOENT)?;
        let ServiceKey::Address { addr, .. } = *service else {
            return Err(Errno::EINVAL);
        };
        let method = destination.settings.method;
        let is_led = matches!(
            method,
            ForwardingMethod::DirectRouting | ForwardingMethod::Tunnel
        );
        let is_known = [TCP, UDP].contains(&lead.protocol);
        let ends = [lead.client.ip(), key.addr];
        if !is_led
            || !is_known
            || ends.iter().any(|end| end.is_ipv4() != addr.is_ipv4())
            || !self.locals.is_local(lead.client.ip())
        {
            return Err(Errno::EINVAL);
        }
        let now = Instant::now();
        let over: Vec<Led> = self.led.extract_if(.., |led| led.until <= now).collect();
        over.iter().for_each(|led| end(&self.tables, &led.flow));
        let flow = Flow {
            protocol: lead.protocol,
            client: lead.client,
            virt: SocketAddr::new(addr, lead.port),
        };
        let dest = SocketAddr::new(key.addr, key.port);
        let bound = (destination.id, method.bits() as u8);
        match self.open(&flow, dest, bound, lead.within + GRACE) {
            Opened::New => {
                let until = now + lead.within + GRACE;
                self.led.push(Led { until, flow });
                Ok(())
            }
            Opened::Exists => Err(Errno::EEXIST),
            Opened::Contended | Opened::Full => Err(Errno::ENOMEM),
        }
    }

    fn open(&self, flow: &Flow, dest: SocketAddr, bound: (u32, u8), within: Duration) -> Opened {
        let (tables, clock) = (&*self.tables, self.clock);
        let now = clock.now();
        let deadline = now.after(clock.rate.ticks(within.as_secs() as u32 + 1));
        match dest.ip() {
            IpAddr::V4(addr) => {
                let dest = (raw_address(addr), dest.port().to_be());
                conn::lead(tables, &want4(tables, flow), dest, bound, deadline, now)
            }
            IpAddr::V6(addr) => {
                let dest = (raw_address6(addr), dest.port().to_be());
                conn::lead(tables, &want6(tables, flow), dest, bound, deadline, now)
            }
        }
    }
}

fn end(tables: &Tables, flow: &Flow) {
    if flow.virt.is_ipv4() {
        end_flow(tables, &want4(tables, flow));
    } else {
        end_flow(tables, &want6(tables, flow));
    }
}

fn end_flow<E: Entry>(tables: &Tables, want: &Want<E>) {
    if let Some(hit) = conn::find(tables, want) {
        // A packet that moves it in this moment leaves it to its timer.
        hit.end(tables);
    }
}

fn want4(tables: &Tables, flow: &Flow) -> Want<Entry4> {
    let raw = |end: SocketAddr| match end.ip() {
        IpAddr::V4(addr) => (raw_address(addr), end.port().to_be()),
        IpAddr::V6(_) => (0, 0),
    };
    let (client, virt) = (raw(flow.client), raw(flow.virt));
    Want::new(
        Entry4::geometry(tables),
        flow.protocol,
        client,
        virt,
        Peer::Virtual,
    )
}

fn want6(tables: &Tables, flow: &Flow) -> Want<Entry6> {
    let raw = |end: SocketAddr| match end.ip() {
        IpAddr::V6(addr) => (raw_address6(addr), end.port().to_be()),
        IpAddr::V4(_) => ([0; 2], 0),
    };
    let (client, virt) = (raw(flow.client), raw(flow.virt));
    Want::new(
        Entry6::geometry(tables),
        flow.protocol,
        client,
        virt,
        Peer::Virtual,
    )
}
