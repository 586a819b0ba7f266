//! `bench`: builds the benchmarks, their BPF programs and what is measured, and runs them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::{
    ebpf,
    repository::{Repository, program, run, search_path},
    setup::{self, Part},
};

/// nginx and its stream module. They are unpacked, not installed: to install them would start a web server.
const NGINX: [&str; 2] = ["nginx", "libnginx-mod-stream"];

/// Runs the benchmarks with these arguments.
///
/// # Errors
/// They do not build, or cannot run here.
pub(crate) fn bench(repository: &Repository, arguments: &[OsString]) -> anyhow::Result<()> {
    let object = ebpf::of_benchmarks(repository)?;
    let nginx = repository.target().join("bench/nginx");
    if !is_about_programs_alone(arguments) {
        // What is missing then is a row that says so.
        for part in [Part::Bench, Part::Conform] {
            if let Err(error) = setup::install(&[part]) {
                eprintln!("bench: {error:#}");
            }
        }
        if let Err(error) = unpack(&NGINX, &nginx) {
            eprintln!("bench: no nginx: {error:#}");
        }
    }
    run(&mut repository.cargo([
        "build",
        "--quiet",
        "--release",
        "--package",
        "lvsx-bench",
        "--package",
        "lvsx",
        "--bins",
    ]))?;
    let release = repository.target().join("release");
    run(Command::new(release.join("lvsx-bench"))
        .env("PATH", search_path()?)
        .arg("--object")
        .arg(object)
        .arg("--lvsx")
        .arg(release.join("lvsx"))
        .arg("--nginx")
        .arg(nginx)
        .args(arguments))
}

/// Whether nothing is asked for but parts a and scale, or help, which need nobody else.
fn is_about_programs_alone(arguments: &[OsString]) -> bool {
    let words: Vec<_> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let pairs = words.iter().zip(words.iter().skip(1));
    let spaced = pairs
        .filter(|(option, _)| **option == "--part")
        .map(|(_, part)| *part);
    let joined = words.iter().filter_map(|word| word.strip_prefix("--part="));
    let mut parts = spaced.chain(joined).peekable();
    let is_help = words.iter().any(|word| ["--help", "-h"].contains(word));
    is_help || parts.peek().is_some() && parts.all(|part| ["a", "scale"].contains(&part))
}

/// Downloads Debian's packages and unpacks them into a folder, which then is complete or absent.
fn unpack(packages: &[&str], folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let unpacked: PathBuf = folder.with_extension(std::process::id().to_string());
    let download = unpacked.join("download");
    fs::create_dir_all(&download).with_context(|| format!("cannot make {}", download.display()))?;
    let result = (|| {
        let apt = program("apt-get").context("this machine has no apt-get")?;
        run(Command::new(apt)
            .current_dir(&download)
            .args(["download", "-qq", "-o", "APT::Sandbox::User=root"])
            .args(packages))?;
        for package in fs::read_dir(&download)? {
            run(Command::new("dpkg-deb")
                .arg("-x")
                .arg(package?.path())
                .arg(&unpacked))?;
        }
        fs::remove_dir_all(&download)?;
        fs::rename(&unpacked, folder).with_context(|| format!("cannot make {}", folder.display()))
    })();
    if result.is_err() {
        // Best effort: what made the unpacking fail is the error to show.
        let _ = fs::remove_dir_all(&unpacked);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_needed_unless_parts_say_otherwise() {
        let alone = |line: &str| {
            let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
            is_about_programs_alone(&words)
        };
        for line in ["--part a", "--part=scale --part a --rounds 1", "--help"] {
            assert!(alone(line), "{line}");
        }
        for line in ["", "--rounds 1", "--part a --part b", "--part=d"] {
            assert!(!alone(line), "{line}");
        }
    }
}
