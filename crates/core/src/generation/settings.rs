//! The settings `net.ipv4.vs.*`: their values as the operator gave them, and what packets read of them.
//!
//! [`Values`] are kept whole, for listings and for the next director; they lie in lines that no packet reads.
//! [`Settings`] are the switches of the data plane, one word of the root's first line.

use lvsx_platform::Line;

/// Number of values a generation holds, spare ones included.
pub const VALUES: usize = 32;

/// Lines that the values take: sixteen a line.
pub(super) const VALUE_LINES: usize = VALUES / 16;

/// A setting of one whole number, by its place among the [`Values`]. Names and meanings are those of Linux 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Setting {
    /// Pages of free memory below which automatic defence begins.
    AmemThresh = 0,
    /// Rate of `drop_packet` in mode 3.
    AmDropRate = 1,
    /// Defence: connections dropped at random.
    DropEntry = 2,
    /// Defence: first packets dropped at a rate.
    DropPacket = 3,
    /// Kernel connection tracking of connections.
    Conntrack = 4,
    /// Defence: TCP's secure table.
    SecureTcp = 5,
    /// Replies are routed as if the director sent them.
    SnatReroute = 6,
    /// Version of sync messages.
    SyncVersion = 7,
    /// Sync threads.
    SyncPorts = 8,
    /// Persistence of synced connections.
    SyncPersistMode = 9,
    /// Buffer of the sync socket.
    SyncSockSize = 10,
    /// Packets without a destination are sent to their own address.
    CacheBypass = 11,
    /// Connections end when their destination is gone.
    ExpireNodestConn = 12,
    /// TCP connections begin with any packet.
    SloppyTcp = 13,
    /// SCTP associations begin with any packet.
    SloppySctp = 14,
    /// Templates end when their destination is quiesced.
    ExpireQuiescentTemplate = 15,
    /// First number of `sync_threshold`: the packet that is synced.
    SyncThreshold = 16,
    /// Second number of `sync_threshold`: of how many.
    SyncPeriod = 17,
    /// Seconds between syncs of an idle connection.
    SyncRefreshPeriod = 18,
    /// Retries of a sync.
    SyncRetries = 19,
    /// ICMP errors to masqueraded servers whose packets belong to no connection.
    NatIcmpSend = 20,
    /// Tunnels honour the packet's don't-fragment bit.
    PmtuDisc = 21,
    /// A backup does not forward.
    BackupOnly = 22,
    /// When a closed connection's flow is scheduled anew.
    ConnReuseMode = 23,
    /// ICMP errors for no connection are scheduled.
    ScheduleIcmp = 24,
    /// Decapsulated packets are not scheduled again.
    IgnoreTunneled = 25,
    /// Rates are estimated.
    RunEstimation = 26,
    /// Seconds after which lblc forgets.
    LblcExpiration = 27,
    /// Seconds after which lblcr forgets.
    LblcrExpiration = 28,
}

impl Setting {
    /// All, in the order in which Linux 6.1 registers them.
    pub const ALL: [Self; 29] = [
        Self::AmemThresh,
        Self::AmDropRate,
        Self::DropEntry,
        Self::DropPacket,
        Self::Conntrack,
        Self::SecureTcp,
        Self::SnatReroute,
        Self::SyncVersion,
        Self::SyncPorts,
        Self::SyncPersistMode,
        Self::SyncSockSize,
        Self::CacheBypass,
        Self::ExpireNodestConn,
        Self::SloppyTcp,
        Self::SloppySctp,
        Self::ExpireQuiescentTemplate,
        Self::SyncThreshold,
        Self::SyncPeriod,
        Self::SyncRefreshPeriod,
        Self::SyncRetries,
        Self::NatIcmpSend,
        Self::PmtuDisc,
        Self::BackupOnly,
        Self::ConnReuseMode,
        Self::ScheduleIcmp,
        Self::IgnoreTunneled,
        Self::RunEstimation,
        Self::LblcExpiration,
        Self::LblcrExpiration,
    ];

