//! A destination (real server) as a line of its service's block.

use lvsx_platform::Line;

/// How packets reach a server; numbers as in IPVS (`IP_VS_CONN_F_FWD_MASK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Method {
    /// NAT: addresses and ports rewritten, replies come back through the director.
    Masquerade = 0,
    /// Delivered to the director itself.
    Local = 1,
    /// Wrapped in an outer header to the server.
    Tunnel = 2,
    /// Direct routing: only the link-layer destination changes.
    DirectRouting = 3,
    /// Sent on unchanged along the route of its own address.
    Bypass = 4,
}

impl Method {
    /// The method of an IPVS number; `None` for 5 to 7, which IPVS stores but cannot send by.
    #[inline(always)]
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number & 7 {
            0 => Some(Self::Masquerade),
            1 => Some(Self::Local),
            2 => Some(Self::Tunnel),
            3 => Some(Self::DirectRouting),
            4 => Some(Self::Bypass),
            _ => None,
        }
    }
}

/// A destination's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationLine {
    /// Stable id: index of the destination's live line. Below 2^20.
    pub id: u32,
    /// Current weight; 0 means quiesced.
    pub weight: u32,
    /// Address family as in `AF_INET` (2) or `AF_INET6` (10).
    pub family: u8,
    /// Forwarding method, by its IPVS number (0-7).
    pub method: u8,
    /// Raw port.
    pub port: u16,
    /// Tunnel type (0 ipip, 1 gue, 2 gre).
    pub tunnel_type: u8,
    /// Tunnel flags.
    pub tunnel_flags: u8,
    /// Raw tunnel port.
    pub tunnel_port: u16,
    /// Address as 16 bytes in two raw words; an IPv4 address in the first four.
    pub address: [u64; 2],
    /// Latest weight that was not 0.
    pub last_weight: u32,
    /// Upper threshold, 0 for none.
    pub upper: u32,
    /// Lower threshold, 0 for none.
    pub lower: u32,
    /// Id of the service it belongs or, in the trash, belonged to.
    pub service: u32,
}

impl DestinationLine {
    /// The line as written to the arena.
    #[must_use]
    pub fn encode(&self) -> [u64; 8] {
        [
            u64::from(self.id) | u64::from(self.weight) << 32,
            u64::from(self.family)
                | u64::from(self.method) << 8
                | u64::from(self.port) << 16
                | u64::from(self.tunnel_type) << 32
                | u64::from(self.tunnel_flags) << 40
                | u64::from(self.tunnel_port) << 48,
            self.address[0],
            self.address[1],
            u64::from(self.last_weight) | u64::from(self.service) << 32,
            u64::from(self.upper) | u64::from(self.lower) << 32,
            0,
            0,
        ]
    }

    /// The destination that a line holds.
    #[inline(always)]
    #[must_use]
    pub fn decode(line: &Line) -> Self {
        let (head, shape) = (line[0].peek(), line[1].peek());
        let (last, thresholds) = (line[4].peek(), line[5].peek());
        Self {
            id: head as u32,
            weight: (head >> 32) as u32,
            family: shape as u8,
            method: (shape >> 8) as u8,
            port: (shape >> 16) as u16,
            tunnel_type: (shape >> 32) as u8,
            tunnel_flags: (shape >> 40) as u8,
            tunnel_port: (shape >> 48) as u16,
            address: [line[2].peek(), line[3].peek()],
            last_weight: last as u32,
            service: (last >> 32) as u32,
            upper: thresholds as u32,
            lower: (thresholds >> 32) as u32,
        }
    }
}
