//! Real servers set up and taken back in namespaces of the test's own, whatever happened in between.
//! Needs root.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::{fs, panic, thread};

use lvsx_host::{
    Change, Decapsulation, Destination, Error, Network, Outcome, Plan, Register, Setup, Step, Via,
    bpf,
};
use nix::sched::{CloneFlags, unshare};

const OLD_GATEWAY: &str = "192.168.1.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn dr(address: &str) -> Setup {
    Setup::DirectRouting {
        virtual_address: ip(address),
    }
}

fn nat(address: &str, gateway: &str) -> Setup {
    Setup::Masquerade {
        virtual_address: ip(address),
        gateway: ip(gateway),
    }
}

fn tun(address: &str) -> Setup {
    Setup::Tunnel {
        virtual_address: ip(address),
        iface: "eth0".into(),
        decapsulation: Decapsulation::Program(bpf::OBJECT),
    }
}

/// A server with addresses and default routes of both families, and sysctls that are not the kernel's.
fn on_a_server(work: impl FnOnce(&Network, &Path) + Send + 'static) {
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("this test makes network namespaces: run it as root");
        let network = Network::here().unwrap();
        let up = |iface: &str| Step::LinkUp {
            iface: iface.into(),
        };
        let address = |address: &str| Step::AddAddress {
            iface: "eth0".into(),
            address: address.parse().unwrap(),
            label: None,
        };
        let default = |gateway: &str| Step::AddRoute {
            destination: Destination::everything(ip(gateway)),
            via: Via::Gateway(ip(gateway)),
        };
        let server = Plan::new("a server")
            .step(up("lo"))
            .step(Step::CreateVeth {
                name: "eth0".into(),
                peer: "peer0".into(),
            })
            // Duplicate address detection would change what is compared later.
            .step(Step::SetSysctl {
                key: "net.ipv6.conf.eth0.accept_dad".into(),
                value: "0".into(),
            })
            .step(up("eth0"))
            .step(up("peer0"))
            .step(address("192.168.1.46/24"))
            .step(address("2001:db8::46/64"))
            .step(default(OLD_GATEWAY))
            .step(default("2001:db8::1"))
            .step(Step::ipv4_conf("all", "rp_filter", 1))
            .step(Step::ipv4_conf("all", "arp_announce", 1));
        let _ = server.apply(&network, |_, _| ()).unwrap();
        let folder = std::env::temp_dir().join(format!("lvsx-register-{}", own_number()));
        work(&network, &folder);
        let _ = fs::remove_dir_all(folder);
    };
    if let Err(failure) = thread::spawn(inside).join() {
        panic::resume_unwind(failure);
    }
}

/// A number of this thread's own.
fn own_number() -> String {
    format!("{}-{:?}", std::process::id(), thread::current().id()).replace(['(', ')'], "")
}

