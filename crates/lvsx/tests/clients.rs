//! Programs that know only the kernel's IPVS, unmodified, on lvsd: Debian's ipvsadm and pyroute2, static ones and those of Go;
//! and what becomes of them where lvsd is not there, or they have not the right. Needs root.

mod common;
mod supervised;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::{connect, counters, tutorial};
use lvsx_host::ForwardingMethod::Masquerade;
use lvsx_lab::host::Finished;
use lvsx_lab::{Lab, Mode, Narrator, client};

const IPVSADM: &str = "/usr/sbin/ipvsadm";
/// Debian's own: others come without its packages.
const PYTHON: &str = "/usr/bin/python3";

/// Without `CAP_NET_ADMIN`, and as a user who is not root.
const WEAK_ROOT: &str = "setpriv --bounding-set -net_admin --inh-caps -net_admin";
const NOBODY: &str = "setpriv --reuid 65534 --clear-groups";
/// A user with `CAP_NET_ADMIN`, as a service manager makes them.
const NET_ADMIN: &str =
    "setpriv --reuid 65534 --clear-groups --inh-caps +net_admin --ambient-caps +net_admin";

/// A program on the director, carried to lvsd.
fn carried(lab: &Lab, line: &str) -> Result<Finished> {
    lab.director()?.run(&format!("lvsx run -- {line}"))
}

fn debian(lab: &Lab, arguments: &str) -> Result<String> {
    carried(lab, &format!("{IPVSADM} {arguments}"))?
        .success()
        .with_context(|| format!("ipvsadm {arguments}"))
}

fn ours(lab: &Lab, arguments: &str) -> Result<String> {
    lab.director()?
        .run(&format!("ipvsadm {arguments}"))?
        .success()
}

#[test]
fn clients_of_the_kernel_are_served() -> Result<()> {
    for (tool, package) in [(IPVSADM, "ipvsadm"), (PYTHON, "python3")] {
        ensure!(
            Path::new(tool).exists(),
            "{package} is missing; `cargo xtask setup` installs it"
        );
    }
    let mut lab = tutorial(Masquerade, Mode::Tc)?;
    listings_are_the_same(&lab)?;
    every_change_is_made(&lab)?;
    pyroute2_is_served(&lab)?;
    rights_are_those_of_the_kernel(&lab)?;
    made_up_answers_are_dropped(&lab)?;
    let client = supervised::Client::compile()?;
    supervised::a_static_program_is_served(&lab, &client)?;
    a_restart_is_waited_for(&mut lab, &client)?;
    what_waits_without_limit_ends_with_lvsd(&lab)?;
    without_lvsd_it_ends(&mut lab)
}

#[test]
#[ignore = "Go takes long to install: `cargo xtask go` does that, and runs this"]
fn programs_of_go_are_served() -> Result<()> {
    supervised::a_program_of_go_is_served(&tutorial(Masquerade, Mode::Tc)?)
}

/// Both programs on the same table, with connections in it.
fn listings_are_the_same(lab: &Lab) -> Result<()> {
    let idle = connect(lab)?;
    for _ in 0..3 {
        client::page(connect(lab)?)?;
    }
    for arguments in [
        "-Ln",
        "-L",
        "-Ln --stats --exact",
        "-Ln --thresholds",
        "-Ln --persistent-conn",
        "-Ln --rate",
        "-L --timeout",
        "-Sn",
        "-S",
    ] {
        assert_eq!(
            debian(lab, arguments)?,
            ours(lab, arguments)?,
            "{arguments}"
        );
    }
    assert_eq!(counters(lab)?.counters.connections, 4);
    // The seconds that are left run.
    let without_times = |text: String| -> Vec<Vec<String>> {
        let words = |line: &str| line.split_ascii_whitespace().map(str::to_owned).collect();
        let mut lines: Vec<Vec<String>> = text.lines().map(words).collect();
        lines
            .iter_mut()
            .skip(2)
            .for_each(|line| drop(line.remove(1)));
        lines
    };
    let listed = without_times(debian(lab, "-Lnc")?);
    assert_eq!(listed, without_times(ours(lab, "-Lnc")?));
    assert_eq!(listed.len(), 2 + 4);
    for name in ["ip_vs", "ip_vs_app", "ip_vs_stats_percpu"] {
        let path = format!("/proc/net/{name}");
        let read = carried(
            lab,
            &format!("cat {path} {}", path.replace("net", "self/net")),
        )?
        .success()?;
        assert_eq!(read.len() % 2, 0);
        let looked = format!("sh -c 'test -r {path} && stat -c %A:%U:%s {path} && ls {path}'");
        let wanted = format!("-r--r--r--:root:0\n{path}\n");
        assert_eq!(carried(lab, &looked)?.success()?, wanted);
        assert_eq!(read[..read.len() / 2], read[read.len() / 2..]);
        assert!(
            lab.director()?
                .run(&format!("cat {path}"))?
                .success()
                .is_err(),
            "the kernel has {name}"
        );
    }
    drop(idle);
    Ok(())
}

