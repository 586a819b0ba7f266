//! What is measured: each case a set-up, packets, and what stands beside it.

use crate::traffic::{Segment, Sender, Traffic};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What is done: the cases of one name differ in the number of flows.
    pub(crate) name: String,
    pub(crate) subject: Subject,
    pub(crate) packets: Packets,
    /// The baseline that it is a ratio of.
    pub(crate) beside: Option<&'static str>,
}

/// The program under test.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// A program of the benchmark's own.
    Baseline(&'static str),
    /// The director, configured by these lines.
    Director(Vec<String>),
}

/// What it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Packets {
    /// Packets of so many flows, all opened before by packets of their clients.
    Established {
        opening: Traffic,
        timed: Traffic,
        flows: u32,
    },
    /// The first packets of flows.
    First(Traffic),
    /// Packets of so many flows, which nothing is to take.
    Foreign { traffic: Traffic, flows: u32 },
}

impl Packets {
    /// Flows, for the report; none for first packets, which are of as many as there are packets.
    pub(crate) fn flows(&self) -> Option<u32> {
        match self {
            Self::Established { flows, .. } | Self::Foreign { flows, .. } => Some(*flows),
            Self::First(_) => None,
        }
    }
}

pub(crate) const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 80);
const FOREIGN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)), 80);
const VIP6: SocketAddr = SocketAddr::new(
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xd, 0, 0, 0, 0, 1)),
    80,
);
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1)), 8080);
const SERVER6: SocketAddr = SocketAddr::new(
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 1)),
    8080,
);
/// Servers of the cases that are not about their number.
const SERVERS: u16 = 4;

/// The schedulers, with the flags that they are measured with.
const SCHEDULERS: [&str; 13] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh",
];
/// The scheduler that chooses among two at random.
const TWOS: &str = "twos";
/// Numbers of servers for first packets.
const CROWDS: [u16; 3] = [2, 64, 1024];

/// All cases, with each of these numbers of flows.
pub(crate) fn all(numbers_of_flows: &[u32]) -> Vec<Case> {
    let mut cases = baselines(numbers_of_flows);
    for flows in numbers_of_flows {
        cases.extend(established(*flows));
    }
    for flows in numbers_of_flows {
        cases.push(Case {
            name: "not-ours".into(),
            subject: Subject::Director(service(VIP, "rr", "-m", SERVERS)),
            packets: Packets::Foreign {
                traffic: from_clients(FOREIGN, Segment::Ack),
                flows: *flows,
            },
            beside: Some("swap"),
        });
    }
    for (name, method, opening) in [("nat", "-m", Segment::Syn), ("dr", "-g", Segment::Syn)] {
        cases.push(first(
            format!("first-{name}"),
            service(VIP, "wrr", method, SERVERS),
            opening,
        ));
    }
    for servers in CROWDS {
        for scheduler in SCHEDULERS.into_iter().chain([TWOS]) {
            let lines = service(VIP, scheduler, "-m", servers);
            cases.push(first(
                format!("first-{scheduler}-{servers}"),
                lines,
                Segment::Syn,
            ));
        }
    }
    cases
}

fn baselines(numbers_of_flows: &[u32]) -> Vec<Case> {
    let baseline = |name: &'static str, packets| Case {
        name: name.into(),
        subject: Subject::Baseline(name),
        packets,
        beside: None,
    };
    let foreign = |traffic, flows| Packets::Foreign { traffic, flows };
    let acks = from_clients(VIP, Segment::Ack);
    let mut cases = vec![
        baseline("pass", foreign(acks, 1)),
        baseline("swap", foreign(acks, 1)),
        baseline("hash_fib", established_by(acks, acks, 1)),
        baseline("lru_nat", Packets::First(acks)),
    ];
    let acks6 = from_clients(VIP6, Segment::Ack);
    for flows in numbers_of_flows {
        for (name, traffic) in [("hash", acks), ("hash_ipip", acks), ("hash6", acks6)] {
            cases.push(baseline(name, established_by(traffic, traffic, *flows)));
        }
    }
    cases
}

fn established(flows: u32) -> Vec<Case> {
    let case = |name: &str, lines: Vec<String>, opening, timed, beside| Case {
        name: name.into(),
        subject: Subject::Director(lines),
        packets: established_by(opening, timed, flows),
        beside: Some(beside),
    };
    let syn = |to| from_clients(to, Segment::Syn);
    let ack = |to| from_clients(to, Segment::Ack);
    let reply = |from| Traffic {
        sender: Sender::Servers,
        other: from,
        segment: Segment::Ack,
    };
    let datagram = from_clients(VIP, Segment::Datagram);
    let tcp = |method| service(VIP, "rr", method, SERVERS);
    let one = |to| service(to, "rr", "-m", 1);
    let udp = tcp("-m")
        .iter()
        .map(|line| line.replace(" -t ", " -u "))
        .collect();
    vec![
        case("nat-in", tcp("-m"), syn(VIP), ack(VIP), "hash"),
        case("nat-out", one(VIP), syn(VIP), reply(SERVER), "hash"),
        case("nat-in-udp", udp, datagram, datagram, "hash"),
        case("dr", tcp("-g"), syn(VIP), ack(VIP), "hash"),
        case("ipip", tcp("-i"), syn(VIP), ack(VIP), "hash_ipip"),
        case(
            "gue",
            tcp("-i --tun-type gue --tun-port 6080"),
            syn(VIP),
            ack(VIP),
            "hash_ipip",
        ),
        case(
            "nat6-in",
            service(VIP6, "rr", "-m", SERVERS),
            syn(VIP6),
            ack(VIP6),
            "hash6",
        ),
        case("nat6-out", one(VIP6), syn(VIP6), reply(SERVER6), "hash6"),
    ]
}

fn first(name: String, lines: Vec<String>, segment: Segment) -> Case {
    Case {
        name,
        subject: Subject::Director(lines),
        packets: Packets::First(from_clients(VIP, segment)),
        beside: Some("lru_nat"),
    }
}

fn established_by(opening: Traffic, timed: Traffic, flows: u32) -> Packets {
    Packets::Established {
        opening,
        timed,
        flows,
    }
}

pub(crate) fn from_clients(to: SocketAddr, segment: Segment) -> Traffic {
    Traffic {
        sender: Sender::Clients,
        other: to,
        segment,
    }
}

/// The lines that configure a service of so many servers; they listen on the service's port where the method keeps it.
pub(crate) fn service(to: SocketAddr, scheduler: &str, method: &str, servers: u16) -> Vec<String> {
    // `ovf` takes no more connections than weights allow.
    let weight = if scheduler == "ovf" { i32::MAX } else { 1 };
    let mut lines = vec![format!("-A -t {to} -s {scheduler}")];
    for server in 1..=servers {
        let port = if method == "-m" {
            SERVER.port()
        } else {
            to.port()
        };
        let address: IpAddr = match to.ip() {
            IpAddr::V4(_) => {
                let [high, low] = server.to_be_bytes();
                Ipv4Addr::new(192, 168, high, low).into()
            }
            IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, server).into(),
        };
        let server = SocketAddr::new(address, port);
        lines.push(format!("-a -t {to} -r {server} {method} -w {weight}"));
    }
    lines
}
