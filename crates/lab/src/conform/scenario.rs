//! A scenario: a director's network, commands, packets and pauses, in their order. Its text is its [`Display`](fmt::Display)
//! form, which [`parse`](super::parse) reads back.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scenario {
    /// What it is about: the comment lines at its top.
    pub about: Vec<String>,
    /// The director's network.
    pub site: Site,
    /// Flows by number; steps refer to them.
    pub flows: Vec<Flow>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// The director's network: `d0` leads to the clients; the servers lie behind `d0` too or behind `d1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Servers have a link of their own, `d1`, and the director is their gateway.
    pub two_armed: bool,
    /// MTUs other than 1500, by link number.
    pub mtu: Vec<(u8, u32)>,
    /// Prefixes that the director routes as local, beside its virtual addresses.
    pub local: Vec<String>,
}

/// A client's flow to the director.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its name in the text.
    pub name: String,
    /// What it is made of.
    pub protocol: Protocol,
    /// The client's end; port 0 where there are no ports.
    pub client: SocketAddr,
    /// The end that the client speaks to.
    pub virtual_end: SocketAddr,
}

/// What a flow is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP segments.
    Tcp,
    /// UDP datagrams.
    Udp,
    /// ICMP or ICMPv6 echo requests.
    Echo,
    /// Payload of another protocol number.
    Other(u8),
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `ipvsadm` with these words, and lines on its standard input.
    Command {
        /// Words behind `ipvsadm`.
        words: Vec<String>,
        /// Standard input.
        input: Vec<String>,
    },
    /// A file of IPVS (`/proc/net/NAME`) is read.
    Read {
        /// Its name.
        name: String,
    },
    /// A setting of IPVS (`net.ipv4.vs.NAME`).
    Sysctl {
        /// Its name.
        name: String,
        /// Its new value.
        value: i64,
    },
    /// Packets of a protocol to an address or prefix and port get a firewall mark.
    Mark {
        /// The mark.
        mark: u32,
        /// `tcp` or `udp`.
        protocol: Protocol,
        /// Address or prefix.
        to: String,
        /// Destination port; 0 for any.
        port: u16,
    },
    /// Time passes.
    Wait(Duration),
    /// A packet is sent.
    Packet {
        /// Number of its flow.
        flow: usize,
        /// Who sends it.
        from: Side,
        /// What it holds.
        content: Content,
    },
}

/// Who sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The flow's client.
    Client,
    /// Whichever server got the flow's latest packet.
    Server,
}

/// What a packet holds, and how it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// TCP flags.
    pub flags: u8,
    /// Bytes of payload.
    pub data: usize,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// Don't fragment.
    pub df: bool,
    /// The transport checksum.
    pub checksum: Checksum,
    /// Sent in pieces.
    pub fragments: Option<Fragments>,
    /// An ICMP error about the flow instead of a packet of it.
    pub icmp: Option<IcmpError>,
}

impl Default for Content {
    fn default() -> Self {
        Self {
            flags: 0,
            data: 0,
            ttl: 64,
            tos: 0,
            df: false,
            checksum: Checksum::Right,
            fragments: None,
            icmp: None,
        }
    }
}

/// The transport checksum of a packet that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// As it should be.
    Right,
    /// Wrong.
    Bad,
    /// Left out: 0 in UDP.
    None,
}

/// How a packet is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragments {
    /// Payload bytes of each piece, a multiple of 8.
    pub size: usize,
    /// The last goes first.
    pub reversed: bool,
    /// Only these are sent; empty for all.
    pub only: Vec<usize>,
}

/// An ICMP error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// ICMP or ICMPv6 type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The second word: the MTU of "fragmentation needed" and "packet too big".
    pub mtu: u32,
    /// Bytes of the offending packet that it quotes.
    pub quote: usize,
    /// Who sends it, where that is neither end of the flow.
    pub from: Option<IpAddr>,
    /// It is about the tunnel's outer packet.
    pub outer: bool,
}

/// Names of the TCP flags, from the lowest bit.
pub const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

/// The flags in words; `none` for none.
#[must_use]
pub fn flag_words(flags: u8) -> String {
    let set: Vec<&str> = (0..8)
        .filter(|bit| flags & 1 << bit != 0)
        .map(|bit| FLAGS[bit])
        .collect();
    if set.is_empty() {
        "none".to_owned()
    } else {
        set.join(" ")
    }
}

