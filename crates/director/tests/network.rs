//! What lvsd makes of the network around it: where it attaches, how it follows changes.

mod support;

use lvsx_ipvs::Request;
use serde_json::Value;
use std::time::{Duration, Instant};
use support::scene::{Ending, Pings, SERVER, configure, echo, hosts, service};
use support::{Space, in_namespace, ip};

fn status(space: &Space) -> Value {
    serde_json::from_str(&space.client().status().expect("the status")).expect("JSON")
}

/// The names of the served interfaces, with their hooks.
fn served(space: &Space) -> Vec<String> {
    let status = status(space);
    let interfaces = status["serving"]["interfaces"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = interfaces.iter().map(|it| text(&it["name"])).collect();
    names.sort();
    names
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn nothing_is_attached_before_the_first_service_and_after_the_last() {
    in_namespace(|space| {
        let _hosts = hosts();
        ip("link add spare type veth peer name spare2");
        ip("link set spare up");
        let _lvsd = space.lvsd(&["--connections", "1000"]);
        assert!(served(space).is_empty());
        let mut client = space.client();
        configure(&mut client);
        assert_eq!(served(space), ["eth0", "eth1"]);
        client
            .call(&Request::DeleteService(service()))
            .expect("it is there");
        assert!(served(space).is_empty());
        configure(&mut client);
        client.call(&Request::Flush).expect("everything goes");
        assert!(served(space).is_empty());
    });
}

#[test]
fn the_operators_interfaces_are_the_only_ones() {
    in_namespace(|space| {
        let _hosts = hosts();
        let _lvsd = space.lvsd(&["--connections", "1000", "--iface", "eth1"]);
        configure(&mut space.client());
        assert_eq!(served(space), ["eth1"]);
    });
}

#[test]
fn a_bridge_is_served_and_not_its_members() {
    in_namespace(|space| {
        let _hosts = hosts();
        ip("link add br0 type bridge");
        ip("link set br0 up");
        ip("addr del 192.168.1.49/24 dev eth0");
        ip("link set eth0 master br0");
        ip("addr add 192.168.1.49/24 dev br0");
        let _lvsd = space.lvsd(&["--connections", "1000"]);
        configure(&mut space.client());
        assert_eq!(served(space), ["br0", "eth1"]);
    });
}

#[test]
fn an_interface_that_goes_and_comes_back_is_served_again() {
    in_namespace(|space| {
        let _hosts = hosts();
        let _lvsd = space.lvsd(&["--connections", "1000"]);
        configure(&mut space.client());
        ip("link set eth1 down");
        wait_until("eth1 is let go", || served(space) == ["eth0"]);
        ip("link set eth1 up");
        wait_until("eth1 is served again", || served(space) == ["eth0", "eth1"]);
    });
}

/// Datagrams go through the director, `disturb` happens, and they go on.
fn traffic_survives(mode: &str, disturb: impl FnOnce(&support::hosts::Host) + Send) {
    in_namespace(|space| {
        let (client, server) = hosts();
        if mode == "xdp" {
            support::scene::prepare_for_xdp(&[&client, &server]);
        }
        let _lvsd = space.lvsd(&["--mode", mode, "--connections", "1000"]);
        configure(&mut space.client());
        let ending = Ending::new();
        echo(&server, &ending);
        let pings = Pings::begin(&client, &ending);
        pings.wait_for(50);
        // The server's host is busy with its echo, so the disturbance comes from this side.
        disturb(&client);
        pings.wait_for(200);
        ending.come();
        let status = status(space);
        assert_eq!(status["events"]["drop-inconsistent"], 0, "{status}");
    });
}

#[test]
fn a_flushed_neighbour_table_is_filled_again_in_tc() {
    traffic_survives("tc", |_| ip("neigh flush all"));
}

#[test]
fn a_flushed_neighbour_table_is_filled_again_in_xdp() {
    traffic_survives("xdp", |_| ip("neigh flush all"));
}

#[test]
fn a_director_with_a_new_link_layer_address_is_found_again() {
    traffic_survives("tc", |_| {
        ip("link set eth1 address 02:00:00:00:00:99");
        ip("link set eth0 address 02:00:00:00:00:98");
    });
}

#[test]
fn a_route_by_another_gateway_is_taken() {
    traffic_survives("tc", |_| {
        // The server by way of itself: the next hop is the same machine, the route another one.
        ip("route add 192.168.1.46/32 via 192.168.1.47 dev eth0 onlink");
        ip("neigh replace 192.168.1.47 lladdr 02:00:00:00:00:01 dev eth0 nud permanent");
        std::thread::sleep(Duration::from_millis(200));
        ip("route del 192.168.1.46/32 via 192.168.1.47 dev eth0");
    });
}

#[test]
fn a_route_to_nowhere_is_followed_and_its_end_too() {
    in_namespace(|space| {
        let (client, server) = hosts();
        let _lvsd = space.lvsd(&["--mode", "tc", "--connections", "1000"]);
        configure(&mut space.client());
        let ending = Ending::new();
        echo(&server, &ending);
        let pings = Pings::begin(&client, &ending);
        pings.wait_for(50);
        ip(&format!("route add blackhole {SERVER}/32"));
        wait_until("packets have no route", || {
            status(space)["events"]["drop-no-route"] != 0
        });
        ip(&format!("route del blackhole {SERVER}/32"));
        pings.wait_for(50);
        ip(&format!("rule add to {SERVER}/32 blackhole"));
        let before = status(space)["events"]["drop-no-route"].clone();
        wait_until("the rule is followed", || {
            status(space)["events"]["drop-no-route"] != before
        });
    });
}

#[test]
fn a_server_behind_a_gateway_of_the_other_family_is_reached() {
    in_namespace(|space| {
        let (client, server) = hosts();
        server.run(|| ip("-6 addr add fd00::46/64 dev eth0 nodad"));
        ip("-6 addr add fd00::49/64 dev eth0 nodad");
        ip(&format!(
            "route add {SERVER}/32 via inet6 fd00::46 dev eth0"
        ));
        let _lvsd = space.lvsd(&["--mode", "tc", "--connections", "1000"]);
        configure(&mut space.client());
        let ending = Ending::new();
        echo(&server, &ending);
        let pings = Pings::begin(&client, &ending);
        pings.wait_for(50);
        wait_until("the gateway is managed", || {
            neighbour("fd00::46").contains("managed")
        });
    });
}

/// What the kernel says of a neighbour behind eth0; nothing if it knows none.
fn neighbour(address: &str) -> String {
    let output = std::process::Command::new("ip")
        .args(["neigh", "show", address, "dev", "eth0"])
        .output();
    let output = String::from_utf8_lossy(&output.expect("ip runs").stdout).into_owned();
    output.trim().to_owned()
}

#[test]
fn in_tc_a_server_is_resolved_by_its_first_packet_and_managed_from_then_on() {
    in_namespace(|space| {
        let (client, server) = hosts();
        let _lvsd = space.lvsd(&["--mode", "tc", "--connections", "1000"]);
        configure(&mut space.client());
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(neighbour("192.168.1.46"), "");
        let ending = Ending::new();
        echo(&server, &ending);
        Pings::begin(&client, &ending).wait_for(1);
        wait_until("the server is managed", || {
            neighbour("192.168.1.46").contains("managed")
        });
        let events = status(space)["events"].clone();
        assert_eq!(events["drop-no-neighbour"], 0, "{events}");
        assert_ne!(events["forwarded-unresolved"], 0, "{events}");
    });
}

#[test]
fn in_xdp_servers_are_managed_ahead_and_addresses_set_by_hand_stay() {
    in_namespace(|space| {
        let _hosts = hosts();
        ip("neigh add 192.168.1.200 lladdr 02:00:00:00:00:05 dev eth0 nud permanent");
        ip("route add default via 192.168.1.200");
        let _lvsd = space.lvsd(&["--mode", "xdp", "--connections", "1000"]);
        configure(&mut space.client());
        wait_until("the server is managed", || {
            let line = neighbour("192.168.1.46");
            line.contains("managed") && line.contains("REACHABLE")
        });
        let by_hand = neighbour("192.168.1.200");
        assert!(by_hand.contains("PERMANENT"), "{by_hand}");
        ip("neigh flush dev eth0");
        wait_until("the server is managed again", || {
            neighbour("192.168.1.46").contains("managed")
        });
    });
}