    /// The value before anybody set one.
    #[must_use]
    pub const fn default_value(self) -> i32 {
        match self {
            Self::AmemThresh => 1024,
            Self::AmDropRate => 10,
            Self::SyncThreshold => 3,
            Self::SyncPeriod => 50,
            Self::LblcExpiration | Self::LblcrExpiration => 86_400,
            Self::SnatReroute
            | Self::SyncVersion
            | Self::SyncPorts
            | Self::PmtuDisc
            | Self::ConnReuseMode
            | Self::RunEstimation => 1,
            _ => 0,
        }
    }
}

/// The values of all settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values([i32; VALUES]);

impl Default for Values {
    fn default() -> Self {
        let mut values = [0; VALUES];
        for setting in Setting::ALL {
            values[setting as usize % VALUES] = setting.default_value();
        }
        Self(values)
    }
}

impl Values {
    /// The value of one.
    #[must_use]
    pub fn of(&self, setting: Setting) -> i32 {
        self.0[setting as usize % VALUES]
    }

    /// These with one value changed.
    #[must_use]
    pub fn with(mut self, setting: Setting, value: i32) -> Self {
        self.0[setting as usize % VALUES] = value;
        self
    }

    /// The lines as written to the arena.
    #[must_use]
    pub fn encode(&self) -> [[u64; 8]; VALUE_LINES] {
        let mut lines = [[0; 8]; VALUE_LINES];
        let words = lines.iter_mut().flatten();
        for (word, pair) in words.zip(self.0.chunks_exact(2)) {
            *word = u64::from(pair[0] as u32) | u64::from(pair[1] as u32) << 32;
        }
        lines
    }

    /// The values that lines hold.
    #[must_use]
    pub fn decode(lines: &[Line]) -> Self {
        let mut values = [0; VALUES];
        let words = lines.iter().flatten();
        for (pair, word) in values.chunks_exact_mut(2).zip(words) {
            let word = word.peek();
            pair[0] = word as i32;
            pair[1] = (word >> 32) as i32;
        }
        Self(values)
    }

    /// What packets read of them.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let on = |setting| self.of(setting) != 0;
        let reuse = self.of(Setting::ConnReuseMode);
        Settings {
            conn_reuse_mode: u8::from(reuse != 0) | (reuse & 2) as u8,
            expire_nodest_conn: on(Setting::ExpireNodestConn),
            expire_quiescent_template: on(Setting::ExpireQuiescentTemplate),
            sloppy_tcp: on(Setting::SloppyTcp),
            nat_icmp_send: on(Setting::NatIcmpSend),
            pmtu_disc: on(Setting::PmtuDisc),
            schedule_icmp: on(Setting::ScheduleIcmp),
            ignore_tunneled: on(Setting::IgnoreTunneled),
            backup_only: on(Setting::BackupOnly),
            snat_reroute: on(Setting::SnatReroute),
            drop_entry: self.of(Setting::DropEntry) as u8 & 3,
            drop_packet: self.of(Setting::DropPacket) as u8 & 3,
            secure_tcp: self.of(Setting::SecureTcp) as u8 & 3,
        }
    }
}

/// Switches of the data plane, from the settings `net.ipv4.vs.*` of the same names. Read with the root's first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A SYN of a closed connection's flow is scheduled anew: 0 never, 1 (default) in TIME_WAIT or CLOSE, 3 also in FIN_WAIT if the
    /// server answers past the director. Other values were brought to these.
    pub conn_reuse_mode: u8,
    /// A packet of a connection whose destination is gone is scheduled anew, also a SYN to a quiesced one. Default off: dropped.
    pub expire_nodest_conn: bool,
    /// A template to a quiesced destination is not valid. Default off.
    pub expire_quiescent_template: bool,
    /// A connection begins with any TCP packet but RST. Default off: with SYN.
    pub sloppy_tcp: bool,
    /// A packet of a masqueraded server that belongs to no connection is answered by port unreachable. Default off: passed.
    pub nat_icmp_send: bool,
    /// Tunnels copy the don't-fragment bit, and packets too long for them are answered. Default on.
    pub pmtu_disc: bool,
    /// ICMP errors that belong to no connection are scheduled. Default off.
    pub schedule_icmp: bool,
    /// Packets of other protocols are marked as handled, so that what they carry is not scheduled. Default off.
    pub ignore_tunneled: bool,
    /// Nothing is forwarded while a backup daemon runs. Default off.
    pub backup_only: bool,
    /// The route of a reply is looked up as if the director sent it. Default on.
    pub snat_reroute: bool,
    /// Mode of this defence, 0 to 3; whether it is in force: [`super::defence`].
    pub drop_entry: u8,
    /// Likewise.
    pub drop_packet: u8,
    /// Likewise.
    pub secure_tcp: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Values::default().settings()
    }
}

