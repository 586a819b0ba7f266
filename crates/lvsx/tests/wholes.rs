//! Changes that are whole: tables are replaced under traffic, saved, taken back, found again at boot. Needs root.

mod common;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{connect, counters, tutorial};
use lvsx_host::ForwardingMethod::Masquerade;
use lvsx_ipvs::{Choice, Client, Request};
use lvsx_ipvsadm::Rules;
use lvsx_lab::client::{self, Download};
use lvsx_lab::listing::exact_counters;
use lvsx_lab::pattern::Digest;
use lvsx_lab::{Lab, Mode, Narrator};

const BULK: u64 = 100_000_000;
const REPLACEMENTS: u64 = 200;
const SERVICES: u16 = 200;
const CLIENTS: usize = 3;

/// A table of 200 services: the one under test, with its two servers by these weights and in this order, and others that
/// come, go and change from version to version, with a server that nobody runs.
fn version(number: u8, servers: [(&str, u32); 2]) -> Vec<Request> {
    let mut text = String::from("# a version\nipvsadm -A -t 8.8.8.8:80 -s wrr\n");
    for (server, weight) in servers {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "ipvsadm -a -t 8.8.8.8:80 -r {server}:80 -m -w {weight}"
        );
    }
    let _ = writeln!(text, "-a -t 8.8.8.8:80 -r 192.168.1.9{number}:80 -m -w 0");
    for port in 1..SERVICES {
        // Half of them are in both versions.
        let port = 8000
            + port
            + if port % 2 == 0 {
                0
            } else {
                1000 * u16::from(number)
            };
        let _ = writeln!(text, "-A -t 8.8.8.8:{port} -s rr");
        let _ = writeln!(text, "-a -t 8.8.8.8:{port} -r 192.168.1.9{number}:80 -m");
    }
    Rules::read("version", text.as_bytes()).requests()
}

/// Tables are replaced 200 times while connections open and transfer.
fn replaced_under_traffic(lab: &Lab) -> Result<()> {
    let versions = [
        version(1, [("192.168.1.46", 1), ("192.168.1.47", 2)]),
        version(2, [("192.168.1.47", 3), ("192.168.1.46", 1)]),
    ];
    let before = counters(lab)?.counters.connections;
    let mut transfer = Download::bytes(connect(lab)?, BULK)?;
    let (is_over, service) = (AtomicBool::new(false), lab.service_address()?);
    let (client, director) = (lab.client()?, lab.director()?);
    let surf = || -> Result<Vec<String>> {
        client.namespace().run(|| {
            let mut pages = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let page = client::open(service.into()).and_then(client::page);
                pages.push(page.with_context(|| format!("after {} pages", pages.len()))?);
            }
            Ok(pages)
        })?
    };
    let pages = thread::scope(|scope| -> Result<Vec<String>> {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(surf)).collect();
        let replaced = director.namespace().run(|| -> Result<()> {
            let mut lvsd = Client::connect(Choice::Auto)?;
            for (number, changes) in (0..REPLACEMENTS).zip(versions.iter().cycle()) {
                let faults = lvsd.apply(changes, false)?;
                ensure!(faults.is_empty(), "version {number}: {faults:?}");
                transfer.read(BULK / REPLACEMENTS / 2)?;
            }
            Ok(())
        });
        is_over.store(true, Ordering::Relaxed);
        let mut pages = Vec::new();
        for client in clients {
            pages.extend(client.join().expect("no panic")?);
        }
        replaced??;
        Ok(pages)
    })?;
    assert_eq!(transfer.finish()?, Digest::of_pattern(BULK));
    assert!(pages.len() > 100, "only {} connections", pages.len());

    let listing = lab
        .director()?
        .run("ipvsadm -Ln --stats --exact")?
        .success()?;
    let services = exact_counters(&listing)?;
    assert_eq!(services.len(), usize::from(SERVICES));
    for listed in services {
        let is_ours = listed.service == service;
        let expected = if is_ours {
            before + 1 + pages.len() as u64
        } else {
            0
        };
        // The same service has counted all that came through every version.
        assert_eq!(listed.counters.connections, expected, "{}", listed.service);
        for (server, counted) in listed.destinations {
            let is_web = ["192.168.1.46:80", "192.168.1.47:80"].contains(&&*server.to_string());
            assert_eq!(counted.connections > 0, is_ours && is_web, "{server}");
        }
    }
    Ok(())
}

/// Shell text that must succeed.
fn run(lab: &Lab, script: &str) -> Result<String> {
    lab.director()?.run(script)?.success()
}

