//! The lab's machines without a director: cables, addresses, names, web servers, and that nothing
//! is left behind. Needs root.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::thread;

use lvsx_host::{ForwardingMethod, bpf};
use lvsx_lab::client::{Download, upload};
use lvsx_lab::pattern::Digest;
use lvsx_lab::topology::SERVERS;
use lvsx_lab::{Blueprint, Lab, Mode, Narrator};

fn blueprint(method: ForwardingMethod) -> Blueprint {
    let binary = env!("CARGO_BIN_EXE_lvsx").into();
    Blueprint {
        method: Some(method),
        mode: Mode::Tc,
        binary,
        object: bpf::OBJECT,
    }
}

/// Machines with web servers, set up by the tutorial's plans except for the director's programs.
fn machines(method: ForwardingMethod) -> Lab {
    let quiet = Narrator::silent();
    let mut lab = Lab::build(blueprint(method), &quiet).unwrap();
    lab.start_web_servers(&quiet).unwrap();
    lab
}

fn server_address(lab: &Lab, name: &str) -> SocketAddrV4 {
    SocketAddrV4::new(lab.page_of(name).unwrap().parse().unwrap(), 80)
}

/// What the file system still has of a lab: its folder and its namespaces.
fn traces(lab: &str) -> Vec<String> {
    let hosts = [
        "switch",
        "client",
        "router",
        "lvsserver",
        "serverA",
        "serverB",
    ];
    let namespaces = hosts.map(|host| format!("/run/netns/lvsx-{lab}-{host}"));
    let folder = [format!("/run/lvsx/lab/{lab}")];
    namespaces
        .into_iter()
        .chain(folder)
        .filter(|path| Path::new(path).exists())
        .collect()
}

#[test]
fn the_client_reaches_the_servers_through_the_router() {
    let lab = machines(ForwardingMethod::DirectRouting);
    for name in SERVERS {
        let page = lab
            .client()
            .unwrap()
            .fetch(server_address(&lab, name))
            .unwrap();
        assert_eq!(page, lab.page_of(name).unwrap());
    }
}

#[test]
fn bytes_and_uploads_arrive_whole() {
    const LENGTH: u64 = 20_000_003;
    let lab = machines(ForwardingMethod::Tunnel);
    let server = server_address(&lab, "serverA");
    let connect = || lab.client().unwrap().connect(server).unwrap();
    let expected = Digest::of_pattern(LENGTH);
    assert_eq!(
        Download::bytes(connect(), LENGTH)
            .unwrap()
            .finish()
            .unwrap(),
        expected
    );
    assert_eq!(upload(connect(), LENGTH).unwrap(), expected);
}

#[test]
fn names_stand_in_the_labs_own_hosts_file() {
    let machine = fs::read_to_string("/etc/hosts").unwrap();
    let lab = machines(ForwardingMethod::Masquerade);
    let director = lab.director().unwrap();
    let names = director
        .run("getent hosts 8.8.8.8 192.168.1.46 8.8.8.9")
        .unwrap()
        .success()
        .unwrap();
    let names: Vec<_> = names
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(names, ["www", "serverA", "client"]);
    assert_eq!(fs::read_to_string("/etc/hosts").unwrap(), machine);
}

#[test]
fn real_servers_do_not_tell_that_they_have_the_virtual_address() {
    let lab = machines(ForwardingMethod::DirectRouting);
    lab.set_up_servers(ForwardingMethod::DirectRouting, &Narrator::silent())
        .unwrap();
    // Nobody else has the address yet, so nobody may answer for it.
    assert!(
        lab.director()
            .unwrap()
            .connect(lab.service_address().unwrap())
            .is_err()
    );
    let known = lab
        .director()
        .unwrap()
        .run("ip neigh show 192.168.1.40")
        .unwrap()
        .success()
        .unwrap();
    assert!(!known.contains("lladdr"), "{known}");
    for name in SERVERS {
        let own = lab
            .host(name)
            .unwrap()
            .fetch(lab.service_address().unwrap())
            .unwrap();
        assert_eq!(
            own,
            lab.page_of(name).unwrap(),
            "the address is there for the server itself"
        );
    }
}

#[test]
fn two_labs_stand_side_by_side_and_leave_nothing() {
    let names: Vec<_> = thread::scope(|scope| {
        let one = || {
            let lab = machines(ForwardingMethod::Masquerade);
            let page = lab
                .director()
                .unwrap()
                .fetch(server_address(&lab, "serverB"))
                .unwrap();
            assert_eq!(page, "192.168.1.47");
            assert_eq!(
                traces(lab.name()).len(),
                6,
                "five machines and a folder: {:?}",
                traces(lab.name())
            );
            lab.name().to_owned()
        };
        let labs = [scope.spawn(one), scope.spawn(one)];
        labs.map(|lab| lab.join().unwrap()).into()
    });
    assert_ne!(names[0], names[1]);
    for name in names {
        assert_eq!(traces(&name), Vec::<String>::new());
    }
}

#[test]
fn a_lab_goes_with_a_panic() {
    let name = thread::spawn(|| {
        let lab = machines(ForwardingMethod::Masquerade);
        let name = lab.name().to_owned();
        std::panic::panic_any(name);
    })
    .join()
    .unwrap_err()
    .downcast::<String>()
    .unwrap();
    assert_eq!(traces(&name), Vec::<String>::new());
}
