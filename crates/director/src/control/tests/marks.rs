//! Mark rules, and services by mark.

use super::*;
use lvsx_core::generation::Ends;
use lvsx_ipvs::{MarkEdit, MarkRule};

fn rule(text: &str) -> MarkRule {
    text.parse().expect("a rule")
}

fn by_mark(mark: u32) -> ServiceKey {
    ServiceKey::Mark {
        family: Family::V4,
        mark,
    }
}

/// The mark of a TCP packet to this address and port, in by this interface.
fn mark(control: &Control, to: [u8; 4], port: u16, interface: u32) -> u32 {
    let ends = Ends {
        family: 2,
        protocol: 6,
        source_port: 40_000u16.to_be(),
        destination_port: port.to_be(),
        interface,
        source: [u64::from(raw_address([203, 0, 113, 1].into())), 0],
        destination: [u64::from(raw_address(to.into())), 0],
    };
    let root = RootLine::current(&*control.tables).expect("in force");
    root.mark_of(&*control.tables, &ends)
}

#[test]
fn the_last_rule_that_matches_has_the_last_word() {
    let mut control = director();
    let edits = [
        "mark 1 protocol tcp to 192.0.2.0/24",
        "mark 2 protocol tcp to 192.0.2.1 ports 443",
        "mark 0x10/0x10 protocol tcp ports 8000-8099",
    ];
    let edits = edits.map(|text| MarkEdit::Add(rule(text)));
    control.edit_marks(&edits).expect("three rules");
    assert_eq!(mark(&control, [192, 0, 2, 1], 80, 1), 1);
    assert_eq!(mark(&control, [192, 0, 2, 1], 443, 1), 2);
    assert_eq!(mark(&control, [192, 0, 2, 9], 8080, 1), 0x11);
    assert_eq!(mark(&control, [192, 0, 3, 9], 443, 1), 0);
    let listed = control.marks();
    let mut control = restarted(control);
    assert_eq!(control.marks(), listed);
    assert_eq!(mark(&control, [192, 0, 2, 9], 8080, 1), 0x11);
    control.flush().expect("services go, rules stay");
    assert_eq!(control.marks(), listed);
    control.edit_marks(&[MarkEdit::Flush]).expect("all go");
    assert_eq!(mark(&control, [192, 0, 2, 1], 80, 1), 0);
}

#[test]
fn edits_are_all_or_none() {
    let mut control = director();
    let first = rule("mark 1 protocol tcp to 192.0.2.1");
    let second = rule("mark 2 protocol tcp to 192.0.2.1");
    control
        .edit_marks(&[MarkEdit::Add(first.clone())])
        .expect("one rule");
    let edits = [MarkEdit::Flush, MarkEdit::Delete(second.clone())];
    let refused = control
        .edit_marks(&edits)
        .expect_err("there is no such rule");
    assert_eq!(refused.errno, Errno::ENOENT);
    assert!(refused.why.contains("lvsx mark list"), "{refused}");
    let many = vec![MarkEdit::Add(second); 512];
    let refused = control.edit_marks(&many).expect_err("513 rules");
    assert_eq!(refused.errno, Errno::ENOMEM);
    assert_eq!(control.marks(), [first]);
}

#[test]
fn an_interface_is_found_by_name_when_it_is_there() {
    let mut control = director();
    let edit = MarkEdit::Add(rule("mark 7 interface eth0"));
    control.edit_marks(&[edit]).expect("one rule");
    assert_eq!(mark(&control, [192, 0, 2, 1], 80, 3), 0);
    let named = |index| BTreeMap::from([("eth0".to_owned(), index)]);
    control.set_interfaces(named(3)).expect("it fits");
    assert_eq!(mark(&control, [192, 0, 2, 1], 80, 3), 7);
    let mut control = restarted(control);
    assert_eq!(mark(&control, [192, 0, 2, 1], 80, 3), 7);
    control.set_interfaces(named(5)).expect("it fits");
    assert_eq!(mark(&control, [192, 0, 2, 1], 80, 3), 0);
    assert_eq!(mark(&control, [192, 0, 2, 1], 80, 5), 7);
    control.set_interfaces(BTreeMap::new()).expect("it fits");
    assert_eq!(mark(&control, [192, 0, 2, 1], 80, 5), 0);
}

