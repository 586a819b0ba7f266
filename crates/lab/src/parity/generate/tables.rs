//! Tables of chance services and servers, and their listings.

use super::super::line::{Group, Line};
use super::lines;
use crate::conform::generate::dice::Dice;

/// No three of them in a circle: ipvsadm's order is none then, and what it prints depends on the kernel's, which is chance.
const SERVICES: [&str; 20] = [
    "-t 10.0.0.1:80",
    "-t 10.0.0.1:443",
    "-u 10.0.0.1:53",
    "-u 10.0.0.1:80",
    "--sctp-service 10.0.0.1:5060",
    "-t 10.0.0.7:http",
    "-t 10.0.0.8:8088",
    "-t 200.0.0.1:80",
    "-t 255.255.255.255:65535",
    "-u 0.0.0.0:9",
    "-t [fd00::1]:80",
    "-u [fd00::1]:53",
    "-t [fd00::7]:443",
    "-t [2001:db8:1111:2222:3333:4444:5555:6666]:65535",
    "-t [::1]:80",
    "-t [ff00::1]:80",
    "-f 1",
    "-f 4294967295",
    "-f 1 -6",
    "-f 77 -6",
];

const SCHEDULERS: [&str; 14] = [
    "", "-s rr", "-s wrr", "-s lc", "-s wlc", "-s lblc", "-s lblcr", "-s dh", "-s sh", "-s sed",
    "-s nq", "-s fo", "-s ovf", "-s mh",
];

const FLAGS: [&str; 8] = [
    "",
    "",
    "",
    "-b flag-1",
    "-b flag-1,flag-3",
    "-b flag-2",
    "-b sh-port",
    "-b mh-port,mh-fallback",
];

const PERSISTENCE: [&str; 8] = [
    "",
    "",
    "-p",
    "-p 60",
    "-p 2678400 -M 255.255.0.0",
    "-p 1 -M 64",
    "-M 255.255.255.0",
    "-p 9 -o",
];

const SERVERS: [&str; 16] = [
    "10.9.0.11",
    "10.9.0.11:8080",
    "10.9.0.12:80",
    "10.9.0.17:80",
    "10.9.0.1:80",
    "127.0.0.1",
    "200.1.1.1:443",
    "110.1.1.1:443",
    "1.1.1.1:1",
    "10.0.0.7:53",
    "[fd09::11]:80",
    "[fd09::12]:8080",
    "[fd09::17]:80",
    "[fd09::1]:80",
    "fd09::18",
    "[2001:db8:1111:2222:3333:4444:5555:6666]:65535",
];

const METHODS: [&str; 10] = [
    "",
    "-m",
    "-g",
    "-i",
    "-i --tun-type ipip",
    "-i --tun-type gue --tun-port 6080",
    "-i --tun-type gue --tun-port 9 --tun-csum",
    "-i --tun-type gue --tun-port 65535 --tun-remcsum",
    "-i --tun-type gre",
    "-i --tun-type gre --tun-csum",
];

const WEIGHTS: [&str; 8] = [
    "",
    "",
    "-w 0",
    "-w 1",
    "-w 100",
    "-w 65535",
    "-w 2147483647",
    "-w 1000000",
];

const THRESHOLDS: [&str; 6] = [
    "",
    "",
    "-x 10",
    "-x 10 -y 5",
    "-x 2147483647 -y 2147483647",
    "-y 5",
];

const LISTINGS: [&str; 30] = [
    "",
    "-L",
    "-l",
    "-Ln",
    "-L --numeric",
    "-Ln --stats",
    "-L --stats",
    "-Ln --stats --exact",
    "-Ln --rate",
    "-Ln --rate --exact",
    "-L --rate",
    "-Ln --thresholds",
    "-L --thresholds",
    "-Ln --persistent-conn",
    "-L --persistent-conn",
    "-Ln --tun-info",
    "-L --tun-info",
    "-Ln --exact",
    "-Ln --sort",
    "-LnX",
    "-Lnc",
    "-Lc",
    "-Lnc --persistent-conn",
    "-L --timeout",
    "-L --daemon",
    "-Sn",
    "-S",
    "ipvsadm-save",
    "ipvsadm-save -n",
    "-Ln --stats --rate --thresholds --tun-info",
];

/// Tables, each built, listed, changed and listed again.
pub(super) fn groups(dice: &mut Dice, count: usize) -> Vec<Group> {
    let mut groups = Vec::new();
    while lines(&groups) < count {
        let name = format!("tables {}", groups.len() + 1);
        groups.push(Group::in_turn(&name, table(dice)));
    }
    groups
}

fn table(dice: &mut Dice) -> Vec<Line> {
    let mut lines = Vec::new();
    let count = dice.number(1, 6) as usize;
    let services = dice.some(&SERVICES, count);
    let mut put = |text: String| lines.push(Line::read(&text));
    for service in &services {
        let (scheduler, flags) = (dice.one(&SCHEDULERS), dice.one(&FLAGS));
        put(format!(
            "-A {service} {scheduler} {flags} {}",
            dice.one(&PERSISTENCE)
        ));
        let count = dice.number(0, 5) as usize;
        for server in dice.some(&SERVERS, count) {
            put(format!("-a {service} -r {server} {}", settings(dice)));
        }
    }
    for listing in dice.some(&LISTINGS, 6) {
        put(listing.to_owned());
    }
    let service = dice.one(&services);
    put(format!(
        "-Ln {service} {}",
        dice.one(&["", "--stats", "--thresholds", "--tun-info", "--nosort"])
    ));
    let server = dice.one(&SERVERS);
    put(match dice.number(0, 6) {
        0 => format!("-D {service}"),
        1 => format!("-E {service} {}", dice.one(&SCHEDULERS)),
        2 => format!("-E {service} {}", dice.one(&PERSISTENCE)),
        3 => format!("-e {service} -r {server} {}", settings(dice)),
        4 => format!("-d {service} -r {server}"),
        _ => format!("-Z {service}"),
    });
    put(dice
        .one(&["-Sn", "-Ln", "-Ln --tun-info", "-Ln --thresholds"])
        .to_owned());
    lines
}

fn settings(dice: &mut Dice) -> String {
    [
        dice.one(&METHODS),
        dice.one(&WEIGHTS),
        dice.one(&THRESHOLDS),
    ]
    .join(" ")
}
