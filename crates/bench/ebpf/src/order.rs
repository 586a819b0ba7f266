//! What the generator is told, as words of 32 bits that user space writes and the program reads.

/// Flows less one, their number a power of two: packets are of one of them at random, each as often as any other.
pub(crate) const MASK: usize = 0;
/// 1: each packet is of the flow after that of the last, so that none comes twice.
pub(crate) const IS_FRESH: usize = 1;
/// The flow of the last packet.
pub(crate) const FLOW: usize = 2;
/// Bytes of a frame.
pub(crate) const LENGTH: usize = 3;
/// Transport protocol: 6 or 17.
pub(crate) const PROTOCOL: usize = 4;
/// Sum of the IPv4 header with neither checksum nor client.
pub(crate) const NETWORK_SUM: usize = 5;
/// Sum of the transport header, its pseudo header and payload with neither checksum nor client.
pub(crate) const TRANSPORT_SUM: usize = 6;
/// Added to the flow: the first of those at random.
pub(crate) const FIRST: usize = 7;
/// The interface that `send` sends by.
pub(crate) const INTERFACE: usize = 8;
/// The frame: Ethernet as words of 4, 2, 4, 2, 2 bytes, the rest of 4; with neither checksums nor client.
pub(crate) const FRAME: usize = 9;
/// Words of the rest, for IPv6 and TCP; IPv4 needs 10.
pub(crate) const MOST_WORDS: usize = 15;
/// Words in all.
pub(crate) const WORDS: usize = FRAME + 5 + MOST_WORDS;

/// The network of the clients: 10.0.0.0/8, and 2001:db8:c::/96 with the same 32 bits behind it.
pub(crate) const CLIENTS: u32 = 10 << 24;
/// The flows that differ in the client's address; more differ in its port.
pub(crate) const ADDRESSES: u32 = 1 << 24;
/// The port of the first of a client's flows.
pub(crate) const FIRST_PORT: u32 = 40_000;
