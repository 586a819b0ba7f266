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

#[test]
fn each_trouble_of_encoding_is_read_as_meant_with_its_place_or_refused() {
    let plain = Rules::read("rules", b"-A --tcp-service 10.0.0.1:80 -s rr\n");
    for (trouble, text, place) in [
        (
            "byte order mark",
            "\u{feff}-A --tcp-service 10.0.0.1:80 -s rr\n",
            "line 1: U+FEFF in column 1 read as nothing",
        ),
        (
            "CR LF",
            "-A --tcp-service 10.0.0.1:80 -s rr\r\n",
            "line 1: lines end with CR and LF, read as with LF",
        ),
        (
            "blank that does not break",
            "-A\u{a0}--tcp-service 10.0.0.1:80 -s rr\n",
            "line 1: U+00A0 in column 3 read as ` '",
        ),
        (
            "narrow blank that does not break",
            "-A\u{202f}--tcp-service 10.0.0.1:80 -s rr\n",
            "line 1: U+202F in column 3 read as ` '",
        ),
        (
            "full-width blank",
            "-A --tcp-service\u{3000}10.0.0.1:80 -s rr\n",
            "line 1: U+3000 in column 17 read as ` '",
        ),
        (
            "curly quotes",
            "-A --tcp-service \u{201c}10.0.0.1:80\u{201d} -s \u{2018}rr\u{2019}\n",
            "line 1: U+201C in column 18 read as nothing, U+201D in column 30 read as nothing, \
             U+2018 in column 35 read as nothing, U+2019 in column 38 read as nothing",
        ),
        (
            "en dash",
            "\u{2013}A --tcp-service 10.0.0.1:80 -s rr\n",
            "line 1: U+2013 in column 1 read as `-'",
        ),
        (
            "em dash",
            "-A \u{2014}tcp-service 10.0.0.1:80 -s rr\n",
            "line 1: U+2014 in column 4 read as `--'",
        ),
        (
            "minus",
            "-A --tcp-service 10.0.0.1:80 \u{2212}s rr\n",
            "line 1: U+2212 in column 30 read as `-'",
        ),
        (
            "full-width digits",
            "-A --tcp-service 10.0.0.\u{ff11}:\u{ff18}\u{ff10} -s rr\n",
            "line 1: U+FF11 in column 25 read as `1', U+FF18 in column 27 read as `8', \
             U+FF10 in column 28 read as `0'",
        ),
    ] {
        let rules = Rules::read("rules", text.as_bytes());
        assert_eq!(rules.requests(), plain.requests(), "{trouble}");
        assert_eq!(rules.complaints, [], "{trouble}");
        assert_eq!(rules.notes, [format!("rules: {place}")], "{trouble}");
        let strict = Wish {
            is_strict: true,
            ..Wish::default()
        };
        assert!(
            rules.is_wrong(strict) && !plain.is_wrong(strict),
            "{trouble}"
        );
    }
}