/// What one program changes the other lists; refusals are told as on the kernel.
fn every_change_is_made(lab: &Lab) -> Result<()> {
    for change in [
        "-A -t 192.0.2.1:80 -s wrr -p 360 -M 255.255.255.0",
        "-A -f 7 -s sh -b sh-port",
        "-A -t [2001:db8::1]:80 -s lc",
        "-A -u 192.0.2.1:53 -s rr -M 255.255.0.0 -o",
        "-a -t 192.0.2.1:80 -r 192.168.1.46:8080 -m -w 3 -x 9 -y 4",
        "-a -t 192.0.2.1:80 -r 192.168.1.47 -i --tun-type gue --tun-port 6080",
        // An IPv4 server of an IPv6 service: what stands behind its address is left over from the service's.
        "-a -t [2001:db8::1]:80 -r 192.168.1.46:80 -i",
        "-e -t [2001:db8::1]:80 -r 192.168.1.46:80 -i -w 5",
        "-E -t 192.0.2.1:80 -s wlc",
        "-e -t 192.0.2.1:80 -r 192.168.1.46:8080 -m -w 0",
        "--set 100 20 30",
        "-Z",
        "-Z -t 192.0.2.1:80",
    ] {
        debian(lab, change)?;
    }
    let saved = debian(lab, "-Sn")?;
    assert_eq!(saved, ours(lab, "-Sn")?);
    assert!(
        saved.contains("-a -t [2001:db8::1]:80 -r 192.168.1.46:80 -i -w 5"),
        "{saved}"
    );
    assert_eq!(
        debian(lab, "-L --timeout")?,
        "Timeout (tcp tcpfin udp): 100 20 30\n"
    );
    for (wrong, message, code) in [
        ("-A -t 192.0.2.1:80", "Service already exists\n", 255),
        ("-D -t 192.0.2.9:80", "No such service\n", 255),
        (
            "-a -t 192.0.2.9:80 -r 192.0.2.2",
            "Service not defined\n",
            255,
        ),
        (
            "-d -t 192.0.2.1:80 -r 192.0.2.2",
            "No such destination\n",
            255,
        ),
        (
            "-A -t 192.0.2.3:80 -s nosuch",
            "Scheduler or persistence engine not found\n",
            255,
        ),
        ("--stop-daemon backup", "No daemon is running\n", 255),
    ] {
        let refused = carried(lab, &format!("{IPVSADM} {wrong}"))?;
        assert_eq!(
            (refused.stderr.as_str(), refused.status.code()),
            (message, Some(code)),
            "{wrong}"
        );
    }
    debian(lab, "-d -t 192.0.2.1:80 -r 192.168.1.47")?;
    debian(lab, "-D -f 7")?;
    // Cleared and restored by the programs of its package, a shell script that starts it among them.
    lab.director()?
        .run(&format!(
            "lvsx run -- {IPVSADM} -Sn > saved && lvsx run -- {IPVSADM} -C"
        ))?
        .success()?;
    assert_eq!(ours(lab, "-Sn")?, "");
    lab.director()?
        .run("lvsx run -- /usr/sbin/ipvsadm-restore < saved")?
        .success()?;
    let kept = lab.director()?.run("cat saved")?.success()?;
    assert_eq!(carried(lab, "/usr/sbin/ipvsadm-save -n")?.success()?, kept);
    // What these lines lose (thresholds, timeouts, a mask without persistence), those of `lvsx save` give it to keep.
    debian(lab, "-E -u 192.0.2.1:53 -s rr -M 255.255.0.0 -o")?;
    debian(
        lab,
        "-e -t 192.0.2.1:80 -r 192.168.1.46:8080 -m -w 0 -x 9 -y 4",
    )?;
    lab.director()?
        .run(
            "set -e
            lvsx save > all
            grep -q -- '-x 9 -y 4' all
            ipvsadm --set 1 1 1
            lvsx run -- /usr/sbin/ipvsadm-restore < all
            lvsx save | cmp - all",
        )?
        .success()?;
    Ok(())
}

const PYROUTE2: &str = r#"
from socket import IPPROTO_TCP
from pyroute2 import IPRoute, IPVS, IPVSDest, IPVSService
from pyroute2.netlink.exceptions import NetlinkError
ipvs = IPVS()
service = IPVSService(addr="192.0.2.5", port=80, protocol=IPPROTO_TCP)
ipvs.service("add", service=service)
for last in (6, 7):
    ipvs.dest("add", service=service, dest=IPVSDest(addr=f"192.0.2.{last}", port=80, weight=last))
