//! Command lines against a director in memory: what it was told, what was printed, which exit code.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;

use lvsx_ipvs::{ForwardingMethod, ServiceKey, Stats, Transport, answer};

use super::*;
use crate::memory::MemoryDirector;
use proptest::prelude::*;

/// A director, and clients of it.
struct Lab(Rc<RefCell<MemoryDirector>>);

impl Lab {
    fn new() -> Self {
        Self(Rc::new(RefCell::new(MemoryDirector::new())))
    }

    /// Runs a line with `input`; the exit code and both streams, stderr behind `! `.
    fn fed(&self, line: &str, input: &str) -> String {
        let director = Rc::clone(&self.0);
        self.fed_by(
            line,
            input,
            Transport::local(move |datagram| answer(datagram, &mut *director.borrow_mut())),
        )
    }

    /// As [`fed`](Self::fed), by a client that takes the director for the kernel's IPVS.
    fn fed_as_kernel(&self, line: &str, input: &str) -> String {
        let director = Rc::clone(&self.0);
        self.fed_by(
            line,
            input,
            Transport::local_kernel(move |datagram| answer(datagram, &mut *director.borrow_mut())),
        )
    }

    fn fed_by(&self, line: &str, input: &str, transport: Transport) -> String {
        let mut client = Client::new(transport);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut run = Run {
            name: "ipvsadm",
            client: &mut client,
            input: input.as_bytes(),
            out: &mut out,
            err: &mut err,
        };
        let code = run
            .line(&words)
            .map_or_else(|failure| failure.code(), |()| 0);
        let mut seen = String::from_utf8(out).unwrap();
        for line in String::from_utf8(err).unwrap().lines() {
            writeln!(seen, "! {line}").unwrap();
        }
        if code != 0 {
            writeln!(seen, "= {code}").unwrap();
        }
        seen
    }

    fn run(&self, line: &str) -> String {
        self.fed(line, "")
    }

    /// Runs lines that must succeed and say nothing.
    fn set(&self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.run(line), "", "{line}");
        }
    }
}

#[test]
fn the_tutorial_s_lines_in_short_clusters() {
    let lab = Lab::new();
    lab.set(&[
        "-C",
        "-At 8.8.8.8:80 -s rr",
        "-at 8.8.8.8:80 -r 192.168.1.46:80 -m",
        "-at 8.8.8.8:80 -r 192.168.1.47:80 -m",
        "-At 192.168.1.40:80 -s rr",
        "-at 192.168.1.40:80 -r 192.168.1.46 -i",
        "-at 192.168.1.40:80 -r 192.168.1.47 -g",
    ]);
    assert_eq!(
        lab.run("-Ln"),
        "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.168.1.40:80 rr
  -> 192.168.1.46:80              Tunnel  1      0          0         
  -> 192.168.1.47:80              Route   1      0          0         
TCP  8.8.8.8:80 rr
  -> 192.168.1.46:80              Masq    1      0          0         
  -> 192.168.1.47:80              Masq    1      0          0         
",
        "192.168.1.40 - 8.8.8.8 is beyond 2^31: the signed difference puts it first"
    );
}

#[test]
fn flags_of_services() {
    let lab = Lab::new();
    lab.set(&[
        "-A -t 10.0.0.1:22 -s rr -p 60 -M 255.255.255.0",
        "-A -u 10.0.0.1:5060 -s ovf -p --pe sip -o",
        "-A --sctp-service 10.0.0.1:9",
        "-A -t [2001:db8::80]:80 -p 100 -M 64 -s mh -b mh-port,mh-fallback",
        "-A -f 1 -s sh -b sh-fallback",
        "-A -f 2 -6",
    ]);
    assert_eq!(
        lab.run("-Ln"),
        "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.0.0.1:22 rr persistent 60 mask 255.255.255.0
UDP  10.0.0.1:5060 ovf persistent 360 pe sip ops
SCTP 10.0.0.1:9 wlc
TCP  [2001:db8::80]:80 mh (mh-fallback,mh-port) persistent 100 mask 64
FWM  1 sh (sh-fallback)
FWM  2 IPv6 wlc
"
    );
    let saved = lab.run("-Sn");
    assert_eq!(
        saved,
        "\
-A -t 10.0.0.1:22 -s rr -p 60 -M 255.255.255.0
-A -u 10.0.0.1:5060 -s ovf -p 360 --pe sip -o
-A --sctp-service 10.0.0.1:9 -s wlc
-A -t [2001:db8::80]:80 -s mh -p 100 -M 64 -b mh-fallback,mh-port
-A -f 1 -s sh -b sh-fallback
-A -f 2 -6 -s wlc
"
    );
    let copy = Lab::new();
    assert_eq!(copy.fed("-R", &saved), "");
    assert_eq!(copy.run("-Sn"), saved);
}

