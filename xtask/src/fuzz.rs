//! `fuzz`: random input, guided by what it reaches, to what reads input of others. libFuzzer on the stable compiler: what
//! `-Zsanitizer` would add, coverage is all that is needed of.
//!
//! A target is a program of `fuzz/`, its first inputs lie in `fuzz/seeds/TARGET`. What crashes one is written there; committed,
//! it is a test from then on (`crates/ipvs/tests/properties.rs` and `crates/ipvsadm/tests/kept.rs` read the seeds).

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};

use crate::repository::{Repository, output, run};

/// What is fuzzed.
struct Target {
    name: &'static str,
    /// Bytes of the longest input.
    longest: u32,
    /// The words its inputs are made of, if they are text: a file of `fuzz/`.
    words: Option<&'static str>,
}

const TARGETS: [Target; 3] = [
    Target {
        name: "netlink",
        longest: 8192,
        words: None,
    },
    Target {
        name: "rules",
        longest: 2048,
        words: Some("ipvsadm.dict"),
    },
    Target {
        name: "argv",
        longest: 1024,
        words: Some("ipvsadm.dict"),
    },
];

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
        .filter(|it| target.is_none_or(|wanted| wanted == it.name))
        .collect();
    if chosen.is_empty() {
        let names = TARGETS.map(|it| it.name).join(", ");
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
    for target in chosen {
        let (name, longest) = (target.name, target.longest);
        let program = built.join(&platform).join("release").join(name);
        let (seeds, corpus) = (
            folder.join("seeds").join(name),
            built.join("corpus").join(name),
        );
        std::fs::create_dir_all(&corpus).with_context(|| corpus.display().to_string())?;
        println!("-- {name}: {seconds} s, inputs in {}", corpus.display());
        let mut command = Command::new(program);
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={longest}"))
            .arg(format!("-artifact_prefix={}/", seeds.display()))
            .arg("-print_final_stats=1")
            .args([corpus.as_path(), Path::new(&seeds)]);
        if let Some(words) = target.words {
            command.arg(format!("-dict={}", folder.join(words).display()));
        }
        watched(&mut command)?;
    }
    Ok(())
}

/// Runs a target and shows what it says, but for the inputs it finds.
fn watched(command: &mut Command) -> anyhow::Result<()> {
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let said = child.stderr.take().context("no stderr")?;
    for line in BufReader::new(said).split(b'\n') {
        let line = line?;
        // `#2048 NEW cov: 1213 ft: 4052 ...`
        if !line.starts_with(b"#") || line.windows(4).any(|word| word == b"DONE") {
            println!("{}", String::from_utf8_lossy(&line));
        }
    }
    let ended = child.wait()?;
    ensure!(
        ended.success(),
        "{} failed: {ended}",
        command.get_program().display()
    );
    Ok(())
}

/// The compiler's own platform.
fn platform() -> anyhow::Result<String> {
    let text = output(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
