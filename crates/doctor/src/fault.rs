//! What can be wrong: the closed list.

use std::fmt;

use serde::Serialize;

/// A fault of a director, of a real server, or of the network between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// No lvsd runs in this network namespace.
    NoDirector,
    /// Lvsd ran here and does not answer.
    DirectorSilent,
    /// The kernel's own IPVS has services beside lvsd.
    KernelServes,
    /// Lvsd cannot look at an interface.
    NotServed,
    /// Clients may come in by an interface that lvsd does not look at.
    ClientsUnserved,
    /// The connection table is nearly full.
    TableFull,
    /// The director does not pass packets on.
    NotForwarding,
    /// A virtual address is not local to the director.
    NoVirtualAddress,
    /// An interface of the director that is needed is down.
    InterfaceDown,
    /// The director does not answer ARP for a virtual address.
    VirtualAddressSilent,
    /// A service has no real servers.
    NoServers,
    /// All servers of a service have weight 0.
    NoWeight,
    /// All servers of a service are at their upper threshold.
    AllOverloaded,
    /// A defence against floods is on without a flood.
    DefenceAlwaysOn,
    /// No rule of the director sets the mark of a service.
    MarkWithoutRule,
    /// A netfilter rule is about packets that are balanced before netfilter.
    RuleUnseen,
    /// The director has no route to a server.
    NoRoute,
    /// A server does not answer ARP.
    ServerUnreachable,
    /// A server by direct routing is behind a router.
    ServerBehindRouter,
    /// Two machines answer ARP for a server's address.
    DuplicateAddress,
    /// A neighbour was entered by hand with another hardware address than it has.
    WrongNeighbour,
    /// A real server answers ARP for the virtual address.
    ServerAnswersArp,
    /// Another machine answers ARP for the virtual address.
    OtherAnswersArp,
    /// A server does not serve its port.
    PortClosed,
    /// A server does not take packets for the virtual address.
    ServerRefuses,
    /// A server by NAT does not answer clients through the director.
    AnswersAstray,
    /// A client on the servers' own segment is balanced by NAT.
    ClientBesideServer,
    /// Long packets are lost on the way without a word.
    PathMtu,
    /// This server by tunnel tells clients to send segments that do not fit the tunnel.
    SegmentsTooLong,
    /// Frames with unfinished checksums arrive where XDP serves.
    UnfinishedChecksums,
    /// This server answers ARP for the virtual address.
    ArpIgnore,
    /// This server names the virtual address when it asks by ARP.
    ArpAnnounce,
    /// This server does not have the virtual address.
    AddressMissing,
    /// The virtual address is on lo with a network.
    AddressWide,
    /// The virtual address is on a card of this server.
    AddressOnCard,
    /// Lo is down.
    LoopbackDown,
    /// This server has no default route.
    NoWayBack,
    /// The default route of this server by NAT does not lead through the director.
    WrongGateway,
    /// This server answers clients through the director, though not by NAT.
    GatewayIsDirector,
    /// Rp_filter is strict where requests come in on another interface than answers go out.
    ReversePath,
    /// Nothing takes the outer header off on this server.
    NoDecapsulation,
}

