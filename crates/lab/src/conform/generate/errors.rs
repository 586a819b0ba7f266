//! ICMP about connections, packets too large, fragments. Errors with a wrong checksum are left out, and ICMPv6 errors from
//! masqueraded servers: what becomes of them differs between user-mode Linux (6.1.176) and 6.1.187.

use std::net::IpAddr;

use super::super::scenario::{Content, Protocol, Side};
use super::draft::{ACK, Draft, FlowId, Method, PSH, SYN, complaint, cut, data, flagged};

/// ICMP errors from servers, clients and others between, and pings of the virtual address.
pub(super) fn icmp(draft: &mut Draft, method: Method) {
    if draft.seed.is_multiple_of(3) {
        draft.use_v6();
    }
    draft.reach(method);
    for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, 53)] {
        draft.add_service(protocol, port, "rr", "");
        for number in [1, 2] {
            let at = if method == Method::Masquerade {
                draft.dice.one(&[port, 8000])
            } else {
                port
            };
            draft.add_at(number, at, 1, "");
        }
        for _ in 0..3 {
            let flow = draft.flow();
            if protocol == Protocol::Tcp {
                draft.establish(flow);
            }
            let flags = if protocol == Protocol::Tcp {
                PSH | ACK
            } else {
                0
            };
            draft.packet(flow, Side::Client, data(flags, 100));
            draft.packet(flow, Side::Server, data(flags, 120));
            complaints(draft, flow);
        }
    }
    let stranger = draft.flow();
    draft.packet(
        stranger,
        Side::Client,
        complaint(if draft.is_v6() { 1 } else { 3 }, 1, 0, 68, None),
    );
    let echo = draft.flow_to_port(Protocol::Echo, 0);
    draft.ask(echo, 32);
    draft.ask(echo, 0);
    draft.statistics();
    draft.connections();
}

fn complaints(draft: &mut Draft, flow: FlowId) {
    const V4: [(u8, u8, u32); 7] = [
        (3, 3, 0),
        (3, 1, 0),
        (3, 4, 1400),
        (11, 0, 0),
        (3, 0, 0),
        (4, 0, 0),
        (12, 0, 0),
    ];
    const V6: [(u8, u8, u32); 5] = [(1, 4, 0), (1, 0, 0), (2, 0, 1400), (3, 0, 0), (1, 3, 0)];
    let is_v6 = draft.is_v6();
    let kinds: &[(u8, u8, u32)] = if is_v6 { &V6 } else { &V4 };
    let quotes: &[usize] = if is_v6 {
        &[48, 60, 100]
    } else {
        &[28, 48, 68, 128]
    };
    let sides = [Side::Server, Side::Server, Side::Client, Side::Client];
    let skipped = if is_v6 && draft.method == Method::Masquerade {
        2
    } else {
        0
    };
    for side in sides.into_iter().skip(skipped) {
        let (kind, code, mtu) = draft.dice.one(kinds);
        let quote = draft.dice.one(quotes);
        let router: Option<IpAddr> = match (side, draft.dice.chance(40)) {
            (_, false) => None,
            (Side::Server, true) => (if is_v6 { "2001:db8:77::1" } else { "192.0.2.9" })
                .parse()
                .ok(),
            (Side::Client, true) => (if is_v6 {
                "2001:db8:66::1"
            } else {
                "198.51.100.7"
            })
            .parse()
            .ok(),
        };
        draft.packet(flow, side, complaint(kind, code, mtu, quote, router));
    }
    if draft.method == Method::Tunnel && !is_v6 {
        let (kind, code, mtu) = draft
            .dice
            .one(&[(3, 4, 1300), (3, 1, 0), (11, 0, 0), (3, 3, 0)]);
        let quote = draft.dice.one(quotes);
        draft.packet(flow, Side::Server, outside(kind, code, mtu, quote));
    }
}

/// An error about the tunnel's packet.
fn outside(kind: u8, code: u8, mtu: u32, quote: usize) -> Content {
    let mut content = complaint(kind, code, mtu, quote, None);
    if let Some(error) = &mut content.icmp {
        error.outer = true;
    }
    content
}

