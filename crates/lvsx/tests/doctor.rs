//! The doctor in the tutorial's labs: nothing is wrong with a healthy one, whatever is broken is
//! found, and the cure works as it is printed. Needs root.

use anyhow::{Result, ensure};
use lvsx_host::ForwardingMethod::{self, DirectRouting, Masquerade, Tunnel};
use lvsx_host::bpf;
use lvsx_lab::topology::DIRECTOR;
use lvsx_lab::{Blueprint, Breakage, Lab, Mode, Narrator, repair};

/// One lab for everything that can be broken in it, one after the other.
fn everything_is_found(method: ForwardingMethod, mode: Mode) -> Result<()> {
    let lab = Lab::tutorial(Blueprint {
        method: Some(method),
        mode,
        binary: env!("CARGO_BIN_EXE_lvsx").into(),
        object: bpf::OBJECT,
    })?;
    let service = lab.service_address()?;
    // Both servers get some connections, which thresholds count.
    for _ in 0..2 {
        lab.client()?.fetch(service)?;
    }
    healthy(&lab, method)?;
    let due = |one: &&Breakage| match one.mode {
        None => mode == Mode::Tc,
        Some(needed) => mode == needed,
    };
    let mut failures = Vec::new();
    for breakage in Breakage::of(method).filter(due) {
        let started = std::time::Instant::now();
        let result = repair::play(&lab, breakage, &Narrator::silent());
        println!("{:<16} {:.2?}", breakage.name, started.elapsed());
        if let Err(error) = result {
            failures.push(format!("{}: {error:#}", breakage.name));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    if mode == Mode::Tc {
        lost(&lab, method)?;
    }
    if (method, mode) == (DirectRouting, Mode::Tc) {
        the_same_by_ipv6(&lab)?;
    }
    healthy(&lab, method)
}

/// A probe of serverA says at which step its packet is lost.
fn lost(lab: &Lab, method: ForwardingMethod) -> Result<()> {
    let silent = (
        "ip link set eth0 down",
        "ip link set eth0 up; ip route replace default via 192.168.1.1",
        "neighbour",
    );
    let cases = match method {
        Masquerade => vec![(
            "ip route replace default via 192.168.1.1",
            "ip route replace default via 192.168.1.49",
            "service",
        )],
        Tunnel => vec![(
            "ip addr del 192.168.1.40/32 dev lo || ip addr del 192.168.1.40/32 dev tunl0",
            "lvsx realserver up --mode tun --vip 192.168.1.40",
            "service",
        )],
        DirectRouting => vec![
            silent,
            (
                "iptables -A INPUT -p tcp -j DROP",
                "iptables -F INPUT",
                "server",
            ),
        ],
    };
    for (script, mend, step) in cases {
        let server = lab.host("serverA")?;
        server.run(script)?.success()?;
        let probe = lab.director()?.run("lvsx doctor probe 192.168.1.46")?;
        server.run(mend)?.success()?;
        let lines: Vec<_> = probe
            .stdout
            .lines()
            .filter(|line| line.contains("LOST"))
            .collect();
        ensure!(probe.status.code() == Some(4), "{script}: {probe:?}");
        ensure!(
            lines.len() == 1 && lines[0].contains(&format!(" {step} ")),
            "{script}: {}",
            probe.stdout
        );
    }
    let unknown = lab.director()?.run("lvsx doctor probe 192.168.1.99")?;
    ensure!(
        unknown.stderr.contains("there are: 192.168.1.46"),
        "{unknown:?}"
    );
    Ok(())
}

/// A service of IPv6 beside the other: the server that answers neighbour discovery for its address is found, and a probe
/// comes through.
fn the_same_by_ipv6(lab: &Lab) -> Result<()> {
    let (director, server) = (lab.director()?, lab.host("serverA")?);
    for line in [
        "ip addr add fd00::49/64 dev eth0 nodad",
        "ip addr add fd00::40/128 dev eth0 nodad",
        "sysctl -qw net.ipv6.conf.all.forwarding=1",
        "ipvsadm -A -u [fd00::40]:53 -s rr",
        "ipvsadm -a -u [fd00::40]:53 -r [fd00::46]:53 -g",
    ] {
        director.run(line)?.success()?;
    }
    server
        .run("ip addr add fd00::46/64 dev eth0 nodad")?
        .success()?;
    let up = "lvsx realserver up --mode dr --vip fd00::40";
    server.run(up)?.success()?;
    let looks = |words: &str| director.run(&format!("lvsx doctor {words}"));
    let found = looks("director")?;
    ensure!(found.status.success(), "{found:?}");
    let found = looks("probe fd00::46")?;
    ensure!(found.status.success(), "{found:?}");

    server
        .run("ip addr add fd00::40/64 dev eth0 nodad")?
        .success()?;
    let found = looks("director")?;
    let what = "the server fd00::46 answers neighbour discovery for fd00::40";
    let cure = format!("ip addr flush to fd00::40/128 && {up}");
    ensure!(found.status.code() == Some(4), "{found:?}");
    ensure!(found.stdout.contains(what), "{}", found.stdout);
    ensure!(found.stdout.contains(&cure), "{}", found.stdout);
    server.run(&cure)?.success()?;
    let found = looks("director")?;
    ensure!(found.status.success(), "{found:?}");
    director.run("ipvsadm -D -u [fd00::40]:53")?.success()?;
    server
        .run("lvsx realserver down --mode dr --vip fd00::40")?
        .success()?;
    Ok(())
}

/// Nothing is found, on the director and on the servers, and packets come through to each server.
fn healthy(lab: &Lab, method: ForwardingMethod) -> Result<()> {
    let server = match method {
        Masquerade => "realserver --mode nat --vip 8.8.8.8 --gateway 192.168.1.49",
        Tunnel => "realserver --mode tun --vip 192.168.1.40",
        DirectRouting => "realserver",
    };
    for (machine, words) in [
        (DIRECTOR, "director"),
        (DIRECTOR, ""),
        (DIRECTOR, "probe 192.168.1.46"),
        (DIRECTOR, "probe 192.168.1.47"),
        ("serverA", server),
        ("serverB", server),
    ] {
        let finished = lab.host(machine)?.run(&format!("lvsx doctor {words}"))?;
        ensure!(
            finished.status.success(),
            "{machine}: lvsx doctor {words}: {}\n{}{}",
            finished.status,
            finished.stdout,
            finished.stderr
        );
    }
    Ok(())
}

/// Two labs at a time: the doctor mostly waits for answers.
#[test]
fn whatever_is_broken_is_found_and_cured() -> Result<()> {
    let several = |labs: &[(ForwardingMethod, Mode)]| {
        labs.iter()
            .try_for_each(|(method, mode)| everything_is_found(*method, *mode))
    };
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            several(&[
                (Masquerade, Mode::Tc),
                (Tunnel, Mode::Tc),
                (Masquerade, Mode::Xdp),
            ])
        });
        several(&[(DirectRouting, Mode::Tc)])?;
        others
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// As a person sees it.
#[test]
fn a_lab_shows_what_it_broke_and_how_it_was_cured() {
    let lab = |words: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_lvsx"))
            .arg("lab")
            .args(words)
            .output()
            .expect("lvsx is there")
    };
    let output = lab(&["dr", "--break", "arp"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for line in [
        "sysctl -qw net.ipv4.conf.all.arp_ignore=0",
        "server-answers-arp: the server 192.168.1.46 answers ARP for 192.168.1.40",
        "lvsx realserver up --mode dr --vip 192.168.1.40",
        "healthy: nothing wrong was found",
        "works.",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let list = lab(&["nat", "--break", "list"]);
    assert!(
        String::from_utf8_lossy(&list.stdout).contains("offload"),
        "{list:?}"
    );
}
