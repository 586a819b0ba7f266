//! What can be broken in a lab, one thing at a time: how, and what the doctor must find.
//!
//! The list holds what users of LVS get wrong. Each entry is broken by shell lines on the lab's
//! machines, as a person would have done it.

use lvsx_doctor::Fault;
use lvsx_host::ForwardingMethod::{self, DirectRouting, Masquerade, Tunnel};

use crate::Mode;
use crate::topology::{CLIENT, DIRECTOR, SWITCH};

const A: &str = "serverA";
const B: &str = "serverB";
const ROUTER: &str = "router";

/// One thing that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breakage {
    /// Its name on the command line.
    pub name: &'static str,
    /// The labs in which it can be broken.
    pub methods: &'static [ForwardingMethod],
    /// The director's mode that it needs, where it needs one.
    pub mode: Option<Mode>,
    /// What is done, on which machine.
    pub script: &'static [(&'static str, &'static str)],
    /// The machine on which the doctor is asked, and the words behind `lvsx doctor`.
    pub asked: (&'static str, &'static str),
    /// What it must find.
    pub fault: Fault,
    /// What a person puts in the place of the cure's word in capitals.
    pub blank: Option<(&'static str, &'static str)>,
    /// What makes the lab as it was, after the cure: mostly nothing.
    pub mend: &'static [(&'static str, &'static str)],
}

const AS_DIRECTOR: (&str, &str) = (DIRECTOR, "director");
const DR_SERVER: (&str, &str) = (A, "realserver --mode dr --vip 192.168.1.40");
const TUN_SERVER: (&str, &str) = (A, "realserver --mode tun --vip 192.168.1.40");
const NAT_SERVER: (&str, &str) = (
    A,
    "realserver --mode nat --vip 8.8.8.8 --gateway 192.168.1.49",
);

/// Besides the links themselves what is kept of them: the server's limit of segments, which may stay closer than need be, and
/// the client's path MTU.
const WIDE_AGAIN: &[(&str, &str)] = &[
    (SWITCH, "ip link set serverA-eth0 mtu 1500"),
    (
        A,
        "ip link set eth0 mtu 1500; ip route replace default via 192.168.1.1; lvsx realserver up --mode tun --vip 192.168.1.40",
    ),
    (CLIENT, "ip route flush cache"),
];

const EDIT_BACK: &str = "ipvsadm -e -t 192.168.1.40:80 -r 192.168.1.46:80 -g; ipvsadm -e -t 192.168.1.40:80 -r 192.168.1.47:80 -g";

const fn breakage(
    name: &'static str,
    methods: &'static [ForwardingMethod],
    script: &'static [(&'static str, &'static str)],
    asked: (&'static str, &'static str),
    fault: Fault,
) -> Breakage {
    Breakage {
        name,
        methods,
        mode: None,
        script,
        asked,
        fault,
        blank: None,
        mend: &[],
    }
}

impl Breakage {
    const fn blank(mut self, word: &'static str, value: &'static str) -> Self {
        self.blank = Some((word, value));
        self
    }

    const fn mend(mut self, mend: &'static [(&'static str, &'static str)]) -> Self {
        self.mend = mend;
        self
    }

    const fn in_mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Whether long packets alone are lost by it.
    #[must_use]
    pub fn hits_long_packets(&self) -> bool {
        matches!(self.fault, Fault::PathMtu | Fault::SegmentsTooLong)
    }

    /// The one of this name that can be broken in a lab of this method.
    #[must_use]
    pub fn named(name: &str, method: ForwardingMethod) -> Option<&'static Self> {
        Self::of(method).find(|one| one.name == name)
    }

    /// All that can be broken in a lab of this method.
    pub fn of(method: ForwardingMethod) -> impl Iterator<Item = &'static Self> {
        ALL.iter().filter(move |one| one.methods.contains(&method))
    }
}

