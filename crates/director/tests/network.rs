//! What lvsd makes of the network around it: where it attaches, how it follows changes.

mod support;

use lvsx_ipvs::Request;
use serde_json::Value;
use std::time::{Duration, Instant};
use support::scene::{Ending, Pings, configure, echo, hosts, service};
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
fn servers_are_managed_neighbours_and_addresses_set_by_hand_stay() {
    in_namespace(|space| {
        let _hosts = hosts();
        ip("neigh add 192.168.1.200 lladdr 02:00:00:00:00:05 dev eth0 nud permanent");
        ip("route add default via 192.168.1.200");
        let _lvsd = space.lvsd(&["--connections", "1000"]);
        configure(&mut space.client());
        let neighbours = || {
            let output = std::process::Command::new("ip")
                .args(["neigh", "show", "dev", "eth0"])
                .output();
            String::from_utf8_lossy(&output.expect("ip runs").stdout).into_owned()
        };
        let line_of = |address: &str| {
            neighbours()
                .lines()
                .find(|line| line.starts_with(&format!("{address} ")))
                .unwrap_or_default()
                .to_owned()
        };
        wait_until("the server is managed", || {
            let line = line_of("192.168.1.46");
            line.contains("managed") && line.contains("REACHABLE")
        });
        assert!(
            line_of("192.168.1.200").contains("PERMANENT"),
            "{}",
            neighbours()
        );
        ip("neigh flush dev eth0");
        wait_until("the server is managed again", || {
            line_of("192.168.1.46").contains("managed")
        });
    });
}
