//! Settings, mark rules and services of every kind over lvsd's sockets, and across its death.

mod support;

use lvsx_ipvs::{
    Client, ClientError, DestinationKey, DestinationSettings, Errno, Family, FlagChange,
    ForwardingMethod, MarkEdit, Netmask, Request, ServiceFlags, ServiceKey, ServiceSettings,
    Tunnel,
};
use support::{in_namespace, ip};

fn value(client: &mut Client, name: &str) -> String {
    let settings = client.settings().expect("settings");
    let found = settings.iter().find(|(known, _)| known == name);
    found.expect(name).1.clone()
}

fn settings(family: Family) -> ServiceSettings {
    ServiceSettings {
        scheduler: Some("wlc".into()),
        engine: None,
        flags: FlagChange::exactly(ServiceFlags::PERSISTENT),
        timeout: 300,
        netmask: Netmask::host(family),
    }
}

#[test]
fn settings_and_marks_outlive_lvsd() {
    in_namespace(|space| {
        let lvsd = space.lvsd(&["--connections", "1000"]);
        let mut client = space.client();
        assert_eq!(client.settings().expect("settings").len(), 29);
        client
            .set_setting("expire_nodest_conn", "1")
            .expect("it exists");
        client
            .set_setting("sync_threshold", "5 100")
            .expect("it exists");
        let edits = ["mark 1 protocol tcp ports 80", "mark 2 interface lo"]
            .map(|rule| MarkEdit::Add(rule.parse().expect("a rule")));
        client.edit_marks(&edits).expect("two rules");
        client.call(&Request::Flush).expect("no service is there");
        lvsd.kill();
        let lvsd = space.lvsd(&[]);
        let mut client = space.client();
        assert_eq!(value(&mut client, "expire_nodest_conn"), "1");
        assert_eq!(value(&mut client, "sync_threshold"), "5\t100");
        let marks: Vec<MarkEdit> = client
            .marks()
            .expect("rules")
            .into_iter()
            .map(MarkEdit::Add)
            .collect();
        assert_eq!(marks, edits);
        match client.set_setting("cache_bypass", "1") {
            Err(ClientError::Explained(refused)) => {
                assert_eq!(refused.errno, Errno::EOPNOTSUPP);
                assert!(refused.why.contains("cache_bypass"), "{refused}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(lvsd.terminate(), Some(0));
        space.stop_forwarding();
    });
}

#[test]
fn a_defence_begins_when_memory_is_short() {
    in_namespace(|space| {
        let lvsd = space.lvsd(&["--connections", "1000"]);
        let mut client = space.client();
        client.set_setting("drop_packet", "1").expect("it exists");
        assert_eq!(value(&mut client, "drop_packet"), "1");
        client
            .set_setting("amemthresh", "2147483647")
            .expect("it exists");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while value(&mut client, "drop_packet") != "2" {
            assert!(
                std::time::Instant::now() < end,
                "the defence does not begin"
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        client.set_setting("drop_packet", "0").expect("it exists");
        assert_eq!(value(&mut client, "drop_packet"), "0");
        assert_eq!(lvsd.terminate(), Some(0));
        space.stop_forwarding();
    });
}

#[test]
fn services_of_both_families_and_by_mark_outlive_lvsd() {
    in_namespace(|space| {
        ip("link add d0 type veth peer name d1");
        ip("link set d0 up");
        ip("-6 addr add 2001:db8::40/128 dev d0 nodad");
        ip("-6 addr add fe80::40/64 dev d0 nodad");
        let lvsd = space.lvsd(&["--connections", "1000"]);
        let mut client = space.client();
        let six = ServiceKey::Address {
            protocol: 6,
            addr: "2001:db8::40".parse().expect("an address"),
            port: 80,
        };
        let mark = ServiceKey::Mark {
            family: Family::V4,
            mark: 1,
        };
        let services = [(six, settings(Family::V6)), (mark, settings(Family::V4))];
        for (key, settings) in services {
            client
                .call(&Request::NewService(key, settings))
                .expect("a new service");
        }
        let server = |addr: &str| DestinationKey {
            addr: addr.parse().expect("an address"),
            port: 80,
        };
        let weight = DestinationSettings {
            method: ForwardingMethod::Masquerade,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: Tunnel::default(),
        };
        let tunnelled = DestinationSettings {
            method: ForwardingMethod::Tunnel,
            ..weight
        };
        for (service, server, settings) in [
            (six, server("2001:db8::50"), weight),
            (six, server("10.0.0.1"), tunnelled),
            // Link-local, and this host's own.
            (six, server("fe80::40"), weight),
            (mark, server("10.0.0.1"), weight),
        ] {
            let request = Request::NewDestination(service, server, settings);
            client.call(&request).expect("a new destination");
        }
        let refused = client.call(&Request::NewDestination(six, server("fe80::41"), weight));
        assert!(
            matches!(refused, Err(ClientError::Refused(Errno::EINVAL))),
            "{refused:?}"
        );
        let listed = client.services().expect("services");
        let text = client.proc_text("ip_vs").expect("the services");
        lvsd.kill();
        let lvsd = space.lvsd(&[]);
        let mut client = space.client();
        assert_eq!(client.services().expect("services"), listed);
        assert_eq!(client.destinations(&six).expect("destinations").len(), 3);
        assert_eq!(client.proc_text("ip_vs").expect("the services"), text);
        let text = String::from_utf8(text).expect("text");
        for line in [
            "TCP  [2001:0db8:0000:0000:0000:0000:0000:0040]:0050 wlc persistent ",
            "  -> 0A000001:0050      Tunnel  1 ",
            "FWM  00000001 wlc persistent ",
        ] {
            assert!(text.contains(line), "{line:?} in\n{text}");
        }
        assert_eq!(lvsd.terminate(), Some(0));
        space.stop_forwarding();
    });
}
