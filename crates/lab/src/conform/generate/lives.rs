//! Connections through their lives: states, timeouts, odd packets, client ports used again, servers that are gone.

use super::super::scenario::{Protocol, Side};
use super::draft::{ACK, Draft, FIN, Method, PSH, RST, SYN, data, flagged};

/// The state that a connection is listed in after each packet of many sequences.
pub(super) fn states(draft: &mut Draft) {
    const FA: u8 = FIN | ACK;
    use Side::{Client as C, Server as S};
    const SEQUENCES: [&[(Side, u8)]; 22] = [
        &[(C, SYN)],
        &[(C, SYN), (C, ACK)],
        &[(C, SYN), (S, SYN | ACK)],
        &[(C, SYN), (S, SYN | ACK), (C, ACK)],
        &[(C, SYN), (S, SYN | ACK), (C, ACK), (C, FA)],
        &[(C, SYN), (S, SYN | ACK), (C, ACK), (C, FA), (S, ACK)],
        &[(C, SYN), (S, SYN | ACK), (C, ACK), (C, FA), (S, FA)],
        &[
            (C, SYN),
            (S, SYN | ACK),
            (C, ACK),
            (C, FA),
            (S, FA),
            (C, ACK),
        ],
        &[(C, SYN), (S, SYN | ACK), (C, ACK), (S, FA)],
        &[(C, SYN), (S, SYN | ACK), (C, ACK), (S, FA), (C, FA)],
        &[
            (C, SYN),
            (S, SYN | ACK),
            (C, ACK),
            (S, FA),
            (C, FA),
            (S, ACK),
        ],
        &[(C, SYN), (C, RST)],
        &[(C, SYN), (S, SYN | ACK), (C, ACK), (C, RST)],
        &[(C, SYN), (S, RST | ACK)],
        &[(C, SYN), (S, SYN | ACK), (C, ACK), (S, RST | ACK)],
        &[(C, SYN), (C, SYN)],
        &[(C, SYN), (S, SYN | ACK), (C, SYN)],
        &[(C, SYN), (S, SYN | ACK), (C, ACK), (C, SYN)],
        &[(C, SYN), (C, ACK), (C, FA)],
        &[(C, SYN), (C, ACK), (C, FA), (C, ACK)],
        &[(C, SYN), (C, ACK), (C, FA), (C, SYN)],
        &[(C, SYN), (C, FA)],
    ];
    draft.reach(Method::ALL[draft.seed as usize % 3]);
    draft.add_service(Protocol::Tcp, 80, "rr", "");
    draft.add(1, 1, "");
    for sequence in draft.dice.some(&SEQUENCES, 9) {
        let flow = draft.flow();
        for (side, flags) in sequence {
            draft.packet(flow, *side, flagged(*flags));
        }
    }
    draft.connections();
    draft.list();
}

/// Connections end after `--set`.
pub(super) fn timeouts(draft: &mut Draft) {
    draft.reach_somehow();
    draft.ipvsadm("-L --timeout");
    draft.ipvsadm("--set 8 8 8");
    draft.ipvsadm("-L --timeout");
    let scheduler = draft.dice.one(&["rr", "lc", "wlc"]);
    draft.add_service(Protocol::Tcp, 80, scheduler, "");
    for number in [1, 2, 3] {
        let weight = draft.dice.one(&[1, 2]);
        draft.add(number, weight, "");
    }
    let flows: Vec<usize> = (0..4).map(|_| draft.flow()).collect();
    for flow in &flows[..3] {
        draft.establish(*flow);
    }
    draft.up(flows[3], SYN);
    draft.close(flows[2]);
    draft.add_service(Protocol::Udp, 53, "rr", "");
    draft.add(4, 1, "");
    let datagrams = draft.flow();
    draft.ask(datagrams, 5);
    draft.answer(datagrams, 5);
    draft.connections();
    draft.wait(12_000);
    draft.list();
    draft.connections();
    draft.ask(datagrams, 5);
    draft.packet(flows[0], Side::Client, data(PSH | ACK, 4));
    draft.up(flows[0], SYN);
    draft.up(flows[1], SYN);
    let datagrams = draft.dice.one(&[30, 100]);
    draft.ipvsadm(&format!("--set 0 0 {datagrams}"));
    draft.ipvsadm("-L --timeout");
    draft.list();
    draft.connections();
}