ipvs.dest("del", service=service, dest=IPVSDest(addr="192.0.2.7", port=80))
try:
    ipvs.service("add", service=service)
except NetlinkError as error:
    print("error", error.code)
for found in ipvs.service("dump"):
    found = IPVSService.from_message(found)
    if found.get("addr") == "192.0.2.5":
        for dest in ipvs.dest("dump", service=found):
            dest = IPVSDest.from_message(dest)
            print("dest", dest["addr"], dest["port"], dest["weight"])
ipvs.service("del", service=service)
# Other families are the kernel's still.
print("links", any(link.get_attr("IFLA_IFNAME") == "lo" for link in IPRoute().get_links()))
"#;

fn pyroute2_is_served(lab: &Lab) -> Result<()> {
    let script = lab.folder().path().join("services.py");
    std::fs::write(&script, PYROUTE2)?;
    let line = format!("{PYTHON} {}", script.display());
    let wanted = "error 17\ndest 192.0.2.6 80 6\nlinks True\n";
    let told = carried(lab, &line)?
        .success()
        .context("pyroute2 (`cargo xtask setup` installs it)")?;
    assert_eq!(told, wanted);
    // By the Unix socket, which takes the place of one that it already waits for.
    let told = lab
        .director()?
        .run(&format!("{WEAK_ROOT} lvsx run -- {line}"))?;
    assert_eq!(told.success()?, wanted);
    Ok(())
}

/// By netlink whoever has `CAP_NET_ADMIN` may all, as the kernel has it, by the Unix socket root; others may nothing.
fn rights_are_those_of_the_kernel(lab: &Lab) -> Result<()> {
    let director = lab.director()?;
    let listing = debian(lab, "-Ln")?;
    let weak = director.run(&format!("{WEAK_ROOT} lvsx run -- {IPVSADM} -Ln"))?;
    assert_eq!(weak.success()?, listing);
    let weak = director.run(&format!("{WEAK_ROOT} lvsx run -- cat /proc/net/ip_vs"))?;
    assert!(weak.success()?.contains("IP Virtual Server"));
    let service = director.run(&format!("{NET_ADMIN} lvsx run -- {IPVSADM} -Ln"))?;
    assert_eq!(service.success()?, listing);
    let refused = director.run(&format!("{NOBODY} lvsx run -- {IPVSADM} -C"))?;
    let message = "Can't initialize ipvs: Permission denied (you must be root)\n";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
    assert_eq!(refused.status.code(), Some(2));
    let refused = director.run(&format!("{NOBODY} lvsx run -- cat /proc/net/ip_vs"))?;
    assert!(
        refused.stderr.contains("Permission denied") && refused.stdout.is_empty(),
        "{}",
        refused.stderr
    );
    assert_eq!(debian(lab, "-Ln")?, listing);
    Ok(())
}

/// A client of lvsd, to which somebody else sends an answer first: an error for the same request.
const MADE_UP: &str = r#"
import socket, struct
def generic():
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    made.bind((0, 0))
    return made
client, other = generic(), generic()
port = client.getsockname()[0]
def lookup(sequence, flags=5):
    name = struct.pack("=HH", 9, 2) + b"IPVS\0\0\0\0"
    return struct.pack("=IHHII", 20 + len(name), 16, flags, sequence, port) + b"\3\1\0\0" + name
client.send(lookup(1))
client.recv(4096), client.recv(4096)
other.sendto(struct.pack("=IHHIIi", 36, 2, 0, 2, port, -1) + lookup(2)[:16], (port, 0))
client.send(lookup(2))
answers = [client.recvmsg(4096), client.recvmsg(4096)]
print([(answer[0][4], answer[3]) for answer in answers])
"#;

fn made_up_answers_are_dropped(lab: &Lab) -> Result<()> {
    let script = lab.folder().path().join("made-up.py");
    std::fs::write(&script, MADE_UP)?;
    let told = carried(lab, &format!("{PYTHON} {}", script.display()))?.success()?;
    // The family and the acknowledgement, both as if from the kernel.
    assert_eq!(told, "[(16, (0, 0)), (2, (0, 0))]\n");
    Ok(())
}

