//! A director between a client and a server, and datagrams that go back and forth.

use super::hosts::Host;
use super::ip;
use lvsx_ipvs::{
    Client, DestinationKey, DestinationSettings, FlagChange, ForwardingMethod, Netmask, Request,
    ServiceFlags, ServiceKey, ServiceSettings, Tunnel,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 1);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 46);
pub(crate) const PORT: u16 = 5353;

pub(crate) fn service() -> ServiceKey {
    ServiceKey::Address {
        protocol: 17,
        addr: IpAddr::V4(VIP),
        port: PORT,
    }
}

pub(crate) fn destination() -> DestinationKey {
    DestinationKey {
        addr: IpAddr::V4(SERVER),
        port: PORT,
    }
}

pub(crate) fn configure(client: &mut Client) {
    masquerade(client, PORT, SERVER);
}

/// A UDP service at this port of the virtual address, masqueraded to the same port of `server`.
pub(crate) fn masquerade(client: &mut Client, port: u16, server: Ipv4Addr) {
    let service = ServiceKey::Address {
        protocol: 17,
        addr: IpAddr::V4(VIP),
        port,
    };
    let settings = ServiceSettings {
        scheduler: Some("rr".into()),
        engine: None,
        flags: FlagChange::exactly(ServiceFlags::default()),
        timeout: 0,
        netmask: Netmask::V4(Ipv4Addr::BROADCAST),
    };
    let destination = DestinationKey {
        addr: IpAddr::V4(server),
        port,
    };
    let masqueraded = DestinationSettings {
        method: ForwardingMethod::Masquerade,
        weight: 1,
        upper_threshold: 0,
        lower_threshold: 0,
        tunnel: Tunnel::default(),
    };
    client
        .call(&Request::NewService(service, settings))
        .expect("a new service");
    client
        .call(&Request::NewDestination(service, destination, masqueraded))
        .expect("a new destination");
}

/// A client and a server at either side of the director that the test's namespace becomes.
pub(crate) fn hosts() -> (Host, Host) {
    let (client, server) = (Host::new(), Host::new());
    client.join(("eth1", "8.8.8.8/24"), ("eth0", &format!("{CLIENT}/24")));
    server.join(
        ("eth0", "192.168.1.49/24"),
        ("eth0", &format!("{SERVER}/24")),
    );
    server.run(|| ip("route add default via 192.168.1.49"));
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding is switched on");
    (client, server)
}

/// The end of a test, for those who work for it until then. It comes when this is dropped at the latest, so a test that
/// fails ends as well.
pub(crate) struct Ending(Arc<AtomicBool>);

impl Ending {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// Whether it has come.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    /// Lets it come.
    pub(crate) fn come(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.come();
    }
}

/// Sends back what comes, until the end.
pub(crate) fn echo(server: &Host, ending: &Ending) {
    let is_over = ending.0.clone();
    let socket = server
        .run(|| UdpSocket::bind(SocketAddrV4::new(SERVER, PORT)).expect("the server's socket"));
    let patience = Some(Duration::from_millis(50));
    socket.set_read_timeout(patience).expect("a timeout");
    server.begin(move || {
        let mut buffer = [0; 64];
        while !is_over.load(Ordering::Relaxed) {
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        }
    });
}

/// Switches off what XDP on veth cannot do: a sender's partial checksums do not survive it, and without GRO a peer takes
/// no frames.
pub(crate) fn prepare_for_xdp(hosts: &[&Host]) {
    for host in hosts {
        host.run(|| {
            let arguments = ["-K", "eth0", "tx", "off", "gro", "on"];
            let output = std::process::Command::new("ethtool")
                .args(arguments)
                .output()
                .expect("ethtool runs");
            assert!(output.status.success());
        });
    }
}

/// Datagrams from the client, one a millisecond, each answered before the next.
pub(crate) struct Pings {
    sent: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

impl Pings {
    /// Has the client begin; it goes on until the end.
    pub(crate) fn begin(client: &Host, ending: &Ending) -> Self {
        let is_over = ending.0.clone();
        let (sent, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let pings = Self {
            sent: sent.clone(),
            answered: answered.clone(),
        };
        client.begin(move || ping(&sent, &answered, &is_over));
        pings
    }

    /// How many were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// How many were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Waits until `count` more are answered; ten seconds at most.
    pub(crate) fn wait_for(&self, count: u64) {
        let goal = self.answered() + count;
        for _ in 0..1000 {
            if self.answered() >= goal {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!(
            "packets stopped: {} sent, {} answered",
            self.sent(),
            self.answered()
        );
    }
}

fn ping(sent: &AtomicU64, answered: &AtomicU64, is_over: &AtomicBool) {
    let socket = UdpSocket::bind(SocketAddrV4::new(CLIENT, 40_000)).expect("the client's socket");
    socket
        .connect(SocketAddrV4::new(VIP, PORT))
        .expect("an address");
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    while !is_over.load(Ordering::SeqCst) {
        let number = sent.fetch_add(1, Ordering::SeqCst);
        // While the client itself resolves its next hop, sending may fail; that shows as an answer that is missing.
        let _ = socket.send(&number.to_le_bytes());
        let mut buffer = [0; 64];
        // An answer may come after its time, when the next is waited for: it is passed over.
        while let Ok(length) = socket.recv(&mut buffer) {
            if buffer[..length] == number.to_le_bytes() {
                answered.fetch_add(1, Ordering::SeqCst);
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