impl Protocol {
    /// Its number in an IP header, over IPv6 or not.
    #[must_use]
    pub fn number(self, is_v6: bool) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Echo if is_v6 => 58,
            Self::Echo => 1,
            Self::Other(number) => number,
        }
    }

    /// Whether it has ports.
    #[must_use]
    pub fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Echo => f.write_str("echo"),
            Self::Other(number) => write!(f, "protocol/{number}"),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            protocol,
            client,
            virtual_end,
        } = self;
        if protocol.has_ports() {
            write!(f, "flow {name} {protocol} {client} > {virtual_end}")
        } else {
            let (client, virtual_end) = (client.ip(), virtual_end.ip());
            write!(f, "flow {name} {protocol} {client} > {virtual_end}")
        }
    }
}

impl Content {
    /// The words of a packet of `protocol`.
    #[must_use]
    pub fn words(&self, protocol: Protocol) -> String {
        let mut words = Vec::new();
        match &self.icmp {
            Some(error) => words.extend(error.words()),
            None if protocol == Protocol::Tcp => {
                words.push(flag_words(self.flags));
                if self.data > 0 {
                    words.push(format!("data {}", self.data));
                }
            }
            None => words.push(format!("data {}", self.data)),
        }
        if self.ttl != 64 {
            words.push(format!("ttl {}", self.ttl));
        }
        if self.tos != 0 {
            words.push(format!("tos {:#04x}", self.tos));
        }
        if self.df {
            words.push("df".to_owned());
        }
        match self.checksum {
            Checksum::Right => {}
            Checksum::Bad => words.push("checksum bad".to_owned()),
            Checksum::None => words.push("checksum none".to_owned()),
        }
        if let Some(cut) = &self.fragments {
            words.push(format!("fragments {}", cut.size));
            if cut.reversed {
                words.push("reversed".to_owned());
            }
            if !cut.only.is_empty() {
                let list: Vec<String> = cut.only.iter().map(ToString::to_string).collect();
                words.push(format!("only {}", list.join(",")));
            }
        }
        words.join(" ")
    }
}

impl IcmpError {
    fn words(&self) -> Vec<String> {
        let mut words = vec![format!("icmp {}/{}", self.kind, self.code)];
        if self.mtu != 0 {
            words.push(format!("mtu {}", self.mtu));
        }
        words.push(format!("quote {}", self.quote));
        if self.outer {
            words.push("outer".to_owned());
        }
        if let Some(from) = self.from {
            words.push(format!("from {from}"));
        }
        words
    }
}

impl Scenario {
    /// The text of step number `index`.
    #[must_use]
    pub fn step_text(&self, index: usize) -> String {
        match &self.steps[index] {
            Step::Command { words, input } => {
                let mut text = format!("$ ipvsadm {}", quoted(words));
                for line in input {
                    text.push_str("\n  < ");
                    text.push_str(line);
                }
                text
            }
            Step::Read { name } => format!("$ cat /proc/net/{name}"),
            Step::Sysctl { name, value } => format!("sysctl {name}={value}"),
            Step::Mark {
                mark,
                protocol,
                to,
                port,
            } => format!("mark {mark} {protocol} {to} port {port}"),
            Step::Wait(time) => format!("wait {}s", time.as_millis() as f64 / 1000.0),
            Step::Packet {
                flow,
                from,
                content,
            } => {
                let flow = &self.flows[*flow];
                let arrow = match from {
                    Side::Client => '>',
                    Side::Server => '<',
                };
                format!("{} {arrow} {}", flow.name, content.words(flow.protocol))
            }
        }
    }

    /// Its text, with lines of `answers` below each step.
    #[must_use]
    pub fn text(&self, answers: Option<&[Vec<String>]>) -> String {
        let mut lines: Vec<String> = self.about.iter().map(|line| format!("# {line}")).collect();
        lines.push(format!("site {}", self.site));
        let mut named = vec![false; self.flows.len()];
        for (index, step) in self.steps.iter().enumerate() {
            if let Step::Packet { flow, .. } = step
                && !std::mem::replace(&mut named[*flow], true)
            {
                lines.push(self.flows[*flow].to_string());
            }
            lines.push(self.step_text(index));
            let answers = answers.and_then(|answers| answers.get(index));
            lines.extend(
                answers
                    .into_iter()
                    .flatten()
                    .map(|line| format!("  {line}")),
            );
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(None))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.two_armed {
            "two-armed"
        } else {
            "one-armed"
        })?;
        for (link, mtu) in &self.mtu {
            write!(f, " mtu d{link} {mtu}")?;
        }
        for prefix in &self.local {
            write!(f, " local {prefix}")?;
        }
        Ok(())
    }
}

/// Words as a shell would take them apart again.
fn quoted(words: &[String]) -> String {
    let words = words.iter().map(|word| {
        if word.is_empty() || word.contains([' ', '\'', '"', '#']) {
            format!("'{word}'")
        } else {
            word.clone()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
