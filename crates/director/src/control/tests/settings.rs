//! The settings `net.ipv4.vs.*` and the defences.

use super::*;
use lvsx_core::env::state;
use lvsx_core::generation::defence::Defences;
use lvsx_core::generation::{IcmpLimits, TIMEOUT_LBLC};

/// All settings of Linux 6.1, with their defaults; but the one that depends on the memory.
const DEFAULTS: &str = "
am_droprate = 10
amemthresh = 1024
backup_only = 0
cache_bypass = 0
conn_reuse_mode = 1
conntrack = 0
drop_entry = 0
drop_packet = 0
expire_nodest_conn = 0
expire_quiescent_template = 0
ignore_tunneled = 0
lblc_expiration = 86400
lblcr_expiration = 86400
nat_icmp_send = 0
pmtu_disc = 1
run_estimation = 1
schedule_icmp = 0
secure_tcp = 0
sloppy_sctp = 0
sloppy_tcp = 0
snat_reroute = 1
sync_persist_mode = 0
sync_ports = 1
sync_refresh_period = 0
sync_retries = 0
sync_sock_size = 0
sync_threshold = 3\t50
sync_version = 1
";

fn value(control: &Control, name: &str) -> String {
    let settings = control.settings();
    let mut lines = settings.lines().filter_map(|line| line.split_once(" = "));
    let (_, value) = lines.find(|(known, _)| *known == name).expect(name);
    value.to_owned()
}

#[test]
fn all_are_there_with_the_kernels_defaults() {
    let control = director();
    let listed = control.settings();
    let (bound, others): (Vec<&str>, Vec<&str>) = listed
        .lines()
        .partition(|line| line.starts_with("sync_qlen_max = "));
    assert_eq!(others.join("\n"), DEFAULTS.trim());
    assert_eq!(bound.len(), 1);
}

#[test]
fn what_is_set_is_in_force_and_outlives_restart_and_flush() {
    let mut control = serving("rr", &[1]);
    for (name, value) in [
        ("conn_reuse_mode", "3"),
        ("expire_nodest_conn", "1"),
        ("sloppy_tcp", "7"),
        ("amemthresh", "-5"),
        ("pmtu_disc", "0"),
        ("lblc_expiration", "0x10"),
        ("sync_threshold", "0 10"),
        ("sync_ports", "4"),
    ] {
        assert_eq!(control.set_setting(name, value), Ok(()), "{name}");
    }
    control.flush().expect("everything goes");
    let control = restarted(control);
    let root = RootLine::current(&*control.tables).expect("in force");
    let settings = root.settings;
    assert_eq!(settings.conn_reuse_mode, 3);
    assert!(settings.expire_nodest_conn && settings.sloppy_tcp && !settings.pmtu_disc);
    let expiration = root.timeout(&*control.tables, TIMEOUT_LBLC as u32);
    assert_eq!(expiration, CLOCK.rate.ticks(16));
    for (name, want) in [
        ("conn_reuse_mode", "3"),
        ("sloppy_tcp", "7"),
        ("amemthresh", "-5"),
        ("lblc_expiration", "16"),
        ("sync_threshold", "0\t10"),
        ("sync_ports", "4"),
    ] {
        assert_eq!(value(&control, name), want, "{name}");
    }
}

#[test]
fn refusals_name_place_and_fix_and_change_nothing() {
    let mut control = director();
    let generation = control.generation();
    for (name, text, errno, part) in [
        ("drop_entry", "4", Errno::EINVAL, "0 to 3"),
        ("secure_tcp", "-1", Errno::EINVAL, "0 to 3"),
        ("sync_version", "2", Errno::EINVAL, "0 or 1"),
        ("sync_ports", "3", Errno::EINVAL, "power of two"),
        ("sync_ports", "0", Errno::EINVAL, "power of two"),
        ("sync_retries", "4", Errno::EINVAL, "0 to 3"),
        ("sync_threshold", "50 50", Errno::EINVAL, "below the second"),
        ("sync_threshold", "1 2 3", Errno::EINVAL, "two numbers"),
        ("amemthresh", "", Errno::EINVAL, "missing"),
        ("amemthresh", "1 2", Errno::EINVAL, "one number"),
        ("amemthresh", "much", Errno::EINVAL, "`much`"),
        ("amemthresh", "2147483648", Errno::EINVAL, "32 bits"),
        ("amemthresh", "--1", Errno::EINVAL, "`--1`"),
        ("cache_bypass", "1", Errno::EOPNOTSUPP, "not offered"),
        ("conntrack", "1", Errno::EOPNOTSUPP, "connection tracking"),
        ("sloppy_sctp", "1", Errno::EOPNOTSUPP, "SCTP"),
        ("run_estimation", "0", Errno::EOPNOTSUPP, "live"),
        ("sync_qlen_max", "1", Errno::EOPNOTSUPP, "queue"),
        ("drop_entri", "1", Errno::ENOENT, "net.ipv4.vs.drop_entry"),
    ] {
        let refused = control.set_setting(name, text).expect_err(name);
        assert_eq!(refused.errno, errno, "{name} = {text}: {refused}");
        assert!(refused.why.contains(part), "{name} = {text}: {refused}");
    }
    assert_eq!(control.generation(), generation);
    for (name, text) in [
        ("cache_bypass", "0"),
        ("conntrack", "0"),
        ("run_estimation", "2"),
    ] {
        assert_eq!(control.set_setting(name, text), Ok(()), "{name} = {text}");
    }
}

#[test]
fn defences_follow_modes_and_memory() {
    let mut control = director();
    let in_force = |control: &Control| Defences::in_force(&*control.tables);
    for (name, value) in [
        ("amemthresh", "1000"),
        ("am_droprate", "5"),
        ("drop_entry", "1"),
        ("drop_packet", "1"),
        ("secure_tcp", "2"),
    ] {
        control.set_setting(name, value).expect(name);
    }
    control.defend_with(1000);
    assert_eq!(in_force(&control), Defences::default());
    let modes = |control: &Control| {
        ["drop_entry", "drop_packet", "secure_tcp"].map(|name| value(control, name))
    };
    assert_eq!(modes(&control), ["1", "1", "1"]);
    control.defend_with(600);
    let all = Defences {
        drop_entry: true,
        secure_tcp: true,
        drop_rate: 2,
    };
    assert_eq!(in_force(&control), all);
    assert_eq!(modes(&control), ["2", "2", "2"]);
    let counter = control.tables.state[state::DEFENCES as usize][state::DROP_COUNTER].load();
    assert_eq!(counter, 2);
    control.set_setting("drop_packet", "3").expect("in range");
    control.set_setting("drop_entry", "0").expect("in range");
    control.defend_with(5000);
    let constant = Defences {
        drop_rate: 5,
        ..Defences::default()
    };
    assert_eq!(in_force(&control), constant);
    assert_eq!(modes(&control), ["0", "3", "1"]);
    control.set_setting("drop_packet", "0").expect("in range");
    assert_eq!(in_force(&control).drop_rate, 0, "at once");
}

#[test]
fn icmp_limits_are_the_kernels() {
    let control = director();
    let root = RootLine::current(&*control.tables).expect("in force");
    let limits = root.icmp_limits(&*control.tables);
    let read = |name: &str, usual| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
        text.map_or(usual, |text| text.trim().parse().expect("a number"))
    };
    let usual = IcmpLimits::default();
    assert_eq!(limits.interval, read("icmp_ratelimit", usual.interval));
    assert_eq!(limits.mask, read("icmp_ratemask", usual.mask));
}