/// A request in the time between two lvsd is answered by the second.
fn a_restart_is_waited_for(lab: &mut Lab, client: &supervised::Client) -> Result<()> {
    let before = debian(lab, "-Sn")?;
    lab.kill_director()?;
    // Longer than a busy machine takes to start lvsd; each try waits for some seconds.
    let ask = |line: String| -> Result<_> {
        let director = lab.director()?;
        let tries = format!("for i in 1 2 3 4 5; do {line} && exit; done 2>/dev/null; exit 1");
        Ok(std::thread::spawn(move || director.run(&tries)))
    };
    let asking = ask(format!("lvsx run -- {IPVSADM} -Sn"))?;
    let supervised = ask(format!("lvsx run -- {client} family"))?;
    std::thread::sleep(Duration::from_millis(200));
    lab.start_director(&Narrator::silent())?;
    let told = asking.join().expect("no panic")?;
    assert_eq!(told.success()?, before);
    let told = supervised.join().expect("no panic")?;
    assert!(told.success()?.ends_with("family 4950\n"));
    Ok(())
}

/// A client that has lvsd killed before it reads a request, and then waits for the answers in each way that there is; another
/// descriptor is told of all the same.
const KILLED: &str = r#"
import ctypes, errno, os, select, signal, socket, struct, time
def generic(blocking):
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    made.bind((0, 0))
    made.setblocking(blocking)
    return made
def lookup(made):
    name = struct.pack("=HH", 9, 2) + b"IPVS\0\0\0\0"
    port = made.getsockname()[0]
    made.send(struct.pack("=IHHII", 20 + len(name), 16, 5, 1, port) + b"\3\1\0\0" + name)
def told(made):
    try:
        return made.recv(4096)
    except OSError as error:
        return errno.errorcode[error.errno]
polled, ppolled, selected, watched, other = [generic(blocking) for blocking in (True, True, False, False, False)]
cookie = struct.unpack("=Q", polled.getsockopt(socket.SOL_SOCKET, 71, 8))[0]
lvsd = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
lvsd.connect(f"{os.environ.get('LVSX_RUN_DIR', '/run/lvsx')}/{cookie}/director.sock")
lvsd = struct.unpack("=iII", lvsd.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
epoll = select.epoll()
for made in (watched, other):
    epoll.register(made, select.EPOLLIN)
epoll.unregister(other)
os.kill(lvsd, signal.SIGSTOP)
for made in (polled, ppolled, selected, watched, other):
    lookup(made)
os.kill(lvsd, signal.SIGKILL)
begin = time.monotonic()
pipe, end = os.pipe()
os.write(end, b"x")
poll = select.poll()
poll.register(polled, select.POLLIN)
print("before", poll.poll(100), select.select([selected], [], [], 0.1), epoll.poll(0.1), told(selected))
poll.register(pipe, select.POLLIN)
print("pipe", poll.poll() == [(pipe, select.POLLIN)], select.select([pipe, selected], [], [])[0] == [pipe])
poll.unregister(pipe)
print("soon", time.monotonic() - begin < 2)
print("poll", poll.poll() == [(polled.fileno(), select.POLLIN)], told(polled))
class Pollfd(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]
asked = Pollfd(ppolled.fileno(), select.POLLIN, 0)
print("ppoll", ctypes.CDLL(None).ppoll(ctypes.byref(asked), 1, None, None), asked.revents, told(ppolled))
print("select", select.select([pipe, selected], [], [], 60)[0] == [pipe], select.select([selected], [], [], 60)[0] == [selected], told(selected))
print("epoll", epoll.poll() == [(watched.fileno(), select.EPOLLIN)], told(watched), epoll.poll(0.1))
print("late", 4 < time.monotonic() - begin < 8)
"#;

fn what_waits_without_limit_ends_with_lvsd(lab: &Lab) -> Result<()> {
    let script = lab.folder().path().join("killed.py");
    std::fs::write(&script, KILLED)?;
    let line = format!("timeout 30 lvsx run -- {PYTHON} {}", script.display());
    let told = lab.director()?.run(&line)?.success()?;
    let wanted = "\
before [] ([], [], []) [] EAGAIN
pipe True True
soon True
poll True ETIMEDOUT
ppoll 1 1 ETIMEDOUT
select True True ETIMEDOUT
epoll True ETIMEDOUT []
late True
";
    assert_eq!(told, wanted);
    Ok(())
}

/// A dead lvsd is not replaced by the kernel, nor is it waited for without end; a director that was ended is none.
fn without_lvsd_it_ends(lab: &mut Lab) -> Result<()> {
    lab.kill_director()?;
    let begin = Instant::now();
    let failed = carried(lab, &format!("{IPVSADM} -Ln"))?;
    assert_eq!(failed.status.code(), Some(2));
    assert!(
        failed
            .stderr
            .contains("Can't initialize ipvs: Protocol not available"),
        "{}",
        failed.stderr
    );
    assert!(
        begin.elapsed() > Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    lab.director()?
        .run("lvsx lvsd --stop-forwarding")?
        .success()?;
    let begin = Instant::now();
    let failed = carried(lab, &format!("{IPVSADM} -Ln"))?;
    assert_eq!(failed.status.code(), Some(2));
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    Ok(())
}
