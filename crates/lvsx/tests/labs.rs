//! `lvsx lab` as a person types it. Needs root.

use std::process::{Command, Output};

fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lvsx"))
        .arg("lab")
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs a lab, which must succeed, and gives what it showed.
fn shows(arguments: &[&str]) -> String {
    let output = lab(arguments);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n{shown}\n{errors}",
        output.status
    );
    shown
}

/// The ten pages in the order in which they came.
fn pages(shown: &str) -> Vec<&str> {
    shown
        .lines()
        .map(str::trim)
        .filter(|line| ["192.168.1.46", "192.168.1.47"].contains(line))
        .collect()
}

fn the_tutorial_works(method: &str, mode: &str, option: &str) {
    let shown = shows(&[method, "--mode", mode]);
    let pages = pages(&shown);
    assert_eq!(pages.len(), 10, "{shown}");
    assert!(pages.windows(2).all(|pair| pair[0] != pair[1]), "{shown}");
    for line in [
        &format!("-r 192.168.1.46:80 {option}"),
        "# ipvsadm -L -c",
        "# ipvsadm -L --stats",
        "# ipvsadm-restore < ipvsadm",
        "serverA",
        "works.",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
}

#[test]
fn nat_in_tc() {
    the_tutorial_works("nat", "tc", "-m");
}

#[test]
fn nat_in_xdp() {
    the_tutorial_works("nat", "xdp", "-m");
}

#[test]
fn tun_in_tc() {
    the_tutorial_works("tun", "tc", "-i");
}

#[test]
fn tun_in_xdp() {
    the_tutorial_works("tun", "xdp", "-i");
}

#[test]
fn dr_in_tc() {
    the_tutorial_works("dr", "tc", "-g");
}

#[test]
fn dr_in_xdp() {
    the_tutorial_works("dr", "xdp", "-g");
}

/// One of each kind (crate `lab`, `expectation`), which judges the pages: by turns, by an address, by what was remembered, by
/// active connections, by chance. What each scheduler decides is compared with the kernel by `conform`. Two labs at a time.
#[test]
fn a_scheduler_of_each_kind_is_seen_at_work() {
    let schedulers = ["wlc", "sh", "lblcr", "nq", "twos"];
    std::thread::scope(|scope| {
        for half in schedulers.chunks(schedulers.len().div_ceil(2)) {
            scope.spawn(move || {
                for scheduler in half {
                    let shown = shows(&["dr", "--scheduler", scheduler]);
                    let line = format!("ipvsadm -At 192.168.1.40:80 -s {scheduler}");
                    assert!(shown.contains(&line), "{shown}");
                }
            });
        }
    });
}

#[test]
fn a_lab_that_is_kept_can_be_entered_and_taken_down() {
    let shown = shows(&["nat", "--keep"]);
    let name = shown
        .lines()
        .find_map(|line| line.trim().strip_prefix("lvsx lab down "))
        .unwrap_or_else(|| panic!("no word how to take it down:\n{shown}"))
        .to_owned();
    let list = shows(&["list"]);
    let listing = shows(&["exec", "--lab", &name, "lvsserver", "--", "ipvsadm", "-L"]);
    let missing = lab(&["exec", "--lab", &name, "serverC", "--", "true"]);
    shows(&["down", &name]);

    assert!(
        list.contains(&format!("{name}: ")) && list.contains("(kept)"),
        "{list}"
    );
    assert!(
        listing.contains("serverA:http") || listing.contains("serverA:80"),
        "{listing}"
    );
    let error = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        !missing.status.success() && error.contains("no serverC; it has client"),
        "{error}"
    );
    assert!(!shows(&["list"]).contains(&name));
    assert!(
        !lab(&["down", &name]).status.success(),
        "it is down already"
    );
}

#[test]
fn bad_words_are_refused_with_the_right_ones() {
    for (words, cure) in [
        (vec!["drr"], "nat, tun and dr"),
        (vec!["dr", "--mode", "xpd"], "tc and xdp"),
    ] {
        let output = lab(&words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(error.contains(cure), "{error}");
    }
}
