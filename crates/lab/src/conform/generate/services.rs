//! What services can be asked for beside a scheduler: persistence, thresholds, marks, all ports, one-packet scheduling.

use std::net::IpAddr;

use super::super::addresses::VIP;
use super::super::scenario::Protocol;
use super::draft::{ACK, Draft, Method, RST, SYN};

/// Clients of a few networks under persistence.
pub(super) fn persistence(draft: &mut Draft) {
    draft.reach_somehow();
    if draft.seed % 5 == 4 {
        draft.use_v6();
    }
    let mask = if draft.is_v6() {
        draft.dice.one(&["", "-M 64", "-M 96"])
    } else {
        draft.dice.one(&[
            "",
            "-M 255.255.255.0",
            "-M 255.255.0.0",
            "-M 255.255.255.255",
        ])
    };
    let timeout = draft.dice.one(&["", "300", "60"]);
    let more = format!("-p {timeout} {mask}");
    let scheduler = draft.dice.one(&["rr", "wlc", "wrr"]);
    let ports: &[u16] = if draft.dice.chance(30) {
        &[80, 443, 22]
    } else {
        &[80]
    };
    draft.add_service(
        Protocol::Tcp,
        if ports.len() > 1 { 0 } else { 80 },
        scheduler,
        &more,
    );
    for number in draft.some_servers(4) {
        let weight = draft.dice.one(&[1, 1, 2]);
        draft.add(number, weight, "");
    }
    let homes: Vec<IpAddr> = (0..3).map(|_| draft.client()).collect();
    for round in 0..14 {
        visit(draft, &homes, ports);
        if round == 8 {
            let number = draft.any_server();
            draft.edit(number, 0, "");
        }
        if round == 10 {
            let number = draft.any_server();
            draft.remove(number);
        }
    }
    draft.ipvsadm("-Ln --persistent-conn");
    draft.list();
    draft.connections();
    let plain = format!("-E {} -s rr", draft.service);
    draft.ipvsadm(&plain);
    for _ in 0..4 {
        visit(draft, &homes, ports);
    }
    draft.list();
    draft.connections();
}

/// A connection of somebody who lives near one of these.
fn visit(draft: &mut Draft, homes: &[IpAddr], ports: &[u16]) {
    let mut client = draft.dice.one(homes);
    if draft.dice.chance(50) {
        let last = draft.dice.number(1, 255) as u8;
        client = match client {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                [a, b, c, last].into()
            }
            IpAddr::V6(address) => {
                let mut octets = address.octets();
                octets[15] = last;
                octets.into()
            }
        };
    }
    let port = draft.dice.one(ports);
    let flow = draft.flow_to(client, Protocol::Tcp, draft.address, port);
    draft.open(flow);
    if draft.dice.chance(20) {
        draft.close(flow);
    }
}

/// Templates end, and their clients are scheduled anew; or they end while connections are left, and live on. The times are
/// so far apart that a slow machine changes nothing.
pub(super) fn persistence_ends(draft: &mut Draft) {
    draft.reach_somehow();
    draft.ipvsadm("--set 8 8 8");
    let lives_on = draft.seed.is_multiple_of(2);
    let (timeout, waits): (_, &[u64]) = if lives_on {
        ("-p 2", &[3000, 11_000])
    } else {
        ("-p 12", &[14_000])
    };
    draft.add_service(Protocol::Tcp, 80, "rr", timeout);
    draft.add_all(&[1, 2, 3], 1);
    let client = draft.client();
    for _ in 0..3 {
        let flow = draft.flow_from(client);
        draft.establish(flow);
        if lives_on {
            // It stays for 10 s.
            draft.up(flow, RST);
        }
    }
    for wait in waits {
        draft.wait(*wait);
        draft.list();
        draft.connections();
    }
    for _ in 0..2 {
        let flow = draft.flow_from(client);
        draft.up(flow, SYN);
    }
    draft.list();
}

/// Servers with limits.
pub(super) fn thresholds(draft: &mut Draft) {
    draft.reach_somehow();
    let scheduler = draft
        .dice
        .one(&["rr", "wrr", "lc", "wlc", "sed", "sh", "fo"]);
    draft.add_service(Protocol::Tcp, 80, scheduler, "");
    for number in draft.some_servers(3) {
        let upper = draft.dice.number(1, 6);
        let lower = if draft.dice.chance(60) {
            format!("-y {}", draft.dice.number(1, upper + 1))
        } else {
            String::new()
        };
        let weight = draft.dice.one(&[1, 2]);
        draft.add(number, weight, &format!("-x {upper} {lower}"));
    }
    let mut open = Vec::new();
    for _ in 0..10 {
        for _ in 0..draft.dice.number(1, 4) {
            let flow = draft.flow();
            draft.establish(flow);
            open.push(flow);
        }
        if draft.dice.chance(50) {
            let index = draft.dice.number(0, open.len() as u32) as usize;
            let flow = open.swap_remove(index);
            draft.close(flow);
        }
        if draft.dice.chance(20) {
            // No thresholds any more. Others are left out: see `scheduling`.
            let number = draft.any_server();
            draft.edit(number, 1, "");
        }
        if draft.dice.chance(30) {
            draft.list();
        }
    }
    draft.list();
    draft.ipvsadm("-Ln --thresholds");
}

