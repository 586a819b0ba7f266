//! What listings and the status show.

use super::*;
use lvsx_core::event::Event;

#[test]
fn proc_files_read_as_a_kernel_writes_them() {
    let mut control = serving("rr", &[1]);
    control.tables.destinations[id(&control, 1) as usize][COUNTS].store(2 << 32 | 5);
    let tunnel = DestinationSettings {
        method: ForwardingMethod::Tunnel,
        ..weight(65_536)
    };
    control
        .new_destination(&service(), &server(2), &tunnel)
        .expect("it is new");
    let text = |name| {
        control
            .proc_text(name)
            .map(|text| String::from_utf8(text).expect("text"))
    };
    let expected = concat!(
        "IP Virtual Server version 1.2.1 (size=64)\n",
        "Prot LocalAddress:Port Scheduler Flags\n",
        "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n",
        "TCP  C0000201:0050 rr  \n",
        "  -> 0A000002:0050      Tunnel  65536  0          0         \n",
        "  -> 0A000001:0050      Masq    1      2          5         \n",
    );
    assert_eq!(text("ip_vs").as_deref(), Some(expected));
    assert_eq!(
        text("ip_vs_app").as_deref(),
        Some("prot port    usecnt name\n")
    );
    assert_eq!(text("ip_vs_nothing"), None);
}

/// Opens a UDP connection from this port of a client to a destination, which ends `left` ticks from now.
fn connected(control: &Control, port: u16, destination: u32, left: u32) {
    use lvsx_core::conn::{Entry4, Hop, NewEntry, Opened, Peer, Want, open};
    use lvsx_core::env::Tables as _;
    use lvsx_core::state::{State, UDP};
    let tables = &*control.tables;
    let now = control.clock().now();
    let raw = |address: [u8; 4], port: u16| (raw_address(address.into()), port.to_be());
    let want = Want::<Entry4>::new(
        tables.geometry(),
        UDP,
        raw([10, 1, 0, 1], port),
        raw([10, 0, 0, 1], 53),
        Peer::Virtual,
    );
    let new = NewEntry {
        dest: raw([10, 2, 0, 1], 53),
        id: destination,
        method: 0,
        input_only: false,
        hop: Hop::default(),
        epoch: 0,
        state: State::NONE,
        deadline: Tick(now.0.wrapping_sub(1)).after(left),
        controller: conn::Controller::NONE,
        timeout: 0,
    };
    assert_eq!(open(tables, &want, &new, now), Opened::New);
}

fn present(control: &mut Control) {
    control.set_clock(Clock {
        monotonic: crate::clock::monotonic(),
        ..CLOCK
    });
}

#[test]
fn a_destination_is_listed_without_what_is_over() {
    let mut control = serving("rr", &[1]);
    present(&mut control);
    let destination = id(&control, 1);
    let listed = |control: &Control| control.destinations(&service()).map(|all| all[0].inactive);
    connected(&control, 1001, destination, 0);
    connected(&control, 1002, destination, CLOCK.rate.ticks(300));
    assert_eq!(listed(&control), Ok(1));
    assert_eq!(control.tables.counted(Event::Expired), 1);
}

#[test]
fn a_connection_is_listed_as_a_kernel_writes_it() {
    let mut control = director();
    present(&mut control);
    connected(&control, 1002, 3, CLOCK.rate.ticks(300) + 1);
    let text =
        String::from_utf8(control.proc_text("ip_vs_conn").expect("it is there")).expect("text");
    let (header, line) = text
        .trim_end_matches('\n')
        .split_once('\n')
        .expect("two lines");
    assert_eq!(
        header,
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData"
    );
    let line = line.replace("    300", "    299");
    assert_eq!(
        line,
        "UDP 0A010001 03EA 0A000001 0035 0A020001 0035 UDP             299"
    );
}

#[test]
fn the_status_is_json_that_names_every_event() {
    let control = serving("rr", &[1]);
    let status: serde_json::Value = serde_json::from_str(&control.status()).expect("JSON");
    let events = status["events"].as_object().expect("an object");
    assert_eq!(events.len(), lvsx_core::event::Event::ALL.len());
    assert_eq!(
        status["services"][0]["destinations"][0]["address"],
        "10.0.0.1"
    );
    assert_eq!(status["connections"]["rated"], 64);
}
