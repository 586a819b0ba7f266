//! Counters and ids of destinations that go and return.

use super::*;

/// One connection and three packets each way, as programs count on a CPU.
fn count(control: &Control, number: u8, cpu: u32, times: u64) {
    let index = cpu * control.tables.capacity.destinations + id(control, number);
    let line = &control.tables.tallies[index as usize];
    line[tally::CONNECTIONS].add(times);
    line[tally::PACKETS_IN].add(3 * times);
    line[tally::BYTES_IN].add(300 * times);
    line[tally::PACKETS_OUT].add(3 * times);
    line[tally::BYTES_OUT].add(3000 * times);
}

fn connections(control: &Control) -> (u64, u64, Vec<u64>) {
    let of_service = control
        .service(&service())
        .expect("it is there")
        .stats
        .connections;
    let listed = control.destinations(&service()).expect("it is there");
    (
        control.total().connections,
        of_service,
        listed.iter().map(|it| it.stats.connections).collect(),
    )
}

#[test]
fn what_removed_destinations_brought_stays_with_the_service() {
    let mut control = serving("rr", &[1, 1]);
    count(&control, 1, 0, 2);
    count(&control, 2, 1, 3);
    assert_eq!(connections(&control), (5, 5, vec![3, 2]));
    control
        .delete_destination(&service(), &server(2))
        .expect("it is there");
    assert_eq!(connections(&control), (5, 5, vec![2]));
    let mut control = restarted(control);
    assert_eq!(connections(&control), (5, 5, vec![2]));
    control
        .new_destination(&service(), &server(2), &weight(1))
        .expect("it returns");
    count(&control, 2, 0, 10);
    assert_eq!(
        connections(&control),
        (15, 15, vec![13, 2]),
        "its statistics go on"
    );
    control.zero(Some(&service())).expect("it is there");
    assert_eq!(connections(&control), (15, 0, vec![0, 0]));
    count(&control, 1, 0, 1);
    let mut control = restarted(control);
    assert_eq!(connections(&control), (16, 1, vec![0, 1]));
    control.zero(None).expect("everything");
    assert_eq!(connections(&control), (0, 0, vec![0, 0]));
}

#[test]
fn a_destination_of_a_service_made_anew_returns_with_its_connections_but_counts_anew() {
    let mut control = serving("rr", &[1]);
    let before = id(&control, 1);
    control.tables.destinations[before as usize][COUNTS].store(2 << 32);
    count(&control, 1, 0, 2);
    control.delete_service(&service()).expect("it is there");
    let root = RootLine::current(&*control.tables).expect("in force");
    assert!(!root.is_available(&*control.tables, before));
    control
        .new_service(&service(), &settings("rr"))
        .expect("it is new again");
    control
        .new_destination(&service(), &server(1), &weight(1))
        .expect("it returns");
    assert_eq!(id(&control, 1), before);
    assert_eq!(
        control.destinations(&service()).expect("it is there")[0].active,
        2
    );
    assert_eq!(connections(&control), (2, 0, vec![0]));
}

#[test]
fn connections_of_removed_destinations_end_where_that_is_set() {
    use lvsx_core::conn::{Controller, Entry4, Hop, NewEntry, Opened, Peer, Want, open};
    use lvsx_core::env::Tables as _;
    use lvsx_core::state::{State, UDP};
    for (setting, left) in [("0", 2), ("1", 1)] {
        let mut control = serving("rr", &[1, 1]);
        control
            .set_setting("expire_nodest_conn", setting)
            .expect("a setting");
        let now = control.clock().now();
        let tables = control.tables.clone();
        let ids = [id(&control, 1), id(&control, 2)];
        for (number, id) in ids.into_iter().enumerate() {
            let raw = |address: [u8; 4]| (raw_address(address.into()), 53u16.to_be());
            let want = Want::<Entry4>::new(
                tables.geometry(),
                UDP,
                raw([10, 1, 0, number as u8]),
                raw([192, 0, 2, 1]),
                Peer::Virtual,
            );
            let new = NewEntry {
                dest: raw([10, 0, 0, 1]),
                id,
                method: 0,
                input_only: false,
                hop: Hop::default(),
                epoch: 0,
                state: State::NONE,
                deadline: now.after(CLOCK.rate.ticks(300)),
                controller: Controller::NONE,
                timeout: 0,
            };
            assert_eq!(open(&*tables, &want, &new, now), Opened::New);
        }
        let is_live = |id: u32| tables.destinations[id as usize][COUNTS].load() != 0;
        control
            .delete_destination(&service(), &server(2))
            .expect("it is there");
        let counts = ids.into_iter().filter(|id| is_live(*id)).count();
        assert_eq!(counts, left, "expire_nodest_conn = {setting}");
        assert!(is_live(ids[0]), "one that stays keeps its connections");
    }
}

#[test]
fn ids_with_connections_are_not_given_to_others_and_the_trash_waits_for_them() {
    let mut control = serving("rr", &[1]);
    let old = id(&control, 1);
    control.tables.destinations[old as usize][COUNTS].store(1);
    control
        .delete_destination(&service(), &server(1))
        .expect("it is there");
    control
        .new_destination(&service(), &server(2), &weight(1))
        .expect("it is new");
    assert_ne!(id(&control, 2), old);
    let begin = Instant::now();
    for minute in 0..5 {
        control.empty_trash(begin + Duration::from_secs(60 * minute));
    }
    assert_eq!(control.config().trash.len(), 1, "it has a connection");
    control.tables.destinations[old as usize][COUNTS].store(0);
    control.empty_trash(begin + Duration::from_secs(300));
    control.empty_trash(begin + Duration::from_secs(360));
    assert_eq!(
        control.config().trash.len(),
        1,
        "it has been idle for one minute"
    );
    control.empty_trash(begin + Duration::from_secs(420));
    assert_eq!(control.config().trash.len(), 0);
    control
        .new_destination(&service(), &server(3), &weight(1))
        .expect("it is new");
    assert_eq!(id(&control, 3), old);
    assert_eq!(connections(&control).2, [0, 0]);
}