/// One-packet scheduling.
pub(super) fn one_packet(draft: &mut Draft) {
    draft.reach(Method::ALL[draft.seed as usize % 3]);
    let scheduler = draft.dice.one(&["rr", "wrr", "lc", "wlc", "sh"]);
    draft.add_service(Protocol::Udp, 53, scheduler, "-o");
    for number in draft.some_servers(3) {
        let weight = draft.dice.one(&[1, 2, 3]);
        draft.add(number, weight, "");
    }
    let flows: Vec<usize> = (0..3).map(|_| draft.flow()).collect();
    for _ in 0..14 {
        let (flow, bytes) = (draft.dice.one(&flows), draft.dice.number(0, 60));
        draft.ask(flow, bytes);
        if draft.dice.chance(40) {
            draft.answer(flow, bytes);
        }
    }
    draft.list();
    draft.connections();
    draft.statistics();
    draft.ipvsadm("-A -t 10.0.0.100:80 -s rr -o");
}

/// A service of all ports beside one of a certain port.
pub(super) fn all_ports(draft: &mut Draft) {
    draft.reach_somehow();
    draft.add_service(Protocol::Tcp, 0, "rr", "");
    draft.ipvsadm("-D -t 10.0.0.100:0");
    draft.add_service(Protocol::Tcp, 443, "rr", "");
    draft.add(1, 1, "");
    let timeout = draft.dice.one(&["100", "360"]);
    draft.add_service(Protocol::Tcp, 0, "rr", &format!("-p {timeout}"));
    draft.add_all(&[2, 3, 4], 1);
    let clients: Vec<IpAddr> = (0..3).map(|_| draft.client()).collect();
    for _ in 0..12 {
        let (client, port) = (
            draft.dice.one(&clients),
            draft.dice.one(&[80, 443, 21, 20, 8080]),
        );
        let flow = draft.flow_to(client, Protocol::Tcp, draft.address, port);
        draft.open(flow);
    }
    draft.list();
    draft.connections();
}

/// Services of firewall marks.
pub(super) fn marks(draft: &mut Draft) {
    draft.reach_somehow();
    if draft.seed % 5 == 4 {
        draft.use_v6();
    }
    let to = draft.address.to_string();
    draft.mark(5, Protocol::Tcp, &to, 80);
    draft.mark(5, Protocol::Tcp, &to, 443);
    draft.mark(6, Protocol::Udp, &to, 53);
    draft.add_mark_service(6, "rr", "");
    for number in [5, 6] {
        draft.add_at(number, 0, 1, "");
    }
    let (scheduler, more) = (
        draft.dice.one(&["rr", "wrr", "wlc"]),
        draft.dice.one(&["", "-p 60"]),
    );
    draft.add_mark_service(5, scheduler, more);
    for number in [1, 2, 3] {
        let weight = draft.dice.one(&[1, 2]);
        draft.add_at(number, 0, weight, "");
    }
    let clients: Vec<IpAddr> = (0..4).map(|_| draft.client()).collect();
    for _ in 0..12 {
        let (client, port) = (draft.dice.one(&clients), draft.dice.one(&[80, 443, 22]));
        let flow = draft.flow_to(client, Protocol::Tcp, draft.address, port);
        draft.open(flow);
    }
    for _ in 0..4 {
        let flow = draft.flow_to_port(Protocol::Udp, 53);
        draft.ask(flow, 9);
        draft.answer(flow, 9);
    }
    draft.list();
    draft.connections();
    draft.ipvsadm(if draft.is_v6() {
        "-D -f 6 -6"
    } else {
        "-D -f 6"
    });
    draft.list();
}

/// A server that is the director itself.
pub(super) fn local_server(draft: &mut Draft) {
    draft.reach_somehow();
    let address: IpAddr =
        draft
            .dice
            .one(&[[127, 0, 0, 1].into(), [10, 0, 0, 1].into(), VIP.into()]);
    let option = match draft.method {
        Method::Masquerade => "-m",
        Method::Route => "-g",
        Method::Tunnel => "-i",
    };
    let scheduler = draft.dice.one(&["rr", "wlc"]);
    draft.add_service(Protocol::Tcp, 80, scheduler, "");
    let line = format!(
        "-a {} -r {} {option} -w 1",
        draft.service,
        Draft::end(address, 80)
    );
    draft.ipvsadm(&line);
    draft.add(1, 1, "");
    for _ in 0..6 {
        let flow = draft.flow();
        draft.establish(flow);
        draft.up(flow, ACK);
    }
    draft.list();
    draft.connections();
    draft.add_service(Protocol::Udp, 53, "rr", "");
    let line = format!(
        "-a {} -r {} {option} -w 1",
        draft.service,
        Draft::end(address, 53)
    );
    draft.ipvsadm(&line);
    for _ in 0..2 {
        let flow = draft.flow();
        draft.ask(flow, 10);
    }
    draft.list();
}