/// Packets about as large as the way to the server takes, with and without leave to cut them.
pub(super) fn mtu(draft: &mut Draft) {
    let method = Method::ALL[draft.seed as usize % 3];
    if draft.seed % 5 == 4 {
        draft.use_v6();
    }
    draft.reach(method);
    let mtu = if method == Method::Tunnel && draft.seed.is_multiple_of(2) {
        1500
    } else {
        draft.dice.one(&[1280, 1300, 1400])
    };
    if mtu != 1500 {
        draft.narrow(mtu);
    }
    if draft.dice.chance(40) {
        draft.sysctl("pmtu_disc", 0);
    }
    let tunnel = match (method, draft.is_v6()) {
        (Method::Tunnel, true) => 40,
        (Method::Tunnel, false) => 20,
        _ => 0,
    };
    let headers = if draft.is_v6() { 60 } else { 40 };
    let fits = mtu - tunnel - headers;
    draft.add_service(Protocol::Tcp, 80, "rr", "");
    draft.add_all(&[1, 2], 1);
    for df in [true, false] {
        let flow = draft.flow();
        draft.establish(flow);
        for bytes in [fits - 8, fits, fits + 1, 1500 - headers] {
            let mut content = data(PSH | ACK, bytes);
            content.df = df;
            draft.packet(flow, Side::Client, content);
            if method == Method::Masquerade {
                let mut content = data(PSH | ACK, bytes.min(mtu - headers));
                content.df = df;
                draft.packet(flow, Side::Server, content);
            }
        }
        if method == Method::Tunnel && !draft.is_v6() {
            learned(draft, flow);
        }
    }
    draft.add_service(Protocol::Udp, 53, "rr", "");
    draft.add(1, 1, "");
    let flow = draft.flow();
    for bytes in [fits + 12, fits + 13, 1500 - headers] {
        for df in [true, false] {
            let mut content = data(0, bytes);
            content.df = df;
            draft.packet(flow, Side::Client, content);
        }
    }
    draft.statistics();
}

/// Routers behind the tunnel take less than its link; what they take, a byte more, and errors that repeat.
fn learned(draft: &mut Draft, flow: FlowId) {
    for _ in 0..3 {
        let mtu = draft.dice.one(&[1500, 1300, 1200, 1200, 1004, 552, 300]);
        for _ in 0..draft.dice.one(&[1, 1, 2]) {
            let quote = draft.dice.one(&[68, 128]);
            draft.packet(flow, Side::Server, outside(3, 4, mtu, quote));
        }
        for bytes in [mtu - 60, mtu - 59] {
            let mut content = data(PSH | ACK, bytes);
            content.df = draft.dice.chance(60);
            draft.packet(flow, Side::Client, content);
        }
    }
}

/// Datagrams and segments in pieces, in and out of order, whole and not.
pub(super) fn fragments(draft: &mut Draft) {
    if draft.seed % 5 == 4 {
        draft.use_v6();
    }
    draft.reach(Method::ALL[draft.seed as usize % 3]);
    draft.add_service(Protocol::Udp, 53, "rr", "");
    draft.add_all(&[1, 2], 1);
    for _ in 0..4 {
        let flow = draft.flow();
        let (bytes, size, reversed) = (
            draft.dice.one(&[900, 1200, 1440]),
            draft.dice.one(&[400, 512, 800]),
            draft.dice.chance(40),
        );
        for side in [Side::Client, Side::Server] {
            draft.packet(flow, side, cut(data(0, bytes), size, reversed, &[]));
        }
        draft.ask(flow, 10);
    }
    for only in [&[0][..], &[1, 2]] {
        let flow = draft.flow();
        draft.packet(flow, Side::Client, cut(data(0, 1000), 400, false, only));
    }
    let flow = draft.flow();
    for side in [Side::Client, Side::Server] {
        draft.packet(flow, side, cut(data(0, 3000), 1000, false, &[]));
    }
    draft.add_service(Protocol::Tcp, 80, "rr", "");
    draft.add(1, 1, "");
    let flow = draft.flow();
    draft.establish(flow);
    for side in [Side::Client, Side::Server] {
        draft.packet(flow, side, cut(data(PSH | ACK, 1000), 400, false, &[]));
    }
    let flow = draft.flow();
    let syn = cut(data(SYN, 64), 24, false, &[]);
    draft.packet(flow, Side::Client, syn);
    let plain = flagged(ACK);
    draft.packet(flow, Side::Client, plain);
    draft.statistics();
}
