//! Forwarding outlives its director, and follows the network under it. Needs root.

mod common;

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use common::{connect, counters, tutorial};
use lvsx_host::ForwardingMethod::{self, DirectRouting, Masquerade};
use lvsx_host::{Destination, Plan, Prefix, Step, Via};
use lvsx_lab::Mode::{self, Tc, Xdp};
use lvsx_lab::capture::{Capture, Traffic};
use lvsx_lab::client::{self, Download};
use lvsx_lab::listing::connections;
use lvsx_lab::pattern::Digest;
use lvsx_lab::topology::{OUTSIDE, SWITCH};
use lvsx_lab::{Lab, Narrator};

const BULK: u64 = 100_000_000;
const SETTLE: Duration = Duration::from_secs(5);

/// The connection entries, without their running times.
fn entries(lab: &Lab) -> Result<Vec<[String; 5]>> {
    Ok(connections(
        &lab.director()?.run("ipvsadm -Lnc")?.success()?,
    ))
}

/// Looks every 100 ms until `found` holds; what was seen last is the error otherwise.
fn eventually<T: std::fmt::Debug>(
    limit: Duration,
    mut look: impl FnMut() -> Result<T>,
    found: impl Fn(&T) -> bool,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let seen = look()?;
        if found(&seen) {
            return Ok(seen);
        }
        anyhow::ensure!(
            started.elapsed() < limit,
            "after {} s still {seen:#?}",
            limit.as_secs()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Ends a connection by a reset instead of the usual farewell.
fn reset(stream: TcpStream) -> std::io::Result<()> {
    let at_once = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &at_once)?;
    drop(stream);
    Ok(())
}

/// SIGKILL in the middle of a transfer; old and new connections go on without a director; the next
/// one finds everything, and has missed not a packet.
fn killed_and_restarted(method: ForwardingMethod, mode: Mode) -> Result<()> {
    let mut lab = tutorial(method, mode)?;
    let capture = Capture::start(&lab.client()?, lab.service_address()?)?;
    let idle: Vec<TcpStream> = (0..4).map(|_| connect(&lab)).collect::<Result<_>>()?;
    let mut transfer = Download::bytes(connect(&lab)?, BULK)?;
    transfer.read(BULK / 10)?;
    lab.kill_director()?;

    transfer.read(BULK / 10)?;
    let pages: Vec<_> = (0..10)
        .map(|_| client::page(connect(&lab)?).map_err(Into::into))
        .collect::<Result<_>>()?;
    assert!(
        pages.windows(2).all(|pair| pair[0] != pair[1]),
        "without lvsd: {pages:?}"
    );
    transfer.read(BULK / 10)?;

    lab.start_director(&Narrator::silent())?;
    assert_eq!(transfer.finish()?, Digest::of_pattern(BULK));

    // The transfer and the pages have ended; the idle ones must still be what they were.
    let alive = entries(&lab)?
        .into_iter()
        .filter(|entry| entry[1] == "ESTABLISHED")
        .count();
    assert_eq!(alive, idle.len());
    let (seen, counted) = eventually(
        SETTLE,
        || Ok((capture.seen(), counters(&lab)?.counters)),
        |(seen, counted)| {
            let to_servers = Traffic {
                packets: counted.in_packets,
                bytes: counted.in_bytes,
            };
            let to_client = Traffic {
                packets: counted.out_packets,
                bytes: counted.out_bytes,
            };
            // XDP counts the packets of the wire, the client's stack the ones it joined from them.
            mode == Xdp
                || to_servers == seen.sent
                    && (to_client == seen.received || method == DirectRouting)
        },
    )?;
    assert_eq!(counted.connections, 4 + 1 + 10);
    assert!(seen.sent.packets > 0);

    // At rest nothing may differ before and after.
    let before = (entries(&lab)?, counters(&lab)?);
    lab.kill_director()?;
    lab.start_director(&Narrator::silent())?;
    assert_eq!(
        (entries(&lab)?, counters(&lab)?),
        before,
        "after a second restart"
    );
    lab.stop_director()?;
    assert!(
        lab.client()?.fetch(lab.service_address()?).is_ok(),
        "SIGTERM leaves forwarding alone"
    );
    Ok(())
}

#[test]
fn a_killed_director_by_nat_in_tc() -> Result<()> {
    killed_and_restarted(Masquerade, Tc)
}

#[test]
fn a_killed_director_by_nat_in_xdp() -> Result<()> {
    killed_and_restarted(Masquerade, Xdp)
}

#[test]
fn a_killed_director_by_dr_in_tc() -> Result<()> {
    killed_and_restarted(DirectRouting, Tc)
}

/// `-x 3`: the fourth connection is refused. The director dies, the three are reset; 10 seconds
/// later (the timeout of CLOSE) they are gone without anybody's help, and the counts are right.
#[test]
fn connections_expire_without_a_director() -> Result<()> {
    let mut lab = tutorial(Masquerade, Tc)?;
    let director = lab.director()?;
    director
        .run("ipvsadm -dt 8.8.8.8:80 -r 192.168.1.47:80")?
        .success()?;
    director
        .run("ipvsadm -et 8.8.8.8:80 -r 192.168.1.46:80 -m -x 3")?
        .success()?;
    let three: Vec<TcpStream> = (0..3).map(|_| connect(&lab)).collect::<Result<_>>()?;
    assert!(connect(&lab).is_err(), "the server is full");

    lab.kill_director()?;
    three.into_iter().try_for_each(reset)?;
    assert!(connect(&lab).is_err(), "the timeout is not over");
    // Each as soon as one of the three is over; refused until then.
    let connected = || {
        eventually(
            Duration::from_secs(40),
            || Ok(connect(&lab)),
            |connection| connection.is_ok(),
        )?
    };
    let again: Vec<TcpStream> = (0..3).map(|_| connected()).collect::<Result<_>>()?;
    assert!(connect(&lab).is_err(), "the server is full again");

    lab.start_director(&Narrator::silent())?;
    let listing = director.run("ipvsadm -Ln")?.success()?;
    let server = listing
        .lines()
        .find(|line| line.contains("192.168.1.46:80"))
        .unwrap_or_default();
    let counts: Vec<_> = server.split_ascii_whitespace().rev().take(2).collect();
    assert_eq!(counts, ["0", "3"], "InActConn and ActiveConn in\n{listing}");
    drop(again);
    Ok(())
}

/// The neighbour tables are flushed again and again under a transfer.
fn neighbours_flushed(method: ForwardingMethod, mode: Mode) -> Result<()> {
    let lab = tutorial(method, mode)?;
    let mut transfer = Download::bytes(connect(&lab)?, BULK)?;
    let cards: &[&str] = if method == Masquerade {
        &["eth0", "eth1"]
    } else {
        &["eth0"]
    };
    for _ in 0..20 {
        transfer.read(BULK / 25)?;
        lab.director()?.network(|network| {
            cards
                .iter()
                .try_for_each(|card| network.flush_neighbours(card))
        })?;
    }
    assert_eq!(transfer.finish()?, Digest::of_pattern(BULK));
    Ok(())
}

#[test]
fn neighbours_flushed_by_nat_in_tc() -> Result<()> {
    neighbours_flushed(Masquerade, Tc)
}

#[test]
fn neighbours_flushed_by_nat_in_xdp() -> Result<()> {
    neighbours_flushed(Masquerade, Xdp)
}

#[test]
fn neighbours_flushed_by_dr_in_tc() -> Result<()> {
    neighbours_flushed(DirectRouting, Tc)
}

const CLIENT_ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const FIRST_GATEWAY: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 9);
const SECOND_GATEWAY: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 10);