impl Settings {
    /// The switches in one word.
    #[must_use]
    pub fn encode(&self) -> u64 {
        let bits = [
            self.expire_nodest_conn,
            self.expire_quiescent_template,
            self.sloppy_tcp,
            self.nat_icmp_send,
            self.pmtu_disc,
            self.schedule_icmp,
            self.ignore_tunneled,
            self.backup_only,
            self.snat_reroute,
        ];
        let mut word = u64::from(self.conn_reuse_mode);
        for (bit, is_on) in (8..).zip(bits) {
            word |= u64::from(is_on) << bit;
        }
        word | u64::from(self.drop_entry & 3) << 32
            | u64::from(self.drop_packet & 3) << 34
            | u64::from(self.secure_tcp & 3) << 36
    }

    /// The switches that a word holds.
    #[inline(always)]
    #[must_use]
    pub fn decode(word: u64) -> Self {
        Self {
            conn_reuse_mode: word as u8,
            expire_nodest_conn: word >> 8 & 1 != 0,
            expire_quiescent_template: word >> 9 & 1 != 0,
            sloppy_tcp: word >> 10 & 1 != 0,
            nat_icmp_send: word >> 11 & 1 != 0,
            pmtu_disc: word >> 12 & 1 != 0,
            schedule_icmp: word >> 13 & 1 != 0,
            ignore_tunneled: word >> 14 & 1 != 0,
            backup_only: word >> 15 & 1 != 0,
            snat_reroute: word >> 16 & 1 != 0,
            drop_entry: (word >> 32) as u8 & 3,
            drop_packet: (word >> 34) as u8 & 3,
            secure_tcp: (word >> 36) as u8 & 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lvsx_platform::Word;
    use proptest::prelude::*;

    #[test]
    fn each_setting_has_a_place_of_its_own() {
        for (place, setting) in Setting::ALL.into_iter().enumerate() {
            assert_eq!(setting as usize, place);
        }
    }

    #[test]
    fn a_reuse_mode_is_any_number_as_in_the_kernel() {
        let mode = |value| {
            let values = Values::default().with(Setting::ConnReuseMode, value);
            values.settings().conn_reuse_mode
        };
        assert_eq!([0, 1, 2, 3, 4, 256, -1].map(mode), [0, 1, 3, 3, 1, 1, 3]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values: [i32; VALUES], switches: [bool; 9], modes in prop::array::uniform3(0u8..4)) {
            let values = Values(values);
            let lines = values.encode().map(|line| line.map(|word| {
                let cell = Word::default();
                cell.poke(word);
                cell
            }));
            prop_assert_eq!(Values::decode(&lines), values);
            prop_assert_eq!(Settings::decode(values.settings().encode()), values.settings());
            let [expire_nodest_conn, expire_quiescent_template, sloppy_tcp, nat_icmp_send, pmtu_disc,
                schedule_icmp, ignore_tunneled, backup_only, snat_reroute] = switches;
            let [drop_entry, drop_packet, secure_tcp] = modes;
            let settings = Settings {
                conn_reuse_mode: 3,
                expire_nodest_conn, expire_quiescent_template, sloppy_tcp, nat_icmp_send, pmtu_disc,
                schedule_icmp, ignore_tunneled, backup_only, snat_reroute, drop_entry, drop_packet, secure_tcp,
            };
            prop_assert_eq!(Settings::decode(settings.encode()), settings);
        }
    }
}
