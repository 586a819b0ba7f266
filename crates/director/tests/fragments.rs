//! Datagrams that are longer than a link's MTU, sent by real stacks: through the director, to its own stack, past it; with
//! lvsd and without.

mod support;

use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};
use support::hosts::Host;
use support::scene::{
    CLIENT, Ending, PORT, SERVER, VIP, configure, hosts, masquerade, prepare_for_xdp,
};
use support::{Space, in_namespace, ip};

/// Longer than two frames.
const LONG: usize = 4000;
/// Fills a frame.
const FULL: usize = 1472;
/// A port of no service.
const OTHER: u16 = 7777;
/// The director, and the port of a server on it.
const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 49);
const LOCAL: u16 = 5454;
/// A port that nobody listens at.
const CLOSED: u16 = 5455;

fn event(space: &Space, name: &str) -> u64 {
    let status = space.client().status().expect("the status");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    status["events"][name].as_u64().expect(name)
}

fn data(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 251 + at) as u8).collect()
}

fn socket(address: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddrV4::new(address, port)).expect("a socket");
    let patience = Some(Duration::from_secs(2));
    socket.set_read_timeout(patience).expect("a timeout");
    socket
}

/// Sends back what comes to a server's socket, until the end.
fn echo(socket: UdpSocket, ending: &Ending) -> impl FnOnce() + Send + 'static {
    let is_over = ending.flag();
    let patience = Some(Duration::from_millis(50));
    socket.set_read_timeout(patience).expect("a timeout");
    move || {
        let mut buffer = [0; 8192];
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        }
    }
}

/// Whether a datagram of so many bytes comes back from the service as it was.
fn comes_back(client: &Host, length: usize) -> bool {
    client.run(move || is_answered(CLIENT, PORT, length).is_ok())
}

/// Asks a service of the virtual address, from this address of the calling thread's host.
fn is_answered(from: Ipv4Addr, port: u16, length: usize) -> std::io::Result<()> {
    let socket = socket(from, 0);
    let sent = data(length);
    socket.connect(SocketAddrV4::new(VIP, port))?;
    socket.send(&sent)?;
    let mut buffer = [0; 8192];
    let length = socket.recv(&mut buffer)?;
    assert_eq!(buffer[..length], sent);
    Ok(())
}

/// The director's own sockets: its requests, which go out and come back in fragments, and a server on it.
fn own_sockets_are_served(space: &Space, client: &Host, ending: &Ending) {
    masquerade(&mut space.client(), LOCAL, OWN);
    masquerade(&mut space.client(), CLOSED, SERVER);
    let local = socket(OWN, LOCAL);
    let server = std::thread::spawn(echo(local, ending));
    // The first long one may be refused, which tells the socket the way's MTU. It sends fragments then.
    let tries = |from, port| (0..3).map(move |_| is_answered(from, port, LONG));
    for from in [VIP, OWN] {
        assert!(tries(from, PORT).any(|answer| answer.is_ok()), "{from}");
        assert!(tries(from, LOCAL).any(|answer| answer.is_ok()), "{from}");
        let refused = is_answered(from, CLOSED, 1).expect_err("nobody listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    client.run(|| is_answered(CLIENT, LOCAL, LONG).expect("the director's answer to a client"));
    assert!(!server.is_finished());
}

/// Runs `test` with a director between a client and an echoing server; the server's link takes 1400 bytes.
fn with_director(mode: &str, test: impl FnOnce(&Space, &Host, &Host) + Send) {
    in_namespace(|space| {
        let (client, server) = hosts();
        if mode == "xdp" {
            prepare_for_xdp(&[&client, &server]);
        }
        ip("link set eth0 mtu 1400");
        server.run(|| ip("link set eth0 mtu 1400"));
        for host in [&client, &server] {
            // Routers may fragment what they send.
            let file = "/proc/sys/net/ipv4/ip_no_pmtu_disc";
            host.run(move || std::fs::write(file, "1").expect("a setting"));
        }
        test(space, &client, &server);
    });
}

fn goes_back_and_forth(mode: &str) {
    with_director(mode, |space, client, server| {
        let lvsd = space.lvsd(&["--mode", mode, "--connections", "1000"]);
        configure(&mut space.client());
        let ending = Ending::new();
        let theirs = server.run(|| socket(SERVER, PORT));
        server.begin(echo(theirs, &ending));
        assert!(comes_back(client, 10), "a short one");
        assert!(comes_back(client, LONG));
        assert!(event(space, "reassembled") >= 2);
        assert!(comes_back(client, FULL), "one that is too long for the way");
        assert!(event(space, "long-taken") >= 1);
        // The next hops have to be found anew.
        ip("neigh flush all");
        assert!(comes_back(client, LONG), "after a flush");
        own_sockets_are_served(space, client, &ending);

        lvsd.kill();
        assert!(!comes_back(client, LONG), "without lvsd");
        assert!(!comes_back(client, FULL), "without lvsd");
        assert!(comes_back(client, 10), "without lvsd");
        let _lvsd = space.lvsd(&["--mode", mode]);
        assert!(event(space, "drop-fragment") >= 2);
        assert!(event(space, "drop-uncut") >= 1);
        assert!(comes_back(client, LONG), "after a restart");
        assert_eq!(event(space, "drop-unsent"), 0);
        assert_eq!(event(space, "drop-inconsistent"), 0);
    });
}

#[test]
fn long_datagrams_go_back_and_forth_while_lvsd_runs_in_tc() {
    goes_back_and_forth("tc");
}

#[test]
fn long_datagrams_go_back_and_forth_while_lvsd_runs_in_xdp() {
    goes_back_and_forth("xdp");
}

/// Sends from one socket to another, and waits until it is there as it was.
fn arrives(from: &UdpSocket, to: &UdpSocket, address: SocketAddrV4) {
    let sent = data(LONG);
    let mut buffer = [0; 8192];
    let begin = Instant::now();
    loop {
        from.send_to(&sent, address).expect("it can be sent");
        match to.recv(&mut buffer) {
            Ok(length) => {
                assert_eq!(buffer[..length], sent);
                return;
            }
            // The first one may be lost while next hops are looked for.
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(6), "{error}"),
        }
    }
}

fn reaches_its_own(mode: &str) {
    with_director(mode, |space, client, server| {
        let lvsd = space.lvsd(&["--mode", mode, "--connections", "1000"]);
        configure(&mut space.client());
        // To the virtual address, where the director's own stack listens.
        let own = socket(VIP, OTHER);
        let theirs = client.run(|| socket(CLIENT, OTHER));
        arrives(&theirs, &own, SocketAddrV4::new(VIP, OTHER));
        // What XDP gives back does not come by XDP again.
        let again = if mode == "tc" { 3 } else { 0 };
        assert_eq!(event(space, "pass-fragment"), again);
        // From a real server by way of the director, but of no connection.
        let servers = server.run(|| socket(SERVER, OTHER));
        arrives(&servers, &theirs, SocketAddrV4::new(CLIENT, OTHER));
        assert_eq!(event(space, "drop-unsent"), 0);

        lvsd.kill();
        arrives(&servers, &theirs, SocketAddrV4::new(CLIENT, OTHER));
    });
}

#[test]
fn long_datagrams_that_are_not_the_directors_reach_their_own_in_tc() {
    reaches_its_own("tc");
}

#[test]
fn long_datagrams_that_are_not_the_directors_reach_their_own_in_xdp() {
    reaches_its_own("xdp");
}