#[test]
fn columns_of_destinations() {
    let lab = Lab::new();
    lab.set(&[
        "-A -t 10.0.0.1:80",
        "-a -t 10.0.0.1:80 -r 10.0.0.2:8080 -m -w 0 -x 2000000000 -y 5",
        "-a -t 10.0.0.1:80 -r 10.0.0.3 -i --tun-type gue --tun-port 6080 --tun-csum",
        "-a -t 10.0.0.1:80 -r [2001:db8::1234:5678:9abc:def0]:80 -i --tun-type gre",
    ]);
    for (service, destinations) in &mut lab.0.borrow_mut().services {
        service.stats = Stats {
            connections: 99_999_999,
            in_packets: 100_000_000,
            in_bytes: 123_456_789_012,
            in_packet_rate: 1_500_000_000,
            ..Stats::default()
        };
        destinations[0].stats = service.stats;
        destinations[0].active = 7;
        destinations[0].persistent = 3;
    }
    let below = |line: &str| {
        lab.run(line)
            .split_inclusive('\n')
            .skip(1)
            .collect::<String>()
    };
    assert_eq!(
        below("-Ln --stats"),
        "\
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  10.0.0.1:80                  99999999  100000K        0     123G        0
  -> 10.0.0.2:8080                       0        0        0        0        0
  -> 10.0.0.3:80                         0        0        0        0        0
  -> [2001:db8::1234:5678:9abc:def0]:80 99999999  100000K        0     123G        0
"
    );
    assert_eq!(
        below("-Ln --rate"),
        "\
Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS
  -> RemoteAddress:Port
TCP  10.0.0.1:80                         0    1500M        0        0        0
  -> 10.0.0.2:8080                       0        0        0        0        0
  -> 10.0.0.3:80                         0        0        0        0        0
  -> [2001:db8::1234:5678:9abc:def0]:80        0 1500000000        0        0        0
"
    );
    assert_eq!(
        below("-Ln --thresholds --exact"),
        "\
Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn 
  -> RemoteAddress:Port
TCP  10.0.0.1:80 wlc
  -> 10.0.0.2:8080                2000000000 5          0          0         
  -> 10.0.0.3:80                  0          0          0          0         
  -> [2001:db8::1234:5678:9abc:def0]:80 0          0          7          0         
"
    );
    assert_eq!(
        below("-Ln --tun-info"),
        "\
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn
TCP  10.0.0.1:80 wlc
  -> 10.0.0.2:8080                Masq    n/a           0      0          0         
  -> 10.0.0.3:80                  Tunnel  gue:6080:+c   1      0          0         
  -> [2001:db8::1234:5678:9abc:def0]:80 Tunnel  gre:-c        1      7          0         
"
    );
    assert!(
        below("-Ln --persistent-conn")
            .ends_with(":80 1         3           7          0         \n")
    );
}

