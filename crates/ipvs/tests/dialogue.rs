//! A whole dialogue through the client, the codec, `answer` and a director in memory.

mod support {
    pub(crate) mod memory;
}

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use lvsx_ipvs::{
    Applying, Client, ClientError, DestinationKey, DestinationSettings, Errno, Family, FlagChange,
    ForwardingMethod, Lead, MarkEdit, MarkRule, Netmask, Request, Rights, ServiceFlags, ServiceKey,
    ServiceSettings, SyncDaemon, SyncRole, Timeouts, Transport, Tunnel, TunnelType, answer,
    answer_as,
};
use support::memory::MemoryDirector;

fn connected() -> (Client, Rc<RefCell<MemoryDirector>>) {
    let director = Rc::new(RefCell::new(MemoryDirector::new()));
    let served = Rc::clone(&director);
    let transport = Transport::local(move |datagram| answer(datagram, &mut *served.borrow_mut()));
    (Client::new(transport), director)
}

fn web() -> ServiceKey {
    ServiceKey::Address {
        protocol: 6,
        addr: [10, 0, 0, 1].into(),
        port: 80,
    }
}

fn round_robin() -> ServiceSettings {
    ServiceSettings {
        scheduler: Some("rr".into()),
        engine: None,
        flags: FlagChange::exactly(ServiceFlags::default()),
        timeout: 0,
        netmask: Netmask::host(Family::V4),
    }
}

fn server(last: u8) -> DestinationKey {
    DestinationKey {
        addr: [192, 168, 1, last].into(),
        port: 80,
    }
}

