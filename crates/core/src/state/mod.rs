//! Protocol states of a connection, their names, their activity.

pub mod tcp;

/// The state of a connection, by its IPVS number. TCP uses 0 to 10; UDP has the one state 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct State(pub u8);

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

impl State {
    /// TCP NONE; the one state of UDP.
    pub const NONE: Self = Self(0);
    /// TCP ESTABLISHED.
    pub const ESTABLISHED: Self = Self(1);
    /// TCP SYN_SENT.
    pub const SYN_SENT: Self = Self(2);
    /// TCP SYN_RECV.
    pub const SYN_RECV: Self = Self(3);
    /// TCP FIN_WAIT.
    pub const FIN_WAIT: Self = Self(4);
    /// TCP TIME_WAIT.
    pub const TIME_WAIT: Self = Self(5);
    /// TCP CLOSE.
    pub const CLOSE: Self = Self(6);
    /// TCP CLOSE_WAIT.
    pub const CLOSE_WAIT: Self = Self(7);
    /// TCP LAST_ACK.
    pub const LAST_ACK: Self = Self(8);
    /// TCP LISTEN.
    pub const LISTEN: Self = Self(9);
    /// TCP SYNACK.
    pub const SYNACK: Self = Self(10);

    /// The states in which no server has answered yet, one bit a state: NONE (and all UDP), SYN_RECV, SYNACK.
    pub(crate) const EMBRYONIC: u32 = 0b100_0000_1001;

    /// Whether a connection in this state counts as active: ESTABLISHED, SYN_SENT, SYN_RECV, SYNACK (Linux 6.1). UDP's
    /// state 0 never does.
    #[inline(always)]
    #[must_use]
    pub fn is_active(self) -> bool {
        self.active_bit() != 0
    }

    /// 1 if a connection in this state counts as active, without branches.
    #[inline(always)]
    pub(crate) fn active_bit(self) -> u64 {
        0b100_0000_1110u64 >> (self.0 & 0xf) & 1
    }

    /// Whether the connection is over: TIME_WAIT or CLOSE.
    #[inline(always)]
    #[must_use]
    pub fn is_closed(self) -> bool {
        0b110_0000u32 >> self.0 & 1 != 0
    }

    /// The name that the same listings print for a persistence template in this state.
    #[must_use]
    pub fn template_name(self) -> &'static str {
        match self.0 {
            0 => "NONE",
            1 => "ASSURED",
            _ => "ERR!",
        }
    }

    /// The name that `/proc/net/ip_vs_conn` and `ipvsadm -Lc` print for a connection of `protocol`.
    #[must_use]
    pub fn name(self, protocol: u8) -> &'static str {
        match protocol {
            TCP => tcp::NAMES
                .get(usize::from(self.0))
                .copied()
                .unwrap_or("ERR!"),
            UDP => "UDP",
            _ => "ERR!",
        }
    }
}
