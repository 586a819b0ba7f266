//! Services and destinations of every kind: kept, listed, found by packets, found again after a restart.

use super::*;
use lvsx_core::generation::{DestinationLine, ServiceLine};

fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
}

fn web(addr: IpAddr, port: u16) -> ServiceKey {
    ServiceKey::Address {
        protocol: 6,
        addr,
        port,
    }
}

fn with(flags: ServiceFlags, timeout: u32, netmask: Netmask) -> ServiceSettings {
    ServiceSettings {
        flags: FlagChange::exactly(flags),
        timeout,
        netmask,
        ..settings("wlc")
    }
}

fn tunnel(kind: TunnelType, port: u16, flags: u16) -> DestinationSettings {
    DestinationSettings {
        method: ForwardingMethod::Tunnel,
        tunnel: Tunnel { kind, port, flags },
        ..weight(1)
    }
}

#[test]
fn every_kind_of_service_and_destination_is_kept_and_listed() {
    let mut control = director();
    let v4 = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let class_c = Netmask::V4(Ipv4Addr::new(255, 255, 255, 0));
    let both = ServiceFlags::PERSISTENT.union(ServiceFlags::ONE_PACKET);
    let mark = |family, mark| ServiceKey::Mark { family, mark };
    let services = [
        (web(v4, 80), with(ServiceFlags::PERSISTENT, 360, class_c)),
        (
            web(v4, 0),
            with(
                ServiceFlags::PERSISTENT,
                300,
                Netmask::V4(Ipv4Addr::BROADCAST),
            ),
        ),
        (web(v4, 21), with(ServiceFlags::default(), 0, class_c)),
        (web(v6(1), 80), with(both, 60, Netmask::V6(64))),
        (
            web(v6(1), 443),
            with(ServiceFlags::default(), 0, Netmask::V6(128)),
        ),
        (
            mark(Family::V4, 7),
            with(ServiceFlags::PERSISTENT, 10, class_c),
        ),
        (
            mark(Family::V6, 7),
            with(ServiceFlags::ONE_PACKET, 0, Netmask::V6(128)),
        ),
    ];
    for (key, settings) in &services {
        assert_eq!(control.new_service(key, settings), Ok(()), "{key:?}");
    }
    let at = |addr, port| DestinationKey { addr, port };
    let destinations = [
        (web(v6(1), 80), at(v6(0x10), 8080), weight(3)),
        (web(v6(1), 80), at(v4, 80), tunnel(TunnelType::Ipip, 0, 0)),
        (
            web(v4, 80),
            at(v6(0x11), 80),
            tunnel(TunnelType::Gue, 6080, 1),
        ),
        (
            web(v4, 80),
            at(v6(0x13), 80),
            tunnel(TunnelType::Gue, 6080, 2),
        ),
        (web(v4, 80), at(v4, 80), tunnel(TunnelType::Gre, 0, 1)),
        (mark(Family::V4, 7), at(v4, 0), weight(1)),
        (mark(Family::V6, 7), at(v6(0x12), 0), weight(1)),
    ];
    for (service, key, settings) in &destinations {
        let added = control.new_destination(service, key, settings);
        assert_eq!(added, Ok(()), "{service:?} {key:?}");
    }
    let listed = control.services();
    let control = restarted(control);
    assert_eq!(control.services(), listed);
    for (key, settings) in &services {
        let service = control.service(key).expect("it is there");
        let kept = (service.flags, service.timeout, service.netmask);
        assert_eq!(
            kept,
            (settings.flags.flags, settings.timeout, settings.netmask)
        );
    }
    for (service, key, settings) in &destinations {
        let listed = control.destinations(service).expect("it is there");
        let kept = listed
            .iter()
            .find(|it| it.key == *key)
            .expect("it is there");
        assert_eq!(kept.settings, *settings);
    }

    let tables = &*control.tables;
    let root = RootLine::current(tables).expect("in force");
    let kinds = root.kinds;
    assert!(kinds.any_port && kinds.ftp && kinds.marked && kinds.persistent && kinds.one_packet);
    assert!(!kinds.mark_rules);
    let raw = |addr| match addr {
        IpAddr::V6(addr) => crate::generation::raw_address6(addr),
        IpAddr::V4(_) => unreachable!("IPv6 is meant"),
    };
    let block = root.service6(tables, 6, raw(v6(1)), 80u16.to_be());
    let head = ServiceLine::decode(&tables.config[block.expect("it is found") as usize]);
    assert_eq!((head.flags, head.timeout, head.netmask), (5, 60, 64));
    let first = DestinationLine::decode(&tables.config[block.expect("it is found") as usize + 1]);
    assert_eq!((first.family, first.method), (2, 2));
    for (protocol, last, port) in [(17, 1, 80), (6, 2, 80), (6, 1, 81)] {
        assert_eq!(
            root.service6(tables, protocol, raw(v6(last)), u16::to_be(port)),
            None
        );
    }
    assert!(root.concern6(tables, raw(v6(1))).is_virtual);
    assert!(root.concern6(tables, raw(v6(0x10))).is_server);
    assert!(!root.concern6(tables, raw(v6(0x11))).is_server, "tunnelled");
}

#[test]
fn the_last_service_of_a_family_takes_its_addresses_along() {
    let mut control = serving("rr", &[1]);
    control
        .new_service(
            &web(v6(1), 80),
            &with(ServiceFlags::default(), 0, Netmask::V6(128)),
        )
        .expect("a new service");
    control.delete_service(&service()).expect("it is there");
    let root = RootLine::current(&*control.tables).expect("in force");
    let is_ours = |address: [u8; 4]| {
        let concern = root.concern(&*control.tables, raw_address(address.into()));
        concern.is_virtual || concern.is_server
    };
    assert!(!is_ours([192, 0, 2, 1]) && !is_ours([10, 0, 0, 1]));
}

#[test]
fn ipv6_destinations_are_hosts() {
    let mut control = director();
    let key = web(v6(1), 80);
    control
        .new_service(&key, &with(ServiceFlags::default(), 0, Netmask::V6(128)))
        .expect("a new service");
    for (address, result) in [
        ("::", Err(Errno::EINVAL)),
        ("ff02::1", Err(Errno::EINVAL)),
        ("fe80::1", Err(Errno::EINVAL)),
        ("2001:db8::2", Ok(())),
    ] {
        let destination = DestinationKey {
            addr: address.parse().expect("an address"),
            port: 80,
        };
        assert_eq!(
            control.new_destination(&key, &destination, &weight(1)),
            result,
            "{address}"
        );
    }
}

#[test]
fn flags_and_mask_change_as_in_the_kernel() {
    let mut control = serving("rr", &[]);
    let change = |flags, mask| ServiceSettings {
        flags: FlagChange { flags, mask },
        ..settings("rr")
    };
    let flags = |control: &Control| control.service(&service()).expect("it is there").flags;
    let persistent = ServiceFlags::PERSISTENT;
    control
        .set_service(&service(), &change(persistent, persistent.0))
        .expect("it is there");
    assert_eq!(flags(&control), persistent);
    let one_packet = ServiceFlags::ONE_PACKET;
    control
        .set_service(&service(), &change(one_packet, one_packet.0))
        .expect("it is there");
    assert_eq!(flags(&control), persistent.union(one_packet));
    control
        .set_service(&service(), &change(ServiceFlags::default(), u32::MAX))
        .expect("it is there");
    assert_eq!(flags(&control), ServiceFlags::default());
}
