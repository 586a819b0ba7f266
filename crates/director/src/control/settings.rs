//! The settings `net.ipv4.vs.*`: names, ranges and defaults of Linux 6.1, kept in the generation.
//!
//! A value that could not be honoured is refused with the reason, so that nobody relies on it.

use super::Control;
use super::draft::Draft;
use lvsx_core::generation::{Setting, TIMEOUT_LBLC, TIMEOUT_LBLCR, TIMEOUT_UDP};
use lvsx_core::state::State;
use lvsx_ipvs::{Errno, Refused, Timeouts};

pub(super) const ESTABLISHED: usize = State::ESTABLISHED.0 as usize;
pub(super) const FIN_WAIT: usize = State::FIN_WAIT.0 as usize;

/// Timeouts that are settings.
pub(super) const EXPIRATIONS: [(usize, Setting); 2] = [
    (TIMEOUT_LBLC, Setting::LblcExpiration),
    (TIMEOUT_LBLCR, Setting::LblcrExpiration),
];

/// What a name stands for.
#[derive(Clone, Copy)]
enum Kept {
    /// One number.
    One(Setting),
    /// Two numbers, written side by side.
    Two(Setting, Setting),
    /// The bound of the queue to a sync thread, which follows from the memory.
    QueueBound,
}

/// All names, sorted, as `sysctl -a` shows them.
const NAMES: [(&str, Kept); 29] = [
    ("am_droprate", Kept::One(Setting::AmDropRate)),
    ("amemthresh", Kept::One(Setting::AmemThresh)),
    ("backup_only", Kept::One(Setting::BackupOnly)),
    ("cache_bypass", Kept::One(Setting::CacheBypass)),
    ("conn_reuse_mode", Kept::One(Setting::ConnReuseMode)),
    ("conntrack", Kept::One(Setting::Conntrack)),
    ("drop_entry", Kept::One(Setting::DropEntry)),
    ("drop_packet", Kept::One(Setting::DropPacket)),
    ("expire_nodest_conn", Kept::One(Setting::ExpireNodestConn)),
    (
        "expire_quiescent_template",
        Kept::One(Setting::ExpireQuiescentTemplate),
    ),
    ("ignore_tunneled", Kept::One(Setting::IgnoreTunneled)),
    ("lblc_expiration", Kept::One(Setting::LblcExpiration)),
    ("lblcr_expiration", Kept::One(Setting::LblcrExpiration)),
    ("nat_icmp_send", Kept::One(Setting::NatIcmpSend)),
    ("pmtu_disc", Kept::One(Setting::PmtuDisc)),
    ("run_estimation", Kept::One(Setting::RunEstimation)),
    ("schedule_icmp", Kept::One(Setting::ScheduleIcmp)),
    ("secure_tcp", Kept::One(Setting::SecureTcp)),
    ("sloppy_sctp", Kept::One(Setting::SloppySctp)),
    ("sloppy_tcp", Kept::One(Setting::SloppyTcp)),
    ("snat_reroute", Kept::One(Setting::SnatReroute)),
    ("sync_persist_mode", Kept::One(Setting::SyncPersistMode)),
    ("sync_ports", Kept::One(Setting::SyncPorts)),
    ("sync_qlen_max", Kept::QueueBound),
    ("sync_refresh_period", Kept::One(Setting::SyncRefreshPeriod)),
    ("sync_retries", Kept::One(Setting::SyncRetries)),
    ("sync_sock_size", Kept::One(Setting::SyncSockSize)),
    (
        "sync_threshold",
        Kept::Two(Setting::SyncThreshold, Setting::SyncPeriod),
    ),
    ("sync_version", Kept::One(Setting::SyncVersion)),
];

impl Control {
    /// All settings by name, each as the text that sysctl(8) would show.
    #[must_use]
    pub fn listed_settings(&self) -> Vec<(&'static str, String)> {
        NAMES
            .iter()
            .map(|(name, kept)| (*name, self.shown(*kept)))
            .collect()
    }

    fn shown(&self, kept: Kept) -> String {
        let value = |setting| self.config().values.of(setting);
        match kept {
            Kept::One(setting) => self
                .defence_mode(setting)
                .unwrap_or(value(setting))
                .to_string(),
            Kept::Two(first, second) => format!("{}\t{}", value(first), value(second)),
            Kept::QueueBound => super::defence::queue_bound().to_string(),
        }
    }
}

