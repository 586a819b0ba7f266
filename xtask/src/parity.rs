//! `parity`: is `ipvsadm` the same as Debian's, byte for byte? Builds what is needed and runs the lab's `parity`.

use std::ffi::OsString;
use std::process::Command;

use crate::{
    repository::{Repository, run, search_path},
    setup::{self, Part},
};

/// Runs the lab's `parity` with these arguments.
///
/// # Errors
/// It does not build, or something differs.
pub(crate) fn parity(repository: &Repository, arguments: &[OsString]) -> anyhow::Result<()> {
    setup::install(&[Part::Conform])?;
    repository.build_with_example("parity")?;
    let programs = repository.target().join("release");
    run(Command::new(programs.join("examples/parity"))
        .current_dir(repository.root())
        .env("PATH", search_path()?)
        .arg("--lvsx")
        .arg(programs.join("lvsx"))
        .arg("--out")
        .arg(repository.target().join("parity"))
        .args(arguments))
}
