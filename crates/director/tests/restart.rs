//! lvsd dies and comes back: forwarding goes on, nothing is lost, nobody else's program is touched.

mod support;

use lvsx_ipvs::{
    Client, Destination, DestinationKey, DestinationSettings, Request, Service, Timeouts,
};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;
use support::hosts::Host;
use support::scene::{
    CLIENT, Ending, PORT, Pings, VIP, configure, echo, hosts, prepare_for_xdp, service,
};
use support::{Space, in_namespace};

fn listed(client: &mut Client) -> (Vec<Service>, Vec<Destination>) {
    let services = client.services().expect("services");
    let destinations = client.destinations(&service()).expect("destinations");
    (services, destinations)
}

/// Without rates, which begin anew.
fn counters(listed: &(Vec<Service>, Vec<Destination>)) -> Vec<[u64; 5]> {
    let of_services = listed.0.iter().map(|service| service.stats);
    let stats = of_services.chain(listed.1.iter().map(|destination| destination.stats));
    stats
        .map(|it| {
            [
                it.connections,
                it.in_packets,
                it.out_packets,
                it.in_bytes,
                it.out_bytes,
            ]
        })
        .collect()
}

fn nothing_is_lost(space: &Space, mode: &str) {
    let (client, server) = hosts();
    if mode == "xdp" {
        prepare_for_xdp(&[&client, &server]);
    }
    let lvsd = space.lvsd(&["--mode", mode, "--connections", "1000"]);
    configure(&mut space.client());

    let ending = Ending::new();
    echo(&server, &ending);
    let pings = Pings::begin(&client, &ending);
    pings.wait_for(100);
    lvsd.kill();
    pings.wait_for(100);
    let lvsd = space.lvsd(&["--mode", mode]);
    pings.wait_for(100);
    ending.come();
    client.run(|| ());
    server.run(|| ());
    let sent = pings.sent();
    assert_eq!(sent, pings.answered(), "a packet was lost");

    let mut speaker = space.client();
    let before = listed(&mut speaker);
    assert_eq!(before.1[0].stats.in_packets, sent);
    assert_eq!(before.1[0].stats.out_packets, sent);
    assert_eq!(before.1[0].stats.connections, 1);
    let connections = speaker.proc_text("ip_vs_conn").expect("the connections");
    lvsd.kill();
    let lvsd = space.lvsd(&["--mode", mode]);
    let mut speaker = space.client();
    let after = listed(&mut speaker);
    assert_eq!(counters(&before), counters(&after));
    assert_eq!(before.1[0].inactive, 1);
    assert_eq!(before.1[0].inactive, after.1[0].inactive);
    assert_eq!(
        without_times(&connections),
        without_times(&speaker.proc_text("ip_vs_conn").expect("the connections"))
    );
    assert_eq!(lvsd.terminate(), Some(0));
    space.stop_forwarding();
    assert!(!space.pins().exists() && !space.folder().exists());
}

/// The connections but the seconds they have left.
fn without_times(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().skip(1).map(|line| {
        line.rsplit_once(' ')
            .map_or(line, |(line, _)| line)
            .trim_end()
            .to_owned()
    });
    lines.collect()
}

#[test]
fn packets_pass_a_killed_director_and_its_successor_knows_everything_in_tc() {
    in_namespace(|space| nothing_is_lost(space, "tc"));
}

#[test]
fn packets_pass_a_killed_director_and_its_successor_knows_everything_in_xdp() {
    in_namespace(|space| nothing_is_lost(space, "xdp"));
}

#[test]
fn a_second_director_is_refused_and_the_first_goes_on() {
    in_namespace(|space| {
        let mut first = space.lvsd(&["--connections", "1000"]);
        let said = space.lvsd_fails(&[]);
        assert!(
            said.contains("another lvsd runs in this network namespace"),
            "{said}"
        );
        assert!(first.is_alive());
        configure(&mut space.client());
    });
}

