//! Who may speak to lvsd, and who may not: other users, containers, somebody on lvsd's port. And what anybody may read: the
//! files of `--proc`.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};
use support::scene::{configure, service};
use support::{Space, in_namespace};

/// Debian's own; its package comes with `cargo xtask setup`.
const PYTHON: &str = "/usr/bin/python3";
/// Another user.
const NOBODY: &str = "setpriv --reuid 65534 --clear-groups";

/// Tries both ways to lvsd and says what came of each: the answer's length, or the error.
const INTRUDER: &str = r#"
import errno, socket, struct, sys
port, path = int(sys.argv[1]), sys.argv[2]
# GET_INFO, and FLUSH.
def request(command):
    return struct.pack("=IHHII", 20, 0x4950, 5, 1, 0) + bytes([command, 1, 0, 0])
def tried(attempt):
    try:
        return attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno, error)
def by_netlink(command):
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    made.settimeout(5)
    made.sendto(request(command), (port, 0))
    return len(made.recv(4096))
def by_unix(command):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.settimeout(5)
    made.connect(path)
    made.send(request(command))
    return len(made.recv(4096))
print(*(tried(lambda: way(command)) for command in (15, 17) for way in (by_netlink, by_unix)))
"#;

/// What becomes of the intruder that is started so.
fn intruder(space: &Space, surroundings: &str) -> String {
    let line = format!(
        "{surroundings} {PYTHON} -c \"$SCRIPT\" {} {}",
        space.port(),
        space.socket().display()
    );
    let output = Command::new("sh")
        .args(["-c", &line])
        .env("SCRIPT", INTRUDER)
        .output()
        .expect("sh runs");
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Somebody without rights at the port of a dead lvsd, who answers what comes.
const SQUATTER: &str = r#"
import errno, socket, sys
made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
made.settimeout(5)
made.bind((int(sys.argv[1]), 0))
print("bound", flush=True)
request, client = made.recvfrom(4096)
try:
    made.sendto(request, client)
    print("answered")
except OSError as error:
    print(errno.errorcode[error.errno])
"#;

#[test]
fn who_may_ask() {
    in_namespace(|space| {
        let exported = space.run_dir.join("exported");
        let lvsd = space.lvsd(&[
            "--connections",
            "1000",
            "--proc",
            &exported.to_string_lossy(),
        ]);
        let begin = Instant::now();
        let mut client = space.client();
        configure(&mut client);

        // Another user: neither by the kernel nor by the folder.
        assert_eq!(intruder(space, NOBODY), "EPERM EACCES EPERM EACCES");
        // A container's root, who has all capabilities in a user namespace of its own: in this network namespace, and in one
        // of its own, where lvsd is not.
        let container = format!("{NOBODY} unshare --user --map-root-user");
        assert_eq!(intruder(space, &container), "EPERM EACCES EPERM EACCES");
        let container = format!("{container} --net");
        assert_eq!(
            intruder(space, &container),
            "ECONNREFUSED EACCES ECONNREFUSED EACCES"
        );
        // Even where folder and socket were opened to all, lvsd hangs up on others.
        for (path, mode) in [(space.folder(), 0o755), (space.socket(), 0o666)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        }
        let told = intruder(space, NOBODY);
        let words: Vec<&str> = told.split(' ').collect();
        assert!(
            words
                .iter()
                .skip(1)
                .step_by(2)
                .all(|word| ["0", "EPIPE", "ECONNRESET"].contains(word)),
            "{told}"
        );
        assert!(client.service(&service()).is_ok(), "nothing was flushed");
        // Root without CAP_NET_ADMIN by the socket alone; a user with it by netlink alone, as with the kernel.
        fs::set_permissions(space.folder(), fs::Permissions::from_mode(0o700)).expect("it is ours");
        let weak_root = "setpriv --bounding-set -net_admin --inh-caps -net_admin";
        let flushed = intruder(space, weak_root);
        assert_eq!(flushed, "EPERM 36 EPERM 36");
        assert!(client.service(&service()).is_err());
        configure(&mut client);
        let keeper = format!("{NOBODY} --inh-caps +net_admin --ambient-caps +net_admin");
        assert_eq!(intruder(space, &keeper), "36 EACCES 36 EACCES");
        assert!(client.service(&service()).is_err());
        configure(&mut client);

        // The files are for all to read, and as the director tells them.
        let read = |name: &str| fs::read(exported.join("net").join(name)).unwrap_or_default();
        while read("ip_vs") != client.proc_text("ip_vs").expect("a text") {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "{:?}",
                read("ip_vs")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        for name in ["ip_vs_stats", "ip_vs_stats_percpu", "ip_vs_conn"] {
            assert_eq!(
                read(name),
                client.proc_text(name).expect("a text"),
                "{name}"
            );
        }
        let port = space.port();
        assert_eq!(lvsd.terminate(), Some(0));
        assert_eq!(
            fs::read_dir(exported.join("net"))
                .expect("the folder")
                .count(),
            0
        );

        // Who takes the port of a dead lvsd gets requests, but nobody gets answers.
        let line = format!("{NOBODY} {PYTHON} -c \"$SCRIPT\" {port}");
        let mut squatter = Command::new("sh")
            .args(["-c", &line])
            .env("SCRIPT", SQUATTER)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut told = std::io::BufReader::new(squatter.stdout.take().expect("it is piped"));
        let mut word = || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut told, &mut line).expect("text");
            line.trim().to_owned()
        };
        assert_eq!(word(), "bound");
        let mut transport = lvsx_ipvs::Transport::director_port(port).expect("a socket");
        transport
            .send(&lvsx_ipvs::Request::Info.encode(0x4950, 1))
            .expect("somebody is there");
        assert_eq!(word(), "EPERM");
        squatter.wait().expect("it ends");
    });
}