/// The client gets a second card and an address of another network, so that there are two gateways
/// towards it: its own two cards.
fn give_the_client_two_ways(lab: &Lab) -> Result<()> {
    let quiet = Narrator::silent();
    let (port, card) = ("client-eth1".to_owned(), "eth1".to_owned());
    let cable = Plan::new("a second card for the client")
        .step(Step::CreateVeth {
            name: port.clone(),
            peer: card.clone(),
        })
        .step(Step::MoveToNamespace {
            iface: card.clone(),
            namespace: lab.client()?.namespace().name().to_owned(),
        })
        .step(Step::JoinBridge {
            iface: port.clone(),
            bridge: OUTSIDE.to_owned(),
        })
        .step(Step::LinkUp { iface: port });
    let _ = lab.host(SWITCH)?.apply(&cable, &quiet)?;
    let both = ["all", "eth0", "eth1"]
        .into_iter()
        .fold(Plan::new("two ways"), |plan, iface| {
            plan.step(Step::ipv4_conf(iface, "rp_filter", 0))
                .step(Step::ipv4_conf(iface, "arp_ignore", 1))
        });
    let both = both
        .step(Step::AddAddress {
            iface: card.clone(),
            address: Prefix {
                address: SECOND_GATEWAY.into(),
                length: 24,
            },
            label: None,
        })
        .step(Step::LinkUp { iface: card })
        .step(Step::AddAddress {
            iface: "lo".to_owned(),
            address: Prefix::host(CLIENT_ELSEWHERE),
            label: None,
        });
    let _ = lab.client()?.apply(&both, &quiet)?;
    Ok(())
}

/// The director's and the client's ways to each other, by one of the client's cards.
fn lead_by(lab: &Lab, gateway: Ipv4Addr, card: &str) -> Result<()> {
    let there = Plan::new("to the client").step(Step::AddRoute {
        destination: Destination::Network(Prefix {
            address: Ipv4Addr::new(203, 0, 113, 0).into(),
            length: 24,
        }),
        via: Via::Gateway(gateway.into()),
    });
    let back = Plan::new("to the director").step(Step::AddRoute {
        destination: Destination::Network(Prefix::host(*lab.service_address()?.ip())),
        via: Via::Interface(card.to_owned()),
    });
    let _ = lab.director()?.apply(&there, &Narrator::silent())?;
    let _ = lab.client()?.apply(&back, &Narrator::silent())?;
    Ok(())
}

/// The gateway towards the client changes under a transfer, and the old one is cut off.
fn gateway_changed(mode: Mode) -> Result<()> {
    let lab = tutorial(Masquerade, mode)?;
    give_the_client_two_ways(&lab)?;
    lead_by(&lab, FIRST_GATEWAY, "eth0")?;
    let from = SocketAddrV4::new(CLIENT_ELSEWHERE, 0);
    let to = lab.service_address()?;
    let stream = lab
        .client()?
        .namespace()
        .run(|| client::open_from(from, to))??;
    let mut transfer = Download::bytes(stream, BULK)?;
    transfer.read(BULK / 5)?;

    lead_by(&lab, SECOND_GATEWAY, "eth1")?;
    lab.host(SWITCH)?
        .network(|network| network.set_up("client-eth0", false))?;
    assert_eq!(transfer.finish()?, Digest::of_pattern(BULK));
    Ok(())
}

#[test]
fn the_gateway_changes_in_tc() -> Result<()> {
    gateway_changed(Tc)
}

#[test]
fn the_gateway_changes_in_xdp() -> Result<()> {
    gateway_changed(Xdp)
}
