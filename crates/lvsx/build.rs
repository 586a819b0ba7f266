//! Compiles the library that `lvsx run` loads into other programs, which the binary carries as bytes: so it is there however
//! the binary was built and installed, `cargo install` included, and the two never differ in version.
//!
//! The compiler is called by itself: the library depends on no crate, and must not follow the profile, since one that
//! unwinds needs `std`.

use std::env;
use std::path::Path;
use std::process::Command;

const SOURCES: &str = "../preload/src";

fn main() {
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let library = Path::new(&variable("OUT_DIR")).join("liblvsx_preload.so");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args(["--crate-name", "lvsx_preload", "--crate-type", "cdylib"])
        .args(["--edition", "2024", "--cfg", "lvsx_preload"])
        .args(["-Copt-level=s", "-Cpanic=abort", "-Clto=fat"])
        .args(["-Ccodegen-units=1", "-Cstrip=symbols"])
        .arg("--target")
        .arg(variable("TARGET"))
        .arg("-o")
        .arg(library)
        .arg(Path::new(SOURCES).join("lib.rs"));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("-Clinker=");
        option.push(linker);
        rustc.arg(option);
    }
    let status = rustc.status().expect("rustc runs");
    assert!(
        status.success(),
        "the library of `lvsx run` cannot be compiled: {status}"
    );
}
