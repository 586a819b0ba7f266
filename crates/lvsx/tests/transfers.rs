//! Bulk and many short connections through the director. Needs root.

mod common;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Barrier;
use std::thread;

use anyhow::Result;
use common::{connect, counters, tutorial};
use lvsx_host::ForwardingMethod::{self, DirectRouting, Masquerade, Tunnel};
use lvsx_lab::Mode::{self, Tc, Xdp};
use lvsx_lab::client::{self, Download, upload};
use lvsx_lab::pattern::Digest;

const BULK: u64 = 100_000_000;
const SHORT: usize = 1000;
/// The short connections' ports begin here, below those that systems choose from.
const FIRST_PORT: u16 = 20_000;

/// In tc mode every offload of the hosts is on, as a veth has it from birth.
fn bulk_arrives_whole_both_ways(method: ForwardingMethod, mode: Mode) -> Result<()> {
    let lab = tutorial(method, mode)?;
    let expected = Digest::of_pattern(BULK);
    assert_eq!(
        Download::bytes(connect(&lab)?, BULK)?.finish()?,
        expected,
        "down"
    );
    assert_eq!(upload(connect(&lab)?, BULK)?, expected, "up");
    let counters = counters(&lab)?.counters;
    assert_eq!(counters.connections, 2);
    assert!(counters.in_bytes > BULK, "{counters:?}");
    assert_eq!(
        counters.out_bytes > BULK,
        method == Masquerade,
        "{counters:?}"
    );
    Ok(())
}

/// All at once, from as many threads. Each names its port: left to choose, a system whose threads are held up in the
/// middle of a choice takes ports of connections just ended once more, and such a one is no new connection to a director.
fn short_connections_all_succeed(method: ForwardingMethod, mode: Mode) -> Result<()> {
    let lab = tutorial(method, mode)?;
    let service = lab.service_address()?;
    let start = Barrier::new(SHORT);
    let failures: Vec<_> = lab.client()?.namespace().run(|| {
        thread::scope(|scope| {
            let start = &start;
            let threads: Vec<_> = (FIRST_PORT..)
                .take(SHORT)
                .map(|port| {
                    let own = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
                    thread::Builder::new()
                        .stack_size(256 << 10)
                        .spawn_scoped(scope, move || {
                            start.wait();
                            client::open_from(own, service).and_then(client::page)
                        })
                        .unwrap()
                })
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().unwrap().err())
                .collect()
        })
    })?;
    assert!(
        failures.is_empty(),
        "{} of {SHORT} failed: {:?}",
        failures.len(),
        failures.first()
    );
    let counters = counters(&lab)?;
    assert_eq!(counters.counters.connections, SHORT as u64);
    for (server, counters) in counters.destinations {
        assert_eq!(counters.connections, SHORT as u64 / 2, "{server}");
    }
    Ok(())
}

#[test]
fn bulk_by_nat_in_tc() -> Result<()> {
    bulk_arrives_whole_both_ways(Masquerade, Tc)
}

#[test]
fn bulk_by_nat_in_xdp() -> Result<()> {
    bulk_arrives_whole_both_ways(Masquerade, Xdp)
}

#[test]
fn bulk_by_dr_in_tc() -> Result<()> {
    bulk_arrives_whole_both_ways(DirectRouting, Tc)
}

#[test]
fn bulk_by_dr_in_xdp() -> Result<()> {
    bulk_arrives_whole_both_ways(DirectRouting, Xdp)
}

/// Answers, the bulk of what a web server sends, go by the server's own way, as large as they are.
#[test]
fn bulk_answers_by_tunnel() -> Result<()> {
    for mode in [Tc, Xdp] {
        let lab = tutorial(Tunnel, mode)?;
        let transfer = Download::bytes(connect(&lab)?, BULK)?;
        assert_eq!(transfer.finish()?, Digest::of_pattern(BULK), "{mode}");
    }
    Ok(())
}

#[test]
fn short_connections_by_nat_in_tc() -> Result<()> {
    short_connections_all_succeed(Masquerade, Tc)
}

#[test]
fn short_connections_by_nat_in_xdp() -> Result<()> {
    short_connections_all_succeed(Masquerade, Xdp)
}

#[test]
fn short_connections_by_dr_in_tc() -> Result<()> {
    short_connections_all_succeed(DirectRouting, Tc)
}

#[test]
fn short_connections_by_tunnel_in_tc() -> Result<()> {
    short_connections_all_succeed(Tunnel, Tc)
}
