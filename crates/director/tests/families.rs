//! IPv6 services, and tunnels whose outside is of the other family: traffic of real sockets in both hooks, and how its
//! connections are listed.

mod support;

use lvsx_ipvs::{
    DestinationKey, DestinationSettings, FlagChange, ForwardingMethod, Netmask, Request,
    ServiceFlags, ServiceKey, ServiceSettings, Tunnel,
};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use support::hosts::Host;
use support::scene::prepare_for_xdp;
use support::tunnel::TunnelEnd;
use support::{Space, in_namespace, ip};

const VIP: &str = "2001:db8:8::8";
const VIP4: &str = "8.8.8.8";
const CLIENT: &str = "2001:db8:8::1";
const CLIENT4: &str = "8.8.8.1";
const SERVER: &str = "2001:db8:1::46";
const SERVER4: &str = "192.168.1.46";
/// UDP and TCP.
const PROTOCOLS: [u16; 2] = [17, 6];
const PORT: u16 = 5353;
const CLIENT_PORT: u16 = 40_000;
const QUESTION: &[u8] = b"is anybody there?";
/// For an answer; each datagram waits a part of it.
const PATIENCE: Duration = Duration::from_secs(10);
const TRIES: u32 = 20;

/// A way of forwarding between addresses.
#[derive(Clone, Copy)]
struct Scene {
    method: ForwardingMethod,
    client: &'static str,
    vip: &'static str,
    server: &'static str,
    /// How `/proc/net/ip_vs_conn` shows the addresses.
    listed: [&'static str; 3],
}

const LISTED: [&str; 2] = [
    "2001:0db8:0008:0000:0000:0000:0000:0001",
    "2001:0db8:0008:0000:0000:0000:0000:0008",
];
const LISTED_SERVER: &str = "2001:0db8:0001:0000:0000:0000:0000:0046";

const NAT: Scene = Scene {
    method: ForwardingMethod::Masquerade,
    client: CLIENT,
    vip: VIP,
    server: SERVER,
    listed: [LISTED[0], LISTED[1], LISTED_SERVER],
};
const DIRECT: Scene = Scene {
    method: ForwardingMethod::DirectRouting,
    ..NAT
};
const IPV6_IN_IPV6: Scene = Scene {
    method: ForwardingMethod::Tunnel,
    ..NAT
};
const IPV6_IN_IPV4: Scene = Scene {
    server: SERVER4,
    listed: [LISTED[0], LISTED[1], "C0A8012E"],
    ..IPV6_IN_IPV6
};
const IPV4_IN_IPV6: Scene = Scene {
    client: CLIENT4,
    vip: VIP4,
    listed: ["08080801", "08080808", LISTED_SERVER],
    ..IPV6_IN_IPV6
};

#[test]
fn masquerading_in_tc() {
    NAT.plays("tc");
}

#[test]
fn masquerading_in_xdp() {
    NAT.plays("xdp");
}

#[test]
fn direct_routing_in_tc() {
    DIRECT.plays("tc");
}

#[test]
fn direct_routing_in_xdp() {
    DIRECT.plays("xdp");
}

#[test]
fn ipv6_in_ipv6_in_tc() {
    IPV6_IN_IPV6.plays("tc");
}

#[test]
fn ipv6_in_ipv6_in_xdp() {
    IPV6_IN_IPV6.plays("xdp");
}

#[test]
fn ipv6_in_ipv4_in_tc() {
    IPV6_IN_IPV4.plays("tc");
}

#[test]
fn ipv6_in_ipv4_in_xdp() {
    IPV6_IN_IPV4.plays("xdp");
}

#[test]
fn ipv4_in_ipv6_in_tc() {
    IPV4_IN_IPV6.plays("tc");
}

#[test]
fn ipv4_in_ipv6_in_xdp() {
    IPV4_IN_IPV6.plays("xdp");
}

impl Scene {
    /// A datagram and a TCP connection go through lvsd and are listed; they go on after all neighbours were forgotten.
    fn plays(self, mode: &str) {
        in_namespace(|space| {
            let (client, server) = hosts();
            if self.method != ForwardingMethod::Masquerade {
                server.run(|| {
                    ip(&format!("addr add {VIP}/128 dev lo nodad"));
                    ip(&format!("addr add {VIP4}/32 dev lo"));
                    ip(&format!("route add {CLIENT}/128 via 2001:db8:2::1"));
                    ip(&format!("route add {CLIENT4}/32 via 192.168.2.1"));
                });
            }
            let _end = (self.method == ForwardingMethod::Tunnel)
                .then(|| TunnelEnd::of(&server, address(self.server), address(self.vip)));
            let _answers = self.answer(&server);
            let _lvsd = space.lvsd(&["--mode", mode, "--connections", "1000"]);
            self.configure(space);

            let mut sockets = self.sockets(&client, space);
            let ports = [("UDP", CLIENT_PORT), ("TCP", sockets.tcp_port())];
            let listed = self.listing(space);
            for (name, port) in ports {
                let is_it = |line: &String| line.starts_with(&self.line(name, port));
                assert!(listed.iter().any(is_it), "{listed:#?}");
            }
            let status = status(space);
            assert_eq!(status["connections"]["live"], 2, "{status}");

            ip("neigh flush all");
            ip("-6 neigh flush all");
            client.run(move || {
                assert!(sockets.ask_udp(), "UDP after the flush: no answer");
                assert!(sockets.ask_tcp(), "TCP after the flush: no answer");
            });
        });
    }

