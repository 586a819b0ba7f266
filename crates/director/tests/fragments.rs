//! Datagrams that are longer than a link's MTU, sent by real stacks: through the director, to its own stack, past it; with
//! lvsd and without.

mod support;

use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};
use support::hosts::Host;
use support::scene::{CLIENT, Ending, PORT, SERVER, VIP, configure, hosts, prepare_for_xdp};
use support::{Space, in_namespace, ip};

/// Longer than two frames.
const LONG: usize = 4000;
/// Fills a frame.
const FULL: usize = 1472;
/// A port of no service.
const OTHER: u16 = 7777;

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

/// Sends back what comes to the server, until the end.
fn echo(server: &Host, ending: &Ending) {
    let is_over = ending.flag();
    let socket = server.run(|| socket(SERVER, PORT));
    let patience = Some(Duration::from_millis(50));
    socket.set_read_timeout(patience).expect("a timeout");
    server.begin(move || {
        let mut buffer = [0; 8192];
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        }
    });
}

/// Whether a datagram of so many bytes comes back from the service as it was.
fn comes_back(client: &Host, length: usize) -> bool {
    client.run(move || {
        let socket = socket(CLIENT, 0);
        let sent = data(length);
        let to = SocketAddrV4::new(VIP, PORT);
        if socket.send_to(&sent, to).is_err() {
            return false;
        }
        let mut buffer = [0; 8192];
        matches!(socket.recv(&mut buffer), Ok(length) if buffer[..length] == sent)
    })
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
        echo(server, &ending);
        assert!(comes_back(client, 10), "a short one");
        assert!(comes_back(client, LONG));
        assert!(event(space, "reassembled") >= 2);
        assert!(comes_back(client, FULL), "one that is too long for the way");
        assert!(event(space, "long-taken") >= 1);
        // The next hops have to be found anew.
        ip("neigh flush all");
        assert!(comes_back(client, LONG), "after a flush");

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
