//! The name of everything that can happen to a packet or an entry: one closed list, so that code, counters, `lvsx
//! status`, metrics and documentation cannot drift apart.

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Something counted, per CPU. See [`Event::name`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Event { $($(#[$doc])* $variant,)* }

        impl Event {
            /// All events, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name under which it is counted and shown. `pass-...`: the packet went on untouched;
            /// `drop-...`: it ended here; else something happened to a connection entry.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

events! {
    /// Sent on to a server or a client. Not counted here: the tallies of destinations are its count.
    Forwarded = "forwarded",
    /// Sent on by way of the kernel's neighbour resolution (tc only).
    ForwardedUnresolved = "forwarded-unresolved",
    /// Not addressed to this interface's link-layer address.
    PassForeignMac = "pass-foreign-mac",
    /// Neither IPv4 nor a family with a service.
    PassNotIp = "pass-not-ip",
    /// Neither to a virtual address nor from a real server.
    PassNotOurs = "pass-not-ours",
    /// To a virtual address, but neither TCP nor UDP.
    PassProtocol = "pass-protocol",
    /// To a virtual address, but to no service's port.
    PassNoService = "pass-no-service",
    /// TCP of no connection and not a SYN: the stack answers it.
    PassNotOpening = "pass-not-opening",
    /// From client port 20, or to a data port of an FTP service that is not persistent: IPVS never schedules these.
    PassFtpData = "pass-ftp-data",
    /// To a server on the director itself, whose stack takes it, or from one.
    PassLocal = "pass-local",
    /// From a real server, its time to live run out: the stack tells the server, before it looks further.
    PassTtlExceeded = "pass-ttl-exceeded",
    /// From a real server, but of no connection.
    PassNoConnection = "pass-no-connection",
    /// Headers shorter or longer than the frame, or lengths that contradict each other.
    DropMalformed = "drop-malformed",
    /// A fragment to a virtual address that could not be handed to lvsd: it does not run, or has more than it can read. Also
    /// one of an ICMP error about IPv6, which IPVS drops.
    DropFragment = "drop-fragment",
    /// Its time to live has run out.
    DropTtlExceeded = "drop-ttl-exceeded",
    /// Dropped by the defence `drop_packet`.
    DropDefence = "drop-defence",
    /// Refused, but its sender could not be told.
    DropUnanswered = "drop-unanswered",
    /// Refused, but its sender was told of others just now: so many ICMP errors are not sent.
    DropAnswerLimited = "drop-answer-limited",
    /// An ICMP error about a masqueraded connection whose checksum is wrong.
    DropIcmpChecksum = "drop-icmp-checksum",
    /// No destination of the service takes new connections.
    DropNoDestination = "drop-no-destination",
    /// Its destination was removed.
    DropDestinationRemoved = "drop-destination-removed",
    /// No room for a new connection: every candidate slot holds an answered one.
    DropTableFull = "drop-table-full",
    /// Another CPU was opening the same flow and did not finish in time.
    DropContended = "drop-contended",
    /// The kernel has no route to the next hop.
    DropNoRoute = "drop-no-route",
    /// The next hop's link-layer address is not known yet; the director asks for it.
    DropNoNeighbour = "drop-no-neighbour",
    /// IP forwarding is off on the interface the packet came in by.
    DropForwardingOff = "drop-forwarding-off",
    /// The route leaves by an interface the director does not know.
    DropUnknownPort = "drop-unknown-port",
    /// The driver has no room for a word beside the frame, by which a reply to the director itself is known behind XDP.
    DropNoMetadata = "drop-no-metadata",
    /// No room in the frame for a tunnel header.
    DropNoHeadroom = "drop-no-headroom",
    /// Longer than the interface it would leave by can carry, and not to be fragmented.
    DropTooBig = "drop-too-big",
    /// A table refers to something that is not there; never in a healthy director.
    DropInconsistent = "drop-inconsistent",
    /// A tail call failed; never in a healthy director.
    DropTailCall = "drop-tail-call",
    /// A connection entry was opened.
    Opened = "conn-opened",
    /// A closed connection's entry gave way to a new SYN of the same flow.
    Reused = "conn-reused",
    /// An entry was removed after its time.
    Expired = "conn-expired",
    /// An unanswered entry gave way to a new connection in a full table.
    EvictedEmbryonic = "conn-evicted-embryonic",
    /// An entry went to the overflow area.
    Overflowed = "conn-overflowed",
    /// A fragment that lvsd took, to put its datagram together.
    FragmentTaken = "fragment-taken",
    /// A packet longer than its way, ready to leave, that lvsd took to fragment it.
    LongTaken = "long-taken",
    /// A datagram that lvsd put together of fragments; then it is counted as any packet.
    Reassembled = "reassembled",
    /// A fragment of a datagram that lvsd found not to be the director's; or one from a real server that could not be handed
    /// to lvsd. The host's own stack has it.
    PassFragment = "pass-fragment",
    /// A packet to be fragmented that could not be handed to lvsd: it does not run, or has more than it can read.
    DropUncut = "drop-uncut",
    /// A fragment whose datagram was not complete in time (IPv4 30 s, IPv6 60 s).
    DropFragmentLate = "drop-fragment-late",
    /// A fragment that overlaps another, or one of that datagram: all of it is given up.
    DropFragmentOverlap = "drop-fragment-overlap",
    /// A fragment that contradicts its datagram (two ends, an empty or a torn part, more than 65,535 bytes, ECN that cannot
    /// be), or one of that datagram.
    DropFragmentBroken = "drop-fragment-broken",
    /// A fragment beyond what lvsd keeps: 4 MiB in all, 1,024 parts of a datagram.
    DropFragmentRoom = "drop-fragment-room",
    /// A frame that lvsd could not send: its next hop did not answer in time, or its interface refused it.
    DropUnsent = "drop-unsent",
    /// A connection or template ended before its time by `drop_entry`.
    Thinned = "conn-thinned",
    /// From a masqueraded server's port, but of no connection: the server is told (`nat_icmp_send`).
    DropNoConnection = "drop-no-connection",
}

/// Lines of eight counters that the events of one CPU take.
pub const EVENT_LINES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn events_fit_their_lines_and_names_are_unique() {
        assert!(Event::ALL.len() <= EVENT_LINES as usize * 8);
        let names: HashSet<_> = Event::ALL.iter().map(|event| event.name()).collect();
        assert_eq!(names.len(), Event::ALL.len());
        for (number, event) in Event::ALL.iter().enumerate() {
            assert_eq!(*event as usize, number);
        }
    }
}
