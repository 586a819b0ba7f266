//! A scenario while it is written: the words that categories are made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::super::addresses::{SERVERS, VIP, VIP6, server};
use super::super::scenario::{
    Checksum, Content, Flow, Fragments, IcmpError, Protocol, Scenario, Side, Step,
};
use super::dice::Dice;

/// FIN.
pub const FIN: u8 = 0x01;
/// SYN.
pub const SYN: u8 = 0x02;
/// RST.
pub const RST: u8 = 0x04;
/// PSH.
pub const PSH: u8 = 0x08;
/// ACK.
pub const ACK: u8 = 0x10;

/// How a packet reaches a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `-m`.
    Masquerade,
    /// `-g`.
    Route,
    /// `-i`.
    Tunnel,
}

impl Method {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Masquerade, Self::Route, Self::Tunnel];

    fn option(self) -> &'static str {
        match self {
            Self::Masquerade => "-m",
            Self::Route => "-g",
            Self::Tunnel => "-i",
        }
    }
}

/// A scenario that is being written.
pub struct Draft {
    /// Its chance.
    pub dice: Dice,
    /// Its seed.
    pub seed: u64,
    scenario: Scenario,
    is_v6: bool,
    /// How the present service's servers are reached.
    pub method: Method,
    /// The virtual address.
    pub address: IpAddr,
    /// Whether the present service is UDP.
    pub protocol: Protocol,
    /// Its port.
    pub port: u16,
    /// The words that name it.
    pub service: String,
    /// Its servers and their ports.
    pub servers: Vec<(u8, u16)>,
}

/// A number of a flow.
pub type FlowId = usize;

impl Draft {
    /// An empty scenario.
    #[must_use]
    pub fn new(category: &str, seed: u64) -> Self {
        Self {
            dice: Dice::new(category, seed),
            seed,
            scenario: Scenario {
                about: vec![format!("Generated: {category}, seed {seed}.")],
                ..Scenario::default()
            },
            is_v6: false,
            method: Method::Masquerade,
            address: VIP.into(),
            protocol: Protocol::Tcp,
            port: 80,
            service: String::new(),
            servers: Vec::new(),
        }
    }

    /// What was written.
    #[must_use]
    pub fn scenario(self) -> Scenario {
        self.scenario
    }

    /// From here on all is IPv6.
    pub fn use_v6(&mut self) {
        self.is_v6 = true;
        self.address = VIP6.into();
    }

