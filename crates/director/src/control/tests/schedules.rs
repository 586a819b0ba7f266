//! Every scheduler, from the client's request to the packet's pick.

use super::*;
use lvsx_core::generation::{DestinationLine, ServiceLine, slot};
use lvsx_core::sched::{FALLBACK, HEEDS_PORT, mh};

/// The servers that own the first slots of the table in force.
fn owners(control: &Control, count: u32) -> Vec<u8> {
    let tables = &*control.tables;
    let root = RootLine::current(tables).expect("in force");
    let key = table_key(&service(), root.seed).expect("IPv4");
    let block = root.service(tables, key).expect("the service is found");
    let head = ServiceLine::decode(&tables.config[block as usize]);
    let owner = |number| {
        let place = slot(tables, block + 1 + head.destinations, number)?;
        let line = DestinationLine::decode(&tables.config[(block + 1 + place) as usize]);
        Some(line.address[0].to_ne_bytes()[3])
    };
    (0..count)
        .map(|number| owner(number).unwrap_or(0))
        .collect()
}

#[test]
fn every_scheduler_of_the_kernel_is_known_and_picks() {
    let names = [
        "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh",
        "twos",
    ];
    for name in names {
        let mut control = serving(name, &[1, 1]);
        assert_eq!(control.services()[0].scheduler.as_deref(), Some(name));
        assert!(matches!(pick(&control, true), Some(1 | 2)), "{name}");
        assert!(
            matches!(pick(&restarted(control), true), Some(1 | 2)),
            "{name} after a restart"
        );
        control = serving(name, &[0, 0]);
        assert_eq!(pick(&control, true), None, "{name}");
        control = serving(name, &[]);
        assert_eq!(pick(&control, true), None, "{name}");
    }
    let refused = director().new_service(&service(), &settings("lbl"));
    assert_eq!(refused, Err(Errno::ENOENT));
}

#[test]
fn flags_of_a_scheduler_are_kept_listed_and_in_force_at_once() {
    let mut control = serving("sh", &[1, 1]);
    let flagged = |flags| ServiceSettings {
        flags: FlagChange::exactly(ServiceFlags(flags)),
        ..settings("sh")
    };
    let one = pick(&control, false).expect("somebody");
    control
        .set_destination(&service(), &server(one), &weight(0))
        .expect("quiesced");
    let owner = owners(&control, 256);
    assert!(owner.contains(&one), "a quiesced server keeps slots");
    assert_eq!(pick(&control, false), None);
    control
        .set_service(&service(), &flagged(FALLBACK))
        .expect("a flag");
    assert_eq!(pick(&control, false), Some(3 - one));
    control
        .set_service(&service(), &flagged(FALLBACK | HEEDS_PORT))
        .expect("two flags");
    let listed = control.services()[0].flags.0;
    assert_eq!(listed & (FALLBACK | HEEDS_PORT), FALLBACK | HEEDS_PORT);
    assert_eq!(pick(&restarted(control), false), Some(3 - one));
}

#[test]
fn sh_deals_anew_when_a_weight_changes() {
    let mut control = serving("sh", &[1, 2, 3]);
    assert_eq!(owners(&control, 12), [3, 3, 3, 2, 2, 1, 3, 3, 3, 2, 2, 1]);
    control
        .set_destination(&service(), &server(3), &weight(1))
        .expect("a weight");
    assert_eq!(owners(&control, 8), [3, 2, 2, 1, 3, 2, 2, 1]);
    control
        .delete_destination(&service(), &server(2))
        .expect("it was there");
    assert_eq!(owners(&control, 4), [3, 1, 3, 1]);
    assert_eq!(owners(&restarted(control), 4), [3, 1, 3, 1]);
}

#[test]
fn mh_moves_no_slot_when_a_server_is_quiesced() {
    let mut control = serving("mh", &[1, 2, 3]);
    let slots = mh::SLOTS as u32;
    let before = owners(&control, slots);
    control
        .set_destination(&service(), &server(2), &weight(0))
        .expect("quiesced");
    assert_eq!(owners(&control, slots), before);
    control
        .set_destination(&service(), &server(2), &weight(1))
        .expect("another weight");
    let after = owners(&control, slots);
    assert_ne!(after, before);
    assert_eq!(owners(&restarted(control), slots), after);
}

#[test]
fn another_scheduler_forgets_what_the_one_before_cached() {
    let mut control = serving("lblc", &[10, 10]);
    assert_eq!(pick(&control, true), Some(2));
    assert_eq!(pick(&control, true), Some(2));
    for name in ["wlc", "lblc"] {
        control
            .set_service(&service(), &settings(name))
            .expect("another scheduler");
    }
    assert_eq!(pick(&control, true), Some(1));
    control
        .set_service(&service(), &settings("lblc"))
        .expect("the same scheduler");
    assert_eq!(pick(&control, true), Some(1));
}

/// In the kernel the cache holds its servers, so that one which comes back is the one that it knew.
#[test]
fn a_removed_server_in_a_cache_stays_in_the_trash() {
    let mut control = serving("lblc", &[10, 10]);
    assert_eq!(pick(&control, false), Some(2));
    control
        .delete_destination(&service(), &server(2))
        .expect("it was there");
    let now = Instant::now();
    for minute in 0..4 {
        control.empty_trash(now + Duration::from_secs(60 * minute));
    }
    assert_eq!(control.config().trash.len(), 1);
    control
        .new_destination(&service(), &server(2), &weight(1))
        .expect("it comes back");
    assert_eq!(pick(&control, false), Some(2));
    control
        .delete_destination(&service(), &server(2))
        .expect("it was there");
    assert_eq!(pick(&control, false), Some(1));
    for minute in 4..8 {
        control.empty_trash(now + Duration::from_secs(60 * minute));
    }
    assert_eq!(
        control.config().trash.len(),
        0,
        "its address has another server"
    );
}
