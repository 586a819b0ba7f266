//! Forwarding methods: what packets look like on their way to the server and back.

use super::super::scenario::{Checksum, Protocol, Side};
use super::draft::{ACK, Draft, FlowId, Method, PSH, RST, SYN, data, flagged, summed};

/// TCP and UDP by one method.
pub(super) fn method(draft: &mut Draft, method: Method, is_v6: bool) {
    if is_v6 {
        draft.use_v6();
    }
    draft.reach(method);
    let (scheduler, port) = (
        draft.dice.one(&["rr", "wlc"]),
        draft.dice.one(&[80, 443, 8080]),
    );
    draft.add_service(Protocol::Tcp, port, scheduler, "");
    for number in draft.some_servers(3) {
        let at = server_port(draft, &[8080, 81, port, 65535]);
        draft.add_at(number, at, 1, "");
    }
    for _ in 0..3 {
        let flow = draft.flow();
        conversation(draft, flow);
    }
    for ttl in [1, 2] {
        let flow = draft.flow();
        let mut syn = flagged(SYN);
        syn.ttl = ttl;
        draft.packet(flow, Side::Client, syn);
    }
    let flow = draft.flow();
    draft.packet(flow, Side::Client, summed(flagged(SYN), Checksum::Bad));
    let flow = draft.flow();
    draft.up(flow, SYN);
    draft.up(flow, RST);

    draft.add_service(Protocol::Udp, 53, "rr", "");
    for number in [1, 2] {
        let at = server_port(draft, &[53, 5353]);
        draft.add_at(number, at, 1, "");
    }
    for _ in 0..3 {
        let flow = draft.flow();
        exchange(draft, flow);
    }
    if !is_v6 {
        let flow = draft.flow();
        for checksum in [Checksum::None, Checksum::Right, Checksum::Bad] {
            for side in [Side::Client, Side::Server] {
                draft.packet(flow, side, summed(data(0, 20), checksum));
            }
        }
    }
    draft.list();
    draft.connections();
    draft.statistics();
}

/// NAT may change the port.
fn server_port(draft: &mut Draft, choices: &[u16]) -> u16 {
    if draft.method == Method::Masquerade {
        draft.dice.one(choices)
    } else {
        draft.port
    }
}

fn conversation(draft: &mut Draft, flow: FlowId) {
    let largest = if draft.is_v6() { 1400 } else { 1440 };
    for (side, flags) in [
        (Side::Client, SYN),
        (Side::Server, SYN | ACK),
        (Side::Client, ACK),
    ] {
        let content = draft.somehow(flagged(flags));
        draft.packet(flow, side, content);
    }
    for _ in 0..draft.dice.number(1, 4) {
        for side in [Side::Client, Side::Server] {
            let bytes = draft.dice.one(&[1, 2, 33, 700, largest]);
            let content = draft.somehow(data(PSH | ACK, bytes));
            draft.packet(flow, side, content);
        }
    }
    draft.close(flow);
}

fn exchange(draft: &mut Draft, flow: FlowId) {
    for _ in 0..draft.dice.number(1, 4) {
        for side in [Side::Client, Side::Server] {
            let bytes = draft.dice.one(&[0, 1, 17, 512, 1300]);
            let content = draft.somehow(data(0, bytes));
            draft.packet(flow, side, content);
        }
    }
}

/// Kinds of tunnels with their flags.
pub(super) fn tunnel_types(draft: &mut Draft) {
    const KINDS: [&str; 6] = [
        "--tun-type ipip",
        "--tun-type gre --tun-nocsum",
        "--tun-type gre --tun-csum",
        "--tun-type gue --tun-port 6080 --tun-nocsum",
        "--tun-type gue --tun-port 6080 --tun-csum",
        "--tun-type gue --tun-port 6080 --tun-remcsum",
    ];
    draft.reach(Method::Tunnel);
    draft.add_service(Protocol::Tcp, 80, "rr", "");
    let kinds = draft.dice.some(&KINDS, 4);
    for (number, kind) in draft.some_servers(4).into_iter().zip(kinds) {
        draft.add(number, 1, kind);
    }
    draft.ipvsadm("-Ln --tun-info");
    for _ in 0..8 {
        let flow = draft.flow();
        draft.up(flow, SYN);
        draft.up(flow, ACK);
        let bytes = draft.dice.number(1, 100);
        let content = draft.somehow(data(PSH | ACK, bytes));
        draft.packet(flow, Side::Client, content);
    }
    draft.list();
}

/// UDP with all kinds of checksums, several clients at once.
pub(super) fn udp(draft: &mut Draft) {
    draft.reach_somehow();
    let scheduler = draft.dice.one(&["rr", "wrr", "lc", "wlc", "sed", "nq"]);
    let port = draft.dice.one(&[53, 123, 5060]);
    draft.add_service(Protocol::Udp, port, scheduler, "");
    for number in draft.some_servers(4) {
        let (weight, at) = (
            draft.dice.one(&[0, 1, 2]),
            server_port(draft, &[port, 9999]),
        );
        draft.add_at(number, at, weight, "");
    }
    let mut flows = vec![draft.flow()];
    for _ in 0..16 {
        if draft.dice.chance(50) {
            flows.push(draft.flow());
        }
        let flow = draft.dice.one(&flows);
        let (bytes, kinds) = (
            draft.dice.number(0, 300),
            [
                Checksum::Right,
                Checksum::Right,
                Checksum::None,
                Checksum::Bad,
            ],
        );
        let checksum = draft.dice.one(&kinds);
        draft.packet(flow, Side::Client, summed(data(0, bytes), checksum));
        if draft.dice.chance(60) {
            let (bytes, checksum) = (draft.dice.number(0, 300), draft.dice.one(&kinds[1..3]));
            draft.packet(flow, Side::Server, summed(data(0, bytes), checksum));
        }
    }
    draft.list();
    draft.connections();
    draft.statistics();
}