/// What is saved is all, comes back as it was, and the way back leads to what was before.
fn saved_and_taken_back(lab: &Lab) -> Result<()> {
    run(
        lab,
        "set -e
        ipvsadm -C
        ipvsadm -A -t 8.8.8.8:80 -s wrr -M 255.255.255.0
        ipvsadm -a -t 8.8.8.8:80 -r 192.168.1.47:80 -m -w 3 -x 1000 -y 900
        ipvsadm -a -t 8.8.8.8:80 -r 192.168.1.46:80 -m
        ipvsadm -A -u 8.8.8.8:53 -s sh -b sh-port,sh-fallback -o
        ipvsadm -a -u 8.8.8.8:53 -r 192.168.1.46:53 -i --tun-type gue --tun-port 6080 --tun-csum
        ipvsadm -A -f 7 -6 -s mh -p 300 -M 64
        ipvsadm --set 901 121 301
        lvsx mark add mark 7 family ipv6 protocol tcp ports 80
        lvsx mark add mark 0x10/0xf0 to 192.0.2.0/24 from 198.51.100.7
        lvsx sysctl -q nat_icmp_send=1 'sync_threshold=4 40'
        lvsx save > all.rules
        lvsx diff all.rules
        ipvsadm -C; ipvsadm --set 1 1 1; lvsx mark flush
        lvsx sysctl -q nat_icmp_send=0 'sync_threshold=3 50'
        lvsx apply all.rules
        lvsx save > again.rules
        cmp all.rules again.rules
        # What is not a comment to it, ipvsadm reads too.
        grep -v '^#' all.rules > plain.rules
        ipvsadm-restore --as-ipvsadm < all.rules
        ipvsadm -C
        ipvsadm -R < plain.rules
        lvsx save | cmp - all.rules",
    )?;
    // The way back, and back again.
    run(
        lab,
        "set -e
        echo '-A -t 8.8.8.8:80 -s rr' > one.rules
        lvsx apply --dry-run one.rules | grep -q -- '-d -t 8.8.8.8:80 -r 192.168.1.46:80'
        lvsx save | cmp - all.rules
        lvsx apply one.rules
        test $(ipvsadm -Sn | wc -l) = 1
        lvsx rollback
        lvsx save | cmp - all.rules
        lvsx rollback
        test $(ipvsadm -Sn | wc -l) = 1",
    )?;
    Ok(())
}

/// A file with anything wrong changes nothing, and all of it is named.
fn wrong_files_change_nothing(lab: &Lab) -> Result<()> {
    let idle = connect(lab)?;
    let before = run(
        lab,
        "lvsx save; ipvsadm -Ln --stats --exact; ipvsadm -Lnc | wc -l",
    )?;
    let wrong = lab.director()?.run(
        "cat > wrong.rules <<'END'
-A -t 8.8.8.8:80 -s rr --netmsk 255.255.255.0
-A -t 8.8.8.8:81 -s wllc
-a -t 8.8.8.8:81 -r 192.168.1.46:80 -m
-A -t 8.8.8.8:82 -s rr
-a -t 8.8.8.8:82 -r 224.0.0.1:80 -m
-a -t 8.8.8.8:82 -r 192.168.1.46:80 -i --tun-type gee
END
        ipvsadm-restore < wrong.rules; echo code $?; lvsx apply wrong.rules; echo code $?; \
        printf -- '-A -t\\302\\240 8.8.8.8:80\\n' | lvsx apply --strict -; echo code $?",
    )?;
    let is_place = |line: &&str| line.contains("rules:") || line.contains("stdin:");
    let seen: Vec<&str> = wrong.stderr.lines().filter(is_place).collect();
    let expected = [
        "1:24: --netmsk: unknown option; is `--netmask' meant?",
        "2:21: Scheduler or persistence engine not found; is `wlc' meant?",
        "5:21: Invalid operation.  Possibly wrong module version, address not unicast, ...",
        "6:51: illegal tunnel type specified; is `gue' meant?",
    ];
    let strict = "stdin: line 1: U+00A0 in column 6 read as ` '";
    let twice = expected.iter().chain(&expected).chain([&strict]);
    for (seen, expected) in seen.iter().zip(twice) {
        assert!(seen.ends_with(expected), "{seen}\nnot {expected}");
    }
    assert_eq!(seen.len(), 9, "{}", wrong.stderr);
    assert_eq!(wrong.stdout, "code 255\ncode 1\ncode 1\n");
    let after = run(
        lab,
        "lvsx save; ipvsadm -Ln --stats --exact; ipvsadm -Lnc | wc -l",
    )?;
    assert_eq!(after, before);
    drop(idle);
    Ok(())
}

/// Waits until the director answers.
fn answers(lab: &Lab) -> Result<()> {
    for _ in 0..300 {
        if lab.director()?.run("ipvsadm -Ln")?.status.success() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("no director answers")
}

#[test]
fn tables_are_replaced_saved_and_taken_back() -> Result<()> {
    let mut lab = tutorial(Masquerade, Mode::Tc)?;
    replaced_under_traffic(&lab)?;
    wrong_files_change_nothing(&lab)?;
    saved_and_taken_back(&lab)?;

    lab.kill_director()?;
    lab.start_director(&Narrator::silent())?;
    run(&lab, "lvsx rollback; lvsx save | cmp - all.rules")?;

    // With a data plane in force the file is passed over; without one it is what a director begins with.
    lab.stop_director()?;
    run(&lab, "lvsd --stop-forwarding")?;
    let folder = run(&lab, "pwd")?;
    let file = format!("{}/all.rules", folder.trim());
    lab.start(
        "lvsserver",
        "lvsd",
        &["--mode", "tc", "--restore", &file],
        "restored",
    )?;
    answers(&lab)?;
    run(&lab, "lvsx save | cmp - all.rules")?;
    Ok(())
}
