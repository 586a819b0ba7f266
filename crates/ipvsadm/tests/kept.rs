//! What the fuzzer begins with, and what it found (`cargo xtask fuzz`), with the checks that it runs.

#[path = "../../../fuzz/src/checks/mod.rs"]
mod checks;

use std::fs;

/// Runs a check on all inputs that are kept for a target.
fn each(target: &str, check: fn(&[u8])) {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds");
    let files = fs::read_dir(format!("{seeds}/{target}")).expect("a folder of inputs");
    let mut count = 0;
    for file in files.flatten() {
        println!("{}", file.path().display());
        check(&fs::read(file.path()).expect("an input"));
        count += 1;
    }
    assert!(count >= 5, "only {count} inputs for {target}");
}

#[test]
fn kept_files_are_loaded_whole_or_not_at_all() {
    each("rules", checks::rules::check);
}

#[test]
fn kept_command_lines_end_as_ipvsadm_ends_them() {
    each("argv", checks::argv::check);
}