    /// How a line of the listing begins.
    fn line(self, name: &str, port: u16) -> String {
        let [client, virt, server] = self.listed;
        format!("{name} {client} {port:04X} {virt} {PORT:04X} {server} {PORT:04X} ")
    }

    fn listing(self, space: &Space) -> Vec<String> {
        let text = space.client().proc_text("ip_vs_conn").expect("a listing");
        let text = String::from_utf8(text).expect("text");
        text.lines().skip(1).map(str::to_owned).collect()
    }

    /// The services with their server.
    fn configure(self, space: &Space) {
        let mut client = space.client();
        let (vip, server) = (address(self.vip), address(self.server));
        for protocol in PROTOCOLS {
            let key = ServiceKey::Address {
                protocol,
                addr: vip,
                port: PORT,
            };
            let settings = ServiceSettings {
                scheduler: Some("rr".into()),
                engine: None,
                flags: FlagChange::exactly(ServiceFlags::default()),
                timeout: 0,
                netmask: match vip {
                    IpAddr::V4(_) => Netmask::V4(Ipv4Addr::BROADCAST),
                    IpAddr::V6(_) => Netmask::V6(128),
                },
            };
            client
                .call(&Request::NewService(key, settings))
                .expect("a new service");
            let destination = DestinationKey {
                addr: server,
                port: PORT,
            };
            let settings = DestinationSettings {
                method: self.method,
                weight: 1,
                upper_threshold: 0,
                lower_threshold: 0,
                tunnel: Tunnel::default(),
            };
            client
                .call(&Request::NewDestination(key, destination, settings))
                .expect("a new destination");
        }
    }

