//! The command line: listings, refusals, save and restore.

use super::super::scenario::Protocol;
use super::draft::Draft;

/// Every listing of a director with traffic.
pub(super) fn listings(draft: &mut Draft) {
    use Protocol::{Tcp, Udp};
    const SERVICES: [(&str, Protocol, u16, &str); 8] = [
        ("rr", Tcp, 80, ""),
        ("wlc", Udp, 53, ""),
        ("wrr", Tcp, 443, "-p 300"),
        ("sh", Tcp, 8080, "-b sh-port"),
        ("mh", Tcp, 81, "-b mh-fallback,mh-port"),
        ("lc", Udp, 5060, "-o"),
        ("rr", Tcp, 22, "-p 60 -M 255.255.255.0"),
        ("sed", Tcp, 25, ""),
    ];
    draft.reach_somehow();
    for (scheduler, protocol, port, more) in draft.dice.some(&SERVICES, 4) {
        draft.add_service(protocol, port, scheduler, more);
        let count = draft.dice.number(0, 4) as usize;
        for number in draft.some_servers(count) {
            let (weight, limits) = (
                draft.dice.one(&[0, 1, 10, 100, 65535]),
                draft.dice.one(&["", "-x 10 -y 5"]),
            );
            draft.add(number, weight, limits);
        }
        for _ in 0..3 {
            let flow = draft.flow();
            if protocol == Tcp {
                draft.open(flow);
                draft.talk(flow);
            } else {
                draft.ask(flow, 50);
                draft.answer(flow, 70);
            }
        }
    }
    let service = draft.service.clone();
    if draft.dice.chance(50) {
        draft.add_mark_service(3, "rr", "");
        draft.add_at(2, 0, 1, "");
    }
    draft.wait(2500);
    for words in [
        "-Ln",
        "-L -n",
        "-ln",
        "-Ln --stats",
        "-Ln --stats --exact",
        "-Ln --rate",
        "-Ln --thresholds",
        "-Ln --persistent-conn",
        "-Ln --exact",
        "-Lnc",
        "-Sn",
        "-S -n",
        "-Ln --sort",
        "-L --timeout",
        "-L --daemon",
        "-Ln --tun-info",
    ] {
        draft.ipvsadm(words);
    }
    for words in ["-Ln", "-Ln --stats", "-Z"] {
        draft.ipvsadm(&format!("{words} {service}"));
    }
    draft.ipvsadm("-Ln --stats");
    draft.ipvsadm("-Z");
    draft.ipvsadm("-Ln --stats");
    draft.ipvsadm("-C");
    draft.list();
}

