//! `conform`: does the director decide as the kernel's IPVS does? Builds what is needed and runs the lab's `conform`.

use std::ffi::OsString;
use std::process::Command;

use crate::{
    repository::{Repository, run, search_path},
    setup::{self, Part},
};

/// Runs the lab's `conform` with these arguments.
///
/// # Errors
/// It does not build, or something differs.
pub(crate) fn conform(repository: &Repository, arguments: &[OsString]) -> anyhow::Result<()> {
    setup::install(&[Part::Conform])?;
    repository.build_with_example("conform")?;
    let programs = repository.target().join("release");
    run(Command::new(programs.join("examples/conform"))
        .current_dir(repository.root())
        .env("PATH", search_path()?)
        .arg("--lvsx")
        .arg(programs.join("lvsx"))
        .arg("--out")
        .arg(repository.target().join("conform"))
        .args(arguments))
}