    /// Whether all is IPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.is_v6
    }

    /// Chooses how servers are reached, and a network that suits it; before the first service.
    pub fn reach(&mut self, method: Method) {
        self.method = method;
        self.scenario.site.two_armed = match method {
            Method::Masquerade => true,
            Method::Route => false,
            Method::Tunnel => self.dice.chance(50),
        };
    }

    /// As [`Self::reach`], by chance.
    pub fn reach_somehow(&mut self) {
        let method = self.dice.one(&Method::ALL);
        self.reach(method);
    }

    /// Servers get a link of their own, whose MTU is this.
    pub fn narrow(&mut self, mtu: u32) {
        self.scenario.site.two_armed = true;
        self.scenario.site.mtu.push((1, mtu));
    }

    /// The director takes a whole prefix for its own.
    pub fn local(&mut self, prefix: &str) {
        self.scenario.site.local.push(prefix.to_owned());
    }

    /// The address of a server.
    #[must_use]
    pub fn server(&self, number: u8) -> IpAddr {
        server(number, self.scenario.site.two_armed, self.is_v6)
    }

    /// `count` of the eight servers.
    pub fn some_servers(&mut self, count: usize) -> Vec<u8> {
        let all: Vec<u8> = (1..=SERVERS).collect();
        self.dice.some(&all, count)
    }

    /// `ipvsadm` with these words.
    pub fn ipvsadm(&mut self, words: &str) {
        self.command(
            words.split_whitespace().map(str::to_owned).collect(),
            Vec::new(),
        );
    }

    /// `ipvsadm` with these words and this input.
    pub fn command(&mut self, words: Vec<String>, input: Vec<String>) {
        self.scenario.steps.push(Step::Command { words, input });
    }

    /// A setting.
    pub fn sysctl(&mut self, name: &str, value: i64) {
        let name = name.to_owned();
        self.scenario.steps.push(Step::Sysctl { name, value });
    }

    /// A firewall mark.
    pub fn mark(&mut self, mark: u32, protocol: Protocol, to: &str, port: u16) {
        let to = to.to_owned();
        self.scenario.steps.push(Step::Mark {
            mark,
            protocol,
            to,
            port,
        });
    }

    /// Time passes.
    pub fn wait(&mut self, milliseconds: u64) {
        self.scenario
            .steps
            .push(Step::Wait(Duration::from_millis(milliseconds)));
    }

    /// What the kernel makes end at once ends with its next tick, or a little later in a busy machine.
    pub fn tick(&mut self) {
        self.wait(400);
    }

    /// `-Ln`.
    pub fn list(&mut self) {
        self.ipvsadm("-Ln");
    }

    /// `-Lnc`.
    pub fn connections(&mut self) {
        self.ipvsadm("-Lnc");
    }

    /// `-Ln --stats`, when the kernel's totals are up to date, which they are every two seconds.
    pub fn statistics(&mut self) {
        self.wait(2500);
        self.ipvsadm("-Ln --stats");
    }

    /// Address and port as a command line has them.
    #[must_use]
    pub fn end(address: IpAddr, port: u16) -> String {
        SocketAddr::new(address, port).to_string()
    }

    /// Adds a service on the virtual address.
    pub fn add_service(&mut self, protocol: Protocol, port: u16, scheduler: &str, more: &str) {
        self.protocol = protocol;
        self.port = port;
        let letter = if protocol == Protocol::Udp {
            "-u"
        } else {
            "-t"
        };
        self.service = format!("{letter} {}", Self::end(self.address, port));
        self.servers.clear();
        self.ipvsadm(&format!("-A {} -s {scheduler} {more}", self.service));
    }

    /// Adds a service of a firewall mark.
    pub fn add_mark_service(&mut self, mark: u32, scheduler: &str, more: &str) {
        self.service = format!("-f {mark}{}", if self.is_v6 { " -6" } else { "" });
        self.servers.clear();
        self.ipvsadm(&format!("-A {} -s {scheduler} {more}", self.service));
    }

    /// Adds a server at the service's port.
    pub fn add(&mut self, number: u8, weight: u32, more: &str) {
        self.add_at(number, self.port, weight, more);
    }

    /// Adds a server at a port.
    pub fn add_at(&mut self, number: u8, port: u16, weight: u32, more: &str) {
        let line = self.server_line("-a", number, port, weight, more);
        self.ipvsadm(&line);
        self.servers.push((number, port));
    }

    /// Adds several at the service's port with this weight.
    pub fn add_all(&mut self, numbers: &[u8], weight: u32) {
        numbers
            .iter()
            .for_each(|number| self.add(*number, weight, ""));
    }

    /// Edits a server.
    pub fn edit(&mut self, number: u8, weight: u32, more: &str) {
        let port = self.port_of(number);
        let line = self.server_line("-e", number, port, weight, more);
        self.ipvsadm(&line);
    }

    /// Removes a server.
    pub fn remove(&mut self, number: u8) {
        let port = self.port_of(number);
        self.ipvsadm(&format!(
            "-d {} -r {}",
            self.service,
            Self::end(self.server(number), port)
        ));
        self.servers.retain(|(known, _)| *known != number);
    }

    /// One of the service's servers; server 1 if it has none.
    pub fn any_server(&mut self) -> u8 {
        if self.servers.is_empty() {
            return 1;
        }
        let servers = self.servers.clone();
        self.dice.one(&servers).0
    }

    fn port_of(&self, number: u8) -> u16 {
        let found = self.servers.iter().find(|(known, _)| *known == number);
        found.map_or(self.port, |(_, port)| *port)
    }

    fn server_line(&self, command: &str, number: u8, port: u16, weight: u32, more: &str) -> String {
        let (end, method) = (Self::end(self.server(number), port), self.method.option());
        format!(
            "{command} {} -r {end} {method} -w {weight} {more}",
            self.service
        )
    }

    /// A client's address.
    pub fn client(&mut self) -> IpAddr {
        let mut part = |low, high| self.dice.number(low, high);
        if self.is_v6 {
            Ipv6Addr::new(
                0x2001,
                0xdb8,
                part(1, 0xffff) as u16,
                0,
                0,
                0,
                0,
                part(1, 0xffff) as u16,
            )
            .into()
        } else {
            Ipv4Addr::new(
                172,
                part(16, 32) as u8,
                part(0, 256) as u8,
                part(1, 255) as u8,
            )
            .into()
        }
    }

    /// A new client's flow to the present service.
    pub fn flow(&mut self) -> FlowId {
        let client = self.client();
        self.flow_from(client)
    }

    /// A new flow of this client to the present service.
    pub fn flow_from(&mut self, client: IpAddr) -> FlowId {
        self.flow_to(client, self.protocol, self.address, self.port)
    }

    /// A new client's flow to a port of the virtual address.
    pub fn flow_to_port(&mut self, protocol: Protocol, port: u16) -> FlowId {
        let client = self.client();
        self.flow_to(client, protocol, self.address, port)
    }

    /// A new flow.
    pub fn flow_to(&mut self, client: IpAddr, protocol: Protocol, to: IpAddr, port: u16) -> FlowId {
        let own = if protocol.has_ports() {
            self.dice.number(1024, 65536) as u16
        } else {
            0
        };
        let port = if protocol.has_ports() { port } else { 0 };
        let name = format!("k{}", self.scenario.flows.len() + 1);
        self.scenario.flows.push(Flow {
            name,
            protocol,
            client: SocketAddr::new(client, own),
            virtual_end: SocketAddr::new(to, port),
        });
        self.scenario.flows.len() - 1
    }

    /// A packet.
    pub fn packet(&mut self, flow: FlowId, from: Side, content: Content) {
        self.scenario.steps.push(Step::Packet {
            flow,
            from,
            content,
        });
    }

    /// The client sends flags.
    pub fn up(&mut self, flow: FlowId, flags: u8) {
        self.packet(flow, Side::Client, flagged(flags));
    }

    /// The server sends flags.
    pub fn down(&mut self, flow: FlowId, flags: u8) {
        self.packet(flow, Side::Server, flagged(flags));
    }

    /// The client sends a datagram.
    pub fn ask(&mut self, flow: FlowId, bytes: u32) {
        self.packet(flow, Side::Client, data(0, bytes));
    }

    /// The server sends a datagram.
    pub fn answer(&mut self, flow: FlowId, bytes: u32) {
        self.packet(flow, Side::Server, data(0, bytes));
    }

    /// The three-way handshake.
    pub fn establish(&mut self, flow: FlowId) {
        self.up(flow, SYN);
        self.down(flow, SYN | ACK);
        self.up(flow, ACK);
    }

    /// A connection's beginning: mostly all of it, at times only the SYN.
    pub fn open(&mut self, flow: FlowId) {
        if self.dice.chance(75) {
            self.establish(flow);
        } else {
            self.up(flow, SYN);
        }
    }

    /// Some bytes, at times answered.
    pub fn talk(&mut self, flow: FlowId) {
        let bytes = self.dice.number(1, 200);
        self.packet(flow, Side::Client, data(PSH | ACK, bytes));
        if self.dice.chance(50) {
            let bytes = self.dice.number(1, 200);
            self.packet(flow, Side::Server, data(PSH | ACK, bytes));
        }
    }

    /// One of the ways in which connections end, or begin to.
    pub fn close(&mut self, flow: FlowId) {
        use Side::{Client, Server};
        const FA: u8 = FIN | ACK;
        const ENDS: [&[(Side, u8)]; 6] = [
            &[(Client, FA), (Server, FA), (Client, ACK)],
            &[(Client, FA), (Server, ACK)],
            &[(Client, FA)],
            &[(Server, FA), (Client, ACK)],
            &[(Client, RST)],
            &[(Server, RST | ACK)],
        ];
        for (side, flags) in self.dice.one(&ENDS) {
            self.packet(flow, *side, flagged(*flags));
        }
    }

    /// How packets may travel: mostly plainly.
    pub fn somehow(&mut self, mut content: Content) -> Content {
        if self.dice.chance(25) {
            content.ttl = self.dice.one(&[2, 3, 63, 65, 128, 255]);
        }
        if self.dice.chance(20) {
            content.tos = self.dice.one(&[0x10, 0xb8, 1, 2, 3]);
        }
        content.df = !self.is_v6 && self.dice.chance(35);
        content
    }
}

/// A packet with these TCP flags.
#[must_use]
pub fn flagged(flags: u8) -> Content {
    Content {
        flags,
        ..Content::default()
    }
}

/// A packet with data.
#[must_use]
pub fn data(flags: u8, bytes: u32) -> Content {
    Content {
        flags,
        data: bytes as usize,
        ..Content::default()
    }
}

/// It with a wrong checksum, or none.
#[must_use]
pub fn summed(content: Content, checksum: Checksum) -> Content {
    Content {
        checksum,
        ..content
    }
}

/// It in pieces.
#[must_use]
pub fn cut(content: Content, size: usize, reversed: bool, only: &[usize]) -> Content {
    let fragments = Some(Fragments {
        size,
        reversed,
        only: only.to_vec(),
    });
    Content {
        fragments,
        ..content
    }
}

/// An ICMP error.
#[must_use]
pub fn complaint(kind: u8, code: u8, mtu: u32, quote: usize, from: Option<IpAddr>) -> Content {
    let icmp = Some(IcmpError {
        kind,
        code,
        mtu,
        quote,
        from,
        outer: false,
    });
    Content {
        icmp,
        ..Content::default()
    }
}
