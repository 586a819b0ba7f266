//! The packages on a machine of their own: installed, used as services, upgraded while clients fetch, removed, purged.
//!
//! The machine is this one's root folder with every change kept in memory, in namespaces of its own: nothing of this
//! machine is changed, and no packet leaves it.

use std::process::Command;

use anyhow::Context as _;

use super::Packages;
use crate::repository::{Repository, run};

/// Tries the packages. Needs root.
///
/// # Errors
/// What was not as it must be; the script has printed it.
pub(crate) fn try_out(repository: &Repository, packages: &Packages) -> anyhow::Result<()> {
    run(Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "sh"])
        .arg(repository.root().join("xtask/src/package/trial.sh"))
        .args([&packages.deb, &packages.rpm]))
    .context("the packages are not as they must be")
}