impl Fault {
    /// Its name, as in the output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoDirector => "no-director",
            Self::DirectorSilent => "director-silent",
            Self::KernelServes => "kernel-serves",
            Self::NotServed => "not-served",
            Self::ClientsUnserved => "clients-unserved",
            Self::TableFull => "table-full",
            Self::NotForwarding => "not-forwarding",
            Self::NoVirtualAddress => "no-virtual-address",
            Self::InterfaceDown => "interface-down",
            Self::VirtualAddressSilent => "virtual-address-silent",
            Self::NoServers => "no-servers",
            Self::NoWeight => "no-weight",
            Self::AllOverloaded => "all-overloaded",
            Self::DefenceAlwaysOn => "defence-always-on",
            Self::MarkWithoutRule => "mark-without-rule",
            Self::RuleUnseen => "rule-unseen",
            Self::NoRoute => "no-route",
            Self::ServerUnreachable => "server-unreachable",
            Self::ServerBehindRouter => "server-behind-router",
            Self::DuplicateAddress => "duplicate-address",
            Self::WrongNeighbour => "wrong-neighbour",
            Self::ServerAnswersArp => "server-answers-arp",
            Self::OtherAnswersArp => "other-answers-arp",
            Self::PortClosed => "port-closed",
            Self::ServerRefuses => "server-refuses",
            Self::AnswersAstray => "answers-astray",
            Self::ClientBesideServer => "client-beside-server",
            Self::PathMtu => "path-mtu",
            Self::SegmentsTooLong => "segments-too-long",
            Self::UnfinishedChecksums => "unfinished-checksums",
            Self::ArpIgnore => "arp-ignore",
            Self::ArpAnnounce => "arp-announce",
            Self::AddressMissing => "address-missing",
            Self::AddressWide => "address-wide",
            Self::AddressOnCard => "address-on-card",
            Self::LoopbackDown => "loopback-down",
            Self::NoWayBack => "no-way-back",
            Self::WrongGateway => "wrong-gateway",
            Self::GatewayIsDirector => "gateway-is-director",
            Self::ReversePath => "reverse-path",
            Self::NoDecapsulation => "no-decapsulation",
        }
    }

    /// Why it matters.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::NoDirector => "nobody serves the virtual addresses; clients get no answer",
            Self::DirectorSilent => {
                "what runs goes on, but nothing can be changed, fragments are lost and new neighbours are not found"
            }
            Self::KernelServes => {
                "packets that lvsd lets pass are balanced a second time, by other rules"
            }
            Self::NotServed | Self::ClientsUnserved => {
                "packets that come in there are not balanced"
            }
            Self::TableFull => {
                "beyond its rating connections that were not answered yet give way to new ones"
            }
            Self::NotForwarding => {
                "by NAT both directions pass the director, and the kernel gives no routes to one that does not forward"
            }
            Self::NoVirtualAddress => "nobody answers ARP for it, and packets for it are not taken",
            Self::InterfaceDown => "no packet comes in or goes out there",
            Self::VirtualAddressSilent => {
                "routers and clients of the segment cannot send to it; arp_ignore belongs on real servers"
            }
            Self::NoServers => "every client is refused",
            Self::NoWeight => "weight 0 takes no new connections: every new client is refused",
            Self::AllOverloaded => "no new connection is accepted until some end",
            Self::DefenceAlwaysOn => {
                "mode 3 drops packets or entries at all times, of good clients too"
            }
            Self::MarkWithoutRule => {
                "packets are balanced before netfilter could mark them: the service never sees one"
            }
            Self::RuleUnseen => {
                "the rule never sees a packet of the service, so what it forbids is open and what it counts is 0"
            }
            Self::NoRoute => "packets for the server go nowhere",
            Self::ServerUnreachable => {
                "it is down, unplugged or elsewhere; its clients wait in vain"
            }
            Self::ServerBehindRouter => {
                "direct routing changes the link-layer address only: the router would send the packet back to the director"
            }
            Self::DuplicateAddress => "packets reach now one, now the other",
            Self::WrongNeighbour => "packets go to a machine that is not there any more",
            Self::ServerAnswersArp => {
                "clients' packets go past the director, straight to that server"
            }
            Self::OtherAnswersArp => {
                "two directors (or a host by mistake) take turns in getting the clients' packets"
            }
            Self::PortClosed => "a share of the clients is refused or waits",
            Self::ServerRefuses => "the director's packets arrive and are thrown away there",
            Self::AnswersAstray => {
                "its answers bear its own address, which the client does not know"
            }
            Self::ClientBesideServer => {
                "the server answers it directly, past the director, with an address that it does not know"
            }
            Self::PathMtu => "short exchanges work and long ones hang",
            Self::SegmentsTooLong => {
                "the director must refuse what clients send at full length, and uploads hang where its ICMP errors do not reach them"
            }
            Self::UnfinishedChecksums => {
                "XDP sees bytes only and sends them on as they are; the receiver throws them away"
            }
            Self::ArpIgnore => "clients' packets go past the director, straight to this server",
            Self::ArpAnnounce => {
                "routers learn its hardware address for the virtual address, and send clients' packets past the director"
            }
            Self::AddressMissing => {
                "it throws the director's packets away, or sends them round in circles"
            }
            Self::AddressWide => {
                "the whole network counts as this server's own: nothing of it can be reached any more"
            }
            Self::AddressOnCard => "the server answers ARP for it, whatever arp_ignore says",
            Self::LoopbackDown => "the virtual address on it does not count",
            Self::NoWayBack => "its answers to clients go nowhere",
            Self::WrongGateway => {
                "its answers bear its own address, which the client does not know"
            }
            Self::GatewayIsDirector => {
                "the director owns the virtual address and throws packets away that come from it"
            }
            Self::ReversePath => "the kernel throws the requests away as forged",
            Self::NoDecapsulation => "the director's packets stay wrapped and are thrown away",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
