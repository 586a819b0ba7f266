//! Schedulers: who gets the next connection while connections come and go, weights change, servers are added and removed.

use super::super::scenario::Protocol;
use super::draft::{Draft, FlowId, Method};

/// A service under `scheduler`.
pub(super) fn plain(draft: &mut Draft, scheduler: &str) {
    draft.reach_somehow();
    draft.add_service(Protocol::Tcp, 80, scheduler, "");
    live(draft, scheduler, "", &[]);
}

/// A service under a scheduler that has flags, a different set with each seed.
pub(super) fn flagged(draft: &mut Draft, scheduler: &str) {
    let (fallback, port) = (format!("{scheduler}-fallback"), format!("{scheduler}-port"));
    let flags = match draft.seed % 4 {
        0 => String::new(),
        1 => format!("-b {fallback}"),
        2 => format!("-b {port}"),
        _ => format!("-b {fallback},{port}"),
    };
    draft.reach_somehow();
    draft.add_service(Protocol::Tcp, 80, scheduler, &flags);
    live(draft, scheduler, &flags, &[]);
}

/// A scheduler that looks at the destination address, so a mark service over a prefix with many; with every fourth seed
/// a plain service.
pub(super) fn by_destination(draft: &mut Draft, scheduler: &str) {
    if draft.seed.is_multiple_of(4) {
        return plain(draft, scheduler);
    }
    let method = draft.dice.one(&[Method::Route, Method::Tunnel]);
    draft.reach(method);
    draft.local("10.9.0.0/16");
    draft.mark(7, Protocol::Tcp, "10.9.0.0/16", 80);
    draft.add_mark_service(7, scheduler, "");
    draft.port = 80;
    let places: Vec<String> = (0..draft.dice.number(4, 9))
        .map(|_| {
            format!(
                "10.9.{}.{}",
                draft.dice.number(0, 4),
                draft.dice.number(1, 250)
            )
        })
        .collect();
    live(draft, scheduler, "", &places);
}

/// A director's day: some servers, connections, and changes between them.
fn live(draft: &mut Draft, scheduler: &str, flags: &str, places: &[String]) {
    const WEIGHTS: [u32; 6] = [0, 1, 1, 2, 3, 5];
    let server_port = if places.is_empty() { 80 } else { 0 };
    let first = draft.dice.number(3, 7) as usize;
    for (index, number) in draft.some_servers(first).into_iter().enumerate() {
        let weight = draft
            .dice
            .one(if index < 2 { &WEIGHTS[1..] } else { &WEIGHTS });
        let limits = limits(draft);
        draft.add_at(number, server_port, weight, &limits);
    }
    let mut open: Vec<FlowId> = Vec::new();
    begin(draft, 8, places, &mut open);
    draft.list();
    for _ in 0..12 {
        match draft.dice.number(0, 100) {
            0..45 => {
                let count = draft.dice.number(1, 6);
                begin(draft, count, places, &mut open);
            }
            45..65 => {
                for _ in 0..draft.dice.number(1, 5) {
                    if !open.is_empty() {
                        let index = draft.dice.number(0, open.len() as u32) as usize;
                        let flow = open.swap_remove(index);
                        draft.close(flow);
                    }
                }
            }
            65..72 if !open.is_empty() => {
                let flow = draft.dice.one(&open);
                draft.talk(flow);
            }
            65..84 => {
                // Without thresholds: kernels from 6.1.177 on settle a changed one at once, user-mode Linux is older.
                let (number, weight) = (draft.any_server(), draft.dice.one(&WEIGHTS));
                draft.edit(number, weight, "");
            }
            84..90 if draft.servers.len() > 2 => {
                let number = draft.any_server();
                draft.remove(number);
            }
            84..96 => {
                let spare: Vec<u8> = (1..=8)
                    .filter(|number| draft.servers.iter().all(|(known, _)| known != number))
                    .collect();
                if !spare.is_empty() {
                    let (number, weight) = (draft.dice.one(&spare), draft.dice.one(&WEIGHTS));
                    draft.add_at(number, server_port, weight, "");
                }
            }
            // An edit of the service makes lblc and lblcr forget.
            _ if !scheduler.starts_with("lblc") => {
                let line = format!("-E {} -s {scheduler} {flags}", draft.service);
                draft.ipvsadm(&line);
            }
            _ => {}
        }
        if draft.dice.chance(30) {
            draft.list();
        }
    }
    begin(draft, 6, places, &mut open);
    draft.list();
    draft.connections();
}

fn begin(draft: &mut Draft, count: u32, places: &[String], open: &mut Vec<FlowId>) {
    for _ in 0..count {
        let client = draft.client();
        let to = if places.is_empty() {
            draft.address
        } else {
            let place = draft.dice.one(places);
            place.parse().unwrap_or(draft.address)
        };
        let flow = draft.flow_to(client, Protocol::Tcp, to, draft.port);
        draft.open(flow);
        open.push(flow);
    }
}

/// Now and then an upper threshold.
fn limits(draft: &mut Draft) -> String {
    if draft.dice.chance(12) {
        format!("-x {}", draft.dice.one(&[2, 4, 7]))
    } else {
        String::new()
    }
}
