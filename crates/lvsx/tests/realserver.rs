//! `lvsx realserver` as a person types it, in a namespace of the test's own. Needs root.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use std::{fs, thread};

use nix::sched::{CloneFlags, unshare};

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lvsx"));
    command
        .arg("realserver")
        .args(arguments.split_ascii_whitespace());
    command
}

fn realserver(arguments: &str) -> Output {
    command(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs shell text, which must succeed.
fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    text(&output.stdout)
}

fn on_a_server(work: impl FnOnce() + Send + 'static) {
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("this test makes network namespaces: run it as root");
        sh("ip link set lo up; ip link add eth0 type veth peer name peer0; ip link set eth0 up; ip link set peer0 up
            ip addr add 192.168.1.46/24 dev eth0; ip route add default via 192.168.1.1");
        work();
    };
    thread::spawn(inside).join().unwrap();
}

fn state() -> String {
    sh(
        "ip -4 addr; ip -4 route show table all; sysctl -a --pattern 'net.ipv4.conf'; tc qdisc; tc filter show dev eth0 ingress",
    )
}

#[test]
fn a_server_is_set_up_checked_and_taken_back() {
    on_a_server(|| {
        let before = state();
        let up = "up --mode dr --vip 192.168.1.40";
        let dry = realserver(&format!("{up} --dry-run"));
        assert!(dry.status.success(), "{dry:?}");
        assert_eq!(state(), before);
        assert_eq!(
            realserver("check --mode dr --vip 192.168.1.40")
                .status
                .code(),
            Some(4)
        );

        // The lines that were shown are commands that do the same.
        let done = realserver(up);
        assert!(done.status.success(), "{done:?}");
        let by_us = state();
        assert_eq!(realserver("check").status.code(), Some(0));
        let down = realserver("down --mode dr --vip 192.168.1.40");
        assert!(down.status.success(), "{down:?}");
        assert_eq!(state(), before);
        sh(&text(&dry.stdout));
        assert_eq!(state(), by_us);
        sh(&text(&down.stdout));
        assert_eq!(state(), before);

        let idle = realserver("down");
        assert!(
            idle.status.success() && text(&idle.stdout).contains("nothing"),
            "{idle:?}"
        );
    });
}

/// The output is a pipe that nobody reads on: after so many lines `up` waits in a write, and is killed there.
#[test]
fn down_restores_after_up_was_killed() {
    on_a_server(|| {
        let before = state();
        for lines in [1, 3, 6] {
            let (ours, theirs) = nix::unistd::pipe().unwrap();
            let page = nix::fcntl::fcntl(&theirs, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap()
                as usize;
            // Full but for what those lines take: none is longer than 120 bytes, none shorter than 60.
            let filling = vec![b'\n'; page - lines * 100];
            nix::unistd::write(&theirs, &filling).unwrap();
            let mut child = command("up --mode tun --vip 192.168.1.40 --bpf")
                .stdout(Stdio::from(theirs))
                .process_group(0)
                .spawn()
                .unwrap();
            // It sleeps in `pipe_write` once the pipe is full.
            let waits = format!("/proc/{}/wchan", child.id());
            for _ in 0..500 {
                if fs::read_to_string(&waits).is_ok_and(|place| place.contains("pipe_write")) {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
            assert!(
                child.try_wait().unwrap().is_none(),
                "it was not stopped by the pipe"
            );
            child.kill().unwrap();
            child.wait().unwrap();
            let mut shown = String::new();
            fs::File::from(ours).read_to_string(&mut shown).unwrap();
            let shown = shown.lines().filter(|line| !line.is_empty()).count();
            assert!((1..11).contains(&shown), "{shown} lines");
            assert_ne!(state(), before);
            assert_eq!(realserver("check").status.code(), Some(4), "it is half-way");

            let down = realserver("down");
            assert!(down.status.success(), "{down:?}");
            assert_eq!(state(), before, "killed after {shown} steps");
        }
        // A half-applied set-up is completed by another `up`.
        sh(
            "sysctl -qw net.ipv4.conf.all.arp_ignore=1; ip addr add 192.168.1.40/32 dev lo label lo:0",
        );
        let half = state();
        assert!(
            realserver("up --mode dr --vip 192.168.1.40")
                .status
                .success()
        );
        assert_eq!(realserver("check").status.code(), Some(0));
        assert!(realserver("down").status.success());
        assert_eq!(state(), half, "what was there before stays");
    });
}

#[test]
fn bad_input_is_refused_with_the_cure() {
    on_a_server(|| {
        let before = state();
        for (arguments, code, part) in [
            ("up --mode dr", 2, "--vip is missing"),
            ("up --mode dr --vip 192.168.1.46", 1, "own address, on eth0"),
            (
                "up --mode tun --vip 192.168.1.40 --iface eht0",
                1,
                "there are: lo, peer0, eth0",
            ),
            (
                "up --mode nat --vip 8.8.8.8 --gateway 10.0.0.1",
                1,
                "192.168.1.46/24",
            ),
            ("check", 1, "--mode and --vip"),
        ] {
            let output = realserver(arguments);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{arguments}: {error}");
            assert!(error.contains(part), "{arguments}: {error}");
        }
        let nobody = command("up --mode dr --vip 192.168.1.40")
            .uid(65534)
            .gid(65534)
            .output();
        // Where the binary lies, somebody else may not even be allowed to start it.
        if let Ok(output) = nobody {
            assert!(text(&output.stderr).contains("as root"), "{output:?}");
        }
        assert_eq!(state(), before);
    });
}