#[test]
fn refusals_and_their_exit_codes() {
    let lab = Lab::new();
    lab.set(&["-A -t 10.0.0.1:80", "-a -t 10.0.0.1:80 -r 10.0.0.2"]);
    let cases = [
        ("-A -t 10.0.0.1:80", "! Service already exists\n= 255\n"),
        (
            "-A -t 10.0.0.1:81 -s x",
            "! Scheduler or persistence engine not found\n= 255\n",
        ),
        ("-E -t 10.0.0.1:81", "! No such service\n= 255\n"),
        ("-Z -t 10.0.0.1:81", "! No such service\n= 255\n"),
        ("-L -t 10.0.0.1:81", "! No such service\n= 1\n"),
        (
            "-a -t 10.0.0.1:81 -r 10.0.0.2",
            "! Service not defined\n= 255\n",
        ),
        (
            "-a -t 10.0.0.1:80 -r 10.0.0.2",
            "! Destination already exists\n= 255\n",
        ),
        (
            "-d -t 10.0.0.1:80 -r 10.0.0.3",
            "! No such destination\n= 255\n",
        ),
        (
            "-a -t 10.0.0.1:80 -r 10.0.0.3 -x 1 -y 2",
            "! Numerical result out of range\n= 255\n",
        ),
        ("--stop-daemon backup", "! No daemon is running\n= 255\n"),
        ("-A -t 10.0.0.1:80 -z", "! -z: unknown option\n= 255\n"),
        ("-A -t", "! -t: missing argument\n= 255\n"),
        (
            "-t 10.0.0.1:80",
            "! Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n= 255\n",
        ),
        (
            "-A -t 10.0.0.1",
            "! Zero port specified for non-persistent service\n= 2\n",
        ),
        ("-A -6", "! -6 used before -f\n! \n= 2\n"),
        (
            "-C -n",
            "! Illegal 'numeric' option with the 'flush' command\n= 2\n",
        ),
        (
            "-A",
            "! You need to supply the 'service-address' option for the 'add-service' command\n= 2\n",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(lab.run(line), expected, "{line}");
    }
    assert_eq!(
        lab.run("-a -t 10.0.0.1:80 -r 224.0.0.1"),
        "! Invalid operation.  Possibly wrong module version, address not unicast, ...\n= 255\n"
    );
}

#[test]
fn restoring_goes_on_after_a_refusal_and_ends_at_a_wrong_line() {
    let lab = Lab::new();
    let twice = "-A -t 1.1.1.1:80\n-A -t 1.1.1.1:80\n-A -t 1.1.1.1:81\n";
    assert_eq!(
        lab.fed("-R", twice),
        "! Service already exists\n",
        "the last line counts"
    );
    let wrong = "-A -u 1.1.1.1:80\n-A -u 1.1.1.1:81 -w 5\n-A -u 1.1.1.1:82\n";
    assert_eq!(
        lab.fed("-R", wrong),
        "! Illegal 'weight' option with the 'add-service' command\n= 2\n"
    );
    assert_eq!(
        lab.run("-Sn"),
        "-A -t 1.1.1.1:80 -s wlc\n-A -t 1.1.1.1:81 -s wlc\n-A -u 1.1.1.1:80 -s wlc\n"
    );
}

#[test]
fn what_no_option_can_say_is_left_out_of_a_saved_table() {
    let lab = Lab::new();
    lab.set(&[
        "-A -t 10.0.0.1:80",
        "-a -t 10.0.0.1:80 -r 10.0.0.2",
        "-a -t 10.0.0.1:80 -r 10.0.0.3",
        "-A -u 10.0.0.1:80",
    ]);
    {
        let services = &mut lab.0.borrow_mut().services;
        services[0].1[0].settings.method = ForwardingMethod::Bypass;
        services[1].0.key = ServiceKey::Address {
            protocol: 47,
            addr: [10, 0, 0, 1].into(),
            port: 80,
        };
    }
    assert_eq!(
        lab.run("-Sn"),
        "\
-A -t 10.0.0.1:80 -s wlc
-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1
! left out: -t 10.0.0.1:80 -r 10.0.0.3:80, as its forwarding has no option
! left out: a service of protocol 47, which has no option
"
    );
    assert!(lab.run("-Ln").contains("\n?    10.0.0.1:80 wlc\n"));
    assert!(
        lab.run("-Ln")
            .contains("\n  -> 10.0.0.3:80                  (null)  1")
    );
}

#[test]
fn destinations_of_both_families_are_sorted_by_their_first_word() {
    let lab = Lab::new();
    lab.set(&["-A -f 1"]);
    for server in ["1.2.3.4", "127.0.0.1", "2001::5", "::1", "2001::4"] {
        lab.set(&[&format!("-a -f 1 -r {server} -i")]);
    }
    let listed = lab.run("-Ln");
    let servers = listed.lines().filter_map(|line| line.strip_prefix("  -> "));
    let servers: Vec<_> = servers
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .collect();
    let expected = [
        "[::1]:0",
        "1.2.3.4:0",
        "[2001::4]:0",
        "[2001::5]:0",
        "127.0.0.1:0",
    ];
    assert_eq!(servers, expected);
}

#[test]
fn connections_timeouts_and_daemons() {
    let lab = Lab::new();
    lab.0.borrow_mut().connections = b"\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0A010002 C2D0 0A090001 0050 0A030002 0050 ESTABLISHED     899
"
    .to_vec();
    assert_eq!(
        lab.run("-Lnc"),
        "\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:59  ESTABLISHED 10.1.0.2:49872     10.9.0.1:80        10.3.0.2:80
"
    );
    assert_eq!(lab.run("-lcn"), lab.run("-L -c -n"));
    lab.set(&[
        "--set 0 30 0",
        "--start-daemon backup --syncid 5 --mcast-group ff02::5",
    ]);
    assert_eq!(
        lab.run("-L --timeout"),
        "Timeout (tcp tcpfin udp): 900 30 300\n"
    );
    assert_eq!(
        lab.run("-L --daemon"),
        "backup sync daemon (mcast=eth0, syncid=5, maxlen=1472, group=ff02::5, port=8848, ttl=1)\n"
    );
    lab.set(&["--stop-daemon backup"]);
    assert_eq!(lab.run("-L --daemon"), "");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    use std::io::Write;
    let mut director = MemoryDirector::new();
    let mut client = Client::new(Transport::local(move |datagram| {
        answer(datagram, &mut director)
    }));
    let (input, err) = (std::io::empty(), Closed);
    let mut run = Run {
        name: "ipvsadm",
        client: &mut client,
        input,
        out: Closed,
        err,
    };
    assert_eq!(run.line(&["-L".to_owned()]), Err(Failure::Closed));
    assert_eq!(Failure::Closed.code(), 141);
}

/// What a line prints, read as JSON.
fn json(lab: &Lab, line: &str) -> serde_json::Value {
    let text = lab.run(line);
    assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_listing_as_json() {
    use serde_json::json as value;
    let lab = Lab::new();
    lab.set(&[
        "-A -t 10.0.0.1:80 -s sh -b sh-port -p 60 -M 255.255.255.0",
        "-a -t 10.0.0.1:80 -r 10.0.0.2:80 -i --tun-type gue --tun-port 6080 --tun-csum -x 9",
        "-A -f 7 -6",
    ]);
    lab.0.borrow_mut().services[0].1[0].stats.in_bytes = 5_000_000_000;
    let nothing = value!({
        "connections": 0, "in_packets": 0, "out_packets": 0, "in_bytes": 0, "out_bytes": 0
    });
    let mut counted = nothing.clone();
    counted["in_bytes"] = value!(5_000_000_000u64);
    let web = value!({
        "family": "ipv4", "protocol": "tcp", "address": "10.0.0.1", "port": 80, "fwmark": null,
        "scheduler": "sh", "scheduler_flags": ["sh-port"],
        "persistence": {"timeout": 60, "netmask": "255.255.255.0"}, "engine": null,
        "one_packet": false, "stats": nothing, "rates": nothing,
        "destinations": [{
            "family": "ipv4", "address": "10.0.0.2", "port": 80, "forwarding": "tunnel",
            "tunnel": {"type": "gue", "port": 6080, "checksum": "yes"}, "weight": 1,
            "upper_threshold": 9, "lower_threshold": 0, "active_connections": 0,
            "inactive_connections": 0, "persistent_connections": 0,
            "stats": counted, "rates": nothing,
        }],
    });
    let marked = value!({
        "family": "ipv6", "protocol": null, "address": null, "port": null, "fwmark": 7,
        "scheduler": "wlc", "scheduler_flags": [], "persistence": null, "engine": null,
        "one_packet": false, "stats": nothing, "rates": nothing, "destinations": [],
    });
    let all = value!({
        "version": "1.2.1", "connection_table_size": 4096, "services": [web, marked],
    });
    for columns in [
        "",
        "-n",
        "--stats",
        "--rate --exact",
        "--thresholds",
        "--persistent-conn",
        "--tun-info",
    ] {
        assert_eq!(
            json(&lab, &format!("-L --json {columns}")),
            all,
            "{columns}"
        );
    }
    assert_eq!(
        json(&lab, "-L -t 10.0.0.1:80 --json"),
        value!({"services": [web]})
    );
    lab.0.borrow_mut().connections = b"\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
UDP 0A010002 C2D0 0A090001 0050 0A030002 0050 UDP         299 sip abc
"
    .to_vec();
    let expected = value!({"connections": [{
        "protocol": "udp", "state": "UDP", "expires": 299,
        "source": {"address": "10.1.0.2", "port": 49872},
        "virtual": {"address": "10.9.0.1", "port": 80},
        "destination": {"address": "10.3.0.2", "port": 80},
        "engine": "sip", "engine_data": "abc",
    }]});
    assert_eq!(json(&lab, "-Lc --json"), expected);
    lab.set(&["--start-daemon backup --syncid 5"]);
    let expected = value!({"daemons": [{
        "role": "backup", "interface": "eth0", "sync_id": 5, "max_length": 1472,
        "group": "224.0.0.81", "port": 8848, "ttl": 1,
    }]});
    assert_eq!(json(&lab, "-L --daemon --json"), expected);
    assert_eq!(
        json(&lab, "-L --timeout --json"),
        value!({"timeouts": {"tcp": 900, "tcp_fin": 120, "udp": 300}})
    );
    assert_eq!(
        lab.run("-S --json"),
        "! Illegal 'json' option with the 'save' command\n= 2\n"
    );
    assert_eq!(
        lab.run("-L -t 10.0.0.9:1 --json"),
        "! No such service\n= 1\n"
    );
}

#[test]
fn help_in_a_file_is_the_last_that_is_done() {
    let lab = Lab::new();
    let file = "-A -t 1.1.1.1:80\0x\n-v\n-A -t 1.1.1.1:81\n--nonsense\n";
    assert_eq!(lab.fed("-R", file), lab.run("-v"));
    assert_eq!(lab.run("-Sn"), "-A -t 1.1.1.1:80 -s wlc\n");
}

#[test]
fn of_a_last_line_without_an_end_two_blanks_take_all() {
    let lab = Lab::new();
    for (input, saved) in [
        ("-A -f 7", "-A -f 7 -s wlc\n"),
        ("-A -f 7 ", "-A -f 7 -s wlc\n"),
        ("-A -f 7  \n", "-A -f 7 -s wlc\n"),
        ("-A -f 7\n-A -f 8 \t", "-A -f 7 -s wlc\n"),
        ("-A -f 7\r\r", ""),
    ] {
        assert_eq!(lab.fed("-R", input), "", "{input:?}");
        assert_eq!(lab.run("-Sn"), saved, "{input:?}");
        lab.set(&["-C"]);
    }
}

/// Lines as `-R` may meet them: added and taken away, twice, to what is not there, wrong, with characters of print.
fn any_line() -> impl Strategy<Value = String> {
    let service = prop_oneof![Just("1.1.1.1:80"), Just("1.1.1.2:80"), Just("1.1.1.3:0")];
    (service, 1..5u8, 0..40u8).prop_map(|(service, server, kind)| match kind {
        0..8 => format!("-A -t {service}"),
        8..24 => format!("-a -t {service} -r 10.0.0.{server} -m -w {server}"),
        24 => format!("-d -t {service} -r 10.0.0.{server}"),
        25 => format!("-D -t {service}"),
        26 => format!("-e -t {service} -r 10.0.0.{server} -m -w 9"),
        27 => "-C".to_owned(),
        28 => "-Ln".to_owned(),
        29 => format!("-A -t {service} -s nothing"),
        30 => format!("-a -t {service} -r 10.0.0.{server} -m -x 1 -y 2"),
        31 => format!("\u{2013}A -t {service}"),
        32 => "-Sn".to_owned(),
        33 => "-Z".to_owned(),
        34 => format!("-a -t {service} -r 10.0.0.{server} --nonsense"),
        35 => "#".to_owned(),
        _ => String::new(),
    })
}

proptest! {
    #[test]
    fn lines_that_go_together_do_and_say_what_each_alone_does(
        lines in proptest::collection::vec(any_line(), 0..40),
    ) {
        let text = lines.join("\n");
        let (together, alone) = (Lab::new(), Lab::new());
        prop_assert_eq!(together.fed("-R", &text), alone.fed_as_kernel("-R", &text));
        let state = |lab: &Lab| format!("{:?}", lab.0.borrow().services);
        prop_assert_eq!(state(&together), state(&alone));
    }
}

/// Whoever writes lines into a pipe sees each done before the next is there.
#[test]
fn lines_do_not_wait_for_those_that_have_not_come() {
    struct Slow<'a>(&'a Lab, Vec<&'static str>, usize);

    impl std::io::Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            assert_eq!(
                self.0.0.borrow().services.len(),
                self.2,
                "what came is done"
            );
            let Some(line) = self.1.pop() else {
                return Ok(0);
            };
            self.2 += line.lines().count();
            buffer[..line.len()].copy_from_slice(line.as_bytes());
            Ok(line.len())
        }
    }

    let lab = Lab::new();
    let director = Rc::clone(&lab.0);
    let mut client = Client::new(Transport::local(move |datagram| {
        answer(datagram, &mut *director.borrow_mut())
    }));
    let lines = vec![
        "-A -t 1.1.1.4:80\n",
        "-A -t 1.1.1.2:80\n-A -t 1.1.1.3:80\n",
        "-A -t 1.1.1.1:80\n",
    ];
    let mut run = Run {
        name: "ipvsadm",
        client: &mut client,
        input: std::io::BufReader::new(Slow(&lab, lines, 0)),
        out: Vec::new(),
        err: Vec::new(),
    };
    assert!(run.line(&["-R".to_owned()]).is_ok());
    assert_eq!(lab.0.borrow().services.len(), 4);
}