fn output(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Addresses, routes of all tables, sysctls of all interfaces, and tc: what `up` could have changed.
fn state() -> String {
    let settled = || output("ip", "-6 addr show tentative").is_empty();
    (0..300)
        .take_while(|_| !settled())
        .for_each(|_| thread::sleep(std::time::Duration::from_millis(10)));
    [
        output("ip", "addr"),
        output("ip", "route show table all"),
        output("ip", "-6 route show table all"),
        sysctls(),
        output("tc", "qdisc show"),
        output("tc", "filter show dev eth0 ingress"),
    ]
    .concat()
}

/// Every sysctl of every interface.
fn sysctls() -> String {
    let mut text = String::new();
    for family in ["ipv4", "ipv6"] {
        for iface in fs::read_dir(format!("/proc/sys/net/{family}/conf")).unwrap() {
            for key in fs::read_dir(iface.unwrap().path()).unwrap() {
                let path = key.unwrap().path();
                // Some can only be written.
                let value = fs::read_to_string(&path).unwrap_or_default();
                text += &format!("{} {value}", path.display());
            }
        }
    }
    text
}

#[test]
fn down_restores_what_up_found_by_every_method_and_family() {
    on_a_server(|network, folder| {
        let before = state();
        for setup in [
            dr("192.168.1.40"),
            tun("192.168.1.40"),
            nat("8.8.8.8", "192.168.1.49"),
            dr("2001:db8::40"),
            tun("2001:db8::40"),
            nat("2001:db8:1::8", "2001:db8::49"),
        ] {
            let mut register = Register::open(folder).unwrap();
            register.up(&setup, network, |_, _| ()).unwrap();
            assert_ne!(state(), before);
            let all_so = |step: &Step| step.check(network).unwrap();
            assert!(
                setup
                    .plan()
                    .steps
                    .iter()
                    .all(|planned| all_so(&planned.step)),
                "{setup:?}"
            );
            register
                .up(&setup, network, |planned, outcome| {
                    assert_eq!(outcome, Outcome::AlreadySo, "{}", planned.step);
                })
                .unwrap();
            drop(register);
            assert_eq!(Register::setups(folder).unwrap(), [setup]);
            let promised = Register::changes(folder, None).unwrap();

            let mut undone = Vec::new();
            let mut register = Register::open(folder).unwrap();
            register
                .down(None, network, |change| undone.push(change.clone()))
                .unwrap();
            assert_eq!(undone, promised);
            assert_eq!(state(), before);
            assert!(!folder.join("journal.json").exists());
        }
    });
}

#[test]
fn down_restores_after_up_was_killed_at_any_point() {
    on_a_server(|network, folder| {
        // One step is so before, and shall stay so.
        Step::ipv4_conf("lo", "arp_ignore", 1)
            .apply(network)
            .unwrap();
        let before = state();
        for setup in [
            dr("192.168.1.40"),
            tun("192.168.1.40"),
            nat("8.8.8.8", "192.168.1.49"),
        ] {
            // The register is copied whenever a step is done: what a process killed then leaves. One killed
            // between noting a change and making it leaves the file of the next step, and the machine of this one.
            for killed_after in 0..setup.plan().steps.len() {
                // By tunnelling one of the two at each step: loading the program takes its time.
                let both = setup != tun("192.168.1.40");
                for noted in [false, true] {
                    if !both && noted == (killed_after % 2 == 0) {
                        continue;
                    }
                    kill_after(killed_after, noted, &setup, network, folder);
                    let mut register = Register::open(folder).unwrap();
                    register.down(None, network, |_| ()).unwrap();
                    assert_eq!(
                        state(),
                        before,
                        "{setup:?} killed after {killed_after}, noted {noted}"
                    );
                }
            }
        }
    });
}

/// Leaves machine and file as `up` does that is killed after so many steps: `noted` says whether the
/// next change was written down already.
fn kill_after(steps: usize, noted: bool, setup: &Setup, network: &Network, folder: &Path) {
    let file = folder.join("journal.json");
    let mut files = Vec::new();
    let mut register = Register::open(folder).unwrap();
    let mut done = Vec::new();
    register
        .up(setup, network, |planned, outcome| {
            // Nothing was written as long as nothing was changed.
            files.push(fs::read(&file).ok());
            done.push((planned.step.clone(), outcome));
        })
        .unwrap();
    let full: Vec<_> = Register::changes(folder, None).unwrap();
    // Back to where the killed process was: later changes never happened.
    let late: Vec<_> = done[(steps + 1).min(done.len())..]
        .iter()
        .filter(|(_, outcome)| *outcome == Outcome::Changed)
        .map(|(step, _)| step.clone())
        .collect();
    for change in &full {
        let own = done
            .get(steps)
            .is_some_and(|(step, _)| *step == change.step);
        if late.contains(&change.step) || (noted && own) {
            change.undo(network).unwrap();
        }
    }
    drop(register);
    match &files[steps] {
        Some(text) => fs::write(&file, text).unwrap(),
        None => drop(fs::remove_file(&file)),
    }
}

/// By the step, and by the commands that stand for it and for its undo.
#[test]
fn segments_are_limited_on_default_routes_of_all_kinds() {
    on_a_server(|network, _| {
        let more = "dev eth0 proto dhcp metric 100";
        let from = "src 192.168.1.46 mtu 1400 initcwnd 20";
        for (address, route, announced) in [
            ("192.168.1.40", String::new(), None),
            (
                "192.168.1.40",
                format!("via {OLD_GATEWAY} {more} {from}"),
                Some(1400),
            ),
            (
                "192.168.1.40",
                format!("via {OLD_GATEWAY} dev eth0 advmss 1460"),
                Some(1400),
            ),
            (
                "192.168.1.40",
                "via 10.9.9.9 dev eth0 onlink".to_owned(),
                Some(1400),
            ),
            ("192.168.1.40", "dev eth0 scope link".to_owned(), Some(1400)),
            (
                "192.168.1.40",
                format!("via {OLD_GATEWAY} dev eth0 advmss 1200"),
                Some(1200),
            ),
            (
                "2001:db8::40",
                "via 2001:db8::1 dev eth0 metric 512".to_owned(),
                Some(1380),
            ),
            (
                "2001:db8::40",
                "via fe80::9 dev eth0 advmss 1440 hoplimit 9".to_owned(),
                Some(1380),
            ),
            (
                "2001:db8::40",
                "via fe80::9 dev eth0 proto ra".to_owned(),
                None,
            ),
        ] {
            let family = if address.contains(':') { "-6" } else { "-4" };
            output("ip", &format!("{family} route flush default"));
            if !route.is_empty() {
                output("ip", &format!("{family} route add default {route}"));
            }
            let routes = || output("ip", &format!("{family} route"));
            let before = routes();
            let step = tun(address).segment_limit().unwrap();
            let destination = Destination::everything(ip(address));
            if step.check(network).unwrap() {
                assert_eq!(
                    network.announced(destination).unwrap(),
                    announced,
                    "{route}"
                );
                continue;
            }
            let change = Change {
                before: step.before(network).unwrap(),
                step,
            };
            change.step.apply(network).unwrap();
            assert_eq!(
                network.announced(destination).unwrap(),
                announced,
                "{route}"
            );
            assert!(change.step.check(network).unwrap());
            let limited = routes();
            change.undo(network).unwrap();
            change.undo(network).unwrap();
            assert_eq!(routes(), before);
            output_of_shell(&change.step.to_string());
            assert_eq!(routes(), limited);
            output_of_shell(&change.to_string());
            assert_eq!(routes(), before);
        }
    });
}

fn output_of_shell(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
}

#[test]
fn set_ups_that_share_steps_leave_one_by_one() {
    on_a_server(|network, folder| {
        let before = state();
        let mut register = Register::open(folder).unwrap();
        let (first, second) = (dr("192.168.1.40"), dr("192.168.1.41"));
        for setup in [&first, &second] {
            register.up(setup, network, |_, _| ()).unwrap();
        }
        register
            .down(Some(first.virtual_address()), network, |change| {
                assert!(!change.to_string().starts_with("sysctl"), "{change}");
            })
            .unwrap();
        let so = |setup: &Setup| {
            let steps = setup.plan().steps;
            steps
                .iter()
                .all(|planned| planned.step.check(network).unwrap())
        };
        assert!(!so(&first) && so(&second));
        let unknown = register.down(Some(ip("192.168.1.42")), network, |_| ());
        assert!(
            unknown
                .unwrap_err()
                .to_string()
                .contains("set up are: 192.168.1.41")
        );
        register
            .down(Some(ip("192.168.1.41")), network, |_| ())
            .unwrap();
        register
            .down(Some(ip("192.168.1.41")), network, |_| ())
            .unwrap();
        assert_eq!(state(), before);
    });
}

#[test]
fn what_does_not_fit_is_refused_with_the_cure_and_nothing_is_done() {
    on_a_server(|network, folder| {
        let add = |iface: &str, address: &str| Step::AddAddress {
            iface: iface.into(),
            address: address.parse().unwrap(),
            label: None,
        };
        add("lo", "192.168.1.43/24").apply(network).unwrap();
        let before = state();
        let mut register = Register::open(folder).unwrap();
        let far = Setup::Tunnel {
            virtual_address: ip("192.168.1.40"),
            iface: "eht0".into(),
            decapsulation: Decapsulation::Program(bpf::OBJECT),
        };
        for (setup, part) in [
            (dr("192.168.1.46"), "this server's own address, on eth0"),
            (dr("2001:db8::46"), "this server's own address, on eth0"),
            (dr("224.0.0.1"), "cannot be a virtual address"),
            (dr("127.0.0.1"), "cannot be a virtual address"),
            (dr("192.168.1.43"), "`ip addr del 192.168.1.43/24 dev lo`"),
            (
                nat("8.8.8.8", "192.168.2.49"),
                "on none of this server's networks (192.168.1.46/24)",
            ),
            (nat("8.8.8.8", "192.168.1.46"), "this server itself"),
            (nat("8.8.8.8", "2001:db8::49"), "not of one family"),
            (far, "no interface eht0 here; there are: lo, "),
        ] {
            let error = register
                .up(&setup, network, |_, _| ())
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{setup:?}: {error}");
            assert_eq!(state(), before, "{setup:?}");
        }
        register
            .up(&dr("192.168.1.40"), network, |_, _| ())
            .unwrap();
        for setup in [tun("192.168.1.40"), nat("192.168.1.40", "192.168.1.49")] {
            let error = register
                .up(&setup, network, |_, _| ())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("`lvsx realserver down --vip 192.168.1.40`"),
                "{error}"
            );
        }
        assert!(
            matches!(Register::open(folder), Err(Error::Journal(text)) if text.contains("in use"))
        );
        register.down(None, network, |_| ()).unwrap();
        assert_eq!(state(), before);
    });
}

#[test]
fn an_interface_that_went_meanwhile_took_its_changes_along() {
    on_a_server(|network, folder| {
        let mut register = Register::open(folder).unwrap();
        register
            .up(&tun("192.168.1.40"), network, |_, _| ())
            .unwrap();
        output("ip", "link del eth0");
        register.down(None, network, |_| ()).unwrap();
        assert_eq!(output("ip", "-4 -o addr show dev lo").lines().count(), 1);
        assert!(output("sysctl", "net.ipv4.conf.all.rp_filter").ends_with("= 1\n"));
    });
}
