//! Health checks that go the way of clients: through the virtual address, to servers that answer past the director. Needs root.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lvsx_host::{ForwardingMethod, bpf};
use lvsx_lab::topology::{DIRECTOR, SERVERS};
use lvsx_lab::{Blueprint, Lab, Mode, Narrator, tutorial};

/// The user that the tests' lvsx-check becomes; every Debian has it.
const USER: &str = "nobody";
/// How long a change of weights may take on a busy machine; the checks need less than a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for any check to have failed twice, or to have succeeded twice.
const CHECKS: Duration = Duration::from_millis(1500);

/// Checks of both kinds that a virtual address can be asked by, and one of the servers' own addresses.
const CONFIG: &str = r#"
[process]
user = "nobody"
[check.web]
type = "http"
regex = "^192"
interval = "200ms"
timeout = "400ms"
rise = 2
fall = 2
[check.own]
type = "http"
at = "server"
port = 80
interval = "200ms"
timeout = "400ms"
rise = 2
fall = 2
[check.echo]
type = "udp"
expect = ""
interval = "200ms"
timeout = "400ms"
rise = 2
fall = 2
[[service]]
service = "tcp 192.168.1.40:80"
check = "web"
panic = 100
[[service]]
service = "tcp 192.168.1.40:0"
check = "own"
panic = 100
[[service]]
service = "udp 192.168.1.40:7"
check = "echo"
panic = 100
"#;

/// Answers every datagram.
const ECHO: &str = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('192.168.1.40', 7))\nwhile True:\n    data, peer = s.recvfrom(99)\n    s.sendto(data, peer)\n";

/// By tunnel and by direct routing in one lab, in XDP, since each takes seconds to build.
#[test]
fn a_server_that_lost_its_virtual_address_is_found_dead_though_its_own_answers() -> Result<()> {
    let begin = Instant::now();
    let mut lab = build()?;
    eprintln!("a lab after {:?}", begin.elapsed());
    follow(&mut lab).with_context(|| {
        let log = std::fs::read_to_string(lab.folder().log("check")).unwrap_or_default();
        format!("log of lvsx-check:\n{log}")
    })
}

fn build() -> Result<Lab> {
    let method = ForwardingMethod::Tunnel;
    let blueprint = Blueprint {
        method: Some(method),
        mode: Mode::Xdp,
        binary: env!("CARGO_BIN_EXE_lvsx").into(),
        object: bpf::OBJECT,
    };
    let silent = Narrator::silent();
    let mut lab = Lab::build(blueprint, &silent)?;
    lab.let_set_weights(USER);
    lab.start_everything(&silent)?;
    let mut lines: Vec<String> = tutorial::script(method)
        .iter()
        .map(|line| (*line).to_owned())
        .collect();
    lines.push("ipvsadm -At 192.168.1.40:0 -s rr -p".to_owned());
    lines.push("ipvsadm -Au 192.168.1.40:7 -s rr".to_owned());
    for last in [46, 47] {
        lines.push(format!("ipvsadm -at 192.168.1.40:0 -r 192.168.1.{last} -g"));
        lines.push(format!(
            "ipvsadm -au 192.168.1.40:7 -r 192.168.1.{last}:7 -g"
        ));
    }
    lab.director()?.run(&lines.join(" && "))?.success()?;
    for server in SERVERS {
        lab.start(server, "python3", &["-c", ECHO], &format!("echo-{server}"))?;
    }
    std::fs::write(lab.folder().path().join("lvsx.toml"), CONFIG)?;
    lab.start(DIRECTOR, "lvsx-check", &["--config", "lvsx.toml"], "check")?;
    Ok(lab)
}

fn follow(lab: &mut Lab) -> Result<()> {
    let [first, _] = SERVERS;
    let find = "ip -o -4 addr show to 192.168.1.40 | awk '{print $2}'";
    let device = lab.host(first)?.run(find)?.success()?;
    let device = device.trim();
    // Healthy servers stay: both kinds of checks come back through the director's own stack.
    sleep(CHECKS);
    ensure!(weights(lab)? == [[1, 1]; 3], "{:?}", weights(lab)?);
    let lose = format!("ip addr del 192.168.1.40/32 dev {device}");
    lab.host(first)?.run(&lose)?.success()?;
    // Its own address answers all the while, and so it stays in the service that is asked there.
    until(lab, [[0, 1], [1, 1], [0, 1]])?;
    // A check of it finds it again at weight 0, also where the director would schedule what goes to such a server anew.
    lab.director()?
        .run("lvsx sysctl -w net.ipv4.vs.expire_nodest_conn=1")?
        .success()?;
    let back = format!("ip addr add 192.168.1.40/32 dev {device}");
    lab.host(first)?.run(&back)?.success()?;
    until(lab, [[1, 1]; 3])?;
    // What checks open is gone soon after them.
    let listed = lab.director()?.run("ipvsadm -Lnc | wc -l")?.success()?;
    let connections: usize = listed.trim().parse()?;
    ensure!(
        connections < 60,
        "{connections} connections are left of checks"
    );
    Ok(())
}

fn until(lab: &Lab, wanted: [[u32; 2]; 3]) -> Result<()> {
    let begin = Instant::now();
    while weights(lab)? != wanted {
        ensure!(
            begin.elapsed() < PATIENCE,
            "weights are {:?}, not {wanted:?}",
            weights(lab)?
        );
        sleep(Duration::from_millis(20));
    }
    sleep(CHECKS / 3);
    ensure!(weights(lab)? == wanted, "{:?}", weights(lab)?);
    Ok(())
}

/// The weights of both servers in the three services, in the order of [`CONFIG`].
fn weights(lab: &Lab) -> Result<[[u32; 2]; 3]> {
    let listing = lab.director()?.run("ipvsadm -Sn")?.success()?;
    let weight = |service: &str, server: u32| -> Result<u32> {
        let start = format!("-a {service} -r 192.168.1.{server}:");
        let line = listing.lines().find(|line| line.starts_with(&start));
        let words = line.with_context(|| format!("{start} in\n{listing}"))?;
        let mut words = words
            .split_ascii_whitespace()
            .skip_while(|word| *word != "-w");
        Ok(words.nth(1).context("a weight")?.parse()?)
    };
    let both =
        |service: &str| -> Result<[u32; 2]> { Ok([weight(service, 46)?, weight(service, 47)?]) };
    Ok([
        both("-t 192.168.1.40:80")?,
        both("-t 192.168.1.40:0")?,
        both("-u 192.168.1.40:7")?,
    ])
}
