//! The plans as the commands they stand for, and plans applied and undone in a network namespace
//! of the test's own. Needs root.

use std::net::Ipv4Addr;
use std::thread;

use lvsx_host::{
    Decapsulation, Destination, Error, ForwardingMethod, Network, Object, Offload, Outcome, Plan,
    Prefix, Setup, Step, Via, bpf, director,
};
use nix::sched::{CloneFlags, unshare};

const VIRTUAL: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 40);
const DIRECTOR: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 49);
const NO_IPIP: Decapsulation = Decapsulation::Program(Object(&[]));

fn commands(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|planned| planned.step.to_string())
        .collect()
}

fn realserver(method: ForwardingMethod, decapsulation: Decapsulation) -> Plan {
    let virtual_address = VIRTUAL.into();
    let setup = match method {
        ForwardingMethod::Masquerade => Setup::Masquerade {
            virtual_address,
            gateway: DIRECTOR.into(),
        },
        ForwardingMethod::DirectRouting => Setup::DirectRouting { virtual_address },
        ForwardingMethod::Tunnel => Setup::Tunnel {
            virtual_address,
            iface: "eth0".into(),
            decapsulation,
        },
    };
    setup.plan()
}

#[test]
fn a_real_server_by_nat_needs_its_gateway_alone() {
    assert_eq!(
        commands(&realserver(ForwardingMethod::Masquerade, NO_IPIP)),
        ["ip route replace default via 192.168.1.49"]
    );
}

#[test]
fn a_real_server_by_direct_routing() {
    assert_eq!(
        commands(&realserver(ForwardingMethod::DirectRouting, NO_IPIP)),
        [
            "ip link set lo up",
            "sysctl -w net.ipv4.conf.lo.arp_ignore=1",
            "sysctl -w net.ipv4.conf.lo.arp_announce=2",
            "sysctl -w net.ipv4.conf.all.arp_ignore=1",
            "sysctl -w net.ipv4.conf.all.arp_announce=2",
            "ip addr add 192.168.1.40/32 dev lo label lo:0",
            "ip route replace 192.168.1.40/32 dev lo",
        ]
    );
}

#[test]
fn a_real_server_by_tunnel() {
    assert_eq!(
        commands(&realserver(ForwardingMethod::Tunnel, Decapsulation::Kernel)),
        [
            "ip link add tunl0 type ipip",
            "ip link set tunl0 up",
            "sysctl -w net.ipv4.conf.tunl0.arp_ignore=1",
            "sysctl -w net.ipv4.conf.tunl0.arp_announce=2",
            "sysctl -w net.ipv4.conf.all.arp_ignore=1",
            "sysctl -w net.ipv4.conf.all.arp_announce=2",
            "ip addr add 192.168.1.40/32 dev tunl0",
            "ip route replace 192.168.1.40/32 dev tunl0",
            "sysctl -w net.ipv4.conf.tunl0.rp_filter=0",
            "sysctl -w net.ipv4.conf.all.rp_filter=0",
            "ip route change $(ip route show default | head -n 1) advmss $(($(ip -o link show eth0 | sed 's/.* mtu \\([0-9]*\\) .*/\\1/') - 60))",
        ]
    );
}

#[test]
fn a_real_server_by_tunnel_where_the_kernel_has_no_ipip() {
    let plan = realserver(ForwardingMethod::Tunnel, NO_IPIP);
    assert_eq!(
        commands(&plan)[5..],
        [
            "ip addr add 192.168.1.40/32 dev lo label lo:0",
            "ip route replace 192.168.1.40/32 dev lo",
            "tc filter add dev eth0 ingress prio 4 handle 4 bpf direct-action object lvsx.bpf.o program decap_tc",
            "sysctl -w net.ipv4.conf.eth0.rp_filter=0",
            "sysctl -w net.ipv4.conf.all.rp_filter=0",
            "ip route change $(ip route show default | head -n 1) advmss $(($(ip -o link show eth0 | sed 's/.* mtu \\([0-9]*\\) .*/\\1/') - 100))",
        ]
    );
    assert!(
        plan.steps[7].reason.contains("without tunl0"),
        "{:?}",
        plan.steps[7]
    );
}