#[test]
fn rules_concern_local_addresses_once_there_is_a_service_by_mark() {
    let mut control = heeding_locals();
    let local = |prefix: [u8; 4], length| LocalRoute {
        prefix: IpAddr::from(prefix),
        length,
        kind: AddressKind::Local,
        interface: 2,
    };
    let locals = LocalTable::from_iter([local([192, 0, 2, 1], 32), local([192, 0, 2, 9], 32)]);
    control.set_locals(locals).expect("it fits");
    let edit = MarkEdit::Add(rule("mark 1 protocol tcp to 192.0.2.0/29 ports 80"));
    control.edit_marks(&[edit]).expect("one rule");
    let is_ours = |control: &Control, address: [u8; 4]| {
        let root = RootLine::current(&*control.tables).expect("in force");
        let concern = root.concern(&*control.tables, raw_address(address.into()));
        concern.is_virtual
    };
    assert!(!is_ours(&control, [192, 0, 2, 1]));
    control
        .new_service(&by_mark(1), &settings("rr"))
        .expect("a new service");
    assert!(is_ours(&control, [192, 0, 2, 1]));
    assert!(!is_ours(&control, [192, 0, 2, 2]), "not local");
    assert!(!is_ours(&control, [192, 0, 2, 9]), "no rule");
    let root = RootLine::current(&*control.tables).expect("in force");
    assert!(root.marked(&*control.tables, 2, 1).is_some());
    assert_eq!(root.marked(&*control.tables, 2, 2), None);
    assert_eq!(root.marked(&*control.tables, 10, 1), None);
    assert_eq!(root.marked(&*control.tables, 2, 0), None);
}

/// A director to which only what is routed as local is its own.
fn heeding_locals() -> Control {
    let tables = Arc::new(Tables::plain(capacity()));
    let generations = Generations::none(&tables, Readers::Nobody);
    let ledger = Ledger::plain(&tables.capacity);
    Control::new(tables, generations, ledger, CLOCK, false).expect("it fits")
}

#[test]
fn large_local_prefixes_are_served_whole_and_there_is_place_for_some() {
    let mut control = heeding_locals();
    let local = |second: u8| LocalRoute {
        prefix: IpAddr::from([10, second, 0, 0]),
        length: 16,
        kind: AddressKind::Local,
        interface: 2,
    };
    control
        .set_locals((0..9).map(local).collect())
        .expect("it fits");
    control
        .new_service(&by_mark(7), &settings("dh"))
        .expect("a new service");
    let to = |prefix: &str| MarkEdit::Add(rule(&format!("mark 7 protocol tcp to {prefix}")));
    let is_ours = |control: &Control, address: [u8; 4]| {
        let root = RootLine::current(&*control.tables).expect("in force");
        let words = raw_words(IpAddr::from(address));
        root.is_in_prefix(&*control.tables, false, words)
    };
    assert!(!is_ours(&control, [10, 3, 200, 1]));
    control.edit_marks(&[to("10.3.0.0/16")]).expect("one");
    assert!(is_ours(&control, [10, 3, 200, 1]));
    assert!(!is_ours(&control, [10, 4, 200, 1]));
    let ends = control.virtual_addresses();
    assert!(ends.contains(&IpAddr::from([10, 3, 0, 0])), "{ends:?}");
    let refused = control.edit_marks(&[to("10.0.0.0/8")]).expect_err("nine");
    assert!(refused.why.contains("10.8.0.0/16"), "{refused}");
    control
        .set_locals((0..4).map(local).collect())
        .expect("it fits");
    control.edit_marks(&[to("10.0.0.0/8")]).expect("four");
    assert!(is_ours(&control, [10, 0, 0, 1]));
    let mut control = restarted(control);
    assert!(is_ours(&control, [10, 3, 255, 255]));
    control.flush().expect("services go");
    assert!(!is_ours(&control, [10, 0, 0, 1]));
}

#[test]
fn a_large_prefix_alone_makes_ipv6_served() {
    let mut control = heeding_locals();
    let local = LocalRoute {
        prefix: "2001:db8:9::".parse().expect("an address"),
        length: 48,
        kind: AddressKind::Local,
        interface: 2,
    };
    control
        .set_locals(LocalTable::from_iter([local]))
        .expect("it fits");
    let service = ServiceKey::Mark {
        family: Family::V6,
        mark: 7,
    };
    let settings = ServiceSettings {
        netmask: Netmask::V6(128),
        ..settings("rr")
    };
    control
        .new_service(&service, &settings)
        .expect("a new service");
    let served = |control: &Control| {
        let root = RootLine::current(&*control.tables).expect("in force");
        let is_ours = |address: &str| {
            let address: IpAddr = address.parse().expect("an address");
            root.is_in_prefix(&*control.tables, true, raw_words(address))
        };
        let passes_filter = root.filter6.base != 0;
        (
            passes_filter,
            is_ours("2001:db8:9:1::5"),
            is_ours("2001:db8:a::5"),
        )
    };
    assert_eq!(served(&control), (false, false, false));
    let rule = rule("mark 7 protocol tcp to 2001:db8:9::/48");
    control.edit_marks(&[MarkEdit::Add(rule)]).expect("one");
    assert_eq!(served(&control), (true, true, false));
    assert_eq!(served(&restarted(control)), (true, true, false));
}
