//! `package`: a .deb and an .rpm of the binary, with its units, manual pages and completions.
//!
//! What is in them stands in `crates/lvsx/Cargo.toml`; [`trial`] installs the first one.

pub(crate) mod trial;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::repository::{Repository, output, program, run};

/// How the binary is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As it is given away.
    Release,
    /// Quickly, to try the packages.
    Dev,
}

impl Profile {
    /// The profile of that name on the command line.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word {
            "release" => Some(Self::Release),
            "dev" => Some(Self::Dev),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "dev",
        }
    }
}

/// The packages that were made.
pub(crate) struct Packages {
    pub(crate) deb: PathBuf,
    pub(crate) rpm: PathBuf,
}

/// Builds the binary, lays out what goes beside it, and packs both packages into `target/package`.
///
/// # Errors
/// The first step that failed.
pub(crate) fn make(repository: &Repository, profile: Profile) -> anyhow::Result<Packages> {
    let builds = match profile {
        Profile::Release => repository.release()?,
        Profile::Dev => {
            run(&mut repository.cargo(["build", "--quiet", "--package", "lvsx"]))?;
            repository.target().join("debug")
        }
    };
    lay_out(&builds)?;
    let folder = repository.target().join("package");
    remove(&folder)?;
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let deb = pack(
        repository
            .cargo([
                "deb",
                "--quiet",
                "--package",
                "lvsx",
                "--no-build",
                "--no-strip",
                "--no-dbgsym",
                "--fast",
            ])
            .args(["--profile", profile.word(), "--output"])
            .arg(&folder),
        &folder,
        "deb",
    )?;
    let rpm = pack(
        repository
            .cargo([
                "generate-rpm",
                "--package",
                "crates/lvsx",
                "--payload-compress",
                "gzip",
            ])
            .args(["--profile", profile.word(), "--target-dir"])
            .arg(repository.target())
            .arg("--output")
            .arg(&folder),
        &folder,
        "rpm",
    )?;
    for package in [&deb, &rpm] {
        let size = fs::metadata(package)?.len() / 1_000_000;
        println!("{} ({size} MB)", package.display());
    }
    Ok(Packages { deb, rpm })
}

/// Puts the stripped binary, manual pages and completions where the lists of the packages look for them.
fn lay_out(builds: &Path) -> anyhow::Result<()> {
    let folder = builds.join("package");
    remove(&folder)?;
    run(Command::new(builds.join("lvsx")).arg("manual").arg(&folder))?;
    let pages = fs::read_dir(folder.join("man"))?;
    let pages: Vec<_> = pages.filter_map(|page| Some(page.ok()?.path())).collect();
    run(Command::new("gzip").args(["-9", "-n"]).args(pages))?;
    let strip = program("strip").context("no `strip`: install what Debian calls binutils")?;
    run(Command::new(strip)
        .arg("-o")
        .arg(folder.join("lvsx"))
        .arg(builds.join("lvsx")))
}

/// Runs a packer, and finds what it made.
fn pack(packer: &mut Command, folder: &Path, ending: &str) -> anyhow::Result<PathBuf> {
    output(packer).with_context(|| {
        format!("no .{ending}: `cargo xtask setup package` installs what packs it")
    })?;
    let mut made = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    match made.find(|path| path.extension().is_some_and(|found| found == ending)) {
        Some(package) => Ok(package),
        None => bail!("there is no .{ending} in {}", folder.display()),
    }
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(()),
    }
}
