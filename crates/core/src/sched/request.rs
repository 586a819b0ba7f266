//! What a scheduler may know of the packet it picks a destination for.

/// Addresses and port of the packet that asks for a destination, prepared so that one code serves IPv4 and IPv6.
///
/// Who calls decides whose they are. For an ICMP error that is scheduled by the header it embeds, the client's side is that
/// header's destination and port, and the destination that header's destination, too (Linux 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client's address, folded.
    pub client: u32,
    /// The client's port in host order; 0 for protocols other than TCP, UDP and SCTP.
    pub port: u32,
    /// The address that the packet is for, folded.
    pub destination: u32,
    /// The same as 16 bytes in two raw words; an IPv4 address in the first four.
    pub address: [u64; 2],
}

impl Request {
    /// By an IPv4 packet: raw addresses, raw client port.
    #[inline(always)]
    #[must_use]
    pub fn ipv4(client: u32, port: u16, destination: u32) -> Self {
        Self {
            client: fold4(client),
            port: u16::from_be(port).into(),
            destination: fold4(destination),
            address: [u64::from(destination), 0],
        }
    }

    /// By an IPv6 packet: addresses as two raw words, raw client port.
    #[inline(always)]
    #[must_use]
    pub fn ipv6(client: [u64; 2], port: u16, destination: [u64; 2]) -> Self {
        Self {
            client: fold6(client),
            port: u16::from_be(port).into(),
            destination: fold6(destination),
            address: destination,
        }
    }

    /// What sh and mh hash: the client's address and, if they heed it, its port.
    #[inline(always)]
    pub(super) fn client_key(&self, heeds_port: bool) -> u32 {
        let port = if heeds_port { self.port } else { 0 };
        self.client.wrapping_add(port)
    }
}

/// A raw IPv4 address as a number.
#[inline(always)]
#[must_use]
pub fn fold4(raw: u32) -> u32 {
    u32::from_be(raw)
}

/// An IPv6 address, two raw words, as a number: its four 32-bit words, one XOR the other.
#[inline(always)]
#[must_use]
pub fn fold6(raw: [u64; 2]) -> u32 {
    let half = raw[0] ^ raw[1];
    u32::from_be(half as u32 ^ (half >> 32) as u32)
}

/// Fibonacci hashing of a number to its `bits` (1-31) upper bits, as the kernel has it since 4.18 (`hash_32`).
#[inline(always)]
pub(super) fn hash32(x: u32, bits: u32) -> u32 {
    x.wrapping_mul(0x61C8_8647) >> (32 - bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn addresses_fold_as_in_the_kernel() {
        assert_eq!(fold4(u32::from_ne_bytes([10, 1, 0, 1])), 0x0a01_0001);
        let bytes = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets();
        let word = |at: usize| u64::from_ne_bytes(*bytes[at..].first_chunk().unwrap());
        assert_eq!(fold6([word(0), word(8)]), 0x2001_0db9);
    }
}