fn masquerade(weight: u32) -> DestinationSettings {
    DestinationSettings {
        method: ForwardingMethod::Masquerade,
        weight,
        upper_threshold: 0,
        lower_threshold: 0,
        tunnel: Tunnel::default(),
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Errno {
    match result {
        Err(ClientError::Refused(errno)) => errno,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn services_and_destinations_come_and_go() {
    let (mut client, _) = connected();
    client
        .call(&Request::NewService(web(), round_robin()))
        .unwrap();
    assert_eq!(
        refusal(client.call(&Request::NewService(web(), round_robin()))),
        Errno::EEXIST
    );
    for last in 1..=200 {
        client
            .call(&Request::NewDestination(web(), server(last), masquerade(1)))
            .unwrap();
    }
    let listed = client.destinations(&web()).unwrap();
    let newest_first: Vec<_> = (1..=200).rev().map(server).collect();
    assert_eq!(
        listed.iter().map(|listed| listed.key).collect::<Vec<_>>(),
        newest_first
    );

    client
        .call(&Request::SetDestination(web(), server(7), masquerade(0)))
        .unwrap();
    let listed = client.destinations(&web()).unwrap();
    let changed = listed
        .iter()
        .find(|listed| listed.key == server(7))
        .unwrap();
    assert_eq!(changed.settings.weight, 0);

    client
        .call(&Request::DeleteDestination(web(), server(7)))
        .unwrap();
    let again = client.call(&Request::DeleteDestination(web(), server(7)));
    assert_eq!(refusal(again), Errno::ENOENT);
    client.call(&Request::DeleteService(web())).unwrap();
    assert_eq!(refusal(client.service(&web())), Errno::ESRCH);
    assert!(client.destinations(&web()).unwrap().is_empty());
}

#[test]
fn a_change_of_flags_touches_the_bits_of_its_mask() {
    let (mut client, _) = connected();
    let persistent = FlagChange::exactly(ServiceFlags::PERSISTENT);
    let settings = ServiceSettings {
        flags: persistent,
        timeout: 60,
        ..round_robin()
    };
    client.call(&Request::NewService(web(), settings)).unwrap();
    let flags = FlagChange {
        flags: ServiceFlags::SCHEDULER_1,
        mask: 0x38,
    };
    client
        .call(&Request::SetService(
            web(),
            ServiceSettings {
                flags,
                ..round_robin()
            },
        ))
        .unwrap();
    let expected = ServiceFlags(0x01 | 0x02 | 0x08);
    assert_eq!(client.service(&web()).unwrap().flags, expected);
}

#[test]
fn an_unknown_service_is_found_out_before_a_wrong_destination() {
    let (mut client, _) = connected();
    let wrong = Request::NewDestination(web(), server(1), masquerade(u32::MAX));
    assert_eq!(refusal(client.call(&wrong)), Errno::ESRCH);
    client
        .call(&Request::NewService(web(), round_robin()))
        .unwrap();
    assert_eq!(refusal(client.call(&wrong)), Errno::ERANGE);

    let other = DestinationKey {
        addr: "fd00::1".parse().unwrap(),
        port: 80,
    };
    let nat = Request::NewDestination(web(), other, masquerade(1));
    assert_eq!(refusal(client.call(&nat)), Errno::EINVAL);
    let tunnel = DestinationSettings {
        method: ForwardingMethod::Tunnel,
        ..masquerade(1)
    };
    client
        .call(&Request::NewDestination(web(), other, tunnel))
        .unwrap();
    assert_eq!(client.destinations(&web()).unwrap()[0].key, other);

    let gue = Tunnel {
        kind: TunnelType::Gue,
        port: 0,
        flags: 0,
    };
    let gue = DestinationSettings {
        tunnel: gue,
        ..tunnel
    };
    assert_eq!(
        refusal(client.call(&Request::SetDestination(web(), other, gue))),
        Errno::EINVAL
    );
    let reversed = DestinationSettings {
        upper_threshold: 1,
        lower_threshold: 2,
        ..tunnel
    };
    let reversed = Request::SetDestination(web(), other, reversed);
    assert_eq!(refusal(client.call(&reversed)), Errno::ERANGE);
}

#[test]
fn timeouts_info_daemons_and_texts() {
    let (mut client, director) = connected();
    client
        .call(&Request::SetTimeouts(Timeouts {
            tcp: 0,
            tcp_fin: 30,
            udp: 0,
        }))
        .unwrap();
    assert_eq!(
        client.timeouts().unwrap(),
        Timeouts {
            tcp: 900,
            tcp_fin: 30,
            udp: 300
        }
    );
    let long = Timeouts {
        tcp: 1 << 31,
        tcp_fin: 1,
        udp: 1,
    };
    assert_eq!(
        refusal(client.call(&Request::SetTimeouts(long))),
        Errno::EINVAL
    );
    assert_eq!(client.info().unwrap().connection_table_size, 4096);

    let wanted = SyncDaemon {
        role: SyncRole::Backup,
        interface: "eth0".into(),
        sync_id: 3,
        max_length: 0,
        group: Some("ff02::1".parse().unwrap()),
        port: 0,
        ttl: 4,
    };
    client.call(&Request::NewDaemon(wanted.clone())).unwrap();
    let running = SyncDaemon {
        max_length: 1472,
        port: 8848,
        ..wanted
    };
    assert_eq!(client.daemons().unwrap(), [running]);
    assert_eq!(
        refusal(client.call(&Request::DeleteDaemon(SyncRole::Master))),
        Errno::ESRCH
    );
    client
        .call(&Request::DeleteDaemon(SyncRole::Backup))
        .unwrap();

    director.borrow_mut().connections = b"0123456789".repeat(5000);
    assert_eq!(
        client.proc_text("ip_vs_conn").unwrap(),
        director.borrow().connections
    );
    assert_eq!(refusal(client.proc_text("cmdline")), Errno::ENOENT);
    assert_eq!(client.status().unwrap(), "{\"services\":0}");
}

#[test]
fn datagrams_of_a_dump_stay_small() {
    let mut director = MemoryDirector::new();
    for port in 1..=500 {
        let key = ServiceKey::Address {
            protocol: 17,
            addr: [10, 0, 0, 1].into(),
            port,
        };
        answer(
            &Request::NewService(key, round_robin()).encode(0x4950, 1),
            &mut director,
        );
    }
    let answers = answer(&Request::Services.encode(0x4950, 2), &mut director);
    assert!(answers.iter().all(|datagram| datagram.len() <= 8192));
    assert_eq!(answers.len(), 500usize.div_ceil(8192 / 320) + 1);
    assert_eq!(answers.last().map(Vec::len), Some(20));
}

#[test]
fn settings_are_set_and_refused_with_a_reason() {
    let (mut client, director) = connected();
    client.set_setting("amemthresh", "2048").unwrap();
    assert_eq!(director.borrow().amemthresh, 2048);
    let listed = client.settings().unwrap();
    assert_eq!(listed, [("amemthresh".to_owned(), "2048".to_owned())]);
    for (name, value, errno, why) in [
        ("swap", "1", Errno::ENOENT, "swap does not exist"),
        (
            "amemthresh",
            "much",
            Errno::EINVAL,
            "`much` is not a number",
        ),
    ] {
        match client.set_setting(name, value) {
            Err(ClientError::Explained(refused)) => {
                assert_eq!((refused.errno, &*refused.why), (errno, why));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn mark_rules_change_all_or_none() {
    let (mut client, _) = connected();
    let rule = |mark: u32| -> MarkRule {
        format!("mark {mark} protocol tcp to 192.0.2.0/24 ports 80-90")
            .parse()
            .unwrap()
    };
    let added: Vec<MarkEdit> = (1..=300).map(rule).map(MarkEdit::Add).collect();
    client.edit_marks(&added).unwrap();
    assert_eq!(
        client.marks().unwrap(),
        (1..=300).map(rule).collect::<Vec<_>>()
    );
    let edits = [MarkEdit::Delete(rule(1)), MarkEdit::Delete(rule(301))];
    match client.edit_marks(&edits) {
        Err(ClientError::Explained(refused)) => assert_eq!(refused.errno, Errno::ENOENT),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.marks().unwrap().len(), 300);
    client.edit_marks(&[MarkEdit::Flush]).unwrap();
    assert!(client.marks().unwrap().is_empty());
    match client.call(&Request::EditMarks("flush\nadd mark".into())) {
        Err(ClientError::Explained(refused)) => {
            assert_eq!(refused.why, "line 2: `mark` wants a value behind it");
        }
        other => panic!("{other:?}"),
    }
    let many: Vec<MarkEdit> = (1..=2000).map(rule).map(MarkEdit::Add).collect();
    assert!(matches!(
        client.edit_marks(&many),
        Err(ClientError::Explained(_))
    ));
}

#[test]
fn a_director_that_tells_no_table_in_this_layout_is_asked_the_ordinary_way() {
    let director = Rc::new(RefCell::new(MemoryDirector::new()));
    let mut client = Client::new(Transport::local(move |datagram| {
        let mut datagram = datagram.to_vec();
        // The first attribute's payload: the layout.
        datagram[24] += 1;
        answer(&datagram, &mut *director.borrow_mut())
    }));
    assert!(client.table(false).unwrap().is_none());
}

/// What a client may do who may set weights, and what not.
#[test]
fn rights_to_weights_are_rights_to_nothing_else() {
    let (mut root, director) = connected();
    let [key, other] = [server(2), server(3)];
    root.call(&Request::NewService(web(), round_robin()))
        .unwrap();
    for key in [key, other] {
        root.call(&Request::NewDestination(web(), key, masquerade(1)))
            .unwrap();
    }
    let served = Rc::clone(&director);
    let mut guest = Client::new(Transport::local(move |datagram| {
        answer_as(Rights::Weights, datagram, None, &mut *served.borrow_mut())
    }));
    let weights = |client: &mut Client| -> Vec<u32> {
        let listed = client.destinations(&web()).unwrap();
        listed.iter().map(|listed| listed.settings.weight).collect()
    };
    assert_eq!(guest.services().unwrap().len(), 1);
    assert_eq!(
        guest.table(true).unwrap().map(|table| table.services.len()),
        Some(1)
    );
    assert_eq!(weights(&mut guest), [1, 1]);
    let before = format!("{:?}", director.borrow().services);
    let tunnel = DestinationSettings {
        method: ForwardingMethod::Tunnel,
        ..masquerade(0)
    };
    for refused in [
        Request::NewService(web(), round_robin()),
        Request::SetService(web(), round_robin()),
        Request::DeleteService(web()),
        Request::NewDestination(web(), server(4), masquerade(1)),
        Request::DeleteDestination(web(), key),
        Request::SetDestination(web(), key, tunnel),
        Request::EndConnections(web(), key),
        Request::SetTimeouts(Timeouts::default()),
        Request::Zero(Some(web())),
        Request::Flush,
        Request::ProcText("ip_vs_conn".into()),
        Request::Status,
        Request::Settings,
        Request::SetSetting("amemthresh".into(), "1".into()),
        Request::Marks,
        Request::EditMarks(String::new()),
        Request::Stage {
            change: 1,
            at: 0,
            part: Vec::new(),
        },
        Request::Apply {
            change: 1,
            length: 0,
            how: Applying::Table,
        },
        Request::Daemons,
        Request::DeleteDaemon(SyncRole::Master),
    ] {
        match guest.call(&refused) {
            Err(ClientError::Explained(why)) => assert_eq!(why.errno, Errno::EPERM, "{refused:?}"),
            other => panic!("{refused:?}: {other:?}"),
        }
    }
    assert_eq!(format!("{:?}", director.borrow().services), before);
    guest
        .call(&Request::SetDestination(web(), key, masquerade(0)))
        .unwrap();
    guest.end_connections(&web(), &key).unwrap();
    let lead = Lead {
        protocol: 6,
        client: "192.0.2.9:40000".parse().unwrap(),
        port: 80,
        within: Duration::from_millis(1500),
    };
    guest.lead(&web(), &key, &lead).unwrap();
    assert_eq!(
        refusal(guest.lead(&web(), &server(9), &lead)),
        Errno::ENOENT
    );
    assert_eq!(
        refusal(guest.end_connections(&web(), &server(9))),
        Errno::ENOENT
    );
    let mut now = weights(&mut guest);
    now.sort_unstable();
    assert_eq!(now, [0, 1]);
}

#[test]
fn changes_sent_in_parts_are_applied_together_or_not_at_all() {
    let director = Rc::new(RefCell::new(MemoryDirector::new()));
    let served = Rc::clone(&director);
    let mut client = Client::new(Transport::local(move |datagram| {
        answer(datagram, &mut *served.borrow_mut())
    }));
    let servers = (1..=2000u16).map(|port| DestinationKey { port, ..server(1) });
    let mut changes = vec![Request::Flush, Request::NewService(web(), round_robin())];
    changes.extend(servers.map(|key| Request::NewDestination(web(), key, masquerade(1))));
    assert_eq!(client.apply(&changes, true).unwrap(), []);
    assert!(director.borrow().services.is_empty(), "that was a trial");
    assert_eq!(client.apply(&changes, false).unwrap(), []);
    assert_eq!(client.destinations(&web()).unwrap().len(), 2000);

    let before = format!("{:?}", director.borrow().services);
    let wrong = [
        Request::DeleteDestination(web(), server(9)),
        Request::Status,
        Request::Flush,
        Request::DeleteService(web()),
        Request::SetSetting("nonsense".into(), "1".into()),
    ];
    let faults = client.apply(&wrong, false).unwrap();
    let seen = faults
        .iter()
        .map(|fault| (fault.change, fault.refused.errno));
    assert_eq!(
        seen.collect::<Vec<_>>(),
        [
            (0, Errno::ENOENT),
            (1, Errno::EINVAL),
            (3, Errno::ESRCH),
            (4, Errno::ENOENT)
        ]
    );
    assert_eq!(faults[3].refused.why, "nonsense does not exist");
    assert_eq!(format!("{:?}", director.borrow().services), before);
    assert_eq!(client.apply(&[], false).unwrap(), []);
}
