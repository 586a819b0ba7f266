//! What is refused, with which error, in which order.

use super::*;

#[test]
fn services_are_refused_in_the_kernels_order() {
    let mut control = serving("rr", &[]);
    let unknown = ServiceSettings {
        netmask: Netmask::V6(0),
        ..settings("fast")
    };
    assert_eq!(
        control.new_service(&service(), &unknown),
        Err(Errno::EEXIST)
    );
    let other = ServiceKey::Address {
        protocol: 17,
        addr: IpAddr::V6(Ipv6Addr::LOCALHOST),
        port: 53,
    };
    assert_eq!(control.new_service(&other, &unknown), Err(Errno::ENOENT));
    let engine = ServiceSettings {
        engine: Some("sip".into()),
        ..settings("rr")
    };
    assert_eq!(control.new_service(&other, &engine), Err(Errno::ENOENT));
    let prefix = ServiceSettings {
        netmask: Netmask::V6(129),
        ..settings("rr")
    };
    assert_eq!(control.new_service(&other, &prefix), Err(Errno::EINVAL));
    assert_eq!(control.set_service(&other, &unknown), Err(Errno::ESRCH));
    assert_eq!(control.delete_service(&other), Err(Errno::ESRCH));
    assert_eq!(control.zero(Some(&other)), Err(Errno::ESRCH));
    assert_eq!(control.service(&other), Err(Errno::ESRCH));
    assert_eq!(control.destinations(&other), Err(Errno::ESRCH));
    assert_eq!(control.services().len(), 1);
}

#[test]
fn destinations_are_refused_in_the_kernels_order() {
    let mut control = serving("rr", &[1]);
    let network = [
        ([10, 0, 0, 255], AddressKind::Broadcast),
        ([10, 0, 0, 9], AddressKind::Local),
    ];
    let route = |(prefix, kind): ([u8; 4], _)| LocalRoute {
        prefix: IpAddr::from(prefix),
        length: 32,
        kind,
        interface: 2,
    };
    control
        .set_locals(LocalTable::from_iter(network.map(route)))
        .expect("it fits");
    let nowhere = ServiceKey::Mark {
        family: Family::V4,
        mark: 1,
    };
    let at = |address: [u8; 4]| DestinationKey {
        addr: IpAddr::V4(address.into()),
        port: 80,
    };
    assert_eq!(
        control.new_destination(&nowhere, &at([224, 0, 0, 1]), &weight(1)),
        Err(Errno::ESRCH)
    );
    assert_eq!(
        control.set_destination(&nowhere, &server(1), &weight(1)),
        Err(Errno::ESRCH)
    );
    assert_eq!(
        control.delete_destination(&nowhere, &server(1)),
        Err(Errno::ESRCH)
    );
    assert_eq!(
        control.new_destination(&service(), &server(1), &weight(1)),
        Err(Errno::EEXIST)
    );
    assert_eq!(
        control.set_destination(&service(), &server(2), &weight(1)),
        Err(Errno::ENOENT)
    );
    assert_eq!(
        control.delete_destination(&service(), &server(2)),
        Err(Errno::ENOENT)
    );
    for address in [
        [224, 0, 0, 1],
        [255, 255, 255, 255],
        [0, 0, 0, 0],
        [10, 0, 0, 255],
    ] {
        let result = control.new_destination(&service(), &at(address), &weight(1));
        assert_eq!(result, Err(Errno::EINVAL), "{address:?}");
    }
    assert_eq!(
        control.new_destination(&service(), &at([10, 0, 0, 9]), &weight(1)),
        Ok(())
    );
    assert_eq!(
        control.destinations(&service()).expect("it is there").len(),
        2
    );
}

#[test]
fn what_is_not_offered_is_refused_whole() {
    let mut control = serving("rr", &[1]);
    let generation = control.generation();
    let other = ServiceKey::Address {
        protocol: 256,
        addr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
        port: 53,
    };
    assert_eq!(
        control.new_service(&other, &settings("rr")),
        Err(Errno::EOPNOTSUPP)
    );
    let tunnel = |kind, flags| DestinationSettings {
        method: ForwardingMethod::Tunnel,
        tunnel: Tunnel {
            kind,
            port: 6080,
            flags,
        },
        ..weight(1)
    };
    for settings in [
        tunnel(TunnelType::Gre, 256),
        tunnel(TunnelType::Other(3), 0),
    ] {
        assert_eq!(
            control.new_destination(&service(), &server(2), &settings),
            Err(Errno::EOPNOTSUPP)
        );
        assert_eq!(
            control.set_destination(&service(), &server(1), &settings),
            Err(Errno::EOPNOTSUPP)
        );
    }
    let daemon = SyncDaemon {
        role: SyncRole::Master,
        interface: "eth0".into(),
        sync_id: 0,
        max_length: 0,
        group: None,
        port: 0,
        ttl: 0,
    };
    assert_eq!(control.new_daemon(&daemon), Err(Errno::EOPNOTSUPP));
    assert_eq!(control.delete_daemon(SyncRole::Master), Err(Errno::ESRCH));
    assert_eq!(control.generation(), generation);
}

#[test]
fn a_table_of_destinations_that_is_full_says_so_and_changes_nothing() {
    let mut control = serving("rr", &[]);
    for number in 0..64 {
        control
            .new_destination(&service(), &server(number + 1), &weight(1))
            .expect("there is room");
    }
    let generation = control.generation();
    assert_eq!(
        control.new_destination(&service(), &server(65), &weight(1)),
        Err(Errno::ENOMEM)
    );
    assert_eq!(control.generation(), generation);
}