/// An upgrade to tables of another form: the old ones are stood in for by ours under another number.
#[test]
fn with_another_layout_the_configuration_is_kept_and_connections_start_anew() {
    in_namespace(|space| {
        let (client, server) = hosts();
        let ending = Ending::new();
        echo(&server, &ending);
        let lvsd = space.lvsd(&["--connections", "1000"]);
        let mut speaker = space.client();
        configure(&mut speaker);
        let timeouts = Timeouts {
            tcp: 100,
            tcp_fin: 20,
            udp: 30,
        };
        let marks =
            "add mark 7 protocol tcp to 192.0.2.0/24 ports 80-90\nadd mark 8 protocol udp\n";
        for request in [
            Request::SetTimeouts(timeouts),
            Request::SetSetting("expire_nodest_conn".into(), "1".into()),
            Request::EditMarks(marks.into()),
        ] {
            speaker.call(&request).expect("in range");
        }
        let settings = listed(&mut speaker).1[0].settings;
        for (last, upper_threshold) in [(9, 30), (5, 40)] {
            let key = DestinationKey {
                addr: Ipv4Addr::new(192, 168, 1, last).into(),
                port: 53,
            };
            let settings = DestinationSettings {
                weight: 0,
                upper_threshold,
                ..settings
            };
            let add = Request::NewDestination(service(), key, settings);
            speaker.call(&add).expect("a new destination");
        }
        let pings = Pings::begin(&client, &ending);
        pings.wait_for(100);
        let configuration = |speaker: &mut Client| {
            let (services, destinations) = listed(speaker);
            let services: Vec<_> = services
                .into_iter()
                .map(|service| (service.key, service.scheduler, service.flags))
                .collect();
            let destinations: Vec<_> = destinations
                .into_iter()
                .map(|destination| (destination.key, destination.settings))
                .collect();
            let others = (speaker.timeouts(), speaker.settings(), speaker.marks());
            (services, destinations, format!("{others:?}"))
        };
        let before = configuration(&mut speaker);
        assert_eq!(lvsd.terminate(), Some(0));
        let ours = format!("v{}", lvsx_core::LAYOUT);
        let (own, other) = (space.pins().join(&ours), space.pins().join("v999"));
        std::fs::rename(&own, &other).expect("a folder in the bpffs");
        pings.wait_for(100);

        // What another lvsd left that was killed in between is no table in force.
        std::fs::create_dir(&own).expect("a folder in the bpffs");
        let kept = space.folder().join("kept");
        let hidden = space.folder().join("hidden");
        std::fs::rename(&kept, &hidden).expect("it was written");
        let said = space.lvsd_fails(&["--connections", "1000"]);
        assert!(
            said.contains("v999") && said.contains("lvsd --stop-forwarding"),
            "{said}"
        );
        pings.wait_for(100);
        std::fs::rename(&hidden, &kept).expect("it is there");

        let lost_before = pings.sent() - pings.answered();
        let lvsd = space.lvsd(&["--connections", "1000"]);
        let log = lvsd.log();
        for said in [
            "ALL CONNECTIONS WILL END",
            "1 services are taken over from tables of another layout",
        ] {
            assert!(log.contains(said), "{said}: {log}");
        }
        assert!(!log.contains("refused"), "{log}");
        pings.wait_for(100);
        let lost = pings.sent() - pings.answered() - lost_before;
        assert!(lost <= 3, "{lost} packets were lost");
        let mut speaker = space.client();
        assert_eq!(configuration(&mut speaker), before);
        assert!(!other.exists() && own.exists());
        ending.come();
        assert_eq!(listed(&mut speaker).0[0].stats.connections, 1);
        assert_eq!(lvsd.terminate(), Some(0));
        space.stop_forwarding();
        assert!(!space.pins().exists() && !space.folder().exists());
    });
}

#[test]
fn what_is_pinned_in_the_middle_of_a_first_start_is_begun_anew() {
    in_namespace(|space| {
        space.lvsd(&["--connections", "1000"]).kill();
        let pins = space.pins().join(format!("v{}", lvsx_core::LAYOUT));
        std::fs::remove_file(pins.join("STATE")).expect("it is pinned");
        let _lvsd = space.lvsd(&["--connections", "2000"]);
        assert_eq!(
            space.client().info().expect("info").connection_table_size,
            2000
        );
    });
}

