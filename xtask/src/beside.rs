//! `conform` and `parity`: does the director decide as the kernel's IPVS does, and is `ipvsadm` the same as Debian's, byte for
//! byte? Builds what is needed and runs the lab's example of that name.

use std::ffi::OsString;
use std::process::Command;

use crate::{
    repository::{Repository, run, search_path},
    setup::{self, Part},
};

/// Runs `conform` or `parity` with these arguments.
///
/// # Errors
/// It does not build, or something differs.
pub(crate) fn the_kernel(
    repository: &Repository,
    example: &str,
    arguments: &[OsString],
) -> anyhow::Result<()> {
    setup::install(&[Part::Conform])?;
    let programs = repository.release()?;
    run(Command::new(programs.join("examples").join(example))
        .current_dir(repository.root())
        .env("PATH", search_path()?)
        .arg("--lvsx")
        .arg(programs.join("lvsx"))
        .arg("--out")
        .arg(repository.target().join(example))
        .args(arguments))
}
