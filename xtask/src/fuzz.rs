//! `fuzz`: random input, guided by what it reaches, to what reads input of others. libFuzzer on the stable compiler: what
//! `-Zsanitizer` would add, coverage is all that is needed of.
//!
//! A target is a program of `fuzz/`, its first inputs lie in `fuzz/seeds/TARGET`. What crashes one is written there; committed,
//! it is a test from then on (`crates/ipvs/tests/properties.rs` reads the seeds).

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::repository::{Repository, output, run};

/// The targets, with the longest input of each.
const TARGETS: [(&str, u32); 1] = [("netlink", 8192)];

/// Counters at each branch, and what comparisons compare.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// Runs a target, or each, for so many seconds.
///
/// # Errors
/// No such target; it does not build; an input makes it crash, which is then kept and named.
pub(crate) fn fuzz(
    repository: &Repository,
    target: Option<&str>,
    seconds: u64,
) -> anyhow::Result<()> {
    let chosen: Vec<_> = TARGETS
        .iter()
        .filter(|(name, _)| target.is_none_or(|wanted| wanted == *name))
        .collect();
    if chosen.is_empty() {
        let names = TARGETS.map(|(name, _)| name).join(", ");
        bail!("there is no such target; there is {names}");
    }
    let folder = repository.root().join("fuzz");
    let built = repository.target().join("fuzz");
    // With a target named, build scripts are not compiled for the fuzzer.
    let platform = platform()?;
    run(repository
        .cargo(["build", "--quiet", "--release", "--locked"])
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .args(["--target", &platform, "--target-dir"])
        .arg(&built)
        .env("RUSTFLAGS", FLAGS.join(" ")))?;
    for (name, longest) in chosen {
        let program = built.join(&platform).join("release").join(name);
        let (seeds, corpus) = (
            folder.join("seeds").join(name),
            built.join("corpus").join(name),
        );
        std::fs::create_dir_all(&corpus).with_context(|| corpus.display().to_string())?;
        println!("-- {name}: {seconds} s, inputs in {}", corpus.display());
        run(Command::new(program)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={longest}"))
            .arg(format!("-artifact_prefix={}/", seeds.display()))
            .args(["-print_final_stats=1", "-verbosity=0"])
            .args([corpus.as_path(), Path::new(&seeds)]))?;
    }
    Ok(())
}

/// The compiler's own platform.
fn platform() -> anyhow::Result<String> {
    let text = output(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