    /// Has the server send back what comes, as long as the result lives.
    fn answer(self, server: &Host) -> Arc<()> {
        let own = match self.method {
            ForwardingMethod::Masquerade => self.server,
            _ => self.vip,
        };
        let at = SocketAddr::new(address(own), PORT);
        let alive = Arc::new(());
        let watch = Arc::downgrade(&alive);
        server.run(move || {
            let udp = UdpSocket::bind(at).expect("the server's UDP socket");
            let tcp = TcpListener::bind(at).expect("the server's TCP socket");
            udp.set_nonblocking(true).expect("a socket");
            tcp.set_nonblocking(true).expect("a socket");
            std::thread::spawn(move || {
                let (mut streams, mut buffer) = (Vec::new(), [0; 64]);
                while watch.strong_count() > 0 {
                    if let Ok((length, from)) = udp.recv_from(&mut buffer) {
                        let _ = udp.send_to(&buffer[..length], from);
                    }
                    if let Ok((stream, _)) = tcp.accept() {
                        stream.set_nonblocking(true).expect("a socket");
                        streams.push(stream);
                    }
                    for stream in &mut streams {
                        if let Ok(length) = stream.read(&mut buffer) {
                            let _ = stream.write_all(&buffer[..length]);
                        }
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        });
        alive
    }

    /// The client's sockets, after a first answer to each.
    fn sockets(self, client: &Host, space: &Space) -> Sockets {
        let from = SocketAddr::new(address(self.client), CLIENT_PORT);
        let to = SocketAddr::new(address(self.vip), PORT);
        let sockets = client.run(move || {
            let udp = UdpSocket::bind(from).map_err(|error| error.to_string())?;
            udp.connect(to).map_err(|error| error.to_string())?;
            let tcp = TcpStream::connect_timeout(&to, PATIENCE)
                .map_err(|error| format!("TCP: {error}"))?;
            let mut sockets = Sockets { udp, tcp };
            if sockets.ask_udp() && sockets.ask_tcp() {
                Ok(sockets)
            } else {
                Err("no answer".to_owned())
            }
        });
        sockets.unwrap_or_else(|error| panic!("{error}; {}", status(space)))
    }
}

/// A client's sockets, connected to a service.
struct Sockets {
    udp: UdpSocket,
    tcp: TcpStream,
}

impl Sockets {
    fn tcp_port(&self) -> u16 {
        self.tcp.local_addr().expect("it is connected").port()
    }

    /// Whether a datagram comes back; one that is lost is sent again.
    fn ask_udp(&self) -> bool {
        let patience = Some(PATIENCE / TRIES);
        self.udp.set_read_timeout(patience).expect("a timeout");
        (0..TRIES).any(|_| {
            let mut buffer = [0; 64];
            self.udp.send(QUESTION).is_ok()
                && matches!(self.udp.recv(&mut buffer), Ok(length) if buffer[..length] == *QUESTION)
        })
    }

    /// Whether what is said by TCP comes back.
    fn ask_tcp(&mut self) -> bool {
        self.tcp
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout");
        let mut answer = [0; QUESTION.len()];
        self.tcp.write_all(QUESTION).is_ok()
            && self.tcp.read_exact(&mut answer).is_ok()
            && answer == *QUESTION
    }
}

/// A client and a server at either side of the director that the test's namespace becomes, with addresses of both families;
/// and a link between the two for answers past the director.
fn hosts() -> (Host, Host) {
    let (client, server) = (Host::new(), Host::new());
    client.join(("eth1", "8.8.8.8/24"), ("eth0", "8.8.8.1/24"));
    server.join(("eth0", "192.168.1.49/24"), ("eth0", "192.168.1.46/24"));
    ip(&format!("addr add {VIP}/64 dev eth1 nodad"));
    ip("addr add 2001:db8:1::49/64 dev eth0 nodad");
    let server = client.run(move || {
        ip(&format!("addr add {CLIENT}/64 dev eth0 nodad"));
        server.join(("eth1", "192.168.2.1/24"), ("eth1", "192.168.2.46/24"));
        ip("addr add 2001:db8:2::1/64 dev eth1 nodad");
        server
    });
    server.run(|| {
        ip(&format!("addr add {SERVER}/64 dev eth0 nodad"));
        ip("addr add 2001:db8:2::46/64 dev eth1 nodad");
        ip("route add default via 192.168.1.49");
        ip("route add default via 2001:db8:1::49");
    });
    let set = |file: &str, value: &str| {
        std::fs::write(format!("/proc/sys/net/{file}"), value).expect("a setting");
    };
    set("ipv4/ip_forward", "1");
    set("ipv6/conf/all/forwarding", "1");
    for host in [&client, &server] {
        host.run(move || {
            // Answers come by another way than questions go.
            for name in ["all", "default", "eth0", "eth1"] {
                set(&format!("ipv4/conf/{name}/rp_filter"), "0");
            }
        });
    }
    // Neither XDP nor the server's end of a tunnel keeps a sender's partial checksums.
    prepare_for_xdp(&[&client, &server]);
    (client, server)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn status(space: &Space) -> Value {
    serde_json::from_str(&space.client().status().expect("the status")).expect("JSON")
}