/// All of them: first what goes wrong most often.
pub const ALL: &[Breakage] = &[
    breakage(
        "arp",
        &[DirectRouting, Tunnel],
        &[(A, "sysctl -qw net.ipv4.conf.all.arp_ignore=0")],
        AS_DIRECTOR,
        Fault::ServerAnswersArp,
    ),
    breakage(
        "arp-ignore",
        &[DirectRouting],
        &[(A, "sysctl -qw net.ipv4.conf.all.arp_ignore=0")],
        DR_SERVER,
        Fault::ArpIgnore,
    ),
    breakage(
        "arp-announce",
        &[DirectRouting],
        &[(A, "sysctl -qw net.ipv4.conf.all.arp_announce=0")],
        DR_SERVER,
        Fault::ArpAnnounce,
    ),
    breakage(
        "gateway",
        &[Masquerade],
        &[(A, "ip route replace default via 192.168.1.1")],
        AS_DIRECTOR,
        Fault::AnswersAstray,
    ),
    breakage(
        "forwarding",
        &[Masquerade],
        &[(DIRECTOR, "sysctl -qw net.ipv4.ip_forward=0")],
        AS_DIRECTOR,
        Fault::NotForwarding,
    ),
    breakage(
        "no-gateway",
        &[Masquerade],
        &[(A, "ip route del default")],
        NAT_SERVER,
        Fault::WrongGateway,
    ),
    breakage(
        "gateway",
        &[DirectRouting],
        &[(A, "ip route replace default via 192.168.1.49")],
        DR_SERVER,
        Fault::GatewayIsDirector,
    )
    .blank("ROUTER", "192.168.1.1"),
    breakage(
        "gateway",
        &[Tunnel],
        &[(A, "ip route replace default via 192.168.1.49")],
        TUN_SERVER,
        Fault::GatewayIsDirector,
    )
    .blank("ROUTER", "192.168.1.1"),
    breakage(
        "no-gateway",
        &[DirectRouting],
        &[(A, "ip route del default")],
        DR_SERVER,
        Fault::NoWayBack,
    )
    .blank("ROUTER", "192.168.1.1"),
    breakage(
        "vip",
        &[DirectRouting],
        &[(A, "ip addr flush to 192.168.1.40/32")],
        DR_SERVER,
        Fault::AddressMissing,
    ),
    breakage(
        "server-vip",
        &[DirectRouting, Tunnel],
        &[(A, "ip addr flush to 192.168.1.40/32")],
        AS_DIRECTOR,
        Fault::ServerRefuses,
    ),
    breakage(
        "netmask",
        &[DirectRouting],
        &[(A, "ip addr flush to 192.168.1.40/32; ip addr add 192.168.1.40/24 dev lo")],
        DR_SERVER,
        Fault::AddressWide,
    ),
    breakage(
        "vip-on-eth0",
        &[DirectRouting],
        &[(A, "ip addr flush to 192.168.1.40/32; ip addr add 192.168.1.40/32 dev eth0")],
        DR_SERVER,
        Fault::AddressOnCard,
    ),
    breakage(
        "lo",
        &[DirectRouting],
        &[(A, "ip link set lo down")],
        DR_SERVER,
        Fault::LoopbackDown,
    ),
    breakage(
        "decap",
        &[Tunnel],
        &[(A, "tc qdisc del dev eth0 clsact || ip link set tunl0 down")],
        TUN_SERVER,
        Fault::NoDecapsulation,
    ),
    breakage(
        "server-decap",
        &[Tunnel],
        &[(A, "tc qdisc del dev eth0 clsact || ip link set tunl0 down")],
        AS_DIRECTOR,
        Fault::ServerRefuses,
    ),
    breakage(
        "rpfilter",
        &[DirectRouting],
        &[
            (
                SWITCH,
                "ip link add serverA-eth1 type veth peer name eth1; ip link set eth1 netns lvsx-$LVSX_LAB-serverA
                 ip link set serverA-eth1 master segment up",
            ),
            (
                A,
                "ip link set eth1 up; ip addr add 192.168.1.146/24 dev eth1; ip route replace default via 192.168.1.1 dev eth1
                 sysctl -qw net.ipv4.conf.eth0.rp_filter=1",
            ),
        ],
        DR_SERVER,
        Fault::ReversePath,
    )
    .mend(&[(
        A,
        "ip link del eth1; ip route replace default via 192.168.1.1; sysctl -qw net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.all.rp_filter=0",
    )]),
    breakage(
        "mtu",
        &[Masquerade, DirectRouting],
        &[(SWITCH, "ip link set serverA-eth0 mtu 1300")],
        AS_DIRECTOR,
        Fault::PathMtu,
    )
    .mend(&[(SWITCH, "ip link set serverA-eth0 mtu 1500"), (A, "ip link set eth0 mtu 1500")]),
    breakage(
        "mtu",
        &[Tunnel],
        &[(SWITCH, "ip link set serverA-eth0 mtu 1300")],
        AS_DIRECTOR,
        Fault::PathMtu,
    )
    .mend(WIDE_AGAIN),
    breakage(
        "server-mtu",
        &[Tunnel],
        &[(SWITCH, "ip link set serverA-eth0 mtu 1300")],
        TUN_SERVER,
        Fault::PathMtu,
    )
    .mend(WIDE_AGAIN),
    breakage(
        "mss",
        &[Tunnel],
        &[
            (A, "ip route replace default via 192.168.1.1"),
            (CLIENT, "iptables -A INPUT -p icmp -j DROP"),
        ],
        TUN_SERVER,
        Fault::SegmentsTooLong,
    )
    .mend(&[(CLIENT, "iptables -F INPUT")]),
    breakage(
        "offload",
        &[Masquerade],
        &[(SWITCH, "ethtool -K lvsserver-eth0 tx on")],
        AS_DIRECTOR,
        Fault::UnfinishedChecksums,
    )
    .in_mode(Mode::Xdp)
    .blank("PEER", "lvsserver-eth0"),
    breakage(
        "beside",
        &[Masquerade],
        &[(
            B,
            "for each in 1 2; do timeout 8 bash -c 'exec 3<>/dev/tcp/8.8.8.8/80; sleep 1' >/dev/null 2>&1 & done; sleep 0.2",
        )],
        AS_DIRECTOR,
        Fault::ClientBesideServer,
    )
    .mend(&[(A, "ip route del 192.168.1.47/32")]),
    breakage(
        "director-vip",
        &[DirectRouting],
        &[(DIRECTOR, "ip addr flush to 192.168.1.40/32")],
        AS_DIRECTOR,
        Fault::NoVirtualAddress,
    ),
    breakage(
        "director-arp",
        &[DirectRouting],
        &[
            (
                DIRECTOR,
                "sysctl -qw net.ipv4.conf.all.arp_ignore=1; ip addr flush to 192.168.1.40/32; ip addr add 192.168.1.40/32 dev lo",
            ),
            (ROUTER, "ip neigh flush to 192.168.1.40"),
        ],
        AS_DIRECTOR,
        Fault::VirtualAddressSilent,
    )
    .mend(&[(DIRECTOR, "ip addr del 192.168.1.40/32 dev lo; sysctl -qw net.ipv4.conf.all.arp_ignore=0")]),
    breakage(
        "director-link",
        &[DirectRouting],
        &[(DIRECTOR, "ip link set eth0 down")],
        AS_DIRECTOR,
        Fault::InterfaceDown,
    )
    .mend(&[(DIRECTOR, "ip route replace default via 192.168.1.1")]),
    breakage(
        "second-director",
        &[DirectRouting],
        &[(ROUTER, "ip addr add 192.168.1.40/32 dev eth0")],
        AS_DIRECTOR,
        Fault::OtherAnswersArp,
    ),
    breakage(
        "duplicate",
        &[DirectRouting],
        &[(B, "ip addr add 192.168.1.46/32 dev eth0")],
        AS_DIRECTOR,
        Fault::DuplicateAddress,
    ),
    breakage(
        "neighbour",
        &[DirectRouting, Masquerade],
        &[(DIRECTOR, "ip neigh replace 192.168.1.46 lladdr 02:00:00:00:00:99 dev eth0 nud permanent")],
        AS_DIRECTOR,
        Fault::WrongNeighbour,
    ),
    breakage(
        "server-link",
        &[DirectRouting],
        &[(A, "ip link set eth0 down")],
        AS_DIRECTOR,
        Fault::ServerUnreachable,
    )
    .mend(&[
        (A, "ip link set eth0 up; ip route replace default via 192.168.1.1"),
        (DIRECTOR, EDIT_BACK),
    ]),
    breakage(
        "port",
        &[DirectRouting],
        &[(A, "iptables -A INPUT -p tcp --dport 80 -j REJECT --reject-with tcp-reset")],
        AS_DIRECTOR,
        Fault::PortClosed,
    )
    .mend(&[(A, "iptables -F INPUT"), (DIRECTOR, EDIT_BACK)]),
    breakage(
        "weights",
        &[DirectRouting],
        &[(
            DIRECTOR,
            "ipvsadm -e -t 192.168.1.40:80 -r 192.168.1.46:80 -g -w 0; ipvsadm -e -t 192.168.1.40:80 -r 192.168.1.47:80 -g -w 0",
        )],
        AS_DIRECTOR,
        Fault::NoWeight,
    )
    .mend(&[(DIRECTOR, EDIT_BACK)]),
    breakage(
        "thresholds",
        &[DirectRouting],
        &[(
            DIRECTOR,
            "ipvsadm -e -t 192.168.1.40:80 -r 192.168.1.46:80 -g -x 1; ipvsadm -e -t 192.168.1.40:80 -r 192.168.1.47:80 -g -x 1",
        )],
        AS_DIRECTOR,
        Fault::AllOverloaded,
    )
    .mend(&[(DIRECTOR, EDIT_BACK)]),
    breakage(
        "servers",
        &[DirectRouting],
        &[(
            DIRECTOR,
            "ipvsadm -d -t 192.168.1.40:80 -r 192.168.1.46:80; ipvsadm -d -t 192.168.1.40:80 -r 192.168.1.47:80",
        )],
        AS_DIRECTOR,
        Fault::NoServers,
    )
    .blank("SERVER:PORT", "192.168.1.46:80")
    .mend(&[(DIRECTOR, "ipvsadm -a -t 192.168.1.40:80 -r 192.168.1.47:80 -g")]),
    breakage(
        "router",
        &[DirectRouting],
        &[(DIRECTOR, "ipvsadm -a -t 192.168.1.40:80 -r 8.8.8.9:80 -g -w 0")],
        AS_DIRECTOR,
        Fault::ServerBehindRouter,
    )
    .mend(&[(DIRECTOR, "ipvsadm -d -t 192.168.1.40:80 -r 8.8.8.9:80")]),
    breakage(
        "route",
        &[Masquerade],
        &[(DIRECTOR, "ipvsadm -a -t 8.8.8.8:80 -r 10.9.9.9:80 -m -w 0")],
        AS_DIRECTOR,
        Fault::NoRoute,
    )
    .mend(&[(DIRECTOR, "ipvsadm -d -t 8.8.8.8:80 -r 10.9.9.9:80; ip route del 10.9.9.9/32")]),
    breakage(
        "defence",
        &[DirectRouting],
        &[(DIRECTOR, "lvsx sysctl -q -w drop_packet=3")],
        AS_DIRECTOR,
        Fault::DefenceAlwaysOn,
    ),
    breakage(
        "rule",
        &[DirectRouting],
        &[(DIRECTOR, "iptables -A INPUT -d 192.168.1.40/32 -p tcp --dport 80 -j DROP")],
        AS_DIRECTOR,
        Fault::RuleUnseen,
    ),
    breakage(
        "nft-rule",
        &[DirectRouting],
        &[(
            DIRECTOR,
            "nft 'add table inet site; add chain inet site in { type filter hook input priority 0; }; add rule inet site in ip daddr 192.168.1.40 tcp dport 80 drop'",
        )],
        AS_DIRECTOR,
        Fault::RuleUnseen,
    )
    .mend(&[(DIRECTOR, "nft delete table inet site")]),
    breakage(
        "unserved",
        &[DirectRouting],
        &[(
            DIRECTOR,
            "ip link add eth1 type veth peer name eth1-peer; ip link set eth1-peer up; ip addr add 10.7.0.1/24 dev eth1; ip link set eth1 up
             ip addr flush to 192.168.1.40/32; ip addr add 192.168.1.40/32 dev lo; ip route del default; sleep 0.3",
        )],
        AS_DIRECTOR,
        Fault::ClientsUnserved,
    )
    .mend(&[(
        DIRECTOR,
        "ip link del eth1; ip addr replace 192.168.1.40/32 dev eth0; ip route replace default via 192.168.1.1",
    )]),
    breakage(
        "mark",
        &[DirectRouting],
        &[(
            DIRECTOR,
            "ipvsadm -C; ipvsadm -A -f 1 -s rr; ipvsadm -a -f 1 -r 192.168.1.46:80 -g; ipvsadm -a -f 1 -r 192.168.1.47:80 -g",
        )],
        AS_DIRECTOR,
        Fault::MarkWithoutRule,
    )
    .blank("PORTS", "80")
    .mend(&[(
        DIRECTOR,
        "lvsx mark flush; ipvsadm -C; ipvsadm -A -t 192.168.1.40:80 -s rr
         ipvsadm -a -t 192.168.1.40:80 -r 192.168.1.46:80 -g; ipvsadm -a -t 192.168.1.40:80 -r 192.168.1.47:80 -g",
    )]),
    breakage(
        "lvsd",
        &[Tunnel],
        &[(
            DIRECTOR,
            "kill -9 $(lvsx status --json | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); sleep 0.1",
        )],
        AS_DIRECTOR,
        Fault::DirectorSilent,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_in_each_lab_and_machines_exist() {
        for method in ForwardingMethod::ALL {
            let topology = crate::topology::Topology::of(method);
            let mut names = Vec::new();
            for one in Breakage::of(method) {
                assert!(!names.contains(&one.name), "{}", one.name);
                names.push(one.name);
                let machines = one.script.iter().chain(one.mend).chain([&one.asked]);
                for (machine, _) in machines {
                    let there = *machine == SWITCH || topology.host(machine).is_some();
                    assert!(there, "{} on {machine}", one.name);
                }
            }
        }
    }
}