/// Packets in the middle of nothing, odd flags, other ports and protocols, `sloppy_tcp`.
pub(super) fn strays(draft: &mut Draft) {
    const FLAGS: [u8; 12] = [
        ACK,
        PSH | ACK,
        FIN | ACK,
        RST,
        RST | ACK,
        SYN | ACK,
        0,
        FIN,
        SYN | FIN,
        SYN | RST,
        FIN | PSH | 0x20,
        SYN | PSH | 0x20 | ACK,
    ];
    draft.reach_somehow();
    if draft.seed % 5 == 4 {
        draft.use_v6();
    }
    draft.add_service(Protocol::Tcp, 80, "rr", "");
    draft.add_all(&[1, 2, 3], 1);
    for sloppy in [false, true] {
        if sloppy {
            draft.sysctl("sloppy_tcp", 1);
        }
        for flags in draft.dice.some(&FLAGS, FLAGS.len()) {
            let flow = draft.flow();
            let bytes = draft.dice.one(&[0, 5]);
            draft.packet(flow, Side::Client, data(flags, bytes));
            draft.packet(
                flow,
                if sloppy { Side::Client } else { Side::Server },
                flagged(SYN | ACK),
            );
        }
    }
    draft.sysctl("sloppy_tcp", 0);
    let other_port = draft.flow_to_port(Protocol::Tcp, 81);
    draft.up(other_port, SYN);
    let other_protocol = draft.flow_to_port(Protocol::Udp, 80);
    draft.ask(other_protocol, 4);
    for number in [46, 50, 132] {
        let flow = draft.flow_to_port(Protocol::Other(number), 0);
        draft.ask(flow, 24);
    }
    let flow = draft.flow();
    draft.establish(flow);
    for (side, flags) in [
        (Side::Client, SYN),
        (Side::Server, SYN | ACK),
        (Side::Client, RST),
        (Side::Client, PSH | ACK),
        (Side::Client, SYN),
    ] {
        draft.packet(flow, side, flagged(flags));
    }
    draft.down(flow, SYN | ACK);
    draft.up(flow, ACK);
    draft.close(flow);
    draft.establish(flow);
    draft.list();
    draft.connections();
}

/// The same client port again (`conn_reuse_mode`).
pub(super) fn reuse(draft: &mut Draft) {
    draft.reach_somehow();
    let mode = i64::from(!draft.seed.is_multiple_of(3));
    draft.sysctl("conn_reuse_mode", mode);
    let scheduler = draft.dice.one(&["rr", "wlc"]);
    draft.add_service(Protocol::Tcp, 80, scheduler, "");
    draft.add_all(&[1, 2, 3], 1);
    let flows: Vec<usize> = (0..3).map(|_| draft.flow()).collect();
    for _ in 0..3 {
        for flow in &flows {
            draft.establish(*flow);
            draft.tick();
            draft.close(*flow);
        }
        draft.list();
        draft.connections();
    }
    draft.edit(1, 0, "");
    for flow in &flows {
        draft.establish(*flow);
        draft.tick();
    }
    draft.list();
    draft.connections();
}

/// Services without a server, and connections whose server is gone.
pub(super) fn no_destination(draft: &mut Draft) {
    draft.reach_somehow();
    if draft.seed % 5 == 4 {
        draft.use_v6();
    }
    if draft.seed % 2 == 1 {
        draft.sysctl("expire_nodest_conn", 1);
    }
    let scheduler = draft.dice.one(&["rr", "wlc", "sh", "sed", "mh"]);
    draft.add_service(Protocol::Tcp, 80, scheduler, "");
    for flags in [SYN, ACK, RST] {
        let flow = draft.flow();
        draft.up(flow, flags);
    }
    draft.add(1, 0, "");
    let flow = draft.flow();
    draft.up(flow, SYN);
    draft.edit(1, 1, "");
    let orphan = draft.flow();
    draft.establish(orphan);
    draft.remove(1);
    for side in [Side::Client, Side::Client, Side::Server] {
        draft.packet(orphan, side, data(PSH | ACK, 5));
        draft.tick();
    }
    let flow = draft.flow();
    draft.up(flow, SYN);
    draft.connections();
    draft.add(2, 1, "");
    draft.packet(orphan, Side::Client, data(PSH | ACK, 5));
    draft.up(orphan, SYN);
    draft.add(1, 1, "");
    draft.packet(orphan, Side::Client, data(PSH | ACK, 5));

    draft.add_service(Protocol::Udp, 53, "rr", "");
    let flow = draft.flow();
    draft.ask(flow, 10);
    draft.add(1, 1, "");
    let orphan = draft.flow();
    draft.ask(orphan, 10);
    draft.answer(orphan, 10);
    draft.remove(1);
    for side in [Side::Client, Side::Client, Side::Server] {
        draft.packet(orphan, side, data(0, 10));
        draft.tick();
    }
    let line = format!("-D {}", draft.service);
    draft.ipvsadm(&line);
    draft.ask(orphan, 10);
    let flow = draft.flow();
    draft.ask(flow, 10);
    draft.list();
    draft.connections();
}