impl Draft<'_> {
    /// Sets timeouts; 0 keeps one.
    ///
    /// # Errors
    /// `EINVAL` a value above 2^31-1 ticks.
    pub(super) fn set_timeouts(&mut self, timeouts: &Timeouts) -> Result<(), Errno> {
        let rate = self.control.clock.rate;
        let wanted = [
            (ESTABLISHED, timeouts.tcp),
            (FIN_WAIT, timeouts.tcp_fin),
            (TIMEOUT_UDP, timeouts.udp),
        ];
        let most = i32::MAX as u32 / rate.hz;
        if wanted.iter().any(|(_, seconds)| *seconds > most) {
            return Err(Errno::EINVAL);
        }
        for (number, seconds) in wanted.into_iter().filter(|(_, seconds)| *seconds != 0) {
            self.config.timeouts[number] = rate.ticks(seconds);
        }
        Ok(())
    }

    /// Sets `name` to the numbers in `text`.
    ///
    /// # Errors
    /// `ENOENT` no such setting; `EINVAL` not numbers, or out of the kernel's range; `EOPNOTSUPP` this director could not
    /// honour the value.
    pub(super) fn change_setting(&mut self, name: &str, text: &str) -> Result<(), Refused> {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        let Some((_, kept)) = known else {
            return Err(unknown(name));
        };
        let refused = |why: String| Refused::new(Errno::EINVAL, format!("{name}: {why}"));
        let numbers = numbers(text).map_err(refused)?;
        let wanted: Vec<(Setting, i32)> = match (*kept, &*numbers) {
            (Kept::One(setting), [value]) => vec![(setting, *value)],
            (Kept::One(_), _) => {
                return Err(refused(format!("one number is wanted, not `{text}`")));
            }
            (Kept::Two(first, _), [value]) => vec![(first, *value)],
            (Kept::Two(first, second), [one, two]) => vec![(first, *one), (second, *two)],
            (Kept::Two(..), _) => {
                return Err(refused(format!("two numbers are wanted, not `{text}`")));
            }
            (Kept::QueueBound, _) => {
                if text.trim() == self.control.shown(*kept) {
                    return Ok(());
                }
                return Err(Refused::new(
                    Errno::EOPNOTSUPP,
                    format!("{name}: lvsd keeps no queue that it could bound; leave it as it is"),
                ));
            }
        };
        let mut values = self.config.values;
        for (setting, value) in &wanted {
            values = values.with(*setting, *value);
        }
        for (setting, value) in &wanted {
            if let Some(range) = out_of_range(*setting, *value, &values) {
                return Err(refused(format!("{value} is out of range: {range}")));
            }
            if let Some(why) = not_honoured(*setting, *value) {
                return Err(Refused::new(
                    Errno::EOPNOTSUPP,
                    format!("{name} = {value} is not offered: {why}"),
                ));
            }
        }
        self.config.values = values;
        let rate = self.control.clock.rate;
        for (number, setting) in EXPIRATIONS {
            let seconds = values.of(setting).max(0) as u32;
            self.config.timeouts[number] = rate.ticks(seconds);
        }
        self.follow.defences |= wanted
            .iter()
            .any(|(setting, _)| super::defence::is_mode(*setting));
        Ok(())
    }
}

fn unknown(name: &str) -> Refused {
    let nearest = NAMES
        .iter()
        .map(|(known, _)| *known)
        .min_by_key(|known| distance(known, name))
        .unwrap_or_default();
    Refused::new(
        Errno::ENOENT,
        format!("net.ipv4.vs.{name} does not exist; the nearest name is net.ipv4.vs.{nearest}"),
    )
}

/// Letters that differ, one by one from the front, and those that are too many.
fn distance(one: &str, other: &str) -> usize {
    let common = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b);
    one.len().max(other.len()) - common.count()
}

/// Numbers as the kernel reads them: decimal, octal with 0, hexadecimal with 0x, a minus in front.
fn numbers(text: &str) -> Result<Vec<i32>, String> {
    let words = text.split_ascii_whitespace();
    let numbers: Vec<i32> = words
        .map(|word| number(word).ok_or(format!("`{word}` is not a whole number of 32 bits")))
        .collect::<Result<_, _>>()?;
    if numbers.is_empty() {
        return Err("a number is missing".to_owned());
    }
    Ok(numbers)
}

fn number(word: &str) -> Option<i32> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    i32::try_from(sign * value).ok()
}

/// What the kernel takes instead of a value that it refuses. Linux 6.1.
fn out_of_range(
    setting: Setting,
    value: i32,
    values: &lvsx_core::generation::Values,
) -> Option<&'static str> {
    let (is_fine, range) = match setting {
        Setting::DropEntry | Setting::DropPacket | Setting::SecureTcp => {
            ((0..=3).contains(&value), "0 to 3")
        }
        Setting::SyncVersion => ((0..=1).contains(&value), "0 or 1"),
        Setting::SyncPorts => (
            value > 0 && value.count_ones() == 1,
            "a power of two, 1 or more",
        ),
        Setting::SyncRetries => ((0..=3).contains(&value), "0 to 3"),
        Setting::SyncThreshold | Setting::SyncPeriod => {
            let (first, second) = (
                values.of(Setting::SyncThreshold),
                values.of(Setting::SyncPeriod),
            );
            (
                first >= 0 && second >= 0 && (first < second || second == 0),
                "two numbers of 0 or more, the first below the second unless that is 0",
            )
        }
        _ => (true, ""),
    };
    (!is_fine).then_some(range)
}

/// Why a value that the kernel would take cannot be honoured here.
fn not_honoured(setting: Setting, value: i32) -> Option<&'static str> {
    if value == setting.default_value() {
        return None;
    }
    let why = match setting {
        Setting::CacheBypass => "packets without a destination are not sent to their own address",
        Setting::Conntrack => "packets are forwarded before the kernel's connection tracking",
        Setting::SloppySctp => "SCTP is not scheduled",
        Setting::RunEstimation if value == 0 => {
            "counters are always live, and rates always estimated"
        }
        Setting::SyncSockSize => "there is no sync socket whose size it could set",
        _ => return None,
    };
    Some(why)
}
