//! Timeouts, and changes of destinations.

use super::*;

#[test]
fn timeouts_are_those_that_were_set() {
    let mut control = director();
    assert_eq!(
        control.timeouts(),
        Timeouts {
            tcp: 900,
            tcp_fin: 120,
            udp: 300
        }
    );
    let most = i32::MAX as u32 / 250;
    assert_eq!(
        control.set_timeouts(&Timeouts {
            tcp: 7,
            tcp_fin: most + 1,
            udp: 0
        }),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        control.timeouts(),
        Timeouts {
            tcp: 900,
            tcp_fin: 120,
            udp: 300
        }
    );
    control
        .set_timeouts(&Timeouts {
            tcp: 7,
            tcp_fin: 0,
            udp: most,
        })
        .expect("in range");
    let control = restarted(control);
    assert_eq!(
        control.timeouts(),
        Timeouts {
            tcp: 7,
            tcp_fin: 120,
            udp: most
        }
    );
}

#[test]
fn an_edit_keeps_place_and_last_weight() {
    let mut control = serving("rr", &[1, 2, 3]);
    set_weight(&mut control, 2, 0);
    let listed = control.destinations(&service()).expect("it is there");
    let shown: Vec<_> = listed
        .iter()
        .map(|it| (it.key, it.settings.weight))
        .collect();
    assert_eq!(shown, [(server(3), 3), (server(2), 0), (server(1), 1)]);
    let (_, config) = control.config().service(&service()).expect("it is there");
    assert_eq!(
        config
            .destination(&server(2))
            .expect("it is there")
            .1
            .last_weight,
        2
    );
}

#[test]
fn thresholds_are_settled_on_an_edit() {
    let mut control = serving("rr", &[1]);
    let line =
        |control: &Control| control.tables.destinations[id(control, 1) as usize][FLAGS].peek();
    let with = |upper, lower| DestinationSettings {
        upper_threshold: upper,
        lower_threshold: lower,
        ..weight(1)
    };
    control.tables.destinations[id(&control, 1) as usize][COUNTS].store(5 << 32 | 3);
    let mut edit = |upper, lower| {
        control
            .set_destination(&service(), &server(1), &with(upper, lower))
            .expect("it is there");
        line(&control) & live::OVERLOADED != 0
    };
    assert!(edit(8, 0), "8 connections of 8");
    assert!(edit(10, 0), "8 of 10 is not below three quarters");
    assert!(!edit(11, 0), "8 of 11 is below three quarters");
    assert!(edit(8, 4));
    assert!(edit(20, 4), "not below the lower threshold");
    assert!(!edit(20, 9), "below the lower threshold");
    assert!(edit(2, 0));
    assert!(!edit(0, 0), "no threshold");
}

#[test]
fn a_server_that_is_not_masqueraded_any_more_still_answers_its_connections() {
    let mut control = serving("rr", &[1, 1]);
    let may_answer = |control: &Control, number: u8| {
        let concerns = control.generations.concerns().expect("they are kept");
        concerns
            .of(server(number).addr)
            .is_some_and(|it| it.is_server)
    };
    let tunnelled = DestinationSettings {
        method: ForwardingMethod::Tunnel,
        ..weight(1)
    };
    control
        .set_destination(&service(), &server(1), &tunnelled)
        .expect("it is there");
    assert!(may_answer(&control, 1));
    let mut control = restarted(control);
    assert!(may_answer(&control, 1), "after a restart too");
    control
        .delete_destination(&service(), &server(2))
        .expect("it is there");
    control
        .new_destination(&service(), &server(2), &tunnelled)
        .expect("it returns");
    assert!(may_answer(&control, 2));
    control
        .new_destination(&service(), &server(3), &tunnelled)
        .expect("it is new");
    assert!(!may_answer(&control, 3));
}
