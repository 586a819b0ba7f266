//! Files as people write them, and what is said of the wrong ones.

use super::*;

fn complaints(text: &str) -> Vec<String> {
    let mut rules = Rules::read("rules", text.as_bytes());
    let sorted = rules.sorted().iter();
    sorted
        .map(|it| it.to_string().lines().next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn lines_of_many_makings_load() {
    let text = "#!/bin/sh\n\n# web\nipvsadm -A -t 192.168.1.40:80 -s rr\n\
                /sbin/ipvsadm -a -t 192.168.1.40:80 -r 10.0.0.1:80 -m # first\n\
                \t-a -t 192.168.1.40:80 -r 10.0.0.2:80 -m\nipvsadm -Ln\n\
                #lvsx mark add mark 1 to 192.0.2.1\n #lvsx sysctl sync_threshold = 3\t50\n";
    let rules = Rules::read("rules", text.as_bytes());
    assert_eq!(rules.complaints, []);
    assert_eq!(rules.notes, Vec::<String>::new());
    let numbers: Vec<usize> = rules.changes.iter().map(|placed| placed.number).collect();
    assert_eq!(numbers, [4, 5, 6, 8, 9]);
    assert_eq!(rules.listings, [["-Ln"]]);
    assert!(matches!(&rules.changes[4].request,
        Request::SetSetting(name, value) if name == "sync_threshold" && value == "3 50"));
    assert_eq!(Rules::read_plain("rules", text.as_bytes()).changes.len(), 3);
}

#[test]
fn every_wrong_line_is_named_with_what_was_meant() {
    let text = "-A -t 192.168.1.40:80 -s rr -p 300 --netmsk 255.255.255.0\n\
                -a -t 192.168.1.4O:80 -r 10.0.0.1:80 -m\n\
                -a -t 192.168.1.40:80 -r 10.0.0.1:80 -i --tun-type ipi\n\
                -A -t 192.168.1.40:80 -s rr persistnt\n\
                -A -u 192.168.1.40:53 -s sh -b sh-prot\n\
                add-server -t 192.168.1.40:80\n\
                -a -t 192.168.1.40:80 -m\n\
                -R\n\
                #lvsx mrak add mark 1\n\
                #lvsx sysctl drop_entry\n";
    assert_eq!(
        complaints(text),
        [
            "rules:1:36: --netmsk: unknown option; is `--netmask' meant?",
            "rules:2:7: illegal virtual server address[:port] specified; is `192.168.1.40:80' meant?",
            "rules:3:52: illegal tunnel type specified; is `ipip' meant?",
            "rules:4:29: unexpected argument persistnt; is `--persistent' meant?",
            "rules:5:32: invalid scheduler flag `sh-prot'; is `sh-port' meant?",
            "rules:6:1: `add-server' is no command of ipvsadm; is `--add-server' meant?",
            "rules:7:1: You need to supply the 'real-server' option for the 'add-server' command",
            "rules:8:1: a file cannot ask for another one to be read",
            "rules:9:7: behind `#lvsx' stands mark or sysctl; is `mark' meant?",
            "rules:10:7: a setting is written as `NAME = VALUE'",
        ]
    );
}

#[test]
fn what_a_director_refuses_is_shown_in_its_line() {
    let text = "-A -t 192.168.1.40:80 -s wllc\n\
                -a -t 192.168.1.40:8 -r 10.0.0.1:80 -m\n\
                -d -t 192.168.1.40:80 -r 10.0.0.9:80\n";
    let mut rules = Rules::read("rules", text.as_bytes());
    rules.refused(2, Errno::ENOENT, "");
    rules.refused(0, Errno::ENOENT, "No such file or directory");
    rules.refused(1, Errno::ESRCH, "No such process");
    rules.refused(3, Errno::ENOMEM, "the arena of generations is full");
    let lines: Vec<String> = rules.sorted().iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "rules:0:0: the arena of generations is full\n    ",
            "rules:1:26: Scheduler or persistence engine not found; is `wlc' meant?\n    -A -t 192.168.1.40:80 -s wllc",
            "rules:2:7: Service not defined; is `-t 192.168.1.40:80' meant?\n    -a -t 192.168.1.40:8 -r 10.0.0.1:80 -m",
            "rules:3:26: No such destination\n    -d -t 192.168.1.40:80 -r 10.0.0.9:80",
        ]
    );
}

#[test]
fn a_line_that_could_not_be_read_is_not_missed_by_others() {
    let text = "-A -t 192.168.1.40:80 --shceduler rr\n\
                -a -t 192.168.1.40:80 -r 10.0.0.1:80 -m\n\
                -a -t 192.168.1.41:80 -r 10.0.0.1:80 -m\n";
    let mut rules = Rules::read("rules", text.as_bytes());
    rules.refused(0, Errno::ESRCH, "");
    rules.refused(1, Errno::ESRCH, "");
    let lines: Vec<usize> = rules.sorted().iter().map(|it| it.line).collect();
    assert_eq!(lines, [1, 3]);
}

#[test]
fn what_was_read_as_something_else_is_told_with_its_place() {
    let mut bytes = "\u{feff}ipvsadm -A -t 10.0.0.1:80 \u{2013}s\u{a0}rr\r\n"
        .as_bytes()
        .to_vec();
    let rules = Rules::read("rules", &bytes);
    assert_eq!(rules.changes.len(), 1);
    assert_eq!(
        rules.notes,
        [
            "rules: line 1: lines end with CR and LF, read as with LF",
            "rules: line 1: U+FEFF in column 1 read as nothing, U+2013 in column 28 read as `-', \
             U+00A0 in column 30 read as ` '"
        ]
    );
    bytes = vec![0xff, 0xfe];
    bytes.extend("-C\n".encode_utf16().flat_map(u16::to_le_bytes));
    let rules = Rules::read("rules", &bytes);
    assert!(matches!(rules.changes[0].request, Request::Flush));
    assert_eq!(
        rules.notes,
        ["rules: line 1: the file is UTF-16, read as UTF-8"]
    );
}