#[test]
fn the_directors() {
    let plan = |method, address: Prefix, iface, decapsulation| {
        commands(&director::plan(method, address, iface, decapsulation))
    };
    assert_eq!(
        plan(
            ForwardingMethod::Masquerade,
            "8.8.8.8/24".parse().unwrap(),
            "eth1",
            NO_IPIP
        ),
        ["ip addr add 8.8.8.8/24 dev eth1"]
    );
    assert_eq!(
        plan(
            ForwardingMethod::DirectRouting,
            Prefix::host(VIRTUAL),
            "eth0",
            NO_IPIP
        ),
        [
            "ip addr add 192.168.1.40/32 dev eth0 label eth0:0",
            "ip route replace 192.168.1.40/32 dev eth0",
        ]
    );
    assert_eq!(
        plan(
            ForwardingMethod::Tunnel,
            Prefix::host(VIRTUAL),
            "eth0",
            Decapsulation::Kernel
        ),
        [
            "ip link add tunl0 type ipip",
            "ip link set tunl0 up",
            "ip addr add 192.168.1.40/32 dev tunl0",
            "ip route replace 192.168.1.40/32 dev tunl0",
        ]
    );
    assert_eq!(
        plan(
            ForwardingMethod::Tunnel,
            Prefix::host(VIRTUAL),
            "eth0",
            NO_IPIP
        ),
        ["ip addr add 192.168.1.40/32 dev lo label lo:0"]
    );
}

#[test]
fn offloads_and_neighbours_read_like_their_commands() {
    let offload = Step::SetOffload {
        iface: "eth0".into(),
        features: vec![(Offload::TxChecksum, false), (Offload::Gro, true)],
    };
    assert_eq!(offload.to_string(), "ethtool -K eth0 tx off gro on");
    let neighbour = Step::AddNeighbour {
        iface: "eth0".into(),
        address: VIRTUAL.into(),
        mac: [2, 0, 0, 0, 0, 0x2a],
    };
    assert_eq!(
        neighbour.to_string(),
        "ip neigh replace 192.168.1.40 lladdr 02:00:00:00:00:2a dev eth0"
    );
    assert_eq!(
        Step::ipv4_conf("eth0.100", "rp_filter", 0).to_string(),
        "sysctl -w net.ipv4.conf.eth0/100.rp_filter=0"
    );
}

/// Runs `work` in a new network namespace with a veth pair `eth0`/`peer0`, which has 192.168.1.46/24.
fn in_a_namespace(work: impl FnOnce(&Network) + Send + 'static) {
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("these tests make network namespaces: run them as root");
        let network = Network::here().unwrap();
        let cable = Plan::new("a host")
            .step(Step::LinkUp { iface: "lo".into() })
            .step(Step::CreateVeth {
                name: "eth0".into(),
                peer: "peer0".into(),
            })
            .step(Step::LinkUp {
                iface: "eth0".into(),
            })
            .step(Step::LinkUp {
                iface: "peer0".into(),
            })
            .step(Step::AddAddress {
                iface: "eth0".into(),
                address: "192.168.1.46/24".parse().unwrap(),
                label: None,
            });
        let _ = cable.apply(&network, |_, _| ()).unwrap();
        work(&network);
    };
    thread::spawn(inside).join().unwrap();
}

fn state_of(plan: &Plan, network: &Network) -> Vec<bool> {
    plan.steps
        .iter()
        .map(|planned| planned.step.check(network).unwrap())
        .collect()
}

#[test]
fn a_plan_changes_what_is_not_so_and_undo_takes_back_only_that() {
    in_a_namespace(|network| {
        let plan = realserver(ForwardingMethod::DirectRouting, NO_IPIP);
        // One of the steps is so already: it must survive the undo.
        plan.steps[3].step.apply(network).unwrap();

        let mut outcomes = Vec::new();
        let journal = plan
            .apply(network, |_, outcome| outcomes.push(outcome))
            .unwrap();
        let mut expected = vec![Outcome::Changed; 7];
        expected[0] = Outcome::AlreadySo;
        expected[3] = Outcome::AlreadySo;
        assert_eq!(outcomes, expected);
        assert_eq!(state_of(&plan, network), [true; 7]);
        assert!(
            plan.apply(network, |_, outcome| assert_eq!(
                outcome,
                Outcome::AlreadySo
            ))
            .unwrap()
            .changes
            .is_empty()
        );

        let mut undone = Vec::new();
        journal
            .undo(network, |change| undone.push(change.step.to_string()))
            .unwrap();
        let mut backwards = commands(&plan);
        backwards.remove(3);
        backwards.remove(0);
        backwards.reverse();
        assert_eq!(undone, backwards);
        assert_eq!(
            state_of(&plan, network),
            [true, false, false, true, false, false, false]
        );
    });
}

