//! Files for `-R` and for `ipvsadm-restore`, good ones and others.

use super::super::line::{Group, Line, Program};
use super::lines;
use crate::conform::generate::dice::Dice;

const GOOD: [&str; 12] = [
    "-A -t 10.0.0.1:80 -s rr",
    "-a -t 10.0.0.1:80 -r 10.9.0.11:80 -m -w 1",
    "-a -t 10.0.0.1:80 -r 10.9.0.12:80 -g -w 2",
    "-A -u 10.0.0.1:53 -s wlc -p 60 -M 255.255.255.0",
    "-a -u 10.0.0.1:53 -r 10.9.0.11:53 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum",
    "-A --sctp-service 10.0.0.1:9 -s wlc",
    "-A -f 2 -6 -s mh -p 360 -b mh-port",
    "-a -f 2 -6 -r [fd09::11]:0 -g -w 1",
    "ipvsadm -A -t 10.0.0.1:443 -s wrr",
    "  -a\t-t 10.0.0.1:443   -r 10.9.0.11 -m  ",
    "-A -t [fd00::1]:80 -s sh -b sh-port",
    "",
];

const ODD: [&str; 22] = [
    "-A -t 10.0.0.1:80 -s rr",
    "-a -t 10.0.0.9:80 -r 10.9.0.11:80",
    "-A -t 10.0.0.1",
    "-A -t 10.0.0.1:99 -w 5",
    "-A -t",
    "-A -t 10.0.0.1:99 --nonsense",
    "-t 10.0.0.1:99",
    "# a comment",
    "#-A -t 10.0.0.1:99",
    "-A -t 10.0.0.1:99 # behind",
    "-C",
    "-Ln",
    "-Sn",
    "-h",
    "-v",
    "-Z",
    "--set 10 20 30",
    "/sbin/ipvsadm -A -t 10.0.0.1:99",
    "ipvsadm",
    "ipvsadm ipvsadm -A ipvsadm -t 10.0.0.1:98",
    "words",
    "''",
];

/// Files, each loaded with `-R` or `ipvsadm-restore`, and what stands in the table then.
pub(super) fn groups(dice: &mut Dice, count: usize) -> Vec<Group> {
    let mut groups = Vec::new();
    while lines(&groups) < count {
        // Debian's script looks at no argument.
        let (program, word) = match dice.chance(15) {
            true => (Program::Restore, "--as-ipvsadm"),
            false => (Program::Ipvsadm, dice.one(&["-R", "--restore"])),
        };
        let odd = dice.number(0, 3) as usize;
        let (input, words) = (file(dice, odd), vec![word.to_owned()]);
        let load = Line {
            program,
            words,
            input,
            by_nobody: false,
        };
        let lines = vec![
            Line::read("-A -t 10.0.0.1:80 -s lc"),
            load,
            Line::read("-Sn"),
        ];
        groups.push(Group::in_turn(
            &format!("restore {}", groups.len() + 1),
            lines,
        ));
    }
    groups
}

fn file(dice: &mut Dice, odd: usize) -> String {
    let from = dice.number(0, 4) as usize;
    let to = from + dice.number(2, 8) as usize;
    let mut lines = GOOD[from..to.min(GOOD.len())].to_vec();
    for line in dice.some(&ODD, odd) {
        let place = dice.number(0, lines.len() as u32 + 1) as usize;
        lines.insert(place, line);
    }
    let end = dice.one(&["\n", "\n", "\n", "\r\n"]);
    let mut text = lines.join(end);
    if dice.chance(85) {
        text.push_str(end);
    }
    text
}
