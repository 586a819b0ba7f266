//! Command lines of ipvsadm of any kind.
#![no_main]

#[allow(dead_code, reason = "another target's is among them")]
#[path = "../checks/mod.rs"]
mod checks;
#[path = "../names.rs"]
mod names;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::argv::check(bytes));
