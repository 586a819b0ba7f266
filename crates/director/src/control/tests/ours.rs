//! Which addresses concern the director.

use super::*;

#[test]
fn without_a_service_nothing_concerns_the_director() {
    let mut control = serving("rr", &[1]);
    let concern = |control: &Control, address: [u8; 4]| {
        let root = RootLine::current(&*control.tables).expect("in force");
        let concern = root.concern(&*control.tables, raw_address(address.into()));
        (concern.is_virtual, concern.is_server)
    };
    assert_eq!(concern(&control, [192, 0, 2, 1]), (true, false));
    assert_eq!(concern(&control, [10, 0, 0, 1]), (false, true));
    control.flush().expect("everything goes");
    assert_eq!(concern(&control, [192, 0, 2, 1]), (false, false));
    assert_eq!(concern(&control, [10, 0, 0, 1]), (false, false));
    assert!(control.services().is_empty());
}

#[test]
fn an_address_is_ours_while_the_kernel_routes_it_as_local() {
    let tables = Arc::new(Tables::plain(capacity()));
    let generations = Generations::none(&tables, Readers::Nobody);
    let ledger = Ledger::plain(&tables.capacity);
    let mut control = Control::new(tables, generations, ledger, CLOCK, false).expect("it fits");
    control
        .new_service(&service(), &settings("rr"))
        .expect("it is new");
    let is_ours = |control: &Control| {
        let root = RootLine::current(&*control.tables).expect("in force");
        root.concern(&*control.tables, raw_address(Ipv4Addr::new(192, 0, 2, 1)))
            .is_virtual
    };
    assert!(!is_ours(&control));
    let prefix = Ipv4Addr::new(192, 0, 2, 1);
    let route = LocalRoute {
        prefix: IpAddr::V4(prefix),
        length: 32,
        kind: AddressKind::Local,
        interface: 2,
    };
    control
        .set_locals(LocalTable::from_iter([route]))
        .expect("it fits");
    assert!(is_ours(&control));
    control.set_locals(LocalTable::default()).expect("it fits");
    assert!(!is_ours(&control));
}