#[test]
fn another_xdp_program_is_left_alone() {
    in_namespace(|space| {
        let (_client, _server) = hosts();
        let other = Space {
            run_dir: space.run_dir.join("other"),
        };
        std::fs::create_dir(&other.run_dir).expect("a folder");
        let _holder = other.lvsd(&["--mode", "xdp", "--connections", "1000"]);
        configure(&mut other.client());

        let said = space.lvsd_fails(&["--mode", "xdp", "--iface", "eth0", "--connections", "1000"]);
        assert!(
            said.contains("eth0: another XDP program is attached"),
            "{said}"
        );
        let mut lvsd = space.lvsd(&["--mode", "xdp", "--connections", "1000"]);
        configure(&mut space.client());
        lvsd.wait_for(Duration::from_secs(10), |line| {
            line.contains("another XDP program is attached")
        });
        let status: serde_json::Value =
            serde_json::from_str(&space.client().status().expect("the status")).expect("JSON");
        assert_eq!(
            status["serving"]["interfaces"].as_array().map(Vec::len),
            Some(0)
        );
        assert_eq!(
            status["serving"]["problems"].as_array().map(Vec::len),
            Some(2)
        );
        let status: serde_json::Value =
            serde_json::from_str(&other.client().status().expect("the status")).expect("JSON");
        assert_eq!(
            status["serving"]["interfaces"].as_array().map(Vec::len),
            Some(2)
        );
    });
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    in_namespace(|space| {
        let said = space.lvsd_fails(&["--iface", "eth7", "--connections", "1000"]);
        assert!(said.contains("eth7: there is no such interface"), "{said}");
        let said = space.lvsd_fails(&["--iface", "lo", "--connections", "1000"]);
        assert!(said.contains("--iface lo"), "{said}");
    });
}

/// Whether a datagram of the client's `port` is answered.
fn is_answered(client: &Host, port: u16) -> bool {
    client.run(move || {
        let socket = UdpSocket::bind(SocketAddrV4::new(CLIENT, port)).expect("a socket");
        socket
            .connect(SocketAddrV4::new(VIP, PORT))
            .expect("an address");
        let patience = Some(Duration::from_millis(500));
        socket.set_read_timeout(patience).expect("a timeout");
        socket.send(b"?").expect("it is sent");
        socket.recv(&mut [0; 8]).is_ok()
    })
}

#[test]
fn a_full_server_takes_new_connections_when_the_old_are_over_though_the_director_is_dead() {
    in_namespace(|space| {
        let (client, server) = hosts();
        let ending = Ending::new();
        echo(&server, &ending);
        let lvsd = space.lvsd(&["--connections", "1000"]);
        let mut speaker = space.client();
        configure(&mut speaker);
        let timeouts = Timeouts {
            tcp: 0,
            tcp_fin: 0,
            udp: 3,
        };
        speaker
            .call(&Request::SetTimeouts(timeouts))
            .expect("in range");
        let (_, listed) = listed(&mut speaker);
        let limited = DestinationSettings {
            upper_threshold: 2,
            ..listed[0].settings
        };
        let edit = Request::SetDestination(service(), listed[0].key, limited);
        speaker.call(&edit).expect("it is there");

        assert!(is_answered(&client, 41_001));
        assert!(is_answered(&client, 41_002));
        assert!(!is_answered(&client, 41_003), "the server is full");
        lvsd.kill();
        assert!(!is_answered(&client, 41_004), "it still is");
        // The timeout, and what the hand needs for a round of the table.
        std::thread::sleep(Duration::from_secs(6));
        assert!(is_answered(&client, 41_005), "its connections are over");

        let _lvsd = space.lvsd(&[]);
        let mut speaker = space.client();
        let listed = speaker.destinations(&service()).expect("it is there");
        assert!(
            listed[0].inactive <= 1 && listed[0].active == 0,
            "{listed:?}"
        );
        assert_eq!(listed[0].stats.connections, 3);
        ending.come();
    });
}