#[test]
fn a_replaced_route_comes_back() {
    in_a_namespace(|network| {
        let by = |gateway: [u8; 4]| Step::AddRoute {
            destination: Destination::Default,
            via: Via::Gateway(Ipv4Addr::from(gateway).into()),
        };
        let (old, new) = (by([192, 168, 1, 1]), by([192, 168, 1, 49]));
        old.apply(network).unwrap();
        let journal = Plan::new("a new gateway")
            .step(new.clone())
            .apply(network, |_, _| ())
            .unwrap();
        assert!(new.check(network).unwrap() && !old.check(network).unwrap());
        journal.undo(network, |_| ()).unwrap();
        assert!(old.check(network).unwrap() && !new.check(network).unwrap());
    });
}

#[test]
fn every_kind_of_step_is_checked_applied_and_undone() {
    in_a_namespace(|network| {
        let plan = Plan::new("all sorts")
            .step(Step::CreateBridge {
                name: "segment".into(),
            })
            .step(Step::JoinBridge {
                iface: "peer0".into(),
                bridge: "segment".into(),
            })
            .step(Step::CreateVeth {
                name: "veth-a".into(),
                peer: "veth-b".into(),
            })
            .step(Step::LinkUp {
                iface: "veth-a".into(),
            })
            .step(Step::SetOffload {
                iface: "peer0".into(),
                features: vec![(Offload::TxChecksum, false), (Offload::Gro, true)],
            })
            .step(Step::AddNeighbour {
                iface: "eth0".into(),
                address: Ipv4Addr::new(192, 168, 1, 1).into(),
                mac: [2, 0, 0, 0, 0, 1],
            })
            .step(director::ip_forward())
            .step(Step::AddAddress {
                iface: "eth0".into(),
                address: "2001:db8::46/64".parse().unwrap(),
                label: None,
            });
        // A new namespace may inherit forwarding from the machine.
        let off = Step::SetSysctl {
            key: "net.ipv4.ip_forward".into(),
            value: "0".into(),
        };
        off.apply(network).unwrap();
        assert!(!plan.steps[0].step.check(network).unwrap());
        let journal = plan
            .apply(network, |_, outcome| assert_eq!(outcome, Outcome::Changed))
            .unwrap();
        assert_eq!(state_of(&plan, network), [true; 8]);
        journal.undo(network, |_| ()).unwrap();
        let mut links = network.links().unwrap();
        links.sort();
        links.retain(|name| name != "tunl0");
        assert_eq!(links, ["eth0", "lo", "peer0"]);
        assert_eq!(
            state_of(
                &Plan {
                    steps: plan.steps[4..].to_vec(),
                    ..plan
                },
                network
            ),
            [false; 4]
        );
    });
}

#[test]
fn a_failing_step_leaves_nothing_half_done_and_names_the_cure() {
    in_a_namespace(|network| {
        let plan = Plan::new("a typing error")
            .step(Step::ipv4_conf("eth0", "arp_ignore", 1))
            .step(Step::LinkUp {
                iface: "eht0".into(),
            });
        let error = plan.apply(network, |_, _| ()).unwrap_err();
        assert!(matches!(&error, Error::Step { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("`ip link set eht0 up`") && text.contains("no interface eht0"),
            "{text}"
        );
        assert!(text.contains("eth0"), "{text}");
        assert!(
            !plan.steps[0].step.check(network).unwrap(),
            "the first step must be undone"
        );
    });
}

#[test]
fn an_empty_object_is_a_clear_error() {
    in_a_namespace(|network| {
        let step = Step::AttachDecapsulation {
            iface: "eth0".into(),
            object: Object(&[]),
        };
        let text = step.apply(network).unwrap_err().to_string();
        assert!(
            text.starts_with("decapsulation on eth0: the BPF object does not load"),
            "{text}"
        );
    });
}

#[test]
fn the_decapsulation_is_attached_once_and_taken_off_whole() {
    in_a_namespace(|network| {
        let plan = Plan::new("unwraps").step(Step::AttachDecapsulation {
            iface: "eth0".into(),
            object: bpf::OBJECT,
        });
        let step = &plan.steps[0].step;
        assert!(!step.check(network).unwrap());
        let journal = plan.apply(network, |_, _| ()).unwrap();
        assert!(
            step.check(network).unwrap(),
            "it stays when the loader's handles are gone"
        );
        let again = plan.apply(network, |_, outcome| {
            assert_eq!(outcome, Outcome::AlreadySo)
        });
        assert!(again.unwrap().changes.is_empty());
        journal.undo(network, |_| ()).unwrap();
        assert!(!step.check(network).unwrap());
        // With its qdisc gone too, it can be attached afresh.
        plan.apply(network, |_, outcome| assert_eq!(outcome, Outcome::Changed))
            .unwrap()
            .undo(network, |_| ())
            .unwrap();
    });
}
