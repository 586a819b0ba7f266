//! `bench`: builds the benchmarks and their BPF programs, and runs them.

use std::ffi::OsString;
use std::process::Command;

use crate::{
    ebpf,
    repository::{Repository, run},
};

/// Runs the benchmarks with these arguments.
///
/// # Errors
/// They do not build, or cannot run here.
pub(crate) fn bench(repository: &Repository, arguments: &[OsString]) -> anyhow::Result<()> {
    let object = ebpf::of_benchmarks(repository)?;
    run(&mut repository.cargo(["build", "--quiet", "--release", "--package", "lvsx-bench"]))?;
    run(Command::new(repository.target().join("release/lvsx-bench"))
        .arg("--object")
        .arg(object)
        .args(arguments))
}