/// Lines that are wrong, doubled or odd; `@` stands for the service 10.0.0.100:80. `--pe sip` has a scenario of its own.
const ODD: [&str; 69] = [
    "-A -t @",
    "-A -t @ -s nosuch",
    "-A -t 10.0.0.100 -s rr",
    "-A -t 10.0.0.100:99999 -s rr",
    "-A -s rr",
    "-A",
    "-a",
    "-X",
    "-E -t 10.0.0.100:81 -s rr",
    "-D -t 10.0.0.100:81",
    "-D",
    "-a -t 10.0.0.100:81 -r 10.1.0.11 -m",
    "-a -t @",
    "-a -t @ -r 10.1.0.11:8080 -g",
    "-a -t @ -r 10.1.0.11:8080 -g",
    "-a -t @ -r 10.1.0.12:8080 -i",
    "-a -t @ -r 10.1.0.13 -m -w -1",
    "-a -t @ -r 10.1.0.13 -m -w 65536",
    "-a -t @ -r 10.1.0.14 -m -w x",
    "-a -t @ -r 10.1.0.14 -m -w 2147483648",
    "-e -t @ -r 10.1.0.99",
    "-d -t @ -r 10.1.0.99",
    "-d -t @",
    "-a -t @ -r 10.1.0.15 -x 5 -y 9",
    "-a -t @ -r 10.1.0.16 -x -1",
    "-A -u 10.0.0.100:0 -s rr",
    "-A -f 0 -s rr",
    "-A -f -1 -s rr",
    "-A -f 1 -s rr",
    "-A -f 1 -s rr",
    "-A -t 10.0.0.100:82 -s rr -p 0",
    "-A -t 10.0.0.100:82 -s rr -p 99999999",
    "-A -t 10.0.0.100:83 -s rr -M 255.255.255.0",
    "-A -t 10.0.0.100:84 -p 5 -M 1.2.3.4",
    "-A -t 10.0.0.100:85 -s rr -b sh-port",
    "-A -t 10.0.0.100:86 -s sh -b nonsense",
    "-A -t [fd00::100]:80 -s rr",
    "-a -t [fd00::100]:80 -r 10.1.0.11 -m",
    "-a -t @ -r [fd00:0:0:1::11]:80 -m",
    "-a -t @ -r [fd00:0:0:1::11]:80 -i",
    "-A -t 10.0.0.100:88 -u 10.0.0.100:88 -s rr",
    "-Z -t 10.0.0.100:99",
    "-Z",
    "--set 1",
    "--set 1 2",
    "--set a b c",
    "--set -1 1 1",
    "--set 0 0 0",
    "-Ln -t 10.0.0.100:99",
    "-Lc --stats -n",
    "-Ln --rate --stats",
    "-L -A",
    "-C -t @",
    "-A -t @ -g",
    "-Ln -w 1",
    "-a -t @ -r 10.1.0.17 -m -s rr",
    "-a -t @ -r 10.1.0.18 -m -g",
    "--add-service --tcp-service 10.0.0.100:90 --scheduler wrr",
    "--edit-service --tcp-service 10.0.0.100:90 --scheduler lc --persistent 10",
    "--delete-service --tcp-service 10.0.0.100:90",
    "--start-daemon nonsense",
    "--stop-daemon master",
    "-A -u 10.0.0.100:92 -s rr --pe nosuch -p 5",
    "-a -t @ -r 0.0.0.0:80 -m",
    "-a -t @ -r 224.0.0.1 -g",
    "-A -t 0.0.0.0:80 -s rr",
    "-A -t 10.0.0.100:94 -s rr extra",
    "-A -f 2 -6 -s rr",
    "-a -t @ -r 10.1.0.19 -i --tun-type gue",
];

/// Wrong command lines: texts and exit codes.
pub(super) fn refusals(draft: &mut Draft) {
    draft.reach(super::draft::Method::Masquerade);
    draft.ipvsadm("-A -t 10.0.0.100:80");
    for line in draft.dice.some(&ODD, 34) {
        draft.ipvsadm(&line.replace('@', "10.0.0.100:80"));
    }
    draft.list();
    draft.ipvsadm("-Sn");
}

/// `-S` and `-R`.
pub(super) fn restore(draft: &mut Draft) {
    draft.reach(super::draft::Method::Masquerade);
    let mut lines = Vec::new();
    for port in draft.dice.some(&[80, 443, 25, 8080], 2) {
        let (scheduler, more) = (
            draft.dice.one(&["rr", "wlc", "sh"]),
            draft.dice.one(&["", " -p 300", " -p 60 -M 255.255.255.0"]),
        );
        lines.push(format!("-A -t 10.0.0.100:{port} -s {scheduler}{more}"));
        for number in draft.some_servers(2) {
            let (server, weight) = (draft.server(number), draft.dice.number(0, 9));
            lines.push(format!(
                "-a -t 10.0.0.100:{port} -r {server}:{port} -m -w {weight}"
            ));
        }
    }
    let (place, odd) = (
        draft.dice.number(0, lines.len() as u32),
        draft
            .dice
            .one(&["", "# words", "-a -t 10.9.9.9:1 -r 10.1.0.11 -m"]),
    );
    lines.insert(place as usize, odd.to_owned());
    let first = lines[0].clone();
    draft.command(vec!["-R".to_owned()], lines);
    draft.list();
    draft.ipvsadm("-Sn");
    draft.command(vec!["-R".to_owned()], vec![first]);
    draft.ipvsadm("-Sn");
    for _ in 0..3 {
        let flow = draft.flow();
        draft.establish(flow);
    }
    draft.ipvsadm("-C");
    draft.ipvsadm("-Sn");
}
